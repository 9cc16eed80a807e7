//! Offer/answer (RFC 8829, RFC 8843 BUNDLE) for one peer connection: SDP text in, SDP text and
//! media commands out.
//!
//! Owns: media sections and their mids, payload types, header extension ids, SSRCs that we send.
//! Must not know: participants, permissions, when to negotiate.

mod candidates;
mod codecs;
mod offer;
mod publish;
mod sections;
mod subscriber;
mod transport;

pub(crate) use candidates::INIT_BYTES_MAX;
pub use offer::AcceptedOffer;
pub use transport::Transport;

use crate::random::Seed;
use media::api::{Codec, Command, DownKey, IceCredentials, Kind, LayerWish, PeerKey, TrackKey};

use protocol::proto;
use std::net::SocketAddr;

/// Which of LiveKit's peer connections this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One connection for both directions; the client offers.
    Single,
    /// Dual mode, client → server; the client offers.
    Publisher,
    /// Dual mode, server → client; the server offers.
    Subscriber,
}

/// What a client can and cannot do, as far as SDP is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTraits {
    /// Signal protocol number.
    pub protocol: i32,
    /// Firefox: no RED; on Linux/Android ignores answer ordering.
    pub firefox: bool,
    /// Safari: no RED, no transceiver reuse.
    pub safari: bool,
    /// Only the preferred video codec may stand in the answer (Firefox on Linux and Android).
    pub ignores_answer_order: bool,
}

/// How a transport starts.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Peer key on the media plane.
    pub peer: PeerKey,
    /// Role.
    pub role: Role,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// We are ICE-lite.
    pub ice_lite: bool,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Our host addresses, position = local socket index.
    pub addresses: Vec<SocketAddr>,
    /// Enabled codecs of the room minus those disabled for this client: (mime, fmtp line), in the
    /// room's order, e.g. `("video/VP8", "")`.
    pub codecs: Vec<(String, String)>,
    /// Client.
    pub client: ClientTraits,
    /// Least and most playout delay of video in milliseconds, stamped where the client takes it.
    pub playout_delay: Option<(u16, u16)>,
    /// Open `_data_track` too (`enable_data_tracks`).
    pub data_tracks: bool,
    /// Randomness for SSRCs, the session id, the first offer id, and the credentials of a restart.
    pub seed: Seed,
}

/// A track that the client announced with AddTrack and that a section of an offer may carry.
#[derive(Clone, Debug)]
pub struct AnnouncedTrack {
    /// Key under which it will be published.
    pub track: TrackKey,
    /// Its client ids: the request's `cid` and the simulcast codecs' ones, matched with the msid
    /// track id of the section.
    pub cids: Vec<String>,
    /// Kind.
    pub kind: Kind,
    /// Codec asked for first (canonical or client spelling, `video/vp8`), empty when none.
    pub mime: String,
    /// `TF_STEREO`.
    pub stereo: bool,
    /// `TF_NO_DTX`.
    pub no_dtx: bool,
    /// RED not wanted.
    pub disable_red: bool,
    /// Feeds speaker detection.
    pub microphone: bool,
}

/// A section on which a track is now negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedSection {
    /// Track.
    pub track: TrackKey,
    /// `a=mid`.
    pub mid: String,
    /// msid track id in the offer (`sdp_cid` when it is none of the announced ones).
    pub sdp_cid: String,
    /// RIDs from low to high, empty without simulcast.
    pub rids: Vec<String>,
    /// (primary, RTX) SSRCs announced in the offer.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Codec answered first.
    pub codec: Codec,
    /// The client may send others as well.
    pub others: Vec<Codec>,
}

/// What an answered offer leads to.
#[derive(Debug)]
pub struct OfferOutcome {
    /// The answer: type, sdp, the offer's id, mid_to_track_id.
    pub answer: proto::SessionDescription,
    /// Tracks newly (or again) negotiated on a section.
    pub published: Vec<PublishedSection>,
    /// Down tracks that have a section now (their `Subscribe` is among `commands`).
    pub bound: Vec<DownKey>,
    /// Waiting down tracks that were dropped: the client has sections but none of their codecs.
    pub refused: Vec<DownKey>,
    /// To the media plane, in order.
    pub commands: Vec<Command>,
}

/// What an applied answer leads to.
#[derive(Debug, Default)]
pub struct AnswerOutcome {
    /// Down tracks that were accepted (their `Subscribe` is among `commands`).
    pub bound: Vec<DownKey>,
    /// Down tracks whose section the client rejected or whose codec it does not support.
    pub refused: Vec<DownKey>,
    /// To the media plane, in order.
    pub commands: Vec<Command>,
    /// It came too late, behind another offer, and changed nothing.
    pub stale: bool,
}

/// A wanted copy of a track.
#[derive(Clone, Debug)]
pub struct DownRequest {
    /// Key.
    pub down: DownKey,
    /// Of which track.
    pub track: TrackKey,
    /// Kind.
    pub kind: Kind,
    /// Codecs that the publisher may send (for RED the list is `[Red, Opus]`: Opus is extracted).
    pub codecs: Vec<Codec>,
    /// Which of `codecs` are sent as tracks of their own; the others are `track`.
    pub backups: Vec<(Codec, TrackKey)>,
    /// msid stream id (RFC 8830 §2), `<participant sid>|<track sid>`, or what `sync_streams` makes of it.
    pub stream_id: String,
    /// The stream id is shared with other tracks: no section is used a second time for it.
    pub synchronized: bool,
    /// msid track id = track SID.
    pub track_sid: String,
    /// Adds `sprop-stereo=1`.
    pub stereo: bool,
    /// First layer wish.
    pub wish: LayerWish,
}

/// Why a description cannot be used. The session ends with STATE_MISMATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NegotiationError {
    /// Not SDP, or lacks what WebRTC needs (fingerprint, ICE credentials, mids).
    Unusable(String),
    /// Not allowed in this state or role.
    WrongState,
}

/// Subscribing failed for good: no common codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecUnsupported;

#[cfg(test)]
mod tests;
