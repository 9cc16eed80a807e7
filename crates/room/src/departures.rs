//! Who left lately: what clients that come back have to be told of those that they still show.
//!
//! One entry for each identity, and of each session only what a client needs to take it away.

use crate::config::Now;
use crate::participant::{ParticipantId, State};
use crate::telling::Budget;
use crate::update::{Audience, QueuedUpdate};
use prost::Message as _;
use protocol::proto;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many identities are kept, and how long. A client that was away resumes within seconds or not
/// at all.
const IDENTITIES_MAX: usize = 256;
const KEPT: Duration = Duration::from_secs(60);

/// Bytes that all of it may hold in memory. What is sent of it is less: a client that comes back on a
/// slow link gets it before all else.
const HELD_BYTES_MAX: usize = 128 << 10;

/// Sessions of one identity that are kept. Clients that know participants by identity need the last
/// one. The others need the one that they show, behind which as many may have come and gone as fit into
/// the time for which they had not read.
const SESSIONS_MAX: usize = 16;

/// Departures told longer than this are told without what only describes.
const PLAIN_BYTES_MAX: usize = 4 << 10;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    /// The one that left last is the last.
    identities: VecDeque<Departed>,
    held_bytes: usize,
}

#[derive(Debug)]
struct Departed {
    identity: Box<str>,
    /// The last one is the newest.
    sessions: Vec<Session>,
    /// Left to the next session: nobody gets a new one by coming back.
    budget: Budget,
}

#[derive(Debug)]
struct Session {
    id: ParticipantId,
    /// When it ended or, once those present were told, when they were: what is told of it may have waited
    /// longer than a client's connection lasted.
    left: Instant,
    /// How it is told of, without the identity: encoded, for decoded it is many times as large.
    info: Box<[u8]>,
}

impl Departed {
    fn held_bytes(&self) -> usize {
        let infos = self.sessions.iter().map(|session| session.info.len());
        size_of::<Self>()
            + self.identity.len()
            + self.sessions.capacity() * size_of::<Session>()
            + infos.sum::<usize>()
    }

    fn told(&self, session: &Session) -> Option<proto::ParticipantInfo> {
        // It was encoded here.
        let mut info = proto::ParticipantInfo::decode(&*session.info).ok()?;
        info.identity = self.identity.to_string();
        Some(info)
    }
}

impl Departures {
    /// A session ended. Who was hidden leaves nothing but its budget.
    pub(crate) fn add(&mut self, now: Now, update: &QueuedUpdate, budget: Budget) {
        self.expire(now);
        let identity = update.info.identity.as_str();
        let known = self.identities.iter().position(|old| *old.identity == *identity);
        let mut departed = known.and_then(|index| self.remove(index)).unwrap_or(Departed {
            identity: identity.into(),
            sessions: Vec::with_capacity(1),
            budget,
        });
        departed.budget = budget;
        if update.audience != Audience::Itself {
            if departed.sessions.len() >= SESSIONS_MAX {
                departed.sessions.remove(0);
            }
            departed.sessions.push(Session {
                id: update.id,
                left: now.monotonic,
                info: essence(&update.info).encode_to_vec().into_boxed_slice(),
            });
        }
        let bytes = departed.held_bytes();
        while self.identities.len() >= IDENTITIES_MAX
            || !self.identities.is_empty() && self.held_bytes + bytes > HELD_BYTES_MAX
        {
            self.remove(0);
        }
        self.held_bytes += bytes;
        self.identities.push_back(departed);
    }

    /// Those present are told now.
    pub(crate) fn note_told(&mut self, now: Now, update: &QueuedUpdate) {
        let identity = update.info.identity.as_str();
        let mut departed = self.identities.iter_mut().rev();
        if let Some(departed) = departed.find(|departed| *departed.identity == *identity) {
            let sessions = departed.sessions.iter_mut();
            for session in sessions.filter(|session| session.id == update.id) {
                session.left = now.monotonic;
            }
        }
    }

    fn expire(&mut self, now: Now) {
        let Some(horizon) = now.monotonic.checked_sub(KEPT) else {
            return;
        };
        let is_old = |departed: &Departed| {
            let last = departed.sessions.last();
            last.is_none_or(|session| session.left < horizon)
        };
        while self.identities.front().is_some_and(is_old) {
            self.remove(0);
        }
    }

    fn remove(&mut self, index: usize) -> Option<Departed> {
        let departed = self.identities.remove(index)?;
        self.held_bytes = self.held_bytes.saturating_sub(departed.held_bytes());
        Some(departed)
    }

    /// What the last session of an identity may still have told.
    pub(crate) fn budget(&self, identity: &str) -> Option<Budget> {
        let mut departed = self.identities.iter();
        let departed = departed.find(|departed| *departed.identity == *identity)?;
        Some(departed.budget)
    }

    /// Sessions that ended since then, oldest first; of each identity the last one only, unless
    /// `every` session is asked for.
    pub(crate) fn since(&self, since: Instant, every: bool) -> Vec<proto::ParticipantInfo> {
        let mut sessions: Vec<_> = self
            .identities
            .iter()
            .flat_map(|departed| {
                let all = departed.sessions.len();
                let skipped = if every { 0 } else { all.saturating_sub(1) };
                let sessions = departed.sessions.iter().skip(skipped);
                sessions.map(move |session| (departed, session))
            })
            .filter(|(_, session)| session.left >= since)
            .collect();
        sessions.sort_by_key(|(_, session)| session.left);
        let sessions = sessions.into_iter();
        sessions
            .filter_map(|(departed, session)| departed.told(session))
            .collect()
    }

    #[cfg(test)]
    fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

/// Who hid from the others, as they are told it: gone, with nothing that describes.
pub(crate) fn vanished(info: &proto::ParticipantInfo) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        state: State::Disconnected.into(),
        identity: info.identity.clone(),
        ..essence(info)
    }
}

/// What a client needs to take a participant away, beside its identity.
fn essence(info: &proto::ParticipantInfo) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: info.sid.clone(),
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
    if info.encoded_len() > PLAIN_BYTES_MAX {
        proto::ParticipantInfo {
            identity: info.identity.clone(),
            ..essence(&info)
        }
    } else {
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            audience: Audience::Everybody,
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
    fn of_an_identity_the_last_session_is_told_and_to_old_clients_the_last_few() {
        let mut departures = Departures::default();
        for serial in 0..18 {
            add(&mut departures, 1, serial, "a");
        }
        add(&mut departures, 2, 9, "b");
        assert_eq!(sids(&departures, at(0), false), ["PA_17", "PA_9"]);
        let all = sids(&departures, at(0), true);
        assert_eq!((all.len(), all[0].as_str()), (SESSIONS_MAX + 1, "PA_2"));
        assert_eq!(sids(&departures, at(2), true), ["PA_9"]);
    }

    #[test]
    fn what_is_told_of_a_departure_is_whom_it_takes_away() {
        let mut departures = Departures::default();
        add(&mut departures, 1, 7, "a");
        let [info] = &departures.since(at(0).monotonic, false)[..] else {
            panic!("one left");
        };
        assert_eq!((info.sid.as_str(), info.identity.as_str()), ("PA_7", "a"));
        assert!(info.metadata.is_empty());
    }

    #[test]
    fn departures_are_bounded_in_number_memory_and_time() {
        let mut departures = Departures::default();
        for serial in 0..300 {
            add(&mut departures, 1, serial, &format!("p{serial}"));
        }
        let kept = sids(&departures, at(0), true);
        assert_eq!((kept.len(), kept[0].as_str()), (IDENTITIES_MAX, "PA_44"));
        let queue = departures.identities.capacity() * size_of::<Departed>();
        assert_eq!(
            queue,
            IDENTITIES_MAX * size_of::<Departed>(),
            "each place is counted"
        );
        assert!(departures.held_bytes() < 32 << 10, "{}", departures.held_bytes());
        for serial in 300..400 {
            add(&mut departures, 2, serial, &"i".repeat(10_000 + serial as usize));
        }
        assert!(
            departures.held_bytes() <= HELD_BYTES_MAX,
            "{}",
            departures.held_bytes()
        );
        // All of what is held is counted when it goes, too.
        add(&mut departures, 63, 1, "z");
        assert_eq!(sids(&departures, at(0), true), ["PA_1"]);
        let last = departures.identities.back().expect("one").held_bytes();
        assert_eq!(departures.held_bytes(), last);
    }
}
