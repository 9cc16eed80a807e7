//! Who is told of whom: updates about publishers and metadata go out at once,
//! those about pure subscribers are gathered; and what is told of the room itself.

use crate::departures;
use crate::effect::Effect;
use crate::participant::{ParticipantId, State};
use crate::room::{Counts, Room};
use crate::telling::Pressure;
use crate::timers::Timer;
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Participant counts are told at most this often. More often costs every client a message per
/// join; less often lets lists lag.
const ROOM_UPDATE_INTERVAL: Duration = Duration::from_secs(5);

/// Departures that wait for the next batch because their identity is back already. More are told at
/// once.
const ENDED_MAX: usize = 256;

/// One participant's snapshot on its way to others.
#[derive(Clone, Debug)]
pub(crate) struct QueuedUpdate {
    pub(crate) info: proto::ParticipantInfo,
    pub(crate) id: ParticipantId,
}

impl QueuedUpdate {
    pub(crate) fn hidden(&self) -> bool {
        self.info
            .permission
            .as_ref()
            .is_some_and(|permission| permission.hidden)
    }

    /// A disconnect that only says "replaced by a newer session of the same identity".
    fn is_replacement(&self) -> bool {
        self.info.state == i32::from(State::Disconnected)
            && self.info.disconnect_reason == i32::from(proto::DisconnectReason::DuplicateIdentity)
    }
}

impl Room {
    /// Tells everybody of a participant: now when it publishes or `immediate`, else with the next
    /// batch.
    pub(crate) fn broadcast(&mut self, id: ParticipantId, immediate: bool) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let joined_hidden = participant.permission.hidden && participant.state == State::Joined;
        let at_once = immediate || (participant.is_publisher && !joined_hidden);
        if at_once && !self.may_tell(id) {
            self.delay_update(id);
            return;
        }
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let info = participant.info();
        // Of the hidden only they themselves are told, and not that they joined.
        if joined_hidden && !immediate {
            return;
        }
        self.push_update(QueuedUpdate { info, id }, at_once);
    }

    /// As [`Self::broadcast`] for a snapshot that was already taken: now, or with the next batch.
    pub(crate) fn push_update(&mut self, update: QueuedUpdate, mut now: bool) {
        let identity = update.info.identity.clone();
        let mut outgoing = Vec::new();
        if let Some(mut queued) = self.updates.remove(&identity)
            && queued.id != update.id
        {
            if update.id < queued.id {
                // A newer session already became known: the old one says nothing any more.
                self.updates.insert(identity, queued);
                return;
            }
            queued.info.state = State::Disconnected.into();
            if queued.info.disconnect_reason == i32::from(proto::DisconnectReason::UnknownReason) {
                queued.info.disconnect_reason = proto::DisconnectReason::DuplicateIdentity.into();
            }
            if self.may_tell(update.id) || self.ended.len() >= ENDED_MAX {
                outgoing.append(&mut self.ended);
                outgoing.push(queued);
                now = true;
            } else {
                // Who comes and goes all the time is told of with the batch.
                queued.info = departures::told(queued.info);
                self.ended.push(queued);
            }
        } else if let Some(current) = self.identities.get(&identity)
            && update.id < *current
        {
            return;
        }
        if now {
            outgoing.push(update);
            self.send_updates(&outgoing);
        } else {
            self.update_told(update.id);
            self.updates.insert(identity, update);
            let at = self.next_tick(self.config.subscriber_update_interval);
            self.timers.set_if_none(Timer::Updates, at);
        }
    }

    /// The batch goes out.
    pub(crate) fn flush_updates(&mut self) {
        if self.pressure > Pressure::Low {
            let at = self.next_tick(self.config.subscriber_update_interval);
            self.timers.set_if_none(Timer::Updates, at);
            return;
        }
        let mut updates = std::mem::take(&mut self.ended);
        updates.extend(std::mem::take(&mut self.updates).into_values());
        self.send_updates(&updates);
    }

    fn send_updates(&mut self, updates: &[QueuedUpdate]) {
        // Those who are told the same are told it together. Only the hidden see more than others.
        let mut groups: BTreeMap<(bool, Option<ParticipantId>), Vec<ParticipantId>> = BTreeMap::new();
        for participant in self.participants.values() {
            if participant.connection.is_some() && participant.state != State::Joining {
                let (id, old) = (participant.id, participant.protocol() < 12);
                let itself = updates.iter().any(|update| update.id == id && update.hidden());
                groups.entry((old, itself.then_some(id))).or_default().push(id);
            }
        }
        let receivers = groups.values().map(Vec::len).sum();
        for update in updates {
            self.update_told(update.id);
            self.note_told(update.id, update.info.encoded_len(), receivers);
        }
        for ((old, itself), receivers) in groups {
            let infos: Vec<_> = updates
                .iter()
                .filter(|update| Some(update.id) == itself || !update.hidden())
                .filter(|update| old || !update.is_replacement())
                .map(|update| update.info.clone())
                .collect();
            self.send_infos(&receivers, infos);
        }
    }

    /// Sends infos in messages near the configured size.
    pub(crate) fn send_infos(&mut self, receivers: &[ParticipantId], infos: Vec<proto::ParticipantInfo>) {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for info in infos {
            let size = info.encoded_len();
            if !chunk.is_empty() && bytes + size > self.config.update_batch_bytes {
                self.send_chunk(receivers, std::mem::take(&mut chunk));
                bytes = 0;
            }
            bytes += size;
            chunk.push(info);
        }
        if !chunk.is_empty() {
            self.send_chunk(receivers, chunk);
        }
    }

    fn send_chunk(&mut self, receivers: &[ParticipantId], participants: Vec<proto::ParticipantInfo>) {
        let update = proto::ParticipantUpdate { participants };
        self.send_to_all(receivers.iter().copied(), Response::Update(update));
    }

    /// Participants, publishers or recorders came or went: told with the next tick, recording at
    /// once.
    pub(crate) fn counts_changed(&mut self) {
        let counts = self.count();
        if counts.recording != self.counts.recording {
            self.update_counts();
        } else if counts != self.counts {
            let at = self.next_tick(ROOM_UPDATE_INTERVAL);
            self.timers.set_if_none(Timer::RoomUpdate, at);
        }
    }

    /// Tells the counts when they changed.
    pub(crate) fn update_counts(&mut self) {
        let counts = self.count();
        if counts != self.counts {
            self.counts = counts;
            self.broadcast_room();
            self.list();
        }
    }

    /// Tells everybody what the room is like, at once or a little later.
    pub(crate) fn broadcast_room(&mut self) {
        if !self.may_tell_room() {
            return;
        }
        let update = proto::RoomUpdate {
            room: Some(self.info()),
        };
        let receivers: Vec<_> = self.participants.keys().copied().collect();
        self.note_room_told(update.encoded_len(), receivers.len());
        self.send_to_all(receivers, Response::RoomUpdate(update));
    }

    pub(crate) fn list(&mut self) {
        let room = Box::new(self.info());
        self.effects.push_back(Effect::Listed { room });
    }

    /// The room as clients and lists see it.
    pub(crate) fn info(&self) -> proto::Room {
        proto::Room {
            sid: self.sid.clone(),
            name: self.config.name.clone(),
            empty_timeout: self.config.empty_timeout_s,
            departure_timeout: self.config.departure_timeout_s,
            max_participants: self.config.max_participants,
            creation_time: self.created.unix_s(),
            creation_time_ms: self.created.unix_ms(),
            turn_password: self.turn_password.clone(),
            enabled_codecs: self.config.enabled_codecs.clone(),
            metadata: self.metadata.clone(),
            num_participants: self.counts.participants,
            num_publishers: self.counts.publishers,
            active_recording: self.counts.recording,
            version: None,
        }
    }

    pub(crate) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for participant in self.participants.values() {
            counts.recording |= participant.permission.recorder;
            if !participant.is_dependent() {
                counts.participants += 1;
                counts.publishers += u32::from(participant.is_publisher);
            }
        }
        counts
    }

    /// The next multiple of `period` since the room began.
    fn next_tick(&self, period: Duration) -> Instant {
        let period_ns = period.as_nanos().max(1);
        let age = self
            .now
            .monotonic
            .saturating_duration_since(self.created.monotonic)
            .as_nanos();
        let wait = period_ns - age % period_ns;
        self.now.monotonic + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}
