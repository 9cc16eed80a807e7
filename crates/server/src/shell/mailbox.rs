//! A room's mailbox: requests of connections, calls, and media events, each in a lane of its own.
//!
//! Owns: what may wait and for how long a lane may keep the others from the room. Requests are
//! counted in messages and in bytes as decoded, per connection and per room: a connection that
//! used up its share is not read from any more, so what else it sends waits on the wire. Calls of
//! the API and joins have their own places; media events their own queue ([`super::event_queue`]).
//! Must not know: what inputs mean.

use super::event_queue::EventReceiver;
use super::room_task::Input;
use room::{Action, ConnectionId};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Requests of all connections that may wait for a room. Full: connections are not read from. Larger
/// tolerates longer bursts and costs memory only when used.
const REQUESTS_MAX: usize = 1024;

/// Calls and joins that may wait for a room. Full: the callers wait.
const CALLS_MAX: usize = 256;

/// Requests of one connection that may wait. One would cost a round of tasks for each request of a
/// joining client, many would let a few connections fill the room's places and delay everybody by as
/// many of the dearest requests.
const CONNECTION_REQUESTS_MAX: usize = 4;

/// Decoded bytes of one connection that may wait, KiB. A larger request waits by itself.
const CONNECTION_KIB_MAX: u32 = 1024;

/// Decoded bytes of all connections that may wait for a room, KiB: 32 times one connection's share.
/// More costs memory under attack, less lets fewer attackers keep others waiting.
const ROOM_KIB_MAX: u32 = 32 * 1024;

/// How much more of the room's time a busy lane may have had than one that now has something to do.
/// Larger: a lane that was idle delays the others for longer when it fills at once.
const CREDIT: Duration = Duration::from_millis(20);

/// The way to a room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    // Boxed: channels hold places for 32 inputs at least, and most rooms have none waiting.
    calls: mpsc::Sender<Box<Input>>,
    requests: mpsc::Sender<Box<Queued>>,
    bytes: Arc<Semaphore>,
}

/// The room is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// A request that waits.
#[derive(Debug)]
struct Queued {
    action: Action,
    charge: Option<Charge>,
}

/// What a request takes of its connection's and its room's share while it waits.
#[derive(Debug)]
struct Charge(#[expect(dead_code, reason = "held until the request is taken")] [OwnedSemaphorePermit; 3]);

impl Mailbox {
    /// A mailbox and what the room's task reads from it.
    pub(crate) fn new(events: EventReceiver) -> (Self, Inbox) {
        let (calls, called) = mpsc::channel(CALLS_MAX);
        let (requests, requested) = mpsc::channel(REQUESTS_MAX);
        let bytes = Arc::new(Semaphore::new(ROOM_KIB_MAX as usize));
        let inbox = Inbox {
            calls: called,
            requests: requested,
            events,
            used: [Duration::ZERO; LANES],
        };
        let mailbox = Self {
            calls,
            requests,
            bytes,
        };
        (mailbox, inbox)
    }

    /// Hands in a join, a call, or what else is not a connection's. Waits while too many do.
    ///
    /// # Errors
    /// When the room is over.
    pub async fn call(&self, input: Input) -> Result<(), Over> {
        self.calls.send(Box::new(input)).await.map_err(|_| Over)
    }

    /// Hands in what must not be lost, whoever waits: at once, or as soon as there is a place.
    pub fn tell(&self, input: Input) {
        if let Err(mpsc::error::TrySendError::Full(input)) = self.calls.try_send(Box::new(input))
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let calls = self.calls.clone();
            runtime.spawn(async move { calls.send(input).await });
        }
    }

    /// Whether the room is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }

    /// Until the room is over.
    pub async fn closed(&self) {
        self.calls.closed().await;
    }

    /// The way of one connection.
    #[must_use]
    pub fn line(&self, connection: ConnectionId) -> Line {
        Line {
            connection,
            mailbox: self.clone(),
            answered: false,
            places: Arc::new(Semaphore::new(CONNECTION_REQUESTS_MAX)),
            bytes: Arc::new(Semaphore::new(CONNECTION_KIB_MAX as usize)),
        }
    }
}

/// The way of one connection to its room, with its own share of what may wait. However it ends,
/// dropping it tells the room.
#[derive(Debug)]
pub struct Line {
    connection: ConnectionId,
    mailbox: Mailbox,
    answered: bool,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Line {
    /// Hands in a request of so many bytes, as soon as the connection's share and the room's allow.
    pub fn send(
        &self,
        request: protocol::proto::SignalRequest,
        bytes: usize,
    ) -> impl Future<Output = Result<(), Over>> + Send + 'static {
        let places = Arc::clone(&self.places);
        let own = Arc::clone(&self.bytes);
        let room = Arc::clone(&self.mailbox.bytes);
        let requests = self.mailbox.requests.clone();
        let action = Action::Signal {
            connection: self.connection,
            request,
        };
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        // A request larger than a share waits for the whole of it, not for ever. One takes no more than
        // a quarter of the room's, or it would keep all others waiting until nothing else waits.
        async move {
            let place = places.acquire_owned().await.map_err(|_| Over)?;
            let own = own.acquire_many_owned(kib.min(CONNECTION_KIB_MAX)).await;
            let room = room.acquire_many_owned(kib.min(ROOM_KIB_MAX / 4)).await;
            let charge = Some(Charge([place, own.map_err(|_| Over)?, room.map_err(|_| Over)?]));
            requests
                .send(Box::new(Queued { action, charge }))
                .await
                .map_err(|_| Over)
        }
    }

    /// The room answered the join: from now on this connection's end comes after its requests, before
    /// that it has to come after the join.
    pub fn answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let action = Action::SignalClosed {
            connection: self.connection,
        };
        if !self.answered {
            return self.mailbox.tell(Input::Action(action));
        }
        let queued = Box::new(Queued { action, charge: None });
        // A room that is over needs no telling; one that is busy is told later.
        if let Err(mpsc::error::TrySendError::Full(queued)) = self.mailbox.requests.try_send(queued)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let requests = self.mailbox.requests.clone();
            runtime.spawn(async move { requests.send(queued).await });
        }
    }
}

const CALLS: usize = 0;
const EVENTS: usize = 1;
const REQUESTS: usize = 2;
const LANES: usize = 3;

/// What a room's task reads. The lane that has had least of the room's time comes first.
#[derive(Debug)]
pub(crate) struct Inbox {
    calls: mpsc::Receiver<Box<Input>>,
    requests: mpsc::Receiver<Box<Queued>>,
    events: EventReceiver,
    /// Time that the room has spent on each lane.
    used: [Duration; LANES],
}

/// An input, and where it came from.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) input: Input,
    seat: Seat,
}

/// Where an input came from, and its charge, which is given back when it has been dealt with.
#[derive(Debug)]
pub(crate) struct Seat {
    lane: usize,
    _charge: Option<Charge>,
}

impl Taken {
    /// The input, and what [`Inbox::done`] takes.
    pub(crate) fn split(self) -> (Input, Seat) {
        (self.input, self.seat)
    }
}

impl Inbox {
    /// The next input, `None` when nobody can send any more.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let mut lanes = [CALLS, EVENTS, REQUESTS];
        lanes.sort_by_key(|lane| self.used[*lane]);
        for lane in lanes {
            let taken = match lane {
                CALLS => match self.calls.poll_recv(cx) {
                    Poll::Ready(Some(input)) => Some((*input, None)),
                    // The directory is gone: the process ends.
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => None,
                },
                EVENTS => match self.events.poll_next(cx) {
                    Poll::Ready(action) => Some((Input::Action(action), None)),
                    Poll::Pending => None,
                },
                _ => match self.requests.poll_recv(cx) {
                    Poll::Ready(Some(queued)) => Some((Input::Action(queued.action), queued.charge)),
                    Poll::Ready(None) | Poll::Pending => None,
                },
            };
            if let Some((input, charge)) = taken {
                let seat = Seat {
                    lane,
                    _charge: charge,
                };
                return Poll::Ready(Some(Taken { input, seat }));
            }
        }
        Poll::Pending
    }

    /// The next input.
    pub(crate) async fn next(&mut self) -> Option<Taken> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// An input has been dealt with, in so much time.
    #[expect(clippy::needless_pass_by_value, reason = "the charge ends here")]
    pub(crate) fn done(&mut self, seat: Seat, took: Duration) {
        let spent = self.used[seat.lane] + took;
        self.used[seat.lane] = spent;
        for used in &mut self.used {
            *used = (*used).max(spent.saturating_sub(CREDIT));
        }
    }
}

#[cfg(test)]
mod tests;
