//! Active speakers: levels of tracks become levels of participants, and only
//! differences are told, to those who receive the speaker and to the speaker itself.

use crate::participant::ParticipantId;
use crate::room::Room;
use media::api::TrackKey;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeMap;

/// Levels are told in steps of this: finer ones would only make more messages.
const STEPS: f32 = 8.0;

/// Who speaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Speakers {
    /// Last level of each track that is active, from the window of its thread.
    tracks: BTreeMap<TrackKey, f32>,
    /// Participants by SID, as last told.
    told: BTreeMap<String, f32>,
}

impl Room {
    /// A window of one media thread.
    pub(crate) fn audio_levels(&mut self, levels: &[(TrackKey, f32, bool)]) {
        match levels.first() {
            // One thread's window says all about its tracks and nothing about others'.
            Some((first, _, _)) => {
                let thread = first.thread();
                self.speakers.tracks.retain(|track, _| track.thread() != thread);
            }
            None => self.speakers.tracks.clear(),
        }
        for &(track, level, active) in levels {
            if active {
                self.speakers.tracks.insert(track, level);
            }
        }
        self.tell_speakers();
    }

    /// A participant is gone; others learn that from its disconnect.
    pub(crate) fn forget_speaker(&mut self, sid: &str) {
        self.speakers.told.remove(sid);
        let tracks = &self.tracks;
        self.speakers.tracks.retain(|track, _| tracks.contains_key(track));
    }

    fn tell_speakers(&mut self) {
        let mut current: BTreeMap<String, (ParticipantId, f32)> = BTreeMap::new();
        for (track, level) in &self.speakers.tracks {
            let Some(id) = self.tracks.get(track) else {
                continue;
            };
            let Some(participant) = self.participants.get(id) else {
                continue;
            };
            let level = quantise(*level);
            let entry = current.entry(participant.sid.clone()).or_insert((*id, level));
            entry.1 = entry.1.max(level);
        }
        let mut changes: Vec<proto::SpeakerInfo> = current
            .iter()
            .filter(|(sid, (_, level))| self.speakers.told.get(*sid) != Some(level))
            .map(|(sid, (_, level))| proto::SpeakerInfo {
                sid: sid.clone(),
                level: *level,
                active: true,
            })
            .collect();
        changes.sort_by(|a, b| b.level.total_cmp(&a.level));
        let gone = self
            .speakers
            .told
            .keys()
            .filter(|sid| !current.contains_key(*sid));
        changes.extend(gone.map(|sid| proto::SpeakerInfo {
            sid: sid.clone(),
            level: 0.0,
            active: false,
        }));
        self.speakers.told = current
            .into_iter()
            .map(|(sid, (_, level))| (sid, level))
            .collect();
        if changes.is_empty() {
            return;
        }
        let changes: Vec<_> = changes
            .into_iter()
            .map(|change| (self.published_by(&change.sid), change))
            .collect();
        // Those who hear the same are told the same.
        let mut groups: BTreeMap<Vec<usize>, Vec<ParticipantId>> = BTreeMap::new();
        for &id in self.participants.keys() {
            let heard = changes.iter().enumerate();
            let heard: Vec<_> = heard
                .filter(|(_, (tracks, change))| self.hears(id, &change.sid, tracks))
                .map(|(index, _)| index)
                .collect();
            groups.entry(heard).or_default().push(id);
        }
        for (heard, ids) in groups {
            let heard = heard.into_iter().filter_map(|index| changes.get(index));
            self.send_speakers(ids, heard.map(|(_, change)| change.clone()).collect());
        }
    }

    /// Changes are for clients that know a list by them.
    fn send_speakers(&mut self, mut ids: Vec<ParticipantId>, speakers: Vec<proto::SpeakerInfo>) {
        ids.retain(|id| {
            let participant = self.participants.get(id);
            participant.is_some_and(|participant| participant.protocol() >= 3)
        });
        if !speakers.is_empty() {
            self.send_to_all(
                ids,
                Response::SpeakersChanged(proto::SpeakersChanged { speakers }),
            );
        }
    }

    /// Tells a participant and those who hear it that it speaks, or does no more.
    pub(crate) fn tell_speaker(&mut self, speaker: &proto::SpeakerInfo) {
        let tracks = self.published_by(&speaker.sid);
        let mut ids: Vec<_> = self.participants.keys().copied().collect();
        ids.retain(|id| self.hears(*id, &speaker.sid, &tracks));
        self.send_speakers(ids, vec![speaker.clone()]);
    }

    /// A participant has got a track of somebody, or lost one. With the first one it is told whether
    /// that one is speaking and how it is connected; with the last one, that it is silent.
    pub(crate) fn hearing_changed(&mut self, id: ParticipantId, track_sid: &str, hears: bool) {
        let Some((publisher_id, publisher)) = self
            .find_published(track_sid)
            .and_then(|(publisher, _)| Some((publisher, self.participants.get(&publisher)?)))
        else {
            return;
        };
        let others: Vec<_> = publisher
            .publications
            .values()
            .map(|publication| publication.info.sid.clone())
            .filter(|other| other != track_sid)
            .collect();
        let sid = publisher.sid.clone();
        if self.hears(id, &sid, &others) {
            return;
        }
        if let Some(&level) = self.speakers.told.get(&sid) {
            let speaker = proto::SpeakerInfo {
                sid,
                level: if hears { level } else { 0.0 },
                active: hears,
            };
            self.send_speakers(vec![id], vec![speaker]);
        }
        if hears {
            self.tell_quality_of(id, publisher_id);
        }
    }

    /// SIDs of what a participant publishes.
    fn published_by(&self, sid: &str) -> Vec<String> {
        self.participants
            .values()
            .filter(|participant| participant.sid == sid)
            .flat_map(|participant| participant.publications.values())
            .map(|publication| publication.info.sid.clone())
            .collect()
    }

    /// Whether a participant is the speaker or receives any of its tracks.
    fn hears(&self, id: ParticipantId, speaker_sid: &str, tracks: &[String]) -> bool {
        self.participants.get(&id).is_some_and(|participant| {
            participant.sid == speaker_sid
                || tracks.iter().any(|track| {
                    participant
                        .subscriptions
                        .get(track)
                        .is_some_and(|subscription| subscription.down.is_some())
                })
        })
    }
}

/// Up to the next step.
fn quantise(level: f32) -> f32 {
    (level * STEPS).ceil() / STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_told_in_eighths_rounded_up() {
        assert!((quantise(0.2) - 0.25).abs() < f32::EPSILON);
        assert!((quantise(0.25) - 0.25).abs() < f32::EPSILON);
        assert!((quantise(1.0) - 1.0).abs() < f32::EPSILON);
    }
}
