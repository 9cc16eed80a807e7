//! Announced tracks whose media does not come. Negotiated ones are published without it: a muted
//! microphone is in the list of tracks, and its first packet is heard at once. Others make room for
//! new ones at the limit of pending tracks, and what their client still offers of them is nobody's.

use crate::participant::{Participant, ParticipantId};
use crate::publication::Publication;
use crate::room::Room;
use crate::timers::Timer;
use media::api::TrackKey;
use std::time::{Duration, Instant};

/// A connected publisher's unmuted track whose media has not come by then is given up when its
/// place is needed. Longer blocks new tracks; shorter gives up slow cameras.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(30);

/// A connected publisher's negotiated track whose media has not come by then is published without. The
/// reference does so at once where the description says the SSRCs; the first packet says more, such
/// as which of the codecs it is, and mostly comes within milliseconds.
const SILENT_AFTER: Duration = Duration::from_secs(1);

impl Participant {
    /// From now on only the client keeps the media of its pending tracks from arriving.
    pub(crate) fn wait_for_media(&mut self, now: Instant) {
        for publication in self.publications.values_mut() {
            if !publication.published {
                publication.waiting_since = now;
            }
        }
    }

    /// Pending tracks whose media is overdue.
    fn timed_out(&self, now: Instant) -> Vec<TrackKey> {
        if !self.publisher.connected {
            return Vec::new();
        }
        self.publications
            .values()
            .filter(|publication| !publication.published && !publication.info.muted)
            .filter(|publication| now.saturating_duration_since(publication.waiting_since) > MEDIA_TIMEOUT)
            .map(|publication| publication.key)
            .collect()
    }
}

impl Publication {
    /// It is pending, and all that its first packet could tell is known.
    fn needs_no_packet(&self) -> bool {
        !self.published && self.rids.is_empty() && self.is_codec_certain()
    }
}

impl Room {
    /// How many announced tracks have not sent media yet.
    pub(crate) fn pending(&self, id: ParticipantId) -> usize {
        self.participants.get(&id).map_or(0, |participant| {
            participant
                .publications
                .values()
                .filter(|publication| !publication.published)
                .count()
        })
    }

    /// Sees to it that negotiated tracks are published although their media does not come.
    ///
    /// Those with RIDs wait for it, as which of the layers there are is known by packets alone, and
    /// those that may still be of another codec: copies are made of one.
    pub(crate) fn await_media(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        if !participant.publisher.connected {
            return;
        }
        for publication in participant.publications.values() {
            if publication.needs_no_packet() {
                let patience = if publication.info.muted {
                    Duration::ZERO
                } else {
                    SILENT_AFTER
                };
                self.timers
                    .set_if_none(Timer::Silent(publication.key), now + patience);
            }
        }
    }

    /// No packet of a negotiated track has come.
    pub(crate) fn track_silent(&mut self, track: TrackKey) {
        let Some(&id) = self.tracks.get(&track) else {
            return;
        };
        let awaited = self.participants.get(&id).is_some_and(|participant| {
            participant.publisher.connected
                && participant
                    .publications
                    .get(&track)
                    .is_some_and(Publication::needs_no_packet)
        });
        if awaited {
            self.publish_silent(id, track);
        }
    }

    /// Gives up the pending tracks whose media is overdue and tells their publisher.
    pub(crate) fn release_timed_out(&mut self, id: ParticipantId) {
        let now = self.now.monotonic;
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        for track in participant.timed_out(now) {
            let Some(participant) = self.participants.get_mut(&id) else {
                return;
            };
            let Some(publication) = participant.publications.get(&track) else {
                continue;
            };
            let sid = publication.info.sid.clone();
            participant.publisher.transport.release(&publication.cids);
            self.end_track(id, track);
            self.send_unpublished(id, &sid);
        }
    }
}
