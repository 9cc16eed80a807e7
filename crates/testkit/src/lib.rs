//! Everything that tests of several cores share: a virtual clock and network, clients, synthetic
//! media, and checkers that look at every packet.
//!
//! Owns: no product code. Must not know: sockets; time passes only when a simulation says so.
#![forbid(unsafe_code)]
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a simulation looks at the few events that a test is about"
)]
#![allow(
    deprecated,
    reason = "what the protocol calls deprecated is what older clients still read"
)]

pub mod checker;
pub mod client;
pub mod description;
pub mod media;
pub mod network;
pub mod permission;
pub mod rng;
pub mod roster;
pub mod sim;
