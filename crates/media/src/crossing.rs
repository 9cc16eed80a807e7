//! The way between media threads: packets and control items in single-producer single-consumer
//! rings, wait-free on both ends.
//!
//! Owns: rings and recycled packet buffers. Must not know: what becomes of a packet.
//!
//! A packet crosses to each other thread at most once, however many subscribers it has there (I5).
//! A full ring drops the packet and counts it; nobody ever waits for another thread.
//! Buffers travel back to their sender through a second ring, so that nothing is allocated after
//! warm-up.

use crate::api::{ThreadId, TrackKey};
use crate::down::munge::SenderReport;
use crate::up::layer::Arrival;
use peer::{Codec, Outbox};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Bytes of one crossing: a whole datagram.
const CROSSING_LEN: usize = Outbox::DATAGRAM_MAX;
/// Control items per ring. They are rare: subscriptions, mutes, reports, key-frame requests.
const CONTROL_CAPACITY: usize = 1024;
/// Control items kept while the ring is full, that is, while the other thread stalls.
const BACKLOG_MAX: usize = 16 * 1024;

/// Percent of a ring that datagrams leave to packets of tracks: sources can be forged, packets cannot.
/// Higher lets a burst of datagrams wait in the socket's buffer for less, and lose more of it.
const KEPT_FOR_PACKETS: usize = 25;
/// Percent of a ring that datagrams of unknown sources leave to all others.
const KEPT_FOR_FAMILIAR: usize = 75;

/// What threads tell each other beside packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Control {
    /// We have subscribers of your track.
    Want { track: TrackKey },
    /// We have none any more.
    Unwant { track: TrackKey },
    /// A subscriber of ours needs a key frame of your track's layer.
    KeyFrame { track: TrackKey, layer: u8 },
    /// Our track was muted or unmuted.
    Muted { track: TrackKey, muted: bool },
    /// A layer of our track has (another) source.
    Started {
        track: TrackKey,
        layer: u8,
        codec: Codec,
        ssrc: u32,
    },
    /// Our track is no longer published.
    Ended { track: TrackKey },
    /// A sender report of our track's layer.
    Report {
        track: TrackKey,
        layer: u8,
        report: SenderReport,
    },
    /// The worst loss of your audio track that our subscribers report, as a fraction of 256.
    Loss { track: TrackKey, fraction: u8 },
    /// Datagrams of this source, which your socket gets, are for a peer of ours.
    Learned { source: SocketAddr },
    /// They are not any more.
    Forgotten { source: SocketAddr },
}

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
    backlog: VecDeque<Control>,
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
        backlog: VecDeque::new(),
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
        if link.backlog.is_empty() && link.control_out.push(control).is_ok() {
            return true;
        }
        if link.backlog.len() == BACKLOG_MAX {
            return false;
        }
        link.backlog.push_back(control);
        true
    }

    /// Moves waiting control items into rings that have room again. True while some wait.
    pub(crate) fn flush(&mut self) -> bool {
        let mut waits = false;
        for link in self.links.iter_mut().flatten() {
            while let Some(control) = link.backlog.front() {
                if link.control_out.push(*control).is_err() {
                    waits = true;
                    break;
                }
                link.backlog.pop_front();
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
mod tests {
    use super::*;
    use crate::api::RoomKey;

    const A: ThreadId = ThreadId(0);
    const B: ThreadId = ThreadId(1);

    fn track() -> TrackKey {
        TrackKey::new(A, RoomKey(1), 1)
    }

    fn arrival(sequence: u64) -> Arrival<'static> {
        Arrival {
            sequence,
            timestamp: 7,
            marker: true,
            codec: Codec::Vp8,
            payload: b"payload",
            dependency_descriptor: b"dd",
            abs_capture_time: b"captured",
        }
    }

    fn pair(capacity: usize) -> (Mesh, Mesh) {
        let mut meshes = mesh(2, capacity);
        let b = meshes.pop().expect("two were made");
        (meshes.pop().expect("two were made"), b)
    }

    #[test]
    fn packets_cross_in_order_and_whole() {
        let (mut a, mut b) = pair(8);
        assert!(a.send_packet(B, track(), 2, &arrival(5)));
        let source = (SocketAddr::from(([127, 0, 0, 1], 9)), 1);
        assert!(a.send_datagram(B, source, true, b"stun"));
        let first = b.receive(A).expect("crossed");
        let packet = first.arrival().expect("a packet");
        assert_eq!(
            (packet.sequence, packet.payload, packet.dependency_descriptor),
            (5, &b"payload"[..], &b"dd"[..])
        );
        assert_eq!(packet.abs_capture_time, b"captured");
        let mut second = b.receive(A).expect("crossed");
        assert_eq!(second.datagram_mut(), b"stun");
        assert!(b.receive(A).is_none());
    }

    #[test]
    fn a_full_ring_drops_and_recycled_buffers_are_used_again() {
        let (mut a, mut b) = pair(2);
        assert!(a.send_packet(B, track(), 0, &arrival(1)));
        assert!(a.send_packet(B, track(), 0, &arrival(2)));
        assert!(!a.send_packet(B, track(), 0, &arrival(3)), "full");
        for round in 0..100 {
            let crossing = b.receive(A).expect("one waits");
            assert!(!a.send_packet(B, track(), 0, &arrival(round)), "no buffer yet");
            b.recycle(A, crossing);
            assert!(a.send_packet(B, track(), 0, &arrival(round)));
        }
        assert_eq!(a.links[1].as_ref().expect("linked").made, 2);
    }

    #[test]
    fn control_items_wait_while_the_other_thread_stalls() {
        let (mut a, mut b) = pair(2);
        let total = CONTROL_CAPACITY + 500;
        for layer in 0..total {
            assert!(a.send_control(
                B,
                Control::KeyFrame {
                    track: track(),
                    layer: layer as u8
                }
            ));
        }
        let mut got = Vec::new();
        while got.len() < total {
            while let Some(Control::KeyFrame { layer, .. }) = b.receive_control(A) {
                got.push(layer);
            }
            a.flush();
        }
        assert_eq!(got, (0..total).map(|i| i as u8).collect::<Vec<_>>());
    }

    #[test]
    fn strangers_leave_room_for_those_that_are_known_and_these_for_packets() {
        let (mut a, _b) = pair(100);
        let source = (SocketAddr::from(([127, 0, 0, 1], 9)), 0);
        let count = |a: &mut Mesh, familiar| {
            (0..1000)
                .filter(|_| a.send_datagram(B, source, familiar, b"x"))
                .count()
        };
        assert_eq!(count(&mut a, false), 25);
        assert_eq!(count(&mut a, true), 50);
        assert_eq!(
            (0..1000)
                .filter(|i| a.send_packet(B, track(), 0, &arrival(*i)))
                .count(),
            25
        );
    }

    #[test]
    fn each_thread_is_woken_once_for_what_it_got() {
        let (mut a, _b) = pair(4);
        assert_eq!(a.poll_wake(), None);
        a.send_packet(B, track(), 0, &arrival(1));
        a.send_packet(B, track(), 0, &arrival(2));
        assert_eq!((a.poll_wake(), a.poll_wake()), (Some(B), None));
    }
}
