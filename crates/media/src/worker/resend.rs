//! What is sent to a peer outside of its turn: retransmissions, and packets that others overtook.
//!
//! Owns: who is owed what, and which retransmissions are refused. Must not know: loss, rates.
//!
//! What waits is a reference: the packet is rebuilt from the layer's ring when it leaves. Each peer
//! has a queue of its own, and the queues are served in turn, so that one that asks for everything
//! waits for itself.

use super::{PeerSlot, Worker};
use crate::api::DownKey;
use crate::down::track::DownTrack;
use crate::up::redundancy::{DISTANCE_MAX, Recovered};
use crate::up::ring::PacketInfo;
use peer::{Kind, Outbox};
use std::time::{Duration, Instant};

/// Packets that may wait for one peer: as many as a stream of pictures remembers.
pub(crate) const OWED_MAX: usize = 512;
/// Packets written for one peer before others have their turn.
const OWED_AT_ONCE: usize = 16;

/// A packet of sound that is older has missed its time in the receiver's buffer, unless the round
/// trip is so long that buffers are longer, too.
const AUDIO_USEFUL: Duration = Duration::from_millis(400);
/// The same for pictures. A decoder stands still until it gets the packet or a key frame, and the
/// latter is there sooner.
const VIDEO_USEFUL: Duration = Duration::from_millis(600);
/// Tries that a packet has before it is too old, in round trips: the longest round trip that a peer
/// tells does not make it useful for longer than this.
const USEFUL_ROUND_TRIPS: u32 = 3;
const USEFUL_MAX: Duration = Duration::from_millis(1500);
/// A round trip while none is known.
const ROUND_TRIP: Duration = Duration::from_millis(100);

/// A packet to be rebuilt from the history of a down track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    /// Index of the down track.
    pub(crate) down: u32,
    /// Outgoing sequence number.
    pub(crate) sequence: u16,
    /// It was numbered and never sent.
    pub(crate) first: bool,
}

/// Why a packet is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It cannot be rebuilt.
    Missed,
    /// A key frame has taken its place.
    Replaced,
    /// Its time is over, and no key frame has come since.
    Late,
    Budget,
}

impl Worker {
    /// A subscriber misses a packet: it is rebuilt with the next transmission.
    pub(super) fn nack(&mut self, now: Instant, key: DownKey, sequence: u16) {
        let Some(&at) = self.down_keys.get(&key) else {
            return;
        };
        self.asked(now, at.peer);
        let Some(slot) = self.peers.get_mut(at.peer) else {
            return;
        };
        if slot.owed.len() >= OWED_MAX {
            self.stats.drops.resend_full += 1;
            return;
        }
        let owed = Owed {
            down: at.down,
            sequence,
            first: false,
        };
        let sound = slot.limited && slot.is_sound(at.down);
        if sound {
            // It does not wait for pictures.
            slot.owed.push_front(owed);
        } else {
            slot.owed.push_back(owed);
        }
        if !std::mem::replace(&mut slot.owing, true) {
            self.fanout.owing.push_back(at.peer);
        }
    }

    /// Writes what peers are owed, some packets each in turn; true when the outbox is full.
    pub(crate) fn retransmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        while let Some(&index) = self.fanout.owing.front() {
            let mut parked = false;
            while self.fanout.taken < OWED_AT_ONCE {
                if outbox.slot().is_none() {
                    return true;
                }
                self.fanout.taken += 1;
                let Some(slot) = self.peers.get_mut(index).filter(|slot| !slot.owed.is_empty()) else {
                    break;
                };
                if slot.limited && !slot.owes_sound() && !slot.limits.has_room(now, &slot.peer) {
                    parked = true;
                    break;
                }
                let Some(owed) = slot.owed.pop_front() else {
                    break;
                };
                match self.resend(now, index, owed, outbox) {
                    Ok(()) => {}
                    Err(Refused::Missed) => self.stats.resend_missed += 1,
                    Err(Refused::Replaced) => self.stats.drops.resend_late += 1,
                    Err(Refused::Late) => {
                        self.stats.drops.resend_late += 1;
                        self.begin_anew(now, index, owed.down);
                    }
                    Err(Refused::Budget) => self.stats.drops.resend_budget += 1,
                }
            }
            self.fanout.taken = 0;
            self.fanout.owing.pop_front();
            if let Some(slot) = self.peers.get_mut(index) {
                slot.owing = !slot.owed.is_empty() && !parked;
                if slot.owing {
                    self.fanout.owing.push_back(index);
                }
                if parked {
                    slot.limits.wait(now);
                    // So that its timer is armed.
                    if !std::mem::replace(&mut slot.transmits, true) {
                        self.fanout.peers.push(index);
                    }
                }
            }
        }
        false
    }

    /// A picture lacks what is not sent any more: its decoder stands still, and clients take seconds to
    /// ask for a key frame. A peer with a ceiling gets one when there is room for it.
    fn begin_anew(&mut self, now: Instant, peer: u32, down: u32) {
        let slot = self.peers.get(peer).filter(|slot| !slot.limited);
        if let Some(key) = slot.and_then(|slot| Some(slot.down(down)?.key)) {
            self.key_frame_wanted(now, key);
        }
    }

    /// Rebuilds a packet and writes it, as a retransmission if it was sent before.
    fn resend(&mut self, now: Instant, peer: u32, owed: Owed, outbox: &mut Outbox) -> Result<(), Refused> {
        let slot = self.peers.get_mut(peer).ok_or(Refused::Missed)?;
        let PeerSlot {
            peer, downs, limits, ..
        } = slot;
        let down = downs.get(owed.down as usize).and_then(Option::as_ref);
        let down = down.ok_or(Refused::Missed)?;
        let track = self.tracks.get(down.track).ok_or(Refused::Missed)?;
        let (run, source) = down.find_sent(owed.sequence).ok_or(Refused::Missed)?;
        let layer = track.layer(run.layer).ok_or(Refused::Missed)?;
        let recovered;
        let packet = if down.unwraps_red() && layer.redundancy.was_recovered(source) {
            recovered = (1..=DISTANCE_MAX)
                .find_map(|distance| Recovered::read(&layer.get(source + u64::from(distance))?, distance))
                .ok_or(Refused::Missed)?;
            recovered.packet()
        } else {
            layer.get(source).ok_or(Refused::Missed)?
        };
        let frame = &packet.info.frame;
        if frame.spatial > run.spatial_max || frame.temporal > run.temporal_max {
            return Err(Refused::Missed);
        }
        if !owed.first {
            let round_trip = peer
                .rtt_us()
                .map_or(ROUND_TRIP, |us| Duration::from_micros(us.into()));
            useful(now, packet.info, run.out(source), down, round_trip)?;
            let kind = packet.info.codec.kind();
            limits.resend(now, peer, kind, self.config.tuning.rtx, packet.payload.len())?;
        }
        let mut write = down
            .write(&packet, &run, track, &mut self.scratch)
            .ok_or(Refused::Missed)?;
        write.retransmission = !owed.first;
        let index = down.send_index.ok_or(Refused::Missed)?;
        if peer.write_rtp(now, index, &write, outbox) {
            self.stats.packets_out += u64::from(owed.first);
            self.stats.packets_resent += u64::from(!owed.first);
        }
        Ok(())
    }
}

impl PeerSlot {
    fn is_sound(&self, down: u32) -> bool {
        self.down(down).and_then(DownTrack::kind) == Some(Kind::Audio)
    }

    fn owes_sound(&self) -> bool {
        self.owed.front().is_some_and(|owed| self.is_sound(owed.down))
    }
}

impl super::limit::Limits {
    /// Whether a packet may be sent again, by what was sent and arrived.
    fn resend(
        &mut self,
        now: Instant,
        peer: &peer::Peer,
        kind: Kind,
        shares: [crate::RtxShare; 2],
        len: usize,
    ) -> Result<(), Refused> {
        let sent = peer.media_sent(kind).bytes;
        let budget = &mut self.budgets[kind as usize];
        if !budget.allow(now, sent, shares[kind as usize], len) {
            return Err(Refused::Budget);
        }
        Ok(())
    }
}

/// Whether a packet is still of use.
fn useful(
    now: Instant,
    info: &PacketInfo,
    out: u64,
    down: &DownTrack,
    round_trip: Duration,
) -> Result<(), Refused> {
    // Decoders go on at a key frame. One that left a round trip ago is there.
    let passed = |at| now.saturating_duration_since(at) > round_trip.min(USEFUL_MAX);
    let key_frame = down.key_frame.filter(|(key_frame, _)| out < *key_frame);
    if info.codec.kind() == Kind::Video && key_frame.is_some_and(|(_, at)| passed(at)) {
        return Err(Refused::Replaced);
    }
    let age = now.saturating_duration_since(info.at);
    let limit = match info.codec.kind() {
        Kind::Audio => AUDIO_USEFUL,
        Kind::Video => VIDEO_USEFUL,
    };
    if age > limit.max(round_trip * USEFUL_ROUND_TRIPS).min(USEFUL_MAX) {
        return Err(if key_frame.is_some() {
            Refused::Replaced
        } else {
            Refused::Late
        });
    }
    Ok(())
}
