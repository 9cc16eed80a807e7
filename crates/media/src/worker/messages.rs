//! Data messages to peers of this thread.
//!
//! Owns: who gets a message now, later or not at all. Must not know: what messages mean.

use super::Worker;
use crate::api::{ChannelLabel, EventKind, PeerKey};
use crate::tuning::Tuning;
use crate::worker::PeerSlot;
use crate::worker::peers::Channel;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a message may wait for a reader that is slower than the operator wants to bear: as long
/// as livekit-server tries to write one.
const SLOW_WAIT: Duration = Duration::from_millis(50);
/// Bytes that a channel may hold however slow it is, so that a single message is never too much.
const HELD_MIN: usize = 8 * 1024;

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
            self.send_by(now, peer, label, |slot, tuning| match label {
                ChannelLabel::Reliable => {
                    newest(&mut slot.channels, label).is_some() && slot.backlog.push(now, data)
                }
                ChannelLabel::Lossy | ChannelLabel::DataTrack | ChannelLabel::Unlabelled => {
                    send_in_time(now, slot, label, data, tuning)
                }
            });
        }
    }

    /// Sends a packet of a data track to peers, who know the track by handles of their own.
    pub(crate) fn send_data_track_packet(&mut self, now: Instant, receivers: &[(PeerKey, u16)], data: &[u8]) {
        let label = ChannelLabel::DataTrack;
        // One copy for all of them: a channel makes its own of what it takes.
        let mut packet = data.to_vec();
        for &(peer, handle) in receivers {
            wire::data_track::set_handle(&mut packet, handle);
            self.send_by(now, peer, label, |slot, tuning| {
                send_in_time(now, slot, label, &packet, tuning)
            });
        }
    }

    /// `send` says whether the peer's channel took the message.
    fn send_by(
        &mut self,
        now: Instant,
        peer: PeerKey,
        label: ChannelLabel,
        send: impl FnOnce(&mut PeerSlot, &Tuning) -> bool,
    ) {
        let Some(&index) = self.peer_keys.get(&peer) else {
            self.stats.drops.messages.count(label, 1);
            return;
        };
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        if !send(slot, &self.config.tuning) {
            self.messages_lost(peer, label, 1);
        }
        self.touched(now, index);
    }

    /// Moves what waits for a peer into its channel, as far as that has room.
    pub(crate) fn send_backlog(&mut self, now: Instant, index: u32) {
        let Some(PeerSlot {
            channels,
            backlog,
            peer,
            key,
            ..
        }) = self.peers.get_mut(index)
        else {
            return;
        };
        let Some(Channel { id, rate, .. }) = newest(channels, ChannelLabel::Reliable) else {
            return self.lose_backlog(index);
        };
        if let Some(rate) = rate {
            rate.look(now, peer.buffered_amount(*id));
        }
        let mut lost = 0;
        backlog.drain(|data| {
            if peer.send_message(now, *id, true, data) {
                return true;
            }
            // What an empty channel does not take, it never will: it is longer than the client allows.
            let never = peer.buffered_amount(*id) == 0;
            lost += u64::from(never);
            never
        });
        if let Some(rate) = rate {
            rate.filled(peer.buffered_amount(*id));
            let least = self.config.tuning.slow_reader_bps;
            if rate.bits_per_s(now).is_some_and(|rate| rate < least) {
                lost += backlog.expire(now, SLOW_WAIT);
            }
        }
        let key = *key;
        self.messages_lost(key, ChannelLabel::Reliable, lost);
    }

    /// The channel is gone, and with it what waited for it.
    pub(crate) fn lose_backlog(&mut self, index: u32) {
        if let Some(slot) = self.peers.get_mut(index) {
            let (key, lost) = (slot.key, slot.backlog.clear());
            self.messages_lost(key, ChannelLabel::Reliable, lost);
        }
    }

    fn messages_lost(&mut self, peer: PeerKey, label: ChannelLabel, count: u64) {
        if count > 0 {
            self.stats.drops.messages.count(label, count);
            let dropped = EventKind::MessageDropped { peer, label, count };
            self.events.push(peer.room(), dropped);
        }
    }
}

/// The channel that messages of a label are sent on.
fn newest(channels: &mut [Channel], label: ChannelLabel) -> Option<&mut Channel> {
    channels.iter_mut().rfind(|channel| channel.label == label)
}

fn latency(tuning: &Tuning, label: ChannelLabel) -> Duration {
    match label {
        ChannelLabel::Lossy => tuning.lossy_latency,
        ChannelLabel::DataTrack => tuning.data_track_latency,
        ChannelLabel::Reliable | ChannelLabel::Unlabelled => Duration::ZERO,
    }
}

/// Sends a message unless the channel holds more than it drains in time; whether it was sent.
fn send_in_time(
    now: Instant,
    slot: &mut PeerSlot,
    label: ChannelLabel,
    data: &[u8],
    tuning: &Tuning,
) -> bool {
    let Some(channel) = newest(&mut slot.channels, label) else {
        return false;
    };
    let peer = &mut slot.peer;
    let Some(rate) = &mut channel.rate else {
        return peer.send_message(now, channel.id, true, data);
    };
    let held = peer.buffered_amount(channel.id);
    rate.look(now, held);
    if let Some(bits_per_s) = rate.bits_per_s(now) {
        let in_time = u128::from(bits_per_s) * latency(tuning, label).as_micros() / 8_000_000;
        if held > HELD_MIN && held as u128 > in_time {
            return false;
        }
    }
    let sent = peer.send_message(now, channel.id, true, data);
    rate.filled(peer.buffered_amount(channel.id));
    sent
}
