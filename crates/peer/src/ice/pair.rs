//! One candidate pair: which checks are on their way, and when the next one leaves.
//!
//! Must not know: roles, selection, other pairs.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::stun::TransactionId;

/// A check that nobody answered is sent again after this long, and then after twice as long each time.
/// Shorter finds a client that became ready a moment later sooner, and repeats more on long paths: with
/// a round trip of 200 ms two checks too many.
const RETRANSMIT_AFTER: Duration = Duration::from_millis(50);
/// Longest wait between two checks of a pair, and the keepalive of the selected one. LiveKit uses 2 s;
/// a larger value saves datagrams and notices a dead path later.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(2);
/// A pair that answered none of its checks for this long is given up: 12 checks. Shorter gives up on
/// clients that are slow to learn our candidates.
const PATIENCE: Duration = Duration::from_secs(14);
/// Least time between two checks of a pair, however many checks of the remote side ask for them
/// (the least pace of RFC 8445 §14.2).
const TRIGGERED_GAP: Duration = Duration::from_millis(5);
/// Checks whose answers are awaited: those of the first 5 s, or of 14 s of keepalives. An older one's
/// answer is not recognised.
const ATTEMPTS_MAX: usize = 8;

/// Where a datagram comes from or goes to. The local index stands for a socket. It may stand for a
/// connection of its own one day (RFC 6544): nothing here asks what carries a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) remote: SocketAddr,
    pub(super) local: u8,
}

/// Candidate priorities of both ends (RFC 8445 §5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Priorities {
    pub(super) local: u32,
    pub(super) remote: u32,
}

impl Priorities {
    /// RFC 8445 §6.1.2.3
    pub(super) fn of_pair(self, controlling: bool) -> u64 {
        let (g, d) = if controlling {
            (self.local, self.remote)
        } else {
            (self.remote, self.local)
        };
        (u64::from(g.min(d)) << 32) + 2 * u64::from(g.max(d)) + u64::from(g > d)
    }
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) path: Path,
    pub(super) priorities: Priorities,
    /// The remote side sent a valid check on it.
    pub(super) asked: bool,
    /// A check of ours was answered.
    pub(super) valid: bool,
    /// By us when we control, else by the remote side.
    pub(super) nominated: bool,
    attempts: VecDeque<Attempt>,
    phase: Phase,
}

/// A check that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: TransactionId,
    pub(super) at: Instant,
    /// The role that it claimed.
    pub(super) controlling: bool,
    /// It nominated.
    pub(super) nominates: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The first check leaves when the pace allows, but not before.
    Waiting { due: Instant },
    /// Checks leave until one is answered. `urgent`: the next one does not wait for the pace.
    InProgress {
        since: Instant,
        due: Instant,
        wait: Duration,
        urgent: bool,
    },
    /// Checks leave for ever.
    KeptAlive { due: Instant },
    /// Nothing is asked.
    Quiet,
}

/// What the next check of a pair waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) paced: bool,
}

impl Pair {
    /// A pair that waits for its turn.
    pub(super) fn new(path: Path, priorities: Priorities, now: Instant) -> Self {
        Self {
            path,
            priorities,
            asked: false,
            valid: false,
            nominated: false,
            attempts: VecDeque::new(),
            phase: Phase::Waiting { due: now },
        }
    }

    pub(super) fn due(&self) -> Option<Due> {
        let (at, paced) = match self.phase {
            Phase::Waiting { due } => (due, true),
            Phase::InProgress { due, urgent, .. } => (due, !urgent),
            Phase::KeptAlive { due } => (due, false),
            Phase::Quiet => return None,
        };
        Some(Due { at, paced })
    }

    /// No check was sent yet.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// Its checks went unanswered for too long.
    pub(super) fn is_given_up(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::InProgress { since, .. } if now >= since + PATIENCE)
    }

    /// The next check leaves at once, whatever was sent before (RFC 8445 §7.3.1.4): the remote side
    /// has just shown that it is there, or has to be told something.
    pub(super) fn trigger(&mut self, now: Instant) {
        let last = self.attempts.back().map(|attempt| attempt.at + TRIGGERED_GAP);
        let due = last.map_or(now, |last| last.max(now));
        let since = match self.phase {
            Phase::InProgress { since, .. } => since,
            Phase::Waiting { .. } | Phase::KeptAlive { .. } | Phase::Quiet => now,
        };
        self.phase = Phase::InProgress {
            since,
            due,
            wait: RETRANSMIT_AFTER,
            urgent: true,
        };
    }

    /// A check leaves now.
    pub(super) fn sent(&mut self, attempt: Attempt) {
        let now = attempt.at;
        if self.attempts.len() == ATTEMPTS_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
        let in_progress = |since, wait: Duration| Phase::InProgress {
            since,
            due: now + wait,
            wait: (wait * 2).min(KEEPALIVE),
            urgent: false,
        };
        self.phase = match self.phase {
            Phase::Waiting { .. } => in_progress(now, RETRANSMIT_AFTER),
            Phase::InProgress { since, wait, .. } => in_progress(since, wait),
            Phase::KeptAlive { .. } | Phase::Quiet => Phase::KeptAlive { due: now + KEEPALIVE },
        };
    }

    /// The check to which an answer belongs.
    pub(super) fn attempt(&self, id: TransactionId) -> Option<Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == id).copied()
    }

    /// A check was answered: it and those before it are awaited no more, and no more are asked.
    pub(super) fn answered(&mut self, id: TransactionId) {
        while let Some(attempt) = self.attempts.pop_front() {
            if attempt.id == id {
                break;
            }
        }
        self.valid = true;
        if !matches!(self.phase, Phase::KeptAlive { .. }) {
            self.phase = Phase::Quiet;
        }
    }

    /// It carries traffic: from now on it is asked for ever.
    pub(super) fn keep_alive(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::KeptAlive { .. }) {
            self.phase = Phase::KeptAlive { due: now + KEEPALIVE };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(now: Instant) -> Pair {
        let path = Path {
            remote: SocketAddr::from(([192, 0, 2, 1], 1000)),
            local: 0,
        };
        Pair::new(path, Priorities { local: 1, remote: 2 }, now)
    }

    fn attempt(number: u8, at: Instant) -> Attempt {
        Attempt {
            id: [number; 12],
            at,
            controlling: true,
            nominates: false,
        }
    }

    #[test]
    fn the_priority_of_a_pair_is_that_of_rfc_8445() {
        let priorities = Priorities { local: 1, remote: 2 };
        assert_eq!(priorities.of_pair(true), (1 << 32) + 4);
        assert_eq!(priorities.of_pair(false), (1 << 32) + 5);
    }

    #[test]
    fn unanswered_checks_leave_after_50_ms_and_twice_as_long_each_time() {
        let start = crate::test_epoch();
        let mut pair = pair(start);
        let mut sent = Vec::new();
        for number in 0..20 {
            let due = pair.due().unwrap().at;
            if pair.is_given_up(due) {
                break;
            }
            sent.push((due - start).as_millis());
            pair.sent(attempt(number, due));
        }
        let expected = [0, 50, 150, 350, 750, 1550, 3150, 5150, 7150, 9150, 11_150, 13_150];
        assert_eq!(sent, expected);
        assert_eq!(pair.attempts.len(), ATTEMPTS_MAX);
    }

    #[test]
    fn a_check_of_the_remote_side_makes_ours_leave_at_once() {
        let start = crate::test_epoch();
        let mut pair = pair(start);
        pair.sent(attempt(0, start));
        pair.sent(attempt(1, start + Duration::from_millis(50)));
        let now = start + Duration::from_millis(70);
        pair.trigger(now);
        assert_eq!(
            pair.due(),
            Some(Due {
                at: now,
                paced: false
            })
        );
        pair.sent(attempt(2, now));
        assert_eq!(pair.due().map(|due| due.at), Some(now + RETRANSMIT_AFTER));
        // A flood of them does not.
        pair.trigger(now + Duration::from_millis(1));
        assert_eq!(pair.due().map(|due| due.at), Some(now + TRIGGERED_GAP));
    }

    #[test]
    fn an_answer_to_any_check_on_its_way_counts_once() {
        let start = crate::test_epoch();
        let mut pair = pair(start);
        pair.sent(attempt(0, start));
        pair.sent(attempt(1, start + Duration::from_millis(50)));
        pair.sent(attempt(2, start + Duration::from_millis(150)));
        assert!(pair.attempt([1; 12]).is_some());
        pair.answered([1; 12]);
        assert!(pair.valid && pair.due().is_none());
        assert!(pair.attempt([0; 12]).is_none() && pair.attempt([1; 12]).is_none());
        assert!(pair.attempt([2; 12]).is_some());
    }
}
