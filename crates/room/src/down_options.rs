//! What the media plane must know of one subscription beyond its codecs: marks for injected frames,
//! trailers that the client cannot read, clients that learn of tracks by packets.
//!
//! Must not know: how frames are injected, how trailers look.

use crate::room::Room;
use media::api::{Command, DownKey, DownOptions, TrackKey};
use proto::client_info::{Capability, Sdk};
use protocol::proto;

impl Room {
    /// What follows a `Subscribe`, unless nothing is particular about it.
    pub(crate) fn set_down_options(&self, down: DownKey, track: TrackKey) -> Option<Command> {
        let options = self.down_options(down, track)?;
        (options != DownOptions::default()).then_some(Command::SetDownOptions { down, options })
    }

    fn down_options(&self, down: DownKey, track: TrackKey) -> Option<DownOptions> {
        let subscriber = self.participants.get(&self.downs.get(&down)?.subscriber)?;
        let publisher = self.participants.get(self.tracks.get(&track)?)?;
        let info = &publisher.publications.get(&track)?.info;
        let encrypted = info.encryption() != proto::encryption::Type::None;
        let knows_trailers = subscriber
            .client
            .capabilities
            .contains(&Capability::CapPacketTrailer.into());
        Some(DownOptions {
            injected_trailer: if encrypted {
                self.sif_trailer.as_slice().into()
            } else {
                Default::default()
            },
            strip_packet_trailer: !info.packet_trailer_features.is_empty() && !knows_trailers,
            announce: subscriber.client.sdk == i32::from(Sdk::Go),
        })
    }
}
