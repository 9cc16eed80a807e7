//! Payload descriptors and the dependency descriptor.

use super::chunks;
use wire::codec::{av1, h264, h265, opus, red, vp8, vp9};
use wire::dependency_descriptor::{Descriptor, Structure, rewrite};

/// VP8 is also written.
pub(crate) fn vp8(data: &[u8]) {
    let Some(found) = vp8::Descriptor::parse(data) else {
        return;
    };
    let len = usize::from(found.len);
    let mut whole = vec![0; vp8::Descriptor::LEN_MAX];
    let written = found.write(&mut whole);
    assert!((1..=vp8::Descriptor::LEN_MAX).contains(&written));
    whole.truncate(written);
    whole.extend_from_slice(data.get(len..).expect("the descriptor is within the payload"));
    let mut again = vp8::Descriptor::parse(&whole).expect("what was written is whole");
    again.len = found.len;
    assert_eq!(again, found);
}

/// VP9.
pub(crate) fn vp9(data: &[u8]) {
    if let Some(found) = vp9::Descriptor::parse(data) {
        let descriptor = data.get(..usize::from(found.len)).expect("within the payload");
        assert_eq!(vp9::Descriptor::parse(descriptor), Some(found));
        assert!(found.reference_count <= 3 && found.spatial() < 8 && found.temporal() < 8);
        assert!(!found.key_frame() || found.start_of_frame);
    }
}

/// H.264.
pub(crate) fn h264(data: &[u8]) {
    let found = h264::NalUnits::parse(data);
    assert_eq!(found.key_frame(), found.sps || found.idr);
}

/// H.265.
pub(crate) fn h265(data: &[u8]) {
    assert!(h265::NalUnits::parse(data).temporal < 7);
}

/// AV1.
pub(crate) fn av1(data: &[u8]) {
    let key = av1::is_key_frame(data);
    match av1::Aggregation::parse(data) {
        Some(header) => assert!(key || !header.new_sequence),
        None => assert!(!key),
    }
}

/// Opus.
pub(crate) fn opus(data: &[u8]) {
    if let Some(packet) = opus::Packet::parse(data) {
        assert!((120..=5760).contains(&packet.samples));
    }
}

/// RED is also written.
pub(crate) fn red(data: &[u8]) {
    let Some(found) = red::Red::parse(data) else {
        return;
    };
    let payload_type = found.primary().payload_type;
    let mut one_type = true;
    let mut end = None;
    let mut blocks = Vec::new();
    for block in found.redundant() {
        one_type &= block.payload_type == payload_type;
        assert!(end.is_none_or(|end| end == block.range.start), "side by side");
        end = Some(block.range.end);
        blocks.push((
            block.timestamp_offset,
            data.get(block.range).expect("within the payload"),
        ));
    }
    let primary = data
        .get(found.primary().range.clone())
        .expect("within the payload");
    let mut out = vec![0; data.len()];
    let len = red::write(&mut out, payload_type, &blocks, primary).expect("as long as it was");
    assert_eq!(len, data.len());
    if one_type {
        assert_eq!(out, data);
    }
}

/// Descriptors of one stream: those that come first bring the structure of those that follow.
pub(crate) fn dependency_descriptor(data: &[u8]) {
    let mut known: Option<Box<Structure>> = None;
    for bytes in chunks(data) {
        let Ok(found) = Descriptor::parse(bytes, known.as_deref()) else {
            continue;
        };
        if found.structure.is_some() {
            known = found.structure.clone();
        }
        let structure = known.as_deref().expect("nothing is read without one");
        assert!(found.spatial < structure.spatial_layers());
        assert_eq!(
            structure.mask_within(u8::MAX, u8::MAX),
            structure.all_targets(),
            "every target is within all layers"
        );
        let number = found.mandatory.frame_number.wrapping_add(7);
        for mask in [None, Some(1), Some(structure.all_targets())] {
            let mut out = vec![0xAA; bytes.len() + 8];
            let len = rewrite(bytes, &found, number, mask, &mut out).expect("a mask has up to 32 bits");
            let again = Descriptor::parse(&out[..len], known.as_deref()).expect("still whole");
            assert_eq!(again.mandatory.frame_number, number);
            assert_eq!(again.active_decode_targets, mask.or(found.active_decode_targets));
            assert_eq!(again.indications, found.indications);
            assert_eq!(again.frame_diffs, found.frame_diffs);
            assert_eq!(again.chain_diffs, found.chain_diffs);
            assert_eq!(again.structure, found.structure);
        }
    }
}
