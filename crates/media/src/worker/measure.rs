//! Windows of everything that a room has on this thread, closed when the control plane asks; and
//! loss at subscribers, told to publishers of audio when that is configured.
//!
//! Owns: neither counters nor scores; it collects. Costs nothing between two looks.

use super::Worker;
use crate::api::{DownKey, DownWindow, EventKind, PeerKey, RoomKey, TrackKey, UpWindow};
use crate::crossing::Control;
use crate::up::track::Source;
use peer::Kind;
use std::time::{Duration, Instant};

/// A publisher is told of its subscribers' loss at most this often.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);
/// For so long, and as long again at most, what one subscriber reports holds against better reports of
/// others. Browsers report sound every 5 s on average; longer would tell of loss that is over.
const LOSS_HOLDS: Duration = Duration::from_secs(5);

/// Loss at the subscribers of one audio track.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    /// The worst of this period, and of the one before.
    worst: [u8; 2],
    began_at: Instant,
    told_at: Instant,
}

impl Loss {
    fn new(now: Instant) -> Self {
        Self {
            worst: [0; 2],
            began_at: now,
            told_at: now,
        }
    }

    /// Takes a report; says what to tell, if it is time. `period`: how long reports hold.
    fn report(&mut self, now: Instant, fraction: u8, period: Duration) -> Option<u8> {
        let age = now.saturating_duration_since(self.began_at);
        if age >= period {
            let before = if age < 2 * period { self.worst[0] } else { 0 };
            self.worst = [0, before];
            self.began_at = now;
        }
        self.worst[0] = self.worst[0].max(fraction);
        if now.saturating_duration_since(self.told_at) < LOSS_INTERVAL {
            return None;
        }
        self.told_at = now;
        self.worst.into_iter().max()
    }
}

impl Worker {
    /// Closes the windows of a room's tracks and copies, and tells them.
    pub(crate) fn measure(&mut self, now: Instant, room: RoomKey) {
        let first = PeerKey::new(self.config.thread, room, 0);
        let last = PeerKey::new(self.config.thread, room, u32::MAX);
        let (mut ups, mut downs) = (Vec::new(), Vec::new());
        for &index in self.peer_keys.range(first..=last).map(|(_, index)| index) {
            let Some(slot) = self.peers.get_mut(index) else {
                continue;
            };
            for &(key, at) in &slot.ups {
                let Some(track) = self.tracks.get_mut(at) else {
                    continue;
                };
                let mut window = UpWindow {
                    track: key,
                    expected: 0,
                    lost: 0,
                    reported: false,
                    top: None,
                    top_ever: track.spatial_top,
                    rates: Default::default(),
                };
                let spatial_top = track.spatial_top;
                let mut flowed = false;
                for (number, layer) in track.layers_mut() {
                    if let Some(totals) = slot.peer.receive_totals(key.0, number) {
                        layer
                            .window
                            .close(now, number, totals, layer.last_at, &mut window);
                        flowed = true;
                    }
                }
                // Layers within one stream cannot be told apart by its sequence numbers.
                window.top = window.top.map(|top| top.max(spatial_top));
                if flowed {
                    ups.push(window);
                }
            }
            for down in slot.downs.iter_mut().flatten() {
                let totals = down.send_index.and_then(|index| slot.peer.send_totals(index));
                let Some(reception) = totals.and_then(|totals| down.window.close(now, totals)) else {
                    continue;
                };
                if let Some(codec) = down.codec {
                    downs.push(DownWindow {
                        down: down.key,
                        codec,
                        reception,
                    });
                }
            }
        }
        if !ups.is_empty() || !downs.is_empty() {
            self.events.push(room, EventKind::Windows { ups, downs });
        }
    }

    /// A subscriber reports loss of a copy, as a fraction of 256.
    pub(crate) fn copy_loss(&mut self, now: Instant, key: DownKey, fraction: u8) {
        if !self.config.tuning.loss_proxying {
            return;
        }
        let track = self.down_keys.get(&key).and_then(|at| {
            let down = self.peers.get(at.peer)?.down(at.down)?;
            Some(self.tracks.get(down.track)?.key)
        });
        if let Some(track) = track {
            self.track_loss(now, track, fraction);
        }
    }

    /// Somebody reports loss of a track. Its publisher is told of the worst, now and then.
    pub(crate) fn track_loss(&mut self, now: Instant, key: TrackKey, fraction: u8) {
        let Some(track) = self
            .track_keys
            .get(&key)
            .and_then(|&index| self.tracks.get_mut(index))
        else {
            return;
        };
        if track
            .layer(0)
            .is_none_or(|layer| layer.codec.kind() != Kind::Audio)
        {
            return;
        }
        // Another thread's reports are held by the publisher's own.
        let period = match track.source {
            Source::Peer(_) => LOSS_HOLDS,
            Source::Thread(_) | Source::None => LOSS_INTERVAL,
        };
        let loss = track.loss.get_or_insert(Loss::new(now));
        let Some(fraction) = loss.report(now, fraction, period) else {
            return;
        };
        match track.source {
            Source::Peer(peer) => {
                if let Some(slot) = self.peers.get_mut(peer) {
                    slot.peer.proxy_loss(now, key.0, fraction);
                }
            }
            Source::Thread(thread) => {
                let control = Control::Loss { track: key, fraction };
                if !self.mesh.send_control(thread, control) {
                    self.stats.drops.control_full += 1;
                }
            }
            Source::None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn loss_of_one_holds_against_better_reports_of_others_for_a_while() {
        let begin = crate::testing::epoch();
        let mut loss = Loss::new(begin);
        let mut report = |at, fraction| loss.report(begin + at, fraction, LOSS_HOLDS);
        assert_eq!(report(SECOND / 2, 90), None, "told now and then only");
        assert_eq!(report(SECOND, 0), Some(90));
        assert_eq!(report(6 * SECOND, 0), Some(90), "reported 5.5 s ago");
        assert_eq!(report(12 * SECOND, 10), Some(10));
        assert_eq!(report(13 * SECOND, 40), Some(40), "the worst of a period");
        assert_eq!(report(30 * SECOND, 0), Some(0), "nobody reported for long");
    }
}
