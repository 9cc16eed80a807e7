//! Leaving: of one participant, for whatever reason, and of everybody when the room ends.

use crate::action::{Action, ConnectionId};
use crate::departures;
use crate::effect::{ApiError, ApiErrorCode, Effect};
use crate::participant::{ParticipantId, State};
use crate::room::Room;
use crate::timers::Timer;
use crate::update::{Audience, QueuedUpdate};
use media::api::{Command, PeerKey};
use proto::DisconnectReason as Reason;
use proto::leave_request::Action as LeaveAction;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// A client whose media failed must have resumed by then.
const RESUME_TIMEOUT: Duration = Duration::from_secs(5);

/// Media that failed must be back so long after the client resumed: an ICE restart on a slow network
/// takes less, and clients give up and resume again after 15 s.
const RETURN_TIMEOUT: Duration = Duration::from_secs(20);

impl Room {
    /// The client says goodbye.
    pub(crate) fn client_leave(&mut self, id: ParticipantId, leave: &proto::LeaveRequest) {
        let reason = leave.reason();
        let kept = matches!(
            reason,
            Reason::UserUnavailable | Reason::UserRejected | Reason::AgentError | Reason::SipTrunkFailure
        );
        let reason = if kept { reason } else { Reason::ClientInitiated };
        self.close_participant(id, reason);
    }

    /// Ends a session for good, telling the client and the others.
    pub(crate) fn close_participant(&mut self, id: ParticipantId, reason: Reason) {
        self.send_leave(id, reason, LeaveAction::Disconnect);
        self.end_session(id, reason);
    }

    /// Ends a session that the client shall start anew: it or the server lost track of the state.
    pub(crate) fn full_reconnect(&mut self, id: ParticipantId) {
        self.send_leave(id, Reason::StateMismatch, LeaveAction::Reconnect);
        self.end_session(id, Reason::StateMismatch);
    }

    pub(crate) fn send_leave(&mut self, id: ParticipantId, reason: Reason, action: LeaveAction) {
        let Some(protocol) = self
            .participants
            .get(&id)
            .map(|participant| participant.protocol())
        else {
            return;
        };
        if let Some(leave) = leave_request(protocol, reason, action) {
            self.send(id, Response::Leave(leave));
        }
    }

    /// Takes a participant out of the room without a word to itself.
    pub(crate) fn end_session(&mut self, id: ParticipantId, reason: Reason) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.state = State::Disconnected;
        participant.disconnect_reason = reason;
        participant.dirty = true;
        participant.queued.clear();
        let tracks: Vec<_> = participant.publications.keys().copied().collect();
        if let Some(connection) = participant.connection.take() {
            self.connections.remove(&connection);
            self.effects.push_back(Effect::CloseSignal { connection });
        }
        for track in tracks {
            self.end_track(id, track);
        }
        self.end_data_tracks(id);
        self.end_rpcs_to(id);
        self.drop_subscriptions(id);
        self.close_peers(id);
        self.timers.forget(id);
        self.untold.forget(id);
        let at_once = self.may_tell(id);
        let Some(mut participant) = self.participants.remove(&id) else {
            return;
        };
        let info = participant.info();
        if self.identities.get(&info.identity) == Some(&id) {
            self.identities.remove(&info.identity);
        }
        if !participant.is_dependent() {
            self.last_left = Some(self.now.monotonic);
        }
        let at_once = at_once && info.is_publisher;
        let hidden = participant.permission.hidden;
        let update = QueuedUpdate {
            info: if hidden {
                departures::vanished(&info)
            } else {
                departures::told(info)
            },
            id,
            audience: if hidden && !participant.shown {
                Audience::Itself
            } else {
                Audience::Everybody
            },
        };
        self.departed.add(self.now, &update, participant.budget);
        self.push_update(update, at_once);
        self.forget_speaker(&participant.sid);
        self.counts_changed();
        self.watch_idle();
    }

    /// The signal connection is gone. Before media ever connected that ends the session;
    /// afterwards the session lives on its media and may be resumed.
    pub(crate) fn signal_closed(&mut self, connection: ConnectionId) {
        let Some(id) = self.connections.remove(&connection) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.connection = None;
        if !participant.ice_once {
            self.end_session(id, Reason::SignalClose);
        }
    }

    /// After a resume: transports that had failed have some time to come back. A client that never
    /// negotiates again would stay for ever.
    pub(crate) fn expect_media(&mut self, id: ParticipantId) {
        let failed = self.participants.get(&id).is_some_and(|participant| {
            let links = std::iter::once(&participant.publisher).chain(&participant.subscriber);
            links.into_iter().any(|link| link.failed)
        });
        if failed {
            self.timers
                .set_if_none(Timer::Return(id), self.now.monotonic + RETURN_TIMEOUT);
        } else {
            self.timers.cancel(Timer::Return(id));
        }
    }

    /// A transport failed: the client may resume for a while.
    pub(crate) fn peer_failed(&mut self, peer: PeerKey) {
        let Some(&id) = self.peers.get(&peer) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if let Some(link) = participant.link_mut(peer) {
            link.connected = false;
            link.failed = true;
        }
        if participant.ice_once && !self.timers.is_set(Timer::Resume(id)) {
            self.media_lost(id);
        }
    }

    /// Media is gone: the client shall come back with a new signal connection, soon.
    pub(crate) fn media_lost(&mut self, id: ParticipantId) {
        self.timers.cancel(Timer::Return(id));
        self.send_leave(id, Reason::UnknownReason, LeaveAction::Resume);
        self.detach(id);
        self.timers
            .set(Timer::Resume(id), self.now.monotonic + RESUME_TIMEOUT);
    }

    /// Closes the signal connection, not the session.
    pub(crate) fn detach(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participants.get_mut(&id)
            && let Some(connection) = participant.connection.take()
        {
            self.connections.remove(&connection);
            self.effects.push_back(Effect::CloseSignal { connection });
        }
    }

    pub(crate) fn resume_timed_out(&mut self, id: ParticipantId) {
        self.close_participant(id, Reason::ConnectionTimeout);
    }

    pub(crate) fn join_timed_out(&mut self, id: ParticipantId) {
        self.close_participant(id, Reason::JoinFailure);
    }

    /// Plans the end of a room that only dependents, or nobody, keep.
    pub(crate) fn watch_idle(&mut self) {
        if self
            .participants
            .values()
            .any(|participant| !participant.is_dependent())
        {
            self.timers.cancel(Timer::Idle);
            return;
        }
        let at = match self.last_left {
            Some(left) => left + Duration::from_secs(u64::from(self.config.departure_timeout_s)),
            None => self.created.monotonic + Duration::from_secs(u64::from(self.config.empty_timeout_s)),
        };
        self.timers.set(Timer::Idle, at.max(self.now.monotonic));
    }

    pub(crate) fn idle(&mut self) {
        self.close(Reason::RoomClosed);
    }

    pub(crate) fn shutdown(&mut self) {
        self.close(Reason::ServerShutdown);
    }

    /// Ends the room.
    pub(crate) fn close(&mut self, reason: Reason) {
        let ids: Vec<_> = self.participants.keys().copied().collect();
        // Everybody hears of the end before anybody's departure would be told.
        for &id in &ids {
            self.send_leave(id, reason, LeaveAction::Disconnect);
            self.detach(id);
        }
        for id in ids {
            self.end_session(id, reason);
        }
        let room = self.config.key;
        for thread in std::mem::take(&mut self.threads) {
            self.effects.push_back(Effect::Media {
                thread,
                command: Command::CloseRoom { room },
            });
        }
        self.closed = true;
        self.effects.push_back(Effect::Closed);
    }

    /// Late actions find nobody.
    pub(crate) fn apply_closed(&mut self, action: Action) {
        match action {
            Action::Join(join) => self.refuse(join.connection),
            Action::Api { reply, .. } => self.effects.push_back(Effect::Reply {
                reply,
                result: Err(ApiError {
                    code: ApiErrorCode::NoTarget,
                    message: String::new(),
                    meta: Vec::new(),
                }),
            }),
            Action::Signal { .. }
            | Action::SignalClosed { .. }
            | Action::Media(_)
            | Action::PeerOverran { .. }
            | Action::Timeout
            | Action::Shutdown => {}
        }
    }
}

/// The leave message for a client of that protocol; `None` when it would not understand it.
pub(crate) fn leave_request(
    protocol: i32,
    reason: Reason,
    action: LeaveAction,
) -> Option<proto::LeaveRequest> {
    let (can_reconnect, action) = if protocol >= 13 {
        (false, action)
    } else {
        match action {
            LeaveAction::Disconnect => (false, LeaveAction::Disconnect),
            LeaveAction::Reconnect => (true, LeaveAction::Disconnect),
            LeaveAction::Resume => return None,
        }
    };
    Some(proto::LeaveRequest {
        can_reconnect,
        reason: reason.into(),
        action: action.into(),
        regions: None,
    })
}
