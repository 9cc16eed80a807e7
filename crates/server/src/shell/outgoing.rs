//! The queue from a room to one signal connection, bounded in messages and in bytes.

use prost::Message as _;
use protocol::proto;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::{Notify, mpsc};

/// Messages that may wait. A join into a room is a burst with a message for each of its tracks, of
/// which one participant may have 8,192; a client that lags more is lost.
const MESSAGES_MAX: usize = 16_384;

/// What a message costs besides its bytes.
const OVERHEAD_BYTES: usize = 256;

/// Bytes that may wait. A join response that lists 5,000 participants is about 5 MiB.
const BYTES_MAX: usize = 16 << 20;

/// What a room hands to a signal connection.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    Message(Box<proto::SignalResponse>),
    /// The join is refused (only before the first message).
    Refuse(String),
    /// Flush, then close with 1000.
    Close,
}

/// The room's end. Dropping it ends the connection after what is queued, or at once when the queue
/// was full.
#[derive(Debug)]
pub struct OutgoingSender {
    queue: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

/// The connection's end.
#[derive(Debug)]
pub struct OutgoingReceiver {
    queue: mpsc::Receiver<Outgoing>,
    shared: Arc<Shared>,
}

/// Tells that nothing more comes. Apart from the receiver, so that who is busy with what is queued
/// can be interrupted.
#[derive(Debug)]
pub struct Ending(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Bytes.
    waiting: AtomicUsize,
    /// The queue was full.
    cut: AtomicBool,
    /// Nothing more comes.
    over: Notify,
}

/// Why something was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The client does not keep up.
    Full,
    /// The connection is gone.
    Gone,
}

/// Makes a queue.
#[must_use]
pub fn outgoing() -> (OutgoingSender, OutgoingReceiver) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let shared = Arc::new(Shared::default());
    let sender = OutgoingSender {
        queue: sender,
        shared: Arc::clone(&shared),
    };
    let receiver = OutgoingReceiver {
        queue: receiver,
        shared,
    };
    (sender, receiver)
}

impl OutgoingSender {
    /// Queues without waiting.
    ///
    /// # Errors
    /// When a bound is reached, which cuts the connection, or nobody reads any more. Drop this then.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), SendError> {
        let bytes = size(&outgoing);
        if self.shared.waiting.load(Ordering::Relaxed).saturating_add(bytes) > BYTES_MAX {
            return Err(self.cut());
        }
        self.shared.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.queue.try_send(outgoing).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.cut(),
            mpsc::error::TrySendError::Closed(_) => SendError::Gone,
        })
    }

    fn cut(&self) -> SendError {
        self.shared.cut.store(true, Ordering::Release);
        self.shared.over.notify_one();
        SendError::Full
    }
}

impl Drop for OutgoingSender {
    fn drop(&mut self) {
        self.shared.over.notify_one();
    }
}

impl OutgoingReceiver {
    /// The next one; `None` when the room gave the connection up.
    pub async fn recv(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.recv().await?;
        self.taken(&outgoing);
        Some(outgoing)
    }

    /// What is queued already.
    pub fn try_recv(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.try_recv().ok()?;
        self.taken(&outgoing);
        Some(outgoing)
    }

    /// The watch over its end, for one task at a time.
    #[must_use]
    pub fn ending(&self) -> Ending {
        Ending(Arc::clone(&self.shared))
    }

    /// Takes nothing new any more.
    pub fn close(&mut self) {
        self.queue.close();
        self.shared.over.notify_one();
    }

    fn taken(&self, outgoing: &Outgoing) {
        self.shared.waiting.fetch_sub(size(outgoing), Ordering::Relaxed);
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

fn size(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Message(message) => OVERHEAD_BYTES + message.encoded_len(),
        Outgoing::Refuse(text) => OVERHEAD_BYTES + text.len(),
        Outgoing::Close => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::proto::signal_response::Message;

    fn message(bytes: usize) -> Outgoing {
        Outgoing::Message(Box::new(proto::SignalResponse {
            message: Some(Message::RefreshToken("x".repeat(bytes))),
        }))
    }

    #[test]
    fn messages_and_bytes_are_bounded() {
        let (sender, mut receiver) = outgoing();
        for _ in 0..MESSAGES_MAX {
            assert_eq!(sender.send(message(1)), Ok(()));
        }
        assert_eq!(sender.send(message(1)), Err(SendError::Full));
        while receiver.try_recv().is_some() {}

        let (sender, mut receiver) = outgoing();
        for _ in 0..3 {
            assert_eq!(sender.send(message(5 << 20)), Ok(()));
        }
        assert_eq!(sender.send(message(5 << 20)), Err(SendError::Full));
        assert!(receiver.try_recv().is_some());
        assert_eq!(sender.send(message(5 << 20)), Ok(()));
        receiver.close();
        assert_eq!(sender.send(Outgoing::Close), Err(SendError::Gone));
    }
}
