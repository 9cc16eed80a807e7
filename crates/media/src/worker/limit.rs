//! Keeps what a peer is sent below what its link carries, once it is evident that more is sent.
//!
//! Owns: when layers are taken from a peer and given back, and the pauses of pictures whose lowest
//! layer does not fit. Must not know: how a ceiling is found ([`Ceiling`]), how layers are divided
//! ([`allocate`]). A peer without a ceiling costs one comparison per packet.

use super::Worker;
use crate::api::LayerWish;
use crate::down::allocate::{Allowed, Choice, Row, allocate};
use crate::down::budget::RtxBudget;
use crate::down::ceiling::{Allowance, Ceiling};
use crate::down::track::DownTrack;
use crate::up::ring::Packet;
use crate::up::track::{Subscriber, UpTrack};
use peer::{Delivery, Kind, Peer};
use std::time::{Duration, Instant};

/// Of a ceiling, media may take so many per cent: the rest is for repairs and headers.
const MEDIA_PERCENT: u64 = 90;
/// So much of a picture that does not fit may wait to be sent, as time at the ceiling: then it pauses.
/// More shows longer bursts, later.
const WAITS_MAX: Duration = Duration::from_millis(750);
/// Bytes of a packet that waits, about.
const PACKET_LEN: u64 = 1000;
/// Shortest pause of a picture. Each ends with a key frame, which all subscribers of the layer pay for.
const PAUSE_MIN: Duration = Duration::from_millis(750);
/// Between two looks at whether a pause is over.
const PAUSE_TICK: Duration = Duration::from_millis(250);
/// Between two times that what waits is sent: at 1 Mbps two packets. Shorter wakes the thread more often,
/// longer makes bursts.
const PACE_TICK: Duration = Duration::from_millis(20);
/// Temporal layers that are told apart.
const TEMPORAL_MAX: u8 = 3;

/// What a peer may be sent.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    pub(crate) ceiling: Ceiling,
    /// Retransmissions of sound and of pictures.
    pub(crate) budgets: [RtxBudget; 2],
    allowance: Allowance,
    /// The ceiling keeps something from it.
    holds_back: bool,
    /// When what waits is sent, or pauses are looked at.
    pub(crate) due: Option<Instant>,
}

impl Limits {
    /// What the ceiling allows in some time; 0 without.
    fn earns(&self, time: Duration) -> u64 {
        self.ceiling.rate().unwrap_or_default() * time.as_millis() as u64 / 1000
    }

    /// Whether a packet that waits may be sent at this moment.
    pub(super) fn has_room(&mut self, now: Instant, peer: &Peer) -> bool {
        let rate = self.ceiling.rate();
        rate.is_none_or(|rate| self.allowance.left(now, peer.rtp_sent_bytes(), rate) > 0)
    }

    /// How the next packet of a down track is sent; `waiting` are packets that wait already.
    #[cold]
    pub(crate) fn pace(
        &self,
        now: Instant,
        down: &mut DownTrack,
        waiting: usize,
        packet: &Packet<'_>,
    ) -> Pace {
        if down.select.allowed() != Allowed::Bursts || packet.info.codec.kind() == Kind::Audio {
            return Pace::Now;
        }
        let full = waiting as u64 * PACKET_LEN > self.earns(WAITS_MAX);
        let begins = packet.info.frame.start && packet.info.frame.spatial == 0 && !packet.info.late;
        if begins && full && down.select.stream().is_some() {
            down.select.hold(true);
            down.held_at = Some(now);
            return Pace::Paused;
        }
        Pace::Waits
    }

    /// The ticks go on: what waits is sent with the next one.
    pub(super) fn wait(&mut self, now: Instant) {
        let tick = now + PACE_TICK;
        self.due = Some(self.due.map_or(tick, |due| due.min(tick)));
    }
}

/// How a packet of a peer with a ceiling is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    Now,
    /// When those in front of it are.
    Waits,
    /// Not, nor are those behind it, until a key frame.
    Paused,
}

impl Worker {
    /// A peer reports what arrived.
    pub(super) fn delivered(&mut self, now: Instant, index: u32, delivery: &Delivery) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let (sent, limits) = (slot.peer.rtp_sent_bytes(), &mut slot.limits);
        if limits.ceiling.report(now, delivery, sent, limits.holds_back) {
            self.keep_below(now, index);
        }
    }

    /// A peer asked for packets again.
    pub(super) fn asked(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let (pictures, sent) = (slot.peer.media_sent(Kind::Video), slot.peer.rtp_sent_bytes());
        if slot.limits.ceiling.asked(now, pictures, sent) {
            self.keep_below(now, index);
        }
    }

    /// Takes layers from a peer, or gives them back, by its ceiling.
    fn keep_below(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let rate = slot.limits.ceiling.rate();
        if rate.is_none() && !slot.limited {
            return;
        }
        self.limited += u64::from(rate.is_some());
        self.limited -= u64::from(std::mem::replace(&mut slot.limited, rate.is_some()));
        let mut budget = rate.map_or(u64::MAX, |rate| rate / 100 * MEDIA_PERCENT);
        let mut videos = Vec::new();
        let mut rows = Vec::new();
        for (number, down) in slot.downs.iter().enumerate() {
            let Some((down, track)) = down
                .as_ref()
                .and_then(|down| Some((down, self.tracks.get(down.track)?)))
            else {
                continue;
            };
            match down.kind() {
                Some(Kind::Video) => {
                    videos.push(number as u32);
                    rows.push(Row {
                        choices: choices(track, down.select.wanted()),
                        now: down.select.allowed(),
                    });
                }
                _ => {
                    let sound = track.layer(0).map_or(0, |layer| layer.rates.up_to(0, 0));
                    budget = budget.saturating_sub(sound);
                }
            }
        }
        let allowed = match rate {
            Some(_) => allocate(budget, &rows),
            None => vec![Allowed::All; rows.len()],
        };
        let mut holds_back = false;
        slot.limits.ceiling.in_bursts = allowed.contains(&Allowed::Bursts);
        let mut changed = Vec::new();
        for ((number, allowed), row) in videos.into_iter().zip(allowed).zip(&rows) {
            // What waits leaves before anything new does, or both together are too much, and out of order.
            let waits = slot.owed.iter().any(|owed| owed.first && owed.down == number);
            let Some(down) = slot.down_mut(number) else {
                continue;
            };
            if row.now != allowed {
                down.select.allow(allowed);
                if allowed != Allowed::Bursts {
                    down.select.hold(waits);
                    down.held_at = Some(now);
                }
                changed.push(number);
            }
            holds_back |= allowed != Allowed::All && !row.choices.is_empty();
        }
        slot.limits.holds_back = holds_back;
        if !changed.is_empty() {
            slot.limits.wait(now);
        }
        for down in changed {
            self.ask_for_down(now, Subscriber { peer: index, down });
        }
    }

    /// Sends what waits for a peer with a ceiling; when nothing does, ends the pause of a picture: of
    /// the one that waits longest.
    pub(super) fn pace(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        if slot.limits.due.is_none_or(|due| due > now) {
            return;
        }
        let held = slot.downs.iter().enumerate().filter_map(|(number, down)| {
            let down = down.as_ref().filter(|down| down.select.is_held())?;
            Some((down.held_at?, number as u32))
        });
        let held = held.min();
        slot.limits.due = held.map(|_| now + PAUSE_TICK);
        if !slot.owed.is_empty() {
            if !std::mem::replace(&mut slot.owing, true) {
                self.fanout.owing.push_back(index);
            }
            return;
        }
        if let Some((held_at, number)) = held
            && now.saturating_duration_since(held_at) >= PAUSE_MIN
            && let Some(down) = slot.down_mut(number)
        {
            down.select.hold(false);
            let at = Subscriber {
                peer: index,
                down: number,
            };
            self.ask_for_down(now, at);
        }
    }
}

/// The ways to send a track within a wish, cheapest first; none while its rates are not known.
fn choices(track: &UpTrack, wish: LayerWish) -> Vec<Choice> {
    let mut choices = Vec::new();
    if !wish.enabled || track.muted || track.alive == 0 {
        return choices;
    }
    let lowest = track.alive.trailing_zeros() as u8;
    let streams = track.alive & (track.alive - 1) != 0;
    let top = if streams { 7 } else { track.spatial_top };
    for spatial in 0..=top.min(wish.spatial.max(if streams { lowest } else { 0 })) {
        if streams && track.alive & (1 << spatial) == 0 {
            continue;
        }
        let (stream, within) = if streams { (spatial, 0) } else { (lowest, spatial) };
        let Some(layer) = track.layer(stream) else {
            continue;
        };
        let top = TEMPORAL_MAX.min(wish.temporal);
        // A smaller picture that moves is better than a larger one that hardly does: only the lowest
        // is thinned.
        let lowest_here = choices.is_empty();
        let mut before = 0;
        for temporal in if lowest_here { 0 } else { top }..=top {
            let rate = layer.rates.up_to(within, temporal);
            if rate > before {
                choices.push(Choice {
                    spatial,
                    temporal,
                    rate,
                });
            }
            before = rate;
        }
    }
    choices
}
