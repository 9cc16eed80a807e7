//! A virtual network of datagrams: latency, jitter (which reorders), loss and rate, from a seed.
//!
//! Owns: what is in flight. Must not know: what the datagrams mean.

use crate::rng::Rng;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// One direction between an address and the rest of the world.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// One way.
    pub latency: Duration,
    /// Up to so much more, drawn per datagram: neighbours may overtake each other.
    pub jitter: Duration,
    /// Datagrams lost, in per mille.
    pub loss_per_mille: u64,
    /// Bits per second; `None` without limit.
    pub rate_bps: Option<u64>,
    /// Longest that a datagram may wait for those in front of it; one that would wait longer is
    /// dropped, as a full queue in front of a slow link does. `None` without limit.
    pub queue: Option<Duration>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            rate_bps: None,
            queue: None,
        }
    }
}

/// A datagram that arrived.
#[derive(Debug)]
pub struct Arrived {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Bytes.
    pub data: Vec<u8>,
}

/// Bytes of one direction so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Offered to the link.
    pub sent: u64,
    /// Those that it neither lost nor dropped.
    pub carried: u64,
}

/// Both directions of one client's access.
#[derive(Clone, Copy, Debug, Default)]
struct Access {
    up: Link,
    down: Link,
    up_busy: Option<Instant>,
    down_busy: Option<Instant>,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    rng: Rng,
    access: BTreeMap<SocketAddr, Access>,
    flying: BTreeMap<(Instant, u64), Arrived>,
    order: u64,
    /// Media datagrams lost so far, by (client, towards the client).
    pub lost: BTreeMap<(SocketAddr, bool), u64>,
    /// Bytes of datagrams so far, by (client, towards the client).
    pub traffic: BTreeMap<(SocketAddr, bool), Traffic>,
}

impl Network {
    /// An empty network.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            access: BTreeMap::new(),
            flying: BTreeMap::new(),
            order: 0,
            lost: BTreeMap::new(),
            traffic: BTreeMap::new(),
        }
    }

    /// Sets both directions of a client's access.
    pub fn set_access(&mut self, client: SocketAddr, up: Link, down: Link) {
        let access = self.access.entry(client).or_default();
        access.up = up;
        access.down = down;
    }

    /// Sends a datagram. One of the two ends is a client with an access; the other one has none.
    pub fn send(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let towards_client = self.access.contains_key(&to);
        let client = if towards_client { to } else { from };
        let Some(access) = self.access.get_mut(&client) else {
            return;
        };
        let (link, busy) = if towards_client {
            (access.down, &mut access.down_busy)
        } else {
            (access.up, &mut access.up_busy)
        };
        let lost = self.rng.below(1000) < link.loss_per_mille;
        let jitter = match link.jitter.as_micros() as u64 {
            0 => Duration::ZERO,
            micros => Duration::from_micros(self.rng.below(micros + 1)),
        };
        let start = busy.map_or(now, |busy| busy.max(now));
        let overflows = link.rate_bps.is_some() && link.queue.is_some_and(|queue| start > now + queue);
        let traffic = self.traffic.entry((client, towards_client)).or_default();
        traffic.sent += data.len() as u64;
        if lost || overflows {
            if matches!(data, [128..=191, 0..=191 | 224..=255, ..]) {
                *self.lost.entry((client, towards_client)).or_default() += 1;
            }
            return;
        }
        traffic.carried += data.len() as u64;
        let mut at = now;
        if let Some(rate) = link.rate_bps {
            at = start + Duration::from_nanos(data.len() as u64 * 8 * 1_000_000_000 / rate.max(1));
            *busy = Some(at);
        }
        self.order += 1;
        let arrived = Arrived {
            from,
            to,
            data: data.to_vec(),
        };
        self.flying
            .insert((at + link.latency + jitter, self.order), arrived);
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next datagram that has arrived by `now`.
    pub fn arrive(&mut self, now: Instant) -> Option<Arrived> {
        let entry = self.flying.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}
