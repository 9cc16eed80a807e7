//! Every way into a room.

use media::api::{Event, PeerKey, ThreadInfo};
use protocol::grants::Claims;
use protocol::proto;

/// A signal connection (WebSocket), numbered by the edge. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// An API call that waits for an answer, numbered by the edge. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId(pub u64);

/// One way into a room.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "actions are moved once, from mailbox to room"
)]
pub enum Action {
    /// A signal connection wants to join or resume. The first effect for its connection is the
    /// first signal response (join, reconnect or leave) or [`crate::Effect::RefuseJoin`].
    Join(Box<Join>),
    /// A request of a connection.
    Signal {
        /// Connection.
        connection: ConnectionId,
        /// Request.
        request: proto::SignalRequest,
    },
    /// The connection is gone (closed by the client or broken).
    SignalClosed {
        /// Connection.
        connection: ConnectionId,
    },
    /// From a media thread.
    Media(Event),
    /// A peer sent more messages than the room could take; what waited of them is lost.
    PeerOverran {
        /// Peer.
        peer: PeerKey,
    },
    /// A server API call, its grant already checked.
    Api {
        /// Where the answer goes.
        reply: ReplyId,
        /// What is asked.
        call: ApiCall,
    },
    /// Time passed [`crate::Room::poll_timeout`].
    Timeout,
    /// The server stops: everybody is told SERVER_SHUTDOWN.
    Shutdown,
}

/// A validated wish to join.
#[derive(Debug)]
pub struct Join {
    /// Connection.
    pub connection: ConnectionId,
    /// Verified claims (identity is not empty).
    pub claims: Claims,
    /// A further session of the same token, which only sends: its identity has a suffix (`publish`).
    pub sender_only: bool,
    /// Client info.
    pub client: proto::ClientInfo,
    /// Connection settings with v0/v1 defaults already applied.
    pub settings: Settings,
    /// Single peer connection (join_request used).
    pub single_peer_connection: bool,
    /// Metadata given by the client; overrides the token's.
    pub metadata: Option<String>,
    /// Attributes given by the client; merged over the token's.
    pub attributes: Vec<(String, String)>,
    /// Add-track requests inside the join request.
    pub add_tracks: Vec<proto::AddTrackRequest>,
    /// Publisher offer inside the join request.
    pub publisher_offer: Option<proto::SessionDescription>,
    /// A resume (`reconnect=1`), with what the client said about it.
    pub resume: Option<Resume>,
    /// The media thread chosen for this participant's peers.
    pub placement: ThreadInfo,
    /// Validity left of the token, seconds (bounds refreshed tokens from below).
    pub token_remaining_s: u64,
    /// The server has no time for anybody more: only who is in the room already may come back.
    pub full: bool,
}

/// How somebody wants to be served, as LiveKit's query parameters and join requests say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Subscribe to every track.
    pub auto_subscribe: bool,
    /// Subscribe to every data track.
    pub auto_subscribe_data_track: bool,
    /// Starts at LOW and lets the client steer by dimensions.
    pub adaptive_stream: bool,
    /// Its video may be paused when its network is too narrow for everything.
    pub allow_pause: bool,
    /// Do not act as ICE-lite.
    pub disable_ice_lite: bool,
}

/// What a resuming client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Participant SID it believes to have.
    pub participant_sid: String,
    /// Why it reconnects.
    pub reason: i32,
}

/// Room-scoped API calls. Room name and grants were checked by the edge.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each variant is the Twirp method of that name")]
pub enum ApiCall {
    /// CreateRoom on an existing or fresh room: answers with the room.
    CreateRoom,
    DeleteRoom,
    ListParticipants,
    GetParticipant {
        identity: String,
    },
    RemoveParticipant {
        identity: String,
    },
    MutePublishedTrack {
        identity: String,
        track_sid: String,
        muted: bool,
    },
    UpdateParticipant(Box<proto::UpdateParticipantRequest>),
    UpdateSubscriptions(Box<proto::UpdateSubscriptionsRequest>),
    SendData(Box<proto::SendDataRequest>),
    UpdateRoomMetadata {
        metadata: String,
    },
    PerformRpc(Box<proto::PerformRpcRequest>),
}
