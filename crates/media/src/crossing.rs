//! The way between media threads: packets and control items in single-producer single-consumer
//! rings, wait-free on both ends.
//!
//! Owns: rings and recycled packet buffers. Must not know: what becomes of a packet.
//!
//! A packet crosses to each other thread at most once, however many subscribers it has there (I5).
//! A full ring drops the packet and counts it; nobody ever waits for another thread.
//! Buffers travel back to their sender through a second ring, so that nothing is allocated after
//! warm-up.

mod control;

use crate::api::{ThreadId, TrackKey};
use crate::up::layer::Arrival;
use control::Backlog;
pub(crate) use control::Control;
use peer::{Codec, Outbox};
use rtrb::{Consumer, Producer, RingBuffer};
use std::net::SocketAddr;

/// Bytes of one crossing: a whole datagram.
const CROSSING_LEN: usize = Outbox::DATAGRAM_MAX;
/// Control items per ring. They are rare: subscriptions, mutes, reports, key-frame requests.
const CONTROL_CAPACITY: usize = 1024;
/// Percent of a ring that datagrams leave to packets of tracks: sources can be forged, packets cannot.
/// Higher lets a burst of datagrams wait in the socket's buffer for less, and lose more of it.
const KEPT_FOR_PACKETS: usize = 25;
/// Percent of a ring that datagrams of unknown sources leave to all others.
const KEPT_FOR_FAMILIAR: usize = 75;

/// A packet or a datagram on its way to another thread.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// What the bytes are.
    pub(crate) content: Content,
    bytes: [u8; CROSSING_LEN],
}

/// What a crossing carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content {
    /// A decrypted packet of an up track.
    Packet {
        track: TrackKey,
        layer: u8,
        sequence: u64,
        timestamp: u32,
        marker: bool,
        codec: Codec,
        payload_len: u16,
        dependency_len: u16,
        capture_len: u16,
    },
    /// A datagram of a peer that lives on the other thread.
    Datagram {
        from: SocketAddr,
        local: u8,
        len: u16,
        /// The sending thread knew the source as one of a peer of the other thread.
        familiar: bool,
    },
}

impl Crossing {
    fn new() -> Box<Self> {
        Box::new(Self {
            content: Content::Datagram {
                from: SocketAddr::from(([0, 0, 0, 0], 0)),
                local: 0,
                len: 0,
                familiar: false,
            },
            bytes: [0; CROSSING_LEN],
        })
    }

    /// The datagram's bytes; empty for a packet.
    pub(crate) fn datagram_mut(&mut self) -> &mut [u8] {
        match self.content {
            Content::Datagram { len, .. } => &mut self.bytes[..usize::from(len)],
            Content::Packet { .. } => &mut [],
        }
    }

    /// The packet as it arrived; `None` for a datagram.
    pub(crate) fn arrival(&self) -> Option<Arrival<'_>> {
        let Content::Packet {
            sequence,
            timestamp,
            marker,
            codec,
            payload_len,
            dependency_len,
            capture_len,
            ..
        } = self.content
        else {
            return None;
        };
        let (payload, rest) = self.bytes.split_at_checked(usize::from(payload_len))?;
        let (dependency_descriptor, rest) = rest.split_at_checked(usize::from(dependency_len))?;
        Some(Arrival {
            sequence,
            timestamp,
            marker,
            codec,
            payload,
            dependency_descriptor,
            abs_capture_time: rest.get(..usize::from(capture_len))?,
        })
    }
}

/// One direction's ends, and those of the other direction.
#[derive(Debug)]
struct Link {
    packets_out: Producer<Box<Crossing>>,
    /// Buffers that came back.
    spare_in: Consumer<Box<Crossing>>,
    control_out: Producer<Control>,
    backlog: Backlog,
    packets_in: Consumer<Box<Crossing>>,
    spare_out: Producer<Box<Crossing>>,
    control_in: Consumer<Control>,
    /// Buffers made so far, at most `capacity`.
    made: usize,
    capacity: usize,
    /// Something was pushed since the last wake.
    wake: bool,
}

/// Rings to and from every other media thread. Made all at once by [`mesh`].
#[derive(Debug)]
pub struct Mesh {
    links: Vec<Option<Link>>,
}

/// Makes the rings of `threads` media threads: element *i* goes to thread *i*.
/// `capacity` packets per ring and direction.
///
/// # Panics
/// When there are more threads than [`ThreadId`] can name.
#[must_use]
pub fn mesh(threads: usize, capacity: usize) -> Vec<Mesh> {
    assert!(threads <= usize::from(u8::MAX) + 1);
    let capacity = capacity.max(1);
    let mut meshes: Vec<Mesh> = (0..threads)
        .map(|_| Mesh {
            links: (0..threads).map(|_| None).collect(),
        })
        .collect();
    for a in 0..threads {
        for b in a + 1..threads {
            let (link_a, link_b) = link_pair(capacity);
            meshes[a].links[b] = Some(link_a);
            meshes[b].links[a] = Some(link_b);
        }
    }
    meshes
}

fn link_pair(capacity: usize) -> (Link, Link) {
    let (ab, ab_in) = RingBuffer::new(capacity);
    let (ba, ba_in) = RingBuffer::new(capacity);
    let (ab_spare, ab_spare_in) = RingBuffer::new(capacity);
    let (ba_spare, ba_spare_in) = RingBuffer::new(capacity);
    let (ab_control, ab_control_in) = RingBuffer::new(CONTROL_CAPACITY);
    let (ba_control, ba_control_in) = RingBuffer::new(CONTROL_CAPACITY);
    let link = |packets_out, spare_in, control_out, packets_in, spare_out, control_in| Link {
        packets_out,
        spare_in,
        control_out,
        backlog: Backlog::default(),
        packets_in,
        spare_out,
        control_in,
        made: 0,
        capacity,
        wake: false,
    };
    (
        link(ab, ab_spare_in, ab_control, ba_in, ba_spare, ba_control_in),
        link(ba, ba_spare_in, ba_control, ab_in, ab_spare, ab_control_in),
    )
}

impl Mesh {
    /// How many threads there are.
    pub(crate) fn threads(&self) -> usize {
        self.links.len()
    }

    fn link(&mut self, thread: ThreadId) -> Option<&mut Link> {
        self.links.get_mut(usize::from(thread.0))?.as_mut()
    }

    /// Whether there is a way to this thread.
    pub(crate) fn knows(&self, thread: ThreadId) -> bool {
        matches!(self.links.get(usize::from(thread.0)), Some(Some(_)))
    }

    /// Sends a packet of a track; false when it was dropped because the ring is full.
    pub(crate) fn send_packet(
        &mut self,
        to: ThreadId,
        track: TrackKey,
        layer: u8,
        arrival: &Arrival<'_>,
    ) -> bool {
        let len = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let content = Content::Packet {
            track,
            layer,
            sequence: arrival.sequence,
            timestamp: arrival.timestamp,
            marker: arrival.marker,
            codec: arrival.codec,
            payload_len: len(arrival.payload),
            dependency_len: len(arrival.dependency_descriptor),
            capture_len: len(arrival.abs_capture_time),
        };
        let parts = [
            arrival.payload,
            arrival.dependency_descriptor,
            arrival.abs_capture_time,
        ];
        self.send(to, content, &parts)
    }

    /// Hands a datagram over to the thread that owns its peer; false when it was dropped. One of an
    /// unknown source takes none of the room that is kept for others.
    pub(crate) fn send_datagram(
        &mut self,
        to: ThreadId,
        (from, local): (SocketAddr, u8),
        familiar: bool,
        data: &[u8],
    ) -> bool {
        let (Ok(len), Some(link)) = (u16::try_from(data.len()), self.link(to)) else {
            return false;
        };
        let kept = if familiar {
            KEPT_FOR_PACKETS
        } else {
            KEPT_FOR_FAMILIAR
        };
        if link.packets_out.slots() * 100 <= link.capacity * kept {
            return false;
        }
        let content = Content::Datagram {
            from,
            local,
            len,
            familiar,
        };
        self.send(to, content, &[data])
    }

    fn send(&mut self, to: ThreadId, content: Content, parts: &[&[u8]]) -> bool {
        let Some(link) = self.link(to) else {
            return false;
        };
        if link.packets_out.is_full() || parts.iter().map(|part| part.len()).sum::<usize>() > CROSSING_LEN {
            return false;
        }
        let mut crossing = match link.spare_in.pop() {
            Ok(crossing) => crossing,
            Err(_) if link.made < link.capacity => {
                link.made += 1;
                Crossing::new()
            }
            Err(_) => return false,
        };
        crossing.content = content;
        let mut at = 0;
        for part in parts {
            crossing.bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        link.wake = true;
        link.packets_out.push(crossing).is_ok()
    }

    /// Sends a control item, behind those that still wait; false when it was dropped.
    pub(crate) fn send_control(&mut self, to: ThreadId, control: Control) -> bool {
        let Some(link) = self.link(to) else {
            return false;
        };
        link.wake = true;
        let is_first = link.backlog.items.is_empty();
        (is_first && link.control_out.push(control).is_ok()) || link.backlog.push(control)
    }

    /// Moves waiting control items into rings that have room again. True while some wait.
    pub(crate) fn flush(&mut self) -> bool {
        let mut waits = false;
        for link in self.links.iter_mut().flatten() {
            while let Some(control) = link.backlog.items.front() {
                if link.control_out.push(*control).is_err() {
                    waits = true;
                    break;
                }
                link.backlog.pop();
                link.wake = true;
            }
        }
        waits
    }

    /// The next control item from a thread.
    pub(crate) fn receive_control(&mut self, from: ThreadId) -> Option<Control> {
        self.link(from)?.control_in.pop().ok()
    }

    /// The next packet or datagram from a thread; give it back with [`Self::recycle`].
    pub(crate) fn receive(&mut self, from: ThreadId) -> Option<Box<Crossing>> {
        self.link(from)?.packets_in.pop().ok()
    }

    /// Sends a buffer back to where it came from.
    pub(crate) fn recycle(&mut self, from: ThreadId, crossing: Box<Crossing>) {
        if let Some(link) = self.link(from) {
            // As many buffers exist as the ring holds, so there is room.
            let pushed = link.spare_out.push(crossing);
            debug_assert!(pushed.is_ok());
        }
    }

    /// A thread into whose rings something was put since it was named last. It is named even when
    /// its rings were not empty before: whether it went to sleep meanwhile cannot be known here.
    pub(crate) fn poll_wake(&mut self) -> Option<ThreadId> {
        let index = self
            .links
            .iter()
            .position(|link| link.as_ref().is_some_and(|l| l.wake))?;
        self.links[index].as_mut()?.wake = false;
        Some(ThreadId(index as u8))
    }
}

#[cfg(test)]
mod tests;
