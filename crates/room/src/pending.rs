//! Announced tracks whose media never comes: at the limit of pending
//! tracks they make room for new ones, and what their client still offers of them is nobody's.

use crate::participant::{Participant, ParticipantId};
use crate::room::Room;
use media::api::TrackKey;
use std::time::{Duration, Instant};

/// A connected publisher's unmuted track whose media has not come by then is given up when its
/// place is needed. Longer blocks new tracks; shorter gives up slow cameras.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(30);

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
