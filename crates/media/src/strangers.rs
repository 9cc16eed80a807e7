//! How much of a thread's time and of its rings go to requests whose source is not known.
//!
//! Owns: the rates. Must not know: what a request says.
//!
//! Anybody can write a request with a fragment that was seen on the wire; only checking its integrity
//! tells it from an honest one. Requests from known addresses are not counted here: theirs is a matter
//! of the socket's rate.

use std::time::{Duration, Instant};

/// Requests per second of unknown sources that a thread checks or hands over: 2 to 3 % of its time.
/// Honest ones are some 20 of each client that joins. Higher costs packets under a flood; lower lets
/// fewer of the honest ones through then, which are repeated.
const THREAD: u32 = 20_000;
/// The same for one peer, so that a flood with one fragment leaves the thread's rate to others.
const PEER: u32 = 2_000;
/// What may come at once, as a part of a second.
const BURST: Duration = Duration::from_millis(100);

/// A rate of requests, and what is left of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Time in which one may come.
    each: Duration,
    /// When all of it was used up, or a burst before now.
    used: Option<Instant>,
}

impl Budget {
    pub(crate) const THREAD: Self = Self::per_second(THREAD);
    pub(crate) const PEER: Self = Self::per_second(PEER);

    const fn per_second(count: u32) -> Self {
        Self {
            each: Duration::from_nanos(1_000_000_000 / count as u64),
            used: None,
        }
    }

    /// Takes one, when there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full = now.checked_sub(BURST);
        let used = match (self.used, full) {
            (Some(used), Some(full)) => used.max(full),
            (used, full) => used.or(full).unwrap_or(now),
        };
        let after = used + self.each;
        if after > now && self.used.is_some() {
            return false;
        }
        self.used = Some(after);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_its_rate_and_a_burst() {
        #[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
        let start = Instant::now();
        let mut budget = Budget::PEER;
        let mut taken = 0;
        for step in 0..60_000u64 {
            taken += u32::from(budget.take(start + Duration::from_micros(step * 50)));
        }
        // 3 s, and 100 ms at once before them.
        assert!((6_199..=6_201).contains(&taken), "{taken}");
        assert!(budget.take(start + Duration::from_secs(4)));
    }
}
