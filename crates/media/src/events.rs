//! What waits to be told to the control plane, bounded.
//!
//! Owns: the queue, and which events are one with an event that waits already. Must not know: what
//! events lead to.

use crate::api::{ChannelLabel, Event, EventKind, PeerKey, RoomKey, TrackKey};
use std::collections::{BTreeMap, VecDeque};

/// Data messages, and channels that opened and closed, that may wait. More make a slow control plane
/// slower to notice.
const MESSAGES_MAX: usize = 4096;
/// Bytes of data messages that may wait.
const BYTES_MAX: usize = 16 << 20;

/// The queue. What a remote side can cause as often as it likes either asks for room first, or waits
/// at most once: only the latest of its kind matters. Other events are few (their number follows the
/// peers' states and the commands) and always taken.
#[derive(Debug, Default)]
pub struct Events {
    queue: VecDeque<Event>,
    messages: usize,
    bytes: usize,
    /// How many were taken, so that positions in the queue have names that stay.
    popped: u64,
    /// Where the event of a topic waits, counted from the first one ever.
    waiting: BTreeMap<Topic, u64>,
    /// Events that became one with an earlier one.
    merged: u64,
}

/// What only one event can wait about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Topic {
    Dropped(PeerKey, ChannelLabel),
    Layer(TrackKey, u8),
    Levels(RoomKey),
}

impl Events {
    /// Whether one more message may wait, or a channel that opened or closed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.messages < MESSAGES_MAX && self.bytes < BYTES_MAX
    }

    /// Events that became one with an earlier one.
    #[must_use]
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// Queues an event.
    pub fn push(&mut self, room: RoomKey, kind: EventKind) {
        match bound(room, &kind) {
            Bound::Room(bytes) => {
                self.messages += 1;
                self.bytes += bytes;
            }
            Bound::Once(topic) => {
                let next = self.popped + self.queue.len() as u64;
                let at = *self.waiting.entry(topic).or_insert(next) - self.popped;
                if let Some(event) = self.queue.get_mut(at as usize) {
                    event.kind = merge(&event.kind, kind);
                    self.merged += 1;
                    return;
                }
            }
            Bound::ByItself => {}
        }
        // A layer that starts after it stopped is told after that.
        if let EventKind::LayerStopped { track, layer } = kind {
            self.waiting.remove(&Topic::Layer(track, layer));
        }
        self.queue.push_back(Event { room, kind });
    }

    /// The oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        match bound(event.room, &event.kind) {
            Bound::Room(bytes) => {
                self.messages -= 1;
                self.bytes -= bytes;
            }
            Bound::Once(topic) if self.waiting.get(&topic) == Some(&self.popped) => {
                self.waiting.remove(&topic);
            }
            Bound::Once(_) | Bound::ByItself => {}
        }
        self.popped += 1;
        Some(event)
    }
}

/// How the number of waiting events of a kind is bounded.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// There has to be room for so many bytes.
    Room(usize),
    /// One about each topic waits.
    Once(Topic),
    /// By peers' states, time or commands.
    ByItself,
}

fn bound(room: RoomKey, kind: &EventKind) -> Bound {
    match kind {
        EventKind::Message { data, .. } => Bound::Room(data.len()),
        EventKind::ChannelOpen { .. } | EventKind::ChannelClosed { .. } => Bound::Room(0),
        EventKind::MessageDropped { peer, label, .. } => Bound::Once(Topic::Dropped(*peer, *label)),
        EventKind::LayerStarted { track, layer, .. } => Bound::Once(Topic::Layer(*track, *layer)),
        EventKind::AudioLevels { .. } => Bound::Once(Topic::Levels(room)),
        EventKind::IceConnected { .. }
        | EventKind::IceDisconnected { .. }
        | EventKind::PeerConnected { .. }
        | EventKind::PeerFailed { .. }
        | EventKind::HandshakeFailed { .. }
        | EventKind::LayerStopped { .. }
        | EventKind::DownStarted { .. }
        | EventKind::Windows { .. } => Bound::ByItself,
    }
}

/// The event that says what two of one topic say.
fn merge(earlier: &EventKind, later: EventKind) -> EventKind {
    match (earlier, later) {
        (
            EventKind::MessageDropped { count: before, .. },
            EventKind::MessageDropped { peer, label, count },
        ) => EventKind::MessageDropped {
            peer,
            label,
            count: before + count,
        },
        (_, later) => later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ThreadId;
    use peer::Codec;

    const ROOM: RoomKey = RoomKey(1);

    fn peer(serial: u32) -> PeerKey {
        PeerKey::new(ThreadId(0), ROOM, serial)
    }

    fn dropped(serial: u32, label: ChannelLabel, count: u64) -> EventKind {
        EventKind::MessageDropped {
            peer: peer(serial),
            label,
            count,
        }
    }

    fn started(layer: u8, ssrc: u32) -> EventKind {
        EventKind::LayerStarted {
            track: TrackKey::new(ThreadId(0), ROOM, 9),
            layer,
            ssrc,
            rtx_ssrc: None,
            codec: Codec::Vp8,
        }
    }

    fn stopped(layer: u8) -> EventKind {
        EventKind::LayerStopped {
            track: TrackKey::new(ThreadId(0), ROOM, 9),
            layer,
        }
    }

    fn levels(level: f32) -> EventKind {
        EventKind::AudioLevels {
            levels: vec![(TrackKey::new(ThreadId(0), ROOM, 9), level, true)],
        }
    }

    fn drain(events: &mut Events) -> Vec<EventKind> {
        std::iter::from_fn(|| events.pop())
            .map(|event| event.kind)
            .collect()
    }

    #[test]
    fn lost_messages_wait_as_one_event_for_each_peer_and_channel() {
        use ChannelLabel::{Lossy, Reliable};
        let mut events = Events::default();
        for _ in 0..100_000 {
            events.push(ROOM, dropped(1, Lossy, 1));
        }
        events.push(ROOM, dropped(1, Reliable, 7));
        events.push(ROOM, dropped(2, Lossy, 1));
        events.push(ROOM, dropped(1, Lossy, 5));
        let expected = [
            dropped(1, Lossy, 100_005),
            dropped(1, Reliable, 7),
            dropped(2, Lossy, 1),
        ];
        assert_eq!(drain(&mut events), expected);
        assert_eq!(events.merged(), 100_000);
        events.push(ROOM, dropped(1, Lossy, 2));
        assert_eq!(drain(&mut events), [dropped(1, Lossy, 2)]);
        assert!(events.waiting.is_empty());
    }

    #[test]
    fn of_what_replaces_each_other_the_latest_waits() {
        let mut events = Events::default();
        events.push(ROOM, started(0, 1));
        events.push(ROOM, started(1, 2));
        events.push(ROOM, levels(0.1));
        for ssrc in 3..1000 {
            events.push(ROOM, started(0, ssrc));
            events.push(ROOM, levels(0.5));
        }
        assert_eq!(drain(&mut events), [started(0, 999), started(1, 2), levels(0.5)]);
    }

    #[test]
    fn a_layer_that_starts_behind_its_stop_is_told_behind_it() {
        let mut events = Events::default();
        events.push(ROOM, started(0, 1));
        events.push(ROOM, started(1, 2));
        assert_eq!(events.pop().map(|event| event.kind), Some(started(0, 1)));
        events.push(ROOM, stopped(1));
        events.push(ROOM, started(1, 3));
        events.push(ROOM, started(1, 4));
        let expected = [started(1, 2), stopped(1), started(1, 4)];
        assert_eq!(drain(&mut events), expected);
    }

    #[test]
    fn channels_need_room_as_messages_do() {
        let mut events = Events::default();
        let opened = EventKind::ChannelOpen {
            peer: peer(1),
            label: ChannelLabel::Unlabelled,
        };
        for _ in 0..MESSAGES_MAX {
            assert!(events.has_room());
            events.push(ROOM, opened.clone());
        }
        assert!(!events.has_room());
        events.pop();
        assert!(events.has_room());
    }
}
