//! The queue from a room to one signal connection, bounded in messages and in bytes.

use prost::Message as _;
use protocol::proto;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

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

/// The room's end. Dropping it ends the connection after what is queued.
#[derive(Debug)]
pub struct OutgoingSender {
    queue: mpsc::Sender<Outgoing>,
    waiting: Arc<AtomicUsize>,
}

/// The connection's end.
#[derive(Debug)]
pub struct OutgoingReceiver {
    queue: mpsc::Receiver<Outgoing>,
    waiting: Arc<AtomicUsize>,
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
    let waiting = Arc::new(AtomicUsize::new(0));
    let sender = OutgoingSender {
        queue: sender,
        waiting: Arc::clone(&waiting),
    };
    let receiver = OutgoingReceiver {
        queue: receiver,
        waiting,
    };
    (sender, receiver)
}

impl OutgoingSender {
    /// Queues without waiting.
    ///
    /// # Errors
    /// When a bound is reached or nobody reads any more. The connection is to be given up then.
    pub fn send(&self, outgoing: Outgoing) -> Result<(), SendError> {
        let bytes = size(&outgoing);
        if self.waiting.load(Ordering::Relaxed).saturating_add(bytes) > BYTES_MAX {
            return Err(SendError::Full);
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.queue.try_send(outgoing).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendError::Full,
            mpsc::error::TrySendError::Closed(_) => SendError::Gone,
        })
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

    /// The room gave the connection up.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        self.queue.is_closed()
    }

    /// Takes nothing new any more.
    pub fn close(&mut self) {
        self.queue.close();
    }

    fn taken(&self, outgoing: &Outgoing) {
        self.waiting.fetch_sub(size(outgoing), Ordering::Relaxed);
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
