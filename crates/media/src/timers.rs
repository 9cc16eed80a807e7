//! Who wants to be called when: a heap of moments, so that idle peers cost nothing per turn.
//!
//! Owns: the heap. Must not know: why somebody wants a call. An entry may be out of date; the
//! owner compares it with what it has armed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Whose timer it is, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// A peer.
    Peer(u32),
    /// An up track.
    Track(u32),
}

/// Room for so many entries is always kept (24 KiB).
const KEPT: usize = 1024;

/// The heap.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Who)>>,
}

impl Timers {
    /// Arms a timer if `due` is earlier than what is `armed` already.
    pub(crate) fn arm(&mut self, who: Who, due: Option<Instant>, armed: &mut Option<Instant>) {
        let Some(due) = due else {
            return;
        };
        if armed.is_none_or(|armed| due < armed) {
            *armed = Some(due);
            self.heap.push(Reverse((due, who)));
        }
    }

    /// Takes the earliest entry that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Instant, Who)> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        let popped = self.heap.pop().map(|Reverse(entry)| entry);
        self.give_back();
        popped
    }

    /// A storm of joins leaves a large heap behind. Half of it goes once three quarters are unused,
    /// so that a heap that breathes does not allocate each time.
    fn give_back(&mut self) {
        let capacity = self.heap.capacity();
        if capacity > KEPT && self.heap.len() < capacity / 4 {
            self.heap.shrink_to(capacity / 2);
        }
    }

    /// The earliest entry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_storm_of_timers_leaves_no_large_heap() {
        let now = crate::testing::epoch();
        let mut timers = Timers::default();
        for index in 0..10_000 {
            let due = now + Duration::from_millis(u64::from(index % 100));
            timers.arm(Who::Peer(index), Some(due), &mut None);
        }
        assert!(timers.heap.capacity() >= 10_000);
        let mut last = now;
        let mut popped = 0;
        while let Some((due, _)) = timers.pop(now + Duration::from_secs(1)) {
            assert!(due >= last);
            last = due;
            popped += 1;
        }
        assert_eq!(popped, 10_000);
        assert!(timers.heap.capacity() <= 2 * KEPT, "{}", timers.heap.capacity());
    }
}
