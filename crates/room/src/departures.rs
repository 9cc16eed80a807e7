//! Who left lately: what clients that come back have to be told of those that they still show.
//!
//! One entry for each identity, and of each session only what a client needs to take it away.

use crate::config::Now;
use crate::telling::Budget;
use crate::update::QueuedUpdate;
use protocol::proto;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many identities are kept, and how long. A client that was away resumes within seconds or not
/// at all.
const IDENTITIES_MAX: usize = 256;
const KEPT: Duration = Duration::from_secs(60);

/// Bytes of all that is kept, as it would be sent: a client that comes back on a slow link gets it
/// before all else.
const BYTES_MAX: usize = 128 << 10;

/// Sessions of one identity that are kept. Clients know participants by identity and need the last
/// one; those before protocol 12 know sessions, but no more than one from before they lost contact.
const SESSIONS_MAX: usize = 4;

/// Departures told longer than this are told without what only describes.
const PLAIN_BYTES_MAX: usize = 4 << 10;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// The one that left last is the last.
    identities: VecDeque<Departed>,
    bytes: usize,
}

#[derive(Debug)]
struct Departed {
    identity: String,
    /// When, and how the session is told of. The last one is the newest.
    sessions: VecDeque<(Now, proto::ParticipantInfo)>,
    /// Left to the next session: nobody gets a new one by coming back.
    budget: Budget,
}

impl Departed {
    fn bytes(&self) -> usize {
        let infos = self.sessions.iter().map(|(_, info)| size(info));
        self.identity.len() + infos.sum::<usize>()
    }
}

impl Departures {
    /// A session ended. Of the hidden nobody is told.
    pub(crate) fn add(&mut self, now: Now, update: &QueuedUpdate, budget: Budget) {
        self.expire(now);
        let identity = &update.info.identity;
        let known = self.identities.iter().position(|old| old.identity == *identity);
        let known = known.and_then(|index| self.identities.remove(index));
        let mut departed = match known {
            Some(known) => {
                self.bytes = self.bytes.saturating_sub(known.bytes());
                known
            }
            None => Departed {
                identity: identity.clone(),
                sessions: VecDeque::new(),
                budget,
            },
        };
        departed.budget = budget;
        if !update.hidden() {
            if departed.sessions.len() >= SESSIONS_MAX {
                departed.sessions.pop_front();
            }
            departed.sessions.push_back((now, essence(&update.info)));
        }
        self.bytes += departed.bytes();
        self.identities.push_back(departed);
        while self.identities.len() > IDENTITIES_MAX || self.bytes > BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn expire(&mut self, now: Now) {
        let Some(horizon) = now.monotonic.checked_sub(KEPT) else {
            return;
        };
        let is_old = |departed: &Departed| {
            let last = departed.sessions.back();
            last.is_none_or(|(at, _)| at.monotonic < horizon)
        };
        while self.identities.front().is_some_and(is_old) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.identities.pop_front() {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }

    /// What the last session of an identity may still have told.
    pub(crate) fn budget(&self, identity: &str) -> Option<Budget> {
        let mut departed = self.identities.iter();
        let departed = departed.find(|departed| departed.identity == identity)?;
        Some(departed.budget)
    }

    /// Sessions that ended since then, oldest first; of each identity the last one only, unless
    /// `every` session is asked for.
    pub(crate) fn since(&self, since: Instant, every: bool) -> Vec<proto::ParticipantInfo> {
        let mut infos: Vec<_> = self
            .identities
            .iter()
            .flat_map(|departed| {
                let all = departed.sessions.len();
                let skipped = if every { 0 } else { all.saturating_sub(1) };
                departed.sessions.iter().skip(skipped)
            })
            .filter(|(at, _)| at.monotonic >= since)
            .collect();
        infos.sort_by_key(|(at, _)| at.monotonic);
        infos.into_iter().map(|(_, info)| info.clone()).collect()
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// What a client needs to take a participant away.
fn essence(info: &proto::ParticipantInfo) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: info.sid.clone(),
        identity: info.identity.clone(),
        state: info.state,
        version: info.version,
        kind: info.kind,
        joined_at: info.joined_at,
        joined_at_ms: info.joined_at_ms,
        disconnect_reason: info.disconnect_reason,
        ..Default::default()
    }
}

/// A departure as those present are told it: whole, unless that would be long.
pub(crate) fn told(info: proto::ParticipantInfo) -> proto::ParticipantInfo {
    if size(&info) > PLAIN_BYTES_MAX {
        essence(&info)
    } else {
        info
    }
}

fn size(info: &proto::ParticipantInfo) -> usize {
    prost::Message::encoded_len(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::participant::ParticipantId;

    fn at(seconds: u64) -> Now {
        // One origin for a test: later calls must not be later instants.
        static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let origin = *ORIGIN.get_or_init(crate::tests_support::origin);
        Now {
            monotonic: origin + Duration::from_secs(seconds),
            unix: Duration::from_secs(seconds),
        }
    }

    fn session(serial: u32, identity: &str) -> QueuedUpdate {
        QueuedUpdate {
            info: proto::ParticipantInfo {
                sid: format!("PA_{serial}"),
                identity: identity.to_owned(),
                metadata: "m".repeat(500_000),
                ..Default::default()
            },
            id: ParticipantId(serial),
        }
    }

    fn sids(departures: &Departures, since: Now, every: bool) -> Vec<String> {
        let infos = departures.since(since.monotonic, every);
        infos.into_iter().map(|info| info.sid).collect()
    }

    fn add(departures: &mut Departures, seconds: u64, serial: u32, identity: &str) {
        let now = at(seconds);
        departures.add(now, &session(serial, identity), Budget::new(now.monotonic));
    }

    #[test]
    fn of_an_identity_the_last_session_is_told_and_to_old_clients_the_last_four() {
        let mut departures = Departures::default();
        for serial in 0..6 {
            add(&mut departures, 1, serial, "a");
        }
        add(&mut departures, 2, 9, "b");
        assert_eq!(sids(&departures, at(0), false), ["PA_5", "PA_9"]);
        assert_eq!(
            sids(&departures, at(0), true),
            ["PA_2", "PA_3", "PA_4", "PA_5", "PA_9"]
        );
        assert_eq!(sids(&departures, at(2), true), ["PA_9"]);
    }

    #[test]
    fn departures_are_bounded_in_number_bytes_and_time() {
        let mut departures = Departures::default();
        for serial in 0..300 {
            add(&mut departures, 1, serial, &format!("p{serial}"));
        }
        let kept = sids(&departures, at(0), true);
        assert_eq!((kept.len(), kept[0].as_str()), (IDENTITIES_MAX, "PA_44"));
        assert!(departures.bytes() < 32 << 10, "{}", departures.bytes());
        for serial in 300..400 {
            add(&mut departures, 2, serial, &"i".repeat(10_000 + serial as usize));
        }
        assert!(departures.bytes() <= BYTES_MAX, "{}", departures.bytes());
        add(&mut departures, 63, 1, "z");
        assert_eq!(sids(&departures, at(0), true), ["PA_1"]);
    }
}
