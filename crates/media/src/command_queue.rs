//! Commands that wait for a thread, by room: however many one room has, the next one of another room
//! waits for a small part of them.
//!
//! Owns: whose turn it is. Must not know: how many may wait (who puts them in bounds that), what
//! commands do.

use crate::api::{Command, RoomKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Commands of one room in a row, a message counting once for each peer that it is for; a longer message
/// is sent to so many peers at a time. Larger lets other rooms wait for longer, smaller costs more
/// changes from room to room.
pub const TURN: usize = 32;

/// Commands in the order of each room, the rooms in turns. Each has something of whoever put it in (`T`),
/// which is given back when the last of it was taken out.
#[derive(Debug)]
pub struct CommandQueue<T> {
    rooms: BTreeMap<RoomKey, VecDeque<(Command, T)>>,
    /// Rooms that have commands, each once; the first one's turn it is.
    turns: VecDeque<RoomKey>,
    /// What is left of that turn.
    left: usize,
}

impl<T> Default for CommandQueue<T> {
    fn default() -> Self {
        Self {
            rooms: BTreeMap::new(),
            turns: VecDeque::new(),
            left: TURN,
        }
    }
}

impl<T> CommandQueue<T> {
    /// Puts a command behind those of its room. One that is for nobody is given back at once.
    pub fn push(&mut self, command: Command, with: T) {
        let Some(room) = command.room() else {
            return;
        };
        let lane = self.rooms.entry(room).or_default();
        if lane.is_empty() {
            self.turns.push_back(room);
        }
        lane.push_back((command, with));
    }

    /// The next command, or the next part of a message for many peers; with the last part comes what
    /// was put in with it.
    pub fn pop(&mut self) -> Option<(Command, Option<T>)> {
        let &room = self.turns.front()?;
        let lane = self.rooms.get_mut(&room)?;
        let part = lane
            .front_mut()
            .and_then(|(command, _)| split(command, self.left));
        let (command, with) = if let Some(part) = part {
            (part, None)
        } else {
            let (command, with) = lane.pop_front()?;
            (command, Some(with))
        };
        self.left = self.left.saturating_sub(cost(&command));
        let is_empty = lane.is_empty();
        if is_empty {
            self.rooms.remove(&room);
        }
        if is_empty || self.left == 0 {
            self.left = TURN;
            self.turns.pop_front();
            if !is_empty {
                self.turns.push_back(room);
            }
        }
        Some((command, with))
    }
}

/// What a command counts.
#[must_use]
pub fn cost(command: &Command) -> usize {
    command.message().map_or(1, |(_, receivers)| receivers.max(1))
}

/// Takes so many receivers out of a message that has more.
fn split(command: &mut Command, count: usize) -> Option<Command> {
    if let Command::SendMessage { peers, label, data } = command {
        let from = peers.len().checked_sub(count).filter(|from| *from > 0)?;
        return Some(Command::SendMessage {
            peers: peers.split_off(from),
            label: *label,
            data: Arc::clone(data),
        });
    }
    if let Command::SendDataTrackPacket { receivers, data } = command {
        let from = receivers.len().checked_sub(count).filter(|from| *from > 0)?;
        return Some(Command::SendDataTrackPacket {
            receivers: receivers.split_off(from),
            data: Arc::clone(data),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ChannelLabel, PeerKey, ThreadId, TrackKey};

    fn mute(room: u32, serial: u32) -> Command {
        let track = TrackKey::new(ThreadId(0), RoomKey(room), serial);
        Command::MuteTrack { track, muted: true }
    }

    fn message(room: u32, receivers: u32, number: u8) -> Command {
        let peer = |serial| PeerKey::new(ThreadId(0), RoomKey(room), serial);
        Command::SendMessage {
            peers: (0..receivers).map(peer).collect(),
            label: ChannelLabel::Reliable,
            data: [number][..].into(),
        }
    }

    fn packet(room: u32, receivers: u32) -> Command {
        let peer = |serial| (PeerKey::new(ThreadId(0), RoomKey(room), serial), 1);
        Command::SendDataTrackPacket {
            receivers: (0..receivers).map(peer).collect(),
            data: [0][..].into(),
        }
    }

    /// What is executed before the command with that ticket, as [`cost`] counts.
    fn before(queue: &mut CommandQueue<u32>, ticket: u32) -> usize {
        let mut work = 0;
        while let Some((command, with)) = queue.pop() {
            if with == Some(ticket) {
                return work;
            }
            work += cost(&command);
        }
        panic!("{ticket} was not in it");
    }

    #[test]
    fn a_flood_of_messages_of_one_room_delays_another_by_one_turn() {
        let mut queue = CommandQueue::default();
        for number in 0..2048 {
            queue.push(message(1, 300, 0), number);
        }
        queue.push(message(2, 1, 0), 9999);
        assert!(before(&mut queue, 9999) <= TURN);
        // Also when it has begun, and with packets of data tracks.
        queue.push(packet(3, 5000), 10_000);
        queue.push(mute(2, 1), 10_001);
        assert!(before(&mut queue, 10_001) <= 2 * TURN);
    }

    #[test]
    fn a_flood_of_subscriptions_of_one_room_delays_another_by_one_turn() {
        let mut queue = CommandQueue::default();
        for number in 0..10_000 {
            queue.push(mute(1, number), number);
        }
        queue.push(mute(2, 1), 77_777);
        assert!(before(&mut queue, 77_777) <= TURN);
    }

    #[test]
    fn each_room_keeps_its_order_and_every_receiver_gets_every_message_once() {
        let mut queue = CommandQueue::default();
        for number in 0..10u8 {
            queue.push(message(1, 100, number), u32::from(number));
            queue.push(message(2, 3, number), 100 + u32::from(number));
        }
        let mut got: BTreeMap<PeerKey, Vec<u8>> = BTreeMap::new();
        let mut tickets = Vec::new();
        while let Some((command, with)) = queue.pop() {
            tickets.extend(with);
            let Command::SendMessage { peers, data, .. } = command else {
                panic!("only messages were put in");
            };
            for peer in peers {
                got.entry(peer).or_default().push(data[0]);
            }
        }
        assert_eq!(got.len(), 103);
        assert!(
            got.values()
                .all(|numbers| *numbers == (0..10).collect::<Vec<_>>())
        );
        tickets.sort_unstable();
        assert_eq!(tickets, (0..10).chain(100..110).collect::<Vec<_>>());
        assert!(queue.rooms.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn what_is_for_nobody_is_given_back_at_once() {
        let ticket = Arc::new(());
        let mut queue = CommandQueue::default();
        queue.push(message(1, 0, 0), Arc::clone(&ticket));
        assert_eq!(Arc::strong_count(&ticket), 1);
        assert!(queue.pop().is_none());
    }
}
