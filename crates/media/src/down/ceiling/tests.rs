//! Ceilings over a link and a source in steps of a second: narrow, wide, lossy, dead, and reports that lie.

use super::*;

/// A link and a source: each second a report tells what of it arrived.
struct Path {
    ceiling: Ceiling,
    now: Instant,
    sent: u64,
    /// Bytes that wait in front of the link.
    queue: f64,
    totals: (f64, f64),
}

impl Path {
    fn new() -> Self {
        Self {
            ceiling: Ceiling::default(),
            now: crate::testing::epoch(),
            sent: 0,
            queue: 0.0,
            totals: (0.0, 0.0),
        }
    }

    /// One second in which the source would send `wanted` bytes, over a link that carries `rate` and
    /// queues 40 KB, and loses `random` of a hundred. Returns what was sent.
    fn second(&mut self, wanted: u64, rate: u64, random: u64) -> u64 {
        let sent = self.ceiling.rate().map_or(wanted, |ceiling| ceiling.min(wanted));
        let through = sent * (100 - random) / 100;
        let offered = self.queue + through as f64;
        let carried = offered.min(rate as f64);
        self.queue = (offered - carried).min(40_000.0);
        let dropped = offered - carried - self.queue;
        let lost = (sent - through) as f64 + dropped;
        self.now += Duration::from_secs(1);
        self.sent += sent;
        self.totals.0 += sent as f64;
        self.totals.1 += carried;
        let delivery = Delivery {
            sent: (sent / 1000) as u32,
            octets: sent as u32,
            expected: ((carried + lost) / 1000.0) as u32,
            lost: (lost / 1000.0) as u32,
        };
        self.ceiling.report(self.now, &delivery, self.sent, sent < wanted);
        sent
    }

    fn seconds(&mut self, count: usize, wanted: u64, rate: u64, random: u64) {
        for _ in 0..count {
            self.second(wanted, rate, random);
        }
    }
}

const MBPS: u64 = 125_000;

#[test]
fn what_is_sent_follows_a_link_that_becomes_narrow() {
    for (wanted, narrow) in [
        (3 * MBPS, MBPS),
        (2 * MBPS, MBPS),
        (10 * MBPS, MBPS),
        (2 * MBPS, MBPS / 3),
    ] {
        let mut path = Path::new();
        path.seconds(10, wanted, 12 * MBPS, 0);
        assert_eq!(path.ceiling.rate(), None);
        path.totals = (0.0, 0.0);
        path.seconds(2, wanted, narrow, 0);
        assert!(path.ceiling.rate().is_some_and(|rate| rate <= narrow), "{wanted}");
        path.totals = (0.0, 0.0);
        path.seconds(18, wanted, narrow, 0);
        let (sent, carried) = path.totals;
        assert!(sent < carried * 1.2, "{wanted} {narrow}: {sent} {carried}");
        assert!(
            carried > 0.75 * (narrow * 18) as f64,
            "{wanted} {narrow}: {carried}"
        );
    }
}

#[test]
fn a_link_that_is_wide_again_is_used_again() {
    let mut path = Path::new();
    path.seconds(10, 3 * MBPS, 4 * MBPS, 0);
    path.seconds(20, 3 * MBPS, MBPS, 0);
    path.seconds(16, 3 * MBPS, 4 * MBPS, 0);
    assert_eq!(path.second(3 * MBPS, 4 * MBPS, 0), 3 * MBPS);
    path.seconds(4, 3 * MBPS, 4 * MBPS, 0);
    assert_eq!(path.ceiling.rate(), None);
}

#[test]
fn random_loss_sets_no_ceiling() {
    for random in [1, 5, 10, 20, 30] {
        let mut path = Path::new();
        path.seconds(60, 3 * MBPS, 10 * MBPS, random);
        assert_eq!(path.ceiling.rate(), None, "{random} %");
    }
}

#[test]
fn random_loss_that_is_usual_keeps_no_ceiling_down() {
    let mut path = Path::new();
    path.seconds(20, 3 * MBPS, 10 * MBPS, 10);
    path.seconds(10, 3 * MBPS, MBPS, 10);
    assert!(path.ceiling.rate().is_some());
    path.seconds(25, 3 * MBPS, 10 * MBPS, 10);
    assert_eq!(path.ceiling.rate(), None);
}

#[test]
fn a_thin_stream_and_a_dead_link_are_no_reason_to_go_below_the_least() {
    let mut path = Path::new();
    path.seconds(20, RATE_CONSIDERED / 2, 1000, 0);
    assert_eq!(path.ceiling.rate(), None);
    path.seconds(20, 3 * MBPS, 0, 0);
    assert_eq!(path.ceiling.rate(), Some(RATE_MIN));
    path.seconds(60, 3 * MBPS, 5 * MBPS, 0);
    assert_eq!(path.ceiling.rate(), None);
}

#[test]
fn reports_that_lie_change_nothing_but_the_own_ceiling() {
    let now = crate::testing::epoch();
    let mut ceiling = Ceiling::default();
    for second in 0..1000 {
        let delivery = Delivery {
            sent: second % 7 * 1000,
            octets: u32::MAX,
            expected: u32::MAX - second,
            lost: u32::MAX / (second + 1),
        };
        // Time that stands still, goes on, and stands still again.
        let at = now + Duration::from_millis(u64::from(second / 3) * 700);
        ceiling.report(at, &delivery, u64::from(second) * 400_000, true);
        assert!(ceiling.rate().is_none_or(|rate| rate >= RATE_MIN));
    }
}

#[test]
fn an_allowance_is_hardly_saved_up_and_debts_are_paid_off() {
    let mut allowance = Allowance::default();
    let now = crate::testing::epoch();
    let mut left = |ms, sent| allowance.left(now + Duration::from_millis(ms), sent, 100_000);
    assert_eq!(left(0, 0), 0);
    assert_eq!(left(10_000, 0), 5000);
    assert_eq!(left(10_000, 35_000), -30_000);
    assert_eq!(left(10_299, 35_000), -100);
    assert_eq!(left(10_400, 35_000), 5000);
    assert_eq!(left(10_400, u64::MAX), -100_000);
    assert_eq!(left(11_500, u64::MAX), 5000);
}
