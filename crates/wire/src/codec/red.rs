//! Redundant audio (RFC 2198).
//!
//! ```text
//! |1| payload type: 7 | timestamp offset: 14 | length: 10 |   … of each redundant block
//! |0| payload type: 7 |                                       of the primary block
//! redundant data …, primary data
//! ```

use crate::bytes::Reader;
use core::ops::Range;

/// The longest redundant block in bytes.
pub const BLOCK_LEN_MAX: usize = 0x3FF;
/// The largest timestamp offset.
pub const OFFSET_MAX: u16 = 0x3FFF;

/// One block of a packet; the primary has offset 0. Ranges index the payload that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Payload type of the data.
    pub payload_type: u8,
    /// How much older than the packet's timestamp.
    pub timestamp_offset: u16,
    /// Where the data is.
    pub range: Range<usize>,
}

/// A checked packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Red<'a> {
    headers: &'a [u8],
    first: usize,
    primary: Block,
}

impl<'a> Red<'a> {
    /// Reads the headers. `None` when they, or the data that they promise, are cut off.
    #[must_use]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let mut data_len = 0;
        loop {
            let head = reader.u8()?;
            if head & 0x80 == 0 {
                let headers_len = payload.len() - reader.0.len() - 1;
                let first = headers_len + 1;
                let start = first + data_len;
                return (start <= payload.len()).then_some(Self {
                    headers: payload.get(..headers_len)?,
                    first,
                    primary: Block {
                        payload_type: head,
                        timestamp_offset: 0,
                        range: start..payload.len(),
                    },
                });
            }
            data_len += (reader.u24()? & 0x3FF) as usize;
        }
    }

    /// The primary block, which may be empty.
    #[must_use]
    pub const fn primary(&self) -> &Block {
        &self.primary
    }

    /// The redundant blocks in the order of the packet, oldest first.
    #[must_use]
    pub const fn redundant(&self) -> Redundant<'a> {
        Redundant {
            headers: Reader(self.headers),
            next: self.first,
        }
    }
}

/// Iterator over redundant blocks.
#[derive(Clone, Debug)]
pub struct Redundant<'a> {
    headers: Reader<'a>,
    next: usize,
}

impl Iterator for Redundant<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let payload_type = self.headers.u8()? & 0x7F;
        let word = self.headers.u24()?;
        let start = self.next;
        self.next += (word & 0x3FF) as usize;
        Some(Block {
            payload_type,
            timestamp_offset: (word >> 10) as u16,
            range: start..self.next,
        })
    }
}

/// Writes a packet: `redundant` blocks (timestamp offset and data), oldest first, and the primary,
/// all of one payload type. Returns its length; `None` when it does not fit into `out`, or a block
/// is too long or too old to be said.
#[must_use]
pub fn write(out: &mut [u8], payload_type: u8, redundant: &[(u16, &[u8])], primary: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut put = |bytes: &[u8]| -> Option<()> {
        out.get_mut(at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        at += bytes.len();
        Some(())
    };
    for &(offset, data) in redundant {
        if offset > OFFSET_MAX || data.len() > BLOCK_LEN_MAX {
            return None;
        }
        let word = (u32::from(0x80 | payload_type) << 24) | (u32::from(offset) << 10) | data.len() as u32;
        put(&word.to_be_bytes())?;
    }
    put(&[payload_type & 0x7F])?;
    for &(_, data) in redundant {
        put(data)?;
    }
    put(primary)?;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_two_redundant_blocks() {
        // Offsets 1920 and 960, lengths 2 and 1, as Chromium sends them for 20 ms Opus.
        let payload = [
            0xEF, 0x1E, 0x00, 0x02, 0xEF, 0x0F, 0x00, 0x01, 0x6F, 1, 2, 3, 4, 5, 6,
        ];
        let red = Red::parse(&payload).expect("whole");
        assert_eq!(
            *red.primary(),
            Block {
                payload_type: 111,
                timestamp_offset: 0,
                range: 12..15
            }
        );
        let blocks: Vec<_> = red
            .redundant()
            .map(|block| (block.payload_type, block.timestamp_offset, block.range))
            .collect();
        assert_eq!(blocks, [(111, 1920, 9..11), (111, 960, 11..12)]);
        let mut out = [0; 64];
        let len = write(&mut out, 111, &[(1920, &[1, 2]), (960, &[3])], &[4, 5, 6]).expect("fits");
        assert_eq!(out[..len], payload);
    }

    #[test]
    fn reads_a_primary_alone() {
        let red = Red::parse(&[0x6F, 9]).expect("whole");
        assert_eq!(red.primary().range, 1..2);
        assert_eq!(red.redundant().count(), 0);
        assert_eq!(Red::parse(&[0x6F]).expect("whole").primary().range, 1..1);
    }

    #[test]
    fn promised_data_must_be_there() {
        assert_eq!(Red::parse(&[]), None);
        assert_eq!(Red::parse(&[0xEF, 0, 0]), None);
        assert_eq!(Red::parse(&[0xEF, 0, 0, 2, 0x6F, 1]), None);
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let mut out = [0; 2000];
        assert_eq!(write(&mut out, 111, &[(OFFSET_MAX + 1, &[])], &[]), None);
        assert_eq!(write(&mut out, 111, &[(0, &[0; BLOCK_LEN_MAX + 1])], &[]), None);
        assert_eq!(write(&mut out[..5], 111, &[(0, &[1])], &[]), None);
        assert_eq!(write(&mut out[..6], 111, &[(0, &[1])], &[]), Some(6));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            payload_type in 0u8..128,
            redundant in prop::collection::vec((0..=OFFSET_MAX, prop::collection::vec(any::<u8>(), 0..50)), 0..4),
            primary in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let blocks: Vec<(u16, &[u8])> = redundant.iter().map(|(at, data)| (*at, &data[..])).collect();
            let mut out = [0; 400];
            let len = write(&mut out, payload_type, &blocks, &primary).expect("fits");
            let red = Red::parse(&out[..len]).expect("whole");
            prop_assert_eq!(&out[red.primary().range.clone()], &primary[..]);
            prop_assert_eq!(red.primary().payload_type, payload_type);
            let read: Vec<_> = red.redundant().map(|b| (b.timestamp_offset, &out[b.range])).collect();
            prop_assert_eq!(read, blocks);
        }

        #[test]
        fn ranges_stay_within_any_payload(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(red) = Red::parse(&payload) {
                for block in red.redundant() {
                    prop_assert!(payload.get(block.range).is_some());
                }
                prop_assert!(payload.get(red.primary().range.clone()).is_some());
            }
        }
    }
}
