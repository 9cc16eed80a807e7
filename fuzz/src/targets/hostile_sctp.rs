//! A remote side that completed ICE, DTLS and, as it likes, the beginning of SCTP, and then sends what
//! it likes.
//! What it makes us hold, answer and compute is bounded, whatever it sends.
//!
//! An input is a list of operations, most of which are one packet; the TSNs in them are counted from
//! where the association stands, so that mutations stay near what matters.

use super::chunks;
use super::peer::{START, used_since};
use crate::alloc::live_bytes;
use ::peer::fuzzing::UnlockedChannels;
use std::time::{Duration, Instant};
use udp::ThreadClock;

/// Heap that one remote side may make its channels hold, what waits to be taken included.
const HELD_BYTES_MAX: i64 = 5 * 512 * 1024;
/// Packets in answer to one, besides our own messages: a SACK, an answer to a reset with a reset of
/// ours, a heartbeat.
const ANSWERS_PER_PACKET: usize = 3;
/// What a timer has to send again, resets mostly, comes on top.
const ANSWERS_MORE: usize = 64;
/// Bytes of an answer: what fits a datagram.
const ANSWER_LEN_MAX: usize = 1500;
/// A packet of the remote side is no longer than its path takes.
const PACKET_LEN_MAX: usize = 1400;
/// Packets of one input.
const PACKETS_MAX: usize = 12_000;
const INIT_ACK: u8 = 2;
/// Where the cookie of an INIT ACK is.
const COOKIE: std::ops::Range<usize> = 36..52;
/// Mean CPU time for a packet, once there are enough of them for a mean. Optimised it is a hundredth.
const MEAN_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });
const MEAN_OF_MIN: usize = 256;

/// What came of an input, so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) packets: usize,
    pub(crate) events: usize,
    pub(crate) answers: usize,
    pub(crate) held_max: i64,
    pub(crate) took: Duration,
}

pub(crate) fn hostile_sctp(data: &[u8]) {
    reach(data);
}

pub(crate) fn reach(data: &[u8]) -> Reached {
    let before = live_bytes();
    let mut hostile = Hostile {
        channels: UnlockedChannels::new(*START).expect("nothing is lost"),
        now: *START + Duration::from_secs(60),
        next: 0,
        takes_events: true,
        takes_packets: true,
        cookie: Vec::new(),
        before,
        clock: ThreadClock::current().expect("every thread has one"),
        reached: Reached::default(),
    };
    hostile.next = hostile.channels.next_tsn();
    for operation in chunks(data) {
        if let Some((&kind, rest)) = operation.split_first()
            && hostile.reached.packets < PACKETS_MAX
        {
            hostile.operate(kind, &mut Params(rest));
        }
    }
    let Reached { packets, took, .. } = hostile.reached;
    if packets >= MEAN_OF_MIN {
        let mean = took / packets as u32;
        assert!(mean <= MEAN_MAX, "{mean:?} for each of {packets} packets");
    }
    hostile.reached
}

/// The rest of an operation, read as numbers; zeros follow its end.
struct Params<'a>(&'a [u8]);

impl Params<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    fn long(&mut self) -> u32 {
        u32::from(self.word()) << 16 | u32::from(self.word())
    }
}

struct Hostile {
    channels: UnlockedChannels,
    now: Instant,
    /// The TSN from which those of an operation are counted.
    next: u32,
    takes_events: bool,
    takes_packets: bool,
    /// Of our last INIT ACK.
    cookie: Vec<u8>,
    before: i64,
    clock: ThreadClock,
    reached: Reached,
}

impl Hostile {
    fn operate(&mut self, kind: u8, params: &mut Params<'_>) {
        match kind % 13 {
            0 => self.packet(params.0),
            1 => self.flood(params),
            2 => self.next = self.next.wrapping_add(u32::from(params.word())),
            3 => self.acknowledge(params),
            4 => self.forward(params),
            5 => self.reset(params),
            6 => {
                self.now += Duration::from_millis(u64::from(params.byte()) * 10);
                self.channels.handle_timeout(self.now);
                self.drain();
            }
            7 => {
                for _ in 0..=params.byte() {
                    if !self.channels.send(0, &vec![7; usize::from(params.word())]) {
                        break;
                    }
                }
                self.drain();
            }
            8 => self.takes_events = !self.takes_events,
            9 => self.takes_packets = !self.takes_packets,
            // One chunk, again and again.
            10 => {
                let times = usize::from(params.byte());
                let chunk = params.0.to_vec();
                let len = chunk.len().max(1);
                let packet = chunk.repeat((PACKET_LEN_MAX / len).min(usize::from(!chunk.is_empty()) * 64));
                for _ in 0..=times {
                    self.packet(&packet);
                }
            }
            11 => self.heartbeat(params),
            _ => self.begin(params),
        }
    }

    /// The messages of a beginning (RFC 9260 §3.3), for channels that have an association or wait for one.
    fn begin(&mut self, params: &mut Params<'_>) {
        let (kind, times) = (params.byte() % 5, params.byte());
        if kind == 0 {
            self.channels = UnlockedChannels::beginning(self.now).expect("they begin");
            self.next = self.channels.next_tsn();
            return;
        }
        for time in 0..=u32::from(times) {
            let mut chunk = vec![kind, 0, 0, 0];
            match kind {
                // INIT and INIT ACK
                1 | 2 => {
                    let mut params = Params(params.0);
                    let (tag, varies) = (params.long(), params.byte());
                    chunk.extend(tag.wrapping_add(time * u32::from(varies)).to_be_bytes());
                    chunk.extend(params.long().to_be_bytes());
                    chunk.extend(params.long().to_be_bytes());
                    let first = self.channels.first_tsn().wrapping_add(u32::from(params.byte()));
                    chunk.extend(first.to_be_bytes());
                    chunk.extend(params.0);
                }
                3 => {
                    chunk[0] = 10;
                    let forged = params.0.iter().chain(std::iter::repeat(&0));
                    chunk.extend(self.cookie.iter().zip(forged).map(|(byte, other)| byte ^ other));
                }
                _ => chunk[0] = 11,
            }
            let len = chunk.len() as u16;
            chunk[2..4].copy_from_slice(&len.to_be_bytes());
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            self.packet(&chunk);
        }
    }

    /// Packets full of DATA chunks: how many, how they follow each other, what flags, which stream,
    /// and how long each is.
    fn flood(&mut self, params: &mut Params<'_>) {
        let packets = usize::from(params.byte()) * 8 + 1;
        let (mut offset, step) = (u32::from(params.word()), u32::from(params.byte()));
        let (flags, stream, ssn_step) = (params.byte(), params.word() % 1100, u16::from(params.byte()));
        let (len, ppid) = (
            usize::from(params.word()) % PACKET_LEN_MAX,
            u32::from(params.byte()),
        );
        let padding = usize::from(params.byte()) * 5 / 4 * 4;
        let mut ssn = params.word();
        for _ in 0..packets {
            let mut packet = Vec::new();
            loop {
                packet.extend([0, flags]);
                packet.extend(((16 + len) as u16).to_be_bytes());
                packet.extend(self.next.wrapping_add(offset).to_be_bytes());
                packet.extend(stream.to_be_bytes());
                packet.extend(ssn.to_be_bytes());
                packet.extend(ppid.to_be_bytes());
                packet.resize(packet.len() + len, 0xAB);
                // Padding other than zeros is refused.
                packet.resize(packet.len().next_multiple_of(4), 0);
                offset = offset.wrapping_add(step);
                ssn = ssn.wrapping_add(ssn_step);
                if packet.len() + 16 + len + padding > PACKET_LEN_MAX {
                    break;
                }
            }
            if padding > 16 {
                // A duplicate, so that a datagram is longer than what is new in it.
                packet.extend([0, 7]);
                packet.extend((padding as u16).to_be_bytes());
                packet.extend(self.channels.first_tsn().to_be_bytes());
                packet.resize(packet.len() + padding - 8, 0);
            }
            self.packet(&packet);
            if self.reached.packets >= PACKETS_MAX {
                return;
            }
        }
    }

    fn acknowledge(&mut self, params: &mut Params<'_>) {
        let behind = u32::from(params.byte());
        let mut sack = vec![3, 0, 0, 0];
        sack.extend(self.channels.sent_tsn().wrapping_sub(behind).to_be_bytes());
        sack.extend(params.long().to_be_bytes());
        let times = usize::from(params.byte());
        let pairs = params.0.chunks_exact(4).count().min(330);
        sack.extend((pairs as u16).to_be_bytes());
        sack.extend([0, 0]);
        sack.extend(params.0.chunks_exact(4).take(pairs).flatten());
        let len = sack.len() as u16;
        sack[2..4].copy_from_slice(&len.to_be_bytes());
        for _ in 0..=times {
            self.packet(&sack);
        }
    }

    fn forward(&mut self, params: &mut Params<'_>) {
        let mut chunk = vec![192, 0, 0, 0];
        chunk.extend(
            self.next
                .wrapping_add(params.long())
                .wrapping_sub(1)
                .to_be_bytes(),
        );
        chunk.extend(params.0.chunks_exact(4).take(300).flatten());
        let len = chunk.len() as u16;
        chunk[2..4].copy_from_slice(&len.to_be_bytes());
        self.packet(&chunk);
    }

    fn reset(&mut self, params: &mut Params<'_>) {
        let (times, number, sent) = (params.byte(), params.byte(), params.byte());
        for time in 0..=u32::from(times) {
            let streams: Vec<u8> = params.0.chunks_exact(2).take(600).flatten().copied().collect();
            let len = (16 + streams.len()) as u16;
            let mut chunk = vec![130, 0];
            chunk.extend((len + 4).to_be_bytes());
            chunk.extend([0, 13]);
            chunk.extend(len.to_be_bytes());
            let number = u32::from(number).wrapping_add(time);
            chunk.extend(self.channels.first_tsn().wrapping_add(number).to_be_bytes());
            chunk.extend([0; 4]);
            let last = self.next.wrapping_add(u32::from(sent)).wrapping_sub(1);
            chunk.extend(last.to_be_bytes());
            chunk.extend(streams);
            chunk.resize(chunk.len().next_multiple_of(4), 0);
            self.packet(&chunk);
        }
    }

    fn heartbeat(&mut self, params: &mut Params<'_>) {
        let (times, len) = (params.byte(), params.word() % PACKET_LEN_MAX as u16);
        let mut chunk = vec![4, 0];
        chunk.extend((len + 8).to_be_bytes());
        chunk.extend([0, 1]);
        chunk.extend((len + 4).to_be_bytes());
        chunk.resize((chunk.len() + usize::from(len)).next_multiple_of(4), 1);
        for _ in 0..=times {
            self.packet(&chunk);
        }
    }

    fn packet(&mut self, chunks: &[u8]) {
        let chunks = chunks.get(..PACKET_LEN_MAX).unwrap_or(chunks);
        self.reached.packets += 1;
        let start = self.clock.read();
        self.channels.handle_chunks(self.now, chunks);
        self.reached.took += used_since(&self.clock, start);
        self.drain();
    }

    fn drain(&mut self) {
        while self.takes_events && self.channels.poll_event().is_some() {
            self.reached.events += 1;
        }
        let mut answers = 0;
        while self.takes_packets
            && let Some(packet) = self.channels.poll_packet(self.now)
        {
            let len = packet.len();
            assert!(len <= ANSWER_LEN_MAX, "a packet of {len} bytes");
            if let (Some(&INIT_ACK), Some(cookie)) = (packet.get(12), packet.get(COOKIE)) {
                self.cookie = cookie.to_vec();
            }
            answers += usize::from(packet.get(12) != Some(&0));
        }
        self.reached.answers += answers;
        let (answers, most) = (self.reached.answers, self.reached.packets * ANSWERS_PER_PACKET);
        assert!(
            answers <= most + ANSWERS_MORE,
            "{answers} packets in answer to {}",
            self.reached.packets
        );
        let held = live_bytes() - self.before;
        self.reached.held_max = self.reached.held_max.max(held);
        assert!(
            held <= HELD_BYTES_MAX,
            "{held} bytes held after {} packets",
            self.reached.packets
        );
    }
}
