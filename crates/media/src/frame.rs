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
    /// Higher temporal layers up to this frame's may be decoded from here on by who decodes at least
    /// this layer: any with VP8's layer sync and VP9's switching-up point, the next lower one with
    /// H.265's TSA and STSA pictures.
    pub(crate) sync: Option<u8>,
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
        sync: Some(0),
        independent: true,
        vp8: None,
        dependency: None,
    };

    /// A packet of padding, between frames: publishers send it to find out what their network carries.
    pub(crate) const PADDING: Self = Self {
        start: false,
        end: true,
        key: false,
        spatial: 0,
        temporal: 0,
        sync: None,
        independent: false,
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

/// Where a packet stands in its frame, as far as sequence numbers and timestamps tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The packet in front of it belongs to another frame.
    First,
    /// No packet with its timestamp came before, but packets in front of it are missing.
    BehindGap,
    /// Another packet of the frame came before.
    Inside,
}

/// Reads the digest of one packet.
/// Without a readable descriptor the packet counts as a plain piece of its frame.
pub(crate) fn describe(codec: Codec, payload: &[u8], marker: bool, place: Place) -> Frame {
    let begins = place != Place::Inside;
    let piece = Frame {
        start: begins,
        end: marker,
        key: false,
        sync: None,
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
                // Some encoders put a delimiter in front of the parameter sets. Behind a gap a slice
                // may have lost them: what begins there could not be decoded.
                start: units.sps || if key { place == Place::First } else { begins },
                key,
                independent: key,
                ..piece
            }
        }
        Codec::H265 => {
            let units = h265::NalUnits::parse(payload);
            let key = units.key_frame();
            Frame {
                // As with H.264.
                start: units.vps || if key { place == Place::First } else { begins },
                key,
                independent: key,
                temporal: units.temporal,
                sync: (units.switch && place == Place::First).then(|| units.temporal.saturating_sub(1)),
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
        sync: (descriptor.temporal.is_some() && descriptor.layer_sync).then_some(0),
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
        sync: descriptor.layer.and_then(|layer| layer.switching_up.then_some(0)),
        independent: descriptor.start_of_frame && !descriptor.inter_predicted,
        ..piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter sets, a slice of a key frame, and another slice.
    const H264: [&[u8]; 3] = [&[0x67, 0x42], &[0x65, 0x88], &[0x61, 0x9A]];
    const H265: [&[u8]; 3] = [&[0x40, 0x01, 0x0C], &[0x26, 0x01, 0xAF], &[0x02, 0x01, 0xD0]];

    #[test]
    fn key_frames_begin_with_parameter_sets_unless_nothing_was_lost_before_the_slice() {
        for (codec, [sets, key, slice]) in [(Codec::H264, H264), (Codec::H265, H265)] {
            let starts = |payload, place| describe(codec, payload, false, place).start;
            for place in [Place::First, Place::BehindGap, Place::Inside] {
                assert!(starts(sets, place), "{codec:?} {place:?}");
                assert_eq!(starts(key, place), place == Place::First, "{codec:?} {place:?}");
                assert_eq!(
                    starts(slice, place),
                    place != Place::Inside,
                    "{codec:?} {place:?}"
                );
            }
            let kinds = [sets, key, slice].map(|payload| describe(codec, payload, false, Place::First).key);
            assert_eq!(kinds, [true, true, false]);
        }
    }

    #[test]
    fn switching_pictures_of_h265_lead_up_from_the_next_lower_layer() {
        let tsa: &[u8] = &[0x06, 0x03, 0xD0];
        let frame = describe(Codec::H265, tsa, true, Place::First);
        assert_eq!((frame.temporal, frame.sync), (2, Some(1)));
        assert_eq!(describe(Codec::H265, tsa, true, Place::BehindGap).sync, None);
        assert_eq!(describe(Codec::H265, H265[2], true, Place::First).sync, None);
    }
}
