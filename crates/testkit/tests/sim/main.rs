//! Workers with their mesh, clients and a network in virtual time; every packet that leaves is
//! checked.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected fails"
)]

mod audio;
mod clocks;
mod crossing;
mod data;
mod h265;
mod injected;
mod narrow;
mod overload;
mod quality;
mod redundant;
mod restarting;
mod seeds;
mod slow_readers;
mod storm;
mod video;
