//! The one place that knows `sctp-proto`: an association with exactly one remote side.

use super::MESSAGE_LEN_MAX;
use super::admission::{Admission, STREAMS_MAX};
use crate::config::DtlsRole;
use bytes::Bytes;
use sctp_proto::{
    Association, AssociationError, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig,
    Event, Payload, PayloadProtocolIdentifier as Ppid, ReliabilityType, ServerConfig, StreamEvent,
    TransportConfig,
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
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
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
    pub(super) fn new(role: DtlsRole, send_len_max: usize) -> Self {
        let transport = Arc::new(transport(send_len_max));
        let mut server = ServerConfig::default();
        server.transport = transport.clone();
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), Some(Arc::new(server)));
        let initiates = role == DtlsRole::Client;
        let association = initiates.then(|| {
            let mut client = ClientConfig::default();
            client.transport = transport;
            let connected = endpoint.connect(client, NOWHERE);
            connected.expect("a fresh endpoint accepts its first association")
        });
        Self {
            endpoint,
            association,
            admission: Admission::new(initiates),
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

    /// Packets that came too far ahead of what is missing, or while too much was held, in whole or in
    /// part.
    pub(super) fn dropped(&self) -> u64 {
        self.admission.refused()
    }

    pub(super) fn handle_packet(&mut self, now: Instant, data: &[u8]) {
        if self.ended {
            return;
        }
        let Some(data) = self.admission.admit(self.up, data) else {
            return;
        };
        match self.endpoint.handle(now, NOWHERE, None, None, data) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.association = Some((handle, association));
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some((_, association)) = &mut self.association {
                    association.handle_event(event);
                    if !self.admission.explains(association.stats().get_num_datas()) {
                        // Ends it, which is all that can fail.
                        let _ = association.close();
                    }
                }
            }
            None => {}
        }
        self.settle();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
            self.settle();
        }
    }

    /// Sets how a stream delivers, and makes it when it does not exist.
    pub(super) fn configure(&mut self, id: u16, ordered: bool, reliability: Reliability) -> bool {
        let Some((_, association)) = &mut self.association else {
            return false;
        };
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
        let Some((_, association)) = &mut self.association else {
            return false;
        };
        let stream = association.stream(id);
        stream.is_ok_and(|mut s| s.write_with_ppi(data, ppid).is_ok())
    }

    pub(super) fn reset(&mut self, id: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(id)
        {
            // An error means that the association is not up: then there is nothing to reset.
            let _ = stream.close();
            self.settle();
        }
    }

    pub(super) fn has_stream(&self, id: u16) -> bool {
        let association = self.association.as_ref().map(|(_, association)| association);
        association.is_some_and(|a| a.stream_ids().contains(&id))
    }

    pub(super) fn buffered(&mut self, id: u16) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        association
            .stream(id)
            .and_then(|stream| stream.buffered_amount())
            .unwrap_or(0)
    }

    /// Whether messages may wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Reads one message, of each stream in turn; false when there is none.
    pub(super) fn read(&mut self) -> bool {
        while let (Some((_, association)), Some(id)) = (&mut self.association, self.readable.pop_front()) {
            if let Some(message) = read_next(association, &mut self.admission, id) {
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
        if let Some((_, association)) = &mut self.association
            && self.outgoing.is_empty()
            && let Some(transmit) = association.poll_transmit(now)
            && let Payload::RawEncode(packets) = transmit.payload
        {
            let sent = packets
                .into_iter()
                .map(|packet| self.admission.sent(packet, RECEIVE_BUFFER_MAX));
            self.outgoing.extend(sent);
        }
        self.outgoing.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let (_, association) = self.association.as_ref()?;
        association.poll_timeout()
    }

    fn settle(&mut self) {
        let Some((handle, association)) = &mut self.association else {
            return;
        };
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
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
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

fn transport(send_len_max: usize) -> TransportConfig {
    let len = |len: usize| u32::try_from(len).expect("message limits are below 4 GiB");
    TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_BUFFER_MAX)
        .with_max_send_message_size(len(send_len_max))
        .with_max_receive_message_size(len(MESSAGE_LEN_MAX))
        .with_max_num_inbound_streams(STREAMS_MAX)
        .with_max_num_outbound_streams(STREAMS_MAX)
        .with_max_init_retransmits(None)
        .with_max_data_retransmits(None)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}
