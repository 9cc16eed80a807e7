//! Makes the committed corpus: small inputs of every shape that a reader knows, written by the
//! writers of `wire` or by hand. Files of the corpus that are not made here were kept from failures.

mod decoded;
mod forward;
mod hostile;
mod join_request;
mod room;
mod text;

use crate::mutate::Rng;
use crate::run::corpus_folder;
use crate::targets::{IDS, TARGETS, join, record_checks};
use wire::codec::{PictureId, red, vp8};
use wire::dcep::{Open, Reliability};
use wire::dependency_descriptor::{Descriptor, rewrite};
use wire::rtcp::{DlrrReport, ReportBlock, TransportCcHead, Writer};
use wire::{dcep, ext};

/// The made corpus of one target: file names and bytes.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// The made corpus of a target.
#[must_use]
pub fn seeds(target: &str) -> Seeds {
    match target {
        "rtp" => rtp(),
        "stun" => stun(),
        "dcep" => open_channels(),
        "rtcp" => rtcp(),
        "transport_cc" => transport_cc(),
        "vp8" => vp8(),
        "vp9" => vp9(),
        "h264" => h264(),
        "h265" => h265(),
        "av1" => av1(),
        "opus" => opus(),
        "red" => redundant(),
        "dependency_descriptor" => dependency_descriptor(),
        "sdp" => text::sdp(),
        "candidate" => text::candidate(),
        "signal" => room::signal(),
        "join_request" => join_request::join_request(),
        "decoded" => decoded::decoded(),
        "room" => room::room(),
        "peer" => peer(),
        "peer_connected" => [peer(), messages()].concat(),
        "peer_media" => peer_media(),
        "hostile_sctp" => hostile::sctp(),
        "hostile_rtcp" => hostile::rtcp(),
        "forward" => forward::forward(),
        _ => Vec::new(),
    }
}

/// Writes all of it into the corpus folders. What else is there stays.
///
/// # Errors
/// When a file cannot be written.
pub fn write_corpus() -> std::io::Result<()> {
    for target in TARGETS {
        let folder = corpus_folder(target);
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds(target.name) {
            std::fs::write(folder.join(name), bytes)?;
        }
        // A handshake is different each time it is recorded: one is enough.
        let recorded = folder.join("recorded");
        if target.name == "peer" && !recorded.exists() {
            std::fs::write(recorded, record_checks())?;
        }
    }
    Ok(())
}

fn named<const N: usize>(seeds: [(&str, &[u8]); N]) -> Seeds {
    seeds
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
        .collect()
}

/// A packet of version 2 with an extension, when `elements` has any.
fn rtp_packet(flags: u8, second: u8, elements: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut block = [0; 1200];
    let len = ext::write(&mut block, elements).expect("small elements");
    let extension = u8::from(len > 0) << 4;
    let mut packet = vec![0x80 | flags | extension, second, 0x12, 0x34, 0, 1, 0x5F, 0x90];
    packet.extend([0xCA, 0xFE, 0xBA, 0xBE]);
    packet.extend(&block[..len]);
    packet.extend(payload);
    packet
}

fn rtp() -> Seeds {
    let audio: [(u8, &[u8]); 3] = [
        (IDS.mid, b"0"),
        (IDS.audio_level, &[0x8A]),
        (IDS.transport_cc, &[0x01, 0x02]),
    ];
    let video: [(u8, &[u8]); 6] = [
        (IDS.mid, b"1"),
        (IDS.rid, b"h"),
        (IDS.abs_send_time, &[1, 2, 3]),
        (IDS.transport_cc, &[0xFF, 0xFF]),
        (IDS.abs_capture_time, &[9; 8]),
        (IDS.dependency_descriptor, &[0x86, 1, 0x73, 0x40, 0xFC]),
    ];
    let long: [(u8, &[u8]); 3] = [
        (IDS.repaired_rid, b"f"),
        (IDS.dependency_descriptor, &[0xC1; 95]),
        (IDS.abs_capture_time, &[9; 16]),
    ];
    let sources = [&[0, 0, 0, 1, 0, 0, 0, 2], &[7u8; 30][..]].concat();
    [
        ("audio", rtp_packet(0, 0x80 | 111, &audio, &[0xF8, 0xFF, 0xFE])),
        (
            "video",
            rtp_packet(0, 0x80 | 96, &video, &[0x90, 0xE0, 0x80, 5, 1, 0x20, 0, 0]),
        ),
        ("two_byte", rtp_packet(0, 45, &long, &[0; 40])),
        ("padding", rtp_packet(0x20, 97, &audio[..1], &[0, 0, 0, 4])),
        ("only_padding", rtp_packet(0x20, 97, &[], &[0, 0, 3])),
        ("sources", rtp_packet(0x02, 0, &[], &sources)),
        ("plain", rtp_packet(0, 8, &[], &[0xD5; 160])),
        ("empty", rtp_packet(0, 0, &[], &[])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn stun_message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (attribute, value) in attributes {
        body.extend(attribute.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((body.len() as u16).to_be_bytes());
    message.extend([0x21, 0x12, 0xA4, 0x42]);
    message.extend(*b"transaction!");
    message.extend(body);
    message
}

fn stun() -> Seeds {
    let check: [(u16, &[u8]); 6] = [
        (0x0006, b"00abcdef:wxyz"),
        (0xC057, &[0, 1, 0, 10]),
        (0x802A, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (0x0024, &[0x6E, 0, 0x1E, 0xFF]),
        (0x0008, &[0x9A; 20]),
        (0x8028, &[1, 2, 3, 4]),
    ];
    let odd: [(u16, &[u8]); 3] = [(0x8022, b"plenum"), (0x0020, &[0; 8]), (0x0006, b"a:b:c")];
    [
        ("check", stun_message(0x0001, &check)),
        ("response", stun_message(0x0101, &odd[1..2])),
        (
            "error",
            stun_message(0x0111, &[(0x0009, b"\0\0\x04\x57conflict")]),
        ),
        ("indication", stun_message(0x0011, &check[5..])),
        ("odd_names", stun_message(0x0001, &odd)),
        ("bare", stun_message(0x0001, &[])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn open_channels() -> Seeds {
    let open = |ordered, reliability, label, protocol| {
        let open = Open {
            ordered,
            reliability,
            priority: 256,
            label,
            protocol,
        };
        let mut out = vec![0; open.len()];
        let _ = open.write(&mut out);
        out
    };
    [
        ("reliable", open(true, Reliability::Reliable, "_reliable", "")),
        ("lossy", open(false, Reliability::Retransmits(0), "_lossy", "")),
        (
            "timed",
            open(false, Reliability::LifetimeMs(500), "übung", "chat.v1"),
        ),
        ("ack", dcep::ACK.to_vec()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn rtcp_packet(write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
    let mut buffer = [0; 1400];
    let mut out = Writer::new(&mut buffer);
    assert!(write(&mut out), "fits");
    out.bytes().to_vec()
}

fn rtcp() -> Seeds {
    let block = ReportBlock {
        ssrc: 0xCAFE_BABE,
        fraction_lost: 12,
        cumulative_lost: -3,
        highest_sequence: 0x0001_FFFF,
        jitter: 77,
        last_sr: 0x1234_5678,
        delay_since_sr: 0x0001_0000,
    };
    let dlrr = DlrrReport {
        ssrc: 9,
        last_rr: 8,
        delay: 7,
    };
    let head = TransportCcHead {
        sender: 1,
        media: 2,
        base_sequence: 65_530,
        feedback_count: 3,
    };
    let arrivals: Vec<Option<u64>> = (0..40u64)
        .map(|n| (n % 5 != 3).then_some(1_000_000 + n * n * 3))
        .collect();
    [
        (
            "sr_sdes",
            rtcp_packet(|out| {
                out.sr(1, 0xE000_0000_8000_0000, 90_000, 10, 9_000, &[block])
                    && out.sdes_items(1, &[(1, b"PA_x|TR_y"), (15, b"0")])
            }),
        ),
        ("rr", rtcp_packet(|out| out.rr(1, &[block; 3]))),
        (
            "nack",
            rtcp_packet(|out| out.nack(1, 2, &[65_534, 65_535, 0, 3, 40])),
        ),
        ("pli", rtcp_packet(|out| out.pli(1, 2))),
        ("fir", rtcp_packet(|out| out.fir(1, 2, 3))),
        ("remb", rtcp_packet(|out| out.remb(1, 1_500_000, &[2, 3]))),
        (
            "transport_cc",
            rtcp_packet(|out| out.transport_cc(&head, &arrivals).is_some()),
        ),
        ("rrtr", rtcp_packet(|out| out.xr_rrtr(1, 0xE000_0000_0000_0001))),
        ("dlrr", rtcp_packet(|out| out.xr_dlrr(1, &[dlrr, dlrr]))),
        ("leaving", rtcp_packet(|out| out.rr(1, &[]) && out.bye(&[1, 2]))),
        (
            "unknown",
            vec![0x83, 204, 0, 3, 0, 0, 0, 1, b'n', b'a', b'm', b'e', 1, 2, 3, 4],
        ),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// See the target: room, count, then two bytes per packet.
fn transport_cc() -> Seeds {
    let stream = |name: &str, choose: &dyn Fn(u64) -> u16| -> (String, Vec<u8>) {
        let mut rng = Rng::new(1, name, 0);
        let mut bytes = vec![100, 7];
        for _ in 0..200 {
            bytes.extend(choose(rng.next()).to_be_bytes());
        }
        (name.to_owned(), bytes)
    };
    vec![
        stream("steady", &|n| ((n & 0x3F) as u16) << 2 | 1),
        stream("lossy", &|n| (n as u16 & 0x3FC) | u16::from(n >> 32 & 3 != 0)),
        stream("reordered", &|n| (n as u16 & 0xFFFC) | (1 + (n >> 32 & 1) as u16)),
        stream("gaps", &|n| {
            (n as u16 & 0xFFFC) | if n >> 32 & 15 == 0 { 3 } else { 1 }
        }),
        stream("runs", &|_| 0x0051),
    ]
}

fn vp8() -> Seeds {
    let payload = |descriptor: vp8::Descriptor, rest: &[u8]| {
        let mut bytes = vec![0; vp8::Descriptor::LEN_MAX];
        let len = descriptor.write(&mut bytes);
        bytes.truncate(len);
        bytes.extend(rest);
        bytes
    };
    let start = vp8::Descriptor {
        start_of_partition: true,
        picture_id: Some(PictureId {
            value: 0x1234,
            wide: true,
        }),
        ..vp8::Descriptor::default()
    };
    let layered = vp8::Descriptor {
        tl0_pic_idx: Some(255),
        temporal: Some(2),
        layer_sync: true,
        key_idx: Some(31),
        ..start
    };
    let narrow = vp8::Descriptor {
        non_reference: true,
        picture_id: Some(PictureId {
            value: 127,
            wide: false,
        }),
        ..start
    };
    [
        (
            "key",
            payload(start, &[0x10, 2, 0, 0x9D, 1, 0x2A, 0x40, 1, 0xB4, 0]),
        ),
        ("layered", payload(layered, &[0x11, 0, 0])),
        ("narrow", payload(narrow, &[0x01, 0])),
        ("plain", vec![0x10, 0x01, 0, 0]),
        ("continued", vec![0x03, 0xAA, 0xBB]),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

fn vp9() -> Seeds {
    named([
        (
            "key_with_structure",
            &[
                0xAE, 0x92, 0x34, 0, 0, 0x58, 0, 160, 0, 90, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0x14, 1, 0x58,
                1, 2, 0x82,
            ],
        ),
        ("flexible", &[0xF4, 0x11, 0x22, 0x03, 0x04, 0x86]),
        ("layered", &[0xA8, 0x92, 0x34, 0b0101_0011, 7, 0x86]),
        ("plain", &[0x8C, 0x05, 0x82]),
        ("inter", &[0xC8, 0x85, 0x01, 0x86]),
    ])
}

fn h264() -> Seeds {
    named([
        (
            "parameter_sets",
            &[
                0x78, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 0, 2, 0x68, 0xCE, 0, 2, 0x65, 0x88,
            ],
        ),
        ("fragment", &[0x7C, 0x85, 0x88, 0x84]),
        ("fragment_end", &[0x7C, 0x45, 0x88]),
        ("slice", &[0x61, 0xE0, 0x20]),
        ("multi_time", &[0x7A, 0, 1, 0, 5, 0, 0, 0, 0x67, 0x42]),
    ])
}

fn h265() -> Seeds {
    named([
        (
            "parameter_sets",
            &[
                0x60, 1, 0, 3, 0x40, 1, 0x0C, 0, 3, 0x42, 1, 1, 0, 3, 0x44, 1, 0xC1,
            ],
        ),
        ("fragment", &[0x62, 1, 0x93, 0xAF]),
        ("slice", &[0x02, 3, 0xD0]),
    ])
}

fn av1() -> Seeds {
    named([
        ("sequence", &[0x18, 0x08, 0, 0, 0]),
        ("lengths", &[0x00, 1, 0x10, 2, 0x08, 0, 3, 0x32, 0, 0]),
        ("two", &[0x20, 2, 0x0A, 0, 0x32, 1, 2]),
        ("continued", &[0xD0, 0x08, 1, 2]),
        (
            "wide_length",
            &[0x00, 0x81, 0x00, 0x10, 0x82, 0x80, 0x00, 0x08, 0],
        ),
    ])
}

fn opus() -> Seeds {
    named([
        ("speech", &[0x78, 1, 2, 3]),
        ("music", &[0xFC, 0xFF, 0xFE]),
        ("dtx", &[0x08]),
        ("many", &[0xFB, 0x86, 1, 2]),
        ("too_many", &[0x57, 0xFF, 0xFF]),
    ])
}

fn redundant() -> Seeds {
    let packet = |blocks: &[(u16, &[u8])], primary: &[u8]| {
        let mut out = [0; 512];
        let len = red::write(&mut out, 111, blocks, primary).expect("fits");
        out[..len].to_vec()
    };
    [
        ("primary", packet(&[], &[0xF8, 0xFF, 0xFE])),
        ("one", packet(&[(960, &[1; 40])], &[2; 50])),
        ("two", packet(&[(1920, &[1; 30]), (960, &[2; 40])], &[3; 50])),
        ("empty", packet(&[(0, &[]), (16_383, &[])], &[])),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .to_vec()
}

/// Captured from a browser that sent AV1 in mode L3T3: a structure, then frames of that stream.
const STRUCTURE: &[u8] = &[
    0xc1, 0x01, 0x72, 0x80, 0x08, 0x14, 0x85, 0x21, 0x4e, 0xaf, 0xff, 0xaa, 0xaa, 0x86, 0x3c, 0xf0, 0x43,
    0x0c, 0x10, 0xc3, 0x02, 0xaf, 0xc0, 0xaa, 0xa0, 0x06, 0x3c, 0x00, 0x43, 0x00, 0x10, 0xc0, 0x02, 0xa0,
    0x00, 0xa8, 0x00, 0x06, 0x00, 0x00, 0x40, 0x00, 0x1d, 0x95, 0x49, 0x26, 0xe0, 0x82, 0xb0, 0x4a, 0x09,
    0x41, 0xb8, 0x20, 0xac, 0x12, 0x82, 0x50, 0x31, 0x57, 0xf9, 0x74, 0x00, 0x0c, 0xa8, 0x64, 0x33, 0x0e,
    0x22, 0x22, 0x22, 0xec, 0xa8, 0x65, 0x53, 0x04, 0x22, 0x42, 0x30, 0xec, 0xa8, 0x77, 0x53, 0x00, 0x77,
    0x00, 0x42, 0x00, 0xef, 0x00, 0x86, 0x01, 0xdf, 0x01, 0x0d,
];

fn dependency_descriptor() -> Seeds {
    let frames: [&[u8]; 5] = [
        &[0x86, 0x01, 0x73, 0x40, 0xfc],
        &[0xc3, 0x01, 0x75, 0x40, 0xfc],
        &[0x88, 0x01, 0x76],
        // Custom references of 1, 200 and 3000 frames.
        &[0xc3, 0x01, 0x77, 0x10, 0x20, 0xC7, 0xD7, 0x6E],
        // Custom indications and chains.
        &[0xc2, 0x01, 0x78, 0x28, 0xFF, 0xFF, 0xFF, 0xAA, 0xBB, 0xCC, 0xDD],
    ];
    let mut masked = vec![0; 128];
    let parsed = Descriptor::parse(STRUCTURE, None).expect("captured whole");
    let len = rewrite(STRUCTURE, &parsed, 3, Some(0x3F), &mut masked).expect("fits");
    masked.truncate(len);
    let mut stream = vec![STRUCTURE];
    stream.extend(frames);
    vec![
        ("stream".to_owned(), join(&stream)),
        ("structure".to_owned(), join(&[STRUCTURE])),
        ("masked".to_owned(), join(&[&masked[..], frames[0]])),
        ("orphan".to_owned(), join(&frames[..2])),
        ("small".to_owned(), join(&small_structure())),
    ]
}

/// Two temporal layers, one chain, no sizes: written field by field.
fn small_structure() -> [Vec<u8>; 2] {
    let fields: [(u32, u32); 27] = [
        (2, 0b11),
        (6, 0),
        (16, 1),
        (5, 0b10000),
        (6, 0),
        (5, 1),
        // Templates: temporal layers 0, 0, 1.
        (2, 0),
        (2, 1),
        (2, 3),
        // Indications of two targets each.
        (2, 2),
        (2, 2),
        (2, 3),
        (2, 2),
        (2, 0),
        (2, 1),
        // References: none, one of 2, one of 1.
        (1, 0),
        (1, 1),
        (4, 1),
        (1, 0),
        (1, 1),
        (4, 0),
        (1, 0),
        // One chain of two possible, for both targets.
        (2, 0b01),
        (4, 0),
        (4, 2),
        (4, 1),
        (1, 0),
    ];
    let mut bits = Vec::new();
    for (count, value) in fields {
        bits.extend((0..count).rev().map(|at| (value >> at) as u8 & 1));
    }
    let bytes = bits
        .chunks(8)
        .map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |sum, (at, bit)| sum | bit << (7 - at))
        })
        .collect();
    [bytes, vec![0xC2, 0, 2]]
}

/// See the target: each chunk is an operation and its bytes.
fn peer() -> Seeds {
    let with = |operation: u8, bytes: &[u8]| [&[operation], bytes].concat();
    let checks: Vec<_> = stun().iter().map(|(_, bytes)| with(0, bytes)).collect();
    let hello = [
        22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, 1, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 28, 254, 253,
    ];
    let media = [rtp(), rtcp()].concat();
    let media: Vec<_> = media.iter().map(|(_, bytes)| with(0, bytes)).collect();
    let steps = [
        with(2, &[]),
        with(3, &[]),
        with(1, &stun()[0].1),
        with(4, &[20]),
        with(0, &hello),
        with(5, b"a message"),
        with(6, &[]),
        with(4, &[200]),
        with(7, &[]),
    ];
    vec![
        ("checks".to_owned(), join(&checks)),
        ("media".to_owned(), join(&media)),
        ("steps".to_owned(), join(&steps)),
    ]
}

/// Messages that arrive whole, some that arrive changed, and timers between them.
fn messages() -> Seeds {
    let with = |operation: u8, bytes: &[u8]| [&[operation], bytes].concat();
    let long = with(12, &[0x5A; 3000]);
    let changed: Vec<_> = (0..12u8)
        .flat_map(|at| [with(8 + at % 4, &[at, 40 + at, 200 - at]), with(4, &[30])])
        .collect();
    let whole = [
        with(12, b"hello"),
        long,
        with(5, &[0; 100]),
        with(4, &[255]),
        with(12, &[]),
    ];
    vec![
        ("changed_messages".to_owned(), join(&changed)),
        ("whole_messages".to_owned(), join(&whole)),
    ]
}

/// See the target: each chunk is an operation and its bytes.
fn peer_media() -> Seeds {
    let with = |operation: u8, bytes: &[u8]| [&[operation], bytes].concat();
    let numbered = |mut packet: Vec<u8>, sequence: u16| {
        packet[2..4].copy_from_slice(&sequence.to_be_bytes());
        with(0, &packet)
    };
    let layer = |rid: &[u8], ssrc: u8, sequence: u16| {
        let elements: [(u8, &[u8]); 3] = [
            (IDS.mid, b"1"),
            (IDS.rid, rid),
            (IDS.transport_cc, &sequence.to_be_bytes()),
        ];
        let mut packet = rtp_packet(0, 0x80 | 96, &elements, &vp8()[0].1);
        packet[11] = ssrc;
        numbered(packet, sequence)
    };
    let mut simulcast = Vec::new();
    for sequence in [1, 2, 5, 4, 65_535, 0, 300] {
        for (rid, ssrc) in [(b"q", 1), (b"h", 2), (b"f", 3)] {
            simulcast.push(layer(rid, ssrc, sequence));
        }
        simulcast.push(with(6, &[50]));
    }
    let audio: Vec<_> = [10, 11, 14, 12, 60_000]
        .into_iter()
        .map(|sequence| numbered(rtp()[0].1.clone(), sequence))
        .chain([with(6, &[255])])
        .collect();
    let mut sending: Vec<_> = (0..10u8).map(|at| with(7, &[at, 0, 90, at, 1, 2, 3])).collect();
    // About the streams that are sent, 10 and 12.
    sending.push(with(
        4,
        &rtcp_packet(|out| out.nack(1, 10, &[100, 102, 108]) && out.pli(1, 10)),
    ));
    sending.push(with(
        4,
        &rtcp_packet(|out| out.fir(1, 12, 1) && out.remb(1, 300_000, &[10])),
    ));
    sending.push(with(6, &[20]));
    let rtx = {
        let elements: [(u8, &[u8]); 2] = [(IDS.mid, b"1"), (IDS.repaired_rid, b"q")];
        let mut packet = rtp_packet(0, 97, &elements, &[0, 3, 0x90, 0x80, 1, 0]);
        packet[11] = 9;
        packet
    };
    let control: Vec<_> = rtcp().iter().map(|(_, bytes)| with(4, bytes)).collect();
    vec![
        ("simulcast".to_owned(), join(&simulcast)),
        (
            "repaired".to_owned(),
            join(&[layer(b"q", 1, 1), layer(b"q", 1, 5), numbered(rtx, 7)]),
        ),
        ("audio".to_owned(), join(&audio)),
        ("sending".to_owned(), join(&sending)),
        ("control".to_owned(), join(&control)),
    ]
}
