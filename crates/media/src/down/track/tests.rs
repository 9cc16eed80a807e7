//! What a subscriber is written: payloads unwrapped, descriptors rewritten, pictures ended.

use super::*;
use crate::api::{RoomKey, ThreadId, TrackKey};
use crate::up::layer::Arrival;
use std::time::Instant;
use wire::codec::red;

/// Captured from a browser that sent AV1 in mode L3T3: a key picture, one frame per spatial layer
/// (the second one in two packets), and the base layer's next frame.
const AV1: [(&str, bool); 5] = [
    (
        "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d",
        false,
    ),
    ("86017340fc", false),
    ("46017340fc", false),
    ("c3017540fc", true),
    ("88017640fc", false),
];

/// A key frame of one layer without others: a structure of one template and one target.
const SINGLE_LAYER: &str = "c000018000e0";

fn hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
        .collect()
}

fn up() -> UpTrack {
    UpTrack::new(TrackKey::new(ThreadId(0), RoomKey(1), 1))
}

fn down(codecs: &[Codec], wish: LayerWish) -> DownTrack {
    let payloads: Vec<Payload> = codecs
        .iter()
        .map(|codec| Payload {
            codec: *codec,
            pt: 100 + *codec as u8,
            rtx_pt: None,
            nack: true,
        })
        .collect();
    let key = DownKey::new(ThreadId(0), RoomKey(1), 2);
    DownTrack::new(key, 0, Some(0), codecs[0].kind(), &payloads, wish, 1000)
}

/// What is written for one packet: (codec, sequence, marker, payload, dependency descriptor).
type Written = (Codec, u64, bool, Vec<u8>, Vec<u8>);

fn pass(track: &mut UpTrack, down: &mut DownTrack, layer: u8, arrival: &Arrival<'_>) -> Option<Written> {
    let now: Instant = crate::testing::epoch();
    let (_, frame) = track.layer_or_new(layer, arrival.codec)?.accept(now, arrival);
    track.alive |= 1 << layer;
    track.spatial_top = track.spatial_top.max(frame.spatial);
    let packet = track.layer(layer)?.get(arrival.sequence)?;
    let run = down.offer(track, layer, &packet)?;
    let mut scratch = Scratch::default();
    let write = down.write(&packet, &run, track, &mut scratch)?;
    Some((
        write.codec,
        write.sequence,
        write.marker,
        [write.prefix, write.payload].concat(),
        write.dependency_descriptor.to_vec(),
    ))
}

fn arrival<'a>(
    codec: Codec,
    sequence: u64,
    payload: &'a [u8],
    dependency_descriptor: &'a [u8],
) -> Arrival<'a> {
    Arrival {
        sequence,
        timestamp: 3000,
        marker: false,
        codec,
        payload,
        dependency_descriptor,
        abs_capture_time: &[],
    }
}

#[test]
fn redundant_audio_is_unpacked_for_those_who_do_not_read_it() {
    let mut payload = [0; 100];
    let len = red::write(&mut payload, 111, &[(960, b"before")], b"primary").expect("fits");
    let red = arrival(Codec::Red, 1, &payload[..len], &[]);
    let mut plain = down(&[Codec::Opus], LayerWish::BEST);
    let written = pass(&mut up(), &mut plain, 0, &red).expect("forwarded");
    assert_eq!((written.0, written.3), (Codec::Opus, b"primary".to_vec()));
    let mut both = down(&[Codec::Red, Codec::Opus], LayerWish::BEST);
    let written = pass(&mut up(), &mut both, 0, &red).expect("forwarded");
    assert_eq!((written.0, written.3), (Codec::Red, payload[..len].to_vec()));
}

/// Captured from a browser that sent VP8 simulcast with the descriptor: one layer's key frame, and
/// one frame each of the temporal layers 2, 1, 2 and 0. The payload descriptor is a single byte, and
/// frame numbers are shared with the other layer.
const VP8_WITH_DEPENDENCY: [(&str, &str); 5] = [
    (
        "101035009d012a800268010000",
        "c000058002044eaaaf2860414d34538a0940409fc059c0",
    ),
    ("303110000d1c240c", "c500071220"),
    ("10911200271c240c", "c300091260"),
    ("30310c000d1c240c", "c5000b1220"),
    ("10d11000e4d0c89b", "c2000d12e0"),
];

#[test]
fn vp8_without_layers_of_its_own_is_thinned_out_by_its_dependency_descriptor() {
    for (temporal, wanted) in [(0, &[0, 4][..]), (1, &[0, 2, 4]), (3, &[0, 1, 2, 3, 4])] {
        let wish = LayerWish {
            temporal,
            ..LayerWish::BEST
        };
        let (mut track, mut copy) = (up(), down(&[Codec::Vp8], wish));
        let mut sent = Vec::new();
        for (index, (payload, dependency)) in VP8_WITH_DEPENDENCY.into_iter().enumerate() {
            let (payload, dependency) = (hex(payload), hex(dependency));
            let packet = Arrival {
                marker: true,
                timestamp: 3000 * (index as u32 + 1),
                ..arrival(Codec::Vp8, index as u64 + 1, &payload, &dependency)
            };
            if let Some(written) = pass(&mut track, &mut copy, 0, &packet) {
                assert_eq!(written.1, 1000 + sent.len() as u64, "no hole of our making");
                assert_eq!(written.3, payload);
                sent.push(index);
            }
        }
        assert_eq!(sent, wanted, "up to temporal layer {temporal}");
    }
}

#[test]
fn capture_times_stay_on_the_publishers_clock() {
    // Sender reports tell subscribers that very clock (RFC 3550 §6.4.1), so nothing is to be rewritten.
    let captured = [0xE9, 0x5D, 0x7A, 0x10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0];
    let (mut track, mut copy) = (up(), down(&[Codec::Opus], LayerWish::BEST));
    let first = Arrival {
        abs_capture_time: &captured,
        ..arrival(Codec::Opus, 1, b"sound", &[])
    };
    assert!(pass(&mut track, &mut copy, 0, &first).is_some());
    let packet = track.layer(0).and_then(|layer| layer.get(1)).expect("stored");
    let (run, _) = copy.find_sent(1000).expect("sent");
    let mut scratch = Scratch::default();
    let write = copy.write(&packet, &run, &track, &mut scratch).expect("written");
    assert_eq!(write.abs_capture_time, captured);
}

#[test]
fn packet_trailers_are_cut_from_last_packets_where_the_client_does_not_know_them() {
    let frame = hex("9080b2341002009d012a");
    let trailed = [&frame[..], &[1, 2, 0xFF ^ 7], b"LKTS"].concat();
    let mut cuts = down(&[Codec::Vp8], LayerWish::BEST);
    cuts.options = Some(Box::new(DownOptions {
        strip_packet_trailer: true,
        ..DownOptions::default()
    }));
    let mut keeps = down(&[Codec::Vp8], LayerWish::BEST);
    for (marker, payload) in [(true, &frame), (false, &trailed)] {
        let last = Arrival {
            marker,
            ..arrival(Codec::Vp8, 1, &trailed, &[])
        };
        let written = pass(&mut up(), &mut cuts, 0, &last).expect("forwarded");
        assert_eq!(written.3.len(), payload.len(), "marker: {marker}");
        let written = pass(&mut up(), &mut keeps, 0, &last).expect("forwarded");
        assert_eq!(written.3.len(), trailed.len());
        cuts.pause();
        keeps.pause();
    }
}

#[test]
fn a_codec_that_was_not_negotiated_is_not_sent() {
    let mut copy = down(&[Codec::Vp8], LayerWish::BEST);
    assert_eq!(
        pass(
            &mut up(),
            &mut copy,
            0,
            &arrival(Codec::H264, 1, &[0x67, 1, 2], &[])
        ),
        None
    );
}

fn av1(wish: LayerWish) -> Vec<Option<Written>> {
    let (mut track, mut copy) = (up(), down(&[Codec::Av1], wish));
    let packets = AV1.iter().enumerate().map(|(i, (raw, next))| {
        let raw = hex(raw);
        let mut packet = arrival(Codec::Av1, i as u64, b"av1", &raw);
        packet.timestamp += u32::from(*next) * 3000;
        pass(&mut track, &mut copy, 0, &packet)
    });
    packets.collect()
}

#[test]
fn lower_spatial_layers_of_av1_get_their_targets_and_end_their_pictures() {
    let wish = LayerWish {
        spatial: 1,
        ..LayerWish::BEST
    };
    let written = av1(wish);
    let structure = Descriptor::parse(&hex(AV1[0].0), None)
        .expect("whole")
        .structure
        .expect("attached");
    let mask = structure.mask_within(1, 3);
    assert_ne!(mask, structure.all_targets());
    let sequences: Vec<u64> = written.iter().flatten().map(|written| written.1).collect();
    let first = sequences[0];
    assert!(sequences.iter().enumerate().all(|(i, s)| *s == first + i as u64));
    for (i, written) in written.iter().enumerate() {
        let raw = hex(AV1[i].0);
        let frame = Descriptor::parse(&raw, Some(&structure)).expect("whole");
        let Some((_, _, marker, _, descriptor)) = written else {
            assert!(frame.spatial > 1, "packet {i} is missing");
            continue;
        };
        assert!(frame.spatial <= 1, "packet {i} is too high");
        assert_eq!(*marker, frame.spatial == 1 && frame.mandatory.last_packet);
        let out = Descriptor::parse(descriptor, Some(&structure)).expect("still whole");
        assert_eq!(out.mandatory, frame.mandatory);
        assert_eq!(out.indications, frame.indications);
        if frame.mandatory.first_packet {
            assert_eq!(out.active_decode_targets, Some(mask));
        }
    }
}

#[test]
fn all_layers_of_av1_pass_as_they_are() {
    let written = av1(LayerWish::BEST);
    assert!(written.iter().all(Option::is_some));
    for (written, (raw, _)) in written.into_iter().flatten().zip(AV1).skip(1) {
        assert_eq!(written.4, hex(raw));
    }
}

#[test]
fn frame_numbers_go_on_across_simulcast_streams() {
    let (mut track, mut copy) = (up(), down(&[Codec::Vp8], LayerWish::BEST));
    // A VP8 descriptor without extensions that starts a frame, then a key frame's payload header.
    let key = [0x10, 0x00, 0x00, 0x00];
    let delta = [0x10, 0x01, 0x00, 0x00];
    let number = |number: u16| [0xC0, (number >> 8) as u8, number as u8];
    let mut numbers = Vec::new();
    for (layer, sequence, payload, n) in [
        (0, 1, &key, 100u16),
        (0, 2, &delta, 101),
        (1, 77, &key, 9000),
        (1, 78, &delta, 9001),
    ] {
        let raw = number(n);
        let mut packet = arrival(Codec::Vp8, sequence, payload, &raw);
        packet.timestamp = n.into();
        let written = pass(&mut track, &mut copy, layer, &packet).expect("forwarded");
        numbers.push(u16::from_be_bytes([written.4[1], written.4[2]]));
    }
    assert_eq!(numbers, [100, 101, 102, 103]);
}

#[test]
fn redundant_payloads_keep_to_their_limit() {
    let mut copy = down(&[Codec::Red, Codec::Opus], LayerWish::BEST);
    let payloads = [Codec::Red, Codec::Opus].map(|codec| Payload {
        codec,
        pt: if codec == Codec::Opus { 111 } else { 63 },
        rtx_pt: None,
        nack: false,
    });
    copy.make_red(&payloads);
    let mut track = up();
    let lengths = [400, 400, 400, 100, 1000, 1023, 1024, 20];
    let written: Vec<_> = (1..)
        .zip(lengths)
        .map(|(sequence, len)| {
            let data = vec![sequence as u8; len];
            let mut packet = arrival(Codec::Opus, sequence, &data, &[]);
            packet.timestamp = sequence as u32 * 960;
            let written = pass(&mut track, &mut copy, 0, &packet).expect("forwarded");
            let blocks = Red::parse(&written.3).map_or(0, |red| red.redundant().count());
            (written.0, written.3.len(), blocks)
        })
        .collect();
    let expected = [
        (Codec::Red, 401, 0),
        (Codec::Red, 805, 1),
        (Codec::Red, 805, 1),
        (Codec::Red, 909, 2),
        (Codec::Red, 1001, 0),
        (Codec::Red, 1024, 0),
        (Codec::Opus, 1024, 0),
        (Codec::Red, 21, 0),
    ];
    // A plain packet says nothing of blocks.
    for (got, expected) in written.iter().zip(expected) {
        assert_eq!((got.0, got.1), (expected.0, expected.1));
        assert!(got.0 == Codec::Opus || got.2 == expected.2, "{got:?}");
    }
}

#[test]
fn a_packet_sent_again_keeps_the_mask_of_its_own_structure() {
    let two_layers = LayerWish {
        spatial: 1,
        ..LayerWish::BEST
    };
    let (mut track, mut down) = (up(), down(&[Codec::Av1], two_layers));
    let (key, single) = (hex(AV1[0].0), hex(SINGLE_LAYER));
    let first = pass(&mut track, &mut down, 0, &arrival(Codec::Av1, 1, &[0x10], &key)).expect("forwarded");
    assert_ne!(first.4, key, "it got a mask");
    pass(
        &mut track,
        &mut down,
        0,
        &arrival(Codec::Av1, 2, &[0x10], &single),
    );
    let (run, sequence) = down.find_sent(first.1 as u16).expect("remembered");
    let packet = track
        .layer(0)
        .and_then(|layer| layer.get(sequence))
        .expect("stored");
    let mut scratch = Scratch::default();
    let again = down.write(&packet, &run, &track, &mut scratch).expect("written");
    assert_eq!(again.dependency_descriptor, first.4);
}
