//! ONE thread's media plane, sans-IO: which packet goes to whom, and in which shape.
//!
//! Owns: peers of one thread, up tracks (what participants send), down tracks (what they get),
//! fan-out, layer selection and rewriting, key-frame requests, audio levels, crossings to other
//! threads.
//! Must not know: rooms' rules, identities, grants, SDP, sockets, other threads' memory.
#![forbid(unsafe_code)]

pub mod api;
mod backlog;
pub mod command_queue;
mod crossing;
mod demux;
mod down;
mod drain;
pub mod events;
mod fanout;
mod feedback;
mod frame;
mod slab;
pub mod stats;
mod strangers;
#[cfg(test)]
mod testing;
mod timers;
mod tuning;
mod up;
mod window;
mod worker;

pub use crossing::{Mesh, mesh};
pub use down::budget::RtxShare;
pub use tuning::{Speaking, Tuning};
pub use worker::{Class, Worker, WorkerConfig};
