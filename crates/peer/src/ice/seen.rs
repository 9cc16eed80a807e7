//! Which requests were accepted, and from where: integrity covers a request's bytes but not its
//! source, so whoever sees one can send it again from any address.
//!
//! Owns the transaction ids of the last requests. Must not know: keys.

use std::net::SocketAddr;

/// Requests remembered. A client sends one each 2.5 s on a working pair, and some 50 while it connects:
/// repeating one is of no use for minutes, and an older one makes its source a candidate at most.
const REQUESTS_MAX: usize = 64;

/// See the file's head.
#[derive(Debug, Default)]
pub(super) struct Seen {
    requests: Vec<(Id, SocketAddr)>,
    next: usize,
}

/// RFC 8489 §5
type Id = [u8; 12];

impl Seen {
    /// Whether this request was accepted from another address.
    pub(super) fn elsewhere(&self, request: &[u8], from: SocketAddr) -> bool {
        id(request).is_some_and(|id| {
            self.requests
                .iter()
                .any(|(other, source)| *other == id && *source != from)
        })
    }

    /// A request was accepted.
    pub(super) fn note(&mut self, request: &[u8], from: SocketAddr) {
        let Some(id) = id(request) else { return };
        if self.requests.contains(&(id, from)) {
            return;
        }
        if self.requests.len() < REQUESTS_MAX {
            self.requests.push((id, from));
        } else if let Some(oldest) = self.requests.get_mut(self.next) {
            *oldest = (id, from);
            self.next = (self.next + 1) % REQUESTS_MAX;
        }
    }
}

fn id(request: &[u8]) -> Option<Id> {
    request.get(8..20)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u8) -> [u8; 20] {
        let mut request = [0; 20];
        request[19] = number;
        request
    }

    #[test]
    fn a_request_is_known_from_elsewhere_and_the_oldest_is_forgotten() {
        let (here, there) = ([1, 1], [2, 2]);
        let address = |host: [u8; 2]| SocketAddr::from(([192, 0, 2, host[0]], u16::from(host[1])));
        let mut seen = Seen::default();
        seen.note(&request(0), address(here));
        assert!(seen.elsewhere(&request(0), address(there)));
        assert!(!seen.elsewhere(&request(0), address(here)), "sent again");
        assert!(!seen.elsewhere(&request(1), address(there)));
        for number in 1..=64 {
            seen.note(&request(number), address(here));
        }
        assert_eq!(seen.requests.len(), REQUESTS_MAX);
        assert!(!seen.elsewhere(&request(0), address(there)));
        assert!(seen.elsewhere(&request(64), address(there)));
    }
}
