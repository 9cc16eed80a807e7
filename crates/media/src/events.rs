//! What waits to be told to the control plane, bounded.
//!
//! Owns: the queue. Must not know: what events mean.

use crate::api::{Event, EventKind, RoomKey};
use std::collections::VecDeque;

/// Data messages that may wait. More make a slow control plane slower to notice.
const MESSAGES_MAX: usize = 4096;
/// Bytes of data messages that may wait.
const BYTES_MAX: usize = 16 << 20;

/// The queue. Messages are limited; other events are few (their number follows the peers' states)
/// and always taken.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    messages: usize,
    bytes: usize,
}

impl Events {
    /// Whether one more message may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.messages < MESSAGES_MAX && self.bytes < BYTES_MAX
    }

    /// Queues an event.
    pub(crate) fn push(&mut self, room: RoomKey, kind: EventKind) {
        if let EventKind::Message { data, .. } = &kind {
            self.messages += 1;
            self.bytes += data.len();
        }
        self.queue.push_back(Event { room, kind });
    }

    /// The oldest event.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        if let EventKind::Message { data, .. } = &event.kind {
            self.messages -= 1;
            self.bytes -= data.len();
        }
        Some(event)
    }
}
