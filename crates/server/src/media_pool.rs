//! The media threads of this process: starts them, places peers on them and carries commands.
//!
//! Must not know: rooms' rules, SDP. Keys and addresses only.

use media::api::{Command, Event, ThreadId, ThreadInfo};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use tokio::sync::mpsc;

/// How media threads get their UDP ports.
#[derive(Clone, Debug)]
pub enum SocketPlan {
    /// One port for all threads (`SO_REUSEPORT`); 0 lets the kernel pick one per address.
    Single(u16),
    /// A pool of ports: each thread takes its own first free one, per address.
    Range(RangeInclusive<u16>),
}

/// Options of [`MediaPool::start`].
#[derive(Clone, Debug)]
pub struct MediaPoolConfig {
    /// How many media threads, at least 1. See [`default_threads`].
    pub threads: usize,
    /// UDP ports.
    pub sockets: SocketPlan,
    /// Addresses to bind. An unspecified address stands for every address of that family on this
    /// machine's interfaces (see [`Self::loopback`]). Empty: both unspecified addresses.
    pub bind: Vec<IpAddr>,
    /// Whether unspecified addresses include loopback ones.
    pub loopback: bool,
    /// Advertise these instead of the bound addresses of the same family (`rtc.node_ip`).
    pub advertise: Vec<IpAddr>,
    /// Pin thread *i* to CPU *i*.
    pub pin: bool,
    /// Most peers per thread; at this number a thread takes no peer that can go elsewhere.
    pub peers_per_thread: usize,
    /// Place the peers of one room round-robin over all threads.
    pub spread: bool,
    /// Commands that may wait for one thread.
    pub commands_max: usize,
    /// Packets that may wait in each direction between two threads.
    pub crossings_max: usize,
    /// Socket receive buffer in bytes.
    pub recv_buffer_bytes: usize,
    /// Socket send buffer in bytes.
    pub send_buffer_bytes: usize,
}

impl Default for MediaPoolConfig {
    fn default() -> Self {
        Self {
            threads: default_threads(),
            sockets: SocketPlan::Single(7882),
            bind: Vec::new(),
            loopback: false,
            advertise: Vec::new(),
            pin: false,
            peers_per_thread: 4000,
            spread: false,
            commands_max: 4096,
            crossings_max: 4096,
            recv_buffer_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
        }
    }
}

/// One thread per core, less one when there are more than 4.
#[must_use]
pub fn default_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 4 { cores - 1 } else { cores }
}

/// The command was not delivered: the thread's queue is full or the thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError;

/// What one media thread counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStats {
    /// Peers placed here and not closed.
    pub peers: u64,
    /// Turns of the event loop.
    pub turns: u64,
    /// CPU time of the thread in nanoseconds.
    pub cpu_ns: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Messages handed to the kernel (a train of datagrams counts once).
    pub messages_out: u64,
    /// Datagrams dropped because the kernel refused them or its buffer was full.
    pub datagrams_dropped: u64,
    /// Commands executed.
    pub commands: u64,
    /// Commands refused because the queue was full.
    pub commands_refused: u64,
    /// Turns in which an event had to wait because the event queue was full.
    pub events_delayed: u64,
    /// Panics caught.
    pub panics: u64,
}

/// The running media threads.
#[derive(Debug)]
pub struct MediaPool {
    threads: Vec<ThreadInfo>,
}

#[allow(
    unused_variables,
    clippy::todo,
    clippy::needless_pass_by_value,
    reason = "skeleton"
)]
impl MediaPool {
    /// Binds the sockets and starts the threads. Events of all threads go to `events`.
    ///
    /// # Errors
    /// When an address or port cannot be bound, or a thread cannot be started.
    pub fn start(config: MediaPoolConfig, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        todo!()
    }

    /// Picks a thread for a new peer. `home` is the thread of the room's other peers: it is kept
    /// until it is full. Without one, the thread with the fewest peers.
    #[must_use]
    pub fn place(&self, home: Option<ThreadId>) -> ThreadInfo {
        todo!()
    }

    /// All threads, by [`ThreadId`].
    #[must_use]
    pub fn threads(&self) -> &[ThreadInfo] {
        &self.threads
    }

    /// SHA-256 of this process's DTLS certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        todo!()
    }

    /// Queues a command for a thread and wakes it. Never blocks.
    ///
    /// # Errors
    /// When the thread's queue is full (counted) or the thread has ended.
    pub fn send(&self, thread: ThreadId, command: Command) -> Result<(), SendError> {
        todo!()
    }

    /// What each thread counted, by [`ThreadId`].
    #[must_use]
    pub fn stats(&self) -> Vec<ThreadStats> {
        todo!()
    }

    /// Ends all threads and waits for them.
    pub fn shutdown(self) {
        todo!()
    }
}
