//! Resuming a session with a new signal connection.

use crate::action::{ConnectionId, Join};
use crate::effect::Effect;
use crate::leave::leave_request;
use crate::participant::ParticipantId;
use crate::room::Room;
use crate::timers::Timer;
use proto::leave_request::Action as LeaveAction;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::{Duration, Instant};

/// Departures told since this long before the client was last heard, or had got what it was sent, are
/// told again.
const OVERLAP: Duration = Duration::from_secs(3);

/// A longer one names no session.
const SID_BYTES_MAX: usize = 64;

impl Room {
    /// A connection ends, or is about to be replaced, and its client may not have got what was sent on it
    /// since then: that waited for the client, or was on its way.
    pub fn handle_unread(&mut self, connection: ConnectionId, since: Instant) {
        let id = self.connections.get(&connection).copied().or_else(|| {
            let mut participants = self.participants.values();
            let own = participants.find(|participant| participant.last_connection == connection);
            own.map(|participant| participant.id)
        });
        if let Some(participant) = id.and_then(|id| self.participants.get_mut(&id)) {
            let known = participant.missed.unread_since;
            participant.missed.unread_since = Some(known.map_or(since, |known| known.min(since)));
        }
    }

    /// The signal connection of somebody who is here.
    #[must_use]
    pub fn connection_of(&self, identity: &str) -> Option<ConnectionId> {
        let id = self.identities.get(identity)?;
        self.participants.get(id)?.connection
    }

    /// Since when the client may not have heard of departures. Takes note that it is told of them now.
    fn told_until(&mut self, id: ParticipantId, join: &Join) -> Option<Instant> {
        let created = self.created.monotonic;
        let now = self.now.monotonic;
        let participant = self.participants.get_mut(&id)?;
        let heard = participant.last_seen.monotonic;
        let unread = participant.missed.unread_since.take();
        let got = unread.map_or(heard, |unread| unread.min(heard));
        let mut until = got.checked_sub(OVERLAP).unwrap_or(got);
        if let Some((at, replayed)) = participant.missed.replayed
            && unread.is_none_or(|unread| unread <= at + OVERLAP)
        {
            // What it was told when it last came back may be lost as well.
            until = until.min(replayed);
        }
        // Who was replaced and takes the session over from the newer client, or takes it back, has heard
        // nothing of the time in between.
        let session = join.resume.as_ref();
        let session = session.map_or("", |resume| resume.participant_sid.as_str());
        let known = participant
            .missed
            .taken_over_by
            .as_deref()
            .unwrap_or(&participant.sid);
        if !session.is_empty() && session.len() <= SID_BYTES_MAX && session != known {
            until = created;
            participant.client.protocol = join.client.protocol;
            participant.client.sdk = join.client.sdk;
            participant.client.version.clone_from(&join.client.version);
            participant.missed.taken_over_by = (session != participant.sid).then(|| session.into());
        }
        participant.missed.replayed = Some((now, until));
        Some(until)
    }

    /// A client comes back. Its identity alone selects the session.
    pub(crate) fn resume(&mut self, join: Join) {
        let Some(&id) = self.identities.get(&join.claims.identity) else {
            if let Some(leave) = leave_request(
                join.client.protocol,
                proto::DisconnectReason::StateMismatch,
                LeaveAction::Reconnect,
            ) {
                self.send_on(join.connection, Response::Leave(leave));
            }
            self.effects.push_back(Effect::CloseSignal {
                connection: join.connection,
            });
            return;
        };
        if self.cut_silently(id, join.connection) {
            return;
        }
        let Some(told_until) = self.told_until(id, &join) else {
            return;
        };
        self.detach(id);
        self.timers.cancel(Timer::Resume(id));
        self.expect_media(id);
        self.connections.insert(join.connection, id);
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.connection = Some(join.connection);
            participant.last_connection = join.connection;
            participant.last_seen = self.now;
            participant.token_end = self.now.monotonic + Duration::from_secs(join.token_remaining_s);
        }
        self.send_reconnect(id);
        self.replay_departures(id, told_until);
        self.send_everybody(id);
        let room = self.info();
        self.send(id, Response::RoomUpdate(proto::RoomUpdate { room: Some(room) }));
        self.cut_after_messages(id);
        if self
            .participants
            .get(&id)
            .is_none_or(|participant| participant.connection.is_none())
        {
            return;
        }
        self.send_missed_handles(id);
        self.refresh_token(id);
        self.restart_ice(id);
        // What was told while nobody listened is lost.
        self.plan_demand_repeat(id);
    }

    fn send_reconnect(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if !participant.understands_reconnect() {
            return;
        }
        let response = proto::ReconnectResponse {
            ice_servers: self.config.ice_servers.clone(),
            client_configuration: participant.rules.configuration(),
            server_info: Some(self.config.server_info.clone()),
            last_message_seq: participant.last_sequence,
        };
        self.send(id, Response::Reconnect(response));
    }

    fn replay_departures(&mut self, id: ParticipantId, told_until: Instant) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if participant.protocol() < 9 {
            return;
        }
        let sessions = participant.knows_sessions();
        let infos: Vec<_> = self
            .departed
            .since(told_until, sessions)
            .into_iter()
            .filter(|info| info.identity != participant.identity())
            // Who came back under the same name is told by what comes next. Clients that know
            // participants by identity would give up the tracks of the new session.
            .filter(|info| sessions || !self.shows(&info.identity))
            .collect();
        self.send_infos(&[id], infos);
    }

    fn send_everybody(&mut self, id: ParticipantId) {
        let infos: Vec<_> = self
            .participants
            .values_mut()
            .filter(|participant| participant.id == id || !participant.permission.hidden)
            .map(|participant| {
                if participant.id == id {
                    participant.info()
                } else {
                    participant.show()
                }
            })
            .collect();
        self.send_infos(&[id], infos);
    }

    /// Dual mode: the server offers with new credentials. The client does so for its own.
    pub(crate) fn restart_ice(&mut self, id: ParticipantId) {
        let subscriber = self
            .participants
            .get(&id)
            .and_then(|participant| participant.subscriber.as_ref());
        if subscriber.is_some_and(|link| link.trickled && !link.transport.was_answered()) {
            // Nothing to restart: what the client may have missed is sent again.
            self.make_offer(id);
            return;
        }
        let Some(thread) = self
            .participants
            .get(&id)
            .filter(|participant| participant.subscriber.is_some())
            .map(|participant| participant.placement.thread)
        else {
            return;
        };
        let ice = self.random.ice_credentials(thread);
        let Some(link) = self
            .participants
            .get_mut(&id)
            .and_then(|participant| participant.subscriber.as_mut())
        else {
            return;
        };
        let commands = link.transport.restart_ice(ice);
        link.trickled = false;
        link.retry = false;
        self.commands(id, commands);
        self.make_offer(id);
    }

    /// What the client believes to have published must be known here.
    pub(crate) fn sync_state(&mut self, id: ParticipantId, state: &proto::SyncState) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let known = state.publish_tracks.iter().all(|track| {
            track.track.as_ref().is_some_and(|track| {
                self.track_sids
                    .get(&track.sid)
                    .is_some_and(|key| participant.publications.contains_key(key))
            })
        });
        let known_data = state.publish_data_tracks.iter().all(|track| {
            track.info.as_ref().is_some_and(|track| {
                self.data_track_sids
                    .get(&track.sid)
                    .is_some_and(|(publisher, _)| *publisher == id)
            })
        });
        if !known || !known_data {
            self.full_reconnect(id);
            return;
        }
        if !state.track_sids_disabled.is_empty() {
            self.update_track_settings(
                id,
                &proto::UpdateTrackSettings {
                    track_sids: state.track_sids_disabled.clone(),
                    disabled: true,
                    ..Default::default()
                },
            );
        }
        if let Some(subscription) = &state.subscription {
            self.update_subscription(id, subscription);
        }
    }
}
