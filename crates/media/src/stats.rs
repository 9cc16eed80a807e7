//! Plain counters of one media thread, snapshotted by its shell.
//!
//! Owns: nothing but numbers. Must not know: how they are exported.

use crate::api::{ChannelLabel, HandshakeFailure};

/// What a worker counted since it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams given to the worker by its shell.
    pub datagrams_in: u64,
    /// Datagrams that were taken for no peer's, by reason.
    pub refused: Refused,
    /// Datagrams handed over to the thread that owns their peer.
    pub datagrams_handed_over: u64,
    /// RTP packets decrypted (each counts once, however many subscribers it has).
    pub packets_in: u64,
    /// RTP packets decrypted that were retransmissions.
    pub packets_in_retransmitted: u64,
    /// Lost RTP packets of redundant audio that a packet behind them repeated.
    pub packets_recovered: u64,
    /// RTP packets written for subscribers, without retransmissions: one copy each (I5).
    pub packets_out: u64,
    /// RTP packets written that no publisher sent: silence, blank frames, announcements.
    pub packets_injected: u64,
    /// RTP packets written again because a subscriber missed them.
    pub packets_resent: u64,
    /// Packets that subscribers asked for and that could not be rebuilt any more.
    pub resend_missed: u64,
    /// Packets and datagrams received from other threads.
    pub crossings_in: u64,
    /// Packets sent to each other thread, by its number: one per packet and thread (I5).
    pub crossings_out: Vec<u64>,
    /// Key-frame requests sent to publishers of this thread.
    pub key_frame_requests: u64,
    /// Pauses of a picture, because the subscriber's link does not carry its lowest layer.
    pub pictures_paused: u64,
    /// Feedback to publishers that had to wait for the budget of its peer or of the thread.
    pub held: Held,
    /// What was dropped, by reason.
    pub drops: Drops,
    /// Peers at this moment.
    pub peers: u64,
    /// Up tracks at this moment, replicas of other threads' tracks included.
    pub up_tracks: u64,
    /// Down tracks at this moment.
    pub down_tracks: u64,
    /// Peers at this moment that are sent less than they wish, because their link carries less.
    pub peers_limited: u64,
}

impl Stats {
    /// Takes over all numbers; the lists keep their memory.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        let mut crossings_out = std::mem::take(&mut self.crossings_out);
        crossings_out.clone_from(&other.crossings_out);
        let mut crossing_full = std::mem::take(&mut self.drops.crossing_full);
        crossing_full.clone_from(&other.drops.crossing_full);
        *self = Self {
            crossings_out,
            drops: Drops {
                crossing_full,
                ..other.drops
            },
            ..*other
        };
    }
}

/// Feedback that had to wait, by kind. What waited longer counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// NACKs.
    pub nacks: u64,
    /// Key frame requests.
    pub key_frames: u64,
    /// Transport-wide feedback.
    pub transport_cc: u64,
    /// Receiver reports.
    pub reports: u64,
}

impl Held {
    pub(crate) fn count(&mut self, held: peer::HeldFeedback) {
        self.nacks += u64::from(held.nack);
        self.key_frames += u64::from(held.key_frame);
        self.transport_cc += u64::from(held.transport_cc);
        self.reports += u64::from(held.report);
    }
}

/// Datagrams that were taken for no peer's, by reason: strangers', mostly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// From a source that proved nothing, and no request that names a fragment.
    pub unknown_source: u64,
    /// Requests with a fragment that no peer has.
    pub unknown_fragment: u64,
    /// STUN without the integrity of the peer that it names, or repeated from another address.
    pub unauthenticated: u64,
    /// Requests from unknown sources beyond what is looked at.
    pub over_budget: u64,
    /// For a peer of another thread, whose ring had no room.
    pub handover_full: u64,
    /// Valid requests from an address that another peer uses.
    pub address_in_use: u64,
    /// Nothing that a peer reads, and valid requests beyond a peer's limits.
    pub malformed: u64,
}

/// Data messages that a peer did not get, by the channel that they were for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostMessages {
    /// `_reliable`
    pub reliable: u64,
    /// `_lossy`
    pub lossy: u64,
    /// `_data_track`
    pub data_track: u64,
    /// Channels of users.
    pub unlabelled: u64,
}

impl LostMessages {
    pub(crate) fn count(&mut self, label: ChannelLabel, messages: u64) {
        *match label {
            ChannelLabel::Reliable => &mut self.reliable,
            ChannelLabel::Lossy => &mut self.lossy,
            ChannelLabel::DataTrack => &mut self.data_track,
            ChannelLabel::Unlabelled => &mut self.unlabelled,
        } += messages;
    }

    /// Of all channels.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.reliable + self.lossy + self.data_track + self.unlabelled
    }
}

/// Drops by reason. Every limit of the media plane has its counter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Packets of a section that nobody published.
    pub unknown_track: u64,
    /// Packets that had been received before.
    pub duplicate: u64,
    /// Packets too old for the packet ring.
    pub too_old: u64,
    /// Packets for which the packet ring had no room within one turn.
    pub ring_full: u64,
    /// Crossings that found the other thread's ring full, by thread.
    pub crossing_full: Vec<u64>,
    /// Control items to other threads that found ring and backlog full.
    pub control_full: u64,
    /// Lossy messages that found the event queue full.
    pub events_full: u64,
    /// Events that became one with an earlier one, because the control plane was slow.
    pub events_merged: u64,
    /// Data messages that could not be sent to a peer.
    pub messages: LostMessages,
    /// Peers refused because `peers_max` was reached.
    pub peers: u64,
    /// Up or down tracks refused because their limit was reached.
    pub tracks: u64,
    /// Commands that named something unknown here, or of another thread.
    pub commands: u64,
    /// Source addresses forgotten to make room for newer ones.
    pub addresses: u64,
    /// Retransmissions refused because too many waited.
    pub resend_full: u64,
    /// Those refused because they would have come too late to be of use.
    pub resend_late: u64,
    /// Those refused because the peer's share was used up.
    pub resend_budget: u64,
    /// Packets that were to leave later and found too many waiting.
    pub owed_full: u64,
    /// DTLS handshakes that failed, by the kind of reason (`HandshakeFailure::LABELS`).
    pub handshakes: [u64; HandshakeFailure::LABELS.len()],
    /// What the streams of peers refused.
    pub streams: StreamDrops,
}

/// What the streams of peers refused or dropped, peers that are gone included. Of a peer it is counted
/// when one of its timers runs out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamDrops {
    /// RTP packets that were broken, not authentic, or came before the keys.
    pub rtp_refused: u64,
    /// RTP packets of no known section or payload type.
    pub rtp_unknown: u64,
    /// RTCP datagrams that were broken or not authentic.
    pub rtcp_refused: u64,
    /// Requests for packets that are unknown, too old, or asked for too often.
    pub nacks_ignored: u64,
    /// RTP packets for a peer without keys, or of a payload type that it did not negotiate.
    pub rtp_unsent: u64,
    /// RTP packets that would have used an encryption index twice.
    pub index_used: u64,
    /// RTP packets larger than a datagram.
    pub oversized: u64,
    /// Sections, streams or SSRCs refused because of a limit or a clash.
    pub refused: u64,
    /// Events that nobody took.
    pub events: u64,
    /// Arrivals forgotten before feedback could tell about them.
    pub arrivals: u64,
}

impl StreamDrops {
    /// Adds what a peer counted since `before`.
    pub(crate) fn add(&mut self, before: &mut Self, stats: &peer::StreamStats) {
        let add = |sum: &mut u64, before: &mut u64, now| *sum += now - std::mem::replace(before, now);
        add(&mut self.rtp_refused, &mut before.rtp_refused, stats.rtp_refused);
        add(&mut self.rtp_unknown, &mut before.rtp_unknown, stats.rtp_unknown);
        add(
            &mut self.rtcp_refused,
            &mut before.rtcp_refused,
            stats.rtcp_refused,
        );
        add(
            &mut self.nacks_ignored,
            &mut before.nacks_ignored,
            stats.nacks_ignored,
        );
        add(&mut self.rtp_unsent, &mut before.rtp_unsent, stats.rtp_unsent);
        add(
            &mut self.index_used,
            &mut before.index_used,
            stats.indices_refused,
        );
        add(&mut self.oversized, &mut before.oversized, stats.oversized);
        add(&mut self.refused, &mut before.refused, stats.streams_refused);
        add(&mut self.events, &mut before.events, stats.events_dropped);
        add(&mut self.arrivals, &mut before.arrivals, stats.arrivals_dropped);
    }
}
