//! Deadlines of one room: each [`Timer`] is due at most once, the earliest is found without a scan.

use crate::participant::ParticipantId;
use media::api::{DownKey, TrackKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Updates about pure subscribers go out.
    Updates,
    /// Participant counts are told.
    RoomUpdate,
    /// Changes that waited for their senders' budgets are told.
    Tell,
    /// Media threads are asked for what passed.
    Measure,
    /// Participants are told of the quality of connections.
    Quality,
    /// Nobody is here: close.
    Idle,
    /// Not ACTIVE in time.
    Join(ParticipantId),
    /// A fresh token.
    Refresh(ParticipantId),
    /// Negotiate what was gathered.
    Negotiate(ParticipantId),
    /// Copies that have ended give their sections up.
    Release(ParticipantId),
    /// The client's answer is overdue.
    Answer(ParticipantId),
    /// Media failed and the client did not resume.
    Resume(ParticipantId),
    /// Media failed, the client resumed, and media is not back.
    Return(ParticipantId),
    /// A copy has no section yet.
    Unbound(DownKey),
    /// A client did not acknowledge a call of the API.
    RpcAck(u32),
    /// A client did not answer a call of the API.
    RpcResponse(u32),
    /// Wanted tracks did not appear.
    Missing(ParticipantId),
    /// No packet of a negotiated track has come.
    Silent(TrackKey),
    /// A simulated speaker falls silent.
    SimulatedSpeech(ParticipantId),
    /// Changed track settings take effect.
    Wish(DownKey),
    /// A publisher is told which qualities are wanted.
    Demand(TrackKey),
    /// The same, repeated after an answer re-enabled paused layers.
    DemandRepeat(ParticipantId),
}

/// All deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Instant, Timer)>,
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.due.insert(timer, at) {
            self.order.remove(&(old, timer));
        }
        self.order.insert((at, timer));
    }

    /// Sets a deadline unless there is one already.
    pub(crate) fn set_if_none(&mut self, timer: Timer, at: Instant) {
        if !self.due.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.due.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.due.contains_key(&timer)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes one deadline that has passed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// Forgets a participant's deadlines.
    pub(crate) fn forget(&mut self, id: ParticipantId) {
        for timer in [
            Timer::Join(id),
            Timer::Refresh(id),
            Timer::Negotiate(id),
            Timer::Release(id),
            Timer::Answer(id),
            Timer::Resume(id),
            Timer::Return(id),
            Timer::DemandRepeat(id),
            Timer::Missing(id),
            Timer::SimulatedSpeech(id),
        ] {
            self.cancel(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_earliest_comes_first_and_moving_a_deadline_forgets_the_old_one() {
        let start = crate::tests_support::origin();
        let mut timers = Timers::default();
        timers.set(Timer::Idle, start + Duration::from_secs(2));
        timers.set(Timer::Updates, start + Duration::from_secs(1));
        timers.set(Timer::Updates, start + Duration::from_secs(3));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(2)));
        assert_eq!(timers.pop(start), None);
        assert_eq!(timers.pop(start + Duration::from_secs(9)), Some(Timer::Idle));
        assert_eq!(timers.pop(start + Duration::from_secs(9)), Some(Timer::Updates));
        assert_eq!(timers.pop(start + Duration::from_secs(9)), None);
    }
}
