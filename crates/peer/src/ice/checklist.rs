//! The pairs of one peer, bounded, and the pace of their checks (RFC 8445 §6.1.4).
//!
//! Must not know: messages, who is selected and why.

use super::pair::{Pair, Path};
use std::time::{Duration, Instant};
use wire::stun::TransactionId;

/// Pairs per peer, each of some 200 bytes. More find rarer paths and cost more checks.
pub(super) const PAIRS_MAX: usize = 32;
/// Pace of the first checks of pairs (Ta of RFC 8445 §14.2). Lower joins faster with many candidates
/// and sends more datagrams at once; the RFC's floor is 5 ms.
const CHECK_PACE: Duration = Duration::from_millis(20);
/// Pace of what is sent again.
const RETRANSMIT_PACE: Duration = Duration::from_millis(5);

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Checklist {
    pairs: Vec<Pair>,
    /// When the next check that keeps to the pace may leave.
    free: Option<Instant>,
}

impl Checklist {
    /// Adds a pair. When there are too many, the least promising one goes: one on which nothing was
    /// heard, and of those the one of the lowest priority. True: one had to go.
    pub(super) fn insert(&mut self, pair: Pair, controlling: bool, keep: Option<Path>) -> bool {
        debug_assert!(self.get(pair.path).is_none(), "the caller looked");
        self.pairs.push(pair);
        if self.pairs.len() <= PAIRS_MAX {
            return false;
        }
        let promise = |pair: &Pair| {
            let priority = pair.priorities.of_pair(controlling);
            (keep == Some(pair.path), pair.valid, pair.asked, priority)
        };
        let numbered = self.pairs.iter().enumerate();
        if let Some((least, _)) = numbered.min_by_key(|(_, pair)| promise(pair)) {
            self.pairs.swap_remove(least);
        }
        true
    }

    pub(super) fn get(&self, path: Path) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.path == path)
    }

    pub(super) fn get_mut(&mut self, path: Path) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.path == path)
    }

    /// The pair whose check has this transaction id.
    pub(super) fn of_transaction(&mut self, id: TransactionId) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.attempt(id).is_some())
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.pairs.iter_mut()
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&Pair) -> bool) {
        self.pairs.retain(keep);
        if self.pairs.len() <= 1 {
            self.pairs.shrink_to_fit();
        }
    }

    pub(super) fn clear(&mut self) {
        self.pairs = Vec::new();
        self.free = None;
    }

    /// The pair whose check leaves now: the one that is due for longest, of several the one of the
    /// highest priority. The pace is kept by calling this.
    pub(super) fn next_to_send(&mut self, now: Instant, controlling: bool) -> Option<&mut Pair> {
        let free = self.free;
        let may_leave = |pair: &&mut Pair| {
            let due = pair.due();
            due.is_some_and(|due| due.at <= now && !(due.paced && free.is_some_and(|free| now < free)))
        };
        let ready = self.pairs.iter_mut().filter(may_leave);
        let pair = ready.min_by_key(|pair| {
            let priority = pair.priorities.of_pair(controlling);
            (pair.due().map(|due| due.at), std::cmp::Reverse(priority))
        })?;
        if pair.due().is_some_and(|due| due.paced) {
            let pace = if pair.is_waiting() {
                CHECK_PACE
            } else {
                RETRANSMIT_PACE
            };
            self.free = Some(now + pace);
        }
        Some(pair)
    }

    /// When a check may leave next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let dues = self.pairs.iter().filter_map(|pair| {
            let due = pair.due()?;
            let paced = self.free.filter(|_| due.paced);
            Some(paced.map_or(due.at, |free| free.max(due.at)))
        });
        dues.min()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::{Attempt, Priorities};
    use super::*;
    use std::net::SocketAddr;

    fn pair(port: u16, now: Instant) -> Pair {
        let path = Path {
            remote: SocketAddr::from(([192, 0, 2, 1], port)),
            local: 0,
        };
        let priorities = Priorities {
            local: 1_000_000,
            remote: u32::from(port),
        };
        Pair::new(path, priorities, now)
    }

    fn send_all(list: &mut Checklist, now: Instant) -> Vec<u16> {
        let mut sent = Vec::new();
        while let Some(pair) = list.next_to_send(now, true) {
            sent.push(pair.path.remote.port());
            pair.sent(Attempt {
                id: [0; 12],
                at: now,
                controlling: true,
                nominates: false,
            });
        }
        sent
    }

    #[test]
    fn first_checks_leave_by_priority_and_pace_and_triggered_ones_at_once() {
        let start = crate::test_epoch();
        let mut list = Checklist::default();
        for port in 1..=4 {
            list.insert(pair(port, start), true, None);
        }
        assert_eq!(send_all(&mut list, start), [4]);
        assert_eq!(list.poll_timeout(), Some(start + CHECK_PACE));
        assert_eq!(send_all(&mut list, start + Duration::from_millis(19)), []);
        let triggered = list.iter_mut().find(|pair| pair.path.remote.port() == 1);
        triggered.unwrap().trigger(start + Duration::from_millis(19));
        assert_eq!(send_all(&mut list, start + Duration::from_millis(19)), [1]);
        assert_eq!(send_all(&mut list, start + CHECK_PACE), [3]);
        assert_eq!(send_all(&mut list, start + CHECK_PACE * 2), [2]);
        assert_eq!(list.poll_timeout(), Some(start + CHECK_PACE * 3));
    }

    #[test]
    fn the_least_promising_pair_goes_when_there_are_too_many() {
        let start = crate::test_epoch();
        let mut list = Checklist::default();
        for port in 1..=32 {
            assert!(!list.insert(pair(port, start), true, None));
        }
        list.iter_mut()
            .find(|pair| pair.path.remote.port() == 1)
            .unwrap()
            .asked = true;
        let selected = pair(2, start).path;
        assert!(list.insert(pair(100, start), true, Some(selected)));
        assert_eq!(list.len(), PAIRS_MAX);
        for port in [1, 2, 100] {
            assert!(list.get(pair(port, start).path).is_some(), "{port}");
        }
        assert!(list.get(pair(3, start).path).is_none());
    }
}
