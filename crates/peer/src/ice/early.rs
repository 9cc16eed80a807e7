//! Checks that arrive before the remote description: kept, bounded, answered once it is known.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Addresses remembered. A client checks from a handful of addresses; more is somebody else's.
const REQUESTS_MAX: usize = 16;
/// Longest request kept: two credentials of 256 characters and the usual attributes take 700 bytes.
const REQUEST_LEN_MAX: usize = 1024;
/// After this long the sender has given the transaction up.
const AGE_MAX: Duration = Duration::from_secs(10);

/// Requests whose integrity was checked with our password.
#[derive(Debug, Default)]
pub(super) struct Early {
    requests: Vec<Request>,
}

/// One waiting request.
#[derive(Debug)]
pub(super) struct Request {
    at: Instant,
    pub(super) from: SocketAddr,
    pub(super) local: u8,
    pub(super) data: Vec<u8>,
}

impl Early {
    /// Keeps the latest request of each path; false for further paths than [`REQUESTS_MAX`].
    pub(super) fn push(&mut self, at: Instant, from: SocketAddr, local: u8, data: &[u8]) -> bool {
        if data.len() > REQUEST_LEN_MAX {
            return false;
        }
        self.requests.retain(|r| r.from != from || r.local != local);
        let has_room = self.requests.len() < REQUESTS_MAX;
        if has_room {
            let data = data.to_vec();
            self.requests.push(Request {
                at,
                from,
                local,
                data,
            });
        }
        has_room
    }

    /// All requests that are still worth an answer, oldest first.
    pub(super) fn take(&mut self, now: Instant) -> impl Iterator<Item = Request> + use<> {
        let requests = std::mem::take(&mut self.requests);
        requests
            .into_iter()
            .filter(move |r| now.saturating_duration_since(r.at) < AGE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn early_requests_are_bounded_and_one_per_path() {
        let now = crate::test_epoch();
        let mut early = Early::default();
        for port in 1..100 {
            early.push(now, address(port), 0, b"first");
        }
        early.push(now, address(1), 0, b"second");
        assert!(!early.push(now, address(1), 0, &[0; REQUEST_LEN_MAX + 1]));
        let kept: Vec<_> = early.take(now).collect();
        assert_eq!(kept.len(), REQUESTS_MAX);
        assert_eq!(kept.last().map(|r| r.data.as_slice()), Some(&b"second"[..]));
    }

    #[test]
    fn old_early_requests_are_forgotten() {
        let now = crate::test_epoch();
        let mut early = Early::default();
        early.push(now, address(1), 0, b"old");
        early.push(now + AGE_MAX, address(2), 0, b"new");
        let kept: Vec<_> = early.take(now + AGE_MAX).map(|r| r.from).collect();
        assert_eq!(kept, [address(2)]);
    }
}
