//! A remote side that completed ICE and DTLS, publishes, subscribes, and sends any RTCP. What it
//! makes us hold, say and send again is bounded, whatever it sends.

use super::peer::{START, receive_audio, receive_video, send_audio, send_video, used_since};
use super::{IDS, chunks};
use crate::alloc::live_bytes;
use ::peer::fuzzing::UnlockedStreams;
use ::peer::{Codec, Outbox, PeerEvent, RtpWrite};
use std::time::{Duration, Instant};
use udp::ThreadClock;

/// Heap that the streams of one remote side may grow by: histories of what was sent, what it lost.
const HELD_BYTES_MAX: i64 = 1024 * 1024;
/// RTCP datagrams in answer to one datagram: reports and feedback that are due, of two sections.
const ANSWERS_MAX: usize = 8;
/// Events of one datagram.
const EVENTS_MAX: usize = 8192;
/// Times that one packet is sent again, whoever asks how often (the peer's own limit).
const RESENDS_MAX: usize = 3;
/// A datagram of the remote side is no longer than its path takes.
const DATAGRAM_LEN_MAX: usize = 1400;
/// Datagrams of one input.
const DATAGRAMS_MAX: usize = 4_000;
/// Mean CPU time for a datagram, once there are enough of them for a mean.
const MEAN_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 });
const MEAN_OF_MIN: usize = 256;

/// What came of an input, so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reached {
    pub(crate) datagrams: usize,
    pub(crate) written: usize,
    pub(crate) resends: usize,
    pub(crate) key_frames: usize,
    pub(crate) answers: usize,
    pub(crate) held_max: i64,
    pub(crate) took: Duration,
}

pub(crate) fn hostile_rtcp(data: &[u8]) {
    reach(data);
}

pub(crate) fn reach(data: &[u8]) -> Reached {
    let before = live_bytes();
    let receive = vec![receive_audio(), receive_video()];
    let streams = UnlockedStreams::new(*START, receive, vec![send_video(), send_audio()])
        .expect("the key material is long enough");
    let mut hostile = Hostile {
        streams,
        now: *START,
        next: 100,
        published: 0,
        before,
        clock: ThreadClock::current().expect("every thread has one"),
        reached: Reached::default(),
    };
    hostile.write(200);
    for operation in chunks(data) {
        if let Some((&kind, bytes)) = operation.split_first() {
            hostile.operate(kind, bytes);
        }
    }
    let Reached { datagrams, took, .. } = hostile.reached;
    if datagrams >= MEAN_OF_MIN {
        let mean = took / datagrams as u32;
        assert!(mean <= MEAN_MAX, "{mean:?} for each of {datagrams} datagrams");
    }
    hostile.reached
}

struct Hostile {
    streams: UnlockedStreams,
    now: Instant,
    next: u64,
    published: u16,
    before: i64,
    clock: ThreadClock,
    reached: Reached,
}

impl Hostile {
    fn operate(&mut self, kind: u8, bytes: &[u8]) {
        let first = usize::from(bytes.first().copied().unwrap_or(0));
        match kind % 6 {
            0 => self.datagram(bytes),
            // The same, again and again.
            1 => {
                for _ in 0..=first {
                    self.datagram(bytes.get(1..).unwrap_or_default());
                }
            }
            // One packet as often as it fits, and that again and again.
            2 => {
                let packet = bytes.get(1..).unwrap_or_default();
                let compound = packet.repeat(DATAGRAM_LEN_MAX / packet.len().max(1));
                for _ in 0..=first {
                    self.datagram(&compound);
                }
            }
            3 => {
                self.now += Duration::from_millis(first as u64 * 5);
                self.streams.handle_timeout(self.now);
                self.drain();
            }
            4 => self.write(first),
            _ => self.publish(bytes),
        }
    }

    /// We send packets on the video stream.
    fn write(&mut self, count: usize) {
        for _ in 0..=count {
            let packet = RtpWrite {
                codec: Codec::Vp8,
                sequence: self.next,
                timestamp: self.next as u32 * 3000,
                marker: true,
                dependency_descriptor: &[],
                abs_capture_time: &[],
                prefix: &[0x10],
                payload: &[9; 1000],
                padding: 0,
                retransmission: false,
            };
            self.streams.write_rtp(self.now, 0, &packet);
            self.next += 1;
            self.reached.written += 1;
        }
        self.drain();
    }

    /// The remote side sends audio with holes as long as the bytes say, which makes us ask for them.
    fn publish(&mut self, holes: &[u8]) {
        for hole in holes.iter().take(64) {
            self.published = self.published.wrapping_add(1 + u16::from(*hole));
            let mut packet = vec![0x90, 111];
            packet.extend(self.published.to_be_bytes());
            packet.extend([0, 0, 0, *hole]);
            packet.extend(0xCAFE_BABE_u32.to_be_bytes());
            packet.extend([0xBE, 0xDE, 0, 1, IDS.transport_cc << 4 | 1]);
            packet.extend(self.published.to_be_bytes());
            packet.extend([0, 1, 2, 3, 4]);
            let _ = self.streams.rtp(self.now, &packet);
            self.drain();
        }
    }

    fn datagram(&mut self, plain: &[u8]) {
        if self.reached.datagrams >= DATAGRAMS_MAX {
            return;
        }
        self.reached.datagrams += 1;
        let start = self.clock.read();
        self.streams
            .rtcp(self.now, plain.get(..DATAGRAM_LEN_MAX).unwrap_or(plain));
        self.reached.took += used_since(&self.clock, start);
        self.drain();
    }

    fn drain(&mut self) {
        let (events, written) = self.streams.drain(self.now);
        assert!(
            events.len() <= EVENTS_MAX,
            "{} events of one datagram",
            events.len()
        );
        for event in &events {
            self.reached.resends += usize::from(matches!(event, PeerEvent::Nack { .. }));
            let wanted = matches!(event, PeerEvent::KeyFrameWanted { .. });
            self.reached.key_frames += usize::from(wanted);
        }
        let (resends, sent) = (self.reached.resends, self.reached.written);
        assert!(
            resends <= RESENDS_MAX * sent,
            "{resends} resends of {sent} packets"
        );
        assert!(
            written.len() <= ANSWERS_MAX,
            "{} datagrams in answer to one",
            written.len()
        );
        assert!(written.iter().all(|plain| plain.len() <= Outbox::DATAGRAM_MAX));
        self.reached.answers += written.len();
        drop((events, written));
        let held = live_bytes() - self.before;
        self.reached.held_max = self.reached.held_max.max(held);
        assert!(held <= HELD_BYTES_MAX, "{held} bytes held");
    }
}
