//! Our ICE agent against another's, and against checks written by hand.

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod by_hand;
mod opponent;
mod ours;
