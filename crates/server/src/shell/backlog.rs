//! How many bytes of signal messages wait to be sent, in one room and in the whole process: what is
//! in memory, so a message for many counts once.

pub use room::Pressure;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of one room that may wait. More lets more clients be slow at the same time behind large
/// states; less holds changes back sooner. Rooms share the process's bound: a quarter of it, so that
/// no room alone uses it up.
const ROOM_BYTES_MAX: usize = 64 << 20;

/// Bytes of all rooms that may wait. It is memory that the server needs besides all else.
const PROCESS_BYTES_MAX: usize = 256 << 20;

/// Bytes that wait. A room's counts into the process's as well.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: AtomicUsize,
    process: Option<Arc<Self>>,
}

impl Backlog {
    /// Of a room in this process.
    #[must_use]
    pub fn of_room(process: &Arc<Self>) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            process: Some(Arc::clone(process)),
        }
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Of a room: its own bound or the process's, whichever is nearer.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let own = level(self.bytes(), ROOM_BYTES_MAX);
        let process = self.process.as_ref();
        own.max(process.map_or(Pressure::Low, |process| level(process.bytes(), PROCESS_BYTES_MAX)))
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(process) = &self.process {
            process.add(bytes);
        }
    }

    pub(super) fn subtract(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(process) = &self.process {
            process.subtract(bytes);
        }
    }
}

fn level(bytes: usize, max: usize) -> Pressure {
    if bytes >= max {
        Pressure::Full
    } else if bytes >= max / 2 {
        Pressure::High
    } else {
        Pressure::Low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_that_of_the_nearer_bound() {
        let process = Arc::new(Backlog::default());
        let rooms: Vec<_> = (0..5).map(|_| Backlog::of_room(&process)).collect();
        assert_eq!(rooms[0].pressure(), Pressure::Low);
        rooms[0].add(ROOM_BYTES_MAX / 2);
        assert_eq!(
            (rooms[0].pressure(), rooms[1].pressure()),
            (Pressure::High, Pressure::Low)
        );
        rooms[0].add(ROOM_BYTES_MAX / 2);
        assert_eq!(
            (rooms[0].pressure(), rooms[1].pressure()),
            (Pressure::Full, Pressure::Low)
        );
        for room in &rooms[1..4] {
            room.add(ROOM_BYTES_MAX);
        }
        // Nothing waits in the last one, but in the process.
        assert_eq!(rooms[4].pressure(), Pressure::Full);
        for room in &rooms[..4] {
            room.subtract(ROOM_BYTES_MAX);
        }
        assert_eq!((rooms[4].pressure(), process.bytes()), (Pressure::Low, 0));
    }
}
