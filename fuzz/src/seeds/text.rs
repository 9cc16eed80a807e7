//! Session descriptions and candidate lines.

use super::{Seeds, named};

/// What is space to Unicode is not to SDP.
const WHITE_SPACE: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\u{b}\r\n\
                           a=extmap:1 urn:x\u{b}\u{c}y\r\na=fmtp:0 \u{a0}x\u{b}\r\n";

/// Some of the recorded descriptions, small ones of different calls.
pub(super) fn sdp() -> Seeds {
    let file = include_str!("../../../crates/wire/tests/vectors/calls.txt");
    let mut texts: Vec<String> = Vec::new();
    let mut whole: Vec<String> = Vec::new();
    let mut in_text = false;
    for line in file.lines() {
        if line.starts_with("%text ") {
            texts.push(String::new());
            in_text = true;
        } else if let Some(words) = line.strip_prefix("%sdp ") {
            let numbers = words
                .split(' ')
                .filter_map(|word| word.strip_prefix('@')?.parse::<usize>().ok());
            whole.push(
                numbers
                    .filter_map(|at| texts.get(at).map(String::as_str))
                    .collect(),
            );
        } else if line.starts_with('%') {
            in_text = false;
        } else if let Some(text) = texts.last_mut().filter(|_| in_text) {
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    whole.retain(|text| text.len() < 9_000);
    let step = (whole.len() / 12).max(1);
    whole
        .iter()
        .step_by(step)
        .enumerate()
        .map(|(at, text)| (format!("recorded_{at:02}"), text.clone().into_bytes()))
        .chain([("white_space".to_owned(), WHITE_SPACE.as_bytes().to_vec())])
        .collect()
}

pub(super) fn candidate() -> Seeds {
    named([
        (
            "host",
            b"candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host generation 0 ufrag abcd network-cost 999",
        ),
        (
            "reflexive",
            b"a=candidate:842163049 1 udp 1677729535 203.0.113.7 61234 typ srflx raddr 10.0.0.2 rport 5000",
        ),
        (
            "tcp",
            b"candidate:3 1 tcp 1518280447 2001:db8::1 9 typ host tcptype active generation 0",
        ),
        (
            "relay",
            b"candidate:4 2 UDP 1 198.51.100.3 1 typ relay raddr 0.0.0.0 rport 0",
        ),
        (
            "hidden",
            b"candidate:5 1 udp 2113937151 7f3c8d2e-1b2a-4c3d-8e9f-0a1b2c3d4e5f.local 5000 typ host",
        ),
    ])
}
