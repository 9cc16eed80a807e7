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

/// What a client's offer leads to, when nothing is announced in the place of what ends by it.
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) answer: proto::SessionDescription,
    pub(super) published: Vec<PublishedSection>,
    pub(super) ended: Vec<TrackKey>,
    pub(super) bound: Vec<DownKey>,
    pub(super) refused: Vec<DownKey>,
    pub(super) commands: Vec<Command>,
}

impl Transport {
    fn handle_offer(
        &mut self,
        offer: &proto::SessionDescription,
        announced: &[AnnouncedTrack],
    ) -> Result<Handled, NegotiationError> {
        let mut accepted = self.accept_offer(offer, announced)?;
        let ended = std::mem::take(&mut accepted.ended);
        let mut commands = std::mem::take(&mut accepted.commands);
        let mut announced = announced.to_vec();
        announced.retain(|track| !ended.contains(&track.track));
        let outcome = self.answer_offer(accepted, &announced);
        commands.extend(outcome.commands);
        Ok(Handled {
            answer: outcome.answer,
            published: outcome.published,
            ended,
            bound: outcome.bound,
            refused: outcome.refused,
            commands,
        })
    }
}

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
        seed: Seed::new([7; 32]),
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
