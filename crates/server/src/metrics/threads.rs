//! What is exported of each media thread.

use crate::media_pool::ThreadStats;
use media::api::HandshakeFailure;
use media::stats::Drops;

/// A count of each media thread: name, kind, labels, help.
pub(super) type ThreadRow = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&ThreadStats) -> u64,
);

pub(super) const THREADS: [ThreadRow; 23] = [
    (
        "plenum_media_peers",
        "gauge",
        "",
        "Peers on a media thread.",
        |stats| stats.peers,
    ),
    (
        "plenum_media_datagrams_total",
        "counter",
        "direction=\"in\"",
        "Datagrams.",
        |stats| stats.recv.datagrams,
    ),
    (
        "plenum_media_datagrams_total",
        "counter",
        "direction=\"out\"",
        "Datagrams.",
        |stats| stats.send.datagrams,
    ),
    (
        "plenum_media_bytes_total",
        "counter",
        "direction=\"in\"",
        "Bytes in datagrams.",
        |stats| stats.recv.bytes,
    ),
    (
        "plenum_media_bytes_total",
        "counter",
        "direction=\"out\"",
        "Bytes in datagrams.",
        |stats| stats.send.bytes,
    ),
    (
        "plenum_media_messages_total",
        "counter",
        "direction=\"in\"",
        "Messages exchanged with the kernel; a train counts once.",
        |stats| stats.recv.messages,
    ),
    (
        "plenum_media_messages_total",
        "counter",
        "direction=\"out\"",
        "Messages exchanged with the kernel; a train counts once.",
        |stats| stats.send.messages,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"full\"",
        "Datagrams that the kernel did not take.",
        |stats| stats.send.dropped_full,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"refused\"",
        "Datagrams that the kernel did not take.",
        |stats| stats.send.dropped_refused,
    ),
    (
        "plenum_media_packets_total",
        "counter",
        "direction=\"in\"",
        "RTP packets, without those sent again.",
        |stats| stats.media.packets_in,
    ),
    (
        "plenum_media_packets_total",
        "counter",
        "direction=\"out\"",
        "RTP packets, without those sent again.",
        |stats| stats.media.packets_out,
    ),
    (
        "plenum_media_packets_recovered_total",
        "counter",
        "",
        "Lost RTP packets of redundant audio that a packet behind them repeated.",
        |stats| stats.media.packets_recovered,
    ),
    (
        "plenum_media_packets_injected_total",
        "counter",
        "",
        "RTP packets that no publisher sent: silence, blank frames, announcements.",
        |stats| stats.media.packets_injected,
    ),
    (
        "plenum_media_packets_resent_total",
        "counter",
        "",
        "RTP packets sent again because a subscriber missed them.",
        |stats| stats.media.packets_resent,
    ),
    (
        "plenum_media_peers_limited",
        "gauge",
        "",
        "Peers that are sent less than they wish, because their link carries less.",
        |stats| stats.media.peers_limited,
    ),
    (
        "plenum_media_pictures_paused_total",
        "counter",
        "",
        "Pauses of a picture whose lowest layer a subscriber's link does not carry.",
        |stats| stats.media.pictures_paused,
    ),
    (
        "plenum_media_key_frame_requests_total",
        "counter",
        "",
        "Key frames asked of publishers.",
        |stats| stats.media.key_frame_requests,
    ),
    (
        "plenum_media_crossings_total",
        "counter",
        "",
        "Packets taken over from other media threads.",
        |stats| stats.media.crossings_in,
    ),
    ("plenum_media_down_tracks", "gauge", "", "Down tracks.", |stats| {
        stats.media.down_tracks
    }),
    (
        "plenum_media_up_tracks",
        "gauge",
        "",
        "Up tracks, copies of other threads' tracks included.",
        |stats| stats.media.up_tracks,
    ),
    (
        "plenum_media_commands_refused_total",
        "counter",
        "",
        "Commands that control, refused because the queue was full.",
        |stats| stats.commands_refused,
    ),
    (
        "plenum_media_events_delayed_total",
        "counter",
        "",
        "Turns that ended with the event queue full.",
        |stats| stats.events_delayed,
    ),
    (
        "plenum_media_panics_total",
        "counter",
        "",
        "Faults caught on a media thread.",
        |stats| stats.panics,
    ),
];

/// Counts of what was dropped: name, label, help, and a row for each value of the label.
pub(super) type DropRows = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, fn(&Drops) -> u64)],
);

pub(super) const DROPS: [DropRows; 3] = [
    (
        "plenum_dtls_handshakes_failed_total",
        "reason",
        "DTLS handshakes that failed.",
        &[
            (HandshakeFailure::LABELS[0], |drops| drops.handshakes[0]),
            (HandshakeFailure::LABELS[1], |drops| drops.handshakes[1]),
            (HandshakeFailure::LABELS[2], |drops| drops.handshakes[2]),
            (HandshakeFailure::LABELS[3], |drops| drops.handshakes[3]),
            (HandshakeFailure::LABELS[4], |drops| drops.handshakes[4]),
            (HandshakeFailure::LABELS[5], |drops| drops.handshakes[5]),
        ],
    ),
    (
        "plenum_media_messages_lost_total",
        "channel",
        "Data messages that a participant did not get.",
        &[
            ("reliable", |drops| drops.messages.reliable),
            ("lossy", |drops| drops.messages.lossy),
            ("data_track", |drops| drops.messages.data_track),
            ("unlabelled", |drops| drops.messages.unlabelled),
        ],
    ),
    (
        "plenum_media_dropped_total",
        "reason",
        "What a media thread dropped.",
        &[
            ("unknown_track", |drops| drops.unknown_track),
            ("duplicate", |drops| drops.duplicate),
            ("too_old", |drops| drops.too_old),
            ("ring_full", |drops| drops.ring_full),
            ("crossing_full", |drops| drops.crossing_full.iter().sum()),
            ("control_full", |drops| drops.control_full),
            ("events_full", |drops| drops.events_full),
            ("events_merged", |drops| drops.events_merged),
            ("resend_full", |drops| drops.resend_full),
            ("resend_late", |drops| drops.resend_late),
            ("resend_budget", |drops| drops.resend_budget),
            ("owed_full", |drops| drops.owed_full),
            ("peers", |drops| drops.peers),
            ("tracks", |drops| drops.tracks),
            ("commands", |drops| drops.commands),
            ("addresses", |drops| drops.addresses),
        ],
    ),
];
