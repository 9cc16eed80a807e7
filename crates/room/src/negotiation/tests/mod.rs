//! Negotiation against recorded calls, and its rules one by one.

#![allow(clippy::wildcard_enum_match_arm, reason = "tests pick out one variant")]

mod churn;
mod client;
mod facts;
mod recorded;
mod replay;
mod rules;

use super::*;
use media::api::{RoomKey, ThreadId};

pub(super) const ALL_CODECS: [Codec; 5] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

pub(super) fn config(role: Role) -> TransportConfig {
    TransportConfig {
        peer: PeerKey::new(ThreadId(3), RoomKey(1), 1),
        role,
        ice: IceCredentials {
            ufrag: "03ourfragment".to_owned(),
            pwd: "ourpasswordourpassword00".to_owned(),
        },
        ice_lite: false,
        fingerprint: [0x5A; 32],
        addresses: vec!["127.0.0.1:27882".parse().unwrap()],
        codecs: crate::config::default_codecs()
            .into_iter()
            .map(|codec| (codec.mime, codec.fmtp_line))
            .collect(),
        client: ClientTraits {
            protocol: 17,
            ..ClientTraits::default()
        },
        playout_delay: None,
        data_tracks: true,
        seed: 7,
    }
}

pub(super) fn down(serial: u32, kind: Kind) -> DownRequest {
    let room = RoomKey(1);
    let codecs = match kind {
        Kind::Audio => vec![Codec::Red, Codec::Opus],
        Kind::Video => ALL_CODECS.to_vec(),
    };
    DownRequest {
        down: DownKey::new(ThreadId(3), room, serial),
        track: TrackKey::new(ThreadId(3), room, serial),
        kind,
        codecs,
        backups: Vec::new(),
        stream_id: format!("PA_x|TR_{serial}"),
        synchronized: false,
        track_sid: format!("TR_{serial}"),
        stereo: false,
        wish: LayerWish::BEST,
    }
}

pub(super) fn announced(serial: u32, kind: Kind, cid: &str) -> AnnouncedTrack {
    AnnouncedTrack {
        track: TrackKey::new(ThreadId(3), RoomKey(1), serial),
        cids: vec![cid.to_owned()],
        kind,
        mime: String::new(),
        stereo: false,
        no_dtx: false,
        disable_red: false,
        microphone: kind == Kind::Audio,
    }
}
