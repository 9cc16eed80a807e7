//! A room's media events: filled by the dispatcher, which never waits, and read by the room's task.
//!
//! Owns: what may wait, and who loses when that is too much: what comes too late to be worth much is
//! dropped; for what must not be lost, its cause is. The peer whose own messages fill its share, or
//! the one with most of them when all together fill the queue, is taken out of the room; the others
//! lose nothing. What one remote side can cause but a few times is always taken.
//! Must not know: what events lead to.

use media::api::{ChannelLabel, Event, EventKind, PeerKey};
use media::events::Events;
use room::Action;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Messages of one peer that may wait. Busy rooms lag by tens of milliseconds, and a fast sender
/// sends ten thousand a second: more tolerates a longer lag and costs memory under attack.
const PEER_MESSAGES_MAX: usize = 2048;

/// Bytes of one peer's messages that may wait: what 100 Mbit/s bring in a third of a second.
const PEER_BYTES_MAX: usize = 4 << 20;

/// Events that may wait for a room.
const EVENTS_MAX: usize = 8192;

/// Bytes of messages that may wait for a room: eight peers' shares.
const BYTES_MAX: usize = 32 << 20;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits.
    Queued,
    /// It is lost, as its kind may be.
    Dropped,
    /// It waits or is lost with a peer that is taken out of the room.
    PeerCut,
    /// The room is over.
    Stray,
}

/// An empty queue.
pub(crate) fn event_queue() -> (EventSender, EventReceiver) {
    let queue = Arc::new(Mutex::new(Queue::default()));
    (EventSender(Arc::clone(&queue)), EventReceiver(queue))
}

/// For the dispatcher. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EventSender(Arc<Mutex<Queue>>);

/// For the room's task; dropping it closes the queue.
#[derive(Debug)]
pub(crate) struct EventReceiver(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    events: Events,
    /// What waits of each peer.
    shares: BTreeMap<PeerKey, Share>,
    /// Of all peers together.
    total: Share,
    /// Peers that lost. As many as the room had peers at most; what else they send is nothing.
    cut: BTreeSet<PeerKey>,
    /// Those of them that the room has not been told of.
    untold: Vec<PeerKey>,
    waker: Option<Waker>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    messages: usize,
    bytes: usize,
}

impl Share {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: usize) {
        self.messages -= 1;
        self.bytes -= bytes;
    }

    fn reaches(self, messages: usize, bytes: usize) -> bool {
        self.messages >= messages || self.bytes >= bytes
    }
}

/// The queue stays consistent whatever panics: nothing in between does.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventSender {
    /// Hands over an event. Never waits.
    pub(crate) fn push(&self, event: Event) -> Fate {
        let mut queue = lock(&self.0);
        if queue.closed {
            return Fate::Stray;
        }
        let fate = queue.push(event);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        fate
    }
}

impl EventReceiver {
    /// The oldest event, as what the room takes.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Action> {
        let mut queue = lock(&self.0);
        match queue.pop() {
            Some(action) => Poll::Ready(action),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        *queue = Queue {
            closed: true,
            ..Queue::default()
        };
    }
}

impl Queue {
    fn push(&mut self, event: Event) -> Fate {
        let fate = match weight(&event.kind) {
            Weight::Always => Fate::Queued,
            Weight::Droppable if self.total.messages >= EVENTS_MAX / 2 => return Fate::Dropped,
            Weight::Droppable => Fate::Queued,
            Weight::Lossy(peer, bytes) => {
                let share = self.share(peer);
                let crowded = share.reaches(PEER_MESSAGES_MAX / 2, PEER_BYTES_MAX / 2)
                    || self.total.reaches(EVENTS_MAX / 2, BYTES_MAX / 2);
                if crowded || self.cut.contains(&peer) {
                    return Fate::Dropped;
                }
                self.add(peer, bytes);
                Fate::Queued
            }
            Weight::Owed(peer, bytes) => {
                if self.cut.contains(&peer) {
                    return Fate::Dropped;
                }
                if self.share(peer).reaches(PEER_MESSAGES_MAX, PEER_BYTES_MAX) {
                    self.cut(peer);
                    return Fate::PeerCut;
                }
                self.add(peer, bytes);
                if self.total.reaches(EVENTS_MAX, BYTES_MAX) {
                    self.cut_largest();
                    Fate::PeerCut
                } else {
                    Fate::Queued
                }
            }
        };
        self.events.push(event.room, event.kind);
        fate
    }

    fn share(&self, peer: PeerKey) -> Share {
        self.shares.get(&peer).copied().unwrap_or_default()
    }

    fn add(&mut self, peer: PeerKey, bytes: usize) {
        self.total.add(bytes);
        self.shares.entry(peer).or_default().add(bytes);
    }

    fn cut_largest(&mut self) {
        let by_bytes = self.total.bytes >= BYTES_MAX;
        let weigh = |share: &Share| if by_bytes { share.bytes } else { share.messages };
        let largest = self.shares.iter().max_by_key(|(_, share)| weigh(share));
        if let Some((&peer, _)) = largest {
            self.cut(peer);
        }
    }

    /// What waits of that peer counts no longer; it is passed over when its turn comes.
    fn cut(&mut self, peer: PeerKey) {
        let share = self.shares.remove(&peer).unwrap_or_default();
        self.total.messages -= share.messages;
        self.total.bytes -= share.bytes;
        self.cut.insert(peer);
        self.untold.push(peer);
    }

    fn pop(&mut self) -> Option<Action> {
        if let Some(peer) = self.untold.pop() {
            return Some(Action::PeerOverran { peer });
        }
        while let Some(event) = self.events.pop() {
            if let Weight::Lossy(peer, bytes) | Weight::Owed(peer, bytes) = weight(&event.kind) {
                if self.cut.contains(&peer) {
                    continue;
                }
                self.total.take(bytes);
                if let Some(share) = self.shares.get_mut(&peer) {
                    share.take(bytes);
                    if share.messages == 0 {
                        self.shares.remove(&peer);
                    }
                }
            }
            return Some(Action::Media(event));
        }
        None
    }
}

/// What an event counts.
#[derive(Clone, Copy, Debug)]
enum Weight {
    /// Few whatever a remote side does: they follow states, and of many only the last one waits.
    Always,
    /// Worth nothing when late.
    Droppable,
    /// Of a peer, to be dropped when there is too much.
    Lossy(PeerKey, usize),
    /// Of a peer, not to be lost.
    Owed(PeerKey, usize),
}

fn weight(kind: &EventKind) -> Weight {
    match kind {
        EventKind::Message { peer, label, data } => match label {
            ChannelLabel::Lossy | ChannelLabel::DataTrack => Weight::Lossy(*peer, data.len()),
            ChannelLabel::Reliable | ChannelLabel::Unlabelled => Weight::Owed(*peer, data.len()),
        },
        EventKind::ChannelOpen { peer, .. } | EventKind::ChannelClosed { peer, .. } => Weight::Owed(*peer, 0),
        EventKind::AudioLevels { .. } | EventKind::Windows { .. } | EventKind::DownStarted { .. } => {
            Weight::Droppable
        }
        EventKind::IceConnected { .. }
        | EventKind::IceDisconnected { .. }
        | EventKind::PeerConnected { .. }
        | EventKind::HandshakeFailed { .. }
        | EventKind::PeerFailed { .. }
        | EventKind::LayerStarted { .. }
        | EventKind::LayerStopped { .. }
        | EventKind::MessageDropped { .. } => Weight::Always,
    }
}

#[cfg(test)]
mod tests;
