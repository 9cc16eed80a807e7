//! Failures on request, so that clients can test how they recover.

use crate::action::ConnectionId;
use crate::effect::Effect;
use crate::participant::ParticipantId;
use crate::room::Room;
use crate::timers::Timer;
use proto::DisconnectReason as Reason;
use proto::simulate_scenario::Scenario;
use protocol::proto;
use std::time::{Duration, Instant};

/// Wishes about the next resume are forgotten after this long.
const RESUME_WITHIN: Duration = Duration::from_secs(5);

/// Resumes that are cut before any message.
const SILENT_CUTS: u8 = 3;

/// How loud a simulated speaker is.
const SPEAKER_LEVEL: f32 = 0.9;

/// Longest simulated speech, seconds.
const SPEECH_S_MAX: i32 = 600;

/// What shall happen to the next resumes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cuts {
    after_messages: Option<Instant>,
    silent: Option<(u8, Instant)>,
}

impl Room {
    pub(crate) fn simulate(&mut self, id: ParticipantId, request: proto::SimulateScenario) {
        let until = self.now.monotonic + RESUME_WITHIN;
        let Some(scenario) = request.scenario else {
            return;
        };
        match scenario {
            Scenario::SpeakerUpdate(seconds) => {
                self.simulate_speaker(id, true);
                let seconds = u64::try_from(seconds.clamp(0, SPEECH_S_MAX)).unwrap_or(0);
                self.timers.set(
                    Timer::SimulatedSpeech(id),
                    self.now.monotonic + Duration::from_secs(seconds),
                );
            }
            Scenario::NodeFailure(true) => self.end_session(id, Reason::ServerShutdown),
            Scenario::Migration(true) => self.end_session(id, Reason::Migration),
            Scenario::ServerLeave(true) => self.close_participant(id, Reason::ServerShutdown),
            Scenario::DisconnectSignalOnResume(true) => {
                if let Some(participant) = self.participants.get_mut(&id) {
                    participant.cuts.after_messages = Some(until);
                }
            }
            Scenario::DisconnectSignalOnResumeNoMessages(true) => {
                if let Some(participant) = self.participants.get_mut(&id) {
                    participant.cuts.silent = Some((SILENT_CUTS, until));
                }
            }
            // There is one transport, UDP: what is left of a switch is its ICE restart.
            Scenario::SwitchCandidateProtocol(_) => self.restart_ice(id),
            // Nothing limits a subscriber's bandwidth yet; the reference has no full reconnect either.
            Scenario::SubscriberBandwidth(_)
            | Scenario::LeaveRequestFullReconnect(_)
            | Scenario::NodeFailure(false)
            | Scenario::Migration(false)
            | Scenario::ServerLeave(false)
            | Scenario::DisconnectSignalOnResume(false)
            | Scenario::DisconnectSignalOnResumeNoMessages(false) => {}
        }
    }

    /// Tells everybody who hears it that a participant speaks, or does no more.
    pub(crate) fn simulate_speaker(&mut self, id: ParticipantId, active: bool) {
        let Some(sid) = self
            .participants
            .get(&id)
            .map(|participant| participant.sid.clone())
        else {
            return;
        };
        let speaker = proto::SpeakerInfo {
            sid,
            level: if active { SPEAKER_LEVEL } else { 0.0 },
            active,
        };
        self.tell_speaker(&speaker);
    }

    /// Cuts a resume before any message when that was asked for. True when it did. The edge tries
    /// again on its own, so that one request of a client may use up all cuts.
    pub(crate) fn cut_silently(&mut self, id: ParticipantId, connection: ConnectionId) -> bool {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        match &mut participant.cuts.silent {
            Some((left, until)) if *left > 0 && *until >= now => *left -= 1,
            _ => {
                participant.cuts.silent = None;
                return false;
            }
        }
        // The new connection replaces the old one before it is cut itself.
        let session_stays = participant.ice_once;
        self.detach(id);
        self.effects.push_back(Effect::CloseSignal { connection });
        if !session_stays {
            self.end_session(id, Reason::SignalClose);
        }
        true
    }

    /// Closes the signal connection of a resume when that was asked for.
    pub(crate) fn cut_after_messages(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant
            .cuts
            .after_messages
            .take()
            .is_some_and(|until| until >= now)
        {
            let session_stays = participant.ice_once;
            self.detach(id);
            if !session_stays {
                // As when a client's connection is lost before its media ever came up.
                self.end_session(id, Reason::SignalClose);
            }
        }
    }
}
