//! The LiveKit contract: ids, tokens and grants, signal framing, join parameters, the Twirp table.
//!
//! Owns the shapes and texts that clients see. Must not know: media, rooms' insides, sockets.
#![forbid(unsafe_code)]

mod claims;
pub mod client;
pub mod decoded;
pub mod grants;
pub mod ids;
pub mod join;
pub mod lenient;
pub mod query;
pub mod signal;
pub mod token;
pub mod twirp;
pub mod twirp_json;

/// The LiveKit messages (package `livekit`), with proto3 JSON by serde.
pub use livekit_protocol as proto;
