//! Whose datagram is this? By source address, and by user name fragment for first contact.
//!
//! Owns: the tables of addresses and fragments. Must not know: peers' insides, message integrity
//! (the peer checks it).

use crate::api::ThreadId;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;

/// Source addresses kept per peer: one per candidate pair that was tried, and a few after roaming.
const ADDRESSES_PER_PEER: usize = 16;
/// User name fragments kept per peer: the present one and those of a few restarts before, with
/// which checks may still be under way.
const FRAGMENTS_PER_PEER: usize = 4;
/// Source addresses remembered for other threads' peers. Beyond that the oldest is forgotten; its
/// next STUN request (within seconds) brings it back.
const FOREIGN_MAX: usize = 16 * 1024;

/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a peer of this thread, by index.
    Peer(u32),
    /// To another thread.
    Thread(ThreadId),
}

/// A hasher with fixed keys: lookups are deterministic (I13). Only addresses of peers whose
/// fragment the sender knows get in, a few per peer.
type FixedHasher = BuildHasherDefault<DefaultHasher>;

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    addresses: HashMap<SocketAddr, Route, FixedHasher>,
    fragments: BTreeMap<Vec<u8>, u32>,
    peers: BTreeMap<u32, Known>,
    foreign: VecDeque<SocketAddr>,
    forgotten: u64,
}

/// What is known of one peer.
#[derive(Debug, Default)]
struct Known {
    fragments: Vec<Vec<u8>>,
    addresses: VecDeque<SocketAddr>,
}

impl Demux {
    /// The route of a source address that is known.
    pub(crate) fn by_address(&self, from: SocketAddr) -> Option<Route> {
        self.addresses.get(&from).copied()
    }

    /// The peer of this thread with a user name fragment.
    pub(crate) fn by_fragment(&self, fragment: &[u8]) -> Option<u32> {
        self.fragments.get(fragment).copied()
    }

    /// A peer listens on a fragment (a restart adds one; a few older ones stay valid).
    pub(crate) fn add_fragment(&mut self, peer: u32, fragment: &str) {
        let fragment = fragment.as_bytes().to_vec();
        self.fragments.insert(fragment.clone(), peer);
        let known = self.peers.entry(peer).or_default();
        known.fragments.push(fragment);
        if known.fragments.len() > FRAGMENTS_PER_PEER {
            let oldest = known.fragments.remove(0);
            self.fragments.remove(&oldest);
        }
    }

    /// From now on datagrams of this source go to the peer.
    pub(crate) fn learn(&mut self, from: SocketAddr, peer: u32) {
        if self.addresses.insert(from, Route::Peer(peer)) == Some(Route::Peer(peer)) {
            return;
        }
        let known = self.peers.entry(peer).or_default();
        known.addresses.push_back(from);
        if known.addresses.len() > ADDRESSES_PER_PEER
            && let Some(oldest) = known.addresses.pop_front()
        {
            self.forgotten += 1;
            self.forget_if(oldest, Route::Peer(peer));
        }
    }

    /// From now on datagrams of this source go to another thread.
    pub(crate) fn learn_foreign(&mut self, from: SocketAddr, thread: ThreadId) {
        let before = self.addresses.insert(from, Route::Thread(thread));
        if matches!(before, Some(Route::Thread(_))) {
            return;
        }
        self.foreign.push_back(from);
        if self.foreign.len() > FOREIGN_MAX
            && let Some(oldest) = self.foreign.pop_front()
        {
            self.forgotten += 1;
            if matches!(self.by_address(oldest), Some(Route::Thread(_))) {
                self.addresses.remove(&oldest);
            }
        }
    }

    /// The peer is gone.
    pub(crate) fn remove(&mut self, peer: u32) {
        let Some(known) = self.peers.remove(&peer) else {
            return;
        };
        for fragment in known.fragments {
            self.fragments.remove(&fragment);
        }
        for address in known.addresses {
            self.forget_if(address, Route::Peer(peer));
        }
    }

    /// Addresses forgotten to make room.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_if(&mut self, address: SocketAddr, route: Route) {
        if self.by_address(address) == Some(route) {
            self.addresses.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn addresses_follow_their_peer_until_it_goes() {
        let mut demux = Demux::default();
        demux.add_fragment(3, "00abcdef");
        assert_eq!(demux.by_fragment(b"00abcdef"), Some(3));
        demux.learn(address(1), 3);
        demux.learn(address(2), 3);
        demux.learn(address(2), 4);
        demux.remove(3);
        assert_eq!(demux.by_address(address(1)), None);
        assert_eq!(demux.by_address(address(2)), Some(Route::Peer(4)));
        assert_eq!(demux.by_fragment(b"00abcdef"), None);
    }

    #[test]
    fn tables_are_bounded() {
        let mut demux = Demux::default();
        for restart in 0..20 {
            demux.add_fragment(0, &restart.to_string());
        }
        assert_eq!(demux.fragments.len(), FRAGMENTS_PER_PEER);
        assert_eq!(demux.by_fragment(b"19"), Some(0));
        for port in 1..=100 {
            demux.learn(address(port), 0);
        }
        assert_eq!(demux.addresses.len(), ADDRESSES_PER_PEER);
        for i in 0..FOREIGN_MAX as u32 + 50 {
            let from = SocketAddr::from((std::net::Ipv4Addr::from(i), 9));
            demux.learn_foreign(from, ThreadId(1));
        }
        assert_eq!(demux.addresses.len(), ADDRESSES_PER_PEER + FOREIGN_MAX);
        assert_eq!(demux.forgotten(), 100 - ADDRESSES_PER_PEER as u64 + 50);
    }
}
