//! The media threads of this process: starts them, places peers on them and carries commands.
//!
//! Must not know: rooms' rules, SDP. Keys and addresses only.

mod sockets;

use crate::clock;
use crate::shell::command_budget::{Budget, Ticket};
pub use crate::shell::media_thread::Shed;
use crate::shell::media_thread::{self, LOAD_FULL, Parts, Queued, Shared};
use crate::shell::vitals::Vitals;
use anyhow::Context;
use media::api::{Command, Event, ThreadId, ThreadInfo};
use media::{Tuning, Worker, WorkerConfig};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// Most media threads: a `ThreadId` in a user name fragment has two digits of base 16.
const THREADS_MAX: usize = 255;

/// How media threads get their UDP ports.
#[derive(Clone, Debug)]
pub enum SocketPlan {
    /// One port for all threads (`SO_REUSEPORT`); 0 lets the kernel pick one per address.
    Single(u16),
    /// A pool of ports: each thread takes its own first free one, per address.
    Range(RangeInclusive<u16>),
}

/// So many peers more seems a thread to have that is too busy to take any: more than it could have.
const BUSY_PEERS: u64 = 1 << 32;

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
    /// A thread that works for more than this part of its time, in thousandths, takes no peer that can
    /// go elsewhere; when all do, nobody new may join. 0: no limit.
    pub load_max: u32,
    /// Commands of one room that may wait for one thread, and half as many reliable data messages and a
    /// quarter as many others. Of all rooms together four times as many may.
    pub commands_max: usize,
    /// Packets that may wait in each direction between two threads.
    pub crossings_max: usize,
    /// What the operator tuned.
    pub tuning: Tuning,
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
            load_max: 900,
            commands_max: 4096,
            crossings_max: 4096,
            tuning: Tuning::default(),
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

/// The command was not delivered: the thread's queue is full, or its part for messages, or the thread
/// has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError;

/// What one media thread counted since it started. The thread publishes this about ten times per
/// second while it has something to do.
#[derive(Clone, Debug, Default)]
pub struct ThreadStats {
    /// Peers placed here and not closed.
    pub peers: u64,
    /// CPU time of the thread.
    pub cpu: Duration,
    /// Turns of the event loop.
    pub turns: u64,
    /// Commands executed.
    pub commands: u64,
    /// Commands that control, refused because the queue was full.
    pub commands_refused: u64,
    /// Turns that ended with the event queue full.
    pub events_delayed: u64,
    /// Panics caught.
    pub panics: u64,
    /// Receive calls that failed.
    pub recv_errors: u64,
    /// How much of its time the thread worked lately, in thousandths; 1,000 while it is overloaded.
    pub load: u64,
    /// Datagrams that the kernel dropped because a socket of the thread was full.
    pub overflows: u64,
    /// Turns in which not everything could be handled as it came.
    pub turns_overloaded: u64,
    /// Datagrams read and dropped, because there was no time for them.
    pub shed: Shed,
    /// Datagrams received.
    pub recv: udp::RecvStats,
    /// Datagrams sent.
    pub send: udp::SendStats,
    /// What the worker counted, and messages lost on the way to it.
    pub media: media::stats::Stats,
}

/// How much of one room's may wait, by thread. See [`MediaPool::line`].
#[derive(Debug)]
pub struct Line(Vec<Arc<Budget>>);

impl Line {
    fn new(threads: usize, commands_max: usize) -> Self {
        let budget = || Arc::new(Budget::of_room(commands_max));
        Self((0..threads).map(|_| budget()).collect())
    }
}

/// The running media threads.
#[derive(Debug)]
pub struct MediaPool {
    infos: Vec<ThreadInfo>,
    shared: Arc<[Arc<Shared>]>,
    vitals: Vitals,
    commands: Vec<SyncSender<Queued>>,
    commands_max: usize,
    /// Of who has no room.
    line: Line,
    handles: Vec<JoinHandle<()>>,
    fingerprint: [u8; 32],
    peers_per_thread: u64,
    spread: bool,
    load_max: u32,
    /// Next thread when spreading.
    next: AtomicUsize,
}

impl MediaPool {
    /// Binds the sockets and starts the threads. Events of all threads go to `events`.
    ///
    /// # Errors
    /// When an address or port cannot be bound, or a thread cannot be started.
    pub fn start(config: MediaPoolConfig, events: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            (1..=THREADS_MAX).contains(&config.threads),
            "media threads must be 1 to {THREADS_MAX}, not {}",
            config.threads
        );
        let peer_shared = Arc::new(peer::Shared::new(clock::epoch())?);
        let sockets = sockets::bind_all(&config)?;
        let shared = (0..config.threads)
            .map(|_| Shared::new(config.commands_max).map(Arc::new))
            .collect::<Result<Arc<[_]>, _>>()
            .context("cannot make an eventfd")?;
        let mut pool = Self {
            infos: Vec::new(),
            shared: Arc::clone(&shared),
            vitals: Vitals::new(Arc::clone(&shared)),
            commands: Vec::new(),
            commands_max: config.commands_max,
            line: Line::new(config.threads, config.commands_max),
            handles: Vec::new(),
            fingerprint: peer_shared.fingerprint(),
            peers_per_thread: config.peers_per_thread as u64,
            spread: config.spread,
            load_max: config.load_max,
            next: AtomicUsize::new(0),
        };
        let mesh = media::mesh(config.threads, config.crossings_max);
        for (index, (mesh, (sockets, advertised))) in mesh.into_iter().zip(sockets).enumerate() {
            let thread = ThreadId(u8::try_from(index)?);
            let worker_config = WorkerConfig {
                thread,
                peers_max: config.peers_per_thread.saturating_mul(2),
                sockets: advertised.clone(),
                tuning: config.tuning,
            };
            let worker = Worker::new(worker_config, Arc::clone(&peer_shared), mesh);
            let (sender, commands) = sync_channel(shared[index].waiting.len_max());
            let parts = Parts {
                ending: pool.vitals.ending(index),
                worker,
                sockets,
                commands,
                events: events.clone(),
                threads: Arc::clone(&shared),
                index,
            };
            pool.handles.push(spawn(parts, config.pin)?);
            pool.commands.push(sender);
            pool.infos.push(ThreadInfo {
                thread,
                sockets: advertised,
            });
        }
        Ok(pool)
    }

    /// The threads' signs of life.
    #[must_use]
    pub const fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Picks a thread for a new peer, one that serves if there is any. `home` is the thread of the room's other peers: it is kept
    /// until it is full. Without one, the thread with the fewest peers.
    #[must_use]
    pub fn place(&self, home: Option<ThreadId>) -> ThreadInfo {
        let threads = self.shared.iter().enumerate();
        let loads: Vec<u64> = threads
            .map(|(index, thread)| match self.vitals.serves(index) {
                true => thread.peers.load(Ordering::Relaxed) + self.handicap(thread),
                false => u64::MAX,
            })
            .collect();
        let home = home.map(|home| usize::from(home.0));
        let turn = || self.next.fetch_add(1, Ordering::Relaxed) % loads.len();
        let spread = self.spread.then(|| loads.iter().map(|_| turn()));
        let next = spread.and_then(|mut turns| turns.find(|index| loads.get(*index) < Some(&u64::MAX)));
        let index = if let Some(next) = next {
            next
        } else {
            choose(&loads, home, self.peers_per_thread)
        };
        self.infos[index].clone()
    }

    fn handicap(&self, thread: &Shared) -> u64 {
        handicap(thread.load.load(Ordering::Relaxed), self.load_max)
    }

    /// Whether every thread has too much to do already: who is here stays, nobody else may come.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let mut threads = self.shared.iter().enumerate();
        threads.all(|(index, thread)| !self.vitals.serves(index) || self.handicap(thread) > 0)
    }

    /// All threads, by [`ThreadId`].
    #[must_use]
    pub fn threads(&self) -> &[ThreadInfo] {
        &self.infos
    }

    /// SHA-256 of this process's DTLS certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// A room's way to the threads: what it has too much of takes no other room's places.
    #[must_use]
    pub fn line(&self) -> Line {
        Line::new(self.infos.len(), self.commands_max)
    }

    /// As [`Self::send_of`], of no room.
    ///
    /// # Errors
    /// As there.
    pub fn send(&self, thread: ThreadId, command: Command) -> Result<(), SendError> {
        self.send_of(&self.line, thread, command)
    }

    /// Queues a room's command for a thread and wakes it. Never blocks.
    ///
    /// # Errors
    /// When too many of that kind wait, of the room or of all, or the thread has ended. Counted,
    /// messages among what was lost of their channel.
    pub fn send_of(&self, line: &Line, thread: ThreadId, command: Command) -> Result<(), SendError> {
        let index = usize::from(thread.0);
        let (Some(shared), Some(commands)) = (self.shared.get(index), self.commands.get(index)) else {
            return Err(SendError);
        };
        let Some(budget) = line.0.get(index) else {
            return Err(SendError);
        };
        let added = matches!(command, Command::AddPeer { .. });
        let closed = matches!(command, Command::ClosePeer { .. });
        let message = command.message();
        let sent = Ticket::take(&command, budget, &shared.waiting)
            .is_some_and(|ticket| commands.try_send((Box::new(command), ticket)).is_ok());
        if !sent {
            match message {
                Some((label, receivers)) => shared.lost.count(label, receivers),
                None => {
                    shared.commands_refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            return Err(SendError);
        }
        shared.wake.ring();
        if added {
            shared.peers.fetch_add(1, Ordering::Relaxed);
        } else if closed {
            // A peer may be closed twice; the count is a load estimate, never below zero.
            let _zero = shared
                .peers
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |peers| peers.checked_sub(1));
        }
        Ok(())
    }

    /// What each thread counted, by [`ThreadId`].
    #[must_use]
    pub fn stats(&self) -> Vec<ThreadStats> {
        self.shared.iter().map(|shared| snapshot(shared)).collect()
    }

    /// Ends all threads, after the commands already queued, and waits for them.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for shared in self.shared.iter() {
            shared.stop.store(true, Ordering::Release);
            shared.wake.ring();
        }
        for handle in self.handles.drain(..) {
            if handle.join().is_err() {
                tracing::error!("a media thread ended with a panic");
            }
        }
    }
}

impl Drop for MediaPool {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
impl MediaPool {
    /// A thread's next turn goes wrong.
    pub(crate) fn inject(&self, thread: usize, fault: media_thread::Fault) {
        if let Some(shared) = self.shared.get(thread) {
            *shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
            shared.wake.ring();
        }
    }
}

fn snapshot(shared: &Shared) -> ThreadStats {
    // The thread writes the counters in one piece, and a panic cannot happen between.
    let counters = shared
        .counters
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut media = counters.media;
    shared.lost.add_to(&mut media.drops.messages);
    ThreadStats {
        peers: shared.peers.load(Ordering::Relaxed),
        cpu: shared
            .clock
            .get()
            .and_then(udp::ThreadClock::read)
            .unwrap_or_default(),
        turns: counters.shell.turns,
        commands: counters.shell.commands,
        commands_refused: shared.commands_refused.load(Ordering::Relaxed),
        events_delayed: counters.shell.events_delayed,
        panics: counters.shell.panics,
        recv_errors: counters.shell.recv_errors,
        load: shared.load.load(Ordering::Relaxed).into(),
        overflows: counters.shell.overflows,
        turns_overloaded: counters.shell.turns_overloaded,
        shed: counters.shell.shed,
        recv: counters.recv,
        send: counters.send,
        media,
    }
}

fn spawn(parts: Parts, pin: bool) -> anyhow::Result<JoinHandle<()>> {
    let index = parts.index;
    std::thread::Builder::new()
        .name(format!("media-{index}"))
        .spawn(move || {
            if pin && let Err(error) = udp::pin_current_thread(index) {
                tracing::warn!(%error, cpu = index, "cannot pin a media thread");
            }
            media_thread::run(parts);
        })
        .context("cannot start a media thread")
}

/// A thread with too much to do ranks behind all that have less.
fn handicap(load: u32, load_max: u32) -> u64 {
    let busy = load_max > 0 && load >= load_max.min(LOAD_FULL);
    if busy { BUSY_PEERS } else { 0 }
}

/// The least loaded thread, but `home` as long as it has room.
fn choose(loads: &[u64], home: Option<usize>, full: u64) -> usize {
    if let Some(home) = home
        && loads.get(home).is_some_and(|load| *load < full)
    {
        return home;
    }
    let least = loads.iter().enumerate().min_by_key(|(_, load)| **load);
    least.map_or(0, |(index, _)| index)
}

#[cfg(test)]
mod tests;
