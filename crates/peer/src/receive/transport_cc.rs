//! Arrival times for transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};
use wire::rtcp::{TransportCcHead, Writer};
use wire::seq::extend_16;

/// Feedback leaves this long after the one before, or earlier after a frame's last packet.
/// Shorter costs the publisher's uplink bandwidth, longer slows its estimate down.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_AFTER_MARKER: Duration = Duration::from_millis(50);
/// Arrivals kept until feedback tells about them. 20,000 packets per second fit the interval.
const ARRIVALS_MAX: usize = 2048;
/// Statuses of one feedback packet, and so the largest gap that is told as lost.
const STATUSES_MAX: usize = 1024;
/// The first sequence number gets one cycle, so that an earlier one does not go below zero.
const FIRST_CYCLE: u64 = 0x1_0000;

/// Arrivals that were not yet told.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Extended transport-wide sequence number, and time since the epoch in ticks of 250 µs.
    waiting: Vec<(u64, u64)>,
    /// Scratch for one feedback packet, kept to stay free of allocation.
    statuses: Vec<Option<u64>>,
    /// Reference of the extension: the highest number seen.
    highest: Option<u64>,
    /// One above the highest number that was told.
    told: Option<u64>,
    /// SSRC that feedback names: the last one that brought a number.
    media: u32,
    feedback_count: u8,
    last_at: Option<Instant>,
    due_at: Option<Instant>,
}

impl Arrivals {
    /// Notes the arrival of a packet; `arrival` is the time since the epoch. False when an arrival
    /// had to be forgotten.
    #[inline]
    pub(super) fn packet(
        &mut self,
        now: Instant,
        arrival: Duration,
        ssrc: u32,
        sequence: u16,
        marker: bool,
    ) -> bool {
        let highest = self.highest.unwrap_or(u64::from(sequence) + FIRST_CYCLE);
        let extended = extend_16(highest, sequence);
        self.highest = Some(highest.max(extended));
        self.media = ssrc;
        let wait = if marker { INTERVAL_AFTER_MARKER } else { INTERVAL };
        let due = self.last_at.map_or(now + wait, |last| (last + wait).max(now));
        if self.due_at.is_none_or(|at| due < at) {
            self.due_at = Some(due);
        }
        if self.waiting.len() == ARRIVALS_MAX {
            return false;
        }
        let ticks = arrival.as_secs() * 4000 + u64::from(arrival.subsec_micros()) / 250;
        self.waiting.push((extended, ticks));
        true
    }

    /// When feedback is due.
    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Writes one feedback packet when it is due. False when `writer` has no room for it: the rest
    /// stays due.
    pub(super) fn write(&mut self, now: Instant, sender: u32, writer: &mut Writer<'_>) -> bool {
        while self.due_at.is_some_and(|at| at <= now) {
            if self.waiting.is_empty() {
                self.due_at = None;
                self.last_at = Some(now);
                return true;
            }
            self.waiting.sort_unstable();
            let base = self.collect();
            let head = TransportCcHead {
                sender,
                media: self.media,
                base_sequence: base as u16,
                feedback_count: self.feedback_count,
            };
            let Some(said) = writer.transport_cc(&head, &self.statuses) else {
                return false;
            };
            self.feedback_count = self.feedback_count.wrapping_add(1);
            let end = base + said as u64;
            self.told = Some(self.told.map_or(end, |told| told.max(end)));
            let told = self.waiting.partition_point(|&(sequence, _)| sequence < end);
            self.waiting.drain(..told);
        }
        true
    }

    /// Fills `statuses` for the oldest waiting arrivals and returns the first number they are about.
    ///
    /// What comes after the last told number starts there, so that losses are told too. Numbers
    /// before it came late: each run of them is told alone, so that nothing which was told as
    /// received is told as lost.
    fn collect(&mut self) -> u64 {
        let &(first, _) = self.waiting.first().expect("the caller checked");
        let late = self.told.is_some_and(|told| first < told);
        let base = match self.told {
            Some(told) if !late && first - told < STATUSES_MAX as u64 => told,
            _ => first,
        };
        self.statuses.clear();
        for &(sequence, ticks) in &self.waiting {
            let place = (sequence - base) as usize;
            let after_run =
                late && (place > self.statuses.len() || self.told.is_some_and(|told| sequence >= told));
            if place >= STATUSES_MAX || after_run {
                break;
            }
            if place >= self.statuses.len() {
                self.statuses.resize(place, None);
                self.statuses.push(Some(ticks));
            }
        }
        base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::collections::btree_map::Entry;
    use wire::rtcp::{Packet, parse};

    /// Sequence number, and arrival in ticks relative to the reference time of its packet.
    fn read(bytes: &[u8]) -> Vec<(u16, u32, Vec<Option<i64>>)> {
        parse(bytes)
            .map(|packet| {
                let Packet::TransportCc {
                    base_sequence,
                    reference_time,
                    statuses,
                    ..
                } = packet
                else {
                    panic!("feedback");
                };
                let mut at = i64::from(reference_time) * 256;
                let arrivals = statuses
                    .map(|(_, delta)| {
                        delta.map(|delta| {
                            at += i64::from(delta);
                            at
                        })
                    })
                    .collect();
                (base_sequence, reference_time, arrivals)
            })
            .collect()
    }

    struct Log {
        arrivals: Arrivals,
        start: Instant,
    }

    impl Log {
        fn new() -> Self {
            Self {
                arrivals: Arrivals::default(),
                start: test_epoch(),
            }
        }

        fn packet(&mut self, ms: u64, sequence: u16, marker: bool) -> bool {
            let arrival = Duration::from_millis(ms);
            self.arrivals
                .packet(self.start + arrival, arrival, 9, sequence, marker)
        }

        fn write(&mut self, ms: u64) -> Vec<(u16, Vec<Option<i64>>)> {
            let mut buffer = [0; 1200];
            let mut writer = Writer::new(&mut buffer);
            assert!(
                self.arrivals
                    .write(self.start + Duration::from_millis(ms), 1, &mut writer)
            );
            let read = read(writer.bytes());
            read.into_iter()
                .map(|(base, _, arrivals)| (base, arrivals))
                .collect()
        }
    }

    #[test]
    fn tells_arrivals_and_losses_once() {
        let mut log = Log::new();
        for (ms, sequence) in [(0, 65_534), (10, 65_535), (20, 1), (21, 0)] {
            log.packet(ms, sequence, false);
        }
        assert_eq!(log.write(99), []);
        assert_eq!(
            log.write(100),
            [(65_534, vec![Some(0), Some(40), Some(84), Some(80)])]
        );
        log.packet(150, 4, false);
        assert_eq!(log.write(199), []);
        assert_eq!(log.write(200), [(2, vec![None, None, Some(600)])]);
        assert_eq!(log.write(1_000), []);
        assert_eq!(log.arrivals.due_at(), None);
    }

    #[test]
    fn a_marker_hastens_feedback() {
        let mut log = Log::new();
        log.packet(0, 1, false);
        log.packet(5, 2, true);
        assert_eq!(log.arrivals.due_at(), Some(log.start + Duration::from_millis(55)));
        assert_eq!(log.write(55).len(), 1);
        log.packet(60, 3, true);
        assert_eq!(
            log.arrivals.due_at(),
            Some(log.start + Duration::from_millis(105))
        );
        log.write(105);
        log.packet(900, 4, true);
        assert_eq!(
            log.arrivals.due_at(),
            Some(log.start + Duration::from_millis(900))
        );
    }

    #[test]
    fn late_ones_do_not_take_back_what_was_told() {
        let mut log = Log::new();
        for sequence in [10, 11, 14] {
            log.packet(0, sequence, false);
        }
        log.write(100);
        for sequence in [12, 16, 13, 9] {
            log.packet(120, sequence, false);
        }
        assert_eq!(
            log.write(200),
            [
                (9, vec![Some(480)]),
                (12, vec![Some(480), Some(480)]),
                (15, vec![None, Some(480)]),
            ]
        );
    }

    #[test]
    fn a_jump_starts_anew_and_memory_is_bounded() {
        let mut log = Log::new();
        log.packet(0, 10, false);
        log.packet(1, 20_000, false);
        assert_eq!(log.write(100), [(10, vec![Some(0)]), (20_000, vec![Some(4)])]);
        let mut dropped = 0;
        for n in 0..5_000u16 {
            dropped += usize::from(!log.packet(110, n, false));
        }
        assert_eq!(dropped, 5_000 - ARRIVALS_MAX);
        assert!(log.arrivals.waiting.capacity() <= ARRIVALS_MAX * 2);
    }

    proptest! {
        #[test]
        fn whatever_the_order_each_arrival_is_told_once_and_truly(
            first: u16,
            steps in prop::collection::vec((-20i32..40, 0u64..30, any::<bool>()), 1..300),
        ) {
            let mut log = Log::new();
            let (mut ms, mut number) = (1_000, i64::from(first) + 100_000);
            let mut truth: BTreeMap<u16, i64> = BTreeMap::new();
            let mut told: BTreeMap<u16, i64> = BTreeMap::new();
            for (step, wait, marker) in steps {
                ms += wait;
                number += i64::from(step);
                let sequence = number as u16;
                if let Entry::Vacant(vacant) = truth.entry(sequence) {
                    vacant.insert(ms as i64 * 4);
                    prop_assert!(log.packet(ms, sequence, marker));
                }
                for (base, arrivals) in log.write(ms) {
                    note(base, &arrivals, &mut told)?;
                }
            }
            for (base, arrivals) in log.write(ms + 200) {
                note(base, &arrivals, &mut told)?;
            }
            prop_assert_eq!(truth, told);
        }
    }

    fn note(base: u16, arrivals: &[Option<i64>], told: &mut BTreeMap<u16, i64>) -> Result<(), TestCaseError> {
        for (ahead, arrival) in (0u16..).zip(arrivals) {
            let sequence = base.wrapping_add(ahead);
            match arrival {
                Some(at) => prop_assert_eq!(told.insert(sequence, *at), None, "{} told twice", sequence),
                None => prop_assert!(!told.contains_key(&sequence), "{} taken back", sequence),
            }
        }
        Ok(())
    }
}
