//! The wall between the planes: [`Command`] goes in, [`Event`] comes out. Small integer keys only;
//! names, SIDs, SDP and protobuf never cross.

pub use crate::window::{DownReception, DownWindow, UpWindow};
pub use peer::{
    Candidate, CandidateKind, ChannelSpec, Codec, DtlsRole, HandshakeFailure, IceCredentials, Kind, Payload,
    ReceiveSpec, Remote, SctpRemote, SendSpec,
};
use std::net::SocketAddr;
use std::time::Duration;

/// How long a down track that ends goes on with blank frames: several, because some may be lost.
pub const BLANK_END: Duration = Duration::from_millis(200);

/// Index of a media thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadId(pub u8);

/// A room, as the media plane knows it: opaque, returned with events so that the shell finds the
/// room's mailbox. Unique within the process for its lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey(pub u32);

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// `thread` is where it lives; `serial` is unique within the room (24 bits).
            #[must_use]
            pub const fn new(thread: ThreadId, room: RoomKey, serial: u32) -> Self {
                Self(((thread.0 as u64) << 56) | ((room.0 as u64) << 24) | (serial as u64 & 0xFF_FFFF))
            }

            /// The thread on which it lives.
            #[must_use]
            pub const fn thread(self) -> ThreadId {
                ThreadId((self.0 >> 56) as u8)
            }

            /// The room to which it belongs.
            #[must_use]
            pub const fn room(self) -> RoomKey {
                RoomKey((self.0 >> 24) as u32)
            }
        }
    };
}
key!(
    /// A peer connection.
    PeerKey
);
key!(
    /// An up track: what one section of a publisher's peer sends. Lives on the publisher's thread.
    TrackKey
);
key!(
    /// A down track: one subscriber's copy of an up track. Lives on the subscriber's thread.
    DownKey
);

/// A local socket of a media thread, as advertised in candidates. Its position in
/// [`ThreadInfo::sockets`] is the `local` index used everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSocket {
    /// Address to advertise.
    pub address: SocketAddr,
}

/// What the control plane must know of a media thread to write SDP without asking.
#[derive(Clone, Debug)]
pub struct ThreadInfo {
    /// Which thread.
    pub thread: ThreadId,
    /// Its sockets.
    pub sockets: Vec<LocalSocket>,
}

/// Makes an ICE user name fragment that carries the thread, so that any thread that receives a
/// first STUN request on a shared port can hand it to the owner.
///
/// Shape: two characters of base 16 (`thread`), then `random`, which must be at least 6 ICE
/// characters (RFC 8445 §5.3 asks for 24 random bits).
#[must_use]
pub fn make_ufrag(thread: ThreadId, random: &str) -> String {
    format!("{:02x}{random}", thread.0)
}

/// The thread encoded in a user name fragment made by [`make_ufrag`].
#[must_use]
pub fn thread_of_ufrag(ufrag: &[u8]) -> Option<ThreadId> {
    let text = core::str::from_utf8(ufrag.get(..2)?).ok()?;
    u8::from_str_radix(text, 16).ok().map(ThreadId)
}

/// Which layers of an up track a down track wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerWish {
    /// Highest spatial layer, 0 (lowest) ..= 2. When that layer is not being sent the highest one
    /// below it is used, or the lowest above it.
    pub spatial: u8,
    /// Highest temporal layer, 0..=3.
    pub temporal: u8,
    /// False: send nothing (disabled by the subscriber or paused).
    pub enabled: bool,
}

impl LayerWish {
    /// Everything.
    pub const BEST: Self = Self {
        spatial: 2,
        temporal: 3,
        enabled: true,
    };
}

/// What is particular about a down track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DownOptions {
    /// Stands at the end of every frame that is injected into an encrypted track, so that clients do
    /// not decrypt it. Empty: the track is not encrypted.
    pub injected_trailer: std::sync::Arc<[u8]>,
    /// The subscriber does not know packet trailers: they are cut off.
    pub strip_packet_trailer: bool,
    /// The client learns of a track by its first packet: one is made when the publisher sends none.
    pub announce: bool,
}

/// Control plane → one media thread. All are fire-and-forget and idempotent towards unknown keys
/// (a peer may have closed meanwhile).
#[derive(Debug)]
pub enum Command {
    /// A new peer on this thread. STUN with its credentials is welcome from now on.
    AddPeer {
        /// Its key; `key.thread()` is this thread.
        peer: PeerKey,
        /// Our ICE credentials; the ufrag is made by [`make_ufrag`].
        ice: IceCredentials,
        /// We are ICE-lite.
        ice_lite: bool,
        /// We are the controlling agent.
        ice_controlling: bool,
        /// Random seed.
        seed: u64,
    },
    /// Remote description, or a changed one.
    SetRemote {
        /// Peer.
        peer: PeerKey,
        /// Description.
        remote: Remote,
    },
    /// A remote candidate.
    AddCandidate {
        /// Peer.
        peer: PeerKey,
        /// Candidate.
        candidate: Candidate,
    },
    /// New local ICE credentials.
    RestartIce {
        /// Peer.
        peer: PeerKey,
        /// New credentials.
        ice: IceCredentials,
    },
    /// Open a data channel.
    OpenChannel {
        /// Peer.
        peer: PeerKey,
        /// How.
        channel: ChannelSpec,
    },
    /// The peer sends a track on a section. `spec.tag` is the [`TrackKey`]. Repeated for the same
    /// key it replaces the spec (renegotiation).
    Publish {
        /// Peer.
        peer: PeerKey,
        /// Track; lives on the peer's thread.
        track: TrackKey,
        /// Section.
        spec: ReceiveSpec,
        /// Microphone sources feed speaker detection.
        audio_level: bool,
    },
    /// The track ended. Down tracks stay until they are unsubscribed, but get nothing.
    Unpublish {
        /// Track.
        track: TrackKey,
    },
    /// The publisher muted or unmuted: a muted track is not forwarded.
    MuteTrack {
        /// Track.
        track: TrackKey,
        /// Muted.
        muted: bool,
    },
    /// A subscriber's copy of a track, which may live on another thread.
    /// `spec.tag` is the [`DownKey`]. Repeated for the same key it replaces the spec, and the copy is
    /// made of `track` from then on: another codec of the same thing.
    Subscribe {
        /// The subscriber's peer.
        peer: PeerKey,
        /// The down track; lives on the peer's thread.
        down: DownKey,
        /// What it is a copy of.
        track: TrackKey,
        /// How it is sent.
        spec: SendSpec,
        /// First wish.
        wish: LayerWish,
    },
    /// The copy ended. Where its codec has blank frames they follow for [`BLANK_END`].
    Unsubscribe {
        /// Down track.
        down: DownKey,
    },
    /// What is particular about a down track. Follows its `Subscribe`; without it nothing is.
    SetDownOptions {
        /// Down track.
        down: DownKey,
        /// What holds from now on.
        options: DownOptions,
    },
    /// Other layers, or on/off.
    SetWish {
        /// Down track.
        down: DownKey,
        /// Wish.
        wish: LayerWish,
    },
    /// A data message to some peers' channels, encoded once. Peers without an open channel of that
    /// label are passed over and reported by [`EventKind::MessageDropped`]. Reliable messages wait
    /// for a channel that is busy; for others that is as if there were none.
    SendMessage {
        /// Peers of this thread.
        peers: Vec<PeerKey>,
        /// Label of the channel.
        label: ChannelLabel,
        /// Bytes, at most 65,535.
        data: std::sync::Arc<[u8]>,
    },
    /// A packet of a data track, to each peer under its own handle. As [`Self::SendMessage`] on
    /// [`ChannelLabel::DataTrack`] otherwise.
    SendDataTrackPacket {
        /// Peers of this thread, and the handle that each knows the track by.
        receivers: Vec<(PeerKey, u16)>,
        /// Bytes, at most 65,535, under any handle.
        data: std::sync::Arc<[u8]>,
    },
    /// The peer is done: sends what tells the remote side, then forgets everything of it.
    ClosePeer {
        /// Peer.
        peer: PeerKey,
    },
    /// Closes the running window of everything that the room has on this thread, and tells it by
    /// [`EventKind::Windows`].
    Measure {
        /// Room.
        room: RoomKey,
    },
    /// The room is done (its audio-level window is forgotten).
    CloseRoom {
        /// Room.
        room: RoomKey,
    },
}

impl Command {
    /// The room that it is of; `None` for a message to nobody.
    #[must_use]
    pub fn room(&self) -> Option<RoomKey> {
        Some(match self {
            Self::AddPeer { peer, .. }
            | Self::SetRemote { peer, .. }
            | Self::AddCandidate { peer, .. }
            | Self::RestartIce { peer, .. }
            | Self::OpenChannel { peer, .. }
            | Self::Publish { peer, .. }
            | Self::Subscribe { peer, .. }
            | Self::ClosePeer { peer } => peer.room(),
            Self::Unpublish { track } | Self::MuteTrack { track, .. } => track.room(),
            Self::Unsubscribe { down } | Self::SetDownOptions { down, .. } | Self::SetWish { down, .. } => {
                down.room()
            }
            Self::SendMessage { peers, .. } => peers.first()?.room(),
            Self::SendDataTrackPacket { receivers, .. } => receivers.first()?.0.room(),
            Self::Measure { room } | Self::CloseRoom { room } => *room,
        })
    }

    /// The channel of the message that it carries, and for how many peers; `None` when it controls.
    #[must_use]
    pub fn message(&self) -> Option<(ChannelLabel, usize)> {
        if let Self::SendMessage { peers, label, .. } = self {
            Some((*label, peers.len()))
        } else if let Self::SendDataTrackPacket { receivers, .. } = self {
            Some((ChannelLabel::DataTrack, receivers.len()))
        } else {
            None
        }
    }

    /// Bytes of the message that it carries.
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        if let Self::SendMessage { data, .. } | Self::SendDataTrackPacket { data, .. } = self {
            data.len()
        } else {
            0
        }
    }
}

/// The data channels that LiveKit names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelLabel {
    /// `_reliable`
    Reliable,
    /// `_lossy`
    Lossy,
    /// `_data_track`
    DataTrack,
    /// Any other label: raw bytes of a user.
    Unlabelled,
}

impl ChannelLabel {
    /// Reads a label.
    #[must_use]
    pub fn from_label(label: &str) -> Self {
        match label {
            "_reliable" => Self::Reliable,
            "_lossy" => Self::Lossy,
            "_data_track" => Self::DataTrack,
            _ => Self::Unlabelled,
        }
    }

    /// The label on the wire; `None` for unlabelled ones, which have no single name.
    #[must_use]
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::Reliable => Some("_reliable"),
            Self::Lossy => Some("_lossy"),
            Self::DataTrack => Some("_data_track"),
            Self::Unlabelled => None,
        }
    }
}

/// One media thread → control plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The room it concerns.
    pub room: RoomKey,
    /// What happened.
    pub kind: EventKind,
}

/// What happened on a media thread.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// ICE has a pair.
    IceConnected {
        /// Peer.
        peer: PeerKey,
    },
    /// ICE lost its pair; it may come back.
    IceDisconnected {
        /// Peer.
        peer: PeerKey,
    },
    /// DTLS is done: media and data can flow.
    PeerConnected {
        /// Peer.
        peer: PeerKey,
    },
    /// The DTLS handshake failed, and why. [`Self::PeerFailed`] follows.
    HandshakeFailed {
        /// Peer.
        peer: PeerKey,
        /// Why.
        failure: HandshakeFailure,
    },
    /// ICE failed for good, DTLS failed, or the peer was dropped after a fault of ours.
    PeerFailed {
        /// Peer.
        peer: PeerKey,
    },
    /// The first packet of a layer of a published track arrived.
    LayerStarted {
        /// Track.
        track: TrackKey,
        /// Spatial layer (position of the RID, 0 without simulcast).
        layer: u8,
        /// SSRC.
        ssrc: u32,
        /// RTX SSRC.
        rtx_ssrc: Option<u32>,
        /// Codec in use.
        codec: Codec,
    },
    /// A layer has sent nothing for its stop interval.
    LayerStopped {
        /// Track.
        track: TrackKey,
        /// Spatial layer.
        layer: u8,
    },
    /// The first packet of a down track left.
    DownStarted {
        /// Down track.
        down: DownKey,
    },
    /// A data channel opened.
    ChannelOpen {
        /// Peer.
        peer: PeerKey,
        /// Which.
        label: ChannelLabel,
    },
    /// A data channel closed.
    ChannelClosed {
        /// Peer.
        peer: PeerKey,
        /// Which.
        label: ChannelLabel,
    },
    /// A data message arrived.
    Message {
        /// Peer.
        peer: PeerKey,
        /// On which channel.
        label: ChannelLabel,
        /// Bytes.
        data: Vec<u8>,
    },
    /// Messages could not be queued for a peer (no such channel, or its send buffer is full).
    MessageDropped {
        /// Peer.
        peer: PeerKey,
        /// Channel.
        label: ChannelLabel,
        /// How many since the last such event, at least 1.
        count: u64,
    },
    /// Audio levels of the room's microphone tracks on this thread, every 400 ms while any is
    /// above zero, and once when all fell to zero. Linear 0.0..=1.0, smoothed.
    AudioLevels {
        /// (track, level, active).
        levels: Vec<(TrackKey, f32, bool)>,
    },
    /// Answer to [`Command::Measure`]: what passed since the last one.
    Windows {
        /// Everything published from this thread.
        ups: Vec<UpWindow>,
        /// Copies that lost something lately, or of which nothing is reported any more. Of all
        /// others there is nothing to say.
        downs: Vec<DownWindow>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_carry_thread_and_room() {
        let key = TrackKey::new(ThreadId(3), RoomKey(0xDEAD_BEEF), 77);
        assert_eq!((key.thread(), key.room()), (ThreadId(3), RoomKey(0xDEAD_BEEF)));
    }

    #[test]
    fn ufrag_names_its_thread() {
        let ufrag = make_ufrag(ThreadId(17), "abcdef");
        assert_eq!(thread_of_ufrag(ufrag.as_bytes()), Some(ThreadId(17)));
        assert_eq!(thread_of_ufrag(b"z"), None);
    }
}
