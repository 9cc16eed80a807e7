//! Every way out of a room.

use crate::action::{ConnectionId, ReplyId};
use media::api::{Command, ThreadId};
use protocol::grants::Claims;
use protocol::proto;

/// One thing for the shell to do. Effects are carried out in the order they were polled.
#[derive(Debug)]
pub enum Effect {
    /// A signal response. The first one for a connection lets the edge upgrade the WebSocket.
    Signal {
        /// Connection.
        connection: ConnectionId,
        /// Response.
        response: Box<proto::SignalResponse>,
    },
    /// One signal response for several connections, which all have had their first one. It is to be
    /// encoded once.
    Broadcast {
        /// Connections.
        connections: Vec<ConnectionId>,
        /// Response.
        response: Box<proto::SignalResponse>,
    },
    /// A fresh access token for a connection: the shell signs the claims and sends
    /// `refresh_token` (secrets never enter the room).
    RefreshToken {
        /// Connection.
        connection: ConnectionId,
        /// Claims to sign.
        claims: Box<Claims>,
        /// Validity, seconds.
        valid_s: u64,
    },
    /// The join failed before the first response: an HTTP error, no upgrade.
    RefuseJoin {
        /// Connection.
        connection: ConnectionId,
        /// Body text.
        text: String,
    },
    /// Flush what was queued, then close the WebSocket with code 1000.
    CloseSignal {
        /// Connection.
        connection: ConnectionId,
    },
    /// A command to a media thread.
    Media {
        /// Which thread.
        thread: ThreadId,
        /// Command.
        command: Command,
    },
    /// Answer to an API call.
    Reply {
        /// Which call.
        reply: ReplyId,
        /// Answer.
        result: Result<ApiReply, ApiError>,
    },
    /// What others may list of this room changed.
    Listed {
        /// The room as ListRooms shows it.
        room: Box<proto::Room>,
    },
    /// The room is over: drop it. Nothing follows but refusals of what arrives late.
    Closed,
}

/// Answers of [`crate::ApiCall`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each variant is the message of that name")]
pub enum ApiReply {
    Room(Box<proto::Room>),
    Participants(Vec<proto::ParticipantInfo>),
    Participant(Box<proto::ParticipantInfo>),
    Track(Option<Box<proto::TrackInfo>>),
    /// The payload of a client's answer to PerformRpc.
    Rpc(String),
    Empty,
}

/// A failed API call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Twirp code.
    pub code: ApiErrorCode,
    /// Text for the client.
    pub message: String,
    /// Twirp `meta` pairs.
    pub meta: Vec<(String, String)>,
}

/// Twirp codes that rooms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Twirp's")]
pub enum ApiErrorCode {
    Canceled,
    NotFound,
    InvalidArgument,
    Malformed,
    FailedPrecondition,
    Internal,
    Unknown,
    Unimplemented,
    ResourceExhausted,
    Unavailable,
    /// Answered with 503 `no response from servers`, 3 s after the call (there is no target).
    NoTarget,
}
