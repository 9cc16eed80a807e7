//! Who may be connected: the places of TCP connections, and the bytes of heads that are still coming.
//!
//! There are as many places as the process may have files open, less a reserve. When all are taken,
//! the connection that has been idle for longest makes room, and if none is, one that has kept its
//! request open for seconds: whoever holds sockets without using them shuts nobody out. WebSockets
//! are never closed for others, but leave places for requests. Must not know: HTTP, sockets.

use crate::counters::Counters;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// When no connection is idle, one gives way whose request has been answered for this long: an API
/// call that waits for others, above all. Longer lets callers with a token keep newcomers waiting for
/// longer; shorter would break calls that only take a moment.
const BUSY_AT_LEAST: Duration = Duration::from_secs(2);

/// How often somebody who waits for a place looks for such a one.
const RECHECK: Duration = Duration::from_millis(50);

/// Bounds of [`Places`].
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// Connections in all.
    pub connections: usize,
    /// Connections that are not switched to WebSocket.
    pub unswitched: usize,
    /// Connections that are switched to WebSocket.
    pub switched: usize,
    /// Connections of one address (IPv6: of one /64); 0 = no bound.
    pub per_address: usize,
    /// Bytes of unfinished heads and of heads whose requests are being answered, over all
    /// connections, beyond what every connection has for nothing.
    pub head_bytes: usize,
}

impl PlaceLimits {
    /// Most connections that are not switched: each costs up to 30 KiB while its head is coming. More
    /// would let strangers hold more memory (this is 120 MiB), fewer would make room sooner while
    /// thousands join in the same second.
    const UNSWITCHED_MAX: usize = 4096;

    /// Memory for heads. A head is counted twice over, for a buffer doubles as it grows: 16 heads of
    /// 1 MiB may come at once.
    const HEAD_BYTES: usize = 32 << 20;

    /// Divides so many places: an eighth is never given to WebSockets, so that API calls, health
    /// checks and refusals always get through.
    #[must_use]
    pub fn of(connections: usize, per_address: usize) -> Self {
        let kept = (connections / 8).max(8).min(connections / 2);
        Self {
            connections,
            unswitched: connections.min(Self::UNSWITCHED_MAX),
            switched: connections - kept,
            per_address,
            head_bytes: Self::HEAD_BYTES,
        }
    }
}

/// The places of all listeners that share them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Places {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: PlaceLimits,
    counters: Arc<Counters>,
    state: Mutex<State>,
    /// A place was freed, or a connection could be closed for another one.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    switched: usize,
    /// Number of the next connection that gets idle: the smallest has been idle for longest.
    next: u64,
    idle: BTreeMap<u64, Entry>,
    /// Those that have a request, by the number that they had before: the smallest first.
    busy: BTreeMap<u64, Entry>,
    /// Those idle ones whose unfinished heads count.
    heavy: BTreeSet<u64>,
    /// Connections by address, while that is bounded.
    addresses: HashMap<IpAddr, Site>,
    /// Connections that are told to make room and have not ended yet.
    leaving: usize,
    head_bytes: usize,
}

/// The connections of an address.
#[derive(Debug, Default)]
struct Site {
    open: usize,
    leaving: usize,
}

#[derive(Debug)]
struct Entry {
    /// Idle or busy since then.
    since: Instant,
    address: IpAddr,
    evict: Arc<Notify>,
    told: Arc<AtomicBool>,
    charged: Arc<AtomicUsize>,
}

/// One connection's place; free when it is dropped. The numbers change under the lock only.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
    evict: Arc<Notify>,
    /// It is to make room for another one.
    told: Arc<AtomicBool>,
    /// Its number among the idle or the busy ones; 0: it is among neither.
    number: AtomicU64,
    /// Bytes of its head that count.
    charged: Arc<AtomicUsize>,
    switched: AtomicUsize,
}

/// The address has as many connections as it may, and all are busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Places {
    /// All free.
    #[must_use]
    pub fn new(limits: PlaceLimits, counters: Arc<Counters>) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits,
                counters,
                state: Mutex::default(),
                changed: Notify::new(),
            }),
        }
    }

    /// Taken places.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.lock().open
    }

    /// How many there are.
    #[must_use]
    pub fn limits(&self) -> PlaceLimits {
        self.shared.limits
    }

    /// Waits for a place. When all are taken, the connection that has been idle for longest is closed.
    pub(crate) async fn take(&self, peer: IpAddr) -> Result<Arc<Place>, Crowded> {
        let address = site(peer);
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(place) = self.shared.try_take(address)? {
                return Ok(place);
            }
            // Nothing tells when a request has been busy for long enough.
            let _ = timeout(RECHECK, changed).await;
        }
    }

    /// Closes the connection that has been idle for longest. False: none is idle.
    pub(crate) fn evict_oldest(&self) -> bool {
        self.shared.lock().evict(&self.shared.counters)
    }
}

impl Shared {
    /// Every change under the lock is complete before it can panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(self: &Arc<Self>, address: IpAddr) -> Result<Option<Arc<Place>>, Crowded> {
        let mut state = self.lock();
        let limits = &self.limits;
        let bound = limits.per_address;
        let site = state.addresses.get(&address);
        if let Some(site) = site.filter(|site| bound > 0 && site.open >= bound) {
            if site.leaving > 0 {
                return Ok(None);
            }
            let oldest = state.idle.iter().find(|(_, idle)| idle.address == address);
            let Some((&number, _)) = oldest else {
                return Err(Crowded);
            };
            state.evict_one(number, &self.counters);
            return Ok(None);
        }
        if state.open >= limits.connections || state.open - state.switched >= limits.unswitched {
            if state.leaving == 0 {
                state.evict(&self.counters);
            }
            return Ok(None);
        }
        state.open += 1;
        if bound > 0 {
            state.addresses.entry(address).or_default().open += 1;
        }
        drop(state);
        let place = Arc::new(Place {
            shared: Arc::clone(self),
            address,
            evict: Arc::default(),
            told: Arc::default(),
            number: AtomicU64::new(0),
            charged: Arc::default(),
            switched: AtomicUsize::new(0),
        });
        place.rest();
        Ok(Some(place))
    }
}

impl State {
    fn evict(&mut self, counters: &Counters) -> bool {
        let idle = self.idle.keys().next();
        let busy = self.busy.iter().next();
        let busy = busy.filter(|(_, entry)| entry.since.elapsed() >= BUSY_AT_LEAST);
        let oldest = idle.or(busy.map(|(number, _)| number)).copied();
        oldest.is_some_and(|number| self.evict_one(number, counters))
    }

    fn evict_one(&mut self, number: u64, counters: &Counters) -> bool {
        self.heavy.remove(&number);
        let entry = self.idle.remove(&number).or_else(|| self.busy.remove(&number));
        let Some(entry) = entry else {
            return false;
        };
        counters.connections_evicted.add();
        self.leaving += 1;
        if let Some(site) = self.addresses.get_mut(&entry.address) {
            site.leaving += 1;
        }
        entry.told.store(true, Ordering::Relaxed);
        self.head_bytes -= entry.charged.swap(0, Ordering::Relaxed);
        entry.evict.notify_one();
        true
    }
}

impl Place {
    /// No request is being answered: the connection may be closed for another one.
    pub(crate) fn rest(&self) {
        let mut state = self.shared.lock();
        self.uncharge(&mut state);
        self.make_idle(state);
    }

    /// More of the request must come: until then it is as good as none, but its head is there.
    pub(crate) fn wait(&self) {
        self.make_idle(self.shared.lock());
    }

    fn make_idle(&self, mut state: MutexGuard<'_, State>) {
        let before = self.number.load(Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        if told || self.is_switched() || state.idle.contains_key(&before) {
            return;
        }
        state.busy.remove(&before);
        state.next += 1;
        let number = state.next;
        self.number.store(number, Ordering::Relaxed);
        let entry = Entry {
            since: Instant::now(),
            address: self.address,
            evict: Arc::clone(&self.evict),
            told: Arc::clone(&self.told),
            charged: Arc::clone(&self.charged),
        };
        state.idle.insert(number, entry);
        if self.charged.load(Ordering::Relaxed) > 0 {
            state.heavy.insert(number);
        }
        let limits = &self.shared.limits;
        let full = state.open >= limits.connections
            || state.open - state.switched >= limits.unswitched
            || limits.per_address > 0;
        drop(state);
        if full {
            self.shared.changed.notify_waiters();
        }
    }

    /// A request has come and is being answered. Its head counts until the place rests again.
    pub(crate) fn work(&self) {
        let mut state = self.shared.lock();
        let number = self.number.load(Ordering::Relaxed);
        state.heavy.remove(&number);
        if let Some(mut entry) = state.idle.remove(&number) {
            entry.since = Instant::now();
            state.busy.insert(number, entry);
        }
    }

    /// So many bytes of the head count now. When there is no memory left for them, the heads that have
    /// been coming for longest are given up. False: that was not enough, or this one is given up.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let mut state = self.shared.lock();
        let own = self.number.load(Ordering::Relaxed);
        if self.told.load(Ordering::Relaxed) {
            return false;
        }
        let more = bytes.saturating_sub(self.charged.load(Ordering::Relaxed));
        while state.head_bytes + more > self.shared.limits.head_bytes {
            let oldest = state.heavy.iter().find(|number| **number != own).copied();
            let Some(number) = oldest else {
                return false;
            };
            state.evict_one(number, &self.shared.counters);
        }
        state.head_bytes += more;
        let charged = self.charged.fetch_add(more, Ordering::Relaxed) + more;
        if charged > 0 && state.idle.contains_key(&own) {
            state.heavy.insert(own);
        }
        true
    }

    /// The connection becomes a WebSocket, whose place is its own until it ends. False: WebSockets
    /// have all the places that they may have.
    pub(crate) fn switch(&self) -> bool {
        let mut state = self.shared.lock();
        if state.switched >= self.shared.limits.switched {
            return false;
        }
        if self.switched.swap(1, Ordering::Relaxed) == 0 {
            state.switched += 1;
        }
        self.unlist(&mut state);
        self.uncharge(&mut state);
        drop(state);
        self.shared.changed.notify_waiters();
        true
    }

    /// Until another connection needs the place.
    pub(crate) async fn evicted(&self) {
        self.evict.notified().await;
    }

    fn is_switched(&self) -> bool {
        self.switched.load(Ordering::Relaxed) != 0
    }

    fn unlist(&self, state: &mut State) {
        let number = self.number.swap(0, Ordering::Relaxed);
        state.idle.remove(&number);
        state.busy.remove(&number);
        state.heavy.remove(&number);
    }

    fn uncharge(&self, state: &mut State) {
        state.head_bytes -= self.charged.swap(0, Ordering::Relaxed);
        state.heavy.remove(&self.number.load(Ordering::Relaxed));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        self.unlist(&mut state);
        self.uncharge(&mut state);
        state.open -= 1;
        state.switched -= self.switched.load(Ordering::Relaxed);
        let told = usize::from(self.told.load(Ordering::Relaxed));
        state.leaving -= told;
        if let Some(site) = state.addresses.get_mut(&self.address) {
            site.open -= 1;
            site.leaving -= told;
            if site.open == 0 {
                state.addresses.remove(&self.address);
            }
        }
        drop(state);
        self.shared.changed.notify_waiters();
    }
}

/// What counts as one address: who has an IPv6 address has 2^64 of them.
fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
