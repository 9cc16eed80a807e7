//! Who is told of whom: updates about publishers and metadata go out at once,
//! those about pure subscribers are gathered; and what is told of the room itself.

use crate::departures;
use crate::effect::Effect;
use crate::participant::{Participant, ParticipantId, State};
use crate::room::{Counts, Room};
use crate::telling::Pressure;
use crate::timers::Timer;
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::{BTreeMap, BTreeSet};
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
    pub(crate) audience: Audience,
}

/// Who is told of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Everybody,
    /// Of the hidden only they themselves are told.
    Itself,
    /// That somebody hid takes it away from the others.
    Others,
}

impl Room {
    /// Tells everybody of a participant: now when it publishes or `immediate`, else with the next
    /// batch.
    pub(crate) fn broadcast(&mut self, id: ParticipantId, immediate: bool) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let at_once = immediate || participant.is_publisher;
        self.tell(id, at_once);
    }

    /// As [`Self::broadcast`], whether it publishes or not.
    pub(crate) fn tell(&mut self, id: ParticipantId, at_once: bool) {
        if at_once && !self.may_tell(id) {
            self.delay_update(id);
            return;
        }
        if let Some(gone) = self.vanish(id) {
            self.push_update(gone, true);
        }
        if let Some(update) = self.participants.get_mut(&id).map(snapshot) {
            self.push_update(update, at_once);
        }
    }

    /// What takes somebody away from the others who hid since they were told of it.
    fn vanish(&mut self, id: ParticipantId) -> Option<QueuedUpdate> {
        let participant = self.participants.get_mut(&id)?;
        let hides = participant.permission.hidden && std::mem::take(&mut participant.shown);
        if !hides {
            return None;
        }
        let info = departures::vanished(&participant.info());
        let audience = Audience::Others;
        let gone = QueuedUpdate { info, id, audience };
        // Who is away is told of it as of any other departure.
        self.departed.add(self.now, &gone, participant.budget);
        Some(gone)
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
            // The end of an older session would take the newer one away if it were told behind it.
            let own = |ended: &mut QueuedUpdate| ended.info.identity == identity;
            outgoing.extend(self.ended.extract_if(.., own));
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
        for queued in std::mem::take(&mut self.updates).into_values() {
            // What changed meanwhile and waits for its sender's budget is told with it, that it hid too.
            updates.extend(self.vanish(queued.id));
            let now = self.participants.get_mut(&queued.id).map(snapshot);
            updates.push(now.unwrap_or(queued));
        }
        self.send_updates(&updates);
    }

    fn send_updates(&mut self, updates: &[QueuedUpdate]) {
        // Those who are told the same are told it together. Apart are told whom an update is about, when
        // it is not for everybody, and of whose earlier session one tells.
        let apart: BTreeSet<ParticipantId> = updates
            .iter()
            .filter_map(|update| {
                let current = *self.identities.get(&update.info.identity)?;
                (update.audience != Audience::Everybody || update.id != current).then_some(current)
            })
            .collect();
        let mut groups: BTreeMap<(bool, Option<ParticipantId>), Vec<ParticipantId>> = BTreeMap::new();
        for participant in self.participants.values() {
            if participant.connection.is_some() && participant.state != State::Joining {
                let id = participant.id;
                let itself = apart.contains(&id).then_some(id);
                let group = (participant.knows_sessions(), itself);
                groups.entry(group).or_default().push(id);
            }
        }
        let receivers = groups.values().map(Vec::len).sum();
        for update in updates {
            self.update_told(update.id);
            self.note_told(update.id, update.info.encoded_len(), receivers);
            if update.info.state == i32::from(State::Disconnected) {
                self.departed.note_told(self.now, update);
            }
            if update.audience == Audience::Everybody
                && let Some(participant) = self.participants.get_mut(&update.id)
            {
                participant.shown = true;
            }
        }
        for ((sessions, itself), receivers) in groups {
            let told_itself =
                |update: &QueuedUpdate| Some(update.id) == itself && update.audience != Audience::Others;
            let knows_itself = updates.iter().any(told_itself);
            let infos: Vec<_> = updates
                .iter()
                .filter(|update| {
                    let identity = &update.info.identity;
                    let own = itself.is_some() && self.identities.get(identity).copied() == itself;
                    if own && Some(update.id) == itself {
                        return told_itself(update);
                    }
                    // Clients take the end of an earlier session for their own, until they are told of
                    // themselves.
                    update.audience != Audience::Itself && (!own || knows_itself)
                })
                .filter(|update| sessions || !self.is_replaced(update))
                .map(|update| update.info.clone())
                .collect();
            self.send_infos(&receivers, infos);
        }
    }

    /// Whether a departure only says that a newer session of the same identity took the place of one.
    /// The newer one may be gone as well, or be hidden: then nothing else would say that this one is.
    fn is_replaced(&self, update: &QueuedUpdate) -> bool {
        update.info.state == i32::from(State::Disconnected)
            && update.info.disconnect_reason == i32::from(proto::DisconnectReason::DuplicateIdentity)
            && self.shows(&update.info.identity)
    }

    /// Whether the others see somebody of that identity.
    pub(crate) fn shows(&self, identity: &str) -> bool {
        let participant = self.identities.get(identity);
        let participant = participant.and_then(|id| self.participants.get(id));
        participant.is_some_and(|participant| !participant.permission.hidden)
    }

    /// Participants and departures that others have not been told of yet.
    pub(crate) fn untold_updates(&self) -> usize {
        self.updates.len() + self.ended.len() + self.untold.updates()
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

/// A participant as it is told of now.
fn snapshot(participant: &mut Participant) -> QueuedUpdate {
    let audience = if participant.permission.hidden {
        Audience::Itself
    } else {
        Audience::Everybody
    };
    QueuedUpdate {
        info: participant.info(),
        id: participant.id,
        audience,
    }
}
