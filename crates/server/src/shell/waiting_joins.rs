//! Joins that wait because too much waits to be sent: each would add all of the room's state to it.
//! They are admitted in order when there is room, or refused with a reason.

use super::backlog::Backlog;
use super::outgoing::{Outgoing, OutgoingSender};
use crate::clock;
use crate::counters::Counters;
use room::{ConnectionId, Join};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Joins of one room that may wait; more are refused at once.
const JOINS_MAX: usize = 64;

/// How long one waits: a little less than the edge waits for a room's first answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether there is room. What frees it are clients that read.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct WaitingJoins {
    /// With the time when each is refused, in order.
    joins: VecDeque<(Instant, Box<Join>, OutgoingSender)>,
}

impl WaitingJoins {
    pub(super) fn is_empty(&self) -> bool {
        self.joins.is_empty()
    }

    pub(super) fn push(
        &mut self,
        join: Box<Join>,
        outgoing: OutgoingSender,
        backlog: &Backlog,
        counters: &Counters,
    ) {
        if self.joins.len() >= JOINS_MAX {
            refuse(&outgoing, backlog, counters);
            return;
        }
        let until = clock::now().monotonic + PATIENCE;
        self.joins.push_back((until, join, outgoing));
    }

    pub(super) fn pop(&mut self) -> Option<(Box<Join>, OutgoingSender)> {
        let (_, join, outgoing) = self.joins.pop_front()?;
        Some((join, outgoing))
    }

    /// Refuses those that have waited long enough.
    pub(super) fn expire(&mut self, backlog: &Backlog, counters: &Counters) {
        let now = clock::now().monotonic;
        while let Some((_, _, outgoing)) = self.joins.pop_front_if(|(until, _, _)| *until <= now) {
            refuse(&outgoing, backlog, counters);
        }
    }

    /// The one who asked is gone.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.joins.retain(|(_, join, _)| join.connection != connection);
    }

    /// When to look again.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.joins.is_empty()).then(|| clock::now().monotonic + LOOK_INTERVAL)
    }
}

fn refuse(outgoing: &OutgoingSender, backlog: &Backlog, counters: &Counters) {
    counters.joins_busy.add();
    counters.joins_refused.add();
    // The one who asked may be gone.
    let _ = outgoing.send(Outgoing::Busy, backlog);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::outgoing::{OutgoingReceiver, outgoing};
    use media::api::{ThreadId, ThreadInfo};

    fn join(serial: u64) -> Box<Join> {
        Box::new(Join {
            connection: ConnectionId(serial),
            claims: Default::default(),
            client: Default::default(),
            settings: Default::default(),
            single_peer_connection: false,
            metadata: None,
            attributes: Vec::new(),
            add_tracks: Vec::new(),
            publisher_offer: None,
            resume: None,
            sender_only: false,
            full: false,
            placement: ThreadInfo {
                thread: ThreadId(0),
                sockets: Vec::new(),
            },
            token_remaining_s: 60,
        })
    }

    fn is_busy(receiver: &mut OutgoingReceiver) -> bool {
        let taken = receiver.try_recv();
        taken.is_some_and(|taken| matches!(taken.outgoing, Outgoing::Busy))
    }

    #[test]
    fn so_many_joins_wait_in_order_and_more_are_told_why_not() {
        let (backlog, counters) = (Backlog::default(), Counters::default());
        let mut waiting = WaitingJoins::default();
        let mut receivers = Vec::new();
        for serial in 0..=JOINS_MAX as u64 {
            let (sender, receiver) = outgoing();
            waiting.push(join(serial), sender, &backlog, &counters);
            receivers.push(receiver);
        }
        let busy: Vec<_> = receivers.iter_mut().map(is_busy).collect();
        assert_eq!(busy.iter().position(|busy| *busy), Some(JOINS_MAX));
        assert_eq!(counters.joins_busy.get(), 1);
        waiting.forget(ConnectionId(0));
        let (first, _) = waiting.pop().expect("they wait");
        assert_eq!(first.connection, ConnectionId(1));
        assert!(waiting.next_look().is_some());
        // None has waited long.
        waiting.expire(&backlog, &counters);
        assert_eq!(waiting.joins.len(), JOINS_MAX - 2);
        // All have.
        for (until, _, _) in &mut waiting.joins {
            *until = until.checked_sub(PATIENCE).expect("not at the origin of time");
        }
        waiting.expire(&backlog, &counters);
        assert!(waiting.is_empty() && waiting.next_look().is_none());
        assert!(receivers[2..].iter_mut().take(3).all(is_busy));
        assert_eq!(counters.joins_busy.get(), JOINS_MAX as u64 - 1);
    }
}
