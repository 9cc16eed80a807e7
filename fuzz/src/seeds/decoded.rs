//! Messages as stock clients and API callers sent them, and long ones made of few bytes; see the
//! target for the first two bytes and for the steps.

use super::Seeds;
use crate::targets::{decoded_reader, gzip, join, wrap};
use flate2::Compression;
use prost::Message;
use protocol::proto;
use serde::de::DeserializeOwned;

/// One message a line: who reads it, and the message as JSON.
const RECORDED: &str = include_str!("recorded.txt");

pub(super) fn decoded() -> Seeds {
    let recorded = RECORDED.lines().enumerate().flat_map(|(at, line)| {
        let (kind, json) = line.split_once(' ').unwrap_or_default();
        let (reader, json_reader, binary) = match kind {
            "signal" => (
                "signal",
                Some("signal_json".to_owned()),
                encoded::<proto::SignalRequest>(json),
            ),
            "packet" => ("packet", None, encoded::<proto::DataPacket>(json)),
            "join" => ("join", None, encoded::<proto::JoinRequest>(json)),
            call => (call, Some(format!("{call}_json")), None),
        };
        let binary = binary.map(|binary| with(reader, 0, &binary));
        let text = json_reader.map(|reader| with(&reader, 0, json.as_bytes()));
        [
            binary.map(|bytes| (format!("recorded_{at:03}_{kind}"), bytes)),
            text.map(|bytes| (format!("recorded_{at:03}_{kind}.json"), bytes)),
        ]
    });
    recorded.flatten().chain(long()).chain(offers()).collect()
}

fn encoded<T: Message + DeserializeOwned>(json: &str) -> Option<Vec<u8>> {
    let message: T = serde_json::from_str(json).ok()?;
    Some(message.encode_to_vec())
}

fn with(reader: &str, made: u8, rest: &[u8]) -> Vec<u8> {
    let reader = decoded_reader(reader).expect("a reader of the target");
    [&[reader, made], rest].concat()
}

/// Steps of the target's own making of messages.
enum Step<'a> {
    Append(u16, &'a [u8]),
    Repeat(u16),
    Field(u16),
    Around(&'a [u8], &'a [u8]),
}

fn steps(reader: &str, steps: &[Step<'_>]) -> Vec<u8> {
    let chunk = |what: u8, number: u16, bytes: &[u8]| [&[what], &number.to_be_bytes()[..], bytes].concat();
    let steps: Vec<Vec<u8>> = steps
        .iter()
        .map(|step| match step {
            Step::Append(count, bytes) => chunk(0, *count, bytes),
            Step::Repeat(count) => chunk(1, *count, &[]),
            Step::Field(number) => chunk(2, *number, &[]),
            Step::Around(before, behind) => chunk(3, before.len() as u16, &[*before, *behind].concat()),
        })
        .collect();
    with(reader, 1, &join(&steps))
}

/// Names that begin with `bad` are refused: each is one more than is allowed.
#[expect(clippy::too_many_lines, reason = "a table of inputs")]
fn long() -> Seeds {
    use Step::{Append, Around, Field, Repeat};
    let sids = |count| [Append(count, &[0x0A, 0]), Field(6)];
    let json = |count| {
        [
            Append(count, b"\"\","),
            Around(b"{\"subscription\":{\"trackSids\":[", b"\"\"]}}"),
        ]
    };
    let tracks = |count| {
        [
            Append(count, b"{},"),
            Around(b"{\"participantTracks\":[", b"{}]}"),
        ]
    };
    // A tree's nodes are largest where each map has one name.
    let maps = |count| [Append(count, b"{\"a\":{}},"), Around(b"{\"x\":[", b"{}]}")];
    let zeros = gzip(&[0; 1 << 20], Compression::none());
    [
        ("sids", steps("signal", &sids(8_192))),
        ("bad_sids", steps("signal", &sids(8_193))),
        ("sids.json", steps("signal_json", &json(8_191))),
        ("bad_sids.json", steps("signal_json", &json(8_192))),
        // By participant, one track each: the largest list that clients send.
        (
            "by_participant",
            steps(
                "signal",
                &[Append(1, &[0x12, 0]), Field(3), Repeat(8_192), Field(6)],
            ),
        ),
        ("layers", steps("signal", &[Append(4_000, &[0x4A, 0]), Field(4)])),
        (
            "bad_tracks",
            steps("signal", &[Field(2), Field(3), Repeat(8_000), Field(12)]),
        ),
        (
            "features",
            steps("signal", &[Append(8_192, &[1]), Field(2), Field(17)]),
        ),
        (
            "attributes",
            steps("signal", &[Append(8_192, &[0x1A, 0]), Field(15)]),
        ),
        (
            "metadata",
            steps(
                "signal",
                &[Append(65_000, b"0123456789abcde"), Field(1), Field(15)],
            ),
        ),
        (
            "bad_deep",
            steps(
                "signal",
                &[Append(1, &[0x0A, 0]), Field(6), Append(40_000, &[0xFB, 7])],
            ),
        ),
        ("recipients", steps("packet", &[Append(8_192, &[0x2A, 0])])),
        (
            "samples",
            steps("packet", &[Field(4), Repeat(8_192), Field(4), Field(8)]),
        ),
        (
            "attributes_of_join",
            steps("join", &[Append(8_192, &[0x22, 2, 0x0A, 0])]),
        ),
        (
            "metadata_of_join",
            steps("join_gzip", &[Append(60_000, b"0123456789abcde"), Field(3)]),
        ),
        (
            "bad_tracks_of_join",
            steps("join_gzip", &[Append(40_000, &[0x2A, 0])]),
        ),
        (
            "bad_zeros_of_join",
            with("join_wrapped", 0, &wrap(true, zeros[..60_000].to_vec())),
        ),
        (
            "api_list",
            steps("UpdateSubscriptions", &[Append(8_192, &[0x2A, 0])]),
        ),
        ("api_list.json", steps("UpdateSubscriptions_json", &tracks(8_191))),
        (
            "bad_api_list.json",
            steps("UpdateSubscriptions_json", &tracks(8_192)),
        ),
        ("api_maps.json", steps("CreateRoom_json", &maps(5_000))),
        ("bad_api_maps.json", steps("CreateRoom_json", &maps(8_192))),
        (
            "api_attributes.json",
            steps(
                "UpdateParticipant_json",
                &[
                    Append(200, b"\"a\":\"\",\"b\":\"\",\"c\":\"\","),
                    Around(b"{\"attributes\":{", b"\"d\":\"\"}}"),
                ],
            ),
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// The offers that cost most: as many sections as fit, each with what makes looking for it long.
fn offers() -> Seeds {
    use Step::{Around, Repeat};
    const HEAD: &str = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";
    let line = |line: &str, pt: u8| format!("a={}\r\n", line.replace('N', &pt.to_string()));
    let lines = |text: &str| (0..128).map(|pt| line(text, pt)).collect::<String>();
    let all: String = (0..128).map(|pt| format!(" {pt}")).collect();
    let repeated = " 96".repeat(256);
    let maps = lines("rtpmap:N H264/90000");
    let sections = [
        // One payload type again and again, whose map is the last one.
        (
            "payload_types",
            format!(
                "m=video 9 X{repeated}\r\n{}",
                lines("rtpmap:N rtx/90000").replace(":96 rtx", ":96 VP8")
            ),
        ),
        ("codecs", format!("m=video 9 X{all}\r\n{maps}")),
        (
            "parameters",
            format!(
                "m=video 9 X{all}\r\n{maps}{}",
                lines(&format!("fmtp:N {}", "a=b;".repeat(100)))
            ),
        ),
        (
            "feedback",
            format!(
                "m=video 9 X{all}\r\n{maps}{}{}",
                lines("rtcp-fb:N nack"),
                lines("rtcp-fb:N nack pli")
            ),
        ),
        (
            "ssrcs",
            format!(
                "m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\na=msid:s t\r\n{}{}",
                lines("ssrc:N cname:c"),
                format!("a=ssrc-group:FID{all}\r\n").repeat(64)
            ),
        ),
        (
            "extensions",
            format!(
                "m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\n{}",
                lines("extmap:N urn:ietf:params:rtp-hdrext:sdes:mid")
            ),
        ),
        ("empty", "m=video 9 X\r\n".to_owned()),
    ];
    let seed = |(name, section): (&str, String)| {
        let section = (section + "a=mid:#\r\n").into_bytes();
        let count = (1 << 19) / section.len();
        let made = steps(
            "offer",
            &[
                Around(&section, b""),
                Repeat(count.min(1024) as u16),
                Around(HEAD.as_bytes(), b""),
            ],
        );
        (format!("offer_{name}"), made)
    };
    sections.into_iter().map(seed).collect()
}
