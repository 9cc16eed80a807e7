//! The edge: HTTP, signalling WebSockets, the Twirp API and the page.
//!
//! Turns requests into actions of rooms and effects into frames. Must not know: what they mean.

mod body;
pub mod cors;
mod deflate;
mod expansion;
pub mod http;
mod inflating;
mod pace;
pub mod page;
pub mod path;
pub mod signal;
mod socket;
pub mod twirp;

use crate::config::Config;
use crate::counters::Counters;
use crate::rooms::Rooms;
use body::Bodies;
use room::ConnectionId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, watch};

/// Long lists that are written at the same time: each takes a processor and its memory meanwhile.
const LISTS_AT_ONCE: usize = 2;

/// What every request handler needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Configuration.
    pub config: Arc<Config>,
    /// Rooms.
    pub rooms: Rooms,
    /// Counters.
    pub counters: Arc<Counters>,
    /// Open signal sockets.
    pub sockets: Sockets,
    bodies: Bodies,
    /// Turns to write long lists.
    lists: Arc<Semaphore>,
    connections: Arc<AtomicU64>,
}

/// Counts open signal sockets, so that stopping can wait until they have flushed.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    count: Arc<watch::Sender<usize>>,
}

/// One open socket; dropping it counts it off.
#[derive(Debug)]
pub(crate) struct OpenSocket(Sockets);

impl Sockets {
    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Waits until none is open.
    pub async fn all_closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    pub(crate) fn open(&self) -> OpenSocket {
        self.count.send_modify(|count| *count += 1);
        OpenSocket(self.clone())
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Edge {
    /// An edge in front of these rooms.
    #[must_use]
    pub fn new(config: Arc<Config>, rooms: Rooms, counters: Arc<Counters>) -> Self {
        Self {
            bodies: Bodies::new(config.limit.api_body_bytes()),
            lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)),
            config,
            rooms,
            counters,
            sockets: Sockets::default(),
            connections: Arc::default(),
        }
    }

    /// A number for a new signal connection, never used before.
    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }
}
