//! How many commands may wait for a media thread, of one room and of all. A data message never takes
//! the place of a command that controls, and no room the places of another.
//!
//! Must not know: what commands say, whom they are for.

use media::api::{ChannelLabel, Command};
use media::stats::LostMessages;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Rooms that may use up what one room may, before what others send finds no place. More costs memory
/// when that many rooms are flooded at once.
const ROOMS: usize = 4;

/// Bytes of one room's messages that may wait. A stream of several megabytes, sent at once, fits.
const ROOM_BYTES_MAX: usize = 16 << 20;

/// Places in a queue: of one room, or of the whole queue.
#[derive(Debug)]
pub(crate) struct Budget {
    control: Places,
    /// Half as many: a stream of several megabytes sent at once fits.
    reliable: Places,
    /// A quarter: what comes too late is worth little.
    unreliable: Places,
    bytes: Places,
}

impl Budget {
    /// For one room, when that many of its commands may wait.
    pub(crate) fn of_room(commands_max: usize) -> Self {
        Self::new(commands_max, ROOM_BYTES_MAX)
    }

    /// For all rooms together.
    pub(crate) fn of_thread(commands_max: usize) -> Self {
        Self::new(
            commands_max.saturating_mul(ROOMS),
            ROOM_BYTES_MAX.saturating_mul(ROOMS),
        )
    }

    fn new(commands_max: usize, bytes_max: usize) -> Self {
        Self {
            control: Places::new(commands_max),
            reliable: Places::new(commands_max / 2),
            unreliable: Places::new(commands_max / 4),
            bytes: Places::new(bytes_max),
        }
    }

    /// As many as may wait at all.
    pub(crate) fn len_max(&self) -> usize {
        self.control.max + self.reliable.max + self.unreliable.max
    }

    fn places(&self, label: Option<ChannelLabel>) -> &Places {
        match label {
            None => &self.control,
            Some(ChannelLabel::Reliable) => &self.reliable,
            Some(ChannelLabel::Lossy | ChannelLabel::DataTrack | ChannelLabel::Unlabelled) => {
                &self.unreliable
            }
        }
    }

    fn take(&self, label: Option<ChannelLabel>, bytes: usize) -> bool {
        if !self.places(label).take(1) {
            return false;
        }
        if !self.bytes.take(bytes) {
            self.places(label).give_back(1);
            return false;
        }
        true
    }

    fn give_back(&self, label: Option<ChannelLabel>, bytes: usize) {
        self.places(label).give_back(1);
        self.bytes.give_back(bytes);
    }
}

/// The places that a command has while it waits. Dropped, they are free again.
#[derive(Debug)]
pub(crate) struct Ticket {
    room: Arc<Budget>,
    thread: Arc<Budget>,
    label: Option<ChannelLabel>,
    bytes: usize,
}

impl Ticket {
    /// Takes places for a command; `None` when there are none.
    pub(crate) fn take(command: &Command, room: &Arc<Budget>, thread: &Arc<Budget>) -> Option<Self> {
        let label = command.message().map(|(label, _)| label);
        let bytes = command.message_bytes();
        if !room.take(label, bytes) {
            return None;
        }
        if !thread.take(label, bytes) {
            room.give_back(label, bytes);
            return None;
        }
        Some(Self {
            room: Arc::clone(room),
            thread: Arc::clone(thread),
            label,
            bytes,
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.room.give_back(self.label, self.bytes);
        self.thread.give_back(self.label, self.bytes);
    }
}

/// Messages that found no place, by channel.
#[derive(Debug, Default)]
pub(crate) struct Lost([AtomicU64; 4]);

impl Lost {
    /// Counts a message that so many peers do not get.
    pub(crate) fn count(&self, label: ChannelLabel, receivers: usize) {
        self.0[index(label)].fetch_add(receivers as u64, Ordering::Relaxed);
    }

    /// Adds what was lost to what a thread counted.
    pub(crate) fn add_to(&self, to: &mut LostMessages) {
        let lost = |label| self.0[index(label)].load(Ordering::Relaxed);
        to.reliable += lost(ChannelLabel::Reliable);
        to.lossy += lost(ChannelLabel::Lossy);
        to.data_track += lost(ChannelLabel::DataTrack);
        to.unlabelled += lost(ChannelLabel::Unlabelled);
    }
}

const fn index(label: ChannelLabel) -> usize {
    match label {
        ChannelLabel::Reliable => 0,
        ChannelLabel::Lossy => 1,
        ChannelLabel::DataTrack => 2,
        ChannelLabel::Unlabelled => 3,
    }
}

#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    fn new(max: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            max: max.max(1),
        }
    }

    /// Takes so many places; false when there are fewer, and none is taken then. What is larger than all
    /// of them finds place while there is nothing else.
    fn take(&self, count: usize) -> bool {
        let next = |taken: usize| {
            let fits = count == 0 || taken == 0 || taken.saturating_add(count) <= self.max;
            fits.then_some(taken + count)
        };
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    fn give_back(&self, count: usize) {
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::api::{PeerKey, RoomKey, ThreadId};

    fn message(label: ChannelLabel, bytes: usize) -> Command {
        Command::SendMessage {
            peers: vec![PeerKey::new(ThreadId(0), RoomKey(1), 1)],
            label,
            data: vec![0; bytes].into(),
        }
    }

    fn control() -> Command {
        Command::CloseRoom { room: RoomKey(1) }
    }

    /// Takes places for as many as there are.
    fn fill(command: &Command, room: &Arc<Budget>, thread: &Arc<Budget>) -> Vec<Ticket> {
        std::iter::from_fn(|| Ticket::take(command, room, thread)).collect()
    }

    #[test]
    fn unreliable_messages_take_no_reliable_place_and_neither_one_of_control() {
        let (room, thread) = (Arc::new(Budget::of_room(16)), Arc::new(Budget::of_thread(16)));
        let labels = [
            ChannelLabel::Lossy,
            ChannelLabel::DataTrack,
            ChannelLabel::Unlabelled,
            ChannelLabel::Reliable,
        ];
        let mut taken: Vec<_> = labels
            .map(|label| fill(&message(label, 1), &room, &thread))
            .into();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [4, 0, 0, 8]);
        assert_eq!(fill(&control(), &room, &thread).len(), 16);
        taken[0].pop();
        assert!(Ticket::take(&message(ChannelLabel::Reliable, 1), &room, &thread).is_none());
        assert_eq!(
            fill(&message(ChannelLabel::DataTrack, 1), &room, &thread).len(),
            1
        );
    }

    #[test]
    fn a_room_that_has_used_up_its_places_takes_none_of_another() {
        let thread = Arc::new(Budget::of_thread(16));
        let rooms: Vec<_> = (0..ROOMS).map(|_| Arc::new(Budget::of_room(16))).collect();
        let large = message(ChannelLabel::Reliable, ROOM_BYTES_MAX / 8 - 100);
        let commands = [control(), large, message(ChannelLabel::Lossy, 9)];
        let count = |room| {
            let tickets = commands.each_ref().map(|command| fill(command, room, &thread));
            (tickets.each_ref().map(Vec::len), tickets)
        };
        let first = count(&rooms[0]);
        assert_eq!(first.0, [16, 8, 4]);
        let others: Vec<_> = rooms[1..].iter().map(count).collect();
        assert!(others.iter().all(|(taken, _)| *taken == first.0));
    }

    #[test]
    fn bytes_are_bounded_and_one_message_is_never_too_large() {
        let (room, thread) = (Arc::new(Budget::of_room(4096)), Arc::new(Budget::of_thread(4096)));
        let large = message(ChannelLabel::Reliable, 60_000);
        let taken = fill(&large, &room, &thread);
        assert_eq!(taken.len(), ROOM_BYTES_MAX / 60_000);
        drop(taken);
        let larger = message(ChannelLabel::Reliable, ROOM_BYTES_MAX + 1);
        let taken = fill(&larger, &room, &thread);
        assert_eq!(taken.len(), 1);
        drop(taken);
        assert_eq!(room.bytes.taken.load(Ordering::Relaxed), 0);
        assert_eq!(thread.reliable.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_lost_is_counted_by_channel() {
        let lost = Lost::default();
        lost.count(ChannelLabel::DataTrack, 64);
        lost.count(ChannelLabel::Reliable, 1);
        let mut counted = LostMessages {
            data_track: 6,
            lossy: 5,
            ..LostMessages::default()
        };
        lost.add_to(&mut counted);
        assert_eq!(
            (
                counted.reliable,
                counted.lossy,
                counted.data_track,
                counted.unlabelled
            ),
            (1, 5, 70, 0)
        );
    }
}
