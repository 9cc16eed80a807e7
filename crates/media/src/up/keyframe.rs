//! When a publisher is asked for a key frame of one layer: requests are coalesced and throttled,
//! and repeated until a key frame comes (RFC 4585 §6.3.1).
//!
//! Owns: the times of one layer's requests. Must not know: who asked.

use std::time::{Duration, Instant};

/// Least time between two requests of which the first was answered: libwebrtc's encoder makes no two
/// key frames on request in less.
const APART: Duration = Duration::from_millis(300);
/// Bounds of the interval of repetition, which follows the publisher's round trip.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Requests of one layer: on average one per throttle interval. One more is in hand while none was
/// sent for a while, so that who subscribes right after another one doesn't wait out the interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyFrameRequests {
    sent_at: Option<Instant>,
    /// Until when the requests sent so far use up the rate.
    spent_until: Option<Instant>,
    /// Somebody waits, and this is when to ask (again).
    due: Option<Instant>,
}

impl KeyFrameRequests {
    /// Somebody needs a key frame. Coalesces with a request that is under way.
    pub(crate) fn want(&mut self, now: Instant, throttle: Duration) {
        if self.due.is_some() {
            return;
        }
        let apart = self.sent_at.map_or(now, |sent| sent + APART);
        // The rate may be exceeded by one request, which is one interval.
        let rate = self
            .spent_until
            .and_then(|until| until.checked_sub(throttle))
            .unwrap_or(now);
        self.due = Some(now.max(apart).max(rate));
    }

    /// Whether to send a request now. After `true` the next one is armed by round trip and throttle.
    pub(crate) fn poll(&mut self, now: Instant, throttle: Duration, rtt: Duration) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.sent_at = Some(now);
        let spent_from = self.spent_until.map_or(now, |until| until.max(now));
        self.spent_until = Some(spent_from + throttle);
        let retry = (rtt * 2).clamp(RETRY_MIN, RETRY_MAX);
        self.due = Some(now + retry.max(throttle));
        true
    }

    /// A key frame came, or nobody waits any more, or none can come.
    pub(crate) fn satisfied(&mut self) {
        self.due = None;
    }

    /// When [`Self::poll`] wants to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);
    const HALF: Duration = Duration::from_millis(500);
    const FULL: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn first_request_leaves_at_once_and_others_coalesce() {
        let now = crate::testing::epoch();
        let mut requests = KeyFrameRequests::default();
        assert!(!requests.poll(now, HALF, RTT), "nobody asked");
        requests.want(now, HALF);
        requests.want(now, HALF);
        assert!(requests.poll(now, HALF, RTT));
        assert!(!requests.poll(now, HALF, RTT));
        requests.want(now + ms(100), HALF);
        assert!(!requests.poll(now + ms(100), HALF, RTT), "throttled");
        assert_eq!(requests.due(), Some(now + ms(500)));
    }

    #[test]
    fn repeats_until_a_key_frame_comes() {
        let now = crate::testing::epoch();
        let mut requests = KeyFrameRequests::default();
        requests.want(now, FULL);
        assert!(requests.poll(now, FULL, RTT));
        assert!(!requests.poll(now + ms(999), FULL, RTT));
        assert!(requests.poll(now + ms(1000), FULL, RTT));
        requests.satisfied();
        assert_eq!(requests.due(), None);
    }

    #[test]
    fn who_comes_right_after_an_answered_request_does_not_wait_out_the_interval() {
        let now = crate::testing::epoch();
        let mut requests = KeyFrameRequests::default();
        requests.want(now, FULL);
        assert!(requests.poll(now, FULL, RTT));
        requests.satisfied();
        requests.want(now + ms(100), FULL);
        assert_eq!(requests.due(), Some(now + ms(300)), "apart");
        assert!(requests.poll(now + ms(300), FULL, RTT));
        requests.satisfied();
        requests.want(now + ms(400), FULL);
        assert_eq!(requests.due(), Some(now + ms(1000)), "the rate holds again");
    }

    #[test]
    fn whoever_asks_all_the_time_gets_one_key_frame_per_interval() {
        let now = crate::testing::epoch();
        for (throttle, most) in [(HALF, 21), (FULL, 11)] {
            let mut requests = KeyFrameRequests::default();
            let mut sent = 0;
            for passed in (0..10_000).step_by(10) {
                requests.want(now + ms(passed), throttle);
                if requests.poll(now + ms(passed), throttle, RTT) {
                    sent += 1;
                    requests.satisfied();
                }
            }
            assert_eq!(sent, most, "{throttle:?}");
        }
    }
}
