//! How datagrams get from the sockets into the worker: all of them as they come while the thread keeps
//! up; what matters most, and no more than there is time for, while it does not.

use super::{MediaThread, RECV_CALLS_PER_TURN, RECV_MESSAGES, guard};
use crate::shell::load::TURN_MAX;
use crate::shell::waiting::Waiting;
use media::Class;
use std::time::{Duration, Instant};

/// Datagrams and bytes that an overloaded thread takes out of its sockets in one turn: what 400,000
/// packets per second bring within a turn. What comes beyond is read and shed.
const WAITING_MAX: usize = 4096;
const WAITING_BYTES: usize = 2 << 20;
/// Datagrams read per socket and turn, kept or not: half of a turn's time.
const DRAIN_MAX: usize = 8192;

/// Datagrams of DTLS handshakes that wait for their turn. A handshake has 2 or 3 from the client, which
/// are repeated when lost.
const JOINING_MAX: usize = 512;
const JOINING_BYTES: usize = 512 * 1024;
/// How long a turn works on handshakes (about 160 µs each) while there is time, and while there is not.
/// More delays packets of those who are connected; less makes who joins in a crowd wait, and in the end
/// fail.
const JOINING_TIME: Duration = Duration::from_millis(2);
const JOINING_TIME_OVERLOADED: Duration = Duration::from_micros(600);

/// An overloaded thread sends at the latest when so many datagrams were handled, or copies wait: enough
/// for long `sendmmsg` calls, few enough to look at the clock in between.
const DATAGRAMS_PER_SEND: usize = 128;
const COPIES_PER_SEND: usize = 256;
/// The clock is looked at after so many datagrams.
const DATAGRAMS_PER_LOOK: usize = 8;

/// What found no time waits for the next turns, until it was taken out of its socket so long before one of
/// them begins, and is shed then. Sound gets one more turn: later it is of little use.
/// A picture may be late, and a key frame for a thousand viewers is more work than a turn has time for:
/// were its rest shed, no key frame would ever be whole.
const SOUND_WAITS: Duration = Duration::from_millis(5);
const _: () = assert!(SOUND_WAITS.as_millis() < TURN_MAX.as_millis());
const OTHERS_WAIT: Duration = Duration::from_millis(100);

/// Datagrams that nobody had time for, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Checks, reports and data of connected peers.
    pub control: u64,
    /// Audio.
    pub audio: u64,
    /// Video.
    pub video: u64,
    /// Of peers that are not connected yet.
    pub joining: u64,
    /// Of streams not known yet, or of nobody.
    pub other: u64,
}

impl Shed {
    fn count(&mut self, class: Class) {
        *match class {
            Class::Control => &mut self.control,
            Class::Audio(_) => &mut self.audio,
            Class::Video(_) => &mut self.video,
            Class::Joining => &mut self.joining,
            Class::NewStream | Class::Unknown => &mut self.other,
        } += 1;
    }
}

/// How long a datagram waits at most.
const fn patience(class: Class) -> Duration {
    match class {
        Class::Audio(_) => SOUND_WAITS,
        Class::Control | Class::NewStream | Class::Video(_) | Class::Joining => OTHERS_WAIT,
        Class::Unknown => Duration::ZERO,
    }
}

/// What is kept between receiving and handling.
#[derive(Debug)]
pub(super) struct Receiving {
    waiting: Waiting,
    joining: Waiting,
    /// How long this turn has worked on handshakes.
    joining_time: Duration,
    /// What each socket said last of datagrams that it had no room for.
    overflows: Vec<u32>,
    /// This turn left datagrams in a socket, or ran out of time.
    pub(super) late: bool,
    /// A datagram was dropped in this turn.
    pub(super) lost: bool,
}

impl Receiving {
    pub(super) fn new(sockets: usize) -> Self {
        Self {
            waiting: Waiting::new(WAITING_MAX, WAITING_BYTES),
            joining: Waiting::new(JOINING_MAX, JOINING_BYTES),
            joining_time: Duration::ZERO,
            overflows: vec![0; sockets],
            late: false,
            lost: false,
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.joining_time = Duration::ZERO;
        self.late = false;
        self.lost = false;
    }
}

impl MediaThread {
    /// Receives a batch of one socket; how many messages it has.
    fn receive(&mut self, now: Instant, local: usize) -> usize {
        let Some(socket) = self.parts.sockets.get(local) else {
            return 0;
        };
        let at = u8::try_from(local).expect("a thread has at most 256 sockets");
        let messages = socket.recv_batch(&mut self.recv).unwrap_or_else(|_| {
            self.counters.recv_errors += 1;
            0
        });
        self.dirty |= messages > 0;
        if let (Some(total), Some(before)) = (self.recv.overflows(), self.receiving.overflows.get_mut(local))
        {
            let new = total.wrapping_sub(std::mem::replace(before, total));
            if new > 0 {
                self.counters.overflows += u64::from(new);
                self.receiving.lost = true;
                self.parts.worker.note_dropped(now, at);
            }
        }
        messages
    }

    /// Takes what is there, a bounded number of batches per socket; true when there is more.
    pub(super) fn take_datagrams(&mut self, now: Instant) -> bool {
        let mut more = false;
        for local in 0..self.parts.sockets.len() {
            for call in 1..=RECV_CALLS_PER_TURN {
                let messages = self.receive(now, local);
                let Self {
                    recv,
                    receiving,
                    parts,
                    counters,
                    ..
                } = self;
                let socket = u8::try_from(local).expect("a thread has at most 256 sockets");
                for (from, data) in recv.datagrams() {
                    // A first byte of DTLS (RFC 7983 §7): of a handshake, or of data channels.
                    let handshake = matches!(data.first(), Some(20..=63))
                        && parts.worker.class_of(from, data) == Class::Joining;
                    if handshake && (receiving.joining_time >= JOINING_TIME || !receiving.joining.is_empty())
                    {
                        // In order behind those that wait already.
                        if !receiving.joining.push(now, Class::Joining, (from, socket), data) {
                            counters.shed.joining += 1;
                        }
                        continue;
                    }
                    let begin = handshake.then(Instant::now);
                    guard(&mut counters.panics, "datagram", || {
                        parts.worker.handle_datagram(now, from, socket, data);
                    });
                    if let Some(begin) = begin {
                        receiving.joining_time += begin.elapsed();
                    }
                }
                // A batch that was not full may be followed by what arrived since: the rest of a
                // frame, say, which then leaves in the same trains.
                if messages == 0 {
                    break;
                }
                more |= call == RECV_CALLS_PER_TURN;
                self.receiving.late |= call == RECV_CALLS_PER_TURN && messages == RECV_MESSAGES;
            }
        }
        more
    }

    /// Takes all there is and handles what matters most as long as a turn lasts; what is too old by then
    /// is shed. True when there is more.
    pub(super) fn take_what_matters(&mut self, now: Instant) -> bool {
        self.counters.turns_overloaded += 1;
        let more = self.drain(now);
        self.receiving.waiting.sort();
        let until = now + TURN_MAX;
        let (mut place, mut unsent) = (0, 0);
        while let Some((entry, data)) = self.receiving.waiting.get(place) {
            place += 1;
            unsent += 1;
            let (panics, worker) = (&mut self.counters.panics, &mut self.parts.worker);
            guard(panics, "datagram", || {
                worker.handle_datagram(now, entry.from, entry.local, data);
            });
            let sends = unsent >= DATAGRAMS_PER_SEND || self.parts.worker.copies_waiting() >= COPIES_PER_SEND;
            if sends {
                self.transmit(now);
                unsent = 0;
            }
            if (sends || place.is_multiple_of(DATAGRAMS_PER_LOOK)) && Instant::now() >= until {
                break;
            }
        }
        let (shed, receiving) = (&mut self.counters.shed, &mut self.receiving);
        let worker = &mut self.parts.worker;
        receiving.waiting.retire(place, |entry| {
            let kept = now.saturating_duration_since(entry.taken) < patience(entry.class);
            if !kept {
                shed.count(entry.class);
                receiving.lost = true;
                worker.note_dropped(now, entry.local);
            }
            kept
        });
        let waits = !receiving.waiting.is_empty();
        receiving.late |= waits;
        more || waits
    }

    /// Takes all datagrams out of the sockets, up to a bound that a flood reaches; true when it did.
    fn drain(&mut self, now: Instant) -> bool {
        let mut more = false;
        for local in 0..self.parts.sockets.len() {
            let mut read = 0;
            loop {
                let messages = self.receive(now, local);
                let Self {
                    recv,
                    receiving,
                    parts,
                    counters,
                    ..
                } = self;
                let socket = u8::try_from(local).expect("a thread has at most 256 sockets");
                for (from, data) in recv.datagrams() {
                    read += 1;
                    let class = parts.worker.class_of(from, data);
                    // Pictures leave room for what matters more.
                    let room = !matches!(class, Class::Video(_)) || !receiving.waiting.is_nearly_full();
                    let queue = if class == Class::Joining {
                        &mut receiving.joining
                    } else {
                        &mut receiving.waiting
                    };
                    if !(room && queue.push(now, class, (from, socket), data)) {
                        counters.shed.count(class);
                        receiving.lost = true;
                        parts.worker.note_dropped(now, socket);
                    }
                }
                if messages < RECV_MESSAGES {
                    break;
                }
                if read >= DRAIN_MAX {
                    more = true;
                    break;
                }
            }
        }
        self.receiving.late |= more;
        more
    }

    /// Works on handshakes that had to wait, at least on one datagram; true when more wait.
    pub(super) fn take_joining(&mut self, now: Instant) -> bool {
        let most = if self.pressure.is_overloaded() {
            JOINING_TIME_OVERLOADED
        } else {
            JOINING_TIME
        };
        let begin = Instant::now();
        let mut place = 0;
        while let Some((entry, data)) = self.receiving.joining.get(place) {
            place += 1;
            let (panics, worker) = (&mut self.counters.panics, &mut self.parts.worker);
            guard(panics, "datagram", || {
                worker.handle_datagram(now, entry.from, entry.local, data);
            });
            if self.receiving.joining_time + begin.elapsed() >= most {
                break;
            }
        }
        self.receiving.joining.retire(place, |_| true);
        !self.receiving.joining.is_empty()
    }
}
