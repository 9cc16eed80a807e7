//! The edge: HTTP, signalling WebSockets, the Twirp API and the page.
//!
//! Turns requests into actions of rooms and effects into frames. Must not know: what they mean.

pub mod cors;
pub mod http;
pub mod page;
pub mod path;
pub mod signal;
mod socket;
pub mod twirp;

use crate::config::Config;
use crate::counters::Counters;
use crate::rooms::Rooms;
use room::ConnectionId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What every request handler needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Configuration.
    pub config: Arc<Config>,
    /// Rooms.
    pub rooms: Rooms,
    /// Counters.
    pub counters: Arc<Counters>,
    connections: Arc<AtomicU64>,
}

impl Edge {
    /// An edge in front of these rooms.
    #[must_use]
    pub fn new(config: Arc<Config>, rooms: Rooms, counters: Arc<Counters>) -> Self {
        Self {
            config,
            rooms,
            counters,
            connections: Arc::default(),
        }
    }

    /// A number for a new signal connection, never used before.
    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }
}
