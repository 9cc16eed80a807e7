//! What an SFU must know of a payload to forward it: key frames, layers, picture ids. One file per
//! payload format.
//!
//! Owns: descriptor parsing, and writing where ids are rewritten (VP8) or payloads wrapped (RED).
//! Must not know: streams, which layer anybody wants, encrypted payloads (frames under E2EE keep
//! their descriptors and the bytes that tell key frames in the clear).

pub mod av1;
pub mod h264;
pub mod h265;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

/// A picture id of VP8 or VP9: 7 or 15 bits on the wire, wrapping at that width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// The id.
    pub value: u16,
    /// 15 bits rather than 7.
    pub wide: bool,
}

impl PictureId {
    fn parse(reader: &mut crate::bytes::Reader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        let high = u16::from(first & 0x7F);
        if first & 0x80 == 0 {
            return Some(Self {
                value: high,
                wide: false,
            });
        }
        Some(Self {
            value: (high << 8) | u16::from(reader.u8()?),
            wide: true,
        })
    }
}
