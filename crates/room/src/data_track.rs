//! Data tracks: named streams of lossy packets. Publishers choose a handle;
//! each subscriber gets one of its own, which is written into every packet it receives.

use crate::data_handle::Handles;
use crate::participant::{Participant, ParticipantId, State};
use crate::room::Room;
use crate::subscription::SID_BYTES_MAX;
use media::api::{Command, PeerKey, ThreadId};
use prost::Message as _;
use proto::data_track_subscriber_handles::PublishedDataTrack;
use proto::request_response::{Reason, Request};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 256;

/// Longest custom frame encoding, in bytes.
const ENCODING_BYTES_MAX: usize = 32;

/// Most data tracks of one publisher, and most about which one subscriber has a wish.
const TRACKS_MAX: usize = 1_024;

/// Most updates that are read of one request: as many as there are tracks that one participant can
/// receive.
const UPDATES_MAX: usize = 4_096;

/// Largest announcement: every participant is sent it.
const REQUEST_BYTES_MAX: usize = 4_096;

/// Largest announcements of one publisher together: with each change of its state all of them go out
/// to everybody, and must fit many times into what may wait for a connection, or a publisher could
/// have others cut. The most tracks with the longest names in ASCII stay below.
const ANNOUNCED_BYTES_MAX: usize = 512 * 1024;

/// One participant's data tracks, both ways.
#[derive(Debug, Default)]
pub(crate) struct DataTracks {
    /// By the publisher's handle.
    pub(crate) published: BTreeMap<u16, proto::DataTrackInfo>,
    /// Wanted or not, by track SID. Without an entry the join setting decides.
    wanted: BTreeMap<String, bool>,
    /// What the publishers of wanted tracks permit, as last told, by track SID.
    permitted: BTreeMap<String, bool>,
    /// What is received, and under which handle.
    received: Handles,
    /// The handles changed while the client had no signal connection.
    untold: bool,
}

/// A subscriber of a track that ended.
struct Receiver {
    id: ParticipantId,
    /// It received as many as it can: another track may have waited.
    was_full: bool,
}

impl DataTracks {
    /// `random` starts the subscriber's handles, of which there are at most `received_max`.
    pub(crate) fn new(random: u64, received_max: usize) -> Self {
        Self {
            received: Handles::new(random, received_max),
            ..Self::default()
        }
    }

    /// Bytes of what is announced.
    pub(crate) fn announced_bytes(&self) -> usize {
        self.published
            .values()
            .map(proto::DataTrackInfo::encoded_len)
            .sum()
    }
}

impl Room {
    pub(crate) fn publish_data_track(&mut self, id: ParticipantId, request: proto::PublishDataTrackRequest) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if let Some((reason, message)) = self.data_track_error(participant, &request) {
            self.stats.over_limit += u64::from(reason == Reason::LimitExceeded);
            self.request_failed(id, reason, message, Request::PublishDataTrack(request));
            return;
        }
        let bytes = participant.field_bytes + request.encoded_len();
        if !self.has_room_for(Some(id), bytes) {
            let message = "too long announcements in this room";
            self.request_failed(
                id,
                Reason::LimitExceeded,
                message,
                Request::PublishDataTrack(request),
            );
            return;
        }
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let info = proto::DataTrackInfo {
            pub_handle: request.pub_handle,
            sid: self.random.sid("DTR_"),
            name: request.name,
            encryption: request.encryption,
            frame_encoding: request.frame_encoding,
            schema: request.schema,
        };
        let handle = u16::try_from(request.pub_handle).expect("checked above");
        // As the reference does it: whoever is connected becomes a publisher after the response, and
        // that is told at once; of anybody else the first track is told with the next batch.
        let at_once = participant.is_publisher;
        let becomes_publisher = !at_once && participant.state == State::Active;
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.data_tracks.published.insert(handle, info.clone());
            // Before it is told: of a hidden one the batch may go out now, with the end of its earlier
            // session.
            participant.is_publisher = true;
            participant.dirty = true;
        }
        self.measure_fields(id);
        self.data_track_sids.insert(info.sid.clone(), (id, handle));
        if !becomes_publisher {
            self.tell(id, at_once);
        }
        self.send(
            id,
            Response::PublishDataTrackResponse(proto::PublishDataTrackResponse {
                info: Some(info.clone()),
            }),
        );
        if becomes_publisher {
            self.broadcast(id, true);
        }
        self.counts_changed();
        if self.may_tell(id) {
            self.give_data_tracks(id, &BTreeSet::from([info.sid]));
        } else {
            self.delay_data_track(id, &info.sid);
        }
    }

    /// Gives new tracks to those who want them, each told once of all that it gets.
    pub(crate) fn give_data_tracks(&mut self, publisher: ParticipantId, sids: &BTreeSet<String>) {
        let mut others: Vec<_> = self.participants.keys().copied().collect();
        others.retain(|other| *other != publisher);
        for other in others {
            let resolve = |changed, sid: &String| changed | self.resolve_data_track(other, sid);
            if sids.iter().fold(false, resolve) {
                self.send_handles(other);
            }
        }
    }

    fn data_track_error(
        &self,
        participant: &Participant,
        request: &proto::PublishDataTrackRequest,
    ) -> Option<(Reason, &'static str)> {
        use proto::data_track_frame_encoding::Value;
        let published = &participant.data_tracks.published;
        let announced = participant.data_tracks.announced_bytes();
        let encoding = request
            .frame_encoding
            .as_ref()
            .and_then(|encoding| encoding.value.as_ref());
        if !participant.permission.can_publish_data || !self.config.data_tracks {
            Some((Reason::NotAllowed, "does not have permission to publish data"))
        } else if !(1..=0xFFFF).contains(&request.pub_handle) {
            Some((Reason::InvalidHandle, "handle should be > 0 AND < 65536"))
        } else if !(1..=NAME_CHARS_MAX).contains(&request.name.chars().count()) {
            Some((
                Reason::InvalidName,
                "name should not be empty and should not exceed 256 characters",
            ))
        } else if matches!(encoding, Some(Value::Custom(custom)) if !(1..=ENCODING_BYTES_MAX).contains(&custom.len()))
        {
            Some((Reason::InvalidRequest, "frame encoding is invalid"))
        } else if published
            .values()
            .any(|info| info.pub_handle == request.pub_handle)
        {
            Some((
                Reason::DuplicateHandle,
                "a data track with same handle already exists",
            ))
        } else if published.values().any(|info| info.name == request.name) {
            Some((
                Reason::DuplicateName,
                "a data track with same name already exists",
            ))
        } else if published.len() >= TRACKS_MAX
            || request.encoded_len() > REQUEST_BYTES_MAX
            || announced + request.encoded_len() > ANNOUNCED_BYTES_MAX
        {
            Some((
                Reason::LimitExceeded,
                "too many data tracks or too long announcements",
            ))
        } else {
            None
        }
    }

    pub(crate) fn unpublish_data_track(
        &mut self,
        id: ParticipantId,
        request: proto::UnpublishDataTrackRequest,
    ) {
        let handle = u16::try_from(request.pub_handle).ok();
        // Subscribers learn it from the publisher's state, as from the reference.
        let Some((info, receivers)) = handle.and_then(|handle| self.end_data_track(id, handle)) else {
            self.request_failed(id, Reason::NotFound, "", Request::UnpublishDataTrack(request));
            return;
        };
        self.broadcast(id, true);
        self.send(
            id,
            Response::UnpublishDataTrackResponse(proto::UnpublishDataTrackResponse { info: Some(info) }),
        );
        for receiver in receivers.into_iter().filter(|receiver| receiver.was_full) {
            self.reconcile_data_tracks(receiver.id);
        }
    }

    /// Forgets a track and takes it from its subscribers, who are returned.
    fn end_data_track(
        &mut self,
        id: ParticipantId,
        handle: u16,
    ) -> Option<(proto::DataTrackInfo, Vec<Receiver>)> {
        let participant = self.participants.get_mut(&id)?;
        let info = participant.data_tracks.published.remove(&handle)?;
        participant.dirty = true;
        self.data_track_sids.remove(&info.sid);
        self.measure_fields(id);
        let mut receivers = Vec::new();
        for other in self.participants.values_mut() {
            let tracks = &mut other.data_tracks;
            tracks.wanted.remove(&info.sid);
            tracks.permitted.remove(&info.sid);
            let was_full = tracks.received.is_full();
            if tracks.received.remove(&info.sid) {
                receivers.push(Receiver {
                    id: other.id,
                    was_full,
                });
            }
        }
        Some((info, receivers))
    }

    /// Ends all data tracks of a participant that leaves or may not publish data any more.
    pub(crate) fn end_data_tracks(&mut self, id: ParticipantId) {
        let handles: Vec<_> = self
            .participants
            .get(&id)
            .map(|participant| participant.data_tracks.published.keys().copied().collect())
            .unwrap_or_default();
        let mut receivers: BTreeMap<ParticipantId, bool> = BTreeMap::new();
        for handle in handles {
            let ended = self.end_data_track(id, handle);
            for receiver in ended.map(|(_, receivers)| receivers).unwrap_or_default() {
                *receivers.entry(receiver.id).or_default() |= receiver.was_full;
            }
        }
        for (receiver, was_full) in receivers {
            if was_full {
                self.resolve_data_tracks(receiver);
            }
            self.send_handles(receiver);
        }
    }

    /// The last wish of a request about a track counts; what changes is told once for all of them.
    pub(crate) fn update_data_subscription(
        &mut self,
        id: ParticipantId,
        request: &proto::UpdateDataSubscription,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let automatic = participant.settings.auto_subscribe_data_track;
        let wanted = &mut participant.data_tracks.wanted;
        self.stats.over_limit += request.updates.len().saturating_sub(UPDATES_MAX) as u64;
        let mut touched = BTreeSet::new();
        for update in request.updates.iter().take(UPDATES_MAX) {
            let sid = update.track_sid.as_str();
            let full = wanted.len() >= TRACKS_MAX && !wanted.contains_key(sid);
            if update.subscribe == automatic {
                wanted.remove(sid);
            } else if full || sid.len() > SID_BYTES_MAX {
                self.stats.over_limit += 1;
                continue;
            } else {
                wanted.insert(sid.to_owned(), update.subscribe);
            }
            touched.insert(sid);
        }
        let was_full = participant.data_tracks.received.is_full();
        let mut changed = false;
        for sid in touched {
            changed |= self.resolve_data_track(id, sid);
        }
        // What found no place has one now.
        if was_full && changed {
            self.resolve_data_tracks(id);
        }
        if changed {
            self.send_handles(id);
        }
    }

    /// Looks again at every data track for one subscriber, and tells all that changes at once.
    pub(crate) fn reconcile_data_tracks(&mut self, id: ParticipantId) {
        if self.resolve_data_tracks(id) {
            self.send_handles(id);
        }
    }

    fn resolve_data_tracks(&mut self, id: ParticipantId) -> bool {
        let sids: Vec<_> = self.data_track_sids.keys().cloned().collect();
        sids.iter()
            .fold(false, |changed, sid| changed | self.resolve_data_track(id, sid))
    }

    /// Brings one subscription to what is wanted, permitted and published. True when that changed
    /// it: the subscriber has to be told its handles.
    fn resolve_data_track(&mut self, id: ParticipantId, sid: &str) -> bool {
        let permitted = self.permit_data_track(id, sid);
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        let received = &mut participant.data_tracks.received;
        if permitted == received.get(sid).is_some() {
            return false;
        }
        let changed = if permitted {
            received.insert(sid)
        } else {
            received.remove(sid)
        };
        // It is looked at again when another one goes.
        self.stats.over_limit += u64::from(!changed);
        changed
    }

    /// Whether a participant may receive a data track that it wants. Whenever that changes, and the
    /// first time, it is told so.
    fn permit_data_track(&mut self, id: ParticipantId, sid: &str) -> bool {
        let Some(subscriber) = self.participants.get(&id) else {
            return false;
        };
        let publisher = self.data_track_sids.get(sid);
        let Some(publisher) = publisher.and_then(|(publisher, _)| self.participants.get(publisher)) else {
            return false;
        };
        let tracks = &subscriber.data_tracks;
        let automatic = subscriber.settings.auto_subscribe_data_track;
        let wanted = tracks.wanted.get(sid).copied().unwrap_or(automatic);
        if !wanted {
            if let Some(subscriber) = self.participants.get_mut(&id) {
                subscriber.data_tracks.permitted.remove(sid);
            }
            return false;
        }
        if publisher.id == id || !subscriber.permission.can_subscribe {
            return false;
        }
        let permitted = publisher.rule.permits(subscriber, sid);
        let participant_sid = publisher.sid.clone();
        if tracks.permitted.get(sid) != Some(&permitted) {
            if let Some(subscriber) = self.participants.get_mut(&id) {
                subscriber.data_tracks.permitted.insert(sid.to_owned(), permitted);
            }
            self.send(
                id,
                Response::SubscriptionPermissionUpdate(proto::SubscriptionPermissionUpdate {
                    participant_sid,
                    track_sid: sid.to_owned(),
                    allowed: permitted,
                }),
            );
        }
        permitted
    }

    /// What a client that comes back has missed of its handles.
    pub(crate) fn send_missed_handles(&mut self, id: ParticipantId) {
        if self
            .participants
            .get(&id)
            .is_some_and(|participant| participant.data_tracks.untold)
        {
            self.send_handles(id);
        }
    }

    fn send_handles(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.data_tracks.untold = participant.connection.is_none();
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let sub_handles = participant
            .data_tracks
            .received
            .iter()
            .filter_map(|(sid, handle)| {
                let (publisher, _) = self.data_track_sids.get(sid)?;
                let publisher = self.participants.get(publisher)?;
                let track = PublishedDataTrack {
                    publisher_identity: publisher.identity().to_owned(),
                    publisher_sid: publisher.sid.clone(),
                    track_sid: sid.to_owned(),
                };
                Some((u32::from(handle), track))
            })
            .collect();
        self.send(
            id,
            Response::DataTrackSubscriberHandles(proto::DataTrackSubscriberHandles { sub_handles }),
        );
    }

    /// A packet of a data track: to every subscriber under its own handle, one command per thread.
    pub(crate) fn data_track_packet(&mut self, peer: PeerKey, data: &[u8]) {
        let Some(handle) = wire::data_track::handle(data) else {
            self.stats.data_undecodable += 1;
            return;
        };
        let sid = self
            .peers
            .get(&peer)
            .and_then(|id| self.participants.get(id))
            .filter(|participant| participant.permission.can_publish_data)
            .and_then(|participant| participant.data_tracks.published.get(&handle))
            .map(|info| info.sid.as_str());
        let Some(sid) = sid else {
            self.stats.data_dropped += 1;
            return;
        };
        let mut threads: BTreeMap<ThreadId, Vec<(PeerKey, u16)>> = BTreeMap::new();
        for participant in self.participants.values() {
            if participant.state == State::Active
                && let Some(handle) = participant.data_tracks.received.get(sid)
            {
                let peer = participant.primary().transport.peer();
                threads.entry(peer.thread()).or_default().push((peer, handle));
            }
        }
        self.stats.data_forwarded += 1;
        let data: Arc<[u8]> = data.into();
        for (thread, receivers) in threads {
            let data = Arc::clone(&data);
            self.command(thread, Command::SendDataTrackPacket { receivers, data });
        }
    }
}
