//! Data messages to peers of this thread.
//!
//! Owns: who gets a message now, later or not at all. Must not know: what messages mean.
//! Spec: `media.md` §12.

use super::Worker;
use crate::api::{ChannelLabel, EventKind, PeerKey};
use crate::worker::PeerSlot;
use std::sync::Arc;
use std::time::Instant;

impl Worker {
    /// Sends a message to peers. A reliable one waits for a peer whose channel is busy; any other
    /// is worth nothing later, so it is dropped.
    pub(crate) fn send_message(
        &mut self,
        now: Instant,
        peers: &[PeerKey],
        label: ChannelLabel,
        data: &Arc<[u8]>,
    ) {
        for &peer in peers {
            let Some(&index) = self.peer_keys.get(&peer) else {
                self.stats.drops.messages += 1;
                continue;
            };
            let Some(slot) = self.peers.get_mut(index) else {
                continue;
            };
            let taken = match (label, slot.channel(label)) {
                (_, None) => false,
                (ChannelLabel::Reliable, Some(_)) => slot.backlog.push(data),
                (_, Some(id)) => slot.peer.send_message(now, id, true, data),
            };
            if !taken {
                self.messages_lost(peer, label, 1);
            }
            self.touched(now, index);
        }
    }

    /// Moves what waits for a peer into its channel, as far as that has room.
    pub(crate) fn send_backlog(&mut self, now: Instant, index: u32) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let Some(id) = slot.channel(ChannelLabel::Reliable) else {
            return self.lose_backlog(index);
        };
        let peer = &mut slot.peer;
        let mut refused = 0;
        slot.backlog.drain(|data| {
            if peer.send_message(now, id, true, data) {
                return true;
            }
            // What an empty channel does not take, it never will: it is longer than the client allows.
            let never = peer.buffered_amount(id) == 0;
            refused += u64::from(never);
            never
        });
        let key = slot.key;
        self.messages_lost(key, ChannelLabel::Reliable, refused);
    }

    /// The channel is gone, and with it what waited for it.
    pub(crate) fn lose_backlog(&mut self, index: u32) {
        if let Some(slot) = self.peers.get_mut(index) {
            let (key, lost) = (slot.key, slot.backlog.clear());
            self.messages_lost(key, ChannelLabel::Reliable, lost);
        }
    }

    fn messages_lost(&mut self, peer: PeerKey, label: ChannelLabel, count: u64) {
        self.stats.drops.messages += count;
        for _ in 0..count {
            self.events
                .push(peer.room(), EventKind::MessageDropped { peer, label });
        }
    }
}

impl PeerSlot {
    /// The channel that messages of a label are sent on.
    fn channel(&self, label: ChannelLabel) -> Option<u16> {
        let mut newest_first = self.channels.iter().rev();
        newest_first
            .find(|channel| channel.label == label)
            .map(|channel| channel.id)
    }
}
