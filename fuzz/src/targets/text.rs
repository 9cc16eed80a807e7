//! Session descriptions, candidate lines, and what arrives by WebSocket and HTTP.

use protocol::query::Query;
use protocol::signal::{self, Received};
use wire::sdp::{Candidate, Description};

/// A description; one that is accepted can be written, and its writing is stable.
pub(crate) fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(parsed) = Description::parse(&text) {
        let written = parsed.to_string();
        let again = Description::parse(&written).expect("what was written is accepted");
        assert_eq!(again.to_string(), written);
        for media in &parsed.media {
            let _ = parsed.transport_of(media);
            for pt in media.payload_types() {
                let _ = (media.rtpmap(pt), media.fmtp(pt));
            }
            let _ = media.msid();
        }
    }
}

/// A candidate line, as trickled.
pub(crate) fn candidate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(parsed) = Candidate::parse(&text) {
        let written = parsed.to_string();
        let again = Candidate::parse(&written).expect("what was written is accepted");
        assert_eq!(again.to_string(), written);
    }
}

/// A signal frame in both framings, and the same bytes as a query string.
pub(crate) fn signal(data: &[u8]) {
    if let Ok(Received { request, .. }) = signal::decode_binary(data) {
        let _ = signal::answer_ping(&request, i64::MAX);
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(Received { request, .. }) = signal::decode_text(&text) {
        let _ = signal::answer_ping(&request, i64::MIN);
    }
    let query = Query::parse(&text);
    for name in ["access_token", "auto_subscribe", "protocol", "join_request"] {
        let _ = (query.text(name), query.flag(name), query.number(name));
    }
}
