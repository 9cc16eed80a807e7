//! The playout-delay extension of one stream: how long a receiver should hold pictures back.
//!
//! Owns: the delay in force and whether the receiver knows it. Must not know: why a room wants it.
//! <https://webrtc.googlesource.com/src/+/main/docs/native-code/rtp-hdrext/playout-delay>:
//! ```text
//! | MIN delay: 12 | MAX delay: 12 |   in units of 10 ms
//! ```

use std::time::Instant;
use wire::seq::newer_16;

/// The longest delay that can be said.
const DELAY_MS_MAX: u16 = 10 * 0xFFF;
/// The receiver's buffer should hold this many times its jitter.
const JITTER_FACTOR: u32 = 10;
/// Fastest change of the delay: sound follows the picture, and a faster change would be heard.
const CHANGE_MS_PER_S: u32 = 80;

/// The delay of one stream.
#[derive(Debug)]
pub(super) struct PlayoutDelay {
    min_ms: u16,
    max_ms: u16,
    current_ms: u16,
    changed: Option<Instant>,
    /// A packet sent again must be the same to the byte: the delay stays, and is always sent.
    fixed: bool,
    knowledge: Knowledge,
}

/// What the receiver knows of the delay in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// No packet carried it yet.
    None,
    /// It is on packets from this sequence number on.
    Told(u16),
    /// A report covered such a packet.
    Known,
}

impl PlayoutDelay {
    pub(super) fn new((min_ms, max_ms): (u16, u16), fixed: bool) -> Self {
        let max_ms = max_ms.min(DELAY_MS_MAX);
        let min_ms = min_ms.min(max_ms);
        Self {
            min_ms,
            max_ms,
            current_ms: min_ms,
            changed: None,
            fixed,
            knowledge: Knowledge::None,
        }
    }

    /// Whether it was made with these bounds.
    pub(super) fn is(&self, (min_ms, max_ms): (u16, u16), fixed: bool) -> bool {
        let other = Self::new((min_ms, max_ms), fixed);
        (self.min_ms, self.max_ms, self.fixed) == (other.min_ms, other.max_ms, other.fixed)
    }

    /// What the packet with this sequence number carries: `None` when the receiver knows already.
    pub(super) fn stamp(&mut self, sequence: u16) -> Option<[u8; 3]> {
        match self.knowledge {
            Knowledge::None => self.knowledge = Knowledge::Told(sequence),
            Knowledge::Told(_) => {}
            Knowledge::Known if !self.fixed => return None,
            Knowledge::Known => {}
        }
        Some(self.value())
    }

    /// The extension as it stands.
    pub(super) fn value(&self) -> [u8; 3] {
        let word = u32::from(self.current_ms / 10) << 12 | u32::from(self.max_ms / 10);
        let [_, value @ ..] = word.to_be_bytes();
        value
    }

    /// A receiver reported so much jitter, and the newest packet that it has.
    pub(super) fn report(&mut self, now: Instant, jitter_ms: u32, newest: u16) {
        if let Knowledge::Told(first) = self.knowledge
            && !newer_16(first, newest)
        {
            self.knowledge = Knowledge::Known;
        }
        let passed = self.changed.map(|at| now.saturating_duration_since(at));
        self.changed = Some(now);
        let Some(passed) = passed.filter(|_| !self.fixed) else {
            return;
        };
        let wanted = jitter_ms
            .saturating_mul(JITTER_FACTOR)
            .clamp(self.min_ms.into(), self.max_ms.into());
        let step =
            (passed.as_millis() * u128::from(CHANGE_MS_PER_S) / 1000).min(u128::from(DELAY_MS_MAX)) as u32;
        let current = u32::from(self.current_ms);
        let next = wanted.clamp(current.saturating_sub(step), current + step) as u16;
        if next / 10 != self.current_ms / 10 {
            self.knowledge = Knowledge::None;
        }
        self.current_ms = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch as epoch;
    use std::time::Duration;

    fn min_and_max(value: [u8; 3]) -> (u32, u32) {
        let word = u32::from_be_bytes([0, value[0], value[1], value[2]]);
        ((word >> 12) * 10, (word & 0xFFF) * 10)
    }

    #[test]
    fn a_delay_is_sent_until_a_report_covers_it() {
        let mut delay = PlayoutDelay::new((100, 2000), false);
        let value = delay.stamp(0xFFFF).expect("first");
        assert_eq!(min_and_max(value), (100, 2000));
        assert_eq!(delay.stamp(0), Some(value));
        delay.report(epoch(), 0, 0xFFFE);
        assert_eq!(delay.stamp(1), Some(value), "the report is older");
        delay.report(epoch(), 0, 0);
        assert_eq!(delay.stamp(2), None);
    }

    #[test]
    fn the_delay_follows_ten_times_the_jitter_slowly_and_within_bounds() {
        let mut delay = PlayoutDelay::new((100, 400), false);
        let start = epoch();
        let mut seen = Vec::new();
        for second in 0..8u32 {
            delay.report(start + Duration::from_secs(second.into()), 100, second as u16);
            seen.push(delay.stamp(second as u16 + 1).map(|value| min_and_max(value).0));
        }
        let expected = [100, 180, 260, 340, 400].map(Some);
        assert_eq!(seen[..5], expected);
        assert_eq!(seen[5..], [None; 3], "known");
        delay.report(start + Duration::from_secs(8), 0, 9);
        assert_eq!(delay.stamp(10).map(|value| min_and_max(value).0), Some(320));
    }

    #[test]
    fn a_fixed_delay_is_on_every_packet() {
        let mut delay = PlayoutDelay::new((200, 10_000), true);
        let value = delay.stamp(1);
        delay.report(epoch(), 500, 1);
        delay.report(epoch() + Duration::from_secs(5), 500, 2);
        assert_eq!(delay.stamp(3), value);
    }

    #[test]
    fn bounds_that_cannot_be_said_are_cut() {
        let mut delay = PlayoutDelay::new((60_000, 50_000), false);
        assert_eq!(delay.stamp(1).map(min_and_max), Some((40_950, 40_950)));
    }
}
