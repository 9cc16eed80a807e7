//! What selection and rewriting need to know of one packet, read once from its codec's descriptor.
//!
//! Owns: the digest's shape. Must not know: layers of other streams, subscribers.

use peer::Codec;
use wire::codec::{av1, h264, h265, vp8, vp9};

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

    /// Whether only a dependency descriptor tells the layers of this frame: AV1 and H.264 have no
    /// descriptor of their own, and VP8's is empty where the other one was negotiated.
    pub(crate) fn is_layered_by_dependency(&self, codec: Codec) -> bool {
        self.dependency.is_some()
            && match codec {
                Codec::Av1 | Codec::H264 => true,
                Codec::Vp8 => self.vp8.is_some_and(|numbers| numbers.tl0.is_none()),
                Codec::Vp9 | Codec::H265 | Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => false,
            }
    }
}

/// Reads the digest of one packet. `begins`: no packet with its timestamp came before.
/// Without a readable descriptor the packet counts as a plain piece of its frame.
pub(crate) fn describe(codec: Codec, payload: &[u8], marker: bool, begins: bool) -> Frame {
    let piece = Frame {
        start: begins,
        end: marker,
        key: false,
        sync: false,
        independent: false,
        ..Frame::PLAIN
    };
    match codec {
        Codec::Opus | Codec::Red | Codec::Pcmu | Codec::Pcma => Frame::PLAIN,
        Codec::Vp8 => describe_vp8(payload, piece),
        Codec::Vp9 => describe_vp9(payload, piece),
        Codec::H264 => {
            let units = h264::NalUnits::parse(payload);
            let key = units.key_frame();
            Frame {
                // Some encoders put a delimiter in front of the parameter sets.
                start: begins || units.sps,
                key,
                independent: key,
                ..piece
            }
        }
        Codec::H265 => {
            let units = h265::NalUnits::parse(payload);
            let key = units.key_frame();
            Frame {
                start: begins || units.vps || units.sps,
                key,
                independent: key,
                temporal: units.temporal,
                ..piece
            }
        }
        Codec::Av1 => {
            let key = av1::is_key_frame(payload);
            Frame {
                key,
                independent: key,
                ..piece
            }
        }
    }
}

fn describe_vp8(payload: &[u8], piece: Frame) -> Frame {
    let Some(descriptor) = vp8::Descriptor::parse(payload) else {
        return piece;
    };
    Frame {
        start: descriptor.start_of_partition && descriptor.partition == 0,
        key: descriptor.key_frame,
        independent: descriptor.key_frame,
        temporal: descriptor.temporal.unwrap_or(0),
        sync: descriptor.temporal.is_some() && descriptor.layer_sync,
        vp8: Some(Vp8Numbers {
            header_len: descriptor.len,
            picture: descriptor.picture_id.map(|id| (id.value, id.wide)),
            tl0: descriptor.tl0_pic_idx,
            keyidx: descriptor.key_idx,
        }),
        ..piece
    }
}

fn describe_vp9(payload: &[u8], piece: Frame) -> Frame {
    let Some(descriptor) = vp9::Descriptor::parse(payload) else {
        return piece;
    };
    Frame {
        start: descriptor.start_of_frame,
        end: descriptor.end_of_frame,
        key: descriptor.key_frame(),
        spatial: descriptor.spatial(),
        temporal: descriptor.temporal(),
        sync: descriptor.layer.is_some_and(|layer| layer.switching_up),
        independent: descriptor.start_of_frame && !descriptor.inter_predicted,
        ..piece
    }
}
