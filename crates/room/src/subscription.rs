//! Who receives what: desired by the subscriber ∩ permitted by publisher and grants ∩ published.

use crate::client;
use crate::negotiation::{CodecUnsupported, DownRequest};
use crate::participant::{ParticipantId, State};
use crate::publication::Publication;
use crate::room::{Down, Room};
use crate::timers::Timer;
use media::api::{DownKey, Kind, LayerWish, TrackKey};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// Most tracks about which one participant may have a wish.
const SUBSCRIPTIONS_MAX: usize = 8_192;

/// Longer names are nobody's SID. Without a bound a client could fill memory with wishes.
pub(crate) const SID_BYTES_MAX: usize = 64;

/// A wanted track that has not appeared by then is reported as not found.
const NOT_FOUND_AFTER: Duration = Duration::from_secs(60);

/// A copy that an active client has not negotiated by then is reported.
const UNBOUND_AFTER: Duration = Duration::from_secs(15);

/// One participant's wish about one track.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    pub(crate) desired: bool,
    /// As last set by the client, possibly before it subscribed.
    pub(crate) settings: Option<proto::UpdateTrackSettings>,
    /// What the client was last told about being permitted.
    pub(crate) permitted: Option<bool>,
    /// The copy, once negotiation knows of it.
    pub(crate) down: Option<DownKey>,
    /// Negotiated: media flows.
    pub(crate) bound: bool,
    /// Of which codec's track the copy is made, once that is negotiated.
    pub(crate) source: Option<TrackKey>,
    /// What the media plane was last told to send.
    pub(crate) wish: Option<LayerWish>,
}

impl Room {
    /// The client, or the API for it, subscribes or unsubscribes.
    pub(crate) fn update_subscription(&mut self, id: ParticipantId, update: &proto::UpdateSubscription) {
        self.subscribe_to(
            id,
            &update.track_sids,
            &update.participant_tracks,
            update.subscribe,
        );
    }

    pub(crate) fn subscribe_to(
        &mut self,
        id: ParticipantId,
        sids: &[String],
        participant_tracks: &[proto::ParticipantTracks],
        subscribe: bool,
    ) {
        let sids = sids
            .iter()
            .chain(participant_tracks.iter().flat_map(|tracks| &tracks.track_sids));
        for sid in sids {
            if subscribe {
                self.want(id, sid);
            } else {
                self.unwant(id, sid);
            }
        }
    }

    /// Every published track is wanted by a participant that subscribes automatically.
    pub(crate) fn auto_subscribe(&mut self, id: ParticipantId) {
        if self
            .participants
            .get(&id)
            .is_some_and(|participant| participant.settings.auto_subscribe)
        {
            for sid in self.published_sids(id) {
                self.want(id, &sid);
            }
        }
    }

    /// Looks again at everything a participant wants.
    pub(crate) fn reconcile_all(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let sids: Vec<_> = participant.subscriptions.keys().cloned().collect();
        for sid in sids {
            self.reconcile(id, &sid);
        }
    }

    fn published_sids(&self, except: ParticipantId) -> Vec<String> {
        self.participants
            .values()
            .filter(|participant| participant.id != except)
            .flat_map(|participant| participant.publications.values())
            .filter(|publication| publication.published)
            .map(|publication| publication.info.sid.clone())
            .collect()
    }

    pub(crate) fn want(&mut self, id: ParticipantId, sid: &str) {
        if let Some(subscription) = self.subscription(id, sid) {
            subscription.desired = true;
            self.reconcile(id, sid);
        }
        if self.find_published(sid).is_none() {
            self.expect_track(id, sid);
        }
    }

    /// A wanted track does not exist yet: it has some time to appear.
    fn expect_track(&mut self, id: ParticipantId, sid: &str) {
        let deadline = self.now.monotonic + NOT_FOUND_AFTER;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if participant.subscriptions.contains_key(sid) {
            participant.missing.entry(sid.to_owned()).or_insert(deadline);
            self.timers.set_if_none(Timer::Missing(id), deadline);
        }
    }

    /// Wishes about tracks that never appeared are dropped, and the client is told.
    pub(crate) fn tracks_missing(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let due: Vec<_> = participant
            .missing
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(sid, _)| sid.clone())
            .collect();
        for sid in &due {
            participant.missing.remove(sid);
        }
        if let Some(next) = participant.missing.values().min() {
            self.timers.set(Timer::Missing(id), *next);
        }
        for sid in due {
            let wanted = self
                .participants
                .get(&id)
                .and_then(|participant| participant.subscriptions.get(&sid))
                .is_some_and(|subscription| subscription.desired);
            if wanted && self.find_published(&sid).is_none() {
                self.subscription_failed(id, &sid, proto::SubscriptionError::SeTrackNotfound);
                if let Some(participant) = self.participants.get_mut(&id) {
                    participant.subscriptions.remove(&sid);
                }
            }
        }
    }

    fn unwant(&mut self, id: ParticipantId, sid: &str) {
        if let Some(participant) = self.participants.get_mut(&id)
            && let Some(subscription) = participant.subscriptions.get_mut(sid)
        {
            subscription.desired = false;
            participant.missing.remove(sid);
            // A later wish resolves, and tells, the permission anew.
            subscription.permitted = None;
            self.reconcile(id, sid);
        }
    }

    /// The wish, made if new. `None` past the limit.
    pub(crate) fn subscription(&mut self, id: ParticipantId, sid: &str) -> Option<&mut Subscription> {
        let participant = self.participants.get_mut(&id)?;
        let full = participant.subscriptions.len() >= SUBSCRIPTIONS_MAX
            && !participant.subscriptions.contains_key(sid);
        if full || sid.len() > SID_BYTES_MAX {
            self.stats.over_limit += 1;
            return None;
        }
        Some(participant.subscriptions.entry(sid.to_owned()).or_default())
    }

    /// Brings one subscription to what is desired, permitted and published.
    pub(crate) fn reconcile(&mut self, id: ParticipantId, sid: &str) {
        let Some((desired, down)) = self.participants.get(&id).and_then(|participant| {
            let subscription = participant.subscriptions.get(sid)?;
            Some((subscription.desired, subscription.down))
        }) else {
            return;
        };
        let permitted = desired && self.resolve_permission(id, sid);
        match (permitted, down) {
            (true, None) => self.start_copy(id, sid),
            (false, Some(down)) => self.stop_copy(id, sid, down),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Whether a wanted track may be had now; tells the client when the publisher's answer is new.
    fn resolve_permission(&mut self, id: ParticipantId, sid: &str) -> bool {
        let Some((publisher, _)) = self.find_published(sid) else {
            return false;
        };
        let (Some(publisher), Some(subscriber)) =
            (self.participants.get(&publisher), self.participants.get(&id))
        else {
            return false;
        };
        if publisher.id == id || !subscriber.permission.can_subscribe {
            return false;
        }
        let permitted = publisher.rule.permits(subscriber, sid);
        let publisher_sid = publisher.sid.clone();
        let Some(subscription) = self.subscription(id, sid) else {
            return false;
        };
        if subscription.permitted != Some(permitted) {
            subscription.permitted = Some(permitted);
            self.send(
                id,
                Response::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
                    participant_sid: publisher_sid,
                    track_sid: sid.to_owned(),
                    allowed: permitted,
                }),
            );
        }
        permitted
    }

    pub(crate) fn find_published(&self, sid: &str) -> Option<(ParticipantId, TrackKey)> {
        let key = *self.track_sids.get(sid)?;
        let publisher = *self.tracks.get(&key)?;
        let publication = self.participants.get(&publisher)?.publications.get(&key)?;
        publication.published.then_some((publisher, key))
    }

    pub(crate) fn published(&self, sid: &str) -> Option<&Publication> {
        let (publisher, key) = self.find_published(sid)?;
        self.participants.get(&publisher)?.publications.get(&key)
    }

    fn start_copy(&mut self, id: ParticipantId, sid: &str) {
        if self.is_over_subscribed(id, sid) {
            return;
        }
        self.open_subscriber(id);
        self.enable_again(id, sid);
        let serial = self.next_serial();
        let Some(request) = self.down_request(id, sid, serial) else {
            return;
        };
        let (down, wish) = (request.down, request.wish);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(link) = participant.receiving() else {
            return;
        };
        match link.transport.subscribe(request) {
            Ok(()) => {
                participant.missing.remove(sid);
                if let Some(subscription) = participant.subscriptions.get_mut(sid) {
                    subscription.down = Some(down);
                    subscription.bound = false;
                    subscription.source = None;
                    subscription.wish = Some(wish);
                }
                self.downs.insert(
                    down,
                    Down {
                        subscriber: id,
                        track_sid: sid.to_owned(),
                    },
                );
                self.timers
                    .set(Timer::Unbound(down), self.now.monotonic + UNBOUND_AFTER);
                self.hearing_changed(id, sid, true);
                self.request_negotiation(id);
                self.demand_changed(sid);
            }
            Err(CodecUnsupported) => {
                self.subscription_failed(id, sid, proto::SubscriptionError::SeCodecUnsupported);
            }
        }
    }

    /// An adaptive client decides anew about a picture that it gets anew: it may wait for a frame to
    /// see that it is shown. Sound that it disabled stays so.
    fn enable_again(&mut self, id: ParticipantId, sid: &str) {
        if self.kind_of(sid) != Some(Kind::Video) {
            return;
        }
        if let Some(participant) = self.participants.get_mut(&id)
            && participant.settings.adaptive_stream
            && let Some(subscription) = participant.subscriptions.get_mut(sid)
            && let Some(settings) = &mut subscription.settings
        {
            settings.disabled = false;
        }
    }

    fn down_request(&self, id: ParticipantId, sid: &str, serial: u32) -> Option<DownRequest> {
        let (publisher, key) = self.find_published(sid)?;
        let publisher = self.participants.get(&publisher)?;
        let publication = publisher.publications.get(&key)?;
        let subscriber = self.participants.get(&id)?;
        let stream = &publication.info.stream;
        let synchronized = self.syncs_streams(&subscriber.client) && !stream.is_empty();
        let stream_id = if synchronized {
            format!("{}|{stream}", publisher.sid)
        } else if subscriber.protocol() == 0 {
            publisher.sid.clone()
        } else {
            format!("{}|{sid}", publisher.sid)
        };
        Some(DownRequest {
            down: DownKey::new(subscriber.placement.thread, self.config.key, serial),
            track: key,
            kind: publication.kind,
            codecs: publication.codecs_by_preference(self.config.active_red),
            backups: publication.backup_codecs(),
            stream_id,
            synchronized,
            track_sid: sid.to_owned(),
            stereo: publication
                .info
                .audio_features
                .contains(&proto::AudioTrackFeature::TfStereo.into()),
            wish: self.wish(id, sid),
        })
    }

    /// Whether this client gets sound and picture of a participant under one stream id.
    pub(crate) fn syncs_streams(&self, client: &proto::ClientInfo) -> bool {
        self.config.sync_streams && client.protocol >= 10 && !client::traits(client).firefox
    }

    fn is_over_subscribed(&self, id: ParticipantId, sid: &str) -> bool {
        let Some(kind) = self.kind_of(sid) else {
            return true;
        };
        let max = match kind {
            Kind::Audio => self.config.limits.subscription_audio_max,
            Kind::Video => self.config.limits.subscription_video_max,
        };
        let Some(participant) = self.participants.get(&id) else {
            return true;
        };
        max > 0
            && participant
                .subscriptions
                .iter()
                .filter(|(other, subscription)| {
                    subscription.down.is_some() && self.kind_of(other) == Some(kind)
                })
                .count()
                >= max
    }

    fn kind_of(&self, sid: &str) -> Option<Kind> {
        Some(self.published(sid)?.kind)
    }

    fn stop_copy(&mut self, id: ParticipantId, sid: &str, down: DownKey) {
        self.downs.remove(&down);
        self.timers.cancel(Timer::Wish(down));
        self.timers.cancel(Timer::Unbound(down));
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if let Some(subscription) = participant.subscriptions.get_mut(sid) {
            subscription.down = None;
            subscription.bound = false;
            subscription.source = None;
        }
        let command = participant
            .receiving()
            .and_then(|link| link.transport.unsubscribe(down));
        match command {
            Some(command) => {
                self.commands(id, vec![command]);
                self.release_later(id, down);
            }
            None => self.request_negotiation(id),
        }
        self.hearing_changed(id, sid, false);
        self.demand_changed(sid);
        if self.config.limits.subscription_video_max > 0 || self.config.limits.subscription_audio_max > 0 {
            self.fill_capacity(id, sid);
        }
    }

    /// A copy made room below the limits: tracks that wait for it have their turn, not the one
    /// that has just ended.
    fn fill_capacity(&mut self, id: ParticipantId, ended: &str) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let waiting: Vec<_> = participant
            .subscriptions
            .iter()
            .filter(|(sid, subscription)| {
                subscription.desired && subscription.down.is_none() && sid.as_str() != ended
            })
            .map(|(sid, _)| sid.clone())
            .collect();
        for sid in waiting {
            self.reconcile(id, &sid);
        }
    }

    /// The track is over: the wish about it too.
    pub(crate) fn drop_subscription(&mut self, id: ParticipantId, sid: &str) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        if let Some(down) = participant
            .subscriptions
            .get(sid)
            .and_then(|subscription| subscription.down)
        {
            self.stop_copy(id, sid, down);
        }
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.subscriptions.remove(sid);
        }
    }

    /// The subscriber is over: its copies end with its peers.
    pub(crate) fn drop_subscriptions(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let subscriptions = std::mem::take(&mut participant.subscriptions);
        for (sid, subscription) in subscriptions {
            if let Some(down) = subscription.down {
                self.downs.remove(&down);
                self.timers.cancel(Timer::Wish(down));
                self.timers.cancel(Timer::Unbound(down));
                self.demand_changed(&sid);
            }
        }
    }

    /// Whose copy it is, and of which track.
    pub(crate) fn subscriber_of(&self, down: DownKey) -> Option<(ParticipantId, String)> {
        let Down {
            subscriber,
            track_sid,
        } = self.downs.get(&down)?;
        Some((*subscriber, track_sid.clone()))
    }

    /// Copies that have a section now; the publisher hears of its first subscriber.
    pub(crate) fn copies_bound(&mut self, bound: &[DownKey]) {
        for down in bound {
            let Some((subscriber, track_sid)) = self.subscriber_of(*down) else {
                continue;
            };
            let Some(participant) = self.participants.get_mut(&subscriber) else {
                continue;
            };
            self.timers.cancel(Timer::Unbound(*down));
            let hidden = participant.permission.hidden;
            if let Some(subscription) = participant.subscriptions.get_mut(&track_sid) {
                subscription.bound = true;
            }
            self.note_source(subscriber, &track_sid, *down);
            // The negotiation told the wish of when it began.
            if !self.timers.is_set(Timer::Wish(*down)) {
                self.apply_wish(*down);
            }
            if !hidden {
                self.tell_subscribed(&track_sid);
            }
        }
    }

    fn tell_subscribed(&mut self, sid: &str) {
        let Some((publisher, key)) = self.find_published(sid) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&publisher) else {
            return;
        };
        let understands = participant.understands_request_response();
        let Some(publication) = participant.publications.get_mut(&key) else {
            return;
        };
        if !std::mem::replace(&mut publication.subscribed_told, true) && understands {
            self.send(
                publisher,
                Response::TrackSubscribed(proto::TrackSubscribed {
                    track_sid: sid.to_owned(),
                }),
            );
        }
    }

    /// Copies whose section was rejected, or whose codecs the client does not know.
    pub(crate) fn copies_refused(&mut self, refused: &[DownKey]) {
        for down in refused {
            if let Some((subscriber, track_sid)) = self.subscriber_of(*down) {
                let error = proto::SubscriptionError::SeCodecUnsupported;
                self.subscription_failed(subscriber, &track_sid, error);
            }
        }
    }

    /// A copy that nobody negotiated: the client is told once. It goes on being offered.
    pub(crate) fn copy_unbound(&mut self, down: DownKey) {
        let Some((subscriber, track_sid)) = self.subscriber_of(down) else {
            return;
        };
        let active = self
            .participants
            .get(&subscriber)
            .is_some_and(|participant| participant.state == State::Active);
        if active {
            self.tell_failed(subscriber, &track_sid, proto::SubscriptionError::SeUnknown);
        } else {
            // It has no time yet in which to be bound.
            self.timers
                .set(Timer::Unbound(down), self.now.monotonic + UNBOUND_AFTER);
        }
    }

    fn subscription_failed(&mut self, id: ParticipantId, sid: &str, error: proto::SubscriptionError) {
        self.unwant(id, sid);
        self.tell_failed(id, sid, error);
    }

    fn tell_failed(&mut self, id: ParticipantId, sid: &str, error: proto::SubscriptionError) {
        self.send(
            id,
            Response::SubscriptionResponse(proto::SubscriptionResponse {
                track_sid: sid.to_owned(),
                err: error.into(),
            }),
        );
    }
}
