//! How busy a media thread is, and whether it has fallen behind.
//!
//! Pure: moments and CPU times go in. Must not know: sockets, the worker.

use std::time::{Duration, Instant};

/// The CPU clock is read this often. Shorter costs a system call more often; longer notices later that
/// a thread is full.
const WINDOW: Duration = Duration::from_millis(250);

/// The share of its time for which a thread worked, in thousandths, smoothed over about a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    since: Instant,
    cpu: Duration,
    share: u32,
}

impl Load {
    pub(crate) const fn new(now: Instant, cpu: Duration) -> Self {
        Self {
            since: now,
            cpu,
            share: 0,
        }
    }

    /// At the end of a turn. The load when it was measured anew; `cpu` is asked for only then.
    pub(crate) fn update(&mut self, now: Instant, cpu: impl FnOnce() -> Option<Duration>) -> Option<u32> {
        let passed = now.saturating_duration_since(self.since);
        if passed < WINDOW {
            return None;
        }
        let cpu = cpu()?;
        let used = cpu.saturating_sub(self.cpu);
        let share = (used.as_micros() * 1000 / passed.as_micros().max(1)).min(1000) as u32;
        // A thread that slept through several windows has forgotten what was before.
        let windows = u32::try_from(passed.as_millis() / WINDOW.as_millis()).unwrap_or(u32::MAX);
        let weight = windows.min(4);
        self.share = (self.share * (4 - weight) + share * weight) / 4;
        self.since = now;
        self.cpu = cpu;
        Some(self.share)
    }
}

/// A turn that takes longer, or leaves datagrams where they are, is behind: what arrived at its
/// beginning left later than this, and what arrived meanwhile waited as long.
pub(crate) const TURN_MAX: Duration = Duration::from_millis(6);
/// A thread that is behind for so long will not catch up by itself. Shorter sheds packets because of a
/// pause of the machine; longer lets the queue grow: by half of it at 150 % of what the thread carries.
const PATIENCE: Duration = Duration::from_millis(50);
/// A thread that shed nothing for so long has caught up.
const RECOVERY: Duration = Duration::from_millis(200);

/// Whether a thread is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    /// It keeps up; behind since that moment, if at all.
    Calm { behind: Option<Instant> },
    /// It does not, and last dropped something or ran out of time at that moment.
    Overloaded { last: Instant },
}

impl Pressure {
    /// At the end of a turn: `late` says that it was behind or that time ran out, `lost` that a datagram
    /// was dropped, by the kernel or by this thread.
    pub(crate) fn update(&mut self, now: Instant, late: bool, lost: bool) {
        *self = match *self {
            Self::Calm { behind } => {
                let since = behind.unwrap_or(now);
                if lost || (late && now.saturating_duration_since(since) >= PATIENCE) {
                    Self::Overloaded { last: now }
                } else {
                    Self::Calm {
                        behind: late.then_some(since),
                    }
                }
            }
            Self::Overloaded { .. } if late || lost => Self::Overloaded { last: now },
            Self::Overloaded { last } if now.saturating_duration_since(last) < RECOVERY => *self,
            Self::Overloaded { .. } => Self::Calm { behind: None },
        };
    }

    pub(crate) const fn is_overloaded(self) -> bool {
        matches!(self, Self::Overloaded { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_load_follows_the_cpu_clock_within_a_second() {
        let start = Instant::now();
        let mut load = Load::new(start, Duration::ZERO);
        assert_eq!(load.update(start + MS * 249, || panic!("not asked")), None);
        for window in 1..=12 {
            load.update(start + WINDOW * window, || Some(WINDOW * window * 9 / 10));
        }
        assert!((850..=900).contains(&load.share), "{}", load.share);
        // Idle for a second: what was before no longer counts.
        assert_eq!(
            load.update(start + WINDOW * 16, || Some(WINDOW * 12 * 9 / 10)),
            Some(0)
        );
    }

    #[test]
    fn a_thread_without_a_clock_claims_no_load() {
        let start = Instant::now();
        let mut load = Load::new(start, Duration::ZERO);
        assert_eq!(load.update(start + WINDOW, || None), None);
    }

    #[test]
    fn a_short_pause_is_no_overload_but_one_that_lasts_is() {
        let start = Instant::now();
        let mut pressure = Pressure::Calm { behind: None };
        for ms in 0..49 {
            pressure.update(start + MS * ms, true, false);
        }
        assert!(!pressure.is_overloaded());
        pressure.update(start + MS * 49, false, false);
        assert_eq!(pressure, Pressure::Calm { behind: None });
        for ms in 50..=100 {
            pressure.update(start + MS * ms, true, false);
        }
        assert!(pressure.is_overloaded());
    }

    #[test]
    fn a_full_socket_is_overload_at_once_and_ends_when_nothing_was_lost_for_a_while() {
        let start = Instant::now();
        let mut pressure = Pressure::Calm { behind: None };
        pressure.update(start, false, true);
        assert!(pressure.is_overloaded());
        pressure.update(start + MS * 199, false, false);
        assert!(pressure.is_overloaded());
        pressure.update(start + MS * 200, false, false);
        assert!(!pressure.is_overloaded());
    }
}
