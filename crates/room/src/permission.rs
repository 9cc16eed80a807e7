//! Who may do and receive what: a publisher's own rule about subscribers, and changes of a
//! participant's permissions mid-session.

use crate::participant::{Participant, ParticipantId};
use crate::room::Room;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::{BTreeMap, BTreeSet};

/// Most participants that one rule may name, and most tracks per participant.
const RULE_ENTRIES_MAX: usize = 10_000;

/// Which participants may subscribe to a publisher's tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionRule {
    /// Everybody, everything.
    All,
    /// Only these identities.
    Only(BTreeMap<String, Grant>),
}

/// What one identity may subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    All,
    Tracks(BTreeSet<String>),
}

impl SubscriptionRule {
    /// Whether a subscriber may have a track.
    pub(crate) fn permits(&self, subscriber: &Participant, track_sid: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(_) if subscriber.bypasses_rules() => true,
            Self::Only(grants) => match grants.get(subscriber.identity()) {
                Some(Grant::All) => true,
                Some(Grant::Tracks(tracks)) => tracks.contains(track_sid),
                None => false,
            },
        }
    }
}

impl Room {
    /// A publisher replaces its rule. Nonsense keeps the previous one.
    pub(crate) fn set_rule(&mut self, id: ParticipantId, message: &proto::SubscriptionPermission) {
        if self.delays_rule(id, message) {
            return;
        }
        let Some(rule) = self.read_rule(message) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.rule = rule;
        let tracks: Vec<_> = participant
            .publications
            .values()
            .filter(|publication| publication.published)
            .map(|publication| publication.info.sid.clone())
            .collect();
        let subscribers: Vec<_> = self
            .participants
            .keys()
            .copied()
            .filter(|&other| other != id)
            .collect();
        for subscriber in subscribers {
            for track in &tracks {
                self.reconcile(subscriber, track);
            }
            self.reconcile_data_tracks(subscriber);
        }
    }

    fn read_rule(&mut self, message: &proto::SubscriptionPermission) -> Option<SubscriptionRule> {
        if message.all_participants {
            return Some(SubscriptionRule::All);
        }
        if message.track_permissions.len() > RULE_ENTRIES_MAX {
            self.stats.over_limit += 1;
            return None;
        }
        let by_sid: BTreeMap<&str, &str> = self
            .participants
            .values()
            .map(|participant| (participant.sid.as_str(), participant.identity()))
            .collect();
        let mut grants = BTreeMap::new();
        for permission in &message.track_permissions {
            let identity = if !permission.participant_identity.is_empty() {
                permission.participant_identity.clone()
            } else if permission.participant_sid.is_empty() {
                // It names nobody: the message cannot be meant.
                return None;
            } else {
                match by_sid.get(permission.participant_sid.as_str()) {
                    Some(identity) => (*identity).to_owned(),
                    // Who has left needs no grant; the others are no less restricted for it.
                    None => continue,
                }
            };
            let grant = if permission.all_tracks {
                Grant::All
            } else {
                Grant::Tracks(
                    permission
                        .track_sids
                        .iter()
                        .take(RULE_ENTRIES_MAX)
                        .cloned()
                        .collect(),
                )
            };
            grants.insert(identity, grant);
        }
        Some(SubscriptionRule::Only(grants))
    }

    /// Replaces a participant's permissions. False when nothing changed.
    pub(crate) fn set_permission(
        &mut self,
        id: ParticipantId,
        permission: &proto::ParticipantPermission,
    ) -> bool {
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        if participant.permission == *permission {
            return false;
        }
        participant.permission = permission.clone();
        participant.dirty = true;
        write_grant(&mut participant.claims, permission);
        let revoked: Vec<_> = participant
            .publications
            .values()
            .filter(|publication| !participant.may_publish(publication.info.source))
            .map(|publication| publication.key)
            .collect();
        let told: Vec<_> = revoked
            .iter()
            .filter_map(|track| self.withdraw_track(id, *track))
            .collect();
        if !permission.can_publish_data {
            self.end_data_tracks(id);
        }
        if !told.is_empty() {
            self.broadcast(id, true);
            for sid in &told {
                self.send_unpublished(id, sid);
            }
        }
        // Both updates have the same version, as in the reference.
        let became_publisher = self.resolve_publisher(id, permission.can_publish);
        self.broadcast(id, true);
        self.refresh_token(id);
        self.reconcile_all(id);
        self.reconcile_data_tracks(id);
        if became_publisher {
            self.update_counts();
        }
        self.counts_changed();
        true
    }

    /// Whose permission was set counts as a publisher as soon as it could publish at once. True
    /// when that is new.
    fn resolve_publisher(&mut self, id: ParticipantId, can_publish: bool) -> bool {
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        let before = participant.is_publisher;
        participant.is_publisher = can_publish && (before || participant.publisher.connected);
        participant.is_publisher && !before
    }

    pub(crate) fn send_unpublished(&mut self, id: ParticipantId, sid: &str) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let message = if participant.protocol() >= 7 {
            Response::TrackUnpublished(proto::TrackUnpublishedResponse {
                track_sid: sid.to_owned(),
            })
        } else {
            Response::Mute(proto::MuteTrackRequest {
                sid: sid.to_owned(),
                muted: true,
            })
        };
        self.send(id, message);
    }
}

/// Writes permissions back into the claims from which tokens are refreshed.
fn write_grant(claims: &mut protocol::grants::Claims, permission: &proto::ParticipantPermission) {
    let grant = claims.video.get_or_insert_with(Default::default);
    grant.can_publish = Some(permission.can_publish);
    grant.can_subscribe = Some(permission.can_subscribe);
    grant.can_publish_data = Some(permission.can_publish_data);
    grant.can_update_own_metadata = Some(permission.can_update_metadata);
    grant.can_subscribe_metrics = Some(permission.can_subscribe_metrics);
    grant.can_manage_agent_session = Some(permission.can_manage_agent_session);
    grant.hidden = permission.hidden;
    grant.recorder = permission.recorder;
    grant.agent = permission.agent;
    grant.can_publish_sources = permission
        .can_publish_sources
        .iter()
        .map(|source| match proto::TrackSource::try_from(*source) {
            Ok(proto::TrackSource::Camera) => "camera",
            Ok(proto::TrackSource::Microphone) => "microphone",
            Ok(proto::TrackSource::ScreenShare) => "screen_share",
            Ok(proto::TrackSource::ScreenShareAudio) => "screen_share_audio",
            // Left out, it could leave a list that allows all.
            Ok(proto::TrackSource::Unknown) | Err(_) => "unknown",
        })
        .map(str::to_owned)
        .collect();
}
