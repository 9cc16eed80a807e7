//! `Room` from outside: messages in, messages out, in virtual time.
#![allow(
    deprecated,
    reason = "what the protocol calls deprecated is what older clients still read"
)]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests pick one message of many, and fail loudly"
)]

mod api;
mod audio_codecs;
mod backup_codecs;
mod churn;
mod crowd;
mod data;
mod data_track_limits;
mod data_tracks;
mod demand;
mod descriptions;
mod down_options;
mod excess;
mod gates;
mod ghosts;
mod inbound;
mod joining;
mod leaving;
mod lifecycle;
mod limits;
mod metadata;
mod nonces;
mod permissions;
mod publishing;
mod rating;
mod replaying;
mod republishing;
mod resuming;
mod rpc;
mod sdp;
mod sections;
mod silent;
mod simulating;
mod speaking;
mod subscribing;
mod telling;
mod translation;
mod unbound;
mod updates;
mod world;
