//! Packets that no publisher sent: when they begin, that they leave in time, and how a down track ends
//! behind the last of them.
//!
//! Owns: the rows of [`Injection`]s of this thread's peers. Must not know: what such packets hold.

use super::Worker;
use super::peers::PeerSlot;
use crate::api::{DownKey, DownOptions};
use crate::down::inject::{Injection, Purpose};
use crate::up::track::Subscriber;
use peer::{Kind, Outbox};
use std::time::Instant;

/// Index of the up track of a down track that left it.
const NO_TRACK: u32 = u32::MAX;

impl PeerSlot {
    /// When the next injected packet is due.
    pub(crate) fn injection_due(&self) -> Option<Instant> {
        self.injections.iter().map(|injection| injection.due).min()
    }

    /// Begins a row of packets, in place of one that runs.
    fn begin(&mut self, now: Instant, down: u32, kind: Kind, purpose: Purpose) {
        self.injections.retain(|injection| injection.down != down);
        self.injections.push(Injection::new(now, down, kind, purpose));
    }

    /// Lets a down track end with blank frames. False: there is nothing to end.
    pub(crate) fn flush(&mut self, now: Instant, index: u32) -> bool {
        let connected = self.connected;
        let Some(down) = self.down_mut(index) else {
            return false;
        };
        let (true, true, Some(kind)) = (connected, down.can_end_blank(), down.kind()) else {
            return false;
        };
        down.pause();
        down.leaving = true;
        down.track = NO_TRACK;
        self.begin(now, index, kind, Purpose::Flush);
        true
    }

    /// Forgets a down track and its stream.
    pub(crate) fn remove_down(&mut self, index: u32) {
        self.injections.retain(|injection| injection.down != index);
        if let Some(down) = self.downs.get_mut(index as usize).and_then(Option::take) {
            self.peer.remove_send(down.key.0);
        }
    }

    /// A stream takes the place of one that is still leaving, which ends at once.
    pub(crate) fn end_leaving(&mut self, key: DownKey, ssrc: u32, mid: &str) {
        for index in 0..self.downs.len() as u32 {
            let replaced = self.down(index).is_some_and(|down| {
                down.leaving && (down.key == key || down.line.0 == ssrc || *down.line.1 == *mid)
            });
            if replaced {
                self.remove_down(index);
            }
        }
    }

    /// Announces a down track that its client does not know of yet.
    fn announce(&mut self, now: Instant, index: u32) {
        let connected = self.connected;
        let Some(down) = self.down(index) else {
            return;
        };
        let wanted = down.options.as_deref().is_some_and(|options| options.announce);
        if connected
            && wanted
            && !down.started
            && !down.leaving
            && let Some(kind) = down.kind()
        {
            self.begin(now, index, kind, Purpose::Announce);
        }
    }
}

impl Worker {
    pub(crate) fn set_down_options(&mut self, now: Instant, key: DownKey, options: DownOptions) {
        let Some(&at) = self.down_keys.get(&key) else {
            self.stats.drops.commands += 1;
            return;
        };
        let Some(slot) = self.peers.get_mut(at.peer) else {
            return;
        };
        if let Some(down) = slot.down_mut(at.down) {
            down.options = (options != DownOptions::default()).then(|| Box::new(options));
        }
        slot.announce(now, at.down);
        self.touched(now, at.peer);
    }

    /// A peer connected: what waited for that is announced.
    pub(crate) fn announce_all(&mut self, now: Instant, index: u32) {
        if let Some(slot) = self.peers.get_mut(index) {
            for down in 0..slot.downs.len() as u32 {
                slot.announce(now, down);
            }
        }
    }

    /// A track was muted: its listeners get silence.
    pub(crate) fn silence_downs(&mut self, now: Instant, index: u32) {
        let count = self.tracks.get(index).map_or(0, |track| track.subscribers.len());
        for i in 0..count {
            let at = self
                .tracks
                .get(index)
                .and_then(|track| track.subscribers.get(i).copied());
            if let Some(at) = at {
                self.silence(now, at);
            }
        }
    }

    /// One listener gets silence, if it heard something.
    pub(crate) fn silence(&mut self, now: Instant, at: Subscriber) {
        let Some(slot) = self.peers.get_mut(at.peer) else {
            return;
        };
        let audible = slot
            .down(at.down)
            .is_some_and(|down| down.can_end_blank() && down.kind() == Some(Kind::Audio));
        if audible && slot.connected {
            slot.begin(now, at.down, Kind::Audio, Purpose::Silence);
            self.injects(now, at.peer);
            self.touched(now, at.peer);
        }
    }

    /// Lets a peer's injected packets leave with the next transmission, if any is due.
    pub(crate) fn injects(&mut self, now: Instant, index: u32) {
        let due = self.peers.get(index).and_then(PeerSlot::injection_due);
        if due.is_some_and(|due| due <= now) && !self.fanout.injecting.contains(&index) {
            self.fanout.injecting.push(index);
        }
    }

    /// Writes what is due; true when the outbox is full.
    pub(crate) fn inject(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        while let Some(&index) = self.fanout.injecting.last() {
            if self.inject_for(now, index, outbox) {
                return true;
            }
            self.fanout.injecting.pop();
        }
        false
    }

    fn inject_for(&mut self, now: Instant, index: u32, outbox: &mut Outbox) -> bool {
        let Some(slot) = self.peers.get_mut(index) else {
            return false;
        };
        let mut at = 0;
        while let Some(mut injection) = slot.injections.get(at).copied() {
            if injection.due > now {
                at += 1;
                continue;
            }
            if outbox.slot().is_none() {
                return true;
            }
            let down = slot
                .downs
                .get_mut(injection.down as usize)
                .and_then(Option::as_mut);
            let write = down
                .filter(|down| slot.connected && injection.fits(down))
                .and_then(|down| {
                    let index = down.send_index?;
                    Some((index, down.inject(now, injection.purpose, &mut self.blank)?))
                });
            let goes_on = write.is_some_and(|(index, write)| {
                slot.peer.write_rtp(now, index, &write, outbox);
                self.stats.packets_injected += 1;
                injection.advance(now)
            });
            if goes_on {
                slot.injections[at] = injection;
                at += 1;
            } else if injection.purpose == Purpose::Flush {
                slot.remove_down(injection.down);
            } else {
                slot.injections.swap_remove(at);
            }
        }
        false
    }
}
