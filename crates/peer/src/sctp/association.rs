//! The one place that knows `sctp-proto`: an association with exactly one remote side.

use super::MESSAGE_LEN_MAX;
use super::admission::{Admission, STREAMS_MAX};
use super::handshake::{Handshake, Init, LOCAL_PORT, Taken};
use super::packet::COMMON_HEADER_LEN;
use crate::config::SctpRemote;
use bytes::Bytes;
use sctp_proto::{
    Association, AssociationError, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig,
    Event, Payload, PayloadProtocolIdentifier as Ppid, ReliabilityType, StreamEvent, TransportConfig,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use wire::dcep::Reliability;

/// Receive window and bound on unfinished messages. Throughput is at most this per round trip; a
/// hostile peer can make us hold this much, and what [`Admission`] lets come ahead.
const RECEIVE_BUFFER_MAX: u32 = 256 * 1024;
/// Retransmission timeouts. Lower recovers lost tails sooner and retransmits in vain when the
/// remote side delays its acknowledgements (200 ms) on a long path.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 300;
const RTO_MAX_MS: u64 = 5_000;
/// Resets of the remote side whose answer, a reset of ours, it has yet to acknowledge: `sctp-proto`
/// queues them without end. A peer has 32 channels.
const RESETS_MAX: usize = 128;
/// `sctp-proto` wants an address, over DTLS there is none.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5000);

/// What came of packets and timers.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// Established.
    Up,
    Message {
        id: u16,
        ppid: Ppid,
        data: Vec<u8>,
    },
    /// A stream was reset by either side.
    Closed {
        id: u16,
    },
    /// Ended by the remote side, or by an error that is the remote side's.
    Down,
    /// Ended by an error of ours, or not established at all.
    Broken,
}

/// An association, or the wait for one.
#[derive(Debug)]
pub(super) struct Link {
    handshake: Handshake,
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    admission: Admission,
    up: bool,
    ended: bool,
    /// Streams that the remote side reset, less those whose reset it acknowledged.
    resets: usize,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<LinkEvent>,
    /// Streams that may hold messages, each once. What stays there closes the receive window.
    readable: VecDeque<u16>,
}

impl Link {
    /// Begins to associate with a remote side that listens on this port.
    pub(super) fn new(now: Instant, remote: SctpRemote) -> Self {
        let transport = transport(remote);
        // It wants to know how to be called, and is not.
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), Some(Arc::default()));
        endpoint.reject_new_associations();
        let mut client = ClientConfig::default();
        client.transport = Arc::new(transport);
        let connected = endpoint.connect(client, NOWHERE);
        let (handle, mut association) = connected.expect("a fresh endpoint accepts its first association");
        let init = next_packets(&mut association, now).into_iter().next();
        let ours = init
            .as_deref()
            .and_then(|packet| Init::parse(packet.get(COMMON_HEADER_LEN..)?));
        let (ours, _) = ours.expect("an association begins with an INIT");
        Self {
            endpoint,
            handle,
            association,
            handshake: Handshake::new(ours, remote.port.get()),
            admission: Admission::new(0),
            up: false,
            ended: false,
            resets: 0,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            readable: VecDeque::new(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// What the remote side says of itself, once the association is up.
    pub(super) fn remote(&self) -> Option<&Init> {
        self.handshake.remote()
    }

    /// Packets that came too far ahead of what is missing, or while too much was held, in whole or in
    /// part, and those of a beginning that were not taken.
    pub(super) fn dropped(&self) -> u64 {
        self.admission.refused() + self.handshake.refused()
    }

    pub(super) fn handle_packet(&mut self, now: Instant, data: &[u8]) {
        if self.ended {
            return;
        }
        let taken = self.handshake.handle_packet(now, data);
        if let Some(remote) = self.remote().copied().filter(|_| !self.up) {
            self.establish(now, &remote);
        }
        match taken {
            Taken::Done => {}
            Taken::Rest(data) => {
                if let Some(data) = self.admission.admit(&data) {
                    self.give(now, data);
                }
                if !self.admission.explains(self.association.stats().get_num_datas()) {
                    self.end();
                }
            }
            Taken::Aborted => self.end(),
        }
        self.settle();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.remote().is_some() {
            self.association.handle_timeout(now);
            self.settle();
        } else {
            self.handshake.handle_timeout(now);
        }
    }

    /// Sets how a stream delivers, and makes it when it does not exist.
    pub(super) fn configure(&mut self, id: u16, ordered: bool, reliability: Reliability) -> bool {
        let association = &mut self.association;
        if association.stream(id).is_err() && association.open_stream(id, Ppid::Binary).is_err() {
            return false;
        }
        // RFC 3758 and RFC 7496 give SCTP the two partial ways.
        let (kind, value) = match reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::Retransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::LifetimeMs(time) => (ReliabilityType::Timed, time),
        };
        let stream = association.stream(id);
        stream.is_ok_and(|mut s| s.set_reliability_params(!ordered, kind, value).is_ok())
    }

    pub(super) fn write(&mut self, id: u16, ppid: Ppid, data: &[u8]) -> bool {
        let stream = self.association.stream(id);
        stream.is_ok_and(|mut s| s.write_with_ppi(data, ppid).is_ok())
    }

    pub(super) fn reset(&mut self, id: u16) {
        if let Ok(mut stream) = self.association.stream(id) {
            // An error means that the association is not up: then there is nothing to reset.
            let _ = stream.close();
            self.settle();
        }
    }

    pub(super) fn has_stream(&self, id: u16) -> bool {
        self.association.stream_ids().contains(&id)
    }

    pub(super) fn buffered(&mut self, id: u16) -> usize {
        let stream = self.association.stream(id);
        stream.and_then(|stream| stream.buffered_amount()).unwrap_or(0)
    }

    /// Whether messages may wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Reads one message, of each stream in turn; false when there is none.
    pub(super) fn read(&mut self) -> bool {
        while let Some(id) = self.readable.pop_front() {
            if let Some(message) = read_next(&mut self.association, &mut self.admission, id) {
                self.events.push_back(message);
                self.readable.push_back(id);
                // Who reads the last message of a stream lets it finish.
                self.settle();
                return true;
            }
        }
        false
    }

    pub(super) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(packet) = self.handshake.poll_packet(now) {
            return Some(packet);
        }
        if self.remote().is_some() && self.outgoing.is_empty() {
            let packets = next_packets(&mut self.association, now).into_iter();
            let sent = packets.map(|packet| self.admission.sent(packet, RECEIVE_BUFFER_MAX));
            self.outgoing.extend(sent);
        }
        self.outgoing.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.remote().is_some() {
            self.association.poll_timeout()
        } else {
            self.handshake.poll_timeout()
        }
    }

    /// `sctp-proto` hears that all went as it began, whichever way it went: it knows no other.
    fn establish(&mut self, now: Instant, remote: &Init) {
        self.admission = Admission::new(remote.tsn);
        for packet in self.handshake.answers_of(remote) {
            self.give(now, packet);
            // The COOKIE ECHO that it answers the first with is nobody's.
            let _ = next_packets(&mut self.association, now);
        }
        self.settle();
    }

    fn give(&mut self, now: Instant, data: Bytes) {
        // A tag of nobody leads to no association.
        if let Some((_, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, NOWHERE, None, None, data)
        {
            self.association.handle_event(event);
        }
    }

    fn end(&mut self) {
        // Ends it, which is all that can fail.
        let _ = self.association.close();
    }

    fn settle(&mut self) {
        let association = &mut self.association;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.up = true;
                    self.events.push_back(LinkEvent::Up);
                }
                Event::Stream(StreamEvent::Readable { id } | StreamEvent::Opened { id }) => {
                    if !self.readable.contains(&id) {
                        self.readable.push_back(id);
                    }
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.events.extend(std::iter::from_fn(|| {
                        read_next(association, &mut self.admission, id)
                    }));
                    self.events.push_back(LinkEvent::Closed { id });
                    self.resets += 1;
                    if self.resets > RESETS_MAX {
                        // Ends it, which is all that can fail.
                        let _ = association.close();
                    }
                }
                Event::Stream(StreamEvent::ResetComplete { .. } | StreamEvent::ResetFailed { .. }) => {
                    self.resets = self.resets.saturating_sub(1);
                }
                Event::HandshakeFailed { .. } => self.events.push_back(LinkEvent::Broken),
                Event::AssociationLost { reason } => {
                    self.ended = true;
                    let ended = matches!(
                        reason,
                        AssociationError::AssociationClosed
                            | AssociationError::ApplicationClosed
                            | AssociationError::Reset
                            | AssociationError::LocallyClosed
                    );
                    let event = if ended { LinkEvent::Down } else { LinkEvent::Broken };
                    for id in self.readable.drain(..) {
                        self.events.extend(std::iter::from_fn(|| {
                            read_next(association, &mut self.admission, id)
                        }));
                    }
                    self.events.push_back(event);
                }
                Event::Stream(_) | Event::DataChannelStatsFinal(_) | Event::DatagramReceived | _ => {}
            }
        }
        while association.accept_stream().is_some() {}
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                association.handle_event(event);
            }
        }
        if association.is_closed() {
            self.up = false;
        }
    }
}

fn read_next(association: &mut Association, admission: &mut Admission, id: u16) -> Option<LinkEvent> {
    let mut stream = association.stream(id).ok()?;
    while let Ok(Some(chunks)) = stream.read_sctp() {
        admission.released(chunks.chunks.len());
        let mut data = vec![0; chunks.len()];
        if chunks.read(&mut data).is_ok() {
            let ppid = chunks.ppi;
            return Some(LinkEvent::Message { id, ppid, data });
        }
    }
    None
}

fn next_packets(association: &mut Association, now: Instant) -> Vec<Bytes> {
    match association.poll_transmit(now).map(|transmit| transmit.payload) {
        Some(Payload::RawEncode(packets)) => packets,
        Some(Payload::PartialDecode(_)) | None => Vec::new(),
    }
}

fn transport(remote: SctpRemote) -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_BUFFER_MAX)
        .with_local_port(LOCAL_PORT)
        .with_remote_port(remote.port.get())
        .with_max_send_message_size(remote.message_len_max)
        .with_max_receive_message_size(MESSAGE_LEN_MAX)
        .with_max_num_inbound_streams(STREAMS_MAX)
        .with_max_num_outbound_streams(STREAMS_MAX)
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}
