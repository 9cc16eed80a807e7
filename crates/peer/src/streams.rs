//! Everything of a peer that is RTP and RTCP: keys, receive streams, send streams, feedback.
//!
//! Owns the SRTP contexts, the SSRC tables and the RTCP schedule. Must not know: ICE, DTLS, SCTP,
//! where datagrams go (the caller says), other peers.
#![allow(
    dead_code,
    unused_variables,
    clippy::needless_pass_by_ref_mut,
    clippy::unused_self,
    reason = "grows into the façade"
)]

use crate::config::{ReceiveSpec, SendSpec, Tag};
use crate::outbox::Outbox;
use crate::peer::{PeerEvent, ReceivedRtp, RtpWrite};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// RTP and RTCP of one peer. `epoch` is a moment on both clocks (monotonic, NTP 32.32).
#[derive(Debug)]
pub(crate) struct Streams {
    events: VecDeque<PeerEvent>,
}

impl Streams {
    pub(crate) fn new(seed: u64, epoch: (Instant, u64)) -> Self {
        Self {
            events: VecDeque::new(),
        }
    }

    /// Puts keys in place. `material` is laid out as in RFC 5764 §4.2; `client` tells whether we
    /// were the DTLS client.
    pub(crate) fn install_keys(&mut self, profile: dimpl::SrtpProfile, material: &[u8], client: bool) {}

    /// Adds a receiving section, or updates the one with this tag.
    pub(crate) fn add_receive(&mut self, spec: ReceiveSpec) {}

    pub(crate) fn remove_receive(&mut self, tag: Tag) {}

    /// Adds a send stream, or updates the one with this tag.
    pub(crate) fn add_send(&mut self, spec: SendSpec) {}

    pub(crate) fn remove_send(&mut self, tag: Tag) {}

    /// Index for [`Self::write_rtp`]; stable until the stream is removed.
    pub(crate) fn send_index(&self, tag: Tag) -> Option<u32> {
        None
    }

    /// Decrypts one RTP packet in place. `None`: it was not for media (dropped, duplicate, probe).
    pub(crate) fn handle_rtp(&mut self, now: Instant, data: &mut [u8]) -> Option<ReceivedRtp> {
        None
    }

    pub(crate) fn handle_rtcp(&mut self, now: Instant, data: &mut [u8]) {}

    /// Writes, encrypts and queues one packet. False: outbox full, nothing was written.
    pub(crate) fn write_rtp(
        &mut self,
        now: Instant,
        index: u32,
        packet: &RtpWrite<'_>,
        to: SocketAddr,
        local: u8,
        outbox: &mut Outbox,
    ) -> bool {
        true
    }

    pub(crate) fn request_key_frame(&mut self, tag: Tag, layer: u8) {}

    pub(crate) fn send_report(&mut self, now: Instant, tag: Tag, ntp: u64, rtp: u32) {}

    pub(crate) fn handle_timeout(&mut self, now: Instant) {}

    /// Writes pending RTCP. False: outbox full and more waits.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        to: SocketAddr,
        local: u8,
        outbox: &mut Outbox,
    ) -> bool {
        true
    }

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Smoothed round trip in microseconds.
    pub(crate) fn rtt_us(&self) -> Option<u32> {
        None
    }
}
