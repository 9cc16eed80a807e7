//! Fuzz targets: one function per reader of network bytes, the corpus they start from, and the
//! mutations that lead away from it.
//!
//! A target panics when its reader panics, and also when what was read does not survive being
//! written and read again. Nothing here touches the network or the clock of the code under test.
//! `cargo run -p fuzz -- --help` lists the words of the runner.
#![deny(unsafe_code)]

pub mod alloc;
pub mod mutate;
pub mod run;
pub mod seeds;
pub mod targets;

pub use targets::{TARGETS, Target};

#[cfg(test)]
mod tests;
