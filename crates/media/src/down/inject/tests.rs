//! What injected packets hold.

use super::*;
use wire::codec::h264;
use wire::codec::red::Red;

fn blank(codec: Codec, vp8: BlankVp8, trailer: &[u8]) -> Vec<u8> {
    let payload = BlankPayload {
        codec,
        block_type: Some(111),
        frame: frame_of(codec).expect("it has one"),
        trailer,
    };
    assert!(payload.can_be_put());
    let mut out = [0; PAYLOAD_MAX];
    let len = payload.put(vp8, &mut out);
    out[..len].to_vec()
}

#[test]
fn a_blank_vp8_frame_has_the_numbers_that_the_stream_has() {
    let vp8 = BlankVp8 {
        picture: Some((0x1234, true)),
        tl0: Some(7),
        keyidx: None,
    };
    let payload = blank(Codec::Vp8, vp8, &[]);
    let found = vp8::Descriptor::parse(&payload).expect("whole");
    assert!(found.key_frame && found.start_of_partition);
    assert_eq!(
        found.picture_id.map(|id| (id.value, id.wide)),
        Some((0x1234, true))
    );
    assert_eq!(
        (found.tl0_pic_idx, found.temporal, found.key_idx),
        (Some(7), Some(0), None)
    );
    assert_eq!(payload[usize::from(found.len)..], VP8_BLANK);
    let bare = blank(Codec::Vp8, BlankVp8::default(), &[]);
    assert_eq!(bare[0], 0x10, "a stream without numbers gets none");
    assert_eq!(bare[1..], VP8_BLANK);
}

#[test]
fn a_blank_h264_frame_is_an_aggregate_that_begins_a_sequence() {
    let payload = blank(Codec::H264, BlankVp8::default(), &[]);
    let mut rest = &payload[1..];
    let mut types = Vec::new();
    while let Some((&[high, low], after)) = rest.split_first_chunk::<2>() {
        let (unit, after) = after.split_at(usize::from(u16::from_be_bytes([high, low])));
        types.push(unit[0] & 0x1F);
        rest = after;
    }
    assert_eq!(types, [7, 8, 5], "parameters and a picture");
    assert!(h264::NalUnits::parse(&payload).key_frame());
}

#[test]
fn the_trailer_stands_at_the_end() {
    for codec in [
        Codec::Opus,
        Codec::Red,
        Codec::Pcmu,
        Codec::Pcma,
        Codec::Vp8,
        Codec::H264,
    ] {
        let plain = blank(codec, BlankVp8::default(), &[]);
        let marked = blank(codec, BlankVp8::default(), b"mark");
        assert_eq!(marked, [&plain[..], b"mark"].concat());
    }
}

#[test]
fn silence_is_what_the_decoder_of_each_codec_makes_nothing_of() {
    let sound = |codec| blank(codec, BlankVp8::default(), &[]);
    assert_eq!(sound(Codec::Opus), OPUS_SILENCE);
    // 20 ms at 8 kHz; zero is all ones in µ-law, and 0x55 inverts every other bit of A-law (G.711).
    assert_eq!(sound(Codec::Pcmu), [0xFF; 160]);
    assert_eq!(sound(Codec::Pcma), [0x80 ^ 0x55; 160]);
    let red = sound(Codec::Red);
    let parsed = Red::parse(&red).expect("whole");
    assert_eq!(parsed.redundant().count(), 0);
    assert_eq!(parsed.primary().payload_type, 111);
    assert_eq!(red[parsed.primary().range.clone()], OPUS_SILENCE);
}

#[test]
fn what_cannot_be_written_is_known_before_a_number_is_taken() {
    let (unknown_block, long) = (None, [0; PAYLOAD_MAX]);
    let payload = |codec, block_type, trailer| BlankPayload {
        codec,
        block_type,
        frame: frame_of(codec).expect("it has one"),
        trailer,
    };
    assert!(!payload(Codec::Red, unknown_block, &[]).can_be_put());
    assert!(!payload(Codec::Opus, unknown_block, &long).can_be_put());
    assert!(payload(Codec::Opus, unknown_block, &long[..400]).can_be_put());
}

#[test]
fn codecs_without_a_small_frame_have_none() {
    for codec in [Codec::Vp9, Codec::Av1, Codec::H265] {
        assert!(!has_blank(codec));
    }
}
