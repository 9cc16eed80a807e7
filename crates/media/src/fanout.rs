//! What leaves: the turn's packets to all subscribers, retransmissions, and peers' own datagrams.
//!
//! Owns: the lists of what waits and the place at which a full outbox interrupted. Must not know:
//! where datagrams go (peers know), what packets mean.
//!
//! Subscriber-major: all packets that a track got in this turn are written for one subscriber side
//! by side, so that equal sizes can leave as one train; then for the next subscriber. Each packet is
//! copied once per subscriber, from the layer's ring into the send slot (I5).

use crate::api::{EventKind, RoomKey};
use crate::down::track::Scratch;
use crate::events::Events;
use crate::slab::Slab;
use crate::stats::Stats;
use crate::timers::Who;
use crate::up::redundancy::Recovered;
use crate::up::track::{Subscriber, TurnPacket, UpTrack};
use crate::worker::{OWED_MAX, Owed, Pace, PeerSlot, Worker};
use peer::{Kind, Outbox};
use std::collections::VecDeque;
use std::time::Instant;

/// Most packets that follow a key frame's late first packet at once, per subscriber: more than half a
/// second of a large stream. More would be a burst that the subscriber's network loses anyhow.
const OVERTAKEN_MAX: u64 = 256;

/// Tracks and peers of one turn for which room is made at once, so that a turn that a busy machine
/// made longer than those before it allocates nothing (1 KiB each).
const TURN_USUAL: usize = 256;

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Fanout {
    /// Tracks with packets in this turn.
    pub(crate) tracks: Vec<u32>,
    /// Peers with datagrams of their own.
    pub(crate) peers: Vec<u32>,
    /// Peers that hold a message back.
    pub(crate) stalled: VecDeque<u32>,
    /// Peers that held one back and must be asked for more.
    pub(crate) resumed: Vec<u32>,
    /// Layers of which another thread missed packets.
    pub(crate) torn: Vec<(u32, u8)>,
    /// Peers with injected packets that are due.
    pub(crate) injecting: Vec<u32>,
    /// Peers that are owed packets, in turn.
    pub(crate) owing: VecDeque<u32>,
    /// Copies of this turn's packets: one per subscriber.
    pub(crate) copies: usize,
    /// Packets that the first of them had in its turn: a full outbox interrupts it.
    pub(crate) taken: usize,
    cursor: Cursor,
}

/// Position within the turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cursor {
    track: usize,
    subscriber: usize,
    packet: usize,
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            tracks: Vec::with_capacity(TURN_USUAL),
            peers: Vec::with_capacity(TURN_USUAL),
            stalled: VecDeque::new(),
            resumed: Vec::new(),
            torn: Vec::new(),
            injecting: Vec::new(),
            owing: VecDeque::new(),
            copies: 0,
            taken: 0,
            cursor: Cursor::default(),
        }
    }
}

impl Fanout {
    /// Whether no transmission is half done.
    pub(crate) fn is_drained(&self) -> bool {
        self.cursor == Cursor::default()
    }

    /// A track is gone.
    pub(crate) fn forget_track(&mut self, index: u32) {
        self.tracks.retain(|track| *track != index);
    }
}

/// What writing one packet needs of the worker.
struct Writer<'a> {
    now: Instant,
    stats: &'a mut Stats,
    events: &'a mut Events,
    scratch: &'a mut Scratch,
    owing: &'a mut VecDeque<u32>,
    outbox: &'a mut Outbox,
}

impl Worker {
    /// Fills the outbox; true when it is full and more waits.
    pub(crate) fn transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        for index in std::mem::take(&mut self.fanout.resumed) {
            self.touched(now, index);
        }
        self.fan_out(now, outbox)
            || self.inject(now, outbox)
            || self.retransmit(now, outbox)
            || self.transmit_peers(now, outbox)
    }

    fn fan_out(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        let mut writer = Writer {
            now,
            stats: &mut self.stats,
            events: &mut self.events,
            scratch: &mut self.scratch,
            owing: &mut self.fanout.owing,
            outbox,
        };
        let cursor = &mut self.fanout.cursor;
        while let Some(&index) = self.fanout.tracks.get(cursor.track) {
            if let Some(track) = self.tracks.get_mut(index) {
                if *cursor
                    == (Cursor {
                        track: cursor.track,
                        ..Cursor::default()
                    })
                {
                    track.even_out();
                }
                if writer.track(track, &mut self.peers, cursor) {
                    return true;
                }
                track.end_turn();
            }
            *cursor = Cursor {
                track: cursor.track + 1,
                ..Cursor::default()
            };
        }
        self.fanout.tracks.clear();
        self.fanout.copies = 0;
        *cursor = Cursor::default();
        false
    }

    fn transmit_peers(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        while let Some(&index) = self.fanout.peers.last() {
            if let Some(slot) = self.peers.get_mut(index) {
                if slot.peer.feedback_due(now)
                    && let Err(until) = self.feedback.take(now, &mut slot.feedback)
                {
                    self.stats.held.count(slot.peer.hold_feedback(now, until));
                }
                if !slot.peer.poll_transmit(now, outbox) {
                    return true;
                }
                slot.transmits = false;
                let due = [
                    slot.peer.poll_timeout(),
                    slot.reports_due,
                    slot.injection_due(),
                    slot.limits.due,
                ];
                let due = due.into_iter().flatten().min();
                self.timers.arm(Who::Peer(index), due, &mut slot.armed);
                if slot.closing {
                    slot.count_streams(&mut self.stats.drops.streams);
                    self.peers.remove(index);
                    for forgotten in self.demux.remove(index) {
                        self.tell_forgotten(forgotten);
                    }
                }
            }
            self.fanout.peers.pop();
        }
        false
    }
}

/// Subscribers whose state is read ahead at a time.
const WARM_AHEAD: usize = 16;

/// Reads one word of each cache line that the next subscribers' packets need. One packet's reads
/// depend on each other, so that a subscriber whose state left the cache since its last packet
/// costs a row of misses; those of several subscribers, read side by side, are waited for together.
fn warm(peers: &Slab<PeerSlot>, subscribers: &[Subscriber]) {
    let mut sum = 0;
    for at in subscribers {
        if let Some(slot) = peers.get(at.peer) {
            sum ^= usize::from(slot.connected) ^ slot.downs.len() ^ slot.peer.warm();
        }
    }
    std::hint::black_box(sum);
    for at in subscribers {
        if let Some(slot) = peers.get(at.peer)
            && let Some(down) = slot.down(at.down)
        {
            sum ^= down.warm() ^ down.send_index.map_or(0, |index| slot.peer.warm_stream(index));
        }
    }
    std::hint::black_box(sum);
    for at in subscribers {
        if let Some(slot) = peers.get(at.peer)
            && let Some(down) = slot.down(at.down)
        {
            sum ^= down.warm_history() ^ down.send_index.map_or(0, |index| slot.peer.warm_history(index));
        }
    }
    std::hint::black_box(sum);
}

impl Writer<'_> {
    /// Writes a track's turn for all its subscribers; true when the outbox is full.
    fn track(&mut self, track: &UpTrack, peers: &mut Slab<PeerSlot>, cursor: &mut Cursor) -> bool {
        let room = track.key.room();
        let mut warm_until = cursor.subscriber;
        while let Some(&at) = track.subscribers.get(cursor.subscriber) {
            if cursor.subscriber >= warm_until {
                let end = track.subscribers.len().min(cursor.subscriber + WARM_AHEAD);
                warm(peers, &track.subscribers[cursor.subscriber..end]);
                warm_until = end;
            }
            if let Some(slot) = peers.get_mut(at.peer)
                && slot.connected
            {
                while let Some(&packet) = track.turn.get(cursor.packet) {
                    if self.outbox.slot().is_none() {
                        return true;
                    }
                    let behind = track.turn.get(cursor.packet + 1..).unwrap_or_default();
                    self.packet(track, slot, at, (packet, behind), room);
                    cursor.packet += 1;
                }
            }
            cursor.subscriber += 1;
            cursor.packet = 0;
        }
        false
    }

    /// Writes one packet of a turn for one subscriber; `behind` are those that follow it.
    fn packet(
        &mut self,
        track: &UpTrack,
        slot: &mut PeerSlot,
        at: Subscriber,
        (turn, behind): (TurnPacket, &[TurnPacket]),
        room: RoomKey,
    ) {
        let Some(down) = slot.downs.get_mut(at.down as usize).and_then(Option::as_mut) else {
            return;
        };
        let (Some(index), Some(packet)) = (
            down.send_index,
            track.layer(turn.layer).and_then(|layer| layer.get(turn.sequence)),
        ) else {
            return;
        };
        let recovered;
        let packet = match turn.recovers {
            0 => packet,
            distance => {
                let Some(lost) = Recovered::read(&packet, distance).filter(|_| down.unwraps_red()) else {
                    return;
                };
                recovered = lost;
                recovered.packet()
            }
        };
        let pace = match slot.limited {
            true => slot.limits.pace(self.now, down, slot.owed.len(), &packet),
            false => Pace::Now,
        };
        if pace == Pace::Paused {
            self.stats.pictures_paused += 1;
        }
        let Some(run) = down.offer(track, turn.layer, &packet) else {
            return;
        };
        if !down.started {
            down.started = true;
            self.events.push(room, EventKind::DownStarted { down: down.key });
        }
        if pace == Pace::Waits {
            self.owe(slot, at, run.out(turn.sequence));
            return;
        }
        let Some(mut write) = down.write(&packet, &run, track, self.scratch) else {
            return;
        };
        if down.pads {
            write.padding = turn.padding;
        }
        let written = slot.peer.write_rtp(self.now, index, &write, self.outbox);
        debug_assert!(written, "a slot was free");
        self.stats.packets_out += 1;
        if packet.info.late && down.is_newest(turn.layer, turn.sequence) {
            self.catch_up(track, slot, at, turn, behind);
        }
    }

    /// A packet that was numbered leaves later.
    fn owe(&mut self, slot: &mut PeerSlot, at: Subscriber, sequence: u64) {
        if slot.owed.len() >= OWED_MAX {
            self.stats.drops.owed_full += 1;
            return;
        }
        slot.owed.push_back(Owed {
            down: at.down,
            sequence: sequence as u16,
            first: true,
        });
        if !std::mem::replace(&mut slot.owing, true) {
            self.owing.push_back(at.peer);
        }
    }

    /// A layer began at a packet that came late: the rest of its key frame, and what else overtook the
    /// packet, was dropped when it came, and leaves now.
    #[cold]
    fn catch_up(
        &mut self,
        track: &UpTrack,
        slot: &mut PeerSlot,
        at: Subscriber,
        first: TurnPacket,
        behind: &[TurnPacket],
    ) {
        let layer = track.layer(first.layer);
        let Some((layer, newest)) = layer.and_then(|layer| Some((layer, layer.newest()?))) else {
            return;
        };
        // What waits in this turn has its own time; what is new there comes behind everything else.
        let waits = |sequence: u64| {
            let mut own = behind.iter().filter(|other| other.layer == first.layer);
            own.any(|other| other.sequence == sequence)
        };
        let last = newest.min(first.sequence + OVERTAKEN_MAX);
        for sequence in first.sequence + 1..=last {
            let Some(packet) = layer.get(sequence) else {
                continue;
            };
            if waits(sequence) {
                if packet.info.late {
                    continue;
                }
                break;
            }
            if packet.info.codec.kind() == Kind::Video
                && let Some(down) = slot.down_mut(at.down)
                && let Some(run) = down.offer(track, first.layer, &packet)
            {
                self.owe(slot, at, run.out(sequence));
            }
        }
    }
}
