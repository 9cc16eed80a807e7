//! When a publisher is asked for a key frame of one layer: requests are coalesced and throttled,
//! and repeated until a key frame comes (media.md §5, §6).
//!
//! Owns: the times of one layer's requests. Must not know: who asked.

use std::time::{Duration, Instant};

/// Least time between two requests for the lowest layer. Shorter recovers faster and costs the
/// publisher more bits.
const THROTTLE_LOW: Duration = Duration::from_millis(500);
/// The same for the layers above, whose key frames are larger.
const THROTTLE_HIGH: Duration = Duration::from_secs(1);
/// Bounds of the interval of repetition, which follows the publisher's round trip.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Requests of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyFrameRequests {
    sent_at: Option<Instant>,
    /// Somebody waits, and this is when to ask (again).
    due: Option<Instant>,
}

impl KeyFrameRequests {
    /// Somebody needs a key frame. Coalesces with a request that is under way.
    pub(crate) fn want(&mut self, now: Instant, layer: u8) {
        let earliest = self.sent_at.map_or(now, |sent| sent + throttle(layer));
        let due = earliest.max(now);
        self.due = Some(self.due.map_or(due, |old| old.min(due)));
    }

    /// Whether to send a request now. After `true` the next one is armed by round trip and throttle.
    pub(crate) fn poll(&mut self, now: Instant, layer: u8, rtt: Duration) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.sent_at = Some(now);
        let retry = (rtt * 2).clamp(RETRY_MIN, RETRY_MAX);
        self.due = Some(now + retry.max(throttle(layer)));
        true
    }

    /// A key frame came, or nobody waits any more.
    pub(crate) fn satisfied(&mut self) {
        self.due = None;
    }

    /// When [`Self::poll`] wants to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }
}

fn throttle(layer: u8) -> Duration {
    if layer == 0 { THROTTLE_LOW } else { THROTTLE_HIGH }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn first_request_leaves_at_once_and_others_coalesce() {
        let now = crate::testing::epoch();
        let mut requests = KeyFrameRequests::default();
        assert!(!requests.poll(now, 0, RTT), "nobody asked");
        requests.want(now, 0);
        requests.want(now, 0);
        assert!(requests.poll(now, 0, RTT));
        assert!(!requests.poll(now, 0, RTT));
        requests.want(now + ms(100), 0);
        assert!(!requests.poll(now + ms(100), 0, RTT), "throttled");
        assert_eq!(requests.due(), Some(now + ms(500)));
    }

    #[test]
    fn repeats_until_a_key_frame_comes() {
        let now = crate::testing::epoch();
        let mut requests = KeyFrameRequests::default();
        requests.want(now, 2);
        assert!(requests.poll(now, 2, RTT));
        assert!(!requests.poll(now + ms(999), 2, RTT));
        assert!(requests.poll(now + ms(1000), 2, RTT));
        requests.satisfied();
        assert_eq!(requests.due(), None);
        requests.want(now + ms(1100), 2);
        assert_eq!(
            requests.due(),
            Some(now + ms(2000)),
            "still throttled by the last request"
        );
    }
}
