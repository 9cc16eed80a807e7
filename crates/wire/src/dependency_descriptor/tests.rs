//! Captured descriptors, hand-built bit strings, round trips and hostile bytes.

use super::*;
use crate::bits::BitWriter;
use proptest::prelude::*;

/// Captured from a browser that sent AV1 in mode L3T3: a key frame's first packet and followers.
const KEY: &str = "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d";
const FOLLOWERS: [&str; 6] = [
    "86017340fc",
    "46017340fc",
    "c3017540fc",
    "88017640fc",
    "48017640fc",
    "c2017840fc",
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn l3t3() -> Box<Structure> {
    Descriptor::parse(&hex(KEY), None)
        .expect("whole")
        .structure
        .expect("attached")
}

#[test]
fn a_captured_structure_is_read() {
    let found = Descriptor::parse(&hex(KEY), None).expect("whole");
    assert_eq!(
        found.mandatory,
        Mandatory {
            first_packet: true,
            last_packet: true,
            template_id: 1,
            frame_number: 0x0172
        }
    );
    let structure = found.structure.as_deref().expect("attached");
    assert_eq!(structure.target_count(), 9);
    assert_eq!(structure.chain_count(), 3);
    assert_eq!(structure.spatial_layers(), 3);
    assert_eq!(found.active_decode_targets, Some(0x1FF));
    let sizes: Vec<_> = (0..3).map(|layer| structure.resolution(layer)).collect();
    assert_eq!(sizes, [Some((120, 67)), Some((240, 135)), Some((480, 270))]);
    assert_eq!(structure.resolution(3), None);
    let layers: Vec<_> = (0..9)
        .map(|target| structure.layers_of(target).expect("a target"))
        .collect();
    assert_eq!(
        layers,
        [
            (0, 0),
            (0, 1),
            (0, 2),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2)
        ]
    );
}

#[test]
fn frames_are_resolved_through_their_template() {
    let structure = l3t3();
    let read: Vec<_> = FOLLOWERS
        .iter()
        .map(|text| {
            let found = Descriptor::parse(&hex(text), Some(&structure)).expect("whole");
            (
                found.mandatory.frame_number,
                found.spatial,
                found.temporal,
                found.active_decode_targets,
            )
        })
        .collect();
    // The sender has stopped spatial layer 2 and says so; its frame numbers are left out.
    let active = Some(0b11_1111);
    assert_eq!(
        read,
        [
            (371, 1, 0, active),
            (371, 1, 0, active),
            (373, 0, 2, active),
            (374, 1, 2, active),
            (374, 1, 2, active),
            (376, 0, 1, active),
        ]
    );
}

#[test]
fn a_structure_is_written_as_it_was_captured() {
    let bytes = hex(KEY);
    let found = Descriptor::parse(&bytes, None).expect("whole");
    let mut out = [0; 255];
    let new = NewDescriptor {
        mandatory: found.mandatory,
        structure: found.structure.as_deref(),
        active_decode_targets: None,
    };
    let len = write(&new, &mut out).expect("fits");
    assert_eq!(out[..len], bytes);
}

#[test]
fn decode_targets_follow_the_wish() {
    let structure = l3t3();
    assert_eq!(structure.target_within(3, 7), Some(8));
    assert_eq!(structure.target_within(1, 7), Some(5));
    assert_eq!(structure.target_within(0, 0), Some(0));
    assert_eq!(structure.target_within(2, 0), Some(6));
    assert_eq!(structure.mask_within(3, 7), 0x1FF);
    assert_eq!(structure.mask_within(1, 2), 0b11_1111);
    assert_eq!(structure.mask_within(2, 0), 0b100_1001);
    let frame = Descriptor::parse(&hex(KEY), None).expect("whole");
    assert!(frame.indications.includes(0));
    assert!(!frame.indications.includes(40));
}

#[test]
fn frames_without_their_structure_are_refused() {
    let frame = hex(FOLLOWERS[0]);
    assert_eq!(Descriptor::parse(&frame, None), Err(Error::NoStructure));
    let mut other = frame;
    other[0] = 0x80 | 40;
    assert_eq!(
        Descriptor::parse(&other, Some(&l3t3())),
        Err(Error::UnknownTemplate)
    );
    assert_eq!(Descriptor::parse(&[0x80, 0], None), Err(Error::Broken));
}

#[test]
fn a_cut_structure_is_broken_at_every_length() {
    let bytes = hex(KEY);
    for len in 0..bytes.len() {
        let expected = if len == 3 {
            Error::NoStructure
        } else {
            Error::Broken
        };
        assert_eq!(
            Descriptor::parse(&bytes[..len], None),
            Err(expected),
            "{len} bytes"
        );
    }
}

#[test]
fn a_frame_number_is_replaced_in_place() {
    let bytes = hex(KEY);
    let found = Descriptor::parse(&bytes, None).expect("whole");
    let mut out = [0; 255];
    let len = rewrite(&bytes, &found, 0xABCD, None, &mut out).expect("fits");
    assert_eq!(out[1..3], [0xAB, 0xCD]);
    assert_eq!((out[0], &out[3..len]), (bytes[0], &bytes[3..]));
    assert_eq!(rewrite(&bytes, &found, 1, None, &mut out[..50]), None);
    assert_eq!(rewrite(&bytes, &found, 1, Some(1), &mut out[..50]), None);
}

#[test]
fn a_mask_is_added_to_the_shortest_descriptor() {
    let structure = l3t3();
    let bytes = [0xC3, 0x01, 0x75];
    let found = Descriptor::parse(&bytes, Some(&structure)).expect("whole");
    assert_eq!(found.active_decode_targets, None);
    let mut out = [0xFF; 8];
    let len = rewrite(&bytes, &found, 7, Some(0b111), &mut out).expect("fits");
    // Flags 01000, then nine bits.
    assert_eq!(out[..len], [0xC3, 0x00, 0x07, 0b0100_0000, 0b0001_1100]);
    let again = Descriptor::parse(&out[..len], Some(&structure)).expect("whole");
    assert_eq!(again.active_decode_targets, Some(0b111));
    assert_eq!((again.spatial, again.temporal), (found.spatial, found.temporal));
}

/// A descriptor with custom fields for [`l3t3`], written bit by bit.
fn custom(template_id: u8, mask: Option<u32>, dtis: &[u32], fdiffs: &[u16], chains: &[u32]) -> Vec<u8> {
    let mut out = [0; 255];
    let mut writer = BitWriter::new(&mut out);
    let mut put = |count, value| writer.write(count, value).expect("fits");
    put(2, 0b11);
    put(6, u32::from(template_id));
    put(16, 99);
    put(1, 0);
    put(1, u32::from(mask.is_some()));
    put(1, u32::from(!dtis.is_empty()));
    put(1, u32::from(!fdiffs.is_empty()));
    put(1, u32::from(!chains.is_empty()));
    if let Some(mask) = mask {
        put(9, mask);
    }
    dtis.iter().for_each(|&dti| put(2, dti));
    for &diff in fdiffs {
        let (size, bits) = match diff {
            ..=16 => (1, 4),
            17..=256 => (2, 8),
            _ => (3, 12),
        };
        put(2, size);
        put(bits, u32::from(diff) - 1);
    }
    if !fdiffs.is_empty() {
        put(2, 0);
    }
    chains.iter().for_each(|&chain| put(8, chain));
    let len = writer.len();
    out[..len].to_vec()
}

#[test]
fn a_structure_is_read_into_the_memory_of_another() {
    let bytes = hex(KEY);
    let whole = l3t3();
    let mut small = [0; 255];
    let single = single_template(&mut small);
    let mut spare = Some(l3t3());
    let place: *const Structure = &**spare.as_ref().expect("there");
    for _ in 0..3 {
        let found = Descriptor::parse_into(single, None, &mut spare).expect("whole");
        let structure = found.structure.expect("attached");
        assert_eq!(
            Descriptor::parse(single, None).expect("whole").structure,
            Some(structure.clone())
        );
        assert_eq!((structure.target_count(), structure.templates().len()), (1, 1));
        spare = Some(structure);
        assert_eq!(
            Descriptor::parse_into(&bytes[..60], None, &mut spare),
            Err(Error::Broken)
        );
        let found = Descriptor::parse_into(&bytes, None, &mut spare).expect("whole");
        assert_eq!((found.structure.as_ref(), &spare), (Some(&whole), &None));
        spare = found.structure;
        assert!(std::ptr::eq(place, &**spare.as_ref().expect("there")));
    }
    let follower = hex(FOLLOWERS[0]);
    let found = Descriptor::parse_into(&follower, Some(&whole), &mut spare).expect("whole");
    assert_eq!(found.structure, None);
    assert!(spare.is_some(), "kept for the next one");
}

/// A descriptor with the smallest structure: one template, one target, no chains.
fn single_template(out: &mut [u8]) -> &[u8] {
    let mut writer = BitWriter::new(out);
    let fields = [
        (8, 0b1100_0000),
        (16, 1),
        // Only a structure is attached.
        (5, 0b10000),
        // Templates begin at id 0; one target.
        (6, 0),
        (5, 0),
        // No further template; its target's indication; no reference; no chain; no size.
        (2, 3),
        (2, 2),
        (1, 0),
        (1, 0),
        (1, 0),
    ];
    for (count, value) in fields {
        writer.write(count, value).expect("fits");
    }
    let len = writer.len();
    &out[..len]
}

#[test]
fn too_many_references_are_broken() {
    let structure = l3t3();
    let bytes = custom(1, None, &[], &[1; FRAME_DIFFS_MAX], &[]);
    assert!(Descriptor::parse(&bytes, Some(&structure)).is_ok());
    let bytes = custom(1, None, &[], &[1; FRAME_DIFFS_MAX + 1], &[]);
    assert_eq!(Descriptor::parse(&bytes, Some(&structure)), Err(Error::Broken));
}

proptest! {
    #[test]
    fn custom_fields_are_read_and_survive_a_rewrite(
        template in 1u8..4,
        mask in prop::option::of(0u32..0x200),
        dtis in prop_oneof![Just(vec![]), prop::collection::vec(0u32..4, 9)],
        fdiffs in prop::collection::vec(1u16..=4096, 0..=FRAME_DIFFS_MAX),
        chains in prop_oneof![Just(vec![]), prop::collection::vec(0u32..256, 3)],
        new_mask in prop::option::of(0u32..0x200),
        number: u16,
    ) {
        let structure = l3t3();
        let bytes = custom(template, mask, &dtis, &fdiffs, &chains);
        let found = Descriptor::parse(&bytes, Some(&structure)).expect("whole");
        prop_assert_eq!(found.active_decode_targets, mask);
        for (target, &dti) in dtis.iter().enumerate() {
            prop_assert_eq!(found.indications.get(target) as u32, dti);
        }
        if !fdiffs.is_empty() {
            prop_assert_eq!(found.frame_diffs.as_slice(), &fdiffs[..]);
        }
        for (chain, &diff) in chains.iter().enumerate() {
            prop_assert_eq!(u32::from(found.chain_diffs[chain]), diff);
        }

        let mut out = [0xFF; 255];
        let len = rewrite(&bytes, &found, number, new_mask, &mut out).expect("fits");
        let again = Descriptor::parse(&out[..len], Some(&structure)).expect("whole");
        prop_assert_eq!(again.mandatory.frame_number, number);
        prop_assert_eq!(again.active_decode_targets, new_mask.or(mask));
        prop_assert_eq!(again.indications, found.indications);
        prop_assert_eq!(again.frame_diffs, found.frame_diffs);
        prop_assert_eq!(again.chain_diffs, found.chain_diffs);
    }

    #[test]
    fn a_new_mask_keeps_the_attached_structure(mask in 0u32..0x200) {
        let bytes = hex(KEY);
        let found = Descriptor::parse(&bytes, None).expect("whole");
        let mut out = [0; 255];
        let len = rewrite(&bytes, &found, 5, Some(mask), &mut out).expect("fits");
        let again = Descriptor::parse(&out[..len], None).expect("whole");
        prop_assert_eq!(again.active_decode_targets, Some(mask));
        prop_assert_eq!(again.structure, found.structure);
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), flip in 0usize..95, bit in 0u8..8) {
        let structure = l3t3();
        let check = |bytes: &[u8]| {
            if let Ok(found) = Descriptor::parse(bytes, Some(&structure)) {
                let mut out = [0; 255];
                let len = rewrite(bytes, &found, 1, Some(1), &mut out).expect("fits");
                let again = Descriptor::parse(&out[..len], Some(&structure)).expect("still whole");
                assert_eq!((again.spatial, again.temporal), (found.spatial, found.temporal));
            }
        };
        check(&bytes);
        if let Some(flags) = bytes.get_mut(3) {
            *flags |= 0x80;
        }
        check(&bytes);
        let mut near = hex(KEY);
        near[flip] ^= 1 << bit;
        check(&near);
    }
}
