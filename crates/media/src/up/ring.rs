//! The recent packets of one layer, stored once and shared by all its subscribers: for the
//! fan-out of the running turn and for retransmission later.
//!
//! Owns: bytes and digests. Must not know: who gets them.
//!
//! Packets lie side by side in one circular byte buffer, so memory follows bitrate rather than the
//! largest packet. The buffer starts small and doubles while one lap takes less than
//! [`LAP_MIN`]; after that warm-up nothing is allocated.

use crate::frame::Frame;
use peer::Codec;
use std::time::{Duration, Instant};

/// A lap of the byte buffer should take at least this long, or the buffer doubles (up to its
/// maximum): a second, as long as retransmissions are of use, and a quarter more, so that a lap with
/// an unusually large key frame still takes a second and a steady stream settles in its first laps.
const LAP_MIN: Duration = Duration::from_millis(1250);

/// Sizes of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSize {
    /// Most packets; a power of two.
    pub(crate) packets: usize,
    /// Bytes to begin with.
    pub(crate) bytes_min: usize,
    /// Most bytes.
    pub(crate) bytes_max: usize,
}

impl RingSize {
    /// 2.5 s of 20 ms packets at 50 kbit/s.
    pub(crate) const AUDIO: Self = Self {
        packets: 128,
        bytes_min: 8 << 10,
        bytes_max: 64 << 10,
    };
    /// A second of 8 Mbit/s, three of 2.5 Mbit/s.
    pub(crate) const VIDEO: Self = Self {
        packets: 1024,
        bytes_min: 64 << 10,
        bytes_max: 1 << 20,
    };
}

/// What is known of a packet that is put into the ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketInfo {
    /// Extended sequence number of the source.
    pub(crate) sequence: u64,
    /// RTP timestamp of the source.
    pub(crate) timestamp: u32,
    /// Marker bit.
    pub(crate) marker: bool,
    /// Codec.
    pub(crate) codec: Codec,
    /// Digest of the payload.
    pub(crate) frame: Frame,
    /// When it arrived.
    pub(crate) at: Instant,
    /// It came behind newer ones.
    pub(crate) late: bool,
}

/// A stored packet with its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) info: &'a PacketInfo,
    pub(crate) payload: &'a [u8],
    pub(crate) dependency_descriptor: &'a [u8],
    pub(crate) abs_capture_time: &'a [u8],
}

impl Packet<'_> {
    /// It has no payload, and is stored only so that its sequence number is no hole to subscribers.
    pub(crate) fn is_padding(&self) -> bool {
        self.payload.is_empty()
    }
}

/// What became of a packet given to [`PacketRing::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Stored.
    New,
    /// Stored before.
    Duplicate,
    /// Its place was taken by a newer one.
    TooOld,
    /// The turn's packets fill the whole buffer.
    Full,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    info: PacketInfo,
    /// Position of the first byte, counted from the beginning of the stream.
    start: u64,
    payload_len: u16,
    dependency_len: u16,
    capture_len: u8,
}

impl Entry {
    fn len(&self) -> usize {
        usize::from(self.payload_len) + usize::from(self.dependency_len) + usize::from(self.capture_len)
    }
}

/// The packets of one layer.
#[derive(Debug)]
pub(crate) struct PacketRing {
    size: RingSize,
    entries: Vec<Option<Entry>>,
    bytes: Vec<u8>,
    /// Bytes written so far, skipped ends of laps included.
    written: u64,
    lap_started: Option<Instant>,
    /// First byte of the running turn: not overwritten before the turn is sent.
    turn_start: Option<u64>,
}

impl PacketRing {
    /// An empty ring; allocates with its first packet.
    pub(crate) fn new(size: RingSize) -> Self {
        debug_assert!(size.packets.is_power_of_two());
        Self {
            size,
            entries: Vec::new(),
            bytes: Vec::new(),
            written: 0,
            lap_started: None,
            turn_start: None,
        }
    }

    /// Stores a packet.
    pub(crate) fn insert(
        &mut self,
        info: PacketInfo,
        payload: &[u8],
        dependency_descriptor: &[u8],
        abs_capture_time: &[u8],
    ) -> Inserted {
        if self.entries.is_empty() {
            self.entries.resize(self.size.packets, None);
            self.bytes.resize(self.size.bytes_min, 0);
        }
        let index = self.index(info.sequence);
        if let Some(old) = &self.entries[index] {
            if old.info.sequence == info.sequence {
                return Inserted::Duplicate;
            }
            if old.info.sequence > info.sequence {
                return Inserted::TooOld;
            }
        }
        let (Ok(payload_len), Ok(dependency_len), Ok(capture_len)) = (
            u16::try_from(payload.len()),
            u16::try_from(dependency_descriptor.len()),
            u8::try_from(abs_capture_time.len()),
        ) else {
            return Inserted::Full;
        };
        let len = payload.len() + dependency_descriptor.len() + abs_capture_time.len();
        let Some(start) = self.reserve(len, info.at) else {
            return Inserted::Full;
        };
        let at = (start % self.bytes.len() as u64) as usize;
        let (to_payload, rest) = self.bytes[at..at + len].split_at_mut(payload.len());
        let (to_dependency, to_capture) = rest.split_at_mut(dependency_descriptor.len());
        to_payload.copy_from_slice(payload);
        to_dependency.copy_from_slice(dependency_descriptor);
        to_capture.copy_from_slice(abs_capture_time);
        self.turn_start.get_or_insert(start);
        self.entries[index] = Some(Entry {
            info,
            start,
            payload_len,
            dependency_len,
            capture_len,
        });
        Inserted::New
    }

    /// The packet with this sequence number, if it is still there.
    pub(crate) fn get(&self, sequence: u64) -> Option<Packet<'_>> {
        let entry = self.entries.get(self.index(sequence))?.as_ref()?;
        if entry.info.sequence != sequence || self.written - entry.start > self.bytes.len() as u64 {
            return None;
        }
        let at = (entry.start % self.bytes.len() as u64) as usize;
        let (payload, rest) = self.bytes[at..at + entry.len()].split_at(usize::from(entry.payload_len));
        let (dependency_descriptor, abs_capture_time) = rest.split_at(usize::from(entry.dependency_len));
        Some(Packet {
            info: &entry.info,
            payload,
            dependency_descriptor,
            abs_capture_time,
        })
    }

    /// The turn was sent: its packets may be overwritten from now on.
    pub(crate) fn end_turn(&mut self) {
        self.turn_start = None;
    }

    /// Forgets all packets; keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.entries.fill(None);
        self.turn_start = None;
    }

    fn index(&self, sequence: u64) -> usize {
        (sequence % self.size.packets as u64) as usize
    }

    /// Makes room for `len` bytes in one piece and returns their position.
    fn reserve(&mut self, len: usize, now: Instant) -> Option<u64> {
        loop {
            let capacity = self.bytes.len() as u64;
            let at = self.written % capacity;
            let wraps = at + len as u64 > capacity;
            let start = if wraps {
                self.written + (capacity - at)
            } else {
                self.written
            };
            let end = start + len as u64;
            let overruns = len as u64 > capacity || self.turn_start.is_some_and(|turn| end - turn > capacity);
            let early = wraps
                && self
                    .lap_started
                    .is_some_and(|lap| now.saturating_duration_since(lap) < LAP_MIN);
            if (overruns || early) && self.bytes.len() < self.size.bytes_max {
                self.grow();
                continue;
            }
            if overruns {
                return None;
            }
            if wraps || self.lap_started.is_none() {
                self.lap_started = Some(now);
            }
            self.written = end;
            return Some(start);
        }
    }

    /// Doubles the buffer and lays the packets that are still there side by side.
    fn grow(&mut self) {
        let capacity = self.bytes.len();
        let mut order: Vec<usize> = (0..self.entries.len())
            .filter(|&i| {
                self.entries[i]
                    .as_ref()
                    .is_some_and(|entry| self.written - entry.start <= capacity as u64)
            })
            .collect();
        order.sort_by_key(|&i| self.entries[i].as_ref().map(|entry| entry.start));
        let mut bytes = vec![0; (capacity * 2).min(self.size.bytes_max)];
        let mut end = 0;
        let turn_start = self.turn_start.take();
        for i in order {
            let entry = self.entries[i].as_mut().expect("chosen above");
            let from = (entry.start % capacity as u64) as usize;
            let len = entry.len();
            bytes[end..end + len].copy_from_slice(&self.bytes[from..from + len]);
            if turn_start.is_some_and(|turn| entry.start >= turn) {
                self.turn_start.get_or_insert(end as u64);
            }
            entry.start = end as u64;
            end += len;
        }
        for entry in &mut self.entries {
            if entry.as_ref().is_some_and(|entry| entry.start > end as u64) {
                *entry = None;
            }
        }
        self.bytes = bytes;
        self.written = end as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: RingSize = RingSize {
        packets: 16,
        bytes_min: 1000,
        bytes_max: 4000,
    };

    fn info(sequence: u64, at: Instant) -> PacketInfo {
        PacketInfo {
            sequence,
            timestamp: 0,
            marker: false,
            codec: Codec::Vp8,
            frame: Frame::PLAIN,
            at,
            late: false,
        }
    }

    fn payload(sequence: u64, len: usize) -> Vec<u8> {
        (0..len).map(|i| (sequence as usize + i) as u8).collect()
    }

    #[test]
    fn keeps_what_was_put_in() {
        let now = crate::testing::epoch();
        let mut ring = PacketRing::new(SMALL);
        assert!(ring.get(7).is_none());
        assert_eq!(
            ring.insert(info(7, now), b"payload", b"dd", b"captured"),
            Inserted::New
        );
        let packet = ring.get(7).expect("just stored");
        assert_eq!(
            (
                packet.payload,
                packet.dependency_descriptor,
                packet.abs_capture_time
            ),
            (&b"payload"[..], &b"dd"[..], &b"captured"[..])
        );
        assert_eq!(ring.insert(info(7, now), b"again", b"", b""), Inserted::Duplicate);
        ring.insert(info(23, now), b"newer", b"", b"");
        assert_eq!(ring.insert(info(7, now), b"late", b"", b""), Inserted::TooOld);
        assert!(ring.get(7).is_none());
    }

    #[test]
    fn overwritten_packets_are_gone_and_others_intact() {
        let now = crate::testing::epoch();
        let mut ring = PacketRing::new(SMALL);
        for sequence in 0..100 {
            // 10 packets a second: a lap of 1000 bytes takes long enough.
            let at = now + Duration::from_millis(sequence * 400);
            ring.insert(info(sequence, at), &payload(sequence, 230), b"", b"");
            ring.end_turn();
        }
        assert_eq!(ring.bytes.len(), 1000, "no reason to grow");
        let there: Vec<u64> = (0..100).filter(|&s| ring.get(s).is_some()).collect();
        assert_eq!(there.last(), Some(&99));
        assert!((3..=4).contains(&there.len()), "{there:?}");
        for &sequence in &there {
            assert_eq!(ring.get(sequence).expect("there").payload, payload(sequence, 230));
        }
    }

    #[test]
    fn grows_while_laps_are_short() {
        let now = crate::testing::epoch();
        let mut ring = PacketRing::new(SMALL);
        for sequence in 0..40 {
            let at = now + Duration::from_millis(sequence * 10);
            ring.insert(info(sequence, at), &payload(sequence, 230), b"", b"");
            ring.end_turn();
        }
        assert_eq!(ring.bytes.len(), 4000);
        for sequence in 24..40 {
            assert_eq!(ring.get(sequence).expect("there").payload, payload(sequence, 230));
        }
    }

    #[test]
    fn a_turn_is_never_overwritten() {
        let now = crate::testing::epoch();
        let mut ring = PacketRing::new(SMALL);
        let results: Vec<Inserted> = (0..16)
            .map(|sequence| ring.insert(info(sequence, now), &payload(sequence, 300), b"", b""))
            .collect();
        assert_eq!(results.iter().filter(|r| **r == Inserted::New).count(), 13);
        assert_eq!(results.last(), Some(&Inserted::Full));
        for sequence in 0..13 {
            assert_eq!(ring.get(sequence).expect("there").payload, payload(sequence, 300));
        }
        ring.end_turn();
        assert_eq!(
            ring.insert(info(16, now), &payload(16, 300), b"", b""),
            Inserted::New
        );
    }

    #[test]
    fn a_payload_larger_than_the_buffer_is_refused() {
        let mut ring = PacketRing::new(SMALL);
        let result = ring.insert(info(1, crate::testing::epoch()), &[0; 5000], b"", b"");
        assert_eq!(result, Inserted::Full);
    }
}
