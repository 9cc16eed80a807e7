//! What waits for one connection, in order, each state once.

use super::{Outgoing, Queued, Taken};
use crate::shell::signal_message::{Place, SignalMessage, Subject};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The number of the first entry, the answer to a join. It is as long as the room is large, which is no
/// doing of the one who joins, and every client must have it: it is not counted with the events.
/// Rooms admit those who join one after another while much waits.
const FIRST: u64 = 0;

/// So many messages wait for clients that keep up as well, for a moment: those get every state there
/// was. For a client behind which more waits only the newest counts.
const PROMPT_MESSAGES: usize = 32;

/// From here on even one state is much: only the newest is worth its bytes.
const LONG_BYTES: usize = 16 << 10;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By number, in the order in which they are sent.
    entries: BTreeMap<u64, Entry>,
    next: u64,
    /// In which entry the state of something waits.
    waiting: BTreeMap<Subject, u64>,
    event_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Whole(Outgoing),
    /// Of several messages, because some of what one of them said is told anew.
    Pieces(Vec<(Arc<SignalMessage>, usize)>),
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Since when the first one waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let (_, entry) = self.entries.first_key_value()?;
        Some(entry.since)
    }

    /// Bytes of what nothing newer replaces, behind the first answer.
    pub(super) const fn event_bytes(&self) -> usize {
        self.event_bytes
    }

    pub(super) fn push(&mut self, outgoing: Outgoing, now: Instant) -> Queued {
        let Outgoing::Message(message) = outgoing else {
            self.append(Content::Whole(outgoing), now);
            return Queued::New;
        };
        let prompt = self.entries.len() < PROMPT_MESSAGES && message.length() < LONG_BYTES;
        match message.place() {
            Place::Last | Place::OfOld if prompt => {
                self.append_message(message, now);
                Queued::New
            }
            Place::Own => {
                if self.next != FIRST {
                    self.event_bytes += message.length();
                }
                self.append(Content::Whole(Outgoing::Message(message)), now);
                Queued::New
            }
            Place::Last => self.push_last(message, now),
            Place::OfOld => self.push_of_old(message, now),
        }
    }

    /// Such a message has one piece, and so has the one that it replaces.
    fn push_last(&mut self, message: Arc<SignalMessage>, now: Instant) -> Queued {
        let old = message
            .pieces()
            .first()
            .and_then(|piece| self.waiting.get(&piece.subject))
            .copied();
        let old = old.and_then(|number| self.entries.remove(&number));
        // The age stays that of the first one, or who changes it often would keep it young.
        let since = old.as_ref().map_or(now, |entry| entry.since);
        self.append_message(message, since);
        if old.is_some() {
            Queued::Replaced
        } else {
            Queued::New
        }
    }

    fn push_of_old(&mut self, message: Arc<SignalMessage>, now: Instant) -> Queued {
        let mut fresh = Vec::new();
        for (index, piece) in message.pieces().iter().enumerate() {
            match self.waiting.get(&piece.subject) {
                Some(&number) => self.replace(number, &piece.subject, (Arc::clone(&message), index)),
                None => fresh.push(index),
            }
        }
        if fresh.len() == message.pieces().len() {
            self.append_message(message, now);
            return Queued::New;
        }
        if !fresh.is_empty() {
            for index in &fresh {
                if let Some(piece) = message.pieces().get(*index) {
                    self.waiting.insert(piece.subject.clone(), self.next);
                }
            }
            let pieces = fresh
                .into_iter()
                .map(|index| (Arc::clone(&message), index))
                .collect();
            self.append(Content::Pieces(pieces), now);
        }
        Queued::Replaced
    }

    /// Puts a newer piece in the place of the one about the same.
    fn replace(&mut self, number: u64, subject: &Subject, newer: (Arc<SignalMessage>, usize)) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        if let Content::Whole(Outgoing::Message(whole)) = &entry.content {
            if whole.pieces().len() == 1 && newer.0.pieces().len() == 1 {
                entry.content = Content::Whole(Outgoing::Message(newer.0));
                return;
            }
            let pieces = (0..whole.pieces().len()).map(|index| (Arc::clone(whole), index));
            entry.content = Content::Pieces(pieces.collect());
        }
        if let Content::Pieces(pieces) = &mut entry.content {
            let same = |(message, index): &&mut (Arc<SignalMessage>, usize)| {
                message
                    .pieces()
                    .get(*index)
                    .is_some_and(|piece| piece.subject == *subject)
            };
            // A message may name one twice; the later one counts.
            if let Some(old) = pieces.iter_mut().rev().find(same) {
                *old = newer;
            }
        }
    }

    fn append_message(&mut self, message: Arc<SignalMessage>, since: Instant) {
        for piece in message.pieces() {
            self.waiting.insert(piece.subject.clone(), self.next);
        }
        self.append(Content::Whole(Outgoing::Message(message)), since);
    }

    fn append(&mut self, content: Content, since: Instant) {
        self.entries.insert(self.next, Entry { since, content });
        self.next += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Taken> {
        let (number, Entry { since, content }) = self.entries.pop_first()?;
        let outgoing = match content {
            Content::Whole(Outgoing::Message(message)) => {
                if message.place() == Place::Own && number != FIRST {
                    self.event_bytes = self.event_bytes.saturating_sub(message.length());
                }
                for piece in message.pieces() {
                    self.taken(number, &piece.subject);
                }
                Outgoing::Message(message)
            }
            Content::Whole(outgoing) => outgoing,
            Content::Pieces(pieces) => Outgoing::Message(self.assemble(number, &pieces)),
        };
        Some(Taken { outgoing, since })
    }

    fn assemble(&mut self, number: u64, pieces: &[(Arc<SignalMessage>, usize)]) -> Arc<SignalMessage> {
        for (message, index) in pieces {
            if let Some(piece) = message.pieces().get(*index) {
                self.taken(number, &piece.subject);
            }
        }
        SignalMessage::assembled(pieces).expect("an entry has pieces")
    }

    fn taken(&mut self, number: u64, subject: &Subject) {
        if self.waiting.get(subject) == Some(&number) {
            self.waiting.remove(subject);
        }
    }
}
