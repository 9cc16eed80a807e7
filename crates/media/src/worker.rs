//! The only orchestrator of a media thread: it calls down into peers, up tracks, fan-out and down
//! tracks; nothing calls back.
//!
//! Owns: all state of one media thread. Must not know: sockets, clocks, rooms' rules.
//!
//! `commands` does what the control plane says, `messages` sends data, `receive` takes datagrams and
//! crossings, `peers` drains peers' events, `time` runs timers, `measure` closes windows of statistics,
//! `limit` keeps peers below their ceilings; [`crate::fanout`] writes what leaves, `resend` what leaves again.

mod commands;
mod dropped;
mod inject;
mod limit;
mod measure;
mod messages;
mod peek;
mod peers;
mod receive;
mod resend;
mod time;

use crate::api::{Command, DownKey, Event, LocalSocket, PeerKey, RoomKey, ThreadId, TrackKey};
use crate::crossing::Mesh;
use crate::demux::Demux;
use crate::down::inject::Blank;
use crate::down::track::Scratch;
use crate::events::Events;
use crate::fanout::Fanout;
use crate::feedback::FeedbackBudget;
use crate::slab::Slab;
use crate::stats::Stats;
use crate::strangers::Budget;
use crate::timers::Timers;
use crate::tuning::Tuning;
use crate::up::track::{Subscriber, UpTrack};
pub(crate) use dropped::Dropped;
pub(crate) use limit::Pace;
pub(crate) use measure::Loss;
pub use peek::Class;
use peer::Outbox;
pub(crate) use peers::PeerSlot;
use receive::Hand;
pub(crate) use resend::{OWED_MAX, Owed};
use std::collections::BTreeMap;
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
    /// What the operator tuned.
    pub tuning: Tuning,
}

/// Tracks that one peer may publish: far above what clients do, so that a broken control plane
/// cannot grow a table without bound.
pub(crate) const UP_TRACKS_PER_PEER_MAX: usize = 256;
/// Tracks that one peer may subscribe to.
pub(crate) const DOWN_TRACKS_PER_PEER_MAX: usize = 4096;

/// One media thread's state machine.
///
/// One turn of its shell: `handle_command`* → `handle_datagram`* → `handle_crossings` →
/// `handle_timeout` when due → `poll_transmit` until false (sending and clearing the outbox each
/// time) → `poll_wake`* → `poll_event`* → wait until `poll_timeout`, a datagram, a command or a wake.
#[derive(Debug)]
pub struct Worker {
    pub(crate) config: WorkerConfig,
    pub(crate) shared: Arc<peer::Shared>,
    pub(crate) mesh: Mesh,
    pub(crate) peers: Slab<PeerSlot>,
    pub(crate) tracks: Slab<UpTrack>,
    pub(crate) peer_keys: BTreeMap<PeerKey, u32>,
    pub(crate) track_keys: BTreeMap<TrackKey, u32>,
    pub(crate) down_keys: BTreeMap<DownKey, Subscriber>,
    pub(crate) demux: Demux,
    pub(crate) timers: Timers,
    pub(crate) events: Events,
    /// Microphone tracks by room, and whether any of them was above zero at the last tick.
    pub(crate) levels: BTreeMap<RoomKey, RoomLevels>,
    /// When levels are told next; `None` while no microphone is published.
    pub(crate) levels_due: Option<Instant>,
    pub(crate) fanout: Fanout,
    pub(crate) scratch: Scratch,
    pub(crate) blank: Blank,
    pub(crate) feedback: FeedbackBudget,
    /// What was dropped unread.
    pub(crate) dropped: Dropped,
    pub(crate) stats: Stats,
    /// Peers with a ceiling.
    pub(crate) limited: u64,
    /// Requests from unknown sources that this thread looks at or hands over.
    pub(crate) strangers: Budget,
}

/// The microphones of one room on this thread.
#[derive(Debug, Default)]
pub(crate) struct RoomLevels {
    pub(crate) tracks: Vec<u32>,
    pub(crate) told_above_zero: bool,
    /// Memory for the next list, so that silence allocates nothing.
    pub(crate) spare: Vec<(TrackKey, f32, bool)>,
}

impl Worker {
    /// An empty worker. `mesh` is this thread's element of what [`crate::mesh`] made.
    #[must_use]
    pub fn new(config: WorkerConfig, shared: Arc<peer::Shared>, mesh: Mesh) -> Self {
        let mut stats = Stats::default();
        stats.crossings_out.resize(mesh.threads(), 0);
        stats.drops.crossing_full.resize(mesh.threads(), 0);
        let (sockets, threads) = (config.sockets.len(), mesh.threads());
        Self {
            config,
            shared,
            mesh,
            peers: Slab::default(),
            tracks: Slab::default(),
            peer_keys: BTreeMap::new(),
            track_keys: BTreeMap::new(),
            down_keys: BTreeMap::new(),
            demux: Demux::default(),
            timers: Timers::default(),
            events: Events::default(),
            levels: BTreeMap::new(),
            levels_due: None,
            fanout: Fanout::default(),
            scratch: Scratch::default(),
            blank: Blank::default(),
            feedback: FeedbackBudget::default(),
            dropped: Dropped::new(sockets, threads),
            stats,
            limited: 0,
            strangers: Budget::THREAD,
        }
    }

    /// Does what the control plane says.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        debug_assert!(self.fanout.is_drained(), "poll_transmit until false first (I6)");
        self.command(now, command);
    }

    /// Takes one datagram. `local` is the index of the socket; `data` is decrypted in place.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, local: u8, data: &mut [u8]) {
        self.stats.datagrams_in += 1;
        self.datagram(now, from, local, data, Hand::First);
    }

    /// Datagrams of a socket (`local` is its index) were dropped before they got here, because it was
    /// full or by the shell: what is missing around this moment of who sends to that socket is nobody
    /// else's fault, and not asked for again.
    pub fn note_dropped(&mut self, now: Instant, local: u8) {
        self.dropped_here(now, local);
    }

    /// How much of its time the thread worked lately, in thousandths: the more, the less it says back.
    pub fn set_load(&mut self, load: u32) {
        self.feedback.set_load(load);
    }

    /// Copies that the next [`Self::poll_transmit`] will write, about.
    #[must_use]
    pub fn copies_waiting(&self) -> usize {
        self.fanout.copies
    }

    /// Takes what other threads sent, up to a bound per ring.
    pub fn handle_crossings(&mut self, now: Instant) {
        self.crossings(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.timeout(now);
    }

    /// Fills the outbox. True: send it, clear it and call again. False: nothing is left.
    pub fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        self.transmit(now, outbox)
    }

    /// Another thread to wake, because something was put into its rings.
    pub fn poll_wake(&mut self) -> Option<ThreadId> {
        self.mesh.poll_wake()
    }

    /// The next thing to tell the control plane. Draining makes room for messages that peers hold back.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.next_event()
    }

    /// What was counted since the start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.stats_into(&mut stats);
        stats
    }

    /// As [`Self::stats`], into counters that are there already: allocates nothing the second time.
    pub fn stats_into(&self, stats: &mut Stats) {
        stats.copy_from(&self.stats);
        stats.peers = self.peers.len() as u64;
        stats.up_tracks = self.tracks.len() as u64;
        stats.down_tracks = self.down_keys.len() as u64;
        stats.peers_limited = self.limited;
        stats.drops.addresses = self.demux.forgotten();
        stats.drops.events_merged = self.events.merged();
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.fanout.resumed.is_empty() {
            // Peers that held messages back have more: at once.
            return Some(self.shared.epoch.0);
        }
        match (self.timers.next(), self.levels_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
