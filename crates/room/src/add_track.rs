//! AddTrack: what a client announces, checked and turned into a pending track.

use crate::backup::{BACKUPS_MAX, announced_backups};
use crate::participant::{Participant, ParticipantId};
use crate::publication::{Publication, mime as mime_of};
use crate::room::Room;
use media::api::{Kind, TrackKey};
use prost::Message as _;
use proto::request_response::{Reason, Request};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;

/// Most tracks of a participant that have not sent media yet.
const PENDING_MAX: usize = 20;

/// Most announcements of one cid, the first included.
const PER_CID_MAX: usize = 3;

/// Largest announcement: every participant is sent most of it, with every update. Clients need less
/// than 2 KiB; what is above that is the application's name for the track.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Longest client id of a further codec.
const CID_BYTES_MAX: usize = 256;

/// Most layers and codecs read from one announcement.
const LAYERS_MAX: usize = 8;

impl Room {
    pub(crate) fn add_track(&mut self, id: ParticipantId, request: proto::AddTrackRequest) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if !participant.may_publish(request.source) {
            self.request_failed(id, Reason::NotAllowed, "", Request::AddTrack(request));
            return;
        }
        if !matches!(
            proto::TrackType::try_from(request.r#type),
            Ok(proto::TrackType::Audio | proto::TrackType::Video)
        ) {
            self.request_failed(id, Reason::UnsupportedType, "", Request::AddTrack(request));
            return;
        }
        if request.encoded_len() > REQUEST_BYTES_MAX {
            self.stats.over_limit += 1;
            let text = format!("an announcement may have {REQUEST_BYTES_MAX} bytes");
            // What was too long is not sent back.
            let short = proto::AddTrackRequest {
                cid: if request.cid.len() <= CID_BYTES_MAX {
                    request.cid
                } else {
                    String::new()
                },
                ..Default::default()
            };
            self.request_failed(id, Reason::LimitExceeded, &text, Request::AddTrack(short));
            return;
        }
        if !request.sid.is_empty() {
            self.add_codec(id, request);
            return;
        }
        if self.pending(id) >= PENDING_MAX {
            self.release_timed_out(id);
        }
        if let Some((reason, message)) = self.over_pending(id, &request.cid) {
            self.request_failed(id, reason, &message, Request::AddTrack(request));
            return;
        }
        if self.is_cid_taken(id, &request.cid) {
            let echo = Request::AddTrack(request.clone());
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.queued.push(request);
            }
            self.request_failed(id, Reason::Queued, "", echo);
            return;
        }
        self.announce(id, &request);
    }

    /// A limit that another announcement would pass.
    fn over_pending(&self, id: ParticipantId, cid: &str) -> Option<(Reason, String)> {
        let participant = self.participants.get(&id)?;
        let queued = participant
            .queued
            .iter()
            .filter(|request| request.cid == cid)
            .count();
        if self.is_cid_taken(id, cid) && queued + 1 >= PER_CID_MAX {
            return Some((
                Reason::LimitExceeded,
                format!(
                    "too many pending queued tracks, rejecting new track, numPendingTracksQueued: {PER_CID_MAX}"
                ),
            ));
        }
        let pending = self.pending(id);
        if pending + participant.queued.len() >= PENDING_MAX {
            return Some((
                Reason::LimitExceeded,
                format!("too many pending tracks, rejecting new track, numPendingTracks: {pending}"),
            ));
        }
        None
    }

    fn is_cid_taken(&self, id: ParticipantId, cid: &str) -> bool {
        self.participants.get(&id).is_some_and(|participant| {
            participant
                .publications
                .values()
                .any(|publication| publication.cids.iter().any(|other| other == cid))
        })
    }

    fn announce(&mut self, id: ParticipantId, request: &proto::AddTrackRequest) {
        let serial = self.next_serial();
        let random = self.random.long_id();
        let room = self.config.key;
        let now = self.now.monotonic;
        let further = request.simulcast_codecs.len().saturating_sub(1).min(BACKUPS_MAX);
        let further: Vec<u32> = (0..further).map(|_| self.next_serial()).collect();
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let thread = participant.placement.thread;
        let key = TrackKey::new(thread, room, serial);
        let info = track_info(request, participant, &self.config.enabled_codecs, random);
        let further = further
            .into_iter()
            .map(|serial| TrackKey::new(thread, room, serial));
        let backups = announced_backups(&info, further);
        let backup_keys: Vec<_> = backups.iter().map(|backup| backup.key).collect();
        let mut cids = vec![request.cid.clone()];
        if let Some(first) = info.codecs.first()
            && !first.cid.is_empty()
            && first.cid != request.cid
        {
            cids.push(first.cid.clone());
        }
        for cid in &cids {
            participant.publisher.transport.readmit(cid);
        }
        participant.publications.insert(
            key,
            Publication {
                key,
                info: info.clone(),
                kind: if info.r#type() == proto::TrackType::Video {
                    Kind::Video
                } else {
                    Kind::Audio
                },
                cids,
                published: false,
                waiting_since: now,
                codec: None,
                other_codecs: Vec::new(),
                rids: Vec::new(),
                subscribed_told: false,
                demand: crate::demand::Demand::default(),
                backups,
                regressed: None,
                rates: [[0.0; 4]; 3],
            },
        );
        self.tracks.insert(key, id);
        self.tracks.extend(backup_keys.into_iter().map(|key| (key, id)));
        self.track_sids.insert(info.sid.clone(), key);
        self.send_published(id, &request.cid, info);
        self.publish_waiting(id);
    }

    fn send_published(&mut self, id: ParticipantId, cid: &str, track: proto::TrackInfo) {
        self.send(
            id,
            Response::TrackPublished(proto::TrackPublishedResponse {
                cid: cid.to_owned(),
                track: Some(track),
            }),
        );
    }

    /// Another codec for a track that exists: its client id becomes known.
    fn add_codec(&mut self, id: ParticipantId, request: proto::AddTrackRequest) {
        let info = self.track_sids.get(&request.sid).and_then(|key| {
            let participant = self.participants.get_mut(&id)?;
            let publication = participant.publications.get_mut(key)?;
            let common = &request.layers;
            for codec in request.simulcast_codecs.iter().take(LAYERS_MAX) {
                let mime = full_mime(&codec.codec, request.r#type());
                if let Some(backup) = publication
                    .backups
                    .iter_mut()
                    .find(|backup| mime_of(backup.codec).eq_ignore_ascii_case(&mime))
                    && codec.cid.len() <= CID_BYTES_MAX
                {
                    backup.cid.clone_from(&codec.cid);
                    participant.publisher.transport.readmit(&codec.cid);
                }
                if let Some(known) = publication
                    .info
                    .codecs
                    .iter_mut()
                    .find(|known| known.mime_type.eq_ignore_ascii_case(&mime))
                {
                    known.cid.clone_from(&codec.cid);
                    let layers = if codec.layers.is_empty() {
                        common
                    } else {
                        &codec.layers
                    };
                    if !layers.is_empty() {
                        known.layers = layers.iter().take(LAYERS_MAX).cloned().collect();
                        known.layers.sort_by_key(|layer| layer.quality);
                    }
                }
            }
            Some(publication.info.clone())
        });
        match info {
            Some(info) => {
                let cid = request.cid;
                self.send_published(id, &cid, info);
                self.publish_waiting(id);
            }
            None => self.request_failed(id, Reason::NotFound, "", Request::AddTrack(request)),
        }
    }

    /// A track ended: the first queued announcement of the same cid that may still be published has
    /// its turn, those before it are refused.
    pub(crate) fn dequeue_track(&mut self, id: ParticipantId, cids: &[String]) {
        while let Some(participant) = self.participants.get_mut(&id) {
            let next = participant
                .queued
                .iter()
                .position(|request| cids.contains(&request.cid));
            let Some(position) = next else {
                return;
            };
            let request = participant.queued.remove(position);
            if participant.may_publish(request.source) {
                self.announce(id, &request);
                return;
            }
            self.request_failed(id, Reason::NotAllowed, "", Request::AddTrack(request));
        }
    }
}

/// The track as announced. The codec names keep the client's spelling until media arrives.
fn track_info(
    request: &proto::AddTrackRequest,
    participant: &Participant,
    enabled: &[proto::Codec],
    random: u128,
) -> proto::TrackInfo {
    let video = request.r#type() == proto::TrackType::Video;
    let mut layers: Vec<_> = request.layers.iter().take(LAYERS_MAX).cloned().collect();
    layers.sort_by_key(|layer| layer.quality);
    let codecs = codecs(request, participant, enabled, &layers);
    let simulcast = !request.simulcast_codecs.is_empty()
        && codecs.first().is_some_and(|codec| {
            codec.video_layer_mode() != proto::video_layer::Mode::MultipleSpatialLayersPerStream
                && codec.layers.len() > 1
        });
    let source = request.source();
    let prefix = format!(
        "TR_{}{}",
        if video { "V" } else { "A" },
        match source {
            proto::TrackSource::Camera => "C",
            proto::TrackSource::Microphone => "M",
            proto::TrackSource::ScreenShare => "S",
            proto::TrackSource::ScreenShareAudio => "s",
            proto::TrackSource::Unknown => "",
        }
    );
    let regression: i32 = proto::BackupCodecPolicy::Regression.into();
    proto::TrackInfo {
        sid: protocol::ids::sid(&prefix, random),
        r#type: request.r#type,
        name: request.name.clone(),
        muted: request.muted,
        width: request.width,
        height: request.height,
        simulcast,
        disable_dtx: request.disable_dtx,
        source: request.source,
        layers,
        mime_type: String::new(),
        mid: String::new(),
        codecs,
        stereo: request.stereo,
        disable_red: request.disable_red,
        encryption: request.encryption,
        stream: stream(request),
        version: None,
        audio_features: audio_features(request),
        backup_codec_policy: if !video && request.backup_codec_policy != regression {
            proto::BackupCodecPolicy::Simulcast.into()
        } else {
            request.backup_codec_policy
        },
        packet_trailer_features: request.packet_trailer_features.clone(),
    }
}

fn stream(request: &proto::AddTrackRequest) -> String {
    if !request.stream.is_empty() {
        return request.stream.clone();
    }
    match request.source() {
        proto::TrackSource::Camera | proto::TrackSource::Microphone => "camera",
        proto::TrackSource::ScreenShare | proto::TrackSource::ScreenShareAudio => "screen",
        proto::TrackSource::Unknown => "unknown",
    }
    .to_owned()
}

fn audio_features(request: &proto::AddTrackRequest) -> Vec<i32> {
    let mut features = request.audio_features.clone();
    features.sort_unstable();
    features.dedup();
    for (wanted, feature) in [
        (request.stereo, proto::AudioTrackFeature::TfStereo),
        (request.disable_dtx, proto::AudioTrackFeature::TfNoDtx),
    ] {
        if wanted && !features.contains(&feature.into()) {
            features.push(feature.into());
        }
    }
    features
}

fn codecs(
    request: &proto::AddTrackRequest,
    participant: &Participant,
    enabled: &[proto::Codec],
    layers: &[proto::VideoLayer],
) -> Vec<proto::SimulcastCodecInfo> {
    let one_per_stream: i32 = proto::video_layer::Mode::OneSpatialLayerPerStream.into();
    if request.simulcast_codecs.is_empty() {
        return vec![proto::SimulcastCodecInfo {
            cid: request.cid.clone(),
            layers: layers.to_vec(),
            video_layer_mode: one_per_stream,
            ..Default::default()
        }];
    }
    let allowed = crate::client::publish_codecs(enabled, &participant.rules);
    let mut codecs: Vec<proto::SimulcastCodecInfo> = Vec::new();
    for codec in request.simulcast_codecs.iter().take(LAYERS_MAX) {
        let mut mime = full_mime(&codec.codec, request.r#type());
        if !allowed.iter().any(|known| known.mime.eq_ignore_ascii_case(&mime)) {
            let kind = mime.split('/').next().unwrap_or_default().to_owned();
            match allowed.iter().find(|known| known.mime.starts_with(&kind)) {
                Some(known) => mime.clone_from(&known.mime),
                None => continue,
            }
        }
        // To the letter, as the reference does it: a replaced codec may stand beside its double.
        if codecs.iter().any(|known| known.mime_type == mime) {
            continue;
        }
        let mut own: Vec<_> = codec.layers.iter().take(LAYERS_MAX).cloned().collect();
        own.sort_by_key(|layer| layer.quality);
        let svc = mime.eq_ignore_ascii_case("video/vp9") || mime.eq_ignore_ascii_case("video/av1");
        let mode = match codec.video_layer_mode() {
            proto::video_layer::Mode::Unused if svc => {
                proto::video_layer::Mode::MultipleSpatialLayersPerStream.into()
            }
            proto::video_layer::Mode::Unused => one_per_stream,
            mode @ (proto::video_layer::Mode::OneSpatialLayerPerStream
            | proto::video_layer::Mode::MultipleSpatialLayersPerStream
            | proto::video_layer::Mode::OneSpatialLayerPerStreamIncompleteRtcpSr) => mode.into(),
        };
        codecs.push(proto::SimulcastCodecInfo {
            mime_type: mime,
            mid: String::new(),
            cid: codec.cid.clone(),
            layers: if own.is_empty() { layers.to_vec() } else { own },
            video_layer_mode: mode,
            sdp_cid: String::new(),
        });
    }
    codecs
}

fn full_mime(codec: &str, kind: proto::TrackType) -> String {
    if codec.contains('/') {
        codec.to_owned()
    } else if kind == proto::TrackType::Video {
        format!("video/{codec}")
    } else {
        format!("audio/{codec}")
    }
}
