//! What a datagram is about, before anything is done with it: for a shell that cannot handle all.
//!
//! A guess by what nobody has authenticated yet: whoever knows a peer's address can have datagrams
//! taken for that peer's, as everywhere before decryption.

use super::Worker;
use crate::demux::Route;
use peer::Kind;
use std::net::SocketAddr;
use wire::demux;

/// How much a datagram matters to what is under way, most first. Media of older rooms and tracks comes
/// before that of newer ones: with a part of them served whole, more can talk than with all of them
/// served in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Keeps connections alive: checks, reports and data of peers that are connected.
    Control,
    /// An audio packet of a track; tracks compare by age.
    Audio(u64),
    /// Media of a stream that was not seen before.
    NewStream,
    /// A video packet of a track.
    Video(u64),
    /// Of a peer that is not connected yet: a check or a part of its DTLS handshake.
    Joining,
    /// Of nobody known.
    Unknown,
}

impl Worker {
    /// The class of a datagram.
    #[must_use]
    pub fn class_of(&self, from: SocketAddr, data: &[u8]) -> Class {
        let index = match self.demux.by_address(from) {
            Some(Route::Peer(index)) => index,
            Some(Route::Thread(_)) => return Class::Control,
            None if demux::classify(data) == demux::Class::Stun => return Class::Joining,
            None => return Class::Unknown,
        };
        let Some(slot) = self.peers.get(index) else {
            return Class::Unknown;
        };
        match demux::classify(data) {
            demux::Class::Rtp => match slot.peer.peek_rtp(data) {
                Some((track, Kind::Audio)) => Class::Audio(track),
                Some((track, Kind::Video)) => Class::Video(track),
                None => Class::NewStream,
            },
            demux::Class::TurnChannel | demux::Class::Unknown => Class::Unknown,
            demux::Class::Rtcp | demux::Class::Stun | demux::Class::Dtls if slot.connected => Class::Control,
            demux::Class::Rtcp | demux::Class::Stun | demux::Class::Dtls => Class::Joining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_by_what_they_matter() {
        let ordered = [
            Class::Control,
            Class::Audio(1),
            Class::Audio(2),
            Class::NewStream,
            Class::Video(1),
            Class::Video(2),
            Class::Joining,
            Class::Unknown,
        ];
        assert!(ordered.is_sorted());
    }
}
