//! Session descriptions and candidate lines.

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
