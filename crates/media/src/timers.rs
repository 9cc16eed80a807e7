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
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// The earliest entry.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }
}
