//! Dynacast (`media.md` §7): which qualities of a video track anybody wants, told to its publisher.
//! More is told at once; less, only when it has stayed less for a while.

use crate::participant::ParticipantId;
use crate::publication::mime;
use crate::room::Room;
use crate::timers::Timer;
use crate::wish::layer_wish;
use media::api::{Kind, TrackKey};
use proto::VideoQuality as Quality;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::time::Duration;

/// Less is told after this long. Shorter saves upstream sooner but makes tiles that come and go
/// wait for a key frame.
const DOWNGRADE_DELAY: Duration = Duration::from_secs(5);

/// A track that nobody has subscribed to by then is told OFF.
const FIRST_DELAY: Duration = Duration::from_secs(10);

/// An answer re-enables layers that the publisher had paused: it is told again after this long.
const REPEAT_DELAY: Duration = Duration::from_secs(2);

/// What is known of the demand for one track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    /// As last told; `None` before the first time. `Off` is no demand.
    told: Option<Quality>,
}

impl Room {
    /// A track has just been published.
    pub(crate) fn start_demand(&mut self, id: ParticipantId, track: TrackKey) {
        if self.is_video(id, track) {
            self.timers
                .set_if_none(Timer::Demand(track), self.now.monotonic + FIRST_DELAY);
        }
    }

    /// A subscriber of the track came, went or wants other layers.
    pub(crate) fn demand_changed(&mut self, sid: &str) {
        let Some((publisher, track)) = self.find_published(sid) else {
            return;
        };
        if !self.is_video(publisher, track) {
            return;
        }
        let wanted = self.wanted(publisher, track);
        let told = self.told(publisher, track);
        if rank(wanted) > told.map_or(0, rank) {
            self.tell_demand(publisher, track, wanted);
        } else if told.is_some_and(|told| rank(wanted) < rank(told)) {
            self.timers
                .set_if_none(Timer::Demand(track), self.now.monotonic + DOWNGRADE_DELAY);
        } else if told == Some(wanted) {
            self.timers.cancel(Timer::Demand(track));
        }
    }

    /// Less demand has lasted, or nobody came.
    pub(crate) fn demand_due(&mut self, track: TrackKey) {
        if let Some(&publisher) = self.tracks.get(&track) {
            let wanted = self.wanted(publisher, track);
            if self.told(publisher, track) != Some(wanted) {
                self.tell_demand(publisher, track, wanted);
            }
        }
    }

    /// Tells it whether or not it changed (after an unmute).
    pub(crate) fn force_demand(&mut self, track: TrackKey) {
        if let Some(&publisher) = self.tracks.get(&track)
            && self.is_video(publisher, track)
            && self.told(publisher, track).is_some()
        {
            let wanted = self.wanted(publisher, track);
            self.tell_demand(publisher, track, wanted);
        }
    }

    /// An answer went to a publisher.
    pub(crate) fn plan_demand_repeat(&mut self, id: ParticipantId) {
        let told = self.participants.get(&id).is_some_and(|participant| {
            participant
                .publications
                .values()
                .any(|publication| publication.demand.told.is_some())
        });
        if told {
            self.timers
                .set(Timer::DemandRepeat(id), self.now.monotonic + REPEAT_DELAY);
        }
    }

    pub(crate) fn demand_repeat(&mut self, id: ParticipantId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
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

    fn told(&self, id: ParticipantId, track: TrackKey) -> Option<Quality> {
        self.participants.get(&id)?.publications.get(&track)?.demand.told
    }

    /// The best quality that any subscriber wants.
    fn wanted(&self, publisher: ParticipantId, track: TrackKey) -> Quality {
        let Some(publication) = self
            .participants
            .get(&publisher)
            .and_then(|participant| participant.publications.get(&track))
        else {
            return Quality::Off;
        };
        let info = &publication.info;
        self.participants
            .values()
            .filter_map(|participant| {
                let subscription = participant.subscriptions.get(&info.sid)?;
                subscription.down?;
                let wish = layer_wish(
                    info,
                    subscription.settings.as_ref(),
                    participant.settings.adaptive_stream,
                );
                wish.enabled.then(|| quality_of(info, wish.spatial))
            })
            .max_by_key(|quality| rank(*quality))
            .unwrap_or(Quality::Off)
    }

    fn tell_demand(&mut self, id: ParticipantId, track: TrackKey, wanted: Quality) {
        self.timers.cancel(Timer::Demand(track));
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(publication) = participant.publications.get_mut(&track) else {
            return;
        };
        if publication.info.muted {
            return;
        }
        publication.demand.told = Some(wanted);
        let Some(codec) = publication.codec else {
            return;
        };
        let qualities: Vec<_> = [Quality::Low, Quality::Medium, Quality::High]
            .into_iter()
            .map(|quality| proto::SubscribedQuality {
                quality: quality.into(),
                enabled: rank(quality) <= rank(wanted),
            })
            .collect();
        let update = proto::SubscribedQualityUpdate {
            track_sid: publication.info.sid.clone(),
            subscribed_qualities: qualities.clone(),
            subscribed_codecs: vec![proto::SubscribedCodec {
                codec: mime(codec).trim_start_matches("video/").to_lowercase(),
                qualities,
            }],
        };
        self.send(id, Response::SubscribedQualityUpdate(update));
    }
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
