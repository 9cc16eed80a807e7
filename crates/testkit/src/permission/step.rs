//! What participants are told and sent within one step.

use super::model::{Person, granted, may_publish, same};
use super::{PermissionChecker, sent_tracks};
use media::api::{ChannelLabel, PeerKey};
use prost::Message as _;
use protocol::grants::Claims;
use protocol::proto;
use protocol::proto::data_packet::Value;
use protocol::proto::signal_response::Message as Response;
use room::ConnectionId;

impl PermissionChecker {
    pub(super) fn told(&mut self, connection: ConnectionId, message: &Response) {
        match message {
            Response::Join(join) => {
                if let Some(info) = &join.participant {
                    self.joined(connection, &info.sid);
                    self.info(connection, info);
                }
                for info in &join.other_participants {
                    self.info(connection, info);
                }
            }
            Response::Reconnect(_) => {
                let identity = self.step.joining.as_ref().map(|claims| claims.identity.clone());
                if let Some(sid) = identity.and_then(|identity| self.present(&identity)) {
                    self.connections.insert(connection, sid);
                }
            }
            Response::Update(update) => {
                for info in &update.participants {
                    self.info(connection, info);
                }
            }
            Response::TrackPublished(published) => {
                if let (Some(sid), Some(track)) = (self.connections.get(&connection), &published.track) {
                    let (sid, track) = (sid.clone(), track.clone());
                    self.announced(&sid, &track);
                }
            }
            Response::Offer(description) | Response::Answer(description) => {
                self.negotiated(connection, description);
            }
            Response::SubscriptionPermissionUpdate(update) => self.allowed(connection, update),
            Response::SpeakersChanged(changed) => {
                for speaker in changed.speakers.iter().filter(|speaker| speaker.active) {
                    self.speaker(connection, &speaker.sid);
                }
            }
            Response::PublishDataTrackResponse(response) => {
                if let (Some(sid), Some(info)) = (self.connections.get(&connection), &response.info) {
                    let owner = (sid.clone(), info.pub_handle);
                    self.data_tracks.insert(info.sid.clone(), owner);
                }
            }
            // Its handles mean nothing any more; packets under them are packets without a handle.
            Response::UnpublishDataTrackResponse(response) => {
                if let Some(info) = &response.info {
                    for person in self.people.values_mut() {
                        person.handles.retain(|_, sid| *sid != info.sid);
                    }
                }
            }
            Response::DataTrackSubscriberHandles(handles) => {
                if let Some(person) = self
                    .connections
                    .get(&connection)
                    .and_then(|sid| self.people.get_mut(sid))
                {
                    let handles = handles.sub_handles.iter();
                    person.handles = handles
                        .map(|(handle, track)| (*handle, track.track_sid.clone()))
                        .collect();
                }
            }
            _ => {}
        }
    }

    fn announced(&mut self, sid: &str, track: &proto::TrackInfo) {
        if let Some(person) = self.people.get(sid)
            && !person.may_publish(track.source)
        {
            self.violate(format!(
                "{} may publish {} though it may not",
                person.identity, track.sid
            ));
        }
        self.announced
            .insert(track.sid.clone(), (sid.to_owned(), track.source));
    }

    /// Permissions of a participant that may show in this step: the present one, and the one
    /// before when other fields were changed first.
    fn standing<'a>(&'a self, sid: &str, person: &'a Person) -> Vec<&'a proto::ParticipantPermission> {
        let mut standing = vec![&person.permission];
        if let Some((changed, before)) = &self.step.changed
            && self.step.mixed
            && changed == sid
        {
            standing.push(before);
        }
        standing
    }

    /// `connection` is told of somebody.
    fn info(&mut self, connection: ConnectionId, info: &proto::ParticipantInfo) {
        let (Some(receiver), Some(person)) = (self.connections.get(&connection), self.people.get(&info.sid))
        else {
            return;
        };
        self.checks += 1;
        let who = &person.identity;
        let standing = self.standing(&info.sid, person);
        let mut found = Vec::new();
        let other = *receiver != info.sid;
        let hidden = standing.iter().all(|permission| permission.hidden);
        // Whoever was shown may be taken away, without a further word.
        let goes = info.state() == proto::participant_info::State::Disconnected
            && info.name.is_empty()
            && info.metadata.is_empty()
            && info.attributes.is_empty();
        if other && hidden && !(goes && person.known) {
            found.push(format!("{receiver} is told of {who}, who is hidden"));
        }
        for track in &info.tracks {
            if !standing
                .iter()
                .any(|permission| may_publish(permission, track.source))
            {
                found.push(format!(
                    "{who} is shown with {}, which it may not publish",
                    track.sid
                ));
            }
        }
        if !info.data_tracks.is_empty() && !standing.iter().any(|permission| permission.can_publish_data) {
            found.push(format!("{who} is shown with data tracks that it may not publish"));
        }
        let fields = |info: &proto::ParticipantInfo| {
            (info.name.clone(), info.metadata.clone(), info.attributes.clone())
        };
        if self.step.denied.as_ref() == Some(&info.sid)
            && person
                .told
                .as_ref()
                .is_some_and(|(_, told)| fields(told) != fields(info))
        {
            found.push(format!("{who} changed itself without permission"));
        }
        for track in &info.tracks {
            self.announced
                .insert(track.sid.clone(), (info.sid.clone(), track.source));
        }
        if let Some(person) = self.people.get_mut(&info.sid) {
            person.known |= other && !hidden;
            if !(hidden && goes) {
                person.told = Some((self.steps, info.clone()));
            }
        }
        self.violations.extend(found);
    }

    /// A token of the server never grants more, or less, than stands.
    pub(super) fn token(&mut self, connection: ConnectionId, claims: &Claims) {
        let Some((sid, person)) = self
            .connections
            .get(&connection)
            .and_then(|sid| Some((sid, self.people.get(sid)?)))
        else {
            return;
        };
        self.checks += 1;
        let granted = granted(claims);
        let standing = self.standing(sid, person);
        if person.identity != claims.identity || !standing.iter().any(|permission| same(&granted, permission))
        {
            self.violate(format!(
                "the token of {} grants {granted:?}, not {:?}",
                person.identity, person.permission
            ));
        }
    }

    fn negotiated(&mut self, connection: ConnectionId, description: &proto::SessionDescription) {
        let Some(sid) = self.connections.get(&connection).cloned() else {
            return;
        };
        self.described(&sid, description);
        let Some(receiver) = self.people.get(&sid) else {
            return;
        };
        let mut found = Vec::new();
        let tracks = sent_tracks(&description.sdp);
        let place = (sid, description.r#type.clone());
        let known = self.shown.get(&place);
        for &track in &tracks {
            self.checks += 1;
            let ends = known.is_some_and(|known| known.contains(track));
            if !ends && !self.may_have(receiver, track) {
                found.push(format!(
                    "{} is offered {track} without permission",
                    receiver.identity
                ));
            }
        }
        self.violations.extend(found);
        let tracks = tracks.into_iter().map(str::to_owned).collect();
        self.shown.insert(place, tracks);
    }

    fn may_have(&self, receiver: &Person, track_sid: &str) -> bool {
        let owner = self.announced.get(track_sid).map(|(owner, _)| owner);
        owner
            .or_else(|| self.data_tracks.get(track_sid).map(|(owner, _)| owner))
            .and_then(|owner| self.people.get(owner))
            .is_some_and(|owner| owner.lets(receiver, track_sid))
    }

    /// What a subscriber is told of a publisher's rule is the rule.
    fn allowed(&mut self, connection: ConnectionId, update: &proto::SubscriptionPermissionUpdate) {
        if let Some(receiver) = self
            .connections
            .get(&connection)
            .and_then(|sid| self.people.get(sid))
            && self.may_have(receiver, &update.track_sid) != update.allowed
        {
            self.violate(format!(
                "{} is told that {} is allowed: {}",
                receiver.identity, update.track_sid, update.allowed
            ));
        }
    }

    /// Speech is told to those who may hear it, and to the speaker.
    fn speaker(&mut self, connection: ConnectionId, speaker: &str) {
        let Some((sid, receiver)) = self
            .connections
            .get(&connection)
            .and_then(|sid| Some((sid, self.people.get(sid)?)))
        else {
            return;
        };
        self.checks += 1;
        let mut tracks = self.tracks.values().filter(|track| track.owner == speaker);
        let speaks = self.people.get(speaker);
        let hears = tracks.any(|track| {
            // Nobody may have been told of it yet: then the rule about all tracks counts.
            let sid = track.sid.as_deref().unwrap_or_default();
            speaks.is_some_and(|speaks| speaks.lets(receiver, sid))
        });
        if sid != speaker && !hears {
            self.violate(format!(
                "{} is told that {speaker} speaks, whom it may not hear",
                receiver.identity
            ));
        }
    }

    /// A data message goes to some peers.
    pub(super) fn message(&mut self, peers: &[PeerKey], label: ChannelLabel, data: &[u8]) {
        let mut found = Vec::new();
        if let Some(speech) = &self.step.speech
            && let Some(sender) = self.people.get(&speech.from)
        {
            if sender.gone || !sender.permission.can_publish_data {
                found.push(format!("{} is heard without permission", sender.identity));
            }
            if label != ChannelLabel::DataTrack && sender.permission.hidden && shows_sender(sender, data) {
                found.push(format!(
                    "{}, who is hidden, is named as a sender",
                    sender.identity
                ));
            }
        }
        for peer in peers {
            self.checks += 1;
            let receiver = self.peers.get(peer).cloned();
            let Some((sid, person)) = receiver.and_then(|sid| Some((sid.clone(), self.people.get(&sid)?)))
            else {
                found.push(format!("a message for {peer:?}, which nobody has"));
                continue;
            };
            if label == ChannelLabel::DataTrack {
                found.extend(self.frame_problem(person, data));
            } else if !self.is_meant(&sid, person) {
                found.push(format!("{} gets a message for others", person.identity));
            }
        }
        self.violations.extend(found);
    }

    /// Whether a message of this step is for that participant.
    fn is_meant(&self, sid: &str, receiver: &Person) -> bool {
        let (identities, sids) = if let Some(speech) = &self.step.speech {
            if speech.from == sid {
                return false;
            }
            if speech.label == ChannelLabel::Unlabelled {
                return true;
            }
            match proto::DataPacket::decode(&speech.data[..]) {
                Ok(packet) => destinations(&packet),
                Err(_) => return false,
            }
        } else if let Some(addressed) = &self.step.addressed {
            addressed.clone()
        } else {
            return true;
        };
        let everybody = identities.is_empty() && sids.is_empty();
        everybody || identities.contains(&receiver.identity) || sids.iter().any(|one| one == sid)
    }

    /// What is wrong with a data track's packet for this participant.
    fn frame_problem(&self, receiver: &Person, data: &[u8]) -> Option<String> {
        let handle = u32::from(u16::from_be_bytes([*data.get(2)?, *data.get(3)?]));
        let Some(sid) = receiver.handles.get(&handle) else {
            // Who has no signal connection is told when it comes back.
            let mut connected = self.connections.values().filter_map(|sid| self.people.get(sid));
            if !connected.any(|person| person.identity == receiver.identity) {
                return None;
            }
            return Some(format!("{} was told of no handle {handle}", receiver.identity));
        };
        let from = self.step.speech.as_ref().map(|speech| &speech.from);
        let owner = self.data_tracks.get(sid).map(|(owner, _)| owner);
        (from != owner || !self.may_have_data_track(receiver, sid))
            .then(|| format!("{} gets a packet of {sid} without permission", receiver.identity))
    }
}

/// Whom a packet names as its receivers.
fn destinations(packet: &proto::DataPacket) -> (Vec<String>, Vec<String>) {
    let mut identities = packet.destination_identities.clone();
    let mut sids = Vec::new();
    if let Some(Value::User(user)) = &packet.value {
        if identities.is_empty() {
            identities.clone_from(&user.destination_identities);
        }
        sids.clone_from(&user.destination_sids);
    }
    (identities, sids)
}

/// Whether a forwarded packet says who sent it.
fn shows_sender(sender: &Person, data: &[u8]) -> bool {
    let Ok(packet) = proto::DataPacket::decode(data) else {
        return true;
    };
    let user = match &packet.value {
        Some(Value::User(user)) => Some(user),
        _ => None,
    };
    packet.participant_identity == sender.identity
        || !packet.participant_sid.is_empty()
        || user.is_some_and(|user| !user.participant_sid.is_empty() || !user.participant_identity.is_empty())
}
