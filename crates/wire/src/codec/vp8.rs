//! VP8 payload descriptor (RFC 7741 §4.2).
//!
//! ```text
//! |X|R|N|S|R| PID |   X: |I|L|T|K| RSV |
//! I: |M| picture id: 7 or 15 |   L: | TL0PICIDX: 8 |   T or K: |TID|Y| KEYIDX: 5 |
//! ```

use super::PictureId;
use crate::bytes::Reader;

/// A parsed descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// N: no other frame needs this one.
    pub non_reference: bool,
    /// S: the first packet of a partition.
    pub start_of_partition: bool,
    /// PID: which partition, 0..=7.
    pub partition: u8,
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// Running index of base temporal layer frames.
    pub tl0_pic_idx: Option<u8>,
    /// TID: temporal layer, 0..=3.
    pub temporal: Option<u8>,
    /// Y: depends on the base layer only, so that a receiver of lower layers may go up here.
    /// Without a temporal layer it has no meaning.
    pub layer_sync: bool,
    /// KEYIDX: running index of key frames, 0..=31.
    pub key_idx: Option<u8>,
    /// First packet of a key frame (read from the payload header, RFC 7741 §4.3; not written).
    pub key_frame: bool,
    /// Length of the descriptor as it was read, in bytes (not written).
    pub len: u8,
}

impl Descriptor {
    /// The longest descriptor in bytes.
    pub const LEN_MAX: usize = 6;

    /// Reads the descriptor at the start of a payload. `None` when it is cut off.
    #[must_use]
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let first = reader.u8()?;
        let mut found = Self {
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            let flags = reader.u8()?;
            if flags & 0x80 != 0 {
                found.picture_id = Some(PictureId::parse(&mut reader)?);
            }
            if flags & 0x40 != 0 {
                found.tl0_pic_idx = Some(reader.u8()?);
            }
            if flags & 0x30 != 0 {
                let byte = reader.u8()?;
                if flags & 0x20 != 0 {
                    found.temporal = Some(byte >> 6);
                    found.layer_sync = byte & 0x20 != 0;
                }
                if flags & 0x10 != 0 {
                    found.key_idx = Some(byte & 0x1F);
                }
            }
        }
        found.len = (payload.len() - reader.0.len()) as u8;
        // The inverse key frame bit is the lowest bit of the first byte of the frame.
        let interframe = reader.u8().is_none_or(|byte| byte & 1 != 0);
        found.key_frame = !interframe && found.start_of_partition && found.partition == 0;
        Some(found)
    }

    /// Writes the descriptor to the beginning of `out` and returns its length, which differs from
    /// [`Self::len`] when a picture id changed its width. Zero when it does not fit; it always fits
    /// into [`Self::LEN_MAX`] bytes.
    #[must_use]
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let mut bytes = [0u8; Self::LEN_MAX];
        let mut len = 1;
        let mut push = |byte: u8| {
            // At most: two of flags, two of picture id, one index, one of layers.
            if let Some(slot) = bytes.get_mut(len) {
                *slot = byte;
                len += 1;
            }
        };
        let flags = u8::from(self.picture_id.is_some()) << 7
            | u8::from(self.tl0_pic_idx.is_some()) << 6
            | u8::from(self.temporal.is_some()) << 5
            | u8::from(self.key_idx.is_some()) << 4;
        if flags != 0 {
            push(flags);
        }
        if let Some(PictureId { value, wide }) = self.picture_id {
            if wide {
                push(0x80 | (value >> 8) as u8);
                push(value as u8);
            } else {
                push(value as u8 & 0x7F);
            }
        }
        if let Some(index) = self.tl0_pic_idx {
            push(index);
        }
        if self.temporal.is_some() || self.key_idx.is_some() {
            let layer = self
                .temporal
                .map_or(0, |tid| tid << 6 | u8::from(self.layer_sync) << 5);
            push(layer | self.key_idx.unwrap_or(0) & 0x1F);
        }
        bytes[0] = u8::from(flags != 0) << 7
            | u8::from(self.non_reference) << 5
            | u8::from(self.start_of_partition) << 4
            | self.partition & 0x07;
        let (Some(from), Some(to)) = (bytes.get(..len), out.get_mut(..len)) else {
            return 0;
        };
        to.copy_from_slice(from);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_all_fields() {
        let payload = [0x90, 0xF0, 0x92, 0x34, 0x07, 0x7F, 0x10, 0x02];
        let found = Descriptor::parse(&payload).expect("whole");
        assert_eq!(
            found,
            Descriptor {
                non_reference: false,
                start_of_partition: true,
                partition: 0,
                picture_id: Some(PictureId {
                    value: 0x1234,
                    wide: true
                }),
                tl0_pic_idx: Some(7),
                temporal: Some(1),
                layer_sync: true,
                key_idx: Some(31),
                key_frame: true,
                len: 6,
            }
        );
    }

    #[test]
    fn reads_a_seven_bit_picture_id_and_no_layers() {
        let found = Descriptor::parse(&[0x80, 0x80, 0x7F, 0x01]).expect("whole");
        assert_eq!(
            found.picture_id,
            Some(PictureId {
                value: 127,
                wide: false
            })
        );
        assert_eq!((found.len, found.temporal, found.key_frame), (3, None, false));
    }

    #[test]
    fn only_the_start_of_the_first_partition_is_a_key_frame() {
        let key = |first: u8, frame: u8| Descriptor::parse(&[first, frame]).expect("whole").key_frame;
        assert!(key(0x10, 0x00));
        assert!(!key(0x10, 0x01), "interframe");
        assert!(!key(0x00, 0x00), "continuation");
        assert!(!key(0x11, 0x00), "second partition");
        assert!(!Descriptor::parse(&[0x10]).expect("whole").key_frame, "no frame");
    }

    #[test]
    fn a_cut_descriptor_is_refused() {
        let whole = [0x90, 0xF0, 0x92, 0x34, 0x07, 0x7F];
        for len in 0..whole.len() {
            assert_eq!(Descriptor::parse(&whole[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn a_picture_id_can_grow() {
        let mut found = Descriptor::parse(&[0x90, 0x80, 0x05, 0]).expect("whole");
        found.picture_id = Some(PictureId {
            value: 300,
            wide: true,
        });
        let mut out = [0; Descriptor::LEN_MAX];
        let len = found.write(&mut out);
        assert_eq!(out[..len], [0x90, 0x80, 0x81, 0x2C]);
        assert_eq!(found.write(&mut out[..3]), 0);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written(payload in prop::collection::vec(any::<u8>(), 1..12)) {
            if let Some(found) = Descriptor::parse(&payload) {
                let mut out = [0; Descriptor::LEN_MAX];
                let len = found.write(&mut out);
                let mut whole = out[..len].to_vec();
                whole.extend(payload.get(usize::from(found.len)..).unwrap_or_default());
                let again = Descriptor::parse(&whole).expect("written whole");
                // Reserved bits and an empty extension are not kept, so its length may shrink.
                prop_assert_eq!(Descriptor { len: found.len, ..again }, found);
                prop_assert!(len <= usize::from(found.len));
            }
        }
    }
}
