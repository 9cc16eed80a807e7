//! One WebRTC connection, sans-IO: ICE, DTLS, SRTP, SCTP data channels, reports, retransmission.
//!
//! Owns everything between a datagram and a decrypted packet, and back. Stands on the crates `is`
//! (ICE), `dimpl` (DTLS) and `sctp-proto` (SCTP).
//! Must not know: other peers, who subscribes to what, rooms, SDP text.
//!
//! Drain order: after every `handle_*` or verb, call [`Peer::poll_event`] until `None`, then
//! [`Peer::poll_transmit`] until it says that nothing is left, then read [`Peer::poll_timeout`].
#![forbid(unsafe_code)]

pub mod config;
pub mod outbox;
mod peer;
#[allow(dead_code, unused_imports, reason = "its users follow")]
mod srtp;
mod streams;

pub use config::*;
pub use outbox::{Datagram, Outbox};
pub use peer::{Peer, PeerEvent, ReceivedRtp, RtpWrite};
