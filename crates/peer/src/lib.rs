//! One WebRTC connection, sans-IO: ICE, DTLS, SRTP, SCTP data channels, reports, retransmission.
//!
//! Owns everything between a datagram and a decrypted packet, and back. Stands on the crates
//! `dtls` (DTLS) and `sctp-proto` (SCTP).
//! Must not know: other peers, who subscribes to what, rooms, SDP text.
//!
//! Drain order: after every `handle_*` or verb, call [`Peer::poll_event`] until `None`, then
//! [`Peer::poll_transmit`] until it says that nothing is left, then read [`Peer::poll_timeout`].
#![forbid(unsafe_code)]

pub mod config;
mod dtls;
#[doc(hidden)]
pub mod fuzzing;
mod ice;
pub mod outbox;
mod peer;
mod receive;
mod received;
mod sctp;
mod send;
mod srtp;
mod streams;
mod totals;
mod transport;
mod window;

pub use ::dtls::{Failure as HandshakeFailure, Identity};
pub use config::*;
pub use outbox::{Datagram, Outbox};
pub use peer::{Peer, PeerEvent, ReceivedRtp, RtpWrite};
pub use receive::HeldFeedback;
pub use received::{Received, Refusal};
pub use streams::StreamStats;
pub use totals::{Delivery, MediaSent, ReceiveTotals, SendReport, SendTotals};
pub use transport::TransportStats;

/// Some instant for unit tests to count from.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub(crate) fn test_epoch() -> std::time::Instant {
    std::time::Instant::now()
}
