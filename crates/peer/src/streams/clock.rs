//! Moments as NTP time, and the round trip. No clock is read: `now` comes from outside.

use std::time::{Duration, Instant};

/// Converts moments to NTP time by one moment that is known on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Monotonic, and NTP 32.32 (RFC 5905 §6).
    epoch: (Instant, u64),
}

impl Clock {
    pub(crate) const fn new(epoch: (Instant, u64)) -> Self {
        Self { epoch }
    }

    /// NTP time, 32.32.
    #[inline]
    pub(crate) fn ntp(self, now: Instant) -> u64 {
        let (at, ntp) = self.epoch;
        match now.checked_duration_since(at) {
            Some(after) => ntp.wrapping_add(fixed_32_32(after)),
            None => ntp.wrapping_sub(fixed_32_32(at.duration_since(now))),
        }
    }

    /// abs-send-time: 24 bits, 6.18 seconds.
    #[inline]
    pub(crate) fn abs_send_time(self, now: Instant) -> u32 {
        (self.ntp(now) >> 14) as u32 & 0xFF_FFFF
    }

    /// Time since the epoch.
    #[inline]
    pub(crate) fn since_epoch(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch.0)
    }
}

/// The middle 32 bits of an NTP time, as in LSR and LRR fields (RFC 3550 §6.4.1).
pub(crate) const fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

/// A duration in units of 1/65536 s, saturated.
pub(crate) fn fixed_16_16(duration: Duration) -> u32 {
    u32::try_from(fixed_32_32(duration) >> 16).unwrap_or(u32::MAX)
}

fn fixed_32_32(duration: Duration) -> u64 {
    let seconds = duration.as_secs() << 32;
    let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
    seconds.wrapping_add(fraction)
}

/// Moments of our own reports, by which the answers to them tell the round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Echoes {
    /// What the answer will name, and when we sent it. Two, as an answer may cross a new report.
    sent: [Option<(u32, Instant)>; 2],
}

impl Echoes {
    pub(crate) const fn sent(&mut self, name: u32, at: Instant) {
        self.sent = [Some((name, at)), self.sent[0]];
    }

    /// The round trip in microseconds, when the answer names one of our last reports.
    /// `delay` is how long the remote side held the answer back, in 1/65536 s.
    pub(crate) fn round_trip_us(&self, now: Instant, name: u32, delay: u32) -> Option<u32> {
        let &(_, at) = self.sent.iter().flatten().find(|(sent, _)| *sent == name)?;
        let held_us = u128::from(delay) * 1_000_000 / 65_536;
        let passed_us = now.saturating_duration_since(at).as_micros();
        u32::try_from(passed_us.saturating_sub(held_us)).ok()
    }
}

/// The smoothed round trip of the whole peer (weights of RFC 6298 §2).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundTrip {
    smoothed_us: Option<u32>,
}

impl RoundTrip {
    pub(crate) fn sample(&mut self, sample_us: u32) {
        self.smoothed_us = Some(match self.smoothed_us {
            None => sample_us,
            Some(old) => {
                let sum = u64::from(old) * 7 + u64::from(sample_us);
                u32::try_from(sum / 8).unwrap_or(u32::MAX)
            }
        });
    }

    pub(crate) const fn us(self) -> Option<u32> {
        self.smoothed_us
    }

    pub(crate) fn duration(self) -> Option<Duration> {
        self.smoothed_us.map(|us| Duration::from_micros(u64::from(us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch;

    #[test]
    fn ntp_runs_with_the_monotonic_clock() {
        let at = test_epoch();
        let clock = Clock::new((at, 10 << 32));
        assert_eq!(
            clock.ntp(at + Duration::from_millis(1500)),
            (11 << 32) | (1 << 31)
        );
        assert_eq!(clock.ntp(at - Duration::from_millis(500)), (9 << 32) | (1 << 31));
        assert_eq!(
            clock.abs_send_time(at + Duration::from_millis(500)),
            (10 << 18) | (1 << 17)
        );
        assert_eq!(fixed_16_16(Duration::from_millis(250)), 1 << 14);
        assert_eq!(middle(0x1122_3344_5566_7788), 0x3344_5566);
    }

    #[test]
    fn round_trip_leaves_out_the_remote_delay() {
        let at = test_epoch();
        let mut echoes = Echoes::default();
        echoes.sent(7, at);
        echoes.sent(8, at + Duration::from_secs(1));
        let now = at + Duration::from_millis(1300);
        assert_eq!(echoes.round_trip_us(now, 7, 65_536), Some(300_000));
        assert_eq!(echoes.round_trip_us(now, 8, 65_536 / 4), Some(50_000));
        assert_eq!(echoes.round_trip_us(now, 8, 65_536), Some(0));
        assert_eq!(echoes.round_trip_us(now, 9, 0), None);
        let mut smoothed = RoundTrip::default();
        smoothed.sample(80_000);
        smoothed.sample(160_000);
        assert_eq!(smoothed.us(), Some(90_000));
    }
}
