//! Everything of a peer that is RTP and RTCP: keys, receive streams, send streams, feedback.
//!
//! The orchestrator of [`crate::receive`], [`crate::send`] and [`crate::srtp`]: it decrypts, hands
//! on, and collects what goes back. Must not know: ICE, DTLS, SCTP, where datagrams go (the caller
//! says), other peers.

pub(crate) mod clock;
mod stats;
#[cfg(test)]
mod tests;

use crate::config::{Kind, ReceiveSpec, SendSpec, Tag};
use crate::outbox::Outbox;
use crate::peer::{PeerEvent, ReceivedRtp, RtpWrite};
use crate::receive::{HeldFeedback, Receiving};
use crate::send::Sending;
use crate::srtp::{RTCP_OVERHEAD_MAX, Srtp};
use crate::totals::{MediaSent, ReceiveTotals, SendTotals};
use clock::{Clock, RoundTrip};
pub use stats::StreamStats;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;
use wire::rtcp::{self, Packet, ReportBlock, Writer, XrBlock};
use wire::rtp::Header;

/// Plain RTCP per datagram: what fits the smallest path that WebRTC assumes, with protection.
pub(crate) const RTCP_LEN_MAX: usize = 1200 - RTCP_OVERHEAD_MAX;
/// Events that wait to be taken. The caller drains after every input, and one RTCP datagram
/// cannot make more than 6,000 of them.
const EVENTS_MAX: usize = 8192;

/// RTP and RTCP of one peer.
#[derive(Debug)]
pub(crate) struct Streams {
    clock: Clock,
    srtp: Option<Srtp>,
    receiving: Receiving,
    sending: Sending,
    round_trip: RoundTrip,
    events: Events,
    stats: StreamStats,
    /// Who we are in RTCP that is about no stream of ours.
    ssrc: u32,
    random: u64,
}

/// Events that wait to be taken.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<PeerEvent>,
    dropped: u64,
}

impl Events {
    pub(crate) fn push(&mut self, event: PeerEvent) {
        if self.queue.len() < EVENTS_MAX {
            self.queue.push_back(event);
        } else {
            self.dropped += 1;
        }
    }
}

impl Streams {
    /// `epoch` is a moment on both clocks: monotonic, and NTP 32.32.
    pub(crate) fn new(seed: u64, epoch: (Instant, u64)) -> Self {
        let mut random = seed;
        let ssrc = next_random(&mut random) as u32;
        Self {
            clock: Clock::new(epoch),
            srtp: None,
            receiving: Receiving::default(),
            sending: Sending::default(),
            round_trip: RoundTrip::default(),
            events: Events::default(),
            stats: StreamStats::default(),
            ssrc,
            random,
        }
    }

    /// Puts keys in place. `material` is laid out as in RFC 5764 §4.2; `client` tells whether we
    /// were the DTLS client.
    pub(crate) fn install_keys(&mut self, profile: ::dtls::SrtpProfile, material: &[u8], client: bool) {
        self.srtp = Srtp::new(profile, material, client);
    }

    // ---- streams -------------------------------------------------------------------------

    /// Adds a receiving section, or updates the one with this tag.
    pub(crate) fn add_receive(&mut self, spec: ReceiveSpec) {
        if !self.receiving.add(spec) {
            self.stats.streams_refused += 1;
        }
    }

    pub(crate) fn remove_receive(&mut self, tag: Tag) {
        self.receiving.remove(tag);
    }

    /// Adds a send stream, or updates the one with this tag.
    pub(crate) fn add_send(&mut self, spec: SendSpec) {
        let random = next_random(&mut self.random) as u16;
        if !self.sending.add(spec, random) {
            self.stats.streams_refused += 1;
        }
    }

    pub(crate) fn remove_send(&mut self, tag: Tag) {
        self.sending.remove(tag);
    }

    /// Index for [`Self::write_rtp`]; stable until the stream is removed.
    pub(crate) fn send_index(&self, tag: Tag) -> Option<u32> {
        self.sending.index(tag)
    }

    // ---- outside world -------------------------------------------------------------------

    /// Decrypts one RTP packet in place. `None`: it brings nothing new (broken, duplicate, probe).
    #[inline]
    pub(crate) fn handle_rtp(&mut self, now: Instant, data: &mut [u8]) -> Option<ReceivedRtp> {
        let Some((header, estimate, plain_len)) = self.open_rtp(data) else {
            self.stats.rtp_refused += 1;
            return None;
        };
        let plain = data.get(..plain_len)?;
        self.stats.rtp_received += 1;
        self.stats.rtp_received_bytes += plain_len as u64;
        self.receiving.packet(
            now,
            self.clock,
            estimate,
            &header,
            plain,
            (&mut self.stats, &mut self.events),
        )
    }

    #[inline]
    fn open_rtp(&self, data: &mut [u8]) -> Option<(Header, crate::receive::Estimate, usize)> {
        let srtp = self.srtp.as_ref()?;
        let header = Header::parse(data)?;
        let estimate = self.receiving.estimate(&header)?;
        let plain_len = srtp.open_rtp(&header, estimate.index, data)?;
        Some((header, estimate, plain_len))
    }

    /// The index with which the next packet of this header is expected to be sealed.
    pub(crate) fn index_of(&self, header: &Header) -> Option<u64> {
        self.receiving.estimate(header).map(|estimate| estimate.index)
    }

    /// Decrypts one RTCP packet in place and acts on it.
    pub(crate) fn handle_rtcp(&mut self, now: Instant, data: &mut [u8]) {
        let plain_len = self.srtp.as_ref().and_then(|srtp| srtp.open_rtcp(data));
        let Some(plain) = plain_len.and_then(|len| data.get(..len)) else {
            self.stats.rtcp_refused += 1;
            return;
        };
        self.stats.rtcp_received += 1;
        for packet in rtcp::parse(plain) {
            self.rtcp_packet(now, packet);
        }
    }

    fn rtcp_packet(&mut self, now: Instant, packet: Packet<'_>) {
        let events = &mut self.events;
        match packet {
            Packet::SenderReport {
                ssrc,
                ntp,
                rtp,
                reports,
                ..
            } => {
                self.receiving.sender_report(now, ssrc, ntp, rtp, events);
                self.report_blocks(now, reports);
            }
            Packet::ReceiverReport { reports, .. } => self.report_blocks(now, reports),
            Packet::Nack { media, lost, .. } => {
                let moment = (now, self.clock, self.round_trip);
                self.sending.nack(moment, media, lost, &mut self.stats, events);
            }
            Packet::Pli { media, .. } => self.sending.pli(media, events),
            Packet::Fir { entries, .. } => {
                for (media, sequence) in entries {
                    self.sending.fir(media, sequence, events);
                }
            }
            Packet::Remb { bitrate_bps, .. } => events.push(PeerEvent::Remb { bitrate_bps }),
            Packet::TransportCc { .. } => self.stats.transport_cc_ignored += 1,
            Packet::ExtendedReport { ssrc, blocks } => self.extended_report(now, ssrc, blocks),
            Packet::Sdes(_) | Packet::Bye { .. } | Packet::Unknown { .. } => {}
        }
    }

    fn report_blocks(&mut self, now: Instant, blocks: impl Iterator<Item = ReportBlock>) {
        for block in blocks {
            if let Some(rtt_us) = self.sending.report_block(now, &block, &mut self.events) {
                self.round_trip.sample(rtt_us);
            }
        }
    }

    fn extended_report<'a>(&mut self, now: Instant, ssrc: u32, blocks: impl Iterator<Item = XrBlock<'a>>) {
        for block in blocks {
            match block {
                XrBlock::ReferenceTime { ntp } => self.sending.reference_time(now, ssrc, ntp),
                XrBlock::Dlrr(reports) => {
                    for report in reports.filter(|report| report.ssrc == self.ssrc) {
                        let answer = self.receiving.reference_answer(now, report.last_rr, report.delay);
                        if let Some(rtt_us) = answer {
                            self.round_trip.sample(rtt_us);
                        }
                    }
                }
                XrBlock::Unknown { .. } => {}
            }
        }
    }

    /// Advances timers; call when [`Self::poll_timeout`] is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.receiving.handle_timeout(now);
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// Writes, encrypts and queues one packet. False: outbox full, nothing was written. Before the
    /// keys are there packets are dropped and counted.
    #[inline]
    pub(crate) fn write_rtp(
        &mut self,
        now: Instant,
        index: u32,
        packet: &RtpWrite<'_>,
        to: SocketAddr,
        local: u8,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(srtp) = &self.srtp else {
            self.stats.rtp_unsent += 1;
            return true;
        };
        self.sending.write(
            (now, self.clock),
            srtp,
            (index, packet),
            (to, local, outbox),
            &mut self.stats,
        )
    }

    /// See [`crate::Peer::warm`].
    pub(crate) fn warm(&self) -> usize {
        self.stats.rtp_sent as usize ^ self.sending.warm() ^ self.srtp.as_ref().map_or(0, Srtp::warm)
    }

    pub(crate) fn warm_stream(&self, index: u32) -> usize {
        self.sending.warm_stream(index)
    }

    pub(crate) fn warm_history(&self, index: u32) -> usize {
        self.sending.warm_history(index)
    }

    /// Asks the sender of a layer for a key frame with a PLI. Nothing happens while the layer's
    /// stream is not known.
    pub(crate) fn request_key_frame(&mut self, tag: Tag, layer: u8) {
        self.receiving.request_key_frame(tag, layer);
    }

    /// Tells the sender on a section of loss further down the path.
    pub(crate) fn proxy_loss(&mut self, now: Instant, tag: Tag, fraction: u8) {
        self.receiving.proxy_loss(now, tag, fraction);
    }

    /// Sends SR and SDES: `ntp` and `rtp` are the same instant.
    pub(crate) fn send_report(&mut self, _now: Instant, tag: Tag, ntp: u64, rtp: u32) {
        self.sending.report(tag, ntp, rtp);
    }

    /// See [`crate::fuzzing::seal_rtcp`].
    pub(crate) fn seal_rtcp(&mut self, data: &mut [u8], len: usize) -> Option<usize> {
        self.srtp.as_mut()?.seal_rtcp(data, len)
    }

    // ---- outputs -------------------------------------------------------------------------

    /// Writes pending RTCP. False: outbox full and more waits.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        to: SocketAddr,
        local: u8,
        outbox: &mut Outbox,
    ) -> bool {
        self.receiving.handle_timeout(now);
        let Some(srtp) = &mut self.srtp else { return true };
        while self.sending.is_due() || self.receiving.is_due() {
            let Some(slot) = outbox.slot() else {
                return false;
            };
            let Some(plain) = slot.get_mut(..RTCP_LEN_MAX) else {
                return false;
            };
            let mut writer = Writer::new(plain);
            let all = self.sending.write_reports(now, self.ssrc, &mut writer)
                && self.receiving.write(
                    (now, self.clock, self.round_trip),
                    self.ssrc,
                    &mut writer,
                    &mut self.stats,
                );
            let plain_len = writer.len();
            if plain_len == 0 {
                debug_assert!(all, "an empty datagram has room for any packet");
                break;
            }
            let Some(len) = srtp.seal_rtcp(slot, plain_len) else {
                break;
            };
            outbox.commit(to, local, len, false);
            self.stats.rtcp_sent += 1;
        }
        true
    }

    pub(crate) fn write_rtcp_unchecked(
        &mut self,
        plain: &[u8],
        to: SocketAddr,
        local: u8,
        outbox: &mut Outbox,
    ) -> bool {
        let (Some(srtp), Some(slot)) = (&mut self.srtp, outbox.slot()) else {
            return false;
        };
        let Some(target) = slot.get_mut(..plain.len()) else {
            return false;
        };
        target.copy_from_slice(plain);
        let Some(len) = srtp.seal_rtcp(slot, plain.len()) else {
            return false;
        };
        outbox.commit(to, local, len, false);
        true
    }

    /// Whether there is something to tell the sender.
    pub(crate) fn feedback_due(&mut self, now: Instant) -> bool {
        self.receiving.handle_timeout(now);
        self.receiving.is_due()
    }

    pub(crate) fn hold_feedback(&mut self, now: Instant, until: Instant) -> HeldFeedback {
        self.receiving.hold(now, until)
    }

    pub(crate) fn note_dropped(&mut self, at: Instant) {
        self.receiving.note_dropped(at);
    }

    pub(crate) fn peek_rtp(&self, data: &[u8]) -> Option<(Tag, Kind)> {
        let ssrc = data.get(8..)?.first_chunk()?;
        self.receiving.peek(u32::from_be_bytes(*ssrc))
    }

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.queue.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.receiving.poll_timeout()
    }

    // ---- getters -------------------------------------------------------------------------

    /// Smoothed round trip in microseconds.
    pub(crate) const fn rtt_us(&self) -> Option<u32> {
        self.round_trip.us()
    }

    pub(crate) const fn media_sent(&self, kind: Kind) -> MediaSent {
        self.sending.sent(kind)
    }

    pub(crate) const fn rtp_sent_bytes(&self) -> u64 {
        self.stats.rtp_sent_bytes
    }

    pub(crate) fn receive_totals(&self, tag: Tag, layer: u8) -> Option<ReceiveTotals> {
        self.receiving.totals(tag, layer)
    }

    pub(crate) fn send_totals(&self, index: u32) -> Option<SendTotals> {
        self.sending.totals(index)
    }

    pub(crate) const fn stats(&self) -> StreamStats {
        StreamStats {
            events_dropped: self.events.dropped,
            ..self.stats
        }
    }
}

/// SplitMix64: enough for SSRCs and first sequence numbers.
const fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
