//! Whose datagram is this? By source address, and by user name fragment for first contact.
//!
//! Owns: the tables of addresses and fragments. An address is noted only when the peer says that a
//! check from it had the integrity that its password gives; other threads are told by the thread that
//! owns the peer, so their tables hold at most [`ADDRESSES_PER_PEER`] of each peer.
//! Must not know: peers' insides, message integrity (the peer checks it).

use crate::api::ThreadId;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Source addresses kept per peer: one per candidate pair that was tried, and a few after roaming.
const ADDRESSES_PER_PEER: usize = 16;
/// A peer that proved itself from an address within this time still uses it, when it is the one to which
/// it is answered: nobody else gets it. Two checks of a browser; shorter gives an address in use away
/// for the loss of two, longer lets a client wait that connects anew from the same address.
const IN_USE: Duration = Duration::from_secs(5);
/// User name fragments kept per peer: the present one and those of a few restarts before, with
/// which checks may still be under way.
const FRAGMENTS_PER_PEER: usize = 4;
/// Where a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a peer of this thread, by index.
    Peer(u32),
    /// To another thread.
    Thread(ThreadId),
}

/// A hasher with fixed keys: lookups are deterministic (I13). Only addresses that a peer's password
/// vouched for get in, a few per peer.
type FixedHasher = BuildHasherDefault<DefaultHasher>;

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    addresses: HashMap<SocketAddr, Route, FixedHasher>,
    fragments: BTreeMap<Vec<u8>, u32>,
    peers: BTreeMap<u32, Known>,
    forgotten: u64,
}

/// What is known of one peer.
#[derive(Debug, Default)]
struct Known {
    fragments: Vec<Vec<u8>>,
    addresses: Vec<Address>,
}

/// A source from which a peer proved itself.
#[derive(Clone, Copy, Debug)]
struct Address {
    address: SocketAddr,
    heard: Instant,
    /// The thread whose socket gets its datagrams, when it is another one.
    via: Option<ThreadId>,
}

/// An address that another thread needs to send on no longer.
pub(crate) type Forgotten = (ThreadId, SocketAddr);

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

    /// A peer proved itself from an address: from now on datagrams of this source go to it. Not when
    /// another peer uses the address: integrity does not cover it, so whoever has a peer of their own
    /// can write a valid check with any source. `selected` says where a peer is answered.
    ///
    /// Whether the address is the peer's now, and what was forgotten of another thread for it.
    pub(crate) fn learn(
        &mut self,
        (now, from, via): (Instant, SocketAddr, Option<ThreadId>),
        peer: u32,
        selected: impl Fn(u32) -> Option<SocketAddr>,
    ) -> (bool, Option<Forgotten>) {
        match self.by_address(from) {
            Some(Route::Peer(other)) if other != peer => {
                let heard = self.address(other, from).map(|address| address.heard);
                let heard_lately = heard.is_some_and(|at| now.saturating_duration_since(at) < IN_USE);
                if heard_lately && selected(other) == Some(from) {
                    return (false, None);
                }
                self.drop_address(other, from);
            }
            // Its thread says when it needs it no longer.
            Some(Route::Thread(_)) => return (false, None),
            Some(Route::Peer(_)) | None => {}
        }
        self.addresses.insert(from, Route::Peer(peer));
        if let Some(known) = self.address(peer, from) {
            known.heard = now;
            known.via = via;
            return (true, None);
        }
        let known = self.peers.entry(peer).or_default();
        let full = known.addresses.len() == ADDRESSES_PER_PEER;
        known.addresses.push(Address {
            address: from,
            heard: now,
            via,
        });
        let forgotten = full
            .then(|| self.forget_one(peer, from, selected(peer)))
            .flatten();
        (true, forgotten)
    }

    /// Forgets the address of a peer that was not heard for the longest time, but neither the one that
    /// came last nor the one to which it is answered.
    fn forget_one(&mut self, peer: u32, last: SocketAddr, selected: Option<SocketAddr>) -> Option<Forgotten> {
        let known = self.peers.get(&peer)?;
        let others = known
            .addresses
            .iter()
            .filter(|known| known.address != last && Some(known.address) != selected);
        let oldest = *others.min_by_key(|known| known.heard)?;
        self.forgotten += 1;
        self.addresses.remove(&oldest.address);
        self.drop_address(peer, oldest.address);
        oldest.via.map(|thread| (thread, oldest.address))
    }

    fn address(&mut self, peer: u32, address: SocketAddr) -> Option<&mut Address> {
        let known = self.peers.get_mut(&peer)?;
        known.addresses.iter_mut().find(|known| known.address == address)
    }

    fn drop_address(&mut self, peer: u32, address: SocketAddr) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.addresses.retain(|known| known.address != address);
        }
    }

    /// Another thread says that datagrams of this source are for a peer of its own. What a peer of ours
    /// or of a third thread has stays theirs.
    pub(crate) fn learn_foreign(&mut self, from: SocketAddr, thread: ThreadId) {
        self.addresses.entry(from).or_insert(Route::Thread(thread));
    }

    /// Another thread does not need this source any more.
    pub(crate) fn forget_foreign(&mut self, from: SocketAddr, thread: ThreadId) {
        self.forget_if(from, Route::Thread(thread));
    }

    /// The peer is gone. What other threads need not send on any more.
    pub(crate) fn remove(&mut self, peer: u32) -> Vec<Forgotten> {
        let Some(known) = self.peers.remove(&peer) else {
            return Vec::new();
        };
        for fragment in known.fragments {
            self.fragments.remove(&fragment);
        }
        for known in &known.addresses {
            self.forget_if(known.address, Route::Peer(peer));
        }
        let elsewhere = |known: Address| known.via.map(|thread| (thread, known.address));
        known.addresses.into_iter().filter_map(elsewhere).collect()
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
mod tests;
