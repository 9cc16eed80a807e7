//! The façade: one peer connection.

use crate::config::{
    Candidate, ChannelSpec, Codec, DtlsRole, IceCredentials, Kind, PeerInit, ReceiveSpec, Remote, SendSpec,
    Shared, Tag,
};
use crate::ice::earliest;
use crate::outbox::Outbox;
use crate::receive::HeldFeedback;
use crate::received::{Received, Refusal};
use crate::streams::Streams;
use crate::transport::{Transport, TransportStats};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use wire::demux::{Class, classify};

/// What happened on a peer.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerEvent {
    /// A pair was nominated; media may flow once DTLS is done.
    IceConnected,
    /// No valid response for 10 s: may come back.
    IceDisconnected,
    /// Disconnected for a further 5 s: will not come back without a restart.
    IceFailed,
    /// DTLS is done and the fingerprint matches: SRTP keys are in place.
    Connected,
    /// The DTLS handshake failed, and why; [`Self::Failed`] follows.
    HandshakeFailed(::dtls::Failure),
    /// DTLS failed or the fingerprint did not match. The peer is of no use any more.
    Failed,
    /// A receive stream was recognised by its first packet (or by its SSRC in SDP).
    StreamStarted {
        /// Tag of the section.
        tag: Tag,
        /// Index of the stream: 0 without simulcast, else position of its RID in `ReceiveSpec::rids`.
        layer: u8,
        /// Its SSRC.
        ssrc: u32,
        /// SSRC of its retransmissions, as far as known.
        rtx_ssrc: Option<u32>,
        /// Codec by payload type.
        codec: Codec,
    },
    /// The remote side sent a sender report on a receive stream.
    SenderReport {
        /// Tag of the section.
        tag: Tag,
        /// Layer index.
        layer: u8,
        /// NTP time of the sender, 32.32.
        ntp: u64,
        /// RTP timestamp at that moment.
        rtp: u32,
        /// When it arrived.
        at: Instant,
    },
    /// PLI or FIR for a send stream.
    KeyFrameWanted {
        /// Tag of the send stream.
        tag: Tag,
    },
    /// The remote side misses a packet of a send stream (generic NACK, already rate-limited:
    /// at most 10 times per packet, not again before the remote side can have seen the last answer).
    Nack {
        /// Tag of the send stream.
        tag: Tag,
        /// Outgoing sequence number.
        sequence: u16,
    },
    /// Receiver report about a send stream.
    ReceiverReport {
        /// Tag of the send stream.
        tag: Tag,
        /// Fraction lost since the last report, 0..=255 of 256.
        fraction_lost: u8,
        /// Interarrival jitter in clock units.
        jitter: u32,
        /// Round trip in microseconds, when it could be computed.
        rtt_us: Option<u32>,
        /// What arrived since the report before it, when both make sense.
        delivery: Option<crate::Delivery>,
    },
    /// REMB from the remote side, bits per second.
    Remb {
        /// Estimated bitrate.
        bitrate_bps: u64,
    },
    /// A data channel can be used.
    ChannelOpen {
        /// SCTP stream id.
        id: u16,
        /// Label.
        label: String,
    },
    /// A data channel was closed by the remote side.
    ChannelClosed {
        /// SCTP stream id.
        id: u16,
        /// Label.
        label: String,
    },
    /// A whole message arrived.
    Message {
        /// SCTP stream id.
        id: u16,
        /// Binary or text (the payload protocol identifier said so).
        binary: bool,
        /// The message.
        data: Vec<u8>,
    },
}

/// A decrypted RTP packet; ranges index the datagram given to [`Peer::handle_datagram`].
#[derive(Clone, Debug)]
pub struct ReceivedRtp {
    /// Tag of the section.
    pub tag: Tag,
    /// Layer index.
    pub layer: u8,
    /// Codec by payload type.
    pub codec: Codec,
    /// Extended sequence number (for a retransmission: of the original packet).
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Voice flag and level in −dBov.
    pub audio_level: Option<(bool, u8)>,
    /// Payload without padding.
    pub payload: Range<usize>,
    /// Raw dependency descriptor; empty when absent.
    pub dependency_descriptor: Range<usize>,
    /// Raw abs-capture-time; empty when absent.
    pub abs_capture_time: Range<usize>,
    /// It came as a retransmission.
    pub retransmitted: bool,
}

/// One packet to be written on a send stream.
#[derive(Clone, Copy, Debug)]
pub struct RtpWrite<'a> {
    /// Codec; its payload type is looked up in the stream's `payloads`.
    pub codec: Codec,
    /// Extended outgoing sequence number. Owned by the caller, contiguous, starting anywhere below 2^16.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Dependency descriptor to write; empty for none.
    pub dependency_descriptor: &'a [u8],
    /// abs-capture-time to write; empty for none.
    pub abs_capture_time: &'a [u8],
    /// First bytes of the payload (a rewritten codec descriptor).
    pub prefix: &'a [u8],
    /// The rest of the payload.
    pub payload: &'a [u8],
    /// RTP padding bytes to add, 0 for none. `payload` may be empty then (probe or filler).
    pub padding: u8,
    /// Send as a retransmission: on the RTX stream when negotiated (RFC 4588), else as it was.
    pub retransmission: bool,
}

/// One WebRTC connection.
///
/// After every call that may change something, drain [`Self::poll_event`], then
/// [`Self::poll_transmit`], then read [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Peer {
    transport: Transport,
    streams: Streams,
}

impl Peer {
    /// A peer that waits for its remote description. STUN checks with our credentials are
    /// accepted from the first moment on, and answered as soon as the remote credentials are known.
    #[must_use]
    pub fn new(shared: Arc<Shared>, init: PeerInit, now: Instant) -> Self {
        let streams = Streams::new(init.seed, shared.epoch);
        Self {
            transport: Transport::new(shared, &init, now),
            streams,
        }
    }

    // ---- outside world -------------------------------------------------------------------

    /// Takes one datagram. RTP is decrypted in place and returned; everything else is consumed, and what
    /// it proved of its source is said.
    /// `local` is the index of the socket on which it arrived.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: u8,
        data: &mut [u8],
    ) -> Received {
        let received = match classify(data) {
            Class::Rtp => {
                let packet = self.streams.handle_rtp(now, data);
                return packet.map_or(Received::Taken, Received::Rtp);
            }
            Class::Rtcp => {
                self.streams.handle_rtcp(now, data);
                Received::Taken
            }
            Class::Stun => self.transport.handle_stun(now, from, local, data),
            Class::Dtls => self.transport.handle_dtls(now, from, local, data),
            Class::TurnChannel | Class::Unknown => Received::Refused(Refusal::Malformed),
        };
        self.install_keys();
        received
    }

    /// Advances timers; call when [`Self::poll_timeout`] is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
        self.streams.handle_timeout(now);
        self.install_keys();
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// First description, or a later one (changed ICE credentials restart ICE on the remote side).
    /// Fingerprint and DTLS role of the first description stay. When both sides restart, call
    /// [`Self::restart_ice`] first.
    pub fn set_remote(&mut self, now: Instant, remote: Remote) {
        self.transport.set_remote(now, &remote);
    }
    /// Adds a trickled candidate. Unknown local families are passed over.
    pub fn add_remote_candidate(&mut self, candidate: Candidate) {
        self.transport.add_remote_candidate(candidate);
    }
    /// Restarts ICE with new local credentials; the old pair carries media until a new one is chosen.
    /// The remote credentials are forgotten: [`Self::set_remote`] must follow with the new ones.
    pub fn restart_ice(&mut self, local: IceCredentials) {
        self.transport.restart_ice(&local);
    }
    /// Adds a receiving section, or updates the one with this tag.
    pub fn add_receive(&mut self, spec: ReceiveSpec) {
        self.streams.add_receive(spec);
    }
    /// Removes a receiving section.
    pub fn remove_receive(&mut self, tag: Tag) {
        self.streams.remove_receive(tag);
    }
    /// Adds a send stream, or updates the one with this tag.
    pub fn add_send(&mut self, spec: SendSpec) {
        self.streams.add_send(spec);
    }
    /// Removes a send stream.
    pub fn remove_send(&mut self, tag: Tag) {
        self.streams.remove_send(tag);
    }
    /// Opens a channel, now or when SCTP is up; it is announced by [`PeerEvent::ChannelOpen`].
    /// When a channel is announced with a label that was announced before, the later one is meant
    /// for sending; messages still arrive on both.
    pub fn open_channel(&mut self, spec: ChannelSpec) {
        self.transport.open_channel(spec);
    }
    /// Closes a channel by resetting its stream; no event follows.
    pub fn close_channel(&mut self, id: u16) {
        self.transport.close_channel(id);
    }
    /// Queues a message. False when the channel is not open, the message too long or the send
    /// buffer over its limit (the caller counts the drop).
    pub fn send_message(&mut self, now: Instant, id: u16, binary: bool, data: &[u8]) -> bool {
        self.transport.send_message(now, id, binary, data)
    }
    /// Bytes queued on a channel and not yet acknowledged.
    #[must_use]
    pub fn buffered_amount(&self, id: u16) -> usize {
        self.transport.buffered_amount(id)
    }
    /// Asks the remote sender of a receive stream for a key frame (PLI, or FIR when only that was negotiated).
    /// Throttling is the caller's.
    pub fn request_key_frame(&mut self, tag: Tag, layer: u8) {
        self.streams.request_key_frame(tag, layer);
    }
    /// Loss that receivers of a section's media report, as a fraction of 256: reports to its sender name
    /// it when it is more than what got lost on the way here, for 10 s or until this is called again.
    pub fn proxy_loss(&mut self, now: Instant, tag: Tag, fraction: u8) {
        self.streams.proxy_loss(now, tag, fraction);
    }
    /// Sends SR + SDES for a send stream: `ntp`/`rtp` are the same instant on both clocks.
    pub fn send_report(&mut self, now: Instant, tag: Tag, ntp: u64, rtp: u32) {
        self.streams.send_report(now, tag, ntp, rtp);
    }
    /// The index of a send stream, for [`Self::write_rtp`]; stable until the stream is removed.
    #[must_use]
    pub fn send_index(&self, tag: Tag) -> Option<u32> {
        self.streams.send_index(tag)
    }
    /// Writes, encrypts and queues one packet: the hot path. No allocation.
    /// False when the outbox is full (nothing was written: flush and call again).
    /// A packet for a peer that is not connected is dropped and counted (returns true).
    pub fn write_rtp(
        &mut self,
        now: Instant,
        index: u32,
        packet: &RtpWrite<'_>,
        outbox: &mut Outbox,
    ) -> bool {
        match self.transport.media_destination() {
            Some((to, local)) => self.streams.write_rtp(now, index, packet, to, local, outbox),
            None => {
                self.transport.count_unsent();
                true
            }
        }
    }
    /// Seals and queues RTCP as it is, for clients that attack. False: not connected, or no RTCP.
    #[doc(hidden)]
    pub fn write_rtcp_unchecked(&mut self, plain: &[u8], outbox: &mut Outbox) -> bool {
        let Some((to, local)) = self.transport.media_destination() else {
            return false;
        };
        self.streams.write_rtcp_unchecked(plain, to, local, outbox)
    }

    /// Seals and queues an SCTP packet as it is, for clients that attack. False: not connected.
    #[doc(hidden)]
    pub fn send_sctp_unchecked(&mut self, now: Instant, packet: &[u8]) -> bool {
        self.transport.send_record_unchecked(now, packet)
    }

    /// Reads what [`Self::write_rtp`] needs of this peer, so that a row of peers can be brought into
    /// the cache side by side before their packets are written one after the other. The value means
    /// nothing.
    #[must_use]
    pub fn warm(&self) -> usize {
        self.transport
            .media_destination()
            .map_or(0, |(to, _)| usize::from(to.port()))
            ^ self.streams.warm()
    }
    /// As [`Self::warm`], for one send stream.
    #[must_use]
    pub fn warm_stream(&self, index: u32) -> usize {
        self.streams.warm_stream(index)
    }
    /// As [`Self::warm`], for what lies behind the pointers of a send stream.
    #[must_use]
    pub fn warm_history(&self, index: u32) -> usize {
        self.streams.warm_history(index)
    }
    /// Datagrams that may have been this peer's were dropped unread on this side at `at`: what is found
    /// missing for it is not asked for again.
    pub fn note_dropped(&mut self, at: Instant) {
        self.streams.note_dropped(at);
    }
    /// Whether there is something to tell the sender of what arrives: NACK, key frame requests,
    /// transport feedback, reports.
    pub fn feedback_due(&mut self, now: Instant) -> bool {
        self.streams.feedback_due(now)
    }
    /// Puts that off until later, when all that is due by then leaves together. Returns what it was.
    pub fn hold_feedback(&mut self, now: Instant, until: Instant) -> HeldFeedback {
        self.streams.hold_feedback(now, until)
    }
    /// Sends close notifications; the peer is dropped afterwards.
    pub fn close(&mut self) {
        self.transport.close();
    }

    // ---- outputs -------------------------------------------------------------------------

    /// What happened, oldest first within transport and within streams.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        let event = self.transport.poll_event();
        event
            .or_else(|| self.transport.poll_data_event())
            .or_else(|| self.streams.poll_event())
    }
    /// As [`Self::poll_event`], but leaves what data channels have to say, which slows down who sends
    /// on them.
    pub fn poll_event_but_data(&mut self) -> Option<PeerEvent> {
        self.transport.poll_event().or_else(|| self.streams.poll_event())
    }
    /// Writes pending datagrams (STUN, DTLS, SCTP, RTCP). False when the outbox was full and more waits.
    pub fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        if !self.transport.poll_transmit(now, outbox) {
            return false;
        }
        match self.transport.media_destination() {
            Some((to, local)) => self.streams.poll_transmit(now, to, local, outbox),
            None => true,
        }
    }
    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.transport.poll_timeout(), self.streams.poll_timeout())
    }

    // ---- getters -------------------------------------------------------------------------

    /// Section and kind of an RTP packet by its SSRC, before it is decrypted: anybody may have sent it.
    #[must_use]
    pub fn peek_rtp(&self, data: &[u8]) -> Option<(Tag, Kind)> {
        self.streams.peek_rtp(data)
    }

    /// DTLS is done and SRTP keys are in place.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.transport.is_connected()
    }
    /// Where media is sent to: remote address and local socket index of the nominated pair.
    #[must_use]
    pub fn destination(&self) -> Option<(SocketAddr, u8)> {
        self.transport.destination()
    }
    /// Totals of one layer of a receiving section; `None` before its first packet.
    #[must_use]
    pub fn receive_totals(&self, tag: Tag, layer: u8) -> Option<crate::ReceiveTotals> {
        self.streams.receive_totals(tag, layer)
    }
    /// Totals of a send stream, by the index of [`Self::send_index`].
    #[must_use]
    pub fn send_totals(&self, index: u32) -> Option<crate::SendTotals> {
        self.streams.send_totals(index)
    }
    /// What was sent of sound or of pictures, and what of it the remote side missed.
    #[must_use]
    pub fn media_sent(&self, kind: Kind) -> crate::MediaSent {
        self.streams.media_sent(kind)
    }
    /// Bytes of RTP sent, protected, retransmissions included.
    #[must_use]
    pub fn rtp_sent_bytes(&self) -> u64 {
        self.streams.rtp_sent_bytes()
    }
    /// Smoothed round trip in microseconds; before media tells, that of the last check.
    #[must_use]
    pub fn rtt_us(&self) -> Option<u32> {
        self.streams.rtt_us().or_else(|| self.transport.rtt_us())
    }
    /// What was passed over so far.
    #[must_use]
    pub fn transport_stats(&self) -> TransportStats {
        self.transport.stats()
    }
    /// What happened on RTP and RTCP so far.
    #[must_use]
    pub fn stream_stats(&self) -> crate::streams::StreamStats {
        self.streams.stats()
    }

    // ---- inside --------------------------------------------------------------------------

    pub(crate) fn seal_rtcp(&mut self, data: &mut [u8], len: usize) -> Option<usize> {
        self.streams.seal_rtcp(data, len)
    }

    fn install_keys(&mut self) {
        if let Some(keys) = self.transport.take_keys() {
            let client = keys.role == DtlsRole::Client;
            self.streams.install_keys(keys.profile, &keys.material, client);
        }
    }
}
