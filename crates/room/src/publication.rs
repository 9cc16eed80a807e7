//! What participants publish: from the announcement over the first packet to the end of a track.

use crate::backup::Backup;
use crate::demand::Demand;
use crate::negotiation::{AnnouncedTrack, PublishedSection};
use crate::participant::{ParticipantId, State};
use crate::room::Room;
use crate::timers::Timer;
use media::api::{Codec, Command, Kind, TrackKey};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Instant;

/// Longer requests that were granted are not echoed: the one who asked knows what it was, and clients
/// match answers by number.
const ECHO_BYTES_MAX: usize = 16 << 10;

/// One track of a publisher.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    pub(crate) key: TrackKey,
    pub(crate) info: proto::TrackInfo,
    pub(crate) kind: Kind,
    /// Its client ids: the announcement's and its first codec's.
    pub(crate) cids: Vec<String>,
    /// Others know of it: media has arrived, or was awaited in vain. Before that it is pending.
    pub(crate) published: bool,
    /// Since when nothing but the client keeps its media from arriving.
    pub(crate) waiting_since: Instant,
    pub(crate) codec: Option<Codec>,
    /// What else its section may carry.
    pub(crate) other_codecs: Vec<Codec>,
    /// From low to high, empty without simulcast.
    pub(crate) rids: Vec<String>,
    /// The publisher has been told that somebody subscribed.
    pub(crate) subscribed_told: bool,
    pub(crate) demand: Demand,
    /// Further codecs, in the order of the announcement.
    pub(crate) backups: Vec<Backup>,
    /// The further codec that replaced the first one for all subscribers.
    pub(crate) regressed: Option<TrackKey>,
    /// Frames per second up to each temporal layer, by spatial layer, as measured; 0 when unknown.
    pub(crate) rates: [[f32; 4]; 3],
}

impl Publication {
    /// As the negotiation wants to know it.
    fn announced(&self) -> impl Iterator<Item = AnnouncedTrack> {
        let has = |feature: proto::AudioTrackFeature| self.info.audio_features.contains(&feature.into());
        let first = AnnouncedTrack {
            track: self.key,
            cids: self.cids.clone(),
            kind: self.kind,
            mime: self
                .info
                .codecs
                .first()
                .map(|codec| codec.mime_type.clone())
                .unwrap_or_default(),
            stereo: has(proto::AudioTrackFeature::TfStereo),
            no_dtx: has(proto::AudioTrackFeature::TfNoDtx),
            disable_red: self.info.disable_red,
            microphone: self.info.source() == proto::TrackSource::Microphone,
        };
        let further: Vec<_> = self
            .backups
            .iter()
            .filter(|backup| !backup.cid.is_empty() && !self.cids.contains(&backup.cid))
            .map(|backup| AnnouncedTrack {
                track: backup.key,
                cids: vec![backup.cid.clone()],
                mime: mime(backup.codec).to_owned(),
                ..first.clone()
            })
            .collect();
        std::iter::once(first).chain(further)
    }

    /// What subscribers may get, best first. Opus is extracted from RED, and with `active_red` made
    /// redundant, but not where the payload is a secret.
    pub(crate) fn codecs(&self, active_red: bool) -> Vec<Codec> {
        let open = self.info.encryption() == proto::encryption::Type::None;
        let makes_red = active_red && !self.info.disable_red;
        match self.codec {
            Some(Codec::Red) if open => vec![Codec::Red, Codec::Opus],
            Some(Codec::Opus) if open && makes_red => vec![Codec::Red, Codec::Opus],
            Some(codec) => vec![codec],
            None => Vec::new(),
        }
    }

    /// Whether the first packet can only have the codec of the section: there is no other, or it is the
    /// one that was announced. Who has Opus sends no PCM, and may send it as RED, which copies can be
    /// made of either way unless the payload is a secret.
    pub(crate) fn is_codec_certain(&self) -> bool {
        let Some(codec) = self.codec else {
            return false;
        };
        let announced = self.info.codecs.first().map(|entry| entry.mime_type.as_str());
        if codec != Codec::Red
            && announced.is_some_and(|announced| announced.eq_ignore_ascii_case(mime(codec)))
        {
            return true;
        }
        let open = self.info.encryption() == proto::encryption::Type::None;
        self.other_codecs.iter().all(|other| match codec {
            Codec::Red => matches!(other, Codec::Pcmu | Codec::Pcma) || (open && *other == Codec::Opus),
            Codec::Opus => matches!(other, Codec::Pcmu | Codec::Pcma) || (open && *other == Codec::Red),
            Codec::Pcmu | Codec::Pcma | Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => {
                *other == codec
            }
        })
    }

    pub(crate) fn mark_changed(&mut self, unix_us: i64) {
        self.info.version = Some(proto::TimedVersion {
            unix_micro: unix_us,
            ticks: 0,
        });
    }

    /// Writes the section into the info; true when that changed something.
    fn set_section(&mut self, section: &PublishedSection) -> bool {
        let before = self.info.clone();
        self.codec = Some(section.codec);
        self.other_codecs.clone_from(&section.others);
        self.rids.clone_from(&section.rids);
        self.info.mid.clone_from(&section.mid);
        let index = self.codec_index(section.codec);
        let known = self.cids.contains(&section.sdp_cid);
        if let Some(codec) = self.info.codecs.get_mut(index) {
            codec.mid.clone_from(&section.mid);
            if !known {
                codec.sdp_cid.clone_from(&section.sdp_cid);
            }
        }
        let rids = &section.rids;
        for_each_layers(&mut self.info, index, |layers| {
            for (position, layer) in layers.iter_mut().enumerate() {
                layer.spatial_layer = i32::try_from(position).unwrap_or(0);
                layer.rid = rids.get(position).cloned().unwrap_or_default();
            }
        });
        before != self.info
    }

    /// Writes an arrived layer into the info; true when that changed something.
    fn set_layer(&mut self, layer: u8, ssrc: u32, rtx_ssrc: Option<u32>, codec: Codec) -> bool {
        let before = self.info.clone();
        let index = self.set_codec(codec);
        for_each_layers(&mut self.info, index, |layers| {
            if let Some(layer) = layers.get_mut(usize::from(layer)) {
                layer.ssrc = ssrc;
                layer.repair_ssrc = rtx_ssrc.unwrap_or(0);
            }
        });
        before != self.info
    }

    /// Writes the codec into the info, and says where it stands among the codecs.
    fn set_codec(&mut self, codec: Codec) -> usize {
        self.codec = Some(codec);
        let index = self.codec_index(codec);
        mime(codec).clone_into(&mut self.info.mime_type);
        if let Some(entry) = self.info.codecs.get_mut(index) {
            mime(codec).clone_into(&mut entry.mime_type);
        }
        index
    }

    pub(crate) fn codec_index(&self, codec: Codec) -> usize {
        self.info
            .codecs
            .iter()
            .position(|entry| entry.mime_type.eq_ignore_ascii_case(mime(codec)))
            .unwrap_or(0)
    }
}

/// Applies a change to the layers of the track and to those of one of its codecs.
fn for_each_layers(
    info: &mut proto::TrackInfo,
    index: usize,
    mut change: impl FnMut(&mut Vec<proto::VideoLayer>),
) {
    change(&mut info.layers);
    if let Some(codec) = info.codecs.get_mut(index) {
        change(&mut codec.layers);
    }
}

/// The canonical name.
pub(crate) const fn mime(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "audio/opus",
        Codec::Red => "audio/red",
        Codec::Pcmu => "audio/PCMU",
        Codec::Pcma => "audio/PCMA",
        Codec::Vp8 => "video/VP8",
        Codec::Vp9 => "video/VP9",
        Codec::H264 => "video/H264",
        Codec::H265 => "video/H265",
        Codec::Av1 => "video/AV1",
    }
}

impl Room {
    /// What a participant's offer may carry.
    pub(crate) fn announced(&self, id: ParticipantId) -> Vec<AnnouncedTrack> {
        self.participants
            .get(&id)
            .map(|participant| {
                participant
                    .publications
                    .values()
                    .flat_map(Publication::announced)
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Tracks have sections, of which the media plane knows already.
    pub(crate) fn sections_published(&mut self, id: ParticipantId, sections: &[PublishedSection]) {
        let unix_us = self.now.unix_us();
        let mut changed = false;
        for section in sections {
            let track = section.track;
            let Some(participant) = self.participants.get_mut(&id) else {
                return;
            };
            let muted = if let Some(publication) = participant.publications.get_mut(&track) {
                if publication.set_section(section) && publication.published {
                    publication.mark_changed(unix_us);
                    changed = true;
                }
                publication.info.muted
            } else {
                let (muted, told) = self.backup_section(id, section);
                changed |= told;
                muted
            };
            if muted {
                self.command(track.thread(), Command::MuteTrack { track, muted });
            }
        }
        if changed {
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.dirty = true;
            }
            self.broadcast(id, true);
        }
        self.await_media(id);
    }

    /// The first packet of a layer: a pending track becomes published.
    pub(crate) fn layer_started(
        &mut self,
        track: TrackKey,
        layer: u8,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        codec: Codec,
    ) {
        let Some(&id) = self.tracks.get(&track) else {
            return;
        };
        let unix_us = self.now.unix_us();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(publication) = participant.publications.get_mut(&track) else {
            self.backup_started(id, track, layer, ssrc, rtx_ssrc);
            return;
        };
        let changed = publication.set_layer(layer, ssrc, rtx_ssrc, codec);
        let first = !publication.published;
        publication.published = true;
        if changed || first {
            publication.mark_changed(unix_us);
            participant.is_publisher = true;
            participant.dirty = true;
            self.broadcast(id, true);
        }
        if first {
            self.offer_published(id, track);
        }
    }

    /// A pending track is published without a packet, as its layer is known without one.
    pub(crate) fn publish_silent(&mut self, id: ParticipantId, track: TrackKey) {
        let unix_us = self.now.unix_us();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(publication) = participant.publications.get_mut(&track) else {
            return;
        };
        let Some(codec) = publication.codec else {
            return;
        };
        publication.set_codec(codec);
        publication.published = true;
        publication.mark_changed(unix_us);
        participant.is_publisher = true;
        participant.dirty = true;
        self.broadcast(id, true);
        self.offer_published(id, track);
    }

    fn offer_published(&mut self, id: ParticipantId, track: TrackKey) {
        self.timers.cancel(Timer::Silent(track));
        let sid = self.track_sid(id, track).unwrap_or_default();
        self.counts_changed();
        self.offer_to_subscribers(id, &sid);
        self.start_demand(id, track);
    }

    pub(crate) fn track_sid(&self, id: ParticipantId, track: TrackKey) -> Option<String> {
        let participant = self.participants.get(&id)?;
        Some(participant.publications.get(&track)?.info.sid.clone())
    }

    /// Every auto-subscriber wants a new track.
    fn offer_to_subscribers(&mut self, publisher: ParticipantId, sid: &str) {
        let others: Vec<_> = self
            .participants
            .values()
            .filter(|other| other.id != publisher)
            .filter(|other| other.state == State::Active || other.single || other.protocol() >= 8)
            .map(|other| (other.id, other.settings.auto_subscribe))
            .collect();
        for (other, auto) in others {
            if auto {
                self.want(other, sid);
            } else {
                self.reconcile(other, sid);
            }
        }
    }

    /// A track's section went away: it is unpublished, and the next one of its cid has its turn.
    /// Whether others must be told ([`Self::tell_unpublished`]).
    pub(crate) fn unpublish(&mut self, id: ParticipantId, track: TrackKey) -> bool {
        !self.backup_ended(id, track) && self.end_track(id, track) == Some(true)
    }

    /// Tells everybody that tracks are unpublished.
    pub(crate) fn tell_unpublished(&mut self, id: ParticipantId) {
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.dirty = true;
        }
        self.broadcast(id, true);
    }

    /// As [`Self::unpublish`] at the server's wish, without telling anybody yet. Its SID when
    /// there was such a track.
    pub(crate) fn withdraw_track(&mut self, id: ParticipantId, track: TrackKey) -> Option<String> {
        let sid = self.track_sid(id, track)?;
        self.end_track(id, track)?;
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.dirty = true;
        }
        Some(sid)
    }

    /// Forgets a track and its copies. Whether it was published; `None` when unknown.
    pub(crate) fn end_track(&mut self, id: ParticipantId, track: TrackKey) -> Option<bool> {
        let participant = self.participants.get_mut(&id)?;
        let publication = participant.publications.remove(&track)?;
        self.tracks.remove(&track);
        self.track_sids.remove(&publication.info.sid);
        self.timers.cancel(Timer::Demand(track));
        self.timers.cancel(Timer::Silent(track));
        self.command(track.thread(), Command::Unpublish { track });
        for backup in &publication.backups {
            let track = backup.key;
            self.tracks.remove(&track);
            self.command(track.thread(), Command::Unpublish { track });
        }
        let subscribers: Vec<_> = self
            .participants
            .values()
            .filter(|other| other.subscriptions.contains_key(&publication.info.sid))
            .map(|other| other.id)
            .collect();
        for subscriber in subscribers {
            self.drop_subscription(subscriber, &publication.info.sid);
        }
        self.dequeue_track(id, &publication.cids);
        Some(publication.published)
    }

    /// The client (un)mutes its own track.
    pub(crate) fn mute_own(&mut self, id: ParticipantId, request: proto::MuteTrackRequest) {
        if self.set_muted(id, &request.sid, request.muted).is_none() {
            self.request_failed(
                id,
                proto::request_response::Reason::NotFound,
                "",
                proto::request_response::Request::Mute(request),
            );
        }
    }

    /// Sets a track's mute state and tells everybody. `None` when there is no such track.
    pub(crate) fn set_muted(
        &mut self,
        id: ParticipantId,
        sid: &str,
        muted: bool,
    ) -> Option<proto::TrackInfo> {
        let key = *self.track_sids.get(sid)?;
        let unix_us = self.now.unix_us();
        let now = self.now.monotonic;
        let participant = self.participants.get_mut(&id)?;
        let publication = participant.publications.get_mut(&key)?;
        if publication.info.muted != muted {
            publication.info.muted = muted;
            publication.waiting_since = now;
            let published = publication.published;
            // The media plane knows tracks by their sections, and hears of the others with those.
            let first = publication.codec.map(|_| key);
            let further = publication.backups.iter().filter(|backup| backup.negotiated);
            let further: Vec<_> = further.map(|backup| backup.key).collect();
            if published {
                publication.mark_changed(unix_us);
                participant.dirty = true;
            }
            for track in first.into_iter().chain(further) {
                self.command(track.thread(), Command::MuteTrack { track, muted });
            }
            if published {
                self.broadcast(id, true);
                if !muted {
                    self.force_demand(key);
                }
            }
        }
        let participant = self.participants.get(&id)?;
        Some(participant.publications.get(&key)?.info.clone())
    }

    /// The client changes an audio track's features.
    pub(crate) fn update_audio_track(&mut self, id: ParticipantId, update: proto::UpdateLocalAudioTrack) {
        // Each once, and none that nobody knows: everybody is sent them.
        let mut features = Vec::new();
        for feature in &update.features {
            if proto::AudioTrackFeature::try_from(*feature).is_ok() && !features.contains(feature) {
                features.push(*feature);
            }
        }
        let found = self.change_track(id, &update.track_sid, |info| {
            info.stereo = features.contains(&proto::AudioTrackFeature::TfStereo.into());
            info.disable_dtx = features.contains(&proto::AudioTrackFeature::TfNoDtx.into());
            info.audio_features = features;
        });
        if !found {
            self.request_failed(
                id,
                proto::request_response::Reason::NotFound,
                "",
                proto::request_response::Request::UpdateAudioTrack(update),
            );
        }
    }

    /// The client changes a video track's dimensions.
    pub(crate) fn update_video_track(&mut self, id: ParticipantId, update: proto::UpdateLocalVideoTrack) {
        let found = self.change_track(id, &update.track_sid, |info| {
            info.width = update.width;
            info.height = update.height;
        });
        if !found {
            self.request_failed(
                id,
                proto::request_response::Reason::NotFound,
                "",
                proto::request_response::Request::UpdateVideoTrack(update),
            );
        }
    }

    fn change_track(
        &mut self,
        id: ParticipantId,
        sid: &str,
        change: impl FnOnce(&mut proto::TrackInfo),
    ) -> bool {
        let unix_us = self.now.unix_us();
        let Some(key) = self.track_sids.get(sid) else {
            return false;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        let Some(publication) = participant.publications.get_mut(key) else {
            return false;
        };
        change(&mut publication.info);
        if publication.published {
            publication.mark_changed(unix_us);
            participant.dirty = true;
            self.broadcast(id, true);
        }
        true
    }

    /// Answers a request with an error; the request is echoed.
    pub(crate) fn request_failed(
        &mut self,
        id: ParticipantId,
        reason: proto::request_response::Reason,
        message: &str,
        request: proto::request_response::Request,
    ) {
        self.respond(id, 0, reason, message, Some(request));
    }

    /// Answers a request. Success is told only to clients that know of it.
    pub(crate) fn respond(
        &mut self,
        id: ParticipantId,
        request_id: u32,
        reason: proto::request_response::Reason,
        message: &str,
        request: Option<proto::request_response::Request>,
    ) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let ok = reason == proto::request_response::Reason::Ok;
        if !participant.understands_request_response() || (ok && participant.protocol() < 15) {
            return;
        }
        self.send(
            id,
            Response::RequestResponse(proto::RequestResponse {
                request_id,
                reason: reason.into(),
                message: message.to_owned(),
                request: request.filter(|request| !ok || request.encoded_len() <= ECHO_BYTES_MAX),
            }),
        );
    }
}
