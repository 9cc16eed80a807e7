//! The façade: one peer connection.

use crate::config::{
    Candidate, ChannelSpec, Codec, IceCredentials, PeerInit, ReceiveSpec, Remote, SendSpec, Shared, Tag,
};
use crate::outbox::Outbox;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// What happened on a peer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PeerEvent {
    /// A pair was nominated; media may flow once DTLS is done.
    IceConnected,
    /// No valid response for 10 s: may come back.
    IceDisconnected,
    /// Disconnected for a further 5 s: will not come back without a restart.
    IceFailed,
    /// DTLS is done and the fingerprint matches: SRTP keys are in place.
    Connected,
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
    /// at most 3 times per packet, not again within min(100 ms, 2 RTT)).
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
#[derive(Debug)]
pub struct Peer {
    _shared: Arc<Shared>,
}

#[allow(unused_variables, clippy::todo, missing_docs, reason = "skeleton")]
impl Peer {
    /// A peer that waits for its remote description. STUN checks with our credentials are
    /// answered from the first moment on.
    pub fn new(shared: Arc<Shared>, init: PeerInit, now: Instant) -> Self {
        todo!()
    }

    // ---- outside world -------------------------------------------------------------------

    /// Takes one datagram. RTP is decrypted in place and returned; everything else is consumed.
    /// `local` is the index of the socket on which it arrived.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: u8,
        data: &mut [u8],
    ) -> Option<ReceivedRtp> {
        todo!()
    }

    /// Advances timers; call when [`Self::poll_timeout`] is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// First description, or a later one (changed ICE credentials restart ICE on the remote side).
    pub fn set_remote(&mut self, now: Instant, remote: Remote) {
        todo!()
    }
    /// Adds a trickled candidate. Unknown local families are passed over.
    pub fn add_remote_candidate(&mut self, candidate: Candidate) {
        todo!()
    }
    /// Restarts ICE with new local credentials; the old pair carries media until a new one is chosen.
    pub fn restart_ice(&mut self, local: IceCredentials) {
        todo!()
    }
    pub fn add_receive(&mut self, spec: ReceiveSpec) {
        todo!()
    }
    pub fn remove_receive(&mut self, tag: Tag) {
        todo!()
    }
    pub fn add_send(&mut self, spec: SendSpec) {
        todo!()
    }
    pub fn remove_send(&mut self, tag: Tag) {
        todo!()
    }
    /// Opens a channel; it is announced by [`PeerEvent::ChannelOpen`]. Returns its stream id when known.
    pub fn open_channel(&mut self, spec: ChannelSpec) {
        todo!()
    }
    /// Queues a message. False when the channel is not open, the message too long or the send
    /// buffer over its limit (the caller counts the drop).
    pub fn send_message(&mut self, now: Instant, id: u16, binary: bool, data: &[u8]) -> bool {
        todo!()
    }
    /// Bytes queued on a channel and not yet acknowledged.
    pub fn buffered_amount(&self, id: u16) -> usize {
        todo!()
    }
    /// Asks the remote sender of a receive stream for a key frame (PLI, or FIR when only that was negotiated).
    /// Throttling is the caller's.
    pub fn request_key_frame(&mut self, tag: Tag, layer: u8) {
        todo!()
    }
    /// Sends SR + SDES for a send stream: `ntp`/`rtp` are the same instant on both clocks.
    pub fn send_report(&mut self, now: Instant, tag: Tag, ntp: u64, rtp: u32) {
        todo!()
    }
    /// The index of a send stream, for [`Self::write_rtp`]; stable until the stream is removed.
    pub fn send_index(&self, tag: Tag) -> Option<u32> {
        todo!()
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
        todo!()
    }
    /// Sends close notifications; the peer is dropped afterwards.
    pub fn close(&mut self) {
        todo!()
    }

    // ---- outputs -------------------------------------------------------------------------

    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        todo!()
    }
    /// Writes pending datagrams (STUN, DTLS, SCTP, RTCP). False when the outbox was full and more waits.
    pub fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    // ---- getters -------------------------------------------------------------------------

    pub fn is_connected(&self) -> bool {
        todo!()
    }
    /// Where media is sent to: remote address and local socket index of the nominated pair.
    pub fn destination(&self) -> Option<(SocketAddr, u8)> {
        todo!()
    }
    /// Smoothed round trip in microseconds.
    pub fn rtt_us(&self) -> Option<u32> {
        todo!()
    }
}
