//! The only orchestrator of a media thread: it calls down into peers, up tracks, fan-out and down
//! tracks; nothing calls back.

use crate::api::{Command, Event, LocalSocket, ThreadId};
use crate::stats::Stats;
use peer::Outbox;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Limits and options of one worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Which thread this is.
    pub thread: ThreadId,
    /// Most peers.
    pub peers_max: usize,
    /// Our sockets, as advertised in candidates; their position is the `local` index.
    pub sockets: Vec<LocalSocket>,
}

/// One media thread's state machine.
///
/// One turn of its shell: `handle_command`* → `handle_datagram`* → `handle_crossings` →
/// `handle_timeout` when due → `poll_transmit` until false (sending and clearing the outbox each
/// time) → `poll_wake`* → `poll_event`* → wait until `poll_timeout`, a datagram, a command or a wake.
#[derive(Debug)]
pub struct Worker {
    _config: WorkerConfig,
}

/// Rings to and from every other media thread. Made all at once by [`mesh`].
#[derive(Debug)]
pub struct Mesh {}

/// Makes the rings of `threads` media threads: element *i* goes to thread *i*.
/// `capacity` packets per ring and direction.
#[must_use]
pub fn mesh(threads: usize, capacity: usize) -> Vec<Mesh> {
    let _ = capacity;
    (0..threads).map(|_| Mesh {}).collect()
}

#[allow(unused_variables, clippy::todo, missing_docs, reason = "skeleton")]
impl Worker {
    #[must_use]
    pub fn new(config: WorkerConfig, shared: Arc<peer::Shared>, mesh: Mesh) -> Self {
        todo!()
    }
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        todo!()
    }
    /// `local` is the index of the socket; `data` is decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, local: u8, data: &mut [u8]) {
        todo!()
    }
    /// Takes what other threads sent, up to a bound per ring.
    pub fn handle_crossings(&mut self, now: Instant) {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }
    /// Fills the outbox. True: send it, clear it and call again. False: nothing is left.
    pub fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        todo!()
    }
    /// Another thread to wake, because its ring was empty and now is not.
    pub fn poll_wake(&mut self) -> Option<ThreadId> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// What was counted since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        todo!()
    }
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }
}
