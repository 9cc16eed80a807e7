//! Which packets of a stream are missing, and when to ask for them (RFC 4585 §6.2.1).

use std::time::{Duration, Instant};

/// Missing packets tracked per stream. More at once is not a loss that repair can cure: the key
/// frame request of the subscriber's side takes over.
const TRACKED_MAX: usize = 100;
/// Requests per packet. More would only ask for what a decoder has given up on.
const TRIES_MAX: u8 = 5;
/// Wait before the first request, so that reordering by a few milliseconds asks for nothing.
const FIRST_DELAY: Duration = Duration::from_millis(10);
/// Bounds of the wait between requests, and its start while no round trip is known. Shorter asks
/// twice for what is on its way; longer misses the playout delay.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
const INTERVAL_MAX: Duration = Duration::from_millis(400);
const INTERVAL_DEFAULT: Duration = Duration::from_millis(70);
/// Each wait is longer than the one before by this much.
const BACKOFF: f32 = 1.25;

/// The missing packets of one stream, oldest first.
#[derive(Debug, Default)]
pub(super) struct Missing {
    entries: Vec<Entry>,
    /// No entry is due earlier.
    next_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    sequence: u64,
    at: Instant,
    tries: u8,
}

impl Missing {
    /// The packets `from..to` did not arrive before their successor.
    pub(super) fn lost(&mut self, now: Instant, from: u64, to: u64) {
        let from = from.max(to.saturating_sub(TRACKED_MAX as u64));
        let overflow = (self.entries.len() + (to - from) as usize).saturating_sub(TRACKED_MAX);
        self.entries.drain(..overflow.min(self.entries.len()));
        if self.entries.capacity() == 0 {
            self.entries.reserve_exact(TRACKED_MAX);
        }
        let at = now + FIRST_DELAY;
        self.entries.extend((from..to).map(|sequence| Entry {
            sequence,
            at,
            tries: 0,
        }));
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    /// A packet that was thought lost arrived.
    #[inline]
    pub(super) fn arrived(&mut self, sequence: u64) {
        if let Ok(place) = self
            .entries
            .binary_search_by_key(&sequence, |entry| entry.sequence)
        {
            self.entries.remove(place);
            if self.entries.is_empty() {
                self.next_at = None;
            }
        }
    }

    /// When [`Self::take_due`] has something to say.
    pub(super) const fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// Writes the sequence numbers to ask for now into `due`; returns how many. Each counts as one
    /// try; after the last one the packet is forgotten.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        round_trip: Option<Duration>,
        due: &mut [u16; TRACKED_MAX],
    ) -> usize {
        if self.next_at.is_none_or(|at| at > now) {
            return 0;
        }
        let mut count = 0;
        for (entry, slot) in self.entries.iter_mut().filter(|entry| entry.at <= now).zip(due) {
            *slot = entry.sequence as u16;
            count += 1;
            entry.at = now + interval(round_trip, entry.tries);
            entry.tries += 1;
        }
        self.entries.retain(|entry| entry.tries < TRIES_MAX);
        self.next_at = self.entries.iter().map(|entry| entry.at).min();
        count
    }
}

/// Room for everything that can be due at once.
pub(super) const fn due_buffer() -> [u16; TRACKED_MAX] {
    [0; TRACKED_MAX]
}

fn interval(round_trip: Option<Duration>, tries: u8) -> Duration {
    let start = round_trip
        .unwrap_or(INTERVAL_DEFAULT)
        .clamp(INTERVAL_MIN, INTERVAL_MAX);
    start.mul_f32(BACKOFF.powi(i32::from(tries))).min(INTERVAL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn due(missing: &mut Missing, now: Instant, round_trip: Option<Duration>) -> Vec<u16> {
        let mut buffer = due_buffer();
        let count = missing.take_due(now, round_trip, &mut buffer);
        buffer[..count].to_vec()
    }

    #[test]
    fn asks_five_times_with_growing_waits_and_gives_up() {
        let start = test_epoch();
        let mut missing = Missing::default();
        missing.lost(start, 0x1_FFFE, 0x2_0001);
        assert_eq!(due(&mut missing, start + ms(9), None), []);
        let mut times = Vec::new();
        while let Some(at) = missing.next_at() {
            assert_eq!(due(&mut missing, at, Some(ms(100))), [0xFFFE, 0xFFFF, 0]);
            times.push((at - start).as_millis());
        }
        assert_eq!(times, [10, 110, 235, 391, 586]);
    }

    #[test]
    fn the_interval_follows_the_round_trip_within_bounds() {
        assert_eq!(interval(None, 0), ms(70));
        assert_eq!(interval(Some(ms(1)), 0), ms(20));
        assert_eq!(interval(Some(ms(900)), 0), ms(400));
        assert_eq!(interval(Some(ms(390)), 3), ms(400));
    }

    #[test]
    fn what_arrives_is_not_asked_for() {
        let start = test_epoch();
        let mut missing = Missing::default();
        missing.lost(start, 5, 8);
        missing.arrived(6);
        missing.arrived(99);
        assert_eq!(due(&mut missing, start + ms(10), None), [5, 7]);
        missing.arrived(5);
        missing.arrived(7);
        assert_eq!(missing.next_at(), None);
    }

    #[test]
    fn tracks_the_newest_hundred() {
        let start = test_epoch();
        let mut missing = Missing::default();
        missing.lost(start, 10, 90);
        missing.lost(start, 100, 150);
        let asked = due(&mut missing, start + ms(10), None);
        assert_eq!((asked.len(), asked[0], asked[99]), (100, 40, 149));
        missing.lost(start, 1_000, 5_000);
        assert_eq!(missing.entries.len(), 100);
        assert_eq!(missing.entries[0].sequence, 4_900);
        assert!(missing.entries.capacity() <= 128);
    }
}
