//! Waking a thread without a system call when it is awake anyway.
//!
//! Owns: the agreement between a waiting thread and those that have work for it.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use udp::EventFd;

/// The thread is running and will look at its queues again before it waits.
const AWAKE: u8 = 0;
/// As [`AWAKE`], and something was queued since it last looked.
const NOTIFIED: u8 = 1;
/// The thread waits; whoever queues something must signal it.
const WAITING: u8 = 2;

/// One thread's doorbell.
#[derive(Debug)]
pub(crate) struct Wake {
    state: AtomicU8,
    event: EventFd,
}

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: AtomicU8::new(AWAKE),
            event: EventFd::new()?,
        })
    }

    /// Call after queueing something. Costs a system call only when the thread waits.
    pub(crate) fn ring(&self) {
        if self.state.swap(NOTIFIED, Ordering::SeqCst) == WAITING {
            self.event.wake();
        }
    }

    /// The thread is about to look at its queues.
    pub(crate) fn begin_turn(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    /// The thread wants to wait. False: something was queued since [`Self::begin_turn`].
    pub(crate) fn begin_wait(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, WAITING, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    /// What becomes readable when a waiting thread is rung.
    pub(crate) const fn event(&self) -> &EventFd {
        &self.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use udp::PollSet;

    #[test]
    fn only_a_waiting_thread_is_signalled_and_no_ring_is_lost() {
        let wake = Wake::new().unwrap();
        let mut set = PollSet::new(wake.event(), &[]);
        let mut signalled = || set.wait(Some(Duration::ZERO)).unwrap();
        wake.begin_turn();
        wake.ring();
        assert!(!signalled(), "it was awake");
        assert!(!wake.begin_wait(), "but it must look again before it waits");
        wake.begin_turn();
        assert!(wake.begin_wait());
        wake.ring();
        wake.ring();
        assert!(signalled());
    }
}
