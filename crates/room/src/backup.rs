//! Further codecs of a track: each has a section and a media-plane track of its own,
//! whose key exists from the announcement on, so that a subscriber can be bound to a codec that the
//! publisher does not send yet.
//!
//! Owns: which codec each copy is made of, and the regression to the backup codec.

use crate::negotiation::PublishedSection;
use crate::participant::ParticipantId;
use crate::publication::{Publication, mime};
use crate::room::Room;
use crate::wish::spatial_of_quality;
use media::api::{Codec, DownKey, TrackKey};
use proto::VideoQuality as Quality;
use protocol::proto;
use std::borrow::Cow;

/// Most codecs of a track besides the first.
pub(crate) const BACKUPS_MAX: usize = 2;

/// One further codec.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) key: TrackKey,
    pub(crate) codec: Codec,
    /// The client's id of what it sends; empty until it says that it will.
    pub(crate) cid: String,
    /// It has a section: the media plane knows its track.
    pub(crate) negotiated: bool,
    /// Media has arrived.
    pub(crate) live: bool,
    /// As [`crate::demand::Demand`]: what the publisher was last told.
    pub(crate) told: Option<Quality>,
}

/// The codec of a mime type in any spelling.
fn codec_of(name: &str) -> Option<Codec> {
    [
        Codec::Opus,
        Codec::Red,
        Codec::Pcmu,
        Codec::Pcma,
        Codec::Vp8,
        Codec::Vp9,
        Codec::H264,
        Codec::H265,
        Codec::Av1,
    ]
    .into_iter()
    .find(|codec| mime(*codec).eq_ignore_ascii_case(name))
}

/// The further codecs that an announcement names, with the keys to give them.
pub(crate) fn announced_backups(
    info: &proto::TrackInfo,
    keys: impl Iterator<Item = TrackKey>,
) -> Vec<Backup> {
    let mut codecs: Vec<Codec> = info
        .codecs
        .iter()
        .filter_map(|codec| codec_of(&codec.mime_type))
        .collect();
    let first = codecs.first().copied();
    codecs.retain(|codec| Some(*codec) != first);
    codecs.dedup();
    codecs
        .into_iter()
        .zip(keys.take(BACKUPS_MAX))
        .map(|(codec, key)| Backup {
            key,
            codec,
            cid: String::new(),
            negotiated: false,
            live: false,
            told: None,
        })
        .collect()
}

impl Publication {
    /// The further codecs that are not what the first section carries: a client without an encoder of
    /// the first announced one sends there what it announced as the second.
    pub(crate) fn further(&self) -> impl Iterator<Item = &Backup> {
        let first = self.codec;
        self.backups
            .iter()
            .filter(move |backup| Some(backup.codec) != first || backup.negotiated)
    }

    /// Further codecs as a copy may be made of them.
    pub(crate) fn backup_codecs(&self) -> Vec<(Codec, TrackKey)> {
        self.further().map(|backup| (backup.codec, backup.key)).collect()
    }

    /// Of what a copy is made as long as its codec is not negotiated, and what is measured of the
    /// publication.
    pub(crate) fn usual_source(&self) -> TrackKey {
        self.regressed.unwrap_or(self.key)
    }

    /// The codec that replaced the first one.
    fn usual_backup(&self) -> Option<&Backup> {
        let regressed = self.regressed?;
        self.backups.iter().find(|backup| backup.key == regressed)
    }

    /// The codec of [`Self::usual_source`].
    pub(crate) fn usual_codec(&self) -> Option<Codec> {
        self.usual_backup()
            .map_or(self.codec, |backup| Some(backup.codec))
    }

    /// The highest layer of [`Self::usual_source`] that the publisher is to send. `None`: nobody wants
    /// any.
    pub(crate) fn wanted_layer(&self) -> Option<u8> {
        match self
            .usual_backup()
            .map_or(self.demand.told(), |backup| backup.told)
        {
            Some(Quality::Off) => None,
            Some(quality) => Some(spatial_of_quality(&self.info_of(self.usual_source()), quality)),
            None => Some(2),
        }
    }

    /// The codecs in the order in which copies choose among them.
    pub(crate) fn codecs_by_preference(&self, active_red: bool) -> Vec<Codec> {
        let mut codecs = self.codecs(active_red);
        codecs.extend(self.further().map(|backup| backup.codec));
        if let Some(backup) = self.usual_backup() {
            codecs.sort_by_key(|codec| *codec != backup.codec);
        }
        codecs
    }

    /// The info with the layers that a codec has of its own.
    pub(crate) fn info_of(&self, source: TrackKey) -> Cow<'_, proto::TrackInfo> {
        let layers = self
            .backups
            .iter()
            .find(|backup| backup.key == source)
            .map(|backup| &self.info.codecs[self.codec_index(backup.codec)].layers)
            .filter(|layers| !layers.is_empty());
        match layers {
            Some(layers) => Cow::Owned(proto::TrackInfo {
                layers: layers.clone(),
                ..self.info.clone()
            }),
            None => Cow::Borrowed(&self.info),
        }
    }

    /// Another codec has a section.
    fn set_backup_section(&mut self, codec: Codec, section: &PublishedSection) {
        let index = self.codec_index(codec);
        let Some(entry) = self.info.codecs.get_mut(index) else {
            return;
        };
        entry.mid.clone_from(&section.mid);
        if entry.cid != section.sdp_cid {
            entry.sdp_cid.clone_from(&section.sdp_cid);
        }
        for (position, layer) in entry.layers.iter_mut().enumerate() {
            layer.spatial_layer = i32::try_from(position).unwrap_or(0);
            layer.rid = section.rids.get(position).cloned().unwrap_or_default();
        }
    }

    /// A layer of another codec has arrived.
    fn set_backup_layer(&mut self, codec: Codec, layer: u8, ssrc: u32, rtx_ssrc: Option<u32>) {
        let index = self.codec_index(codec);
        let Some(entry) = self.info.codecs.get_mut(index) else {
            return;
        };
        mime(codec).clone_into(&mut entry.mime_type);
        if let Some(layer) = entry.layers.get_mut(usize::from(layer)) {
            layer.ssrc = ssrc;
            layer.repair_ssrc = rtx_ssrc.unwrap_or(0);
        }
    }
}

impl Room {
    /// The publication of which a media-plane track carries the usual codec.
    pub(crate) fn usually_sent_as(&self, track: TrackKey) -> Option<&Publication> {
        let participant = self.participants.get(self.tracks.get(&track)?)?;
        let mut publications = participant.publications.values();
        publications.find(|publication| publication.usual_source() == track)
    }

    /// The publication of which a media-plane track carries a further codec.
    pub(crate) fn backed_up(
        &mut self,
        id: ParticipantId,
        key: TrackKey,
    ) -> Option<(&mut Publication, usize)> {
        let participant = self.participants.get_mut(&id)?;
        participant.publications.values_mut().find_map(|publication| {
            let at = publication.backups.iter().position(|backup| backup.key == key)?;
            Some((publication, at))
        })
    }

    /// A section carries a further codec. Whether its track is muted, and whether that changed what
    /// others know of it.
    pub(crate) fn backup_section(&mut self, id: ParticipantId, section: &PublishedSection) -> (bool, bool) {
        let unix_us = self.now.unix_us();
        let Some((publication, at)) = self.backed_up(id, section.track) else {
            return (false, false);
        };
        publication.backups[at].negotiated = true;
        let codec = publication.backups[at].codec;
        let before = publication.info.clone();
        publication.set_backup_section(codec, section);
        let changed = publication.published && publication.info != before;
        if changed {
            publication.mark_changed(unix_us);
        }
        (publication.info.muted, changed)
    }

    /// A layer of a further codec has arrived: all are told, and perhaps all change over to it.
    pub(crate) fn backup_started(
        &mut self,
        id: ParticipantId,
        key: TrackKey,
        layer: u8,
        ssrc: u32,
        rtx_ssrc: Option<u32>,
    ) {
        let unix_us = self.now.unix_us();
        let few = self.config.codec_regression_threshold == 0
            || self.participants.len() < self.config.codec_regression_threshold as usize;
        let Some((publication, at)) = self.backed_up(id, key) else {
            return;
        };
        let first = !std::mem::replace(&mut publication.backups[at].live, true);
        let untold = publication.backups[at].told.is_none();
        publication.set_backup_layer(publication.backups[at].codec, layer, ssrc, rtx_ssrc);
        publication.mark_changed(unix_us);
        let (primary, published) = (publication.key, publication.published);
        // Of several backup codecs only the first one announced replaces all others.
        let regresses = at == 0
            && match publication.info.backup_codec_policy() {
                proto::BackupCodecPolicy::PreferRegression => few,
                proto::BackupCodecPolicy::Regression => true,
                proto::BackupCodecPolicy::Simulcast => false,
            };
        if published && let Some(participant) = self.participants.get_mut(&id) {
            participant.dirty = true;
            self.broadcast(id, true);
        }
        if first && regresses {
            self.regress(id, primary, Some(key));
        } else if untold {
            self.start_demand(id, primary);
        }
    }

    /// A further codec is not sent any more.
    pub(crate) fn backup_ended(&mut self, id: ParticipantId, key: TrackKey) -> bool {
        let Some((publication, at)) = self.backed_up(id, key) else {
            return false;
        };
        let backup = &mut publication.backups[at];
        backup.negotiated = false;
        backup.live = false;
        backup.cid.clear();
        let primary = publication.key;
        if publication.regressed == Some(key) {
            self.regress(id, primary, None);
        }
        true
    }

    /// Every copy is made of the backup codec from now on, or of the first one again.
    fn regress(&mut self, id: ParticipantId, track: TrackKey, to: Option<TrackKey>) {
        let active_red = self.config.active_red;
        let Some(publication) = self
            .participants
            .get_mut(&id)
            .and_then(|participant| participant.publications.get_mut(&track))
        else {
            return;
        };
        publication.regressed = to;
        let codecs = publication.codecs_by_preference(active_red);
        let sid = publication.info.sid.clone();
        let copies: Vec<(ParticipantId, DownKey)> = self
            .participants
            .values()
            .filter_map(|participant| Some((participant.id, participant.subscriptions.get(&sid)?.down?)))
            .collect();
        for (subscriber, down) in copies {
            let wish = self.wish(subscriber, &sid);
            let Some(link) = self
                .participants
                .get_mut(&subscriber)
                .and_then(crate::participant::Participant::receiving)
            else {
                continue;
            };
            let commands = link.transport.rebind(down, &codecs, wish);
            self.commands(subscriber, commands);
            self.note_source(subscriber, &sid, down);
            self.apply_wish(down);
        }
        self.tell_demand(id, track);
    }

    /// Remembers of which codec's track a copy is made.
    pub(crate) fn note_source(&mut self, id: ParticipantId, sid: &str, down: DownKey) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let source = participant
            .receiving()
            .and_then(|link| link.transport.source_of(down));
        if let Some(subscription) = participant.subscriptions.get_mut(sid) {
            subscription.source = source;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::Demand;
    use media::api::{Kind, RoomKey, ThreadId};
    use std::time::Instant;

    fn key(serial: u32) -> TrackKey {
        TrackKey::new(ThreadId(1), RoomKey(7), serial)
    }

    fn info(mimes: &[&str]) -> proto::TrackInfo {
        let codec = |mime: &&str| proto::SimulcastCodecInfo {
            mime_type: (*mime).to_owned(),
            ..Default::default()
        };
        proto::TrackInfo {
            codecs: mimes.iter().map(codec).collect(),
            ..Default::default()
        }
    }

    /// The backups of an announcement that has keys for as many as there may be.
    fn announced(mimes: &[&str]) -> Vec<(Codec, TrackKey)> {
        let keys = (1..).take(BACKUPS_MAX).map(key);
        let backups = announced_backups(&info(mimes), keys);
        let untouched = |backup: &Backup| {
            backup.cid.is_empty() && !backup.negotiated && !backup.live && backup.told.is_none()
        };
        assert!(backups.iter().all(untouched));
        backups
            .into_iter()
            .map(|backup| (backup.codec, backup.key))
            .collect()
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    fn publication(mimes: &[&str]) -> Publication {
        let info = info(mimes);
        Publication {
            key: key(0),
            kind: Kind::Video,
            cids: Vec::new(),
            published: true,
            waiting_since: Instant::now(),
            codec: codec_of(mimes[0]),
            other_codecs: Vec::new(),
            rids: Vec::new(),
            subscribed_told: false,
            demand: Demand::default(),
            backups: announced_backups(&info, (1..).take(BACKUPS_MAX).map(key)),
            regressed: None,
            rates: [[0.0; 4]; 3],
            info,
        }
    }

    #[test]
    fn further_codecs_get_keys_in_the_order_of_the_announcement() {
        assert_eq!(
            announced(&["video/AV1", "video/VP8", "video/h264"]),
            [(Codec::Vp8, key(1)), (Codec::H264, key(2))]
        );
        assert_eq!(announced(&["video/VP8"]), []);
        assert_eq!(announced(&[""]), [], "as older clients announce");
        assert_eq!(announced(&[]), []);
    }

    #[test]
    fn a_codec_named_twice_counts_once() {
        for mimes in [
            ["video/VP9", "video/vp8", "video/VP8", "video/H264"],
            ["video/VP9", "video/VP8", "video/vp9", "video/H264"],
            ["video/VP9", "VIDEO/VP9", "video/VP8", "video/H264"],
            ["video/VP9", "video/VP8", "video/H264", "video/VP8"],
        ] {
            assert_eq!(
                announced(&mimes),
                [(Codec::Vp8, key(1)), (Codec::H264, key(2))],
                "{mimes:?}"
            );
        }
        assert_eq!(announced(&["video/VP9", "video/vp9"]), []);
    }

    #[test]
    fn unknown_codecs_get_no_key() {
        assert_eq!(
            announced(&["video/VP9", "video/dirac", "video/VP8", "VP8", "video/"]),
            [(Codec::Vp8, key(1))]
        );
    }

    #[test]
    fn backups_are_as_many_as_allowed_and_as_there_are_keys() {
        let all = ["video/VP8", "video/VP9", "video/AV1", "video/H264", "video/H265"];
        assert_eq!(announced(&all), [(Codec::Vp9, key(1)), (Codec::Av1, key(2))]);
        let many = announced_backups(&info(&all), (1..).map(key));
        assert_eq!(many.len(), BACKUPS_MAX);
        let few = announced_backups(&info(&all), std::iter::once(key(1)));
        assert_eq!(few.len(), 1);
    }

    #[test]
    fn copies_prefer_the_first_codec_until_a_backup_replaced_it() {
        let mut track = publication(&["video/AV1", "video/VP8", "video/H264"]);
        assert_eq!(
            track.codecs_by_preference(false),
            [Codec::Av1, Codec::Vp8, Codec::H264]
        );
        assert_eq!(track.usual_source(), key(0));
        track.regressed = Some(key(1));
        assert_eq!(
            track.codecs_by_preference(false),
            [Codec::Vp8, Codec::Av1, Codec::H264]
        );
        assert_eq!(track.usual_source(), key(1));
        assert_eq!(
            track.backup_codecs(),
            [(Codec::Vp8, key(1)), (Codec::H264, key(2))]
        );
    }

    #[test]
    fn a_backup_has_the_layers_of_its_own_or_those_of_the_track() {
        let layer = |height| proto::VideoLayer {
            height,
            ..Default::default()
        };
        let mut track = publication(&["video/VP9", "video/VP8", "video/H264"]);
        track.info.layers = vec![layer(720)];
        track.info.codecs[1].layers = vec![layer(180), layer(360)];
        let heights = |source| {
            let info = track.info_of(source);
            info.layers.iter().map(|layer| layer.height).collect::<Vec<_>>()
        };
        assert_eq!(heights(key(0)), [720]);
        assert_eq!(heights(key(1)), [180, 360]);
        assert_eq!(heights(key(2)), [720]);
    }
}
