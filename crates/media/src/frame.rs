//! What selection and rewriting need to know of one packet, read once from its codec's descriptor.
//!
//! Owns: the digest's shape. Must not know: layers of other streams, subscribers.

/// A digest of one packet's payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// First packet of a frame (of one spatial layer's part of a picture).
    pub(crate) start: bool,
    /// Last packet of a frame (of one spatial layer's part of a picture).
    pub(crate) end: bool,
    /// Decoding can start here: a key frame (all its packets).
    pub(crate) key: bool,
    /// Spatial layer within the stream; 0 unless it is a scalable stream.
    pub(crate) spatial: u8,
    /// Temporal layer.
    pub(crate) temporal: u8,
    /// Higher temporal layers up to this frame's may be decoded from here on: VP8 layer sync,
    /// VP9 switching-up point.
    pub(crate) sync: bool,
    /// Depends on no earlier picture: this spatial layer may be decoded from here on.
    pub(crate) independent: bool,
    /// Numbers that a VP8 descriptor carries.
    pub(crate) vp8: Option<Vp8Numbers>,
    /// What a dependency descriptor says.
    pub(crate) dependency: Option<Dependency>,
}

/// Numbers of a VP8 payload descriptor (RFC 7741 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vp8Numbers {
    /// Length of the descriptor in bytes, at most 6.
    pub(crate) header_len: u8,
    /// PictureID, and whether it has 15 bits.
    pub(crate) picture: Option<(u16, bool)>,
    /// TL0PICIDX.
    pub(crate) tl0: Option<u8>,
    /// KEYIDX, 5 bits.
    pub(crate) keyidx: Option<u8>,
}

/// The part of a dependency descriptor that selection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Frame number.
    pub(crate) number: u16,
    /// Bit per decode target: the frame belongs to it.
    pub(crate) present: u32,
    /// Bit per decode target: a receiver may switch to it at this frame.
    pub(crate) switch: u32,
}

impl Frame {
    /// A packet of a format without layers and frames worth knowing: every packet stands alone.
    pub(crate) const PLAIN: Self = Self {
        start: true,
        end: true,
        key: true,
        spatial: 0,
        temporal: 0,
        sync: true,
        independent: true,
        vp8: None,
        dependency: None,
    };
}
