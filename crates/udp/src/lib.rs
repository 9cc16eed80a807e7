//! Batched UDP system calls: many datagrams in, many out, one call each way.
//!
//! Owns: sockets, `recvmmsg` with `UDP_GRO`, `sendmmsg` with `UDP_SEGMENT` trains, the wait for
//! readiness, and the few thread calls that a media thread needs.
//! Must not know: what is in a datagram, time beyond a timeout, any other crate of ours.
//! Spec: Linux `recvmmsg(2)`, `sendmmsg(2)`, `udp(7)`, `ppoll(2)`, `eventfd(2)`.
//!
//! One of the few crates that may hold `unsafe`: it calls the system.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod address;
mod interface;
mod limit;
mod recv;
mod send;
mod socket;
mod thread;
mod wait;

pub use interface::{Interface, interfaces};
pub use limit::{free_files, raise_open_files};
pub use recv::{RecvBatch, RecvStats};
pub use send::{Outgoing, SendStats, Sender};
pub use socket::{Options, Socket};
pub use thread::{ThreadClock, pin_current_thread};
pub use wait::{EventFd, PollSet};
