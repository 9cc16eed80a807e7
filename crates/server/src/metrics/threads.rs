//! What is exported of each media thread.

use crate::media_pool::ThreadStats;
use media::stats::Drops;

/// A count of each media thread: name, kind, labels, help.
pub(super) type ThreadRow = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&ThreadStats) -> u64,
);

pub(super) const THREADS: [ThreadRow; 29] = [
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
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.send.dropped_full,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"refused\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.send.dropped_refused,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"unknown_source\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.unknown_source,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"unknown_fragment\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.unknown_fragment,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"unauthenticated\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.unauthenticated,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"over_budget\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.over_budget,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"handover_full\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.handover_full,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"address_in_use\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.address_in_use,
    ),
    (
        "plenum_media_datagrams_dropped_total",
        "counter",
        "reason=\"malformed\"",
        "Datagrams dropped: by the kernel on the way out, or taken for nobody's on the way in.",
        |stats| stats.media.refused.malformed,
    ),
    (
        "plenum_media_datagrams_handed_over_total",
        "counter",
        "",
        "Datagrams handed over to the media thread that owns their peer.",
        |stats| stats.media.datagrams_handed_over,
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

pub(super) const DROPS: [DropRows; 2] = [
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
            ("peers", |drops| drops.peers),
            ("tracks", |drops| drops.tracks),
            ("commands", |drops| drops.commands),
            ("addresses", |drops| drops.addresses),
        ],
    ),
];
