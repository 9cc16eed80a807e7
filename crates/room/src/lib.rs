//! The domain: rooms, participants, publications, subscriptions, permissions, negotiation.
//!
//! One [`Room`] is one sans-IO state machine: [`Action`] in, [`Effect`] out.
//! Must not know: sockets, tokens' signatures, stores, threads, which node it is on.
//!
//! Drain order: after every [`Room::apply`] drain [`Room::poll_effect`] until `None`, then read
//! [`Room::poll_timeout`].
#![forbid(unsafe_code)]
#![allow(
    deprecated,
    reason = "what the protocol calls deprecated is what older clients still read"
)]

pub mod action;
mod add_track;
mod api;
mod backup;
mod client;
pub mod config;
mod data;
mod data_handle;
mod data_track;
mod demand;
mod departures;
mod down_options;
pub mod effect;
mod exchange;
mod join;
mod leave;
mod metadata;
pub mod negotiation;
mod participant;
mod pending;
mod permission;
mod publication;
mod quality;
mod random;
mod resume;
mod room;
mod rpc;
mod simulate;
mod speaker;
mod subscription;
mod telling;
mod timers;
mod update;
mod waiting_data;
mod wish;

pub use action::{Action, ApiCall, ConnectionId, Join, ReplyId};
pub use config::{Limits, Now, RoomConfig};
pub use effect::{ApiError, ApiErrorCode, ApiReply, Effect};
pub use join::NODE_FULL;
pub use random::Seed;
pub use room::{Room, RoomGauges, RoomStats};
pub use telling::Pressure;

#[cfg(test)]
mod tests_support {
    use std::time::Instant;

    /// Some instant: virtual time begins here.
    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    pub(crate) fn origin() -> Instant {
        Instant::now()
    }
}
