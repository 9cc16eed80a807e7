//! Loss and jitter of one stream for receiver reports (RFC 3550 §6.4.1, appendices A.3 and A.8).

use super::stream::FIRST_CYCLE;
use crate::streams::clock::{fixed_16_16, middle};
use crate::totals::ReceiveTotals;
use std::time::{Duration, Instant};
use wire::rtcp::ReportBlock;

/// How long proxied loss is told when nobody reports any more: twice as long as browsers, which report
/// sound every 5 s on average, may take for a report.
const PROXIED_HOLDS: Duration = Duration::from_secs(10);

/// What was received on one SSRC.
#[derive(Debug)]
pub(super) struct Reception {
    /// First extended sequence number.
    base: u64,
    /// Highest one.
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Interarrival jitter in clock units, times 16.
    jitter_16: u32,
    /// Difference of arrival and timestamp of the newest packet, and its timestamp.
    transit: Option<(u32, u32)>,
    sender_report: Option<(u32, Instant)>,
    /// Packets that only a retransmission brought.
    repaired: u64,
    /// Loss that subscribers reported, and when: told to the sender when it is more than our own.
    proxied: Option<(u8, Instant)>,
}

impl Reception {
    /// A stream whose first packet is `sequence`.
    pub(super) const fn new(sequence: u64) -> Self {
        Self {
            base: sequence,
            highest: sequence,
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter_16: 0,
            transit: None,
            sender_report: None,
            repaired: 0,
            proxied: None,
        }
    }

    /// Counts one packet that is not a duplicate.
    #[inline]
    pub(super) fn packet(&mut self, sequence: u64, timestamp: u32, arrival: Duration, clock_rate: u32) {
        self.received += 1;
        if sequence < self.base {
            self.base = sequence;
        } else if sequence >= self.highest {
            self.highest = sequence;
            self.jitter(timestamp, arrival, clock_rate);
        }
    }

    /// RFC 3550 §A.8, but packets of one frame share a timestamp and are sent one after the other:
    /// only the first tells about the network.
    #[inline]
    fn jitter(&mut self, timestamp: u32, arrival: Duration, clock_rate: u32) {
        let units = arrival.as_secs() * u64::from(clock_rate)
            + u64::from(arrival.subsec_micros()) * u64::from(clock_rate) / 1_000_000;
        let transit = (units as u32).wrapping_sub(timestamp);
        if let Some((before, timestamp_before)) = self.transit {
            if timestamp_before == timestamp {
                return;
            }
            let difference = (transit.wrapping_sub(before) as i32).unsigned_abs();
            // A jump of the timestamps (more than a minute of video) is not jitter.
            if difference < 1 << 22 {
                self.jitter_16 = self.jitter_16 + difference - ((self.jitter_16 + 8) >> 4);
            }
        }
        self.transit = Some((transit, timestamp));
    }

    /// Counts one that came as a retransmission on a stream of its own.
    pub(super) const fn repaired(&mut self) {
        self.repaired += 1;
    }

    /// Loss further down the path, as a fraction of 256.
    pub(super) const fn proxy_loss(&mut self, now: Instant, fraction: u8) {
        self.proxied = Some((fraction, now));
    }

    /// Totals of this stream.
    pub(super) fn totals(&self, ssrc: u32) -> ReceiveTotals {
        ReceiveTotals {
            ssrc,
            expected: self.highest - self.base + 1,
            received: self.received,
            repaired: self.repaired,
            reported_at: self.sender_report.map(|(_, at)| at),
        }
    }

    /// A sender report arrived.
    pub(super) const fn sender_report(&mut self, at: Instant, ntp: u64) {
        self.sender_report = Some((middle(ntp), at));
    }

    /// Whether anything arrived since the last block.
    pub(super) const fn is_fresh(&self) -> bool {
        self.received != self.received_before
    }

    /// RFC 3550 §A.3. Starts the next interval.
    pub(super) fn block(&mut self, now: Instant, ssrc: u32) -> ReportBlock {
        let expected = self.highest - self.base + 1;
        let lost = expected as i64 - self.received as i64;
        let expected_interval = expected.saturating_sub(self.expected_before);
        let received_interval = self.received - self.received_before;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0);
        let proxied = self
            .proxied
            .filter(|(_, at)| now.saturating_duration_since(*at) < PROXIED_HOLDS)
            .map_or(0, |(fraction, _)| fraction);
        self.expected_before = expected;
        self.received_before = self.received;
        let (last_sr, delay_since_sr) = self.sender_report.map_or((0, 0), |(name, at)| {
            (name, fixed_16_16(now.saturating_duration_since(at)))
        });
        ReportBlock {
            ssrc,
            fraction_lost: (fraction.min(255) as u8).max(proxied),
            cumulative_lost: lost.clamp(-0x80_0000, 0x7F_FFFF) as i32,
            // Cycles count from the first packet on, extended numbers one cycle higher.
            highest_sequence: self.highest.wrapping_sub(FIRST_CYCLE) as u32,
            jitter: self.jitter_16 >> 4,
            last_sr,
            delay_since_sr,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_epoch;

    #[test]
    fn loss_follows_appendix_a3() {
        let now = test_epoch();
        let mut reception = Reception::new(0x1_FFF0);
        for sequence in (0x1_FFF0u64..0x2_0010).filter(|sequence| sequence % 4 != 3) {
            reception.packet(sequence, 0, Duration::ZERO, 90_000);
        }
        let block = reception.block(now, 7);
        // The last packet of the 32 is missing, so the receiver knows of 31 with 7 lost.
        assert_eq!(
            (block.cumulative_lost, block.fraction_lost),
            (7, (7 * 256 / 31) as u8)
        );
        assert_eq!((block.ssrc, block.highest_sequence), (7, 0x1_000E));
        assert!(!reception.is_fresh());
        // Two late ones repair more than was lost in this interval.
        reception.packet(0x1_FFF3, 0, Duration::ZERO, 90_000);
        reception.packet(0x1_FFF7, 0, Duration::ZERO, 90_000);
        let block = reception.block(now, 7);
        assert_eq!((block.cumulative_lost, block.fraction_lost), (5, 0));
    }

    #[test]
    fn the_worse_of_own_and_proxied_loss_is_told() {
        let mut reception = Reception::new(0);
        for sequence in [0, 1, 3] {
            reception.packet(sequence, 0, Duration::ZERO, 48_000);
        }
        let now = test_epoch();
        reception.proxy_loss(now, 32);
        assert_eq!(reception.block(now, 1).fraction_lost, 64, "one of four");
        reception.packet(4, 0, Duration::ZERO, 48_000);
        let block = reception.block(now, 1);
        assert_eq!((block.fraction_lost, block.cumulative_lost), (32, 1));
        let block = reception.block(now + PROXIED_HOLDS, 1);
        assert_eq!(block.fraction_lost, 0, "whoever lost it is gone");
    }

    #[test]
    fn totals_tell_apart_what_arrived_and_what_was_repaired() {
        let mut reception = Reception::new(10);
        for sequence in [10, 12, 14] {
            reception.packet(sequence, 0, Duration::ZERO, 90_000);
        }
        reception.repaired();
        let totals = reception.totals(7);
        assert_eq!((totals.expected, totals.received, totals.repaired), (5, 3, 1));
    }

    #[test]
    fn jitter_follows_appendix_a8() {
        let mut reception = Reception::new(0);
        // 20 ms of 48 kHz audio; every second packet is 5 ms (240 units) late.
        let mut expected = 0f64;
        for n in 0..200u64 {
            let late = if n % 2 == 1 { 5 } else { 0 };
            reception.packet(n, (n * 960) as u32, Duration::from_millis(n * 20 + late), 48_000);
            if n > 0 {
                expected += (240.0 - expected) / 16.0;
            }
        }
        let jitter = reception.block(test_epoch(), 1).jitter;
        assert!((f64::from(jitter) - expected).abs() <= 1.0, "{jitter} {expected}");
    }

    #[test]
    fn tells_the_last_sender_report_and_its_age() {
        let at = test_epoch();
        let mut reception = Reception::new(0);
        assert_eq!(reception.block(at, 1).last_sr, 0);
        reception.sender_report(at, 0x1122_3344_5566_7788);
        let block = reception.block(at + Duration::from_millis(500), 1);
        assert_eq!((block.last_sr, block.delay_since_sr), (0x3344_5566, 0x8000));
    }
}
