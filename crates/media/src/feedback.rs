//! How much a thread and a peer may say back to senders: NACKs, key frame requests, transport feedback
//! and reports.
//!
//! Owns: budgets. Must not know: what is said. Whoever has none left waits, and says everything that
//! came up meanwhile in one datagram; nothing is lost but time.

use std::time::{Duration, Instant};

/// Datagrams of feedback per second of a thread that has time to spare: a tenth of a core at 5 µs each
/// (encrypting, and a message of its own in `sendmmsg`). Less delays repair where much is lost; more
/// takes time that packets need.
const PER_SECOND: u32 = 20_000;
/// The same for a thread that is busy: still a report per second of each of 4,000 peers, and then some,
/// at most a twentieth of what such a thread sends.
const PER_SECOND_BUSY: u32 = 5_000;
/// A thread counts as busy from this load on, in thousandths of its time.
const BUSY: u32 = 800;
/// What a thread may say at once: everybody's reports after a stall.
const BURST: u32 = 4_000;
/// Datagrams of feedback per second to one peer: one per 10 ms, the wait before a first NACK. Fewer
/// delays repair; more only splits what fits in one datagram.
const PEER_PER_SECOND: u32 = 100;
/// What a peer may be told at once.
const PEER_BURST: u32 = 10;
/// How long a peer waits when the thread has nothing left: a frame of audio.
const WAIT: Duration = Duration::from_millis(20);

/// A token bucket. It begins full.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    /// When it would be full again; in the past while it is.
    full_at: Option<Instant>,
}

impl Bucket {
    /// Takes one token of a bucket that holds `burst` and gets `rate` per second. `Err`: there is none
    /// before that moment.
    fn take(&mut self, now: Instant, rate: u32, burst: u32) -> Result<(), Instant> {
        let token = Duration::from_secs(1) / rate;
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let next = full_at + token;
        let latest = now + token * burst;
        if next > latest {
            return Err(now + (next - latest));
        }
        self.full_at = Some(next);
        Ok(())
    }
}

/// The budget of a thread.
#[derive(Debug, Default)]
pub(crate) struct FeedbackBudget {
    thread: Bucket,
    busy: bool,
}

impl FeedbackBudget {
    /// How much of its time the thread worked lately, in thousandths.
    pub(crate) fn set_load(&mut self, load: u32) {
        self.busy = load >= BUSY;
    }

    /// Whether a peer may be told something now. `Err`: not before that moment.
    pub(crate) fn take(&mut self, now: Instant, peer: &mut Bucket) -> Result<(), Instant> {
        let rate = if self.busy { PER_SECOND_BUSY } else { PER_SECOND };
        let before = *peer;
        peer.take(now, PEER_PER_SECOND, PEER_BURST)?;
        self.thread.take(now, rate, BURST).map_err(|at| {
            *peer = before;
            at.max(now + WAIT)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `peers` who always have something to say do say within `length`.
    fn said(budget: &mut FeedbackBudget, peers: usize, length: Duration) -> usize {
        let start = crate::testing::epoch();
        let mut buckets = vec![Bucket::default(); peers];
        let mut said = 0;
        let mut passed = Duration::ZERO;
        while passed < length {
            said += buckets
                .iter_mut()
                .filter_map(|peer| budget.take(start + passed, peer).ok())
                .count();
            passed += Duration::from_millis(1);
        }
        said
    }

    #[test]
    fn one_peer_gets_a_datagram_per_ten_milliseconds() {
        let said = said(&mut FeedbackBudget::default(), 1, Duration::from_secs(1));
        assert!((100..=110).contains(&said), "{said}");
    }

    #[test]
    fn many_peers_share_a_tenth_of_a_core() {
        let said = said(&mut FeedbackBudget::default(), 1000, Duration::from_secs(2));
        assert!((40_000..=44_000).contains(&said), "{said}");
    }

    #[test]
    fn a_busy_thread_says_less() {
        let mut budget = FeedbackBudget::default();
        budget.set_load(BUSY);
        let busy = said(&mut budget, 1000, Duration::from_secs(2));
        assert!((10_000..=14_000).contains(&busy), "{busy}");
        let mut budget = FeedbackBudget::default();
        budget.set_load(BUSY - 1);
        assert!(said(&mut budget, 1000, Duration::from_secs(2)) > 30_000);
    }

    #[test]
    fn who_must_wait_is_told_until_when_and_may_speak_then() {
        let start = crate::testing::epoch();
        let mut bucket = Bucket::default();
        for _ in 0..PEER_BURST {
            bucket.take(start, PEER_PER_SECOND, PEER_BURST).unwrap();
        }
        let at = bucket.take(start, PEER_PER_SECOND, PEER_BURST).unwrap_err();
        assert_eq!(at, start + Duration::from_millis(10));
        bucket.take(at, PEER_PER_SECOND, PEER_BURST).unwrap();
    }

    #[test]
    fn a_peer_whom_the_thread_makes_wait_loses_nothing_of_its_own() {
        let start = crate::testing::epoch();
        let mut budget = FeedbackBudget::default();
        let mut others = vec![Bucket::default(); BURST as usize];
        assert!(others.iter_mut().all(|peer| budget.take(start, peer).is_ok()));
        let mut late = Bucket::default();
        assert_eq!(budget.take(start, &mut late), Err(start + WAIT));
        assert_eq!(late.full_at, None);
    }
}
