//! What happens by itself: peers' deadlines, sender reports, layers that stop, audio levels.

use super::Worker;
use crate::api::EventKind;
use crate::timers::Who;
use crate::up::track::Source;
use std::time::{Duration, Instant};

/// Between two sender reports of a down track (RFC 3550 §6.4.1).
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(3);

impl Worker {
    /// Runs everything that is due.
    pub(crate) fn timeout(&mut self, now: Instant) {
        while let Some((due, who)) = self.timers.pop(now) {
            match who {
                Who::Peer(index) => {
                    let Some(slot) = self.peers.get_mut(index) else {
                        continue;
                    };
                    if slot.armed != Some(due) {
                        continue;
                    }
                    slot.armed = None;
                    slot.count_streams(&mut self.stats.drops.streams);
                    if slot.peer.poll_timeout().is_some_and(|at| at <= now) {
                        slot.peer.handle_timeout(now);
                    }
                    if slot.reports_due.is_some_and(|at| at <= now) {
                        self.send_reports(now, index);
                    }
                    self.injects(now, index);
                    self.pace(now, index);
                    self.touched(now, index);
                }
                Who::Track(index) => {
                    let Some(track) = self.tracks.get_mut(index) else {
                        continue;
                    };
                    if track.armed == Some(due) {
                        track.armed = None;
                        self.track_timeout(now, index);
                    }
                }
            }
        }
        if self.levels_due.is_some_and(|due| due <= now) {
            self.tell_levels(now);
        }
    }

    fn track_timeout(&mut self, now: Instant, index: u32) {
        while let Some(track) = self.tracks.get_mut(index) {
            let Some(layer) = track.take_stopped(now) else {
                break;
            };
            let key = track.key;
            if matches!(track.source, Source::Peer(_)) {
                self.events
                    .push(key.room(), EventKind::LayerStopped { track: key, layer });
            }
            // Its subscribers fall back to another layer.
            self.ask_for_subscribers(now, index);
        }
        self.key_frame_requests(now, index);
    }

    /// Sender reports for everything that a peer gets: the publisher's clock, taken on to now.
    fn send_reports(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        slot.reports_due = Some(now + REPORT_INTERVAL);
        for down in slot.downs.iter_mut().flatten() {
            let Some((number, offset)) = down.clock().filter(|_| down.started) else {
                continue;
            };
            let Some(layer) = self.tracks.get(down.track).and_then(|track| track.layer(number)) else {
                continue;
            };
            let Some(report) = layer.report else {
                continue;
            };
            let age = now.saturating_duration_since(report.at);
            let ntp = report.ntp.wrapping_add(ntp_units(age));
            let ticks = (age.as_micros() * u128::from(layer.codec.clock_rate()) / 1_000_000) as u32;
            let rtp = report.rtp.wrapping_add(ticks).wrapping_add(offset);
            slot.peer.send_report(now, down.key.0, ntp, rtp);
        }
    }

    fn tell_levels(&mut self, now: Instant) {
        for (room, microphones) in &mut self.levels {
            let mut levels = std::mem::take(&mut microphones.spare);
            for &index in &microphones.tracks {
                let Some(track) = self.tracks.get_mut(index) else {
                    continue;
                };
                let (muted, key) = (track.muted, track.key);
                if let Some(meter) = &mut track.level {
                    let (level, active) = meter.level(now, &self.config.tuning.speaking);
                    levels.push(if muted {
                        (key, 0.0, false)
                    } else {
                        (key, level, active)
                    });
                }
            }
            let above_zero = levels.iter().any(|(_, level, _)| *level > 0.0);
            if above_zero || microphones.told_above_zero {
                self.events.push(*room, EventKind::AudioLevels { levels });
            } else {
                levels.clear();
                microphones.spare = levels;
            }
            microphones.told_above_zero = above_zero;
        }
        self.levels
            .retain(|_, microphones| !microphones.tracks.is_empty() || microphones.told_above_zero);
        self.levels_due = (!self.levels.is_empty()).then_some(now + self.config.tuning.speaking.window());
    }
}

/// A duration in units of 2⁻³² s.
fn ntp_units(duration: Duration) -> u64 {
    (duration.as_secs() << 32) | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}
