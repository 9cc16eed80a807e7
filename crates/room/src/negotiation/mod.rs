//! Offer/answer (RFC 8829, RFC 8843 BUNDLE) for one peer connection: SDP text in, SDP text and
//! media commands out.
//!
//! Owns: media sections and their mids, payload types, header extension ids, SSRCs that we send.
//! Must not know: participants, permissions, when to negotiate.

use media::api::{Codec, Command, DownKey, IceCredentials, Kind, LayerWish, PeerKey, TrackKey};

use protocol::proto;
use std::net::SocketAddr;

/// Which of LiveKit's peer connections this is (`media.md` §1).
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
    /// Open `_data_track` too (`enable_data_tracks`).
    pub data_tracks: bool,
    /// Randomness for SSRCs, the session id and the first offer id.
    pub seed: u64,
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
}

/// What an applied offer leads to.
#[derive(Debug)]
pub struct OfferOutcome {
    /// The answer: type, sdp, the offer's id, mid_to_track_id.
    pub answer: proto::SessionDescription,
    /// Tracks newly (or again) negotiated on a section.
    pub published: Vec<PublishedSection>,
    /// Tracks whose section is gone, inactive or no longer sends.
    pub ended: Vec<TrackKey>,
    /// Down tracks that have a section now (their `Subscribe` is among `commands`).
    pub bound: Vec<DownKey>,
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
    /// msid stream id, `<participant sid>|<track sid>` (or as `media.md` §3 says).
    pub stream_id: String,
    /// msid track id = track SID.
    pub track_sid: String,
    /// Adds `sprop-stereo=1`.
    pub stereo: bool,
    /// First layer wish.
    pub wish: LayerWish,
}

/// Why a description cannot be used. The session ends with STATE_MISMATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NegotiationError {
    /// Not SDP, or lacks what WebRTC needs (fingerprint, ICE credentials, mids).
    Unusable(String),
    /// Not allowed in this state or role.
    WrongState,
}

/// Subscribing failed for good: no common codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecUnsupported;

/// One peer connection's negotiation state.
#[derive(Debug)]
pub struct Transport {
    config: TransportConfig,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::needless_pass_by_ref_mut,
    reason = "skeleton"
)]
impl Transport {
    /// The transport, and the commands that create its peer and open the server's data channels
    /// (`AddPeer`, `OpenChannel`…).
    #[must_use]
    pub fn new(config: TransportConfig) -> (Self, Vec<Command>) {
        todo!()
    }

    /// Peer key.
    #[must_use]
    pub fn peer(&self) -> PeerKey {
        self.config.peer
    }

    /// Applies a client's offer (roles Single and Publisher). `announced` are all tracks of this
    /// participant that are pending or published.
    ///
    /// # Errors
    /// When the SDP cannot be used; nothing was changed then.
    pub fn handle_offer(
        &mut self,
        offer: &proto::SessionDescription,
        announced: &[AnnouncedTrack],
    ) -> Result<OfferOutcome, NegotiationError> {
        todo!()
    }

    /// Wants a copy of a track sent. It is bound by the next answer or offer that has room for it.
    ///
    /// # Errors
    /// When it is already known that the client supports none of the codecs.
    pub fn subscribe(&mut self, request: DownRequest) -> Result<(), CodecUnsupported> {
        todo!()
    }

    /// Ends a copy; its section is freed for reuse.
    pub fn unsubscribe(&mut self, down: DownKey) -> Vec<Command> {
        todo!()
    }

    /// Role Single: how many (audio, video) recvonly sections the client lacks for what is
    /// subscribed. `Some((0, 0))` asks for a mere re-offer (sections suffice but tracks wait to be
    /// bound or freed); `None`: nothing to do.
    #[must_use]
    pub fn requirement(&self) -> Option<(u32, u32)> {
        todo!()
    }

    /// Role Subscriber: whether something waits to be offered.
    #[must_use]
    pub fn needs_offer(&self) -> bool {
        todo!()
    }

    /// Role Subscriber: whether an offer is unanswered.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        todo!()
    }

    /// Role Subscriber: the next offer (id incremented), with mid_to_track_id.
    pub fn make_offer(&mut self) -> proto::SessionDescription {
        todo!()
    }

    /// Role Subscriber: applies the client's answer.
    ///
    /// # Errors
    /// When the SDP cannot be used.
    pub fn handle_answer(
        &mut self,
        answer: &proto::SessionDescription,
    ) -> Result<AnswerOutcome, NegotiationError> {
        todo!()
    }

    /// A trickled candidate (`candidateInit` JSON). `Ok(None)`: passed over (mDNS, TCP, end of
    /// candidates). Candidates before the remote description are queued.
    ///
    /// # Errors
    /// The JSON parser's text.
    pub fn handle_trickle(&mut self, candidate_init: &str) -> Result<Option<Command>, String> {
        todo!()
    }

    /// Our candidates as `candidateInit` JSON strings, for trickling; the last is the final one.
    #[must_use]
    pub fn trickle_candidates(&self) -> Vec<String> {
        todo!()
    }

    /// Restarts ICE with new credentials: the next offer or answer carries them.
    pub fn restart_ice(&mut self, ice: IceCredentials) -> Vec<Command> {
        todo!()
    }
}
