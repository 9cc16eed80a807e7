//! Reliable messages that wait for a subscriber's data channel.
//!
//! Owns: their order and the bound on them. Must not know: SCTP, which has its own, smaller buffer:
//! what waits here is shared by all who wait for it, what SCTP holds is a copy for each.
//! Nothing is lost for a reader that is merely slower than a burst.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that may wait for one peer: a stream of 5 MB sent at once to a reader on a slow link. More
/// rides out longer bursts; less bounds what a reader that stopped reading costs. A message that
/// finds it full is dropped and counted.
pub(crate) const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a message costs besides its bytes: its place in the queue and the head of its allocation.
/// Counted, so that short messages are bounded too.
const OVERHEAD_BYTES: usize = 48;

/// The queue of one peer.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    waiting: VecDeque<(Instant, Arc<[u8]>)>,
    bytes: usize,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a message, behind all others; false when it is full.
    pub(crate) fn push(&mut self, now: Instant, data: &Arc<[u8]>) -> bool {
        let bytes = self.bytes + cost(data);
        if bytes > BACKLOG_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.waiting.push_back((now, Arc::clone(data)));
        true
    }

    /// Gives messages to `send` in order as long as it takes them.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&[u8]) -> bool) {
        while let Some((_, next)) = self.waiting.front() {
            if !send(next) {
                return;
            }
            self.bytes -= cost(next);
            self.waiting.pop_front();
        }
    }

    /// Forgets what has waited for longer than `time`; how many they were.
    pub(crate) fn expire(&mut self, now: Instant, time: Duration) -> u64 {
        let mut count = 0;
        while let Some((since, next)) = self.waiting.front()
            && now.saturating_duration_since(*since) > time
        {
            self.bytes -= cost(next);
            self.waiting.pop_front();
            count += 1;
        }
        count
    }

    /// Forgets all; how many they were.
    pub(crate) fn clear(&mut self) -> u64 {
        self.bytes = 0;
        let count = self.waiting.len() as u64;
        self.waiting = VecDeque::new();
        count
    }
}

fn cost(data: &[u8]) -> usize {
    data.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::epoch;

    #[test]
    fn messages_keep_their_order_and_wait_for_room() {
        let mut backlog = Backlog::default();
        for i in 0..5u8 {
            assert!(backlog.push(epoch(), &Arc::from([i])));
        }
        let mut sent = Vec::new();
        for room in [2, 0, 3] {
            let target = sent.len() + room;
            backlog.drain(|data| {
                let fits = sent.len() < target;
                if fits {
                    sent.push(data[0]);
                }
                fits
            });
        }
        assert_eq!(sent, [0, 1, 2, 3, 4]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_full_backlog_refuses_and_takes_again_once_there_is_room() {
        let mut backlog = Backlog::default();
        let message: Arc<[u8]> = vec![0; 64 * 1024].into();
        let fit = BACKLOG_BYTES_MAX / cost(&message);
        for _ in 0..fit {
            assert!(backlog.push(epoch(), &message));
        }
        assert!(!backlog.push(epoch(), &message));
        let mut one = true;
        backlog.drain(|_| std::mem::take(&mut one));
        assert!(backlog.push(epoch(), &message));
        assert_eq!(backlog.clear(), fit as u64);
        assert!(backlog.push(epoch(), &message));
    }

    #[test]
    fn messages_without_bytes_are_bounded() {
        let mut backlog = Backlog::default();
        let empty: Arc<[u8]> = Arc::from([]);
        while backlog.push(epoch(), &empty) {}
        assert_eq!(backlog.clear(), (BACKLOG_BYTES_MAX / OVERHEAD_BYTES) as u64);
    }

    #[test]
    fn what_waited_too_long_is_forgotten_and_the_rest_stays() {
        let mut backlog = Backlog::default();
        let (now, ms) = (epoch(), Duration::from_millis);
        for passed in [0, 10, 60] {
            assert!(backlog.push(now + ms(passed), &Arc::from([passed as u8])));
        }
        assert_eq!(backlog.expire(now + ms(50), ms(50)), 0);
        assert_eq!(backlog.expire(now + ms(61), ms(50)), 2);
        let mut left = Vec::new();
        backlog.drain(|data| {
            left.extend_from_slice(data);
            true
        });
        assert_eq!((left, backlog.bytes), (vec![60], 0));
    }
}
