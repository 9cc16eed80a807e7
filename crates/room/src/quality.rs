//! Connection quality: windows of tracks become scores, scores of what somebody
//! sends and receives become the quality of a participant, and that is told every 5 s.
//!
//! Owns: the scores. Must not know: where the numbers of a window come from. The round trip and
//! jitter take no part: the reference counts them in neither direction, nor the bitrate.

mod score;

use crate::participant::{ParticipantId, State};
use crate::room::Room;
use crate::timers::Timer;
use media::api::{Command, DownKey, DownReception, DownWindow, Kind, TrackKey, UpWindow};
use proto::{ConnectionQuality, ConnectionQualityInfo};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use score::{Rates, Score, Window, loss_weight};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Between two updates, counted from the room's beginning.
const INTERVAL: Duration = Duration::from_secs(5);
/// Windows are asked for this long before an update, so that it tells the newest. Shorter could
/// miss the answers of a busy media thread; longer makes updates older.
const ASK_BEFORE: Duration = Duration::from_millis(250);
/// Protocol from which clients know of connection quality at all, and of LOST.
const PROTOCOL_MIN: i32 = 5;
const PROTOCOL_LOST: i32 = 11;

/// Scores of a room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    ups: BTreeMap<TrackKey, Up>,
    /// Copies that ever lost anything; all others are perfect.
    downs: BTreeMap<DownKey, Score>,
    /// As of the last update.
    told: BTreeMap<ParticipantId, ConnectionQuality>,
}

/// What is known of a published track.
#[derive(Clone, Debug)]
struct Up {
    score: Score,
    rates: Rates,
    /// At the last window: the share of its weight that loss had, by the packet rate.
    share: f64,
    /// Of the last window.
    at: Instant,
    /// At the last window: nothing was to be sent.
    idle: bool,
    /// At the last window: the highest layer that anybody wanted.
    wanted: Option<u8>,
}

impl Room {
    /// Somebody came: updates go out while anybody is here.
    pub(crate) fn start_quality(&mut self) {
        if !self.timers.is_set(Timer::Quality) {
            let age = self
                .now
                .monotonic
                .saturating_duration_since(self.created.monotonic);
            let next = INTERVAL * (u32::try_from(age.as_secs()).unwrap_or(u32::MAX) / 5).saturating_add(1);
            self.plan_quality(self.created.monotonic + next);
        }
    }

    fn plan_quality(&mut self, at: Instant) {
        self.timers.set(Timer::Quality, at);
        self.timers.set(Timer::Measure, at - ASK_BEFORE);
    }

    /// Windows are needed soon.
    pub(crate) fn measure(&mut self) {
        let room = self.config.key;
        for thread in self.threads.clone() {
            self.command(thread, Command::Measure { room });
        }
    }

    /// A media thread closed its windows.
    pub(crate) fn windows(&mut self, ups: &[UpWindow], downs: &[DownWindow]) {
        for window in ups {
            self.up_window(window);
            self.rates_measured(window);
        }
        for window in downs {
            self.down_window(window);
        }
    }

    fn up_window(&mut self, window: &UpWindow) {
        let Some(publication) = self.usually_sent_as(window.track) else {
            return;
        };
        // The top layer that the publisher was told to send; of audio, the only one.
        let wanted = publication.wanted_layer();
        let idle = publication.info.muted || wanted.is_none();
        let codec = publication.usual_codec();
        let now = self.now.monotonic;
        let up = self.scores.ups.entry(window.track).or_insert_with(|| Up {
            score: Score::default(),
            rates: Rates::default(),
            share: 1.0,
            at: now,
            idle: true,
            wanted: None,
        });
        let was_idle = std::mem::replace(&mut up.idle, idle);
        let wanted_before = std::mem::replace(&mut up.wanted, wanted);
        let time = now.saturating_duration_since(std::mem::replace(&mut up.at, now));
        if idle {
            up.score.rest();
            return;
        }
        // Of an interval that was idle in part nothing can be said.
        if was_idle {
            return;
        }
        up.share = up.rates.take(now, window.expected, time);
        // A layer that was asked for within the window may still be on its way.
        let wanted = wanted_before.min(wanted).unwrap_or(0).min(window.top_ever);
        up.score.update(&Window {
            expected: window.expected,
            lost: window.lost,
            reported: window.reported,
            missing_layers: window.top.map_or(0, |top| wanted.saturating_sub(top)),
            loss_weight: codec.map_or(0.0, loss_weight) * up.share,
        });
    }

    fn down_window(&mut self, window: &DownWindow) {
        if self.is_copy_idle(window.down) {
            return;
        }
        let share = self.share_of_copy(window);
        let score = self.scores.downs.entry(window.down).or_default();
        let (expected, lost) = match window.reception {
            DownReception::Reported { expected: 0, .. } => return,
            DownReception::Reported { expected, lost } => (expected, lost),
            DownReception::Silent => (0, 0),
        };
        score.update(&Window {
            expected,
            lost,
            reported: true,
            missing_layers: 0,
            loss_weight: loss_weight(window.codec) * share,
        });
    }

    /// The share of its weight that loss of a copy has. A copy of sound has the packets of its track;
    /// those of a picture differ by layer, so they are not judged by it.
    fn share_of_copy(&self, window: &DownWindow) -> f64 {
        if window.codec.kind() != Kind::Audio {
            return 1.0;
        }
        self.downs
            .get(&window.down)
            .and_then(|copy| self.published(&copy.track_sid))
            .and_then(|publication| self.scores.ups.get(&publication.usual_source()))
            .map_or(1.0, |up| up.share)
    }

    /// The publisher muted, or the subscriber disabled it.
    fn is_copy_idle(&self, down: DownKey) -> bool {
        let Some(copy) = self.downs.get(&down) else {
            return true;
        };
        let muted = self
            .published(&copy.track_sid)
            .is_none_or(|publication| publication.info.muted);
        muted || !self.wish(copy.subscriber, &copy.track_sid).enabled
    }

    /// It is time for an update.
    pub(crate) fn quality_due(&mut self) {
        let Self {
            scores,
            tracks,
            downs,
            ..
        } = self;
        scores.ups.retain(|track, _| tracks.contains_key(track));
        scores.downs.retain(|down, _| downs.contains_key(down));
        let idle: Vec<_> = self
            .scores
            .downs
            .keys()
            .copied()
            .filter(|down| self.is_copy_idle(*down))
            .collect();
        for down in idle {
            self.scores.downs.remove(&down);
        }
        let now: BTreeMap<_, _> = self
            .participants
            .values()
            .filter(|participant| participant.state == State::Active)
            .map(|participant| (participant.id, self.quality_of(participant.id)))
            .collect();
        let qualities = now.iter().map(|(id, info)| (*id, info.quality()));
        let changed = qualities
            .clone()
            .any(|(id, quality)| self.scores.told.get(&id) != Some(&quality));
        self.scores.told = qualities.collect();
        if changed {
            self.tell_qualities(&now);
        }
        if !self.participants.is_empty() {
            self.plan_quality(self.now.monotonic + INTERVAL);
        }
    }

    /// Everybody hears of itself and of those whose tracks it has.
    fn tell_qualities(&mut self, now: &BTreeMap<ParticipantId, ConnectionQualityInfo>) {
        for &id in now.keys() {
            let Some(participant) = self.participants.get(&id) else {
                continue;
            };
            let mut about = vec![id];
            let mut seen = BTreeSet::from([id]);
            for (sid, subscription) in &participant.subscriptions {
                if subscription.down.is_some()
                    && let Some((publisher, _)) = self.find_published(sid)
                    && seen.insert(publisher)
                {
                    about.push(publisher);
                }
            }
            let infos = about.iter().filter_map(|about| now.get(about).cloned()).collect();
            self.send_quality(id, infos);
        }
    }

    /// A participant has got its first track of somebody.
    pub(crate) fn tell_quality_of(&mut self, id: ParticipantId, publisher: ParticipantId) {
        let active = self
            .participants
            .get(&publisher)
            .is_some_and(|publisher| publisher.state == State::Active);
        if active {
            let info = self.quality_of(publisher);
            self.send_quality(id, vec![info]);
        }
    }

    fn send_quality(&mut self, id: ParticipantId, mut updates: Vec<ConnectionQualityInfo>) {
        let protocol = self.participants.get(&id).map_or(0, |to| to.protocol());
        if protocol < PROTOCOL_MIN || updates.is_empty() {
            return;
        }
        if protocol < PROTOCOL_LOST {
            updates.iter_mut().for_each(without_lost);
        }
        let update = proto::ConnectionQualityUpdate { updates };
        self.send(id, Response::ConnectionQuality(update));
    }

    /// The worst of what a participant sends and receives.
    fn quality_of(&self, id: ParticipantId) -> ConnectionQualityInfo {
        let mut worst = Score::default();
        let mut info = ConnectionQualityInfo::default();
        if let Some(participant) = self.participants.get(&id) {
            let ups = participant.publications.values().filter_map(|publication| {
                let mut score = self.scores.ups.get(&publication.usual_source())?.score;
                if publication.info.muted {
                    score.rest();
                }
                Some(score)
            });
            let downs = participant
                .subscriptions
                .values()
                .filter_map(|subscription| self.scores.downs.get(&subscription.down?).copied());
            worst = ups.chain(downs).fold(worst, Score::worse);
            info.participant_sid.clone_from(&participant.sid);
        }
        info.score = worst.mos();
        info.set_quality(worst.quality());
        if self
            .participants
            .get(&id)
            .is_some_and(|participant| participant.protocol() < PROTOCOL_LOST)
        {
            without_lost(&mut info);
        }
        info
    }
}

/// What clients that do not know of LOST are told.
fn without_lost(info: &mut ConnectionQualityInfo) {
    if info.quality() == ConnectionQuality::Lost {
        info.set_quality(ConnectionQuality::Poor);
    }
}
