//! What a client's descriptions are made of (RFC 8829), and what it reads in the server's.

use anyhow::Context;
use livekit_protocol as proto;
use peer::{Candidate, DtlsRole, IceCredentials, Remote};
use std::net::SocketAddr;
use wire::sdp::{self, Description, Setup};

pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// The transport of a section: one host candidate.
pub(crate) fn transport(
    candidate: Candidate,
    ice: &IceCredentials,
    fingerprint: [u8; 32],
    setup: Setup,
) -> sdp::Transport {
    sdp::Transport {
        ufrag: Some(ice.ufrag.clone()),
        pwd: Some(ice.pwd.clone()),
        fingerprint: Some(sdp::Fingerprint(fingerprint)),
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
pub(crate) fn remote_of(
    described: &Description,
    sctp: Option<u32>,
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
        fingerprint: transport.fingerprint.context("no SHA-256 fingerprint")?.0,
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
pub(crate) fn candidate(init: &str) -> Option<SocketAddr> {
    let init: serde_json::Value = serde_json::from_str(init).ok()?;
    let candidate = sdp::Candidate::parse(init.get("candidate")?.as_str()?)?;
    (candidate.protocol == sdp::Protocol::Udp).then_some(candidate.address)
}

pub(crate) fn bundle(media: Vec<sdp::Media>) -> Description {
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

pub(crate) fn description(kind: &str, id: u32, description: &Description) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.into(),
        sdp: description.to_string(),
        id,
        ..Default::default()
    }
}
