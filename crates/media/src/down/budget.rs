//! How much may be sent again to one peer: a token bucket that fills with what the peer gets.
//!
//! Owns: the bucket. Must not know: packets, why they are missing.
//!
//! Where a link is too narrow, each packet that is sent again pushes another one out, which is then
//! asked for. So retransmissions may take only a share of what arrives: what was sent, less what was
//! asked for. At 60 % loss that is a third of what it is at none, and the storm starves itself.

use std::time::{Duration, Instant};

/// Bytes a second that are granted at any loss, so that the light loss of a thin stream is always
/// repaired: a tenth of two streams of speech, some packets of video. More would matter to a link
/// of 100 kbps, less would leave a syllable unrepaired where sound is all there is.
const FLOOR_BPS: u64 = 4000;
/// The floor is not saved up for longer than this.
const FLOOR_AFTER_MAX: Duration = Duration::from_secs(1);

/// What an operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtxShare {
    /// Bytes sent again, in per mille of the media bytes that arrive. 0: without limit.
    pub max_permille: u32,
    /// Bytes that may be sent again at once.
    pub burst_bytes: u32,
}

impl RtxShare {
    /// Sound: it is small and nothing else repairs it, so half of it may be repeated.
    pub const AUDIO: Self = Self {
        max_permille: 500,
        burst_bytes: 4000,
    };
    /// Picture: a quarter repairs loss of 20 %. More would repair what no decoder keeps up with, less
    /// would need key frames at loss that is usual on a wireless link. The burst is what is sent in vain
    /// before a narrow link is noticed.
    pub const VIDEO: Self = Self {
        max_permille: 250,
        burst_bytes: 32_000,
    };
}

/// The budget of one peer for one kind of media.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RtxBudget {
    tokens: i64,
    /// Media bytes sent when tokens were last counted, and when that was.
    sent: u64,
    at: Option<Instant>,
    /// Bytes asked for that nothing was sent against yet: no more than a burst, as a storm that is over
    /// should not be paid for later.
    asked: u64,
}

impl RtxBudget {
    /// Whether a packet of `len` bytes that the peer asks for may be sent again. `sent` are the media
    /// bytes that were sent to it so far.
    pub(crate) fn allow(&mut self, now: Instant, sent: u64, share: RtxShare, len: usize) -> bool {
        if share.max_permille == 0 {
            return true;
        }
        let burst = i64::from(share.burst_bytes);
        match self.at.replace(now) {
            None => self.tokens = burst,
            Some(at) => {
                let passed = now.saturating_duration_since(at).min(FLOOR_AFTER_MAX);
                let floor = passed.as_micros() as u64 * FLOOR_BPS / 1_000_000;
                let new = sent.saturating_sub(self.sent);
                let arrived = new.saturating_sub(self.asked);
                self.asked = self.asked.saturating_sub(new);
                let earned = arrived.saturating_mul(u64::from(share.max_permille)) / 1000 + floor;
                let earned = i64::try_from(earned).unwrap_or(i64::MAX);
                self.tokens = self.tokens.saturating_add(earned).min(burst);
            }
        }
        self.sent = sent;
        self.asked = (self.asked + len as u64).min(u64::from(share.burst_bytes));
        if self.tokens <= 0 {
            return false;
        }
        self.tokens -= len as i64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: RtxShare = RtxShare::VIDEO;

    /// Sends a packet of 1,000 bytes every `interval_us` for 20 s, `lost` of 100 of which are asked for
    /// `tries` times; returns bytes sent and resent.
    fn run(interval_us: u64, lost: u64, tries: usize) -> (u64, u64) {
        let mut budget = RtxBudget::default();
        let (mut sent, mut resent) = (0, 0);
        for n in 0..20_000_000 / interval_us {
            let now = crate::testing::epoch() + Duration::from_micros(n * interval_us);
            sent += 1000;
            for _ in 0..tries {
                if n * 37 % 100 < lost && budget.allow(now, sent, SHARE, 1000) {
                    resent += 1000;
                }
            }
        }
        (sent, resent)
    }

    #[test]
    fn light_loss_is_always_repaired_and_heavy_loss_only_to_a_share() {
        for (interval_us, lost) in [(4000, 5), (4000, 10), (4000, 15), (100_000, 10), (500_000, 20)] {
            let (sent, resent) = run(interval_us, lost, 1);
            assert_eq!(resent, sent * lost / 100, "{interval_us} {lost}");
        }
        for (lost, tries, share_max) in [(30, 1, 25), (65, 1, 15), (65, 3, 5), (100, 1, 4), (100, 100, 4)] {
            let (sent, resent) = run(2000, lost, tries);
            let allowed = sent * share_max / 100 + 64_000;
            assert!(resent <= allowed, "{resent} of {sent} at {lost} % loss");
        }
    }

    #[test]
    fn who_asks_for_everything_gets_the_floor_and_who_gets_nothing_new_as_well() {
        let mut budget = RtxBudget::default();
        let mut resent = 0;
        for ms in 0..10_000 {
            let now = crate::testing::epoch() + Duration::from_millis(ms);
            for _ in 0..50 {
                resent += u64::from(budget.allow(now, 0, SHARE, 1000));
            }
        }
        assert!((32..=32 + 41).contains(&resent), "{resent}");
    }

    #[test]
    fn without_a_limit_everything_is_allowed() {
        let share = RtxShare {
            max_permille: 0,
            ..SHARE
        };
        let mut budget = RtxBudget::default();
        assert!((0..1000).all(|_| budget.allow(crate::testing::epoch(), 0, share, 1_000_000)));
    }
}
