//! ICE candidates, ours and the client's: in descriptions and as trickled JSON (RFC 8840).

use super::transport::Transport;
use media::api::{Candidate, CandidateKind, Command};
use protocol::lenient::mend_text;
use std::net::SocketAddr;
use wire::sdp;

/// Most candidates taken from a client per ICE generation, and most that wait for a description.
/// Browsers on machines with many networks gather about 20.
pub(super) const CANDIDATES_MAX: usize = 64;

/// Our host candidates for a component.
fn host(addresses: &[SocketAddr], ufrag: &str, component: u16) -> Vec<sdp::Candidate> {
    let one = |(index, address): (usize, &SocketAddr)| {
        // RFC 8445 §5.1.2.1: type preference 126, then one local preference per address.
        let local = 65_535 - u32::try_from(index).unwrap_or(65_535).min(65_535);
        sdp::Candidate {
            foundation: format!("{}", index + 1),
            component,
            protocol: sdp::Protocol::Udp,
            priority: (126 << 24) | (local << 8) | (256 - u32::from(component)),
            address: *address,
            kind: sdp::CandidateType::Host,
            tcp_type: None,
            ufrag: Some(ufrag.to_owned()),
        }
    };
    addresses.iter().enumerate().map(one).collect()
}

/// Our candidates as they stand in a description: components 1 and 2 of each.
pub(super) fn in_description(addresses: &[SocketAddr], ufrag: &str) -> Vec<sdp::Candidate> {
    let components = host(addresses, ufrag, 1)
        .into_iter()
        .zip(host(addresses, ufrag, 2));
    components.flat_map(|(rtp, rtcp)| [rtp, rtcp]).collect()
}

/// Our candidates as `candidateInit` objects.
pub(super) fn to_trickle(addresses: &[SocketAddr], ufrag: &str, mid: &str) -> Vec<String> {
    let one = |candidate: sdp::Candidate| {
        format!(
            r#"{{"candidate":{},"sdpMid":{},"sdpMLineIndex":0,"usernameFragment":null}}"#,
            serde_json::Value::from(candidate.to_string()),
            serde_json::Value::from(mid),
        )
    };
    host(addresses, ufrag, 1).into_iter().map(one).collect()
}

/// A client's candidate in the media plane's terms; `None` when the media plane cannot use it.
pub(super) fn usable(candidate: &sdp::Candidate) -> Option<Candidate> {
    let address = candidate.address;
    let ip = address.ip();
    if candidate.protocol != sdp::Protocol::Udp
        || candidate.component != 1
        || address.port() == 0
        || ip.is_unspecified()
        || ip.is_multicast()
    {
        return None;
    }
    Some(Candidate {
        address,
        priority: candidate.priority,
        foundation: candidate.foundation.clone(),
        kind: match candidate.kind {
            sdp::CandidateType::Host => CandidateKind::Host,
            sdp::CandidateType::ServerReflexive => CandidateKind::ServerReflexive,
            sdp::CandidateType::PeerReflexive => CandidateKind::PeerReflexive,
            sdp::CandidateType::Relayed => CandidateKind::Relayed,
        },
    })
}

/// Longest `candidateInit`: real ones have about 200 bytes. Read as JSON, it may take ten times as
/// much memory.
pub(crate) const INIT_BYTES_MAX: usize = 4096;

/// Reads a `candidateInit` object: the candidate, and the user name fragment that it belongs to.
///
/// # Errors
/// A text in the words that clients have always been given.
fn read_init(text: &str) -> Result<(String, Option<String>), String> {
    if text.len() > INIT_BYTES_MAX {
        return Err(format!("a candidate may have {INIT_BYTES_MAX} bytes"));
    }
    let text = &mend_text(text);
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| explain(text, &error))?;
    let Some(object) = value.as_object() else {
        return Err("json: cannot unmarshal into Go value of type webrtc.ICECandidateInit".to_owned());
    };
    // Go's reader takes names in any case.
    let word = |name: &str| {
        let field = object.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        field.and_then(|(_, value)| value.as_str())
    };
    let ufrag = word("usernameFragment").filter(|ufrag| !ufrag.is_empty());
    Ok((
        word("candidate").unwrap_or_default().to_owned(),
        ufrag.map(str::to_owned),
    ))
}

/// The error texts of the reference's JSON reader, which clients may show.
fn explain(text: &str, error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = text.split('\n').nth(error.line().saturating_sub(1));
    let column = error.column().saturating_sub(1);
    let found = line
        .and_then(|line| line.get(column..))
        .and_then(|rest| rest.chars().next());
    let found = found.unwrap_or('\u{fffd}');
    let place = error.to_string();
    let place = if place.starts_with("key must be a string") {
        "looking for beginning of object key string"
    } else if place.starts_with("expected `:`") {
        "after object key"
    } else if place.starts_with("expected `,` or `}`") {
        "after object key:value pair"
    } else if place.starts_with("trailing characters") {
        "after top-level value"
    } else {
        "looking for beginning of value"
    };
    format!("invalid character '{found}' {place}")
}

impl Transport {
    /// A trickled candidate (`candidateInit` JSON). `Ok(None)`: passed over (mDNS, TCP, end of
    /// candidates). Candidates before the remote description are queued.
    ///
    /// # Errors
    /// The JSON parser's text.
    pub fn handle_trickle(&mut self, candidate_init: &str) -> Result<Option<Command>, String> {
        let (line, ufrag) = read_init(candidate_init)?;
        let Some(candidate) = sdp::Candidate::parse(&line) else {
            return Ok(None);
        };
        let ufrag = candidate.ufrag.clone().or(ufrag);
        let Some(candidate) = usable(&candidate) else {
            return Ok(None);
        };
        let current = self.remote.as_ref().map(|remote| remote.ice.ufrag.as_str());
        let belongs = current.is_some_and(|current| ufrag.as_deref().is_none_or(|ufrag| ufrag == current));
        if belongs {
            return Ok(self.take_candidate(candidate));
        }
        // Of a generation whose description has not come yet, or of a past one: the oldest give way.
        if self.early_candidates.len() == CANDIDATES_MAX {
            self.early_candidates.pop_front();
        }
        self.early_candidates.push_back((ufrag, candidate));
        Ok(None)
    }

    /// Our candidates as `candidateInit` JSON strings, for trickling; the last is the final one.
    #[must_use]
    pub fn trickle_candidates(&self) -> Vec<String> {
        let mid = self.slots.first().map_or("0", |slot| slot.mid.as_str());
        to_trickle(&self.config.addresses, &self.config.ice.ufrag, mid)
    }

    /// A candidate of the current generation that was not there yet.
    pub(super) fn take_candidate(&mut self, candidate: Candidate) -> Option<Command> {
        let known = |known: &SocketAddr| *known == candidate.address;
        if self.remote_addresses.len() == CANDIDATES_MAX || self.remote_addresses.iter().any(known) {
            return None;
        }
        self.remote_addresses.push(candidate.address);
        Some(Command::AddCandidate {
            peer: self.config.peer,
            candidate,
        })
    }

    /// Candidates that waited for the description that has just been applied.
    pub(super) fn take_early_candidates(&mut self, commands: &mut Vec<Command>) {
        let Some(current) = self.remote.as_ref().map(|remote| remote.ice.ufrag.clone()) else {
            return;
        };
        for (ufrag, candidate) in std::mem::take(&mut self.early_candidates) {
            if ufrag.as_ref().is_none_or(|ufrag| *ufrag == current) {
                commands.extend(self.take_candidate(candidate));
            } else {
                self.early_candidates.push_back((ufrag, candidate));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_errors_read_as_the_reference_words_them() {
        let error = |text: &str| read_init(text).unwrap_err();
        assert_eq!(
            error("{oops"),
            "invalid character 'o' looking for beginning of object key string"
        );
        assert_eq!(error(""), "unexpected end of JSON input");
        assert_eq!(error("x"), "invalid character 'x' looking for beginning of value");
    }

    #[test]
    fn candidates_are_read_as_go_reads_json() {
        let read = read_init(r#"{"Candidate": "c", "usernamefragment": "x\ud83d", "other": 1}"#);
        assert_eq!(read, Ok(("c".to_owned(), Some("x\u{fffd}".to_owned()))));
    }

    #[test]
    fn own_candidates_have_both_components_in_descriptions_and_one_in_trickle() {
        let addresses = ["127.0.0.1:27882".parse().unwrap(), "[::1]:7".parse().unwrap()];
        let described = in_description(&addresses, "frag");
        let components: Vec<_> = described
            .iter()
            .map(|c| (c.address.port(), c.component))
            .collect();
        assert_eq!(components, [(27882, 1), (27882, 2), (7, 1), (7, 2)]);
        assert!(
            described[0].priority > described[1].priority && described[0].priority > described[2].priority
        );
        assert_eq!(
            to_trickle(&addresses[..1], "frag", "0")[0],
            r#"{"candidate":"candidate:1 1 udp 2130706431 127.0.0.1 27882 typ host ufrag frag","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":null}"#
        );
    }
}
