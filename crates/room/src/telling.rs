//! How fast changes are told. Everybody is told of every change of a participant, so one sender's
//! bytes become as many as there are receivers: here the sender is held back, not they.
//!
//! A change is told at once while its sender has budget. Beyond it what changed waits, and what is
//! told later is the newest state: the last value always arrives. State itself, and what it permits,
//! changes at once; only a publisher's rule about subscribers waits as a whole, as if it had come
//! later.

use crate::participant::ParticipantId;
use crate::room::Room;
use crate::timers::Timer;
use protocol::proto;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// What telling costs a sender besides the bytes of its state. With [`SENDER_BYTES_PER_S`] it allows
/// ten small changes in a second.
const TELLING_BYTES: usize = 24 << 10;

/// What one sender may have told in a second. More lets large states change more often and gives
/// hostile ones more of everybody's bandwidth.
const SENDER_BYTES_PER_S: usize = 256 << 10;

/// What a sender may save up: a burst of 80 small changes, as of an application that starts, or of
/// three of the largest metadata.
const SENDER_BYTES_MAX: usize = 2 << 20;

/// What all senders of a room may have told in a second, times receivers: what a core writes to
/// sockets in a tenth of its time.
const ROOM_BYTES_PER_S: usize = 128 << 20;

/// What a room may save up: 100 publishers that appear before 2,500 listeners.
const ROOM_BYTES_MAX: usize = 512 << 20;

/// How often it is looked whether what waits may be told. Oftener is smoother, rarer gathers more.
const TELL_INTERVAL: Duration = Duration::from_millis(100);

/// What applying a rule to one track of one participant costs the publisher, in the same coin.
const RULE_BYTES: usize = 16;

/// How much already waits to be sent to the room's clients, or to all clients of the process: how
/// near its bound it is, whichever of both is nearer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Less than half of the bound.
    #[default]
    Low,
    /// More than half: changes wait.
    High,
    /// All of it: what makes it grow is refused.
    Full,
}

/// What may be told, in bytes: grows with time up to a bound. The last telling may overdraw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Bytes spent of the bound, more when overdrawn.
    spent: usize,
    at: Instant,
}

impl Budget {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { spent: 0, at: now }
    }

    fn refill(&mut self, now: Instant, bytes_per_s: usize) {
        let passed = now.saturating_duration_since(self.at);
        let earned = passed.as_micros().saturating_mul(bytes_per_s as u128) / 1_000_000;
        let earned = usize::try_from(earned).unwrap_or(usize::MAX);
        // What is too little to count is earned by a later look.
        if earned > 0 {
            self.at = now;
            self.spent = self.spent.saturating_sub(earned);
        }
    }

    const fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes);
    }
}

/// What a room has not told yet.
#[derive(Debug)]
pub(crate) struct Untold {
    senders: BTreeMap<ParticipantId, Waiting>,
    /// What the room itself is like.
    room: bool,
    room_budget: Budget,
    /// Bytes times receivers.
    fanout: Budget,
}

/// What of one sender waits.
#[derive(Debug, Default)]
struct Waiting {
    update: bool,
    token: bool,
    rule: Option<proto::SubscriptionPermission>,
    /// New data tracks that nobody receives yet, by SID.
    data_tracks: BTreeSet<String>,
}

impl Untold {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            senders: BTreeMap::new(),
            room: false,
            room_budget: Budget::new(now),
            fanout: Budget::new(now),
        }
    }

    /// Senders of whom others know an older state.
    pub(crate) fn updates(&self) -> usize {
        let senders = self.senders.values();
        senders.filter(|waiting| waiting.update).count()
    }

    /// A sender is gone.
    pub(crate) fn forget(&mut self, id: ParticipantId) {
        self.senders.remove(&id);
    }
}

impl Room {
    /// How much waits to be sent, as the shell sees it.
    pub fn handle_pressure(&mut self, pressure: Pressure) {
        self.pressure = pressure;
    }

    /// Whether something of a sender may be told now.
    pub(crate) fn may_tell(&mut self, id: ParticipantId) -> bool {
        let now = self.now.monotonic;
        self.untold.fanout.refill(now, ROOM_BYTES_PER_S);
        let Some(participant) = self.participants.get_mut(&id) else {
            return false;
        };
        participant.budget.refill(now, SENDER_BYTES_PER_S);
        self.pressure == Pressure::Low
            && participant.budget.spent < SENDER_BYTES_MAX
            && self.untold.fanout.spent < ROOM_BYTES_MAX
    }

    /// Something of so many bytes is told of a sender.
    pub(crate) fn note_told(&mut self, id: ParticipantId, bytes: usize, receivers: usize) {
        self.untold.fanout.spend(bytes.saturating_mul(receivers));
        if let Some(participant) = self.participants.get_mut(&id) {
            participant.budget.spend(TELLING_BYTES + bytes);
        }
    }

    /// A sender's state is told later.
    pub(crate) fn delay_update(&mut self, id: ParticipantId) {
        self.delay(id).update = true;
    }

    /// A sender's state is told later, and with it the sender's own fresh token.
    pub(crate) fn delay_fields(&mut self, id: ParticipantId) {
        let waiting = self.delay(id);
        waiting.update = true;
        waiting.token = true;
    }

    /// Whether the rule is applied later: instead of the one that waits already.
    pub(crate) fn delays_rule(&mut self, id: ParticipantId, rule: &proto::SubscriptionPermission) -> bool {
        if !self.may_tell(id) {
            self.delay(id).rule = Some(rule.clone());
            return true;
        }
        let others = self.participants.len();
        if let Some(participant) = self.participants.get_mut(&id) {
            let tracks = participant.publications.len() + participant.data_tracks.published.len();
            let looks = tracks.saturating_mul(others);
            participant
                .budget
                .spend(TELLING_BYTES.saturating_add(looks.saturating_mul(RULE_BYTES)));
        }
        false
    }

    /// Subscribers of a new data track get it later, together with the next ones.
    pub(crate) fn delay_data_track(&mut self, id: ParticipantId, sid: &str) {
        self.delay(id).data_tracks.insert(sid.to_owned());
    }

    fn delay(&mut self, id: ParticipantId) -> &mut Waiting {
        self.stats.changes_delayed += 1;
        self.plan_telling();
        self.untold.senders.entry(id).or_default()
    }

    fn plan_telling(&mut self) {
        self.timers
            .set_if_none(Timer::Tell, self.now.monotonic + TELL_INTERVAL);
    }

    /// A sender's state was told: nothing of it waits any more.
    pub(crate) fn update_told(&mut self, id: ParticipantId) {
        if let Some(waiting) = self.untold.senders.get_mut(&id) {
            waiting.update = false;
        }
    }

    /// Whether the room's own state may be told now; it is told later otherwise.
    pub(crate) fn may_tell_room(&mut self) -> bool {
        let now = self.now.monotonic;
        self.untold.fanout.refill(now, ROOM_BYTES_PER_S);
        self.untold.room_budget.refill(now, SENDER_BYTES_PER_S);
        let may = self.pressure == Pressure::Low
            && self.untold.room_budget.spent < SENDER_BYTES_MAX
            && self.untold.fanout.spent < ROOM_BYTES_MAX;
        if !may {
            self.stats.changes_delayed += 1;
            self.untold.room = true;
            self.plan_telling();
        }
        may
    }

    pub(crate) fn note_room_told(&mut self, bytes: usize, receivers: usize) {
        self.untold.room = false;
        self.untold.room_budget.spend(TELLING_BYTES + bytes);
        self.untold.fanout.spend(bytes.saturating_mul(receivers));
    }

    /// Tells what waited as far as budgets go, those first that had the least told.
    pub(crate) fn tell_due(&mut self) {
        if std::mem::take(&mut self.untold.room) {
            self.broadcast_room();
        }
        let mut ids: Vec<_> = self.untold.senders.keys().copied().collect();
        ids.sort_by_key(|id| {
            self.participants
                .get(id)
                .map(|participant| participant.budget.spent)
        });
        for id in ids {
            if self.may_tell(id)
                && let Some(waiting) = self.untold.senders.remove(&id)
            {
                self.tell_waiting(id, waiting);
            }
        }
        if !self.untold.senders.is_empty() {
            self.plan_telling();
        }
    }

    fn tell_waiting(&mut self, id: ParticipantId, waiting: Waiting) {
        if let Some(rule) = waiting.rule {
            self.set_rule(id, &rule);
        }
        if waiting.update {
            // It may be affordable no more behind the rule; then it waits again.
            self.broadcast(id, true);
        }
        if waiting.token {
            self.refresh_token(id);
        }
        // Their announcement came first.
        self.give_data_tracks(id, &waiting.data_tracks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_earned_in_small_steps_as_well() {
        let start = crate::tests_support::origin();
        let mut often = Budget::new(start);
        let mut once = often;
        often.spend(SENDER_BYTES_MAX);
        once.spend(SENDER_BYTES_MAX);
        for step in 1..=2_000 {
            often.refill(start + Duration::from_micros(500 * step), SENDER_BYTES_PER_S);
        }
        once.refill(start + Duration::from_secs(1), SENDER_BYTES_PER_S);
        assert_eq!(once.spent, SENDER_BYTES_MAX - SENDER_BYTES_PER_S);
        assert!(often.spent.abs_diff(once.spent) <= 2_000, "{often:?}");
    }
}
