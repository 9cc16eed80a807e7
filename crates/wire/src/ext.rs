//! RTP header extensions (RFC 8285): negotiated ids, values read in place, elements written in place.

/// The extension ids negotiated for one media section; 0 means "not negotiated".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is named after its extension URI below")]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`
    pub mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`
    pub rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`
    pub repaired_rid: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    pub audio_level: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: u8,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`
    pub abs_capture_time: u8,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    pub dependency_descriptor: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: u8,
    /// `urn:ietf:params:rtp-hdrext:framemarking`
    pub frame_marking: u8,
}

/// The extension values of one received packet. Byte slices borrow from the datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a> {
    /// MID, the media section's id.
    pub mid: Option<&'a [u8]>,
    /// RID of a simulcast layer.
    pub rid: Option<&'a [u8]>,
    /// RID of the stream that an RTX stream repairs.
    pub repaired_rid: Option<&'a [u8]>,
    /// Voice activity and level in −dBov, 0 (loudest) ..= 127 (silence).
    pub audio_level: Option<(bool, u8)>,
    /// 24-bit 6.18 fixed-point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Raw value, 8 or 16 bytes.
    pub abs_capture_time: Option<&'a [u8]>,
    /// Raw dependency descriptor.
    pub dependency_descriptor: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    /// Reads the elements of a header extension. Unknown ids are passed over; a broken element
    /// ends the reading, what came before it stays.
    ///
    /// `profile` is [`crate::rtp::Header::extension_profile`].
    #[must_use]
    pub fn parse(profile: u16, elements: &'a [u8], ids: &ExtensionIds) -> Self {
        let mut found = Self::default();
        each(profile, elements, |id, value| found.take(id, value, ids));
        found
    }

    #[inline]
    fn take(&mut self, id: u8, value: &'a [u8], ids: &ExtensionIds) {
        if id == 0 {
            return;
        }
        if id == ids.transport_cc {
            if let [a, b] = *value {
                self.transport_cc = Some(u16::from_be_bytes([a, b]));
            }
        } else if id == ids.audio_level {
            if let [v, ..] = *value {
                self.audio_level = Some((v & 0x80 != 0, v & 0x7F));
            }
        } else if id == ids.mid {
            self.mid = Some(value);
        } else if id == ids.rid {
            self.rid = Some(value);
        } else if id == ids.repaired_rid {
            self.repaired_rid = Some(value);
        } else if id == ids.dependency_descriptor {
            self.dependency_descriptor = Some(value);
        } else if id == ids.abs_send_time {
            if let [a, b, c] = *value {
                self.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
            }
        } else if id == ids.abs_capture_time && matches!(value.len(), 8 | 16) {
            self.abs_capture_time = Some(value);
        }
    }
}

/// The elements of a header extension by their ids, for who does not know yet which ids hold: read
/// once, asked often.
#[derive(Clone, Copy, Debug)]
pub struct Elements<'a>([Option<&'a [u8]>; 256]);

impl<'a> Elements<'a> {
    /// Reads as [`Extensions::parse`] does.
    #[must_use]
    pub fn parse(profile: u16, elements: &'a [u8]) -> Self {
        let mut found = [None; 256];
        each(profile, elements, |id, value| {
            found[usize::from(id)] = Some(value)
        });
        Self(found)
    }

    /// MID and RIDs with these ids; all else is left out.
    #[must_use]
    pub fn names(&self, ids: &ExtensionIds) -> Extensions<'a> {
        let mut found = Extensions::default();
        for id in [ids.mid, ids.rid, ids.repaired_rid] {
            if let Some(value) = self.0[usize::from(id)] {
                found.take(id, value, ids);
            }
        }
        found
    }
}

/// Calls `take` with id and value of each element, in their order, up to the first broken one.
#[inline]
fn each<'a>(profile: u16, elements: &'a [u8], take: impl FnMut(u8, &'a [u8])) {
    match profile {
        0xBEDE => each_of::<true>(elements, take),
        0x1000..=0x100F => each_of::<false>(elements, take),
        _ => {}
    }
}

#[inline]
fn each_of<'a, const ONE_BYTE: bool>(elements: &'a [u8], mut take: impl FnMut(u8, &'a [u8])) {
    let mut rest = elements;
    while let [first, after @ ..] = rest {
        if *first == 0 {
            rest = after;
            continue;
        }
        let (id, len, body) = if ONE_BYTE {
            (first >> 4, usize::from(first & 0x0F) + 1, after)
        } else {
            let [len, body @ ..] = after else { return };
            (*first, usize::from(*len), body)
        };
        // Id 15 of the one-byte form is reserved and ends the reading (RFC 8285 §4.2).
        if ONE_BYTE && id == 15 {
            return;
        }
        let Some((value, next)) = body.split_at_checked(len) else {
            return;
        };
        take(id, value);
        rest = next;
    }
}

/// Longest value of the one-byte form, in bytes.
const ONE_BYTE_LEN_MAX: usize = 16;

/// Writes a whole header extension, its 4-byte header included, to the beginning of `slot`:
/// pairs of id and value, in the one-byte form when every element allows it, else in the two-byte
/// form (RFC 8285 §4.2, §4.3). Elements with id 0 (not negotiated) are left out.
///
/// Returns its length, a multiple of 4; 0 when there is nothing to write. `None` when it does not
/// fit into `slot` or a value is longer than 255 bytes.
#[must_use]
pub fn write(slot: &mut [u8], elements: &[(u8, &[u8])]) -> Option<usize> {
    let (mut one_byte, mut any) = (true, false);
    for &(id, value) in elements {
        if id != 0 {
            any = true;
            one_byte &= id < 15 && (1..=ONE_BYTE_LEN_MAX).contains(&value.len());
        }
    }
    if !any {
        return Some(0);
    }
    let mut at = 4;
    for &(id, value) in elements {
        if id == 0 {
            continue;
        }
        let (head, body) = slot
            .get_mut(at..)?
            .split_at_mut_checked(2 - usize::from(one_byte))?;
        match head {
            [both] => *both = (id << 4) | (value.len() - 1) as u8,
            [first, second] => {
                *first = id;
                *second = u8::try_from(value.len()).ok()?;
            }
            _ => return None,
        }
        body.get_mut(..value.len())?.copy_from_slice(value);
        at += head.len() + value.len();
    }
    let end = at.next_multiple_of(4);
    slot.get_mut(at..end)?.fill(0);
    let words = u16::try_from(end / 4 - 1).ok()?;
    let profile: u16 = if one_byte { 0xBEDE } else { 0x1000 };
    let [p0, p1] = profile.to_be_bytes();
    let [w0, w1] = words.to_be_bytes();
    slot.first_chunk_mut::<4>()?.copy_from_slice(&[p0, p1, w0, w1]);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IDS: ExtensionIds = ExtensionIds {
        mid: 1,
        rid: 2,
        repaired_rid: 3,
        audio_level: 4,
        abs_send_time: 5,
        transport_cc: 6,
        abs_capture_time: 7,
        dependency_descriptor: 8,
        playout_delay: 9,
        frame_marking: 10,
    };

    fn read<'a>(block: &'a [u8], ids: &ExtensionIds) -> Extensions<'a> {
        let [p0, p1, l0, l1] = *block.first_chunk::<4>().expect("a header");
        assert_eq!(usize::from(u16::from_be_bytes([l0, l1])) * 4 + 4, block.len());
        Extensions::parse(u16::from_be_bytes([p0, p1]), &block[4..], ids)
    }

    #[test]
    fn reads_the_example_of_rfc_8285_one_byte_form() {
        // Ids 4 and 6 with one and two bytes, padding between them.
        let elements = [0x40, 0x8A, 0, 0, 0x61, 0x12, 0x34, 0];
        let found = Extensions::parse(0xBEDE, &elements, &IDS);
        assert_eq!(found.audio_level, Some((true, 10)));
        assert_eq!(found.transport_cc, Some(0x1234));
    }

    #[test]
    fn id_15_ends_the_one_byte_form() {
        let found = Extensions::parse(0xBEDE, &[0xF0, 0, 0x61, 1, 2, 0, 0, 0], &IDS);
        assert_eq!(found, Extensions::default());
    }

    #[test]
    fn a_broken_element_keeps_what_came_before() {
        let found = Extensions::parse(0xBEDE, &[0x61, 0, 9, 0x1F, b'a', b'b'], &IDS);
        assert_eq!(found.transport_cc, Some(9));
        assert_eq!(found.mid, None);
    }

    #[test]
    fn short_values_take_the_one_byte_form() {
        let mut slot = [0xFF; 64];
        let len = write(&mut slot, &[(6, &[0x12, 0x34]), (0, b"left out"), (1, b"v0")]).expect("fits");
        assert_eq!(
            slot[..len],
            [0xBE, 0xDE, 0, 2, 0x61, 0x12, 0x34, 0x11, b'v', b'0', 0, 0]
        );
    }

    #[test]
    fn a_long_value_or_a_high_id_takes_the_two_byte_form() {
        let mut slot = [0xFF; 64];
        let long = [7; 17];
        let len = write(&mut slot, &[(8, &long), (6, &[1, 2])]).expect("fits");
        assert_eq!(slot[..6], [0x10, 0x00, 0, 6, 8, 17]);
        let found = read(&slot[..len], &IDS);
        assert_eq!(found.dependency_descriptor, Some(&long[..]));
        assert_eq!(found.transport_cc, Some(0x0102));

        let len = write(&mut slot, &[(15, &[1])]).expect("fits");
        assert_eq!(slot[..len], [0x10, 0x00, 0, 1, 15, 1, 1, 0]);
        let len = write(&mut slot, &[(1, &[])]).expect("fits");
        assert_eq!(slot[..len], [0x10, 0x00, 0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn nothing_to_say_writes_nothing() {
        let mut slot = [0xFF; 8];
        assert_eq!(write(&mut slot, &[]), Some(0));
        assert_eq!(write(&mut slot, &[(0, &[1])]), Some(0));
        assert_eq!(slot, [0xFF; 8]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(write(&mut [0; 7], &[(1, &[1])]), None);
        assert_eq!(write(&mut [0; 8], &[(1, &[1])]), Some(8));
        assert_eq!(write(&mut [0; 1024], &[(1, &[0; 256])]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            mid in prop::collection::vec(any::<u8>(), 1..20),
            descriptor in prop::collection::vec(any::<u8>(), 0..200),
            sequence: u16,
            dd_id in 8u8..=255,
            room in 0usize..300,
        ) {
            let ids = ExtensionIds { dependency_descriptor: dd_id, ..IDS };
            let mut slot = vec![0xAA; room];
            let elements: [(u8, &[u8]); 3] =
                [(1, &mid), (6, &sequence.to_be_bytes()), (dd_id, &descriptor)];
            if let Some(len) = write(&mut slot, &elements) {
                let found = read(&slot[..len], &ids);
                prop_assert_eq!(found.mid, Some(&mid[..]));
                prop_assert_eq!(found.transport_cc, Some(sequence));
                prop_assert_eq!(found.dependency_descriptor, Some(&descriptor[..]));
            } else {
                prop_assert!(room < 4 + 6 + mid.len() + 2 + descriptor.len() + 3);
            }
        }

        #[test]
        fn elements_name_a_stream_as_extensions_do(
            profile in prop_oneof![Just(0xBEDE), Just(0x1000), any::<u16>()],
            bytes in prop::collection::vec(prop_oneof![0u8..6, 16u8..99, any::<u8>()], 0..100),
            // Small ones clash now and then.
            (mid, rid, repaired_rid, transport_cc) in (0u8..6, 0u8..6, 0u8..6, 0u8..6),
        ) {
            let ids = ExtensionIds { mid, rid, repaired_rid, transport_cc, ..ExtensionIds::default() };
            let expected = Extensions::parse(profile, &bytes, &ids);
            let names = Elements::parse(profile, &bytes).names(&ids);
            prop_assert_eq!(names.mid, expected.mid);
            prop_assert_eq!(names.rid, expected.rid);
            prop_assert_eq!(names.repaired_rid, expected.repaired_rid);
        }

        #[test]
        fn any_bytes_are_read_without_panic(profile: u16, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Extensions::parse(profile, &bytes, &IDS);
            let _ = Extensions::parse(0xBEDE, &bytes, &IDS);
            let _ = Extensions::parse(0x1000, &bytes, &IDS);
        }
    }
}
