//! Dynacast: which qualities of a video track anybody wants, told to its publisher.
//! More is told at once; less, only when it has stayed less for a while.

use crate::participant::ParticipantId;
use crate::publication::{Publication, mime};
use crate::room::Room;
use crate::timers::Timer;
use crate::wish::layer_wish;
use media::api::{Codec, Kind, TrackKey};
use proto::VideoQuality as Quality;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// Less is told after this long. Shorter saves upstream sooner but makes tiles that come and go
/// wait for a key frame.
const DOWNGRADE_DELAY: Duration = Duration::from_secs(5);

/// A track that nobody has subscribed to by then is told OFF.
const FIRST_DELAY: Duration = Duration::from_secs(10);

/// An answer re-enables layers that the publisher had paused: it is told again this long after the last
/// answer of a series, but not later than so long after the first.
const REPEAT_DELAY: Duration = Duration::from_secs(2);
const REPEAT_DELAY_MAX: Duration = Duration::from_secs(8);

/// What is known of the demand for one track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// As last told; `None` before the first time. `Off` is no demand.
    told: Option<Quality>,
    /// It was to be told while the track was muted.
    owed: bool,
}

impl Demand {
    /// As last told.
    pub(crate) fn told(&self) -> Option<Quality> {
        self.told
    }
}

impl Room {
    /// A track has just been published.
    pub(crate) fn start_demand(&mut self, id: ParticipantId, track: TrackKey) {
        if self.demands(id, track).is_some() {
            self.timers
                .set_if_none(Timer::Demand(track), self.now.monotonic + FIRST_DELAY);
        }
    }

    /// A subscriber of the track came, went or wants other layers.
    pub(crate) fn demand_changed(&mut self, sid: &str) {
        let Some((publisher, track)) = self.find_published(sid) else {
            return;
        };
        let Some(demands) = self.demands(publisher, track) else {
            return;
        };
        let more = demands
            .iter()
            .any(|one| rank(one.wanted) > one.told.map_or(0, rank));
        let less = demands
            .iter()
            .any(|one| one.told.is_some_and(|told| rank(one.wanted) < rank(told)));
        // Sound costs little: what is said of its codecs is said at once.
        if more || (less && !self.is_video(publisher, track)) {
            self.tell_demand(publisher, track);
        } else if less {
            self.timers
                .set_if_none(Timer::Demand(track), self.now.monotonic + DOWNGRADE_DELAY);
        } else if demands.iter().all(|one| one.told.is_some() || !one.shown()) {
            self.timers.cancel(Timer::Demand(track));
        }
    }

    /// Less demand has lasted, or nobody came.
    pub(crate) fn demand_due(&mut self, track: TrackKey) {
        if let Some(&publisher) = self.tracks.get(&track)
            && let Some(demands) = self.demands(publisher, track)
            && demands
                .iter()
                .any(|one| one.shown() && one.told != Some(one.wanted))
        {
            self.tell_demand(publisher, track);
        }
    }

    /// Tells it whether or not it changed (after an unmute).
    pub(crate) fn force_demand(&mut self, track: TrackKey) {
        let Some(&publisher) = self.tracks.get(&track) else {
            return;
        };
        let owed = self
            .participants
            .get(&publisher)
            .and_then(|participant| participant.publications.get(&track))
            .is_some_and(|publication| publication.demand.owed);
        let demands = self.demands(publisher, track);
        if demands.is_some_and(|demands| owed || demands.iter().any(|one| one.told.is_some())) {
            self.tell_demand(publisher, track);
        }
    }

    /// An answer went to a publisher.
    pub(crate) fn plan_demand_repeat(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let mut publications = participant.publications.values();
        if publications.any(|publication| publication.demand.told.is_some()) {
            let by = participant.demand_repeat_by.get_or_insert(now + REPEAT_DELAY_MAX);
            let at = (now + REPEAT_DELAY).min(*by);
            self.timers.set(Timer::DemandRepeat(id), at);
        }
    }

    pub(crate) fn demand_repeat(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.demand_repeat_by = None;
        let tracks: Vec<_> = participant.publications.keys().copied().collect();
        for track in tracks {
            self.force_demand(track);
        }
    }

    fn is_video(&self, id: ParticipantId, track: TrackKey) -> bool {
        self.participants
            .get(&id)
            .and_then(|participant| participant.publications.get(&track))
            .is_some_and(|publication| publication.kind == Kind::Video)
    }

    /// The demand for each codec of a track, the first codec's first. `None` for sound of one codec,
    /// of which nothing is told.
    fn demands(&self, id: ParticipantId, track: TrackKey) -> Option<Vec<CodecDemand>> {
        let publication = self.participants.get(&id)?.publications.get(&track)?;
        if publication.kind == Kind::Audio && publication.backups.is_empty() {
            return None;
        }
        let first = CodecDemand {
            first: true,
            codec: publication.codec?,
            wanted: self.wanted(publication, publication.key),
            told: publication.demand.told,
            live: true,
        };
        let further = publication.further().map(|backup| CodecDemand {
            first: false,
            codec: backup.codec,
            wanted: self.wanted(publication, backup.key),
            told: backup.told,
            live: backup.live,
        });
        Some(std::iter::once(first).chain(further).collect())
    }

    /// The best quality that any subscriber wants of a codec's track.
    fn wanted(&self, publication: &Publication, source: TrackKey) -> Quality {
        let info = publication.info_of(source);
        self.participants
            .values()
            .filter_map(|participant| {
                let subscription = participant.subscriptions.get(&info.sid)?;
                subscription.down?;
                // Of several codecs none is asked for before it is known which one the client gets.
                let only = publication.backups.is_empty().then_some(publication.key);
                if subscription.source.or(only) != Some(source) {
                    return None;
                }
                let wish = layer_wish(
                    &info,
                    subscription.settings.as_ref(),
                    participant.settings.adaptive_stream,
                );
                wish.enabled.then(|| quality_of(&info, wish.spatial))
            })
            .max_by_key(|quality| rank(*quality))
            .unwrap_or(Quality::Off)
    }

    /// Tells the publisher what is wanted of each codec, unless the track is muted.
    pub(crate) fn tell_demand(&mut self, id: ParticipantId, track: TrackKey) {
        self.timers.cancel(Timer::Demand(track));
        let demands = self.demands(id, track);
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(publication) = participant.publications.get_mut(&track) else {
            return;
        };
        let Some(mut demands) = demands else {
            return;
        };
        demands.retain(CodecDemand::shown);
        for demand in &demands {
            publication.note_told(demand);
        }
        // What changed meanwhile is told when it is unmuted.
        publication.demand.owed = publication.info.muted;
        if publication.info.muted {
            return;
        }
        let track_sid = publication.info.sid.clone();
        let message = match publication.kind {
            Kind::Video => video_update(track_sid, &demands),
            Kind::Audio => audio_update(track_sid, &demands),
        };
        self.send(id, message);
    }
}

/// The demand for one codec.
#[derive(Clone, Copy, Debug)]
struct CodecDemand {
    /// The track's first codec.
    first: bool,
    codec: Codec,
    wanted: Quality,
    told: Option<Quality>,
    /// Its media has arrived.
    live: bool,
}

impl CodecDemand {
    /// A codec that is only possible is not spoken of before somebody wants it.
    fn shown(&self) -> bool {
        self.first || self.live || self.told.is_some() || self.wanted != Quality::Off
    }
}

impl Publication {
    fn note_told(&mut self, demand: &CodecDemand) {
        let told = if demand.first {
            Some(&mut self.demand.told)
        } else {
            let mut backups = self.backups.iter_mut();
            let backup = backups.find(|backup| backup.codec == demand.codec);
            backup.map(|backup| &mut backup.told)
        };
        if let Some(told) = told {
            *told = Some(demand.wanted);
        }
    }
}

fn video_update(track_sid: String, demands: &[CodecDemand]) -> Response {
    let subscribed_codecs: Vec<_> = demands
        .iter()
        .map(|demand| proto::SubscribedCodec {
            codec: short_name(demand.codec),
            qualities: [Quality::Low, Quality::Medium, Quality::High]
                .into_iter()
                .map(|quality| proto::SubscribedQuality {
                    quality: quality.into(),
                    enabled: rank(quality) <= rank(demand.wanted),
                })
                .collect(),
        })
        .collect();
    Response::SubscribedQualityUpdate(proto::SubscribedQualityUpdate {
        track_sid,
        // Old clients know of one codec only.
        subscribed_qualities: subscribed_codecs
            .first()
            .map(|codec| codec.qualities.clone())
            .unwrap_or_default(),
        subscribed_codecs,
    })
}

fn audio_update(track_sid: String, demands: &[CodecDemand]) -> Response {
    let subscribed_audio_codecs = demands
        .iter()
        .map(|demand| proto::SubscribedAudioCodec {
            // RED is how Opus is sent, not what the publisher announced.
            codec: short_name(if demand.codec == Codec::Red {
                Codec::Opus
            } else {
                demand.codec
            }),
            enabled: demand.wanted != Quality::Off,
        })
        .collect();
    Response::SubscribedAudioCodecUpdate(proto::SubscribedAudioCodecUpdate {
        track_sid,
        subscribed_audio_codecs,
    })
}

/// `vp8` of `video/VP8`.
fn short_name(codec: Codec) -> String {
    let mime = mime(codec);
    mime.rsplit('/').next().unwrap_or(mime).to_lowercase()
}

/// `Off` is the largest number on the wire but the least demand.
fn rank(quality: Quality) -> u8 {
    match quality {
        Quality::Off => 0,
        Quality::Low => 1,
        Quality::Medium => 2,
        Quality::High => 3,
    }
}

/// The quality of a layer.
fn quality_of(info: &proto::TrackInfo, spatial: u8) -> Quality {
    let layer = info.layers.get(usize::from(spatial)).or(info.layers.last());
    match layer {
        Some(layer) => layer.quality(),
        None => match spatial {
            0 => Quality::Low,
            1 => Quality::Medium,
            _ => Quality::High,
        },
    }
}
