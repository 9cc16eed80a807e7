//! Prometheus metrics on a listener of their own: one row per exported name (`observability.md` §2).
//!
//! Names that the reference has keep its meaning; what only this server counts begins with
//! `plenum_`. No labels that grow with rooms or participants.

use crate::config::Prometheus;
use crate::counters::{Counter, Counters};
use crate::media_pool::{MediaPool, ThreadStats};
use crate::rooms::Rooms;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::fmt::Write;
use std::sync::Arc;

/// What is exported. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    rooms: Rooms,
    counters: Arc<Counters>,
    pool: Arc<MediaPool>,
    node_id: String,
    access: Prometheus,
}

/// A counter of [`Counters`]: name, labels, help.
type CounterRow = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Counters) -> &Counter,
);

const COUNTERS: [CounterRow; 8] = [
    (
        "livekit_participant_join_total",
        "state=\"signal_connected\",warp=\"\",sdk=\"\"",
        "Joins by how far they came.",
        |counters| &counters.signal_connections,
    ),
    (
        "livekit_participant_join_total",
        "state=\"signal_failed\",warp=\"\",sdk=\"\"",
        "Joins by how far they came.",
        |counters| &counters.joins_refused,
    ),
    (
        "plenum_signal_slow_total",
        "",
        "Signal connections cut because the client read too slowly.",
        |counters| &counters.signal_slow,
    ),
    (
        "plenum_signal_broken_total",
        "",
        "Signal connections closed for frames that break the protocol.",
        |counters| &counters.signal_broken,
    ),
    (
        "plenum_media_events_stray_total",
        "",
        "Media events for rooms that are gone.",
        |counters| &counters.media_events_stray,
    ),
    (
        "plenum_media_commands_lost_total",
        "",
        "Commands that a media thread could not take.",
        |counters| &counters.media_commands_lost,
    ),
    (
        "plenum_rooms_failed_total",
        "",
        "Rooms that ended by a fault of the server.",
        |counters| &counters.rooms_failed,
    ),
    (
        "plenum_api_errors_total",
        "",
        "API calls answered with an error.",
        |counters| &counters.api_errors,
    ),
];

/// A count of each media thread: name, kind, labels, help.
type ThreadRow = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    fn(&ThreadStats) -> u64,
);

const THREADS: [ThreadRow; 21] = [
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
        "Commands refused because the queue was full.",
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

impl Metrics {
    /// Of a running server.
    #[must_use]
    pub fn new(
        rooms: Rooms,
        counters: Arc<Counters>,
        pool: Arc<MediaPool>,
        node_id: String,
        access: Prometheus,
    ) -> Self {
        Self {
            rooms,
            counters,
            pool,
            node_id,
            access,
        }
    }

    /// Answers a scrape, on any path.
    #[must_use]
    pub fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if !self.access.admits(authorization) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            let realm = HeaderValue::from_static("Basic realm=\"Protected Area\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
            return response;
        }
        let mut response = Response::new(Body::from(self.text()));
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }

    /// The exposition text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = Exposition {
            text: String::new(),
            node: format!("node_id=\"{}\",node_type=\"SERVER\"", self.node_id),
            last: "",
        };
        let rooms = self.rooms.list(&[]);
        let participants: u64 = rooms.iter().map(|room| u64::from(room.num_participants)).sum();
        out.row("livekit_room_total", "gauge", "Rooms.", "", rooms.len() as u64);
        out.row(
            "livekit_participant_total",
            "gauge",
            "Participants.",
            "",
            participants,
        );
        for (name, labels, help, read) in COUNTERS {
            out.row(name, "counter", help, labels, read(&self.counters).get());
        }
        let threads = self.pool.stats();
        for (name, kind, labels, help, read) in THREADS {
            for (index, stats) in threads.iter().enumerate() {
                let comma = if labels.is_empty() { "" } else { "," };
                let labels = format!("{labels}{comma}thread=\"{index}\"");
                out.row(name, kind, help, &labels, read(stats));
            }
        }
        out.text
    }
}

struct Exposition {
    text: String,
    node: String,
    last: &'static str,
}

impl Exposition {
    /// One sample; rows of one name follow each other.
    fn row(&mut self, name: &'static str, kind: &str, help: &str, labels: &str, value: u64) {
        if self.last != name {
            // Writing to a String cannot fail.
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            self.last = name;
        }
        let comma = if labels.is_empty() { "" } else { "," };
        let _ = writeln!(self.text, "{name}{{{}{comma}{labels}}} {value}", self.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rows_of_one_name_stand_together() {
        let names: Vec<_> = COUNTERS
            .iter()
            .map(|row| row.0)
            .chain(THREADS.iter().map(|row| row.0))
            .collect();
        let runs = names.windows(2).filter(|pair| pair[0] != pair[1]).count() + 1;
        assert_eq!(runs, names.iter().collect::<BTreeSet<_>>().len());
    }
}
