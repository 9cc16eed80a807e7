//! The server's parts, as a library so that the binary, tests and benches share them.
//!
//! Owns: sockets, threads, tasks, clocks and randomness. It decides almost nothing; cores do.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod counters;
pub mod edge;
pub mod media_pool;
pub mod metrics;
pub mod rooms;
pub mod shell;
pub mod wiring;
