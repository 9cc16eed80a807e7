//! Whether a peer asks for so much of its pictures again that its link must be too narrow.
//!
//! Owns: the count of what was sent and missed lately. Must not know: packets, what follows from it.
//! Pure. Reports come once a second, so that they tell of a narrow link two seconds late; what is
//! missed is asked for as soon as anything behind it arrives.
//!
//! Each packet counts once, however often it is asked for: of packets that get lost at random as many
//! are missed as get lost, and no more. Some windows in a row have to agree, as a link that was dead for
//! a moment has everything asked for at once.

use peer::MediaSent;
use std::time::{Duration, Instant};

/// Shorter windows hold few packets, and are filled by one moment without a link; in longer ones too
/// much is sent for longer.
const WINDOW: Duration = Duration::from_millis(150);
/// Windows that have to agree. Fewer take a moment of bad reception for a narrow link, with more of them
/// too much is sent for longer.
const WINDOWS: usize = 3;
/// Fewer packets say nothing.
const PACKETS_MIN: u64 = 10;
/// A window that took longer had no requests at its end.
const WINDOW_MAX: Duration = Duration::from_millis(600);
/// Part of the packets that is missed in each window on a link that is too narrow: the same as reports
/// are judged by.
const MISSED_MIN: f64 = 1.0 / 3.0;
/// In all windows together, more is missed than that by this times the root of the packets: four
/// standard deviations. Less takes chance for a narrow link, more misses one that carries half.
pub(super) const CHANCE: f64 = 1.8;

/// Of one peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortage {
    began: Option<(Instant, MediaSent, u64)>,
    /// Windows in a row that agree, their packets, and those missed.
    agree: usize,
    packets: f64,
    missed: f64,
}

impl Shortage {
    /// Learns that the peer asked for packets. `pictures` are those sent to it so far, `sent` all bytes.
    /// When too little arrives, returns how many bytes a second were sent, and which part of them arrives.
    pub(crate) fn asked(&mut self, now: Instant, pictures: MediaSent, sent: u64) -> Option<(f64, f64)> {
        let Some((at, then, sent_then)) = self.began else {
            self.began = Some((now, pictures, sent));
            return None;
        };
        let passed = now.saturating_duration_since(at);
        let packets = pictures.packets.saturating_sub(then.packets);
        if passed < WINDOW || (packets < PACKETS_MIN && passed <= WINDOW_MAX) {
            return None;
        }
        self.began = Some((now, pictures, sent));
        let packets = packets as f64;
        let missed = (pictures.missed.saturating_sub(then.missed) as f64).min(packets);
        if passed > WINDOW_MAX || missed < packets * MISSED_MIN {
            (self.agree, self.packets, self.missed) = (0, 0.0, 0.0);
            return None;
        }
        self.agree += 1;
        self.packets += packets;
        self.missed += missed;
        let chance = CHANCE * self.packets.sqrt();
        if self.agree < WINDOWS || self.missed < self.packets * MISSED_MIN + chance {
            return None;
        }
        let rate = sent.saturating_sub(sent_then) as f64 / passed.as_secs_f64();
        Some((rate, 1.0 - self.missed / self.packets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet of 1,000 bytes every `interval_us` for `seconds`, of which those that `lost` names
    /// by time and number are asked for after `delay_ms`. Returns when that was too much, in
    /// milliseconds, and what arrives.
    fn run(
        (interval_us, seconds): (u64, u64),
        delay_ms: u64,
        mut lost: impl FnMut(u64, u64) -> bool,
    ) -> Option<(u64, f64)> {
        let mut shortage = Shortage::default();
        let mut asked = std::collections::VecDeque::new();
        let mut pictures = MediaSent::default();
        for number in 0..seconds * 1_000_000 / interval_us {
            let ms = number * interval_us / 1000;
            let now = crate::testing::epoch() + Duration::from_millis(ms);
            pictures.packets += 1;
            if lost(ms, number) {
                asked.push_back(ms + delay_ms);
            }
            while asked.front().is_some_and(|at| *at <= ms) {
                asked.pop_front();
                pictures.missed += 1;
                if let Some((sent, part)) = shortage.asked(now, pictures, pictures.packets * 1000) {
                    return Some((ms, sent * part));
                }
            }
        }
        None
    }

    fn random(seed: u64, per_cent: u64) -> impl FnMut(u64, u64) -> bool {
        let mut state = seed;
        move |_, _| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % 100 < per_cent
        }
    }

    #[test]
    fn a_narrow_link_is_found_within_half_a_second_of_the_first_request() {
        for (interval_us, per_cent) in [(2700, 65), (2000, 60), (1000, 55), (5000, 80)] {
            for seed in 0..50 {
                let mut random = random(seed, per_cent);
                let found = run((interval_us, 5), 60, |ms, n| ms >= 1000 && random(ms, n));
                let (ms, arrives) = found.expect("found");
                assert!((1300..1900).contains(&ms), "{interval_us} {per_cent}: {ms}");
                let carried = 1e9 / interval_us as f64 * (100 - per_cent) as f64 / 100.0;
                let part = arrives / carried;
                assert!((0.5..1.6).contains(&part), "{interval_us} {per_cent}: {part}");
            }
        }
    }

    #[test]
    fn random_loss_and_moments_without_a_link_are_no_narrow_link() {
        for seed in 0..20 {
            for (interval_us, per_cent) in [(2700, 30), (1000, 30), (10_000, 30), (5000, 10), (500, 25)] {
                let found = run((interval_us, 60), 60, random(seed, per_cent));
                assert_eq!(found, None, "{interval_us} {per_cent}");
            }
        }
        // A moment in which hardly anything arrives.
        for dead_ms in [50, 150, 300, 900] {
            let found = run((2700, 20), 60, |ms, _| ms % 2000 < dead_ms && ms % 7 != 6);
            let short = dead_ms < 400;
            assert_eq!(found.is_none(), short, "{dead_ms}: {found:?}");
        }
    }

    #[test]
    fn counters_that_lie_and_time_that_stands_still_do_no_harm() {
        let mut shortage = Shortage::default();
        for n in 0..1000_u64 {
            let pictures = MediaSent {
                packets: n * 7 % 13 * 100,
                bytes: 0,
                missed: n * 5 % 11 * 1000,
            };
            let now = crate::testing::epoch() + Duration::from_millis(n / 3 * 210);
            let told = shortage.asked(now, pictures, n % 17 * 1000);
            assert!(told.is_none_or(|(sent, part)| sent.is_finite() && (0.0..=1.0).contains(&part)));
        }
    }
}
