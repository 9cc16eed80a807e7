//! What a client's descriptions are made of (RFC 8829), and what it reads in the server's.

use anyhow::Context;
use livekit_protocol as proto;
use peer::{
    Candidate, CandidateKind, Codec, DtlsRole, IceCredentials, Kind, Payload, ReceiveSpec, Remote, SctpRemote,
};
use std::net::SocketAddr;
use wire::ext::ExtensionIds;
use wire::sdp::{self, Description, Direction, ExtMap, MediaKind, RtpMap, Setup, Ssrc};

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// Stream id and CNAME of everything that is published here.
const NAME: &str = "bench";

/// A section that sends a track (client id, SSRC) as Opus or VP8, or is kept for later.
pub fn offer_section(codec: Codec, mid: &str, sent: Option<(&str, u32)>) -> sdp::Media {
    let (kind, pt, encoding, clock_rate, channels) = match codec.kind() {
        Kind::Audio => (MediaKind::Audio, 111, "opus", 48_000, 2),
        Kind::Video => (MediaKind::Video, 96, "VP8", 90_000, 1),
    };
    let mut section = sdp::Media::new(kind, "UDP/TLS/RTP/SAVPF".into());
    section.formats = vec![pt.to_string()];
    section.rtpmaps = vec![RtpMap {
        pt,
        encoding: encoding.into(),
        clock_rate,
        channels,
    }];
    section.mid = Some(mid.to_owned());
    section.rtcp_mux = true;
    section.extmaps = vec![ExtMap {
        id: 1,
        uri: MID.into(),
    }];
    section.direction = Direction::Inactive;
    if let Some((cid, ssrc)) = sent {
        section.direction = Direction::SendOnly;
        section.msids = vec![sdp::Msid {
            stream: NAME.into(),
            track: Some(cid.to_owned()),
        }];
        section.ssrcs = vec![Ssrc {
            ssrc,
            attributes: vec![("cname".into(), Some(NAME.into()))],
        }];
    }
    section
}

/// What a subscriber answers to one section: the data channels, or one payload type of Opus or VP8
/// without any feedback but reports.
pub fn answer_section(media: &sdp::Media, codec: Codec) -> anyhow::Result<sdp::Media> {
    let mut section = sdp::Media::new(media.kind.clone(), media.protocol.clone());
    section.mid.clone_from(&media.mid);
    if media.kind == MediaKind::Application {
        section.formats.clone_from(&media.formats);
        section.sctp_port = Some(5000);
        section.max_message_size = Some(65_536);
        return Ok(section);
    }
    let pt = choose(media, codec).with_context(|| format!("the server offers no {codec:?}"))?;
    section.formats = vec![pt.to_string()];
    section.rtpmaps = media.rtpmap(pt).into_iter().collect();
    section.rtcp_mux = true;
    let known = |map: &&ExtMap| map.uri == MID || map.uri == ABS_SEND_TIME;
    section.extmaps = media.extmaps.iter().filter(known).cloned().collect();
    section.direction = if media.direction.sends() {
        Direction::RecvOnly
    } else {
        Direction::Inactive
    };
    Ok(section)
}

fn choose(media: &sdp::Media, codec: Codec) -> Option<u8> {
    let name = if codec == Codec::Opus { "opus" } else { "VP8" };
    media.payload_types().find(|pt| {
        media
            .rtpmap(*pt)
            .is_some_and(|map| map.encoding.eq_ignore_ascii_case(name))
    })
}

/// How a subscriber receives what `media` offers and `section` accepts.
pub fn receive_spec(tag: u64, media: &sdp::Media, section: &sdp::Media, codec: Codec) -> ReceiveSpec {
    ReceiveSpec {
        tag,
        mid: media.mid.clone().unwrap_or_default(),
        kind: codec.kind(),
        payloads: section.payload_types().map(|pt| payload(codec, pt)).collect(),
        extensions: extensions(section),
        rids: Vec::new(),
        ssrcs: media
            .ssrcs
            .first()
            .map(|ssrc| (ssrc.ssrc, None))
            .into_iter()
            .collect(),
        transport_cc: false,
    }
}

/// The numbers of the extensions that a section settled.
pub fn extensions(section: &sdp::Media) -> ExtensionIds {
    ExtensionIds {
        mid: section.extension(MID).unwrap_or(0),
        abs_send_time: section.extension(ABS_SEND_TIME).unwrap_or(0),
        ..ExtensionIds::default()
    }
}

/// A payload type without retransmission.
pub const fn payload(codec: Codec, pt: u8) -> Payload {
    Payload {
        codec,
        pt,
        rtx_pt: None,
        nack: false,
    }
}

/// The section of the data channels.
pub fn data_section(mid: &str) -> sdp::Media {
    let mut section = sdp::Media::new(MediaKind::Application, "UDP/DTLS/SCTP".into());
    section.formats = vec!["webrtc-datachannel".into()];
    section.mid = Some(mid.to_owned());
    section.sctp_port = Some(5000);
    section.max_message_size = Some(65_536);
    section
}

/// What the server says of its data channels, when it offers them.
pub fn sctp_of(described: &Description) -> Option<SctpRemote> {
    let mut media = described.media.iter();
    media
        .find(|media| media.kind == MediaKind::Application)
        .map(|media| SctpRemote {
            port: SctpRemote::PORT,
            message_len_max: media.max_message_size.unwrap_or(65_536) as u32,
        })
}

/// A host candidate of the highest priority (RFC 8445 §5.1.2.1).
pub fn host_candidate(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".into(),
        kind: CandidateKind::Host,
    }
}

/// The transport of a section: one host candidate.
pub fn transport(
    candidate: Candidate,
    ice: &IceCredentials,
    fingerprint: [u8; 32],
    setup: Setup,
) -> sdp::Transport {
    sdp::Transport {
        ufrag: Some(ice.ufrag.clone()),
        pwd: Some(ice.pwd.clone()),
        fingerprint: Some(sdp::Fingerprint::Sha256(fingerprint)),
        setup: Some(setup),
        candidates: vec![sdp::Candidate {
            foundation: candidate.foundation,
            component: 1,
            protocol: sdp::Protocol::Udp,
            priority: candidate.priority,
            address: candidate.address,
            kind: sdp::CandidateType::Host,
            tcp_type: None,
            ufrag: None,
        }],
        end_of_candidates: true,
        trickle: false,
    }
}

/// Who and where the server is, by its description.
pub fn remote_of(
    described: &Description,
    sctp: Option<SctpRemote>,
) -> anyhow::Result<(Remote, Vec<SocketAddr>)> {
    let first = described
        .media
        .first()
        .context("a description without sections")?;
    let transport = described.transport_of(first);
    let remote = Remote {
        ice: IceCredentials {
            ufrag: transport.ufrag.context("no ice-ufrag")?,
            pwd: transport.pwd.context("no ice-pwd")?,
        },
        fingerprint: transport.fingerprint.context("no fingerprint")?,
        dtls_role: match transport.setup {
            Some(Setup::Active) => DtlsRole::Server,
            _ => DtlsRole::Client,
        },
        ice_lite: described.session.ice_lite,
        sctp,
    };
    let addresses = transport
        .candidates
        .iter()
        .filter(|one| one.protocol == sdp::Protocol::Udp)
        .map(|one| one.address)
        .collect();
    Ok((remote, addresses))
}

/// The address of a trickled UDP candidate.
pub fn candidate(init: &str) -> Option<SocketAddr> {
    let init: serde_json::Value = serde_json::from_str(init).ok()?;
    let candidate = sdp::Candidate::parse(init.get("candidate")?.as_str()?)?;
    (candidate.protocol == sdp::Protocol::Udp).then_some(candidate.address)
}

/// A description whose sections share one transport.
pub fn bundle(media: Vec<sdp::Media>) -> Description {
    Description {
        session: sdp::Session {
            id: 1,
            version: 1,
            bundle: media.iter().filter_map(|section| section.mid.clone()).collect(),
            ..Default::default()
        },
        media,
    }
}

/// A description as signalling carries it.
pub fn description(kind: &str, id: u32, description: &Description) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.into(),
        sdp: description.to_string(),
        id,
        ..Default::default()
    }
}
