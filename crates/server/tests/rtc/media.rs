//! What a test client sends on its sections, packets that a server takes for key frames and sound,
//! and what it expects to get.

use super::Source;
use peer::{Codec, Kind, Payload, ReceiveSpec, SendSpec};
use wire::ext::ExtensionIds;
use wire::sdp::{Description, Direction, Media, MediaKind};

const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const DEPENDENCY: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// A VP8 key frame (RFC 7741 §4.2, RFC 6386 §9.1), 640 × 360.
const VP8: &[u8] = &[
    0x90, 0x80, 0x01, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01, 0, 0,
];
/// A VP9 key frame in one spatial layer (RFC 9628 §4.2).
const VP9: &[u8] = &[0xAC, 0x05, 0x00, 0x01, 0x82, 0x49, 0x83, 0x42, 0, 0];
/// SPS, PPS and an IDR slice in one aggregate (RFC 6184 §5.7.1).
const H264: &[u8] = &[
    0x18, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 0, 2, 0x68, 0xCE, 0, 3, 0x65, 0x88, 0x80,
];
/// VPS, SPS, PPS and an IDR slice in one aggregate (RFC 7798 §4.4.2).
pub const H265: &[u8] = &[
    0x60, 0x01, 0, 4, 0x40, 0x01, 0x0C, 0x01, 0, 4, 0x42, 0x01, 0x01, 0x01, 0, 4, 0x44, 0x01, 0xC1, 0x72, 0,
    5, 0x26, 0x01, 0xAF, 0x08, 0x42,
];
/// A temporal unit that begins a coded video sequence, and the descriptor of its first frame, as
/// Chromium sends them in mode L1T1.
const AV1: &[u8] = &[0x18, 0x0A, 0x0B, 0, 0, 0, 0x24, 0, 0, 0, 0, 0, 0, 0];
const AV1_DEPENDENCY: &[u8] = &[
    0xC0, 0x00, 0x01, 0x80, 0x00, 0x14, 0xEA, 0xA8, 0x60, 0x41, 0x4D, 0x14, 0x10, 0x20,
];
/// Opus silence, and the same as the only block of a redundant packet (RFC 2198 §3).
const OPUS: &[u8] = &[0xF8, 0xFF, 0xFE];
const RED: &[u8] = &[111, 0xF8, 0xFF, 0xFE];

/// What our description offers to send, as far as the server's takes it: in its first codec.
pub fn sources(ours: &Description, theirs: &Description) -> Vec<Source> {
    let mut sources = Vec::new();
    for media in &ours.media {
        let sends = matches!(media.direction, Direction::SendOnly | Direction::SendRecv);
        let answered = theirs.media.iter().find(|other| other.mid == media.mid);
        let Some(answered) = answered.filter(|answered| {
            sends
                && media.kind != MediaKind::Application
                && matches!(answered.direction, Direction::RecvOnly | Direction::SendRecv)
        }) else {
            continue;
        };
        let rids: Vec<String> = match &answered.simulcast {
            Some(simulcast) => simulcast.recv.clone(),
            None => vec![String::new()],
        };
        for (layer, rid) in rids.iter().enumerate() {
            sources.extend(source(media, answered, rid, layer));
        }
    }
    sources
}

/// What the server's description says that it sends.
pub fn receives(theirs: &Description) -> Vec<ReceiveSpec> {
    let sends = |media: &&Media| {
        matches!(media.direction, Direction::SendOnly | Direction::SendRecv)
            && media.kind != MediaKind::Application
            && !media.ssrcs.is_empty()
    };
    let spec = |media: &Media| {
        let mid = media.mid.clone()?;
        let payload = |pt| {
            Some(Payload {
                codec: codec(media, pt)?,
                pt,
                rtx_pt: None,
                nack: false,
            })
        };
        Some(ReceiveSpec {
            tag: mid.parse().ok()?,
            mid,
            kind: match media.kind {
                MediaKind::Audio => Kind::Audio,
                _ => Kind::Video,
            },
            payloads: media.payload_types().filter_map(payload).collect(),
            extensions: ExtensionIds {
                mid: media.extension(MID).unwrap_or(0),
                ..ExtensionIds::default()
            },
            rids: Vec::new(),
            ssrcs: media
                .ssrcs
                .iter()
                .map(|described| (described.ssrc, None))
                .collect(),
            transport_cc: false,
        })
    };
    theirs.media.iter().filter(sends).filter_map(spec).collect()
}

fn codec(media: &Media, pt: u8) -> Option<Codec> {
    Some(match &*media.rtpmap(pt)?.encoding.to_ascii_lowercase() {
        "opus" => Codec::Opus,
        "red" => Codec::Red,
        "vp8" => Codec::Vp8,
        "vp9" => Codec::Vp9,
        "h264" => Codec::H264,
        "h265" => Codec::H265,
        "av1" => Codec::Av1,
        _ => return None,
    })
}

fn source(media: &Media, answered: &Media, rid: &str, layer: usize) -> Option<Source> {
    let pt = answered.payload_types().next()?;
    let codec = codec(answered, pt)?;
    let mid = media.mid.clone()?;
    let index = mid.parse::<u32>().ok()?;
    // With RIDs the SSRCs are not described.
    let ssrc = media.ssrcs.first().filter(|_| rid.is_empty());
    let ssrc = ssrc.map_or(0x5000_0000 + index * 16 + layer as u32, |described| {
        described.ssrc
    });
    let spec = SendSpec {
        tag: u64::from(index) * 16 + layer as u64,
        mid,
        kind: codec.kind(),
        ssrc,
        rtx_ssrc: None,
        payloads: vec![Payload {
            codec,
            pt,
            rtx_pt: None,
            nack: false,
        }],
        extensions: ExtensionIds {
            mid: answered.extension(MID).unwrap_or(0),
            // Nobody here sends capture times: their place carries the RID.
            abs_capture_time: answered.extension(RID).unwrap_or(0),
            dependency_descriptor: answered.extension(DEPENDENCY).unwrap_or(0),
            ..ExtensionIds::default()
        },
        cname: "test".to_owned(),
        playout_delay: None,
    };
    let (payload, dependency_descriptor): (&[u8], &[u8]) = match codec {
        Codec::Opus => (OPUS, &[]),
        Codec::Red => (RED, &[]),
        Codec::Vp8 => (VP8, &[]),
        Codec::Vp9 => (VP9, &[]),
        Codec::H264 => (H264, &[]),
        Codec::H265 => (H265, &[]),
        _ => (AV1, AV1_DEPENDENCY),
    };
    Some(Source {
        spec,
        codec,
        payload: payload.to_vec(),
        rid: rid.to_owned(),
        dependency_descriptor: dependency_descriptor.to_vec(),
    })
}
