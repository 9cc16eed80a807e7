//! The reference model of permissions: who may do and receive what, kept from requests and answers
//! alone and written without a look at the room's own code.

use protocol::grants::Claims;
use protocol::proto;
use std::collections::{BTreeMap, BTreeSet};

/// A participant, present or past.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) identity: String,
    pub(super) permission: proto::ParticipantPermission,
    pub(super) kind: proto::participant_info::Kind,
    pub(super) rule: Rule,
    /// Its session has ended.
    pub(super) gone: bool,
    /// Others were told of it while it was not hidden.
    pub(super) known: bool,
    /// As anybody was last told of it, and in which step.
    pub(super) told: Option<(u64, proto::ParticipantInfo)>,
    /// Data tracks that it was last told to receive, by its own handles.
    pub(super) handles: BTreeMap<u32, String>,
}

/// Whom a publisher lets have what.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Everybody,
    /// By identity: all tracks, or some.
    Named(BTreeMap<String, Option<BTreeSet<String>>>),
}

impl Person {
    pub(super) fn may_publish(&self, source: i32) -> bool {
        may_publish(&self.permission, source)
    }

    /// Whether `receiver` may have the track (or data track) of this publisher.
    pub(super) fn lets(&self, receiver: &Self, track_sid: &str) -> bool {
        if self.gone || receiver.gone || !receiver.permission.can_subscribe {
            return false;
        }
        match &self.rule {
            Rule::Everybody => true,
            Rule::Named(_)
                if receiver.permission.recorder || receiver.kind == proto::participant_info::Kind::Egress =>
            {
                true
            }
            Rule::Named(named) => match named.get(&receiver.identity) {
                Some(None) => true,
                Some(Some(tracks)) => tracks.contains(track_sid),
                None => false,
            },
        }
    }
}

pub(super) fn may_publish(permission: &proto::ParticipantPermission, source: i32) -> bool {
    let sources = &permission.can_publish_sources;
    permission.can_publish && (sources.is_empty() || sources.contains(&source))
}

/// What a token grants: what it does not say is allowed, but for one's own metadata.
pub(super) fn granted(claims: &Claims) -> proto::ParticipantPermission {
    let grant = claims.video.clone().unwrap_or_default();
    let can_publish = grant.can_publish != Some(false);
    let named = [
        ("camera", proto::TrackSource::Camera),
        ("microphone", proto::TrackSource::Microphone),
        ("screen_share", proto::TrackSource::ScreenShare),
        ("screen_share_audio", proto::TrackSource::ScreenShareAudio),
    ];
    proto::ParticipantPermission {
        can_publish,
        can_subscribe: grant.can_subscribe != Some(false),
        can_publish_data: grant.can_publish_data.unwrap_or(can_publish),
        can_publish_sources: grant
            .can_publish_sources
            .iter()
            .map(|name| {
                let found = named.iter().find(|(known, _)| *known == name.to_lowercase());
                i32::from(found.map_or(proto::TrackSource::Unknown, |(_, source)| *source))
            })
            .collect(),
        can_update_metadata: grant.can_update_own_metadata == Some(true),
        hidden: grant.hidden,
        recorder: grant.recorder,
        ..Default::default()
    }
}

/// Whether a token that grants `token` grants exactly what `permission` allows.
pub(super) fn same(token: &proto::ParticipantPermission, permission: &proto::ParticipantPermission) -> bool {
    let sources = |permission: &proto::ParticipantPermission| -> BTreeSet<i32> {
        permission.can_publish_sources.iter().copied().collect()
    };
    let flags = |permission: &proto::ParticipantPermission| {
        [
            permission.can_publish,
            permission.can_subscribe,
            permission.can_publish_data,
            permission.can_update_metadata,
            permission.hidden,
            permission.recorder,
        ]
    };
    flags(token) == flags(permission) && sources(token) == sources(permission)
}

/// Reads a rule; `None` when it names somebody who is not there, so that the old one stays.
pub(super) fn read_rule(
    message: &proto::SubscriptionPermission,
    people: &BTreeMap<String, Person>,
) -> Option<Rule> {
    if message.all_participants {
        return Some(Rule::Everybody);
    }
    let mut named = BTreeMap::new();
    for one in &message.track_permissions {
        let identity = if !one.participant_identity.is_empty() {
            one.participant_identity.clone()
        } else if one.participant_sid.is_empty() {
            return None;
        } else if let Some(person) = people.get(&one.participant_sid).filter(|person| !person.gone) {
            person.identity.clone()
        } else {
            // Nobody any more: that restricts the others no less.
            continue;
        };
        let tracks = (!one.all_tracks).then(|| one.track_sids.iter().cloned().collect());
        named.insert(identity, tracks);
    }
    Some(Rule::Named(named))
}
