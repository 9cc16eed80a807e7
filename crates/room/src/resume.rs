//! Resuming a session with a new signal connection.

use crate::action::Join;
use crate::effect::Effect;
use crate::leave::leave_request;
use crate::participant::{Participant, ParticipantId};
use crate::room::Room;
use crate::timers::Timer;
use media::api::IceCredentials;
use proto::leave_request::Action as LeaveAction;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// Departures told since this long before the client was last heard are told again.
const OVERLAP: Duration = Duration::from_secs(3);

impl Room {
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
        let Some(last_seen) = self
            .participants
            .get(&id)
            .map(|participant| participant.last_seen.monotonic)
        else {
            return;
        };
        self.detach(id);
        self.timers.cancel(Timer::Resume(id));
        self.expect_media(id);
        self.connections.insert(join.connection, id);
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.connection = Some(join.connection);
            participant.last_seen = self.now;
            participant.token_end = self.now.monotonic + Duration::from_secs(join.token_remaining_s);
        }
        self.send_reconnect(id);
        self.replay_departures(id, last_seen);
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

    fn replay_departures(&mut self, id: ParticipantId, last_seen: std::time::Instant) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let protocol = participant.protocol();
        if protocol < 9 {
            return;
        }
        let since = last_seen.checked_sub(OVERLAP).unwrap_or(last_seen);
        let infos: Vec<_> = self
            .departed
            .since(since, protocol < 12)
            .into_iter()
            .filter(|info| info.identity != participant.identity())
            // Who came back under the same name is told by what comes next. Clients that know
            // participants by identity would give up the tracks of the new session.
            .filter(|info| protocol < 12 || !self.identities.contains_key(&info.identity))
            .collect();
        self.send_infos(&[id], infos);
    }

    fn send_everybody(&mut self, id: ParticipantId) {
        let infos: Vec<_> = self
            .participants
            .values_mut()
            .filter(|participant| participant.id == id || !participant.permission.hidden)
            .map(Participant::info)
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
        let ice: IceCredentials = self.ice_credentials(thread);
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
