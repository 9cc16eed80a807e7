//! AV1 aggregation header (AV1 RTP payload format v1.0 §4.4) and the look for a key frame.
//!
//! ```text
//! |Z|Y| W: 2 |N| - |  then OBU elements, each behind its LEB128 length (the last one not if W > 0)
//! OBU header: |F| type: 4 |X|S|R|
//! ```

use crate::bytes::Reader;

const OBU_SEQUENCE_HEADER: u8 = 1;
/// Bound of the look through one packet when the element count is not said.
const ELEMENTS_MAX: usize = 64;

/// The aggregation header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregation {
    /// Z: the first element continues one of the packet before.
    pub continues_previous: bool,
    /// Y: the last element goes on in the next packet.
    pub continues_next: bool,
    /// W: how many elements, 0 when each has a length.
    pub element_count: u8,
    /// N: first packet of a coded video sequence.
    pub new_sequence: bool,
}

impl Aggregation {
    /// Reads the header at the start of a payload.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let byte = *payload.first()?;
        Some(Self {
            continues_previous: byte & 0x80 != 0,
            continues_next: byte & 0x40 != 0,
            element_count: (byte >> 4) & 0x03,
            new_sequence: byte & 0x08 != 0,
        })
    }
}

/// Whether the packet begins a key frame: a new coded video sequence (N), or a sequence header
/// that begins in this packet, which senders that forget N put in front of every key frame.
#[must_use]
pub fn is_key_frame(payload: &[u8]) -> bool {
    let Some(header) = Aggregation::parse(payload) else {
        return false;
    };
    header.new_sequence || begins_sequence_header(&header, payload).unwrap_or(false)
}

/// `None` when the elements are cut off.
fn begins_sequence_header(header: &Aggregation, payload: &[u8]) -> Option<bool> {
    let mut reader = Reader(payload.get(1..)?);
    let count = usize::from(header.element_count);
    for index in 0..ELEMENTS_MAX {
        if reader.0.is_empty() || (count > 0 && index == count) {
            break;
        }
        let element = if count > 0 && index + 1 == count {
            core::mem::take(&mut reader.0)
        } else {
            let len = leb128(&mut reader)?;
            reader.take(len)?
        };
        let continues = index == 0 && header.continues_previous;
        let head = element.first().copied().unwrap_or(0);
        if !continues && (head >> 3) & 0x0F == OBU_SEQUENCE_HEADER {
            return Some(true);
        }
    }
    Some(false)
}

/// AV1 §4.10.5: little-endian groups of seven bits, at most eight of them.
fn leb128(reader: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0u64;
    for shift in 0..8 {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7F) << (shift * 7);
        if byte & 0x80 == 0 {
            return usize::try_from(value).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_header() {
        assert_eq!(
            Aggregation::parse(&[0b1110_1000]),
            Some(Aggregation {
                continues_previous: true,
                continues_next: true,
                element_count: 2,
                new_sequence: true,
            })
        );
        assert_eq!(Aggregation::parse(&[]), None);
    }

    #[test]
    fn a_new_sequence_is_a_key_frame() {
        assert!(is_key_frame(&[0x08]));
        assert!(!is_key_frame(&[]));
        assert!(!is_key_frame(&[0x00]));
    }

    #[test]
    fn a_sequence_header_is_found_in_any_element() {
        // W = 1: one element without length.
        assert!(is_key_frame(&[0x10, 0x08, 0, 0]));
        assert!(!is_key_frame(&[0x10, 0x30, 0, 0]));
        // W = 0: every element has a length; a temporal delimiter comes first.
        assert!(is_key_frame(&[0x00, 1, 0x10, 2, 0x08, 0]));
        assert!(!is_key_frame(&[0x00, 1, 0x10, 2, 0x30, 0]));
        // W = 2: the second has none.
        assert!(is_key_frame(&[0x20, 1, 0x10, 0x08]));
        assert!(!is_key_frame(&[0x20, 1, 0x10, 0x30, 0x08]));
    }

    #[test]
    fn a_continued_element_does_not_count() {
        assert!(!is_key_frame(&[0x90, 0x08, 0]));
        assert!(is_key_frame(&[0xA0, 1, 0x08, 0x08]));
    }

    #[test]
    fn broken_lengths_end_the_look() {
        assert!(!is_key_frame(&[0x00, 9, 0x08]));
        assert!(!is_key_frame(&[
            0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 8
        ]));
        let zeros = [0; 1000];
        assert!(!is_key_frame(&zeros));
    }
}
