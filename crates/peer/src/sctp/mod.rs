//! Data channels of one peer (RFC 8831, RFC 8832): a thin owner of an `sctp-proto` association.
//!
//! Owns stream ids, channel states and the bounds on what is queued. Must not know: DTLS (it
//! speaks of plain packets), what the messages mean.

mod admission;
mod association;
mod handshake;
mod packet;

use crate::config::{ChannelSpec, DtlsRole, SctpRemote};
use crate::peer::PeerEvent;
use association::{Link, LinkEvent};
use bytes::Bytes;
pub(crate) use packet::sign;
use sctp_proto::PayloadProtocolIdentifier as Ppid;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;
use wire::dcep::{self, Reliability};

/// Longest message in either direction: what LiveKit announces (`a=max-message-size`).
pub(crate) const MESSAGE_LEN_MAX: u32 = 65_535;
/// Bytes that may wait for acknowledgement on one channel, so that none takes the room of another.
/// Throughput is at most this per round trip; each slow peer costs as much.
const CHANNEL_BUFFER_MAX: usize = 256 * 1024;
/// The same of all channels of a peer together: LiveKit's clients have three.
const SEND_BUFFER_MAX: usize = 4 * CHANNEL_BUFFER_MAX;
/// Bytes of events that wait to be taken, above which no further message is read: the receive window
/// closes, and the remote side waits. Throughput is at most this per turn of the caller.
const EVENTS_BYTES_MAX: usize = 256 * 1024;
/// What an event costs besides its bytes.
const EVENT_OVERHEAD: usize = 64;
/// Channels per peer; LiveKit's clients use 3, or 6 when both sides open their own.
const CHANNELS_MAX: usize = 32;

/// Longest label taken; LiveKit's are below 12 bytes.
const LABEL_LEN_MAX: usize = 256;
const OPEN_LEN_MAX: usize = 12 + LABEL_LEN_MAX;

/// The channels of one peer, and the association once there is one.
#[derive(Debug, Default)]
pub(crate) struct Sctp {
    link: Option<Link>,
    role: Option<DtlsRole>,
    message_len_max: usize,
    channels: BTreeMap<u16, Channel>,
    waiting: VecDeque<ChannelSpec>,
    events: VecDeque<PeerEvent>,
    events_bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Channel {
    label: String,
    state: State,
    /// Whether a DATA_CHANNEL_OPEN was answered: one is, and nobody sends two.
    answered: bool,
    /// Bytes queued and not acknowledged, as of the last look.
    buffered: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// DATA_CHANNEL_OPEN is on its way.
    Opening,
    Open,
    /// We reset it.
    Closing,
}

impl Sctp {
    /// Begins the association, as the remote side may do or not (RFC 8841 §9.3).
    pub(crate) fn start(&mut self, now: Instant, role: DtlsRole, remote: SctpRemote) {
        if self.link.is_some() {
            return;
        }
        self.role = Some(role);
        let message_len_max = match remote.message_len_max {
            0 => MESSAGE_LEN_MAX,
            limit => limit.min(MESSAGE_LEN_MAX),
        };
        self.message_len_max = message_len_max as usize;
        self.link = Some(Link::new(
            now,
            SctpRemote {
                message_len_max,
                ..remote
            },
        ));
    }

    /// Takes one decrypted packet.
    pub(crate) fn handle_packet(&mut self, now: Instant, data: &[u8]) {
        if let Some(link) = &mut self.link {
            link.handle_packet(now, data);
            self.settle();
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(link) = &mut self.link
            && link.poll_timeout().is_some_and(|due| due <= now)
        {
            link.handle_timeout(now);
            self.settle();
        }
    }

    /// The transport is gone: every channel closes.
    pub(crate) fn lose_transport(&mut self) {
        // What arrived before still counts: no more than a receive window.
        while self.link.as_mut().is_some_and(Link::read) {
            self.take_link_events();
        }
        self.dropped = self.dropped();
        self.link = None;
        self.close_all();
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// Opens a channel now, or when the association is up.
    pub(crate) fn open(&mut self, spec: ChannelSpec) {
        if self.channels.len() + self.waiting.len() >= CHANNELS_MAX {
            self.dropped += 1;
            return;
        }
        self.waiting.push_back(spec);
        self.open_waiting();
    }

    /// Queues a message; false when it cannot be.
    pub(crate) fn send(&mut self, id: u16, binary: bool, data: &[u8]) -> bool {
        let queued: usize = self.channels.values().map(|c| c.buffered).sum();
        let (Some(link), Some(channel)) = (&mut self.link, self.channels.get_mut(&id)) else {
            return false;
        };
        let fits = data.len() <= self.message_len_max
            && channel.buffered + data.len() <= CHANNEL_BUFFER_MAX
            && queued + data.len() <= SEND_BUFFER_MAX;
        if channel.state != State::Open || !fits {
            return false;
        }
        // RFC 8831 §6.6: an empty message is one zero byte under its own identifier.
        let sent = match (binary, data.is_empty()) {
            (true, false) => link.write(id, Ppid::Binary, data),
            (false, false) => link.write(id, Ppid::String, data),
            (true, true) => link.write(id, Ppid::BinaryEmpty, &[0]),
            (false, true) => link.write(id, Ppid::StringEmpty, &[0]),
        };
        channel.buffered = link.buffered(id);
        sent
    }

    /// Resets a channel's stream (RFC 8831 §6.7).
    pub(crate) fn close(&mut self, id: u16) {
        if let (Some(link), Some(channel)) = (&mut self.link, self.channels.get_mut(&id)) {
            channel.state = State::Closing;
            link.reset(id);
            self.settle();
        }
    }

    // ---- outputs -------------------------------------------------------------------------

    /// The next packet to encrypt and send.
    pub(crate) fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        self.link.as_mut()?.poll_packet(now)
    }

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        let event = self.events.pop_front()?;
        self.events_bytes -= cost(&event);
        if self.link.as_ref().is_some_and(Link::has_unread) {
            self.settle();
        }
        Some(event)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.link.as_ref()?.poll_timeout()
    }

    // ---- getters -------------------------------------------------------------------------

    pub(crate) fn buffered(&self, id: u16) -> usize {
        self.channels.get(&id).map_or(0, |channel| channel.buffered)
    }

    /// Messages and channels refused, unknown or malformed, and packets too far ahead.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped + self.link.as_ref().map_or(0, Link::dropped)
    }

    // ---- inside --------------------------------------------------------------------------

    fn settle(&mut self) {
        self.take_link_events();
        while self.events_bytes < EVENTS_BYTES_MAX && self.link.as_mut().is_some_and(Link::read) {
            self.take_link_events();
        }
        if let Some(link) = &mut self.link {
            for (id, channel) in &mut self.channels {
                channel.buffered = link.buffered(*id);
            }
        }
    }

    fn take_link_events(&mut self) {
        while let Some(link) = &mut self.link
            && let Some(event) = link.poll_event()
        {
            match event {
                LinkEvent::Up => self.open_waiting(),
                LinkEvent::Message { id, ppid, data } => self.handle_message(id, ppid, data),
                LinkEvent::Closed { id } => self.forget(id),
                LinkEvent::Down => self.close_all(),
                LinkEvent::Broken => {
                    self.close_all();
                    self.tell(PeerEvent::Failed);
                }
            }
        }
    }

    fn tell(&mut self, event: PeerEvent) {
        self.events_bytes += cost(&event);
        self.events.push_back(event);
    }

    fn handle_message(&mut self, id: u16, ppid: Ppid, mut data: Vec<u8>) {
        let binary = match ppid {
            Ppid::Dcep => return self.handle_dcep(id, &data),
            Ppid::Binary => true,
            Ppid::String => false,
            Ppid::BinaryEmpty | Ppid::StringEmpty => {
                data.clear();
                ppid == Ppid::BinaryEmpty
            }
            Ppid::Unknown => {
                self.dropped += 1;
                return;
            }
        };
        match self.channels.get(&id).map(|channel| channel.state) {
            Some(State::Open) => {}
            // Data may overtake the acknowledgement, and says the same (RFC 8832 §6).
            Some(State::Opening) => self.announce(id),
            Some(State::Closing) => {
                self.dropped += 1;
                return;
            }
            None => return self.refuse(id),
        }
        self.tell(PeerEvent::Message { id, binary, data });
    }

    fn handle_dcep(&mut self, id: u16, data: &[u8]) {
        match dcep::Message::parse(data) {
            Some(dcep::Message::Ack) => {
                if self.channels.get(&id).is_some_and(|c| c.state == State::Opening) {
                    self.announce(id);
                }
            }
            Some(dcep::Message::Open(open)) => {
                let full = !self.channels.contains_key(&id) && self.channels.len() >= CHANNELS_MAX;
                if full || open.label.len() > LABEL_LEN_MAX {
                    return self.refuse(id);
                }
                let Some(link) = &mut self.link else { return };
                // Another would queue one more answer, acknowledged or not.
                if self.channels.get(&id).is_some_and(|channel| channel.answered) {
                    self.dropped += 1;
                    return;
                }
                link.configure(id, open.ordered, open.reliability);
                link.write(id, Ppid::Dcep, &dcep::ACK);
                self.channels.insert(
                    id,
                    Channel {
                        label: open.label.to_owned(),
                        state: State::Opening,
                        answered: true,
                        buffered: 0,
                    },
                );
                self.announce(id);
            }
            None => self.refuse(id),
        }
    }

    fn open_waiting(&mut self) {
        while self.link.as_ref().is_some_and(Link::is_up)
            && let Some(spec) = self.waiting.pop_front()
        {
            self.open_now(spec);
        }
    }

    fn open_now(&mut self, spec: ChannelSpec) {
        let (Some(id), Some(link)) = (spec.negotiated.or_else(|| self.free_id()), &mut self.link) else {
            self.dropped += 1;
            return;
        };
        let reliability = spec
            .max_retransmits
            .map_or(Reliability::Reliable, |n| Reliability::Retransmits(u32::from(n)));
        let in_reach = link.remote().is_some_and(|remote| id < remote.inbound);
        let usable = in_reach && !self.channels.contains_key(&id) && spec.label.len() <= LABEL_LEN_MAX;
        if !usable || !link.configure(id, spec.ordered, reliability) {
            self.dropped += 1;
            return;
        }
        if spec.negotiated.is_none() {
            let open = dcep::Open {
                ordered: spec.ordered,
                reliability,
                priority: 0,
                label: &spec.label,
                protocol: "",
            };
            let mut message = [0; OPEN_LEN_MAX];
            let len = open.write(&mut message).expect("the label is short");
            link.write(id, Ppid::Dcep, &message[..len]);
        }
        self.channels.insert(
            id,
            Channel {
                label: spec.label,
                state: State::Opening,
                answered: false,
                buffered: 0,
            },
        );
        if spec.negotiated.is_some() {
            self.announce(id);
        }
    }

    /// RFC 8832 §6: the DTLS client uses even ids, the server odd ones.
    fn free_id(&self) -> Option<u16> {
        let first = match self.role? {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
        let link = self.link.as_ref()?;
        let free = |id: &u16| !self.channels.contains_key(id) && !link.has_stream(*id);
        (first..u16::MAX).step_by(2).take(2 * CHANNELS_MAX).find(free)
    }

    fn announce(&mut self, id: u16) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.state = State::Open;
            let label = channel.label.clone();
            self.tell(PeerEvent::ChannelOpen { id, label });
        }
    }

    fn refuse(&mut self, id: u16) {
        self.dropped += 1;
        if let Some(link) = &mut self.link {
            link.reset(id);
        }
    }

    fn forget(&mut self, id: u16) {
        if let Some(channel) = self.channels.remove(&id)
            && channel.state != State::Closing
        {
            let label = channel.label;
            self.tell(PeerEvent::ChannelClosed { id, label });
        }
    }

    fn close_all(&mut self) {
        while let Some((id, channel)) = self.channels.pop_first() {
            if channel.state == State::Open {
                let label = channel.label;
                self.tell(PeerEvent::ChannelClosed { id, label });
            }
        }
    }
}

/// What an event takes while it waits.
fn cost(event: &PeerEvent) -> usize {
    let bytes = if let PeerEvent::Message { data, .. } = event {
        data.len()
    } else if let PeerEvent::ChannelOpen { label, .. } | PeerEvent::ChannelClosed { label, .. } = event {
        label.len()
    } else {
        0
    };
    EVENT_OVERHEAD + bytes
}

#[cfg(test)]
mod tests;
