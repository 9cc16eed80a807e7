//! Prometheus metrics on a listener of their own: one row per exported name.
//!
//! Names that the reference has keep its meaning; what only this server counts begins with
//! `plenum_`. No labels that grow with rooms or participants.

mod threads;

use crate::config::Prometheus;
use crate::counters::{Counter, Counters};
use crate::media_pool::MediaPool;
use crate::rooms::Rooms;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::fmt::Write;
use std::sync::Arc;
use threads::{DROPS, THREADS};

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

const COUNTERS: [CounterRow; 27] = [
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
        "plenum_signal_replaced_total",
        "",
        "Signal messages that took the place of older ones of which only the newest counts.",
        |counters| &counters.signal_replaced,
    ),
    (
        "plenum_changes_delayed_total",
        "",
        "Changes of participants or rooms that were told later, together with newer ones.",
        |counters| &counters.changes_delayed,
    ),
    (
        "plenum_changes_refused_total",
        "",
        "Changes refused because the state of a room, or what waits to be sent, is too large.",
        |counters| &counters.changes_refused,
    ),
    (
        "plenum_joins_busy_total",
        "",
        "Joins refused because too much waited to be sent.",
        |counters| &counters.joins_busy,
    ),
    (
        "plenum_data_forwarded_total",
        "",
        "Data packets that rooms forwarded.",
        |counters| &counters.data_forwarded,
    ),
    (
        "plenum_data_undecodable_total",
        "",
        "Data packets that could not be decoded.",
        |counters| &counters.data_undecodable,
    ),
    (
        "plenum_data_dropped_total",
        "",
        "Data packets dropped for want of permission, as duplicates or as too large.",
        |counters| &counters.data_dropped,
    ),
    (
        "plenum_data_undelivered_total",
        "",
        "Messages that a peer's data channel could not take.",
        |counters| &counters.data_undelivered,
    ),
    (
        "plenum_data_missed_total",
        "",
        "Reliable packets that joining clients missed because too much waited for their channels.",
        |counters| &counters.data_missed,
    ),
    (
        "plenum_requests_over_limit_total",
        "",
        "Requests past a limit of what a participant may keep in its room.",
        |counters| &counters.over_limit,
    ),
    (
        "plenum_signal_broken_total",
        "",
        "Signal connections closed for frames that break the protocol.",
        |counters| &counters.signal_broken,
    ),
    (
        "plenum_signal_oversized_total",
        "",
        "Signal connections closed for a message that is too large when decoded.",
        |counters| &counters.signal_oversized,
    ),
    (
        "plenum_media_events_dropped_total",
        "",
        "Media events that a room lagging behind lost, of kinds that may be.",
        |counters| &counters.media_events_dropped,
    ),
    (
        "plenum_media_peers_cut_total",
        "",
        "Peers taken out of their room because it could not take all that they sent.",
        |counters| &counters.media_peers_cut,
    ),
    (
        "plenum_room_slow_inputs_total",
        "",
        "Inputs that kept a room busy for longer than 50 ms.",
        |counters| &counters.room_inputs_slow,
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
        "Commands that a media thread could not take, data messages left out.",
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
    (
        "plenum_connections_evicted_total",
        "",
        "Idle connections and unfinished request heads given up for others.",
        |counters| &counters.connections_evicted,
    ),
    (
        "plenum_connections_refused_total",
        "",
        "Connections refused because an address, or all WebSockets, had as many as they may.",
        |counters| &counters.connections_refused,
    ),
    (
        "plenum_accepts_failed_total",
        "",
        "Connections that could not be accepted for want of files or memory.",
        |counters| &counters.accepts_failed,
    ),
    (
        "plenum_http_refused_total",
        "",
        "Request heads and bodies refused because those of all took too much memory.",
        |counters| &counters.http_refused,
    ),
    (
        "plenum_http_late_total",
        "",
        "Request heads, bodies and answers given up because the client was too slow.",
        |counters| &counters.http_late,
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
        let (rooms, participants) = self.rooms.count();
        out.row("livekit_room_total", "gauge", "Rooms.", "", rooms);
        out.row(
            "livekit_participant_total",
            "gauge",
            "Participants.",
            "",
            participants,
        );
        out.row(
            "plenum_signal_backlog_bytes",
            "gauge",
            "Bytes of signal messages that wait to be sent; one for many counts once.",
            "",
            self.counters.signal_backlog.bytes() as u64,
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
        for (name, label, help, rows) in DROPS {
            for (value, read) in rows {
                for (index, stats) in threads.iter().enumerate() {
                    let labels = format!("{label}=\"{value}\",thread=\"{index}\"");
                    out.row(name, "counter", help, &labels, read(&stats.media.drops));
                }
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
