//! Speaker level of one microphone track (RFC 6464).
//!
//! Owns: one observation window and the smoothed level. Must not know: who speaks, or where the
//! level is told.

use crate::tuning::Speaking;
use std::time::Instant;

/// Without packets for so many windows the level is zero.
const STALE_WINDOWS: u32 = 2;

/// The level of one track.
#[derive(Debug, Default)]
pub(crate) struct AudioLevel {
    /// RTP timestamp of the latest packet, to learn how long the next one lasts.
    timestamp: Option<u32>,
    observed_at: Option<Instant>,
    observed_ms: u32,
    active_ms: u32,
    /// The loudest level of the window in −dBov, so the smallest number.
    loudest: u8,
    smoothed: f32,
}

impl AudioLevel {
    /// Takes one packet. Its duration is the distance to the packet before; late packets do not count.
    pub(crate) fn observe(
        &mut self,
        now: Instant,
        (timestamp, clock_rate): (u32, u32),
        level_dbov: u8,
        tuning: &Speaking,
    ) {
        let Some(last) = self.timestamp.replace(timestamp) else {
            self.observed_at = Some(now);
            self.loudest = u8::MAX;
            return;
        };
        let ticks = timestamp.wrapping_sub(last);
        if ticks == 0 || ticks >= 0x8000_0000 {
            self.timestamp = Some(last);
            return;
        }
        let duration_ms =
            (u64::from(ticks) * 1000 / u64::from(clock_rate)).min(u64::from(tuning.window_ms)) as u32;
        self.observed_at = Some(now);
        self.observed_ms += duration_ms;
        if level_dbov <= tuning.active_level_dbov {
            self.active_ms += duration_ms;
            self.loudest = self.loudest.min(level_dbov);
        }
        if self.observed_ms >= tuning.window_ms {
            self.close_window(tuning);
        }
    }

    fn close_window(&mut self, tuning: &Speaking) {
        let active_ms_min = tuning.window_ms * u32::from(tuning.active_percent_min) / 100;
        if self.active_ms > 0 && self.active_ms >= active_ms_min {
            let weight_db = 20.0 * (self.active_ms as f32 / tuning.window_ms as f32).log10();
            let level = linear(f32::from(self.loudest) - weight_db);
            self.smoothed += (level - self.smoothed) * 2.0 / (tuning.smooth_windows as f32 + 1.0);
        } else {
            self.smoothed = 0.0;
        }
        self.observed_ms = 0;
        self.active_ms = 0;
        self.loudest = u8::MAX;
    }

    /// The smoothed level, 0.0..=1.0, and whether it counts as speaking.
    pub(crate) fn level(&mut self, now: Instant, tuning: &Speaking) -> (f32, bool) {
        if self
            .observed_at
            .is_some_and(|at| now.saturating_duration_since(at) > tuning.window() * STALE_WINDOWS)
        {
            self.observed_ms = 0;
            self.active_ms = 0;
            self.loudest = u8::MAX;
            self.smoothed = 0.0;
        }
        let level = self.smoothed.min(1.0);
        (level, level >= linear(f32::from(tuning.active_level_dbov)))
    }
}

/// −dBov to a linear factor.
fn linear(dbov: f32) -> f32 {
    10f32.powf(-dbov / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const TUNING: Speaking = Speaking {
        active_level_dbov: 35,
        active_percent_min: 40,
        window_ms: 400,
        smooth_windows: 2,
    };

    /// Feeds `packets` of 20 ms each at one level.
    fn feed(level: &mut AudioLevel, at: &mut (Instant, u32), packets: u32, dbov: u8) {
        for _ in 0..packets {
            level.observe(at.0, (at.1, 48_000), dbov, &TUNING);
            at.0 += Duration::from_millis(20);
            at.1 = at.1.wrapping_add(960);
        }
    }

    fn start() -> (AudioLevel, (Instant, u32)) {
        let mut at = (crate::testing::epoch(), u32::MAX - 2000);
        let mut level = AudioLevel::default();
        feed(&mut level, &mut at, 1, 127);
        (level, at)
    }

    #[test]
    fn a_loud_window_makes_a_speaker() {
        let (mut level, mut at) = start();
        feed(&mut level, &mut at, 20, 20);
        let (value, active) = level.level(at.0, &TUNING);
        // 20 dB below full scale is 0.1; the first window counts two thirds.
        assert!((value - 0.1 * 2.0 / 3.0).abs() < 1e-4, "{value}");
        assert!(active);
    }

    #[test]
    fn less_than_two_fifths_of_a_window_is_silence() {
        let (mut level, mut at) = start();
        feed(&mut level, &mut at, 7, 10);
        feed(&mut level, &mut at, 13, 60);
        assert_eq!(level.level(at.0, &TUNING), (0.0, false));
    }

    #[test]
    fn a_partly_active_window_counts_by_its_share() {
        let (mut level, mut at) = start();
        feed(&mut level, &mut at, 10, 20);
        feed(&mut level, &mut at, 10, 127);
        let (value, active) = level.level(at.0, &TUNING);
        // Half of the window: 6 dB less.
        assert!((value - 0.05 * 2.0 / 3.0).abs() < 1e-4, "{value}");
        assert!(active);
    }

    #[test]
    fn a_track_without_packets_falls_to_zero() {
        let (mut level, mut at) = start();
        feed(&mut level, &mut at, 40, 5);
        assert!(level.level(at.0, &TUNING).1);
        assert_eq!(
            level.level(at.0 + Duration::from_millis(801), &TUNING),
            (0.0, false)
        );
    }

    #[test]
    fn late_packets_do_not_count() {
        let (mut level, at) = start();
        for _ in 0..100 {
            level.observe(at.0, (at.1.wrapping_sub(9600), 48_000), 1, &TUNING);
        }
        assert_eq!(level.level(at.0, &TUNING), (0.0, false));
    }

    #[test]
    fn what_makes_a_speaker_can_be_tuned() {
        assert_eq!(Speaking::default(), TUNING);
        let at_minus_30 = |tuning: Speaking, active: u32| {
            let mut level = AudioLevel::default();
            let (mut now, mut timestamp) = (crate::testing::epoch(), 0);
            for number in 0..=tuning.window_ms / 20 {
                let dbov = if number <= active { 30 } else { 127 };
                level.observe(now, (timestamp, 48_000), dbov, &tuning);
                now += Duration::from_millis(20);
                timestamp += 960;
            }
            level.level(now, &tuning)
        };
        let with = |change: fn(&mut Speaking)| {
            let mut tuning = TUNING;
            change(&mut tuning);
            tuning
        };
        assert!(at_minus_30(TUNING, 20).0 > 0.0);
        let deaf = with(|tuning| tuning.active_level_dbov = 29);
        assert_eq!(at_minus_30(deaf, 20), (0.0, false));
        assert_eq!(at_minus_30(TUNING, 7), (0.0, false), "a third of the window");
        let nervous = with(|tuning| tuning.active_percent_min = 30);
        assert!(at_minus_30(nervous, 7).0 > 0.0);
        let short = with(|tuning| tuning.window_ms = 200);
        assert!(at_minus_30(short, 10).0 > 0.0);
        let (smooth, _) = at_minus_30(with(|tuning| tuning.smooth_windows = 9), 20);
        let expected = linear(30.0) * 2.0 / 10.0;
        assert!((smooth - expected).abs() < 1e-6, "{smooth}");
    }
}
