//! Which sockets dropped datagrams unread, and when: what is missing of who sends there is not asked
//! for again.
//!
//! Must not know: how a socket is found to be full.

use super::Worker;
use super::receive::Hand;
use crate::api::ThreadId;
use crate::crossing::Control;
use std::time::Instant;

/// When each socket last dropped something.
#[derive(Debug, Default)]
pub(crate) struct Dropped {
    /// Sockets of ours, by index.
    here: Vec<Option<Instant>>,
    /// Of other threads, through which datagrams of our peers come when all share one port.
    elsewhere: Vec<Option<Instant>>,
    /// Threads to which we handed datagrams over: they want to know.
    told: Vec<bool>,
}

impl Dropped {
    pub(crate) fn new(sockets: usize, threads: usize) -> Self {
        Self {
            here: vec![None; sockets],
            elsewhere: vec![None; threads],
            told: vec![false; threads],
        }
    }

    /// When the socket through which a datagram came dropped something.
    pub(crate) fn at(&self, local: u8, hand: Hand) -> Option<Instant> {
        match hand {
            Hand::First => *self.here.get(usize::from(local))?,
            Hand::Over { thread, .. } => *self.elsewhere.get(usize::from(thread.0))?,
        }
    }

    /// A thread gets datagrams through our sockets.
    pub(crate) fn hands_over(&mut self, thread: ThreadId) {
        if let Some(told) = self.told.get_mut(usize::from(thread.0)) {
            *told = true;
        }
    }

    /// A thread dropped something that may have been for us.
    pub(crate) fn elsewhere(&mut self, thread: ThreadId, at: Instant) {
        if let Some(dropped) = self.elsewhere.get_mut(usize::from(thread.0)) {
            *dropped = Some(at);
        }
    }
}

impl Worker {
    pub(crate) fn dropped_here(&mut self, now: Instant, local: u8) {
        let Some(dropped) = self.dropped.here.get_mut(usize::from(local)) else {
            return;
        };
        // Once a turn is enough.
        if dropped.replace(now) == Some(now) {
            return;
        }
        for thread in 0..self.dropped.told.len() {
            if self.dropped.told.get(thread) == Some(&true) {
                self.tell(ThreadId(thread as u8), Control::Dropped { at: now });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_socket_drops_says_nothing_of_another() {
        let now = crate::testing::epoch();
        let mut dropped = Dropped::new(2, 2);
        dropped.here[1] = Some(now);
        dropped.elsewhere(ThreadId(1), now);
        let over = |thread| Hand::Over {
            thread: ThreadId(thread),
            familiar: true,
        };
        assert_eq!(dropped.at(0, Hand::First), None);
        assert_eq!(dropped.at(1, Hand::First), Some(now));
        assert_eq!(dropped.at(0, over(1)), Some(now));
        assert_eq!(dropped.at(0, over(0)), None);
        assert_eq!(dropped.at(7, Hand::First), None);
    }
}
