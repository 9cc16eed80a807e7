//! How fast a data channel drains.
//!
//! Owns: the rate over the last two seconds, of those times at which something was left to send.
//! Must not know: what the rate is for.

use std::time::{Duration, Instant};

/// One window, and how many of them count: two seconds, as livekit-server measures.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOWS: usize = 20;
/// Busy time before the rate is known. Less judges a reader by its first round trip.
const BUSY_MIN_US: u64 = 200_000;

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Which hundred milliseconds since the first look.
    number: u32,
    bytes: u32,
    busy_us: u32,
}

/// The rate of one channel.
#[derive(Debug, Default)]
pub(crate) struct DrainRate {
    windows: [Window; WINDOWS],
    /// The last look: when, and the bytes that the channel held.
    last: Option<(Instant, usize)>,
    epoch: Option<Instant>,
}

impl DrainRate {
    /// Looks at a channel that holds `buffered` bytes, before more are put into it.
    pub(crate) fn look(&mut self, now: Instant, buffered: usize) {
        let epoch = *self.epoch.get_or_insert(now);
        let Some((at, held)) = self.last.replace((now, buffered)) else {
            return;
        };
        // A channel that ran empty did so at an unknown moment: that time tells nothing.
        if buffered == 0 || held == 0 {
            return;
        }
        let number = self.number(epoch, now);
        let window = &mut self.windows[number as usize % WINDOWS];
        if window.number != number {
            *window = Window {
                number,
                ..Window::default()
            };
        }
        let busy = now.saturating_duration_since(at).as_micros();
        let drained = held.saturating_sub(buffered);
        window.bytes = window
            .bytes
            .saturating_add(u32::try_from(drained).unwrap_or(u32::MAX));
        window.busy_us = window
            .busy_us
            .saturating_add(u32::try_from(busy).unwrap_or(u32::MAX));
    }

    /// What the channel holds after more was put into it.
    pub(crate) fn filled(&mut self, buffered: usize) {
        if let Some((_, held)) = &mut self.last {
            *held = buffered;
        }
    }

    /// Bits per second, once it is known.
    pub(crate) fn bits_per_s(&self, now: Instant) -> Option<u64> {
        let oldest = self.number(self.epoch?, now).saturating_sub(WINDOWS as u32 - 1);
        let recent = self.windows.iter().filter(|window| window.number >= oldest);
        let (bytes, busy_us) = recent.fold((0, 0), |(bytes, busy_us), window| {
            (
                bytes + u64::from(window.bytes),
                busy_us + u64::from(window.busy_us),
            )
        });
        (busy_us >= BUSY_MIN_US).then(|| bytes * 8_000_000 / busy_us)
    }

    fn number(&self, epoch: Instant, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(epoch);
        (passed.as_millis() / WINDOW.as_millis()) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A channel of 800 kbit/s: 1,000 bytes in 10 ms.
    fn drained(rate: &mut DrainRate, begin: Instant, time: Duration) -> Instant {
        let mut now = begin;
        while now < begin + time {
            rate.look(now, 50_000);
            rate.filled(51_000);
            now += ms(10);
        }
        now
    }

    #[test]
    fn a_busy_channel_has_the_rate_at_which_it_drains() {
        let mut rate = DrainRate::default();
        let begin = crate::testing::epoch();
        assert_eq!(rate.bits_per_s(begin), None);
        let now = drained(&mut rate, begin, ms(100));
        assert_eq!(rate.bits_per_s(now), None, "too early to tell");
        let now = drained(&mut rate, now, ms(3000));
        assert_eq!(rate.bits_per_s(now), Some(800_000));
    }

    #[test]
    fn times_at_which_nothing_was_left_do_not_count() {
        let mut rate = DrainRate::default();
        let begin = crate::testing::epoch();
        let now = drained(&mut rate, begin, ms(500));
        rate.look(now, 0);
        rate.filled(0);
        let now = now + ms(700);
        rate.look(now, 0);
        rate.filled(9_000);
        assert_eq!(rate.bits_per_s(now), Some(800_000));
    }

    #[test]
    fn what_is_two_seconds_ago_is_forgotten() {
        let mut rate = DrainRate::default();
        let begin = crate::testing::epoch();
        let now = drained(&mut rate, begin, ms(500));
        assert_eq!(rate.bits_per_s(now + ms(3000)), None);
    }

    #[test]
    fn a_channel_that_stands_still_has_the_rate_zero() {
        let mut rate = DrainRate::default();
        let begin = crate::testing::epoch();
        let now = drained(&mut rate, begin, ms(500));
        for passed in 0..25 {
            rate.look(now + ms(passed * 100), 51_000);
        }
        assert_eq!(rate.bits_per_s(now + ms(2400)), Some(0));
    }
}
