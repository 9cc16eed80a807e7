//! Clients of a server over real sockets, for benchmarks and for whoever else needs one.
//!
//! Must not know: anything of the server but the wire.
#![forbid(unsafe_code)]

pub mod describe;
pub mod guest;
