//! The queue from a room to one signal connection.
//!
//! Behind a client that does not keep up, what tells a state waits once: a newer state takes the place
//! of the older one. So what a slow
//! client has to catch up with is bounded by what the room is like, not by how often somebody
//! changes it. What tells an event waits in its order, bounded in messages and in bytes.
//!
//! Must not know: sockets, what a room is. What belongs together is told by the messages.

mod queue;

use super::backlog::{Backlog, Pressure};
use super::signal_message::SignalMessage;
use queue::Queue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Messages that may wait. A join into a room is a burst with a message for each of its tracks, of
/// which one participant may have 8,192; a client that lags more is lost.
const MESSAGES_MAX: usize = 16_384;

/// Bytes of events that may wait: what a client has to be told whatever becomes of the room. All
/// descriptions of a session with thousands of tracks are a few MiB.
const EVENT_BYTES_MAX: usize = 16 << 20;

/// As [`EVENT_BYTES_MAX`] while much waits in the room, or in the process: whoever has asked for
/// less than this is not why.
const EVENT_BYTES_HIGH: usize = 1 << 20;

/// As [`EVENT_BYTES_MAX`] while nothing more may wait. An offer and its answer fit.
const EVENT_BYTES_FULL: usize = 64 << 10;

/// What a room hands to a signal connection.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    Message(Arc<SignalMessage>),
    /// The join is refused (only before the first message).
    Refuse(String),
    /// The join is refused because too much waits to be sent (only before the first message).
    Busy,
    /// Flush, then close with 1000.
    Close,
}

/// The room's end. Dropping it ends the connection after what is queued, or at once when the queue
/// was full.
#[derive(Debug)]
pub struct OutgoingSender {
    shared: Arc<Shared>,
}

/// The connection's end.
#[derive(Debug)]
pub struct OutgoingReceiver {
    shared: Arc<Shared>,
}

/// Tells that nothing more comes. Apart from the receiver, so that who is busy with what is queued
/// can be interrupted.
#[derive(Debug)]
pub struct Ending(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The queue was full.
    cut: AtomicBool,
    /// Something was queued, or the sender is gone.
    ready: Notify,
    /// Nothing more comes.
    over: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Since when the last one had waited that was taken, or the first one that was given up.
    taken_since: Option<Instant>,
    sender_gone: bool,
    receiver_closed: bool,
}

/// Something taken from the queue.
#[derive(Debug)]
pub struct Taken {
    /// What.
    pub outgoing: Outgoing,
    /// Since when it, or what it replaced, has waited.
    pub since: Instant,
}

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The client does not keep up.
    Full,
    /// The connection is gone.
    Gone,
}

/// What became of something that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It waits by itself.
    New,
    /// It took the place of something older that the client need not have any more.
    Replaced,
}

/// Makes a queue.
#[must_use]
pub fn outgoing() -> (OutgoingSender, OutgoingReceiver) {
    let shared = Arc::new(Shared::default());
    let sender = OutgoingSender {
        shared: Arc::clone(&shared),
    };
    (sender, OutgoingReceiver { shared })
}

impl OutgoingSender {
    /// Queues without waiting. `backlog` is the room's.
    ///
    /// # Errors
    /// When a bound is reached, which cuts the connection, or nobody reads any more. Drop this then.
    pub fn send(&self, outgoing: Outgoing, backlog: &Backlog) -> Result<Queued, SendError> {
        let queued = {
            let mut state = self.shared.lock();
            if state.receiver_closed {
                return Err(SendError::Gone);
            }
            let queued = state.queue.push(outgoing, Instant::now());
            let bytes_max = match backlog.pressure() {
                Pressure::Low => EVENT_BYTES_MAX,
                Pressure::High => EVENT_BYTES_HIGH,
                Pressure::Full => EVENT_BYTES_FULL,
            };
            if state.queue.len() > MESSAGES_MAX || state.queue.event_bytes() > bytes_max {
                // The client will never have all: what waits is of no use.
                state.give_up();
                drop(state);
                return Err(self.cut());
            }
            queued
        };
        self.shared.ready.notify_one();
        Ok(queued)
    }

    /// Since when the client may not have got what it was sent: what waits, and the last one taken,
    /// which may not be written yet. `None` when nothing was sent.
    #[must_use]
    pub fn unread_since(&self) -> Option<Instant> {
        let state = self.shared.lock();
        state.taken_since.or_else(|| state.queue.oldest())
    }

    fn cut(&self) -> SendError {
        self.shared.cut.store(true, Ordering::Release);
        self.shared.over.notify_one();
        SendError::Full
    }
}

impl Drop for OutgoingSender {
    fn drop(&mut self) {
        self.shared.lock().sender_gone = true;
        self.shared.ready.notify_one();
        self.shared.over.notify_one();
    }
}

impl OutgoingReceiver {
    /// The next one; `None` when the room gave the connection up.
    pub async fn recv(&mut self) -> Option<Taken> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(taken) = state.take() {
                    return Some(taken);
                }
                if state.sender_gone {
                    return None;
                }
            }
            self.shared.ready.notified().await;
        }
    }

    /// What is queued already.
    pub fn try_recv(&mut self) -> Option<Taken> {
        self.shared.lock().take()
    }

    /// The watch over its end, for one task at a time.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.shared))
    }

    /// Takes nothing new any more.
    pub fn close(&mut self) {
        self.shared.lock().receiver_closed = true;
        self.shared.over.notify_one();
    }
}

impl Drop for OutgoingReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.receiver_closed = true;
        // Nobody will read it; its memory is wanted.
        state.give_up();
    }
}

impl Ending {
    /// Waits until nothing more comes: the room gave the connection up, or the receiver closed.
    pub async fn over(&self) {
        self.0.over.notified().await;
    }

    /// The queue was full: what the client still reads of it is of no use, for more is missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.0.cut.load(Ordering::Acquire)
    }
}

impl State {
    fn take(&mut self) -> Option<Taken> {
        let taken = self.queue.pop()?;
        self.taken_since = Some(taken.since);
        Some(taken)
    }

    /// Forgets what waits, but not since when.
    fn give_up(&mut self) {
        self.taken_since = self.taken_since.or_else(|| self.queue.oldest());
        self.queue = Queue::default();
    }
}

impl Shared {
    /// Every change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
