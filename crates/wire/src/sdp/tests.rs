//! Recorded descriptions read and written, other stacks' spellings, limits, broken text.

use super::*;
use proptest::prelude::*;

/// Every description of recorded calls between a stock browser client and the reference server:
/// `%text n` blocks hold pieces, `%sdp …` lines end in the pieces of one description.
fn recorded() -> Vec<String> {
    let file = include_str!("../../tests/vectors/calls.txt");
    let mut texts: Vec<String> = Vec::new();
    let mut found = Vec::new();
    let mut in_text = false;
    for line in file.lines() {
        if line.starts_with("%text ") {
            texts.push(String::new());
            in_text = true;
        } else if let Some(words) = line.strip_prefix("%sdp ") {
            let pieces = words.split(' ').filter_map(|word| word.strip_prefix('@'));
            found.push(
                pieces
                    .map(|n| texts[n.parse::<usize>().unwrap()].as_str())
                    .collect(),
            );
        } else if line.starts_with('%') {
            in_text = false;
        } else if in_text {
            let text = texts.last_mut().unwrap();
            text.push_str(line);
            text.push_str("\r\n");
        }
    }
    found
}

#[test]
fn recorded_descriptions_survive_writing_and_reading() {
    let all = recorded();
    assert!(all.len() > 200, "{}", all.len());
    for text in all {
        let parsed = Description::parse(&text).unwrap();
        let written = parsed.to_string();
        let again = Description::parse(&written).unwrap();
        assert_eq!(again.to_string(), written);
        assert_eq!(sorted(again), sorted(parsed));
    }
}

/// Writing groups fmtp and feedback lines by payload type.
fn sorted(mut description: Description) -> Description {
    for media in &mut description.media {
        media.fmtps.sort();
        media.feedback.sort();
    }
    description
}

#[test]
fn every_recorded_candidate_and_codec_line_is_understood() {
    for text in recorded() {
        let parsed = Description::parse(&text).unwrap();
        let count = |prefix: &str| text.lines().filter(|line| line.starts_with(prefix)).count();
        let sum = |of: fn(&Media) -> usize| parsed.media.iter().map(of).sum::<usize>();
        assert_eq!(sum(|m| m.transport.candidates.len()), count("a=candidate:"));
        assert_eq!(sum(|m| m.rtpmaps.len()), count("a=rtpmap:"));
        assert_eq!(sum(|m| m.fmtps.len()), count("a=fmtp:"));
        assert_eq!(sum(|m| m.feedback.len()), count("a=rtcp-fb:"));
        assert_eq!(sum(|m| m.extmaps.len()), count("a=extmap:"));
        assert_eq!(
            sum(|m| m.ssrcs.iter().map(|s| s.attributes.len()).sum()),
            count("a=ssrc:")
        );
        assert_eq!(parsed.media.len(), count("m="));
    }
}

#[test]
fn fingerprint_text_round_trips_in_either_case() {
    fn bytes<const LEN: usize>() -> [u8; LEN] {
        std::array::from_fn(|i| (i * 7) as u8)
    }
    for fingerprint in [
        Fingerprint::Sha1(bytes()),
        Fingerprint::Sha224(bytes()),
        Fingerprint::Sha256(bytes()),
        Fingerprint::Sha384(bytes()),
        Fingerprint::Sha512(bytes()),
    ] {
        let text = fingerprint.to_string();
        assert_eq!(Fingerprint::parse(&text), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&text.to_lowercase()), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&text.to_uppercase()), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&text[..text.len() - 3]), None);
        assert_eq!(Fingerprint::parse(&format!("{text}:00")), None);
        assert_eq!(Fingerprint::parse(&text.replace(':', ".")), None);
        assert_eq!(Fingerprint::parse(&text.replace(":07", ":+7")), None);
        let (_, hex) = text.split_once(' ').unwrap();
        assert_eq!(Fingerprint::parse(&format!("md5 {hex}")), None);
    }
}

#[test]
fn of_several_fingerprints_the_strongest_counts() {
    let lines = [
        "a=fingerprint:md5 00".to_owned(),
        format!("a=fingerprint:{}", Fingerprint::Sha1([1; 20])),
        format!("a=fingerprint:{}", Fingerprint::Sha512([5; 64])),
        format!("a=fingerprint:{}", Fingerprint::Sha256([2; 32])),
        "a=fingerprint:sha-512 00:11".to_owned(),
    ];
    for turn in 0..lines.len() {
        let mut lines = lines.clone();
        lines.rotate_left(turn);
        let text = format!("v=0\n{}\nm=audio 9 UDP/TLS/RTP/SAVPF 0\n", lines.join("\n"));
        let parsed = Description::parse(&text).unwrap();
        assert_eq!(
            parsed.session.transport.fingerprint,
            Some(Fingerprint::Sha512([5; 64]))
        );
    }
}

#[test]
fn simulcast_is_ordered_and_paused_markers_are_dropped() {
    let parsed = |attribute: &str| {
        let text = format!("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=simulcast:{attribute}\n");
        Description::parse(&text).unwrap().media[0]
            .simulcast
            .clone()
            .map(|s| s.send.join(" "))
    };
    assert_eq!(parsed("send f;~h;q").as_deref(), Some("q h f"));
    assert_eq!(parsed("send 0;1;2").as_deref(), Some("2 1 0"));
    assert_eq!(parsed("recv x send hi,mid;lo").as_deref(), Some("hi lo"));
    assert_eq!(parsed("sendrecv f"), None);
}

#[test]
fn candidates_of_common_stacks_are_read() {
    let chrome = "candidate:2096834897 1 udp 2122194687 192.168.1.4 50755 typ host generation 0 ufrag ytEC network-id 3";
    let read = Candidate::parse(chrome).unwrap();
    assert_eq!(read.address, "192.168.1.4:50755".parse().unwrap());
    assert_eq!(read.ufrag.as_deref(), Some("ytEC"));
    let relayed = "a=candidate:1 1 UDP 7 2001:db8::1 9 typ relay raddr 0.0.0.0 rport 0";
    assert_eq!(Candidate::parse(relayed).unwrap().kind, CandidateType::Relayed);
    let tcp = "candidate:1 1 tcp 1518214911 127.0.0.1 9 typ host tcptype active";
    let read = Candidate::parse(tcp).unwrap();
    assert_eq!(
        (read.protocol, read.tcp_type.as_deref()),
        (Protocol::Tcp, Some("active"))
    );
    assert_eq!(Candidate::parse(&read.to_string()), Some(read));
    let mdns = "candidate:1 1 udp 7 6f0b.local 9 typ host";
    assert_eq!(Candidate::parse(mdns), None);
    assert_eq!(Candidate::parse("rubbish"), None);
}

#[test]
fn what_other_stacks_write_is_read() {
    // Session-level ICE and DTLS (aiortc, GStreamer), static payload types, plan B msid, sctpmap.
    let fingerprint = Fingerprint::Sha256([7; 32]);
    let text = format!(
        "v=0\no=- 99999999999999999999 2 IN IP4 0.0.0.0\ns=-\nt=0 0\na=ice-ufrag:abcd\na=ice-pwd:pwd\n\
         a=fingerprint:sha-1 00:11\na=fingerprint:{fingerprint}\na=setup:actpass\na=recvonly\n\
         m=audio 9/2 UDP/TLS/RTP/SAVPF 0 \na=ssrc:5 msid:stream track\na=ssrc:5 cname:x\na=rtcp-fb:* nack\n\
         m=application 9 DTLS/SCTP 5000\na=sctpmap:5000 webrtc-datachannel 1024\na=sendrecv\n"
    );
    let parsed = Description::parse(&text).unwrap();
    let audio = &parsed.media[0];
    assert_eq!(parsed.session.id, 0);
    assert_eq!(
        parsed.transport_of(audio).fingerprint.unwrap().to_string(),
        fingerprint.to_string()
    );
    assert_eq!(parsed.transport_of(audio).ufrag.as_deref(), Some("abcd"));
    assert_eq!(audio.rtpmap(0).unwrap().encoding, "PCMU");
    assert_eq!(audio.msid().unwrap().track.as_deref(), Some("track"));
    assert_eq!(audio.direction, Direction::RecvOnly);
    assert!(audio.has_feedback(0, "nack"));
    assert_eq!(parsed.media[1].sctp_port, Some(5000));
    assert_eq!(parsed.media[1].direction, Direction::SendRecv);
}

#[test]
fn text_that_is_no_description_is_refused() {
    assert_eq!(Description::parse(""), Err(ParseError::NotSdp));
    assert_eq!(Description::parse("garbage"), Err(ParseError::NotSdp));
    assert_eq!(
        Description::parse("v=0\nm=audio x y"),
        Err(ParseError::BadMediaLine(0))
    );
    let many = format!("v=0\n{}", "m=audio 9 X 0\n".repeat(SECTIONS_MAX + 1));
    assert_eq!(Description::parse(&many), Err(ParseError::TooLarge));
}

#[test]
fn attributes_of_one_section_are_bounded() {
    let many: String = (0..5_000)
        .map(|n| format!("a=ssrc:{n} cname:x\na=rid:{n} send\n"))
        .collect();
    let parsed = Description::parse(&format!("v=0\nm=video 9 X 96\n{many}")).unwrap();
    assert_eq!(
        (parsed.media[0].ssrcs.len(), parsed.media[0].rids.len()),
        (SSRCS_MAX, ITEMS_MAX)
    );
}

#[test]
fn lines_are_bounded_and_what_browsers_write_is_within() {
    let longest = recorded()
        .iter()
        .flat_map(|text| text.lines().map(str::len))
        .max();
    assert!(
        longest.is_some_and(|longest| longest < ATTRIBUTE_BYTES_MAX),
        "{longest:?}"
    );
    let mids: String = (0..SECTIONS_MAX).map(|mid| format!(" {mid}")).collect();
    let all = format!("v=0\na=group:BUNDLE{mids}\n");
    assert_eq!(
        Description::parse(&all).unwrap().session.bundle.len(),
        SECTIONS_MAX
    );
    let line = |bytes: usize| format!("v=0\nm=video 9 X 96\na=fmtp:96 {}\n", "x".repeat(bytes));
    let kept = |bytes: usize| Description::parse(&line(bytes)).map(|parsed| parsed.media[0].fmtps.len());
    assert_eq!(kept(2_000), Ok(1));
    assert_eq!(kept(ATTRIBUTE_BYTES_MAX), Ok(0));
    assert_eq!(kept(LINE_BYTES_MAX), Err(ParseError::TooLarge));
}

#[test]
fn a_payload_type_that_is_listed_twice_is_one() {
    let parsed = Description::parse("v=0\nm=video 9 X 96 97 96 300 0 127 97\n").unwrap();
    let listed: Vec<u8> = parsed.media[0].payload_types().collect();
    assert_eq!(listed, [96, 97, 0, 127]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn mutated_descriptions_are_read_or_refused(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..40), 1..12),
    ) {
        let all = recorded_small();
        let mut bytes = which.get(all).clone().into_bytes();
        for (at, byte, remove) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let end = (at + remove).min(bytes.len() - 1);
            bytes.drain(at..end);
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(parsed) = Description::parse(&text) {
            let written = parsed.to_string();
            let again = Description::parse(&written);
            prop_assert!(again.is_ok());
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(v=0\n)?([a-z]=[a-z0-9:;/ ~*.-]{0,40}\n|\\PC{0,20}\n){0,30}") {
        let _ = Description::parse(&text);
        let _ = Candidate::parse(&text);
    }
}

/// A few descriptions, cheap enough for many cases.
fn recorded_small() -> &'static Vec<String> {
    static SMALL: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();
    SMALL.get_or_init(|| {
        recorded()
            .into_iter()
            .filter(|text| text.len() < 20_000)
            .step_by(5)
            .collect()
    })
}
