//! What the shells count: overflow of bounded queues and refused requests. Plain atomics, read by
//! whoever exports them.

use crate::shell::backlog::Backlog;
use room::RoomStats;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So many more.
    pub fn add_all(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// All counters of the control plane's shells.
#[derive(Debug, Default)]
pub struct Counters {
    /// Signal connections opened.
    pub signal_connections: Counter,
    /// Signal connections cut because the client read too slowly.
    pub signal_slow: Counter,
    /// Signal connections closed for broken frames.
    pub signal_broken: Counter,
    /// Signal connections closed for a message that is too large when decoded.
    pub signal_oversized: Counter,
    /// Messages that took the place of older ones that a client need not have any more.
    pub signal_replaced: Counter,
    /// Bytes of signal messages that wait to be sent.
    pub signal_backlog: Arc<Backlog>,
    /// Changes of participants or rooms that were told later, together with newer ones.
    pub changes_delayed: Counter,
    /// Changes refused because a room's state, or what waits to be sent, is too large.
    pub changes_refused: Counter,
    /// Data packets that rooms forwarded.
    pub data_forwarded: Counter,
    /// Data packets that could not be decoded.
    pub data_undecodable: Counter,
    /// Data packets dropped for want of permission, as duplicates or as too large.
    pub data_dropped: Counter,
    /// Messages that a peer's channel could not take.
    pub data_undelivered: Counter,
    /// Reliable packets that joining clients missed because too much waited for their channels.
    pub data_missed: Counter,
    /// Requests past a limit of what a participant may keep in its room.
    pub over_limit: Counter,
    /// Joins refused because too much waited to be sent.
    pub joins_busy: Counter,
    /// Joins refused before the upgrade.
    pub joins_refused: Counter,
    /// Media events for rooms that are gone.
    pub media_events_stray: Counter,
    /// Media events that a room lagging behind lost, of kinds that may be.
    pub media_events_dropped: Counter,
    /// Peers taken out of their room because it could not take all that they sent.
    pub media_peers_cut: Counter,
    /// Inputs that kept a room busy for longer than 50 ms.
    pub room_inputs_slow: Counter,
    /// Commands that a media thread could not take, data messages left out.
    pub media_commands_lost: Counter,
    /// Rooms that ended by a fault of ours.
    pub rooms_failed: Counter,
    /// Twirp calls answered with an error.
    pub api_errors: Counter,
    /// Idle connections, or unfinished heads, given up for others.
    pub connections_evicted: Counter,
    /// Connections refused: an address, or all WebSockets, had as many as they may.
    pub connections_refused: Counter,
    /// Connections that could not be accepted: no file or no memory left.
    pub accepts_failed: Counter,
    /// Heads and bodies refused because those of all took too much memory.
    pub http_refused: Counter,
    /// Heads, bodies and answers given up because the client was too slow.
    pub http_late: Counter,
}

impl Counters {
    /// Adds what a room has counted. Names every field, so that none stays behind in the room.
    pub(crate) fn add_room(&self, counted: RoomStats) {
        let RoomStats {
            data_forwarded,
            data_undecodable,
            data_dropped,
            data_undelivered,
            data_missed,
            over_limit,
            changes_delayed,
            changes_refused,
        } = counted;
        for (counter, count) in [
            (&self.data_forwarded, data_forwarded),
            (&self.data_undecodable, data_undecodable),
            (&self.data_dropped, data_dropped),
            (&self.data_undelivered, data_undelivered),
            (&self.data_missed, data_missed),
            (&self.over_limit, over_limit),
            (&self.changes_delayed, changes_delayed),
            (&self.changes_refused, changes_refused),
        ] {
            // Most inputs count nothing.
            if count > 0 {
                counter.add_all(count);
            }
        }
    }
}
