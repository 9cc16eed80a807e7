//! Which dependency structure holds when packets come out of order.

use super::*;

/// Captured from a browser that sent AV1 in mode L3T3: a key frame's first packet with the
/// structure, and a frame of spatial layer 1 of the same picture, with a mask of two spatial layers.
const KEY: &str = "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d";
const FOLLOWER: &str = "c6017340fc";
const TWO_LAYERS: u32 = 0b11_1111;
const ALL_LAYERS: u32 = 0x1FF;

fn hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
        .collect()
}

/// A descriptor of a stream whose templates begin at another id, as a publisher's do when its
/// encoder begins anew.
fn from_template(text: &str, offset: u8) -> Vec<u8> {
    let mut bytes = hex(text);
    bytes[0] += offset;
    if bytes[3] & 0x80 != 0 {
        // The six bits behind the five flags.
        bytes[3] |= offset >> 3;
        bytes[4] |= offset << 5;
    }
    bytes
}

fn layer() -> Layer {
    Layer::new(Kind::Video, Codec::Av1)
}

fn take(layer: &mut Layer, sequence: u64, dependency_descriptor: &[u8]) -> Frame {
    let arrival = Arrival {
        sequence,
        timestamp: sequence as u32 * 3000,
        marker: false,
        codec: Codec::Av1,
        payload: &[0x10],
        dependency_descriptor,
        abs_capture_time: &[],
    };
    layer.accept(crate::testing::epoch(), &arrival).1
}

fn present(frame: Frame) -> u32 {
    frame.dependency.expect("it has a descriptor").present
}

#[test]
fn a_key_frame_that_comes_late_does_not_bring_its_structure_back() {
    let mut layer = layer();
    take(&mut layer, 10, &from_template(KEY, 20));
    take(&mut layer, 11, &from_template(FOLLOWER, 20));
    let late = take(&mut layer, 1, &hex(KEY));
    assert!(late.key && late.start, "it is read by the structure that it has");
    assert_eq!(layer.targets.active, TWO_LAYERS);
    let next = take(&mut layer, 12, &from_template(FOLLOWER, 20));
    assert_eq!((next.spatial, present(next)), (1, 0b11_1000 | 0b1_1100_0000));
}

#[test]
fn the_latest_structure_counts_even_when_its_packet_was_sent_again() {
    let mut layer = layer();
    take(&mut layer, 1, &hex(KEY));
    let unknown = take(&mut layer, 11, &from_template(FOLLOWER, 20));
    assert_eq!(present(unknown), u32::MAX);
    take(&mut layer, 10, &from_template(KEY, 20));
    assert_eq!(layer.targets.active, ALL_LAYERS);
    let known = take(&mut layer, 12, &from_template(FOLLOWER, 20));
    assert_ne!(present(known), u32::MAX);
    assert_eq!((known.spatial, layer.targets.active), (1, TWO_LAYERS));
}

#[test]
fn a_mask_outlives_the_structure_that_was_sent_before_it_and_came_later() {
    let mut layer = layer();
    take(&mut layer, 1, &hex(KEY));
    take(&mut layer, 11, &hex(FOLLOWER));
    take(&mut layer, 10, &hex(KEY));
    assert_eq!(layer.targets.active, TWO_LAYERS);
    take(&mut layer, 20, &hex(KEY));
    assert_eq!(layer.targets.active, ALL_LAYERS);
}

#[test]
fn structures_take_turns_in_the_same_memory() {
    let mut layer = layer();
    let places = |layer: &Layer| {
        let place = |structure: &Option<Box<Structure>>| structure.as_deref().map(std::ptr::from_ref);
        [place(&layer.structure), place(&layer.spare)]
    };
    take(&mut layer, 1, &hex(KEY));
    take(&mut layer, 2, &from_template(KEY, 20));
    let [first, second] = places(&layer);
    assert!(first.is_some() && second.is_some());
    for sequence in 3..50 {
        let offset = (sequence % 2) as u8 * 20;
        take(&mut layer, sequence, &from_template(KEY, offset));
        assert!([[first, second], [second, first]].contains(&places(&layer)));
        // Late ones, too.
        take(&mut layer, 1, &hex(KEY));
        assert!([[first, second], [second, first]].contains(&places(&layer)));
    }
}
