//! The domain: rooms, participants, publications, subscriptions, permissions, negotiation.
//!
//! One [`Room`] is one sans-IO state machine: [`Action`] in, [`Effect`] out.
//! Must not know: sockets, tokens' signatures, stores, threads, which node it is on.
//!
//! Drain order: after every [`Room::apply`] drain [`Room::poll_effect`] until `None`, then read
//! [`Room::poll_timeout`].
#![forbid(unsafe_code)]

pub mod action;
pub mod config;
pub mod effect;
pub mod negotiation;
mod room;

pub use action::{Action, ApiCall, ConnectionId, Join, ReplyId};
pub use config::{Limits, Now, RoomConfig};
pub use effect::{ApiError, ApiErrorCode, ApiReply, Effect};
pub use room::Room;
