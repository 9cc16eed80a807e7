//! VP9 payload descriptor (RFC 9628 §4.2).
//!
//! ```text
//! |I|P|L|F|B|E|V|Z|   I: |M| picture id: 7 or 15 |   L: |TID|U|SID|D|   L and not F: | TL0PICIDX |
//! P and F: up to three of | P_DIFF: 7 |N|
//! V: | N_S: 3 |Y|G| - |   Y: (width: 16, height: 16) per layer
//!    G: | N_G: 8 | and as often |TID|U| R: 2 | - | with R bytes of P_DIFF each
//! ```

use super::PictureId;
use crate::bytes::Reader;

/// The most spatial layers that a scalability structure can say.
pub const SPATIAL_LAYERS_MAX: usize = 8;

/// A parsed descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Picture id.
    pub picture_id: Option<PictureId>,
    /// P: predicted from an earlier picture.
    pub inter_predicted: bool,
    /// F: flexible mode, references are said per frame.
    pub flexible: bool,
    /// B: first packet of a layer frame.
    pub start_of_frame: bool,
    /// E: last packet of a layer frame.
    pub end_of_frame: bool,
    /// Z: not a reference for higher spatial layers of its picture.
    pub not_inter_layer_reference: bool,
    /// Layer indices.
    pub layer: Option<Layer>,
    /// Running index of base temporal layer pictures; only in non-flexible mode.
    pub tl0_pic_idx: Option<u8>,
    /// How many of `reference_diffs` are set; only in flexible mode.
    pub reference_count: u8,
    /// Picture id differences of the referenced pictures, 7 bits each.
    pub reference_diffs: [u8; 3],
    /// Scalability structure; comes with key frames.
    pub structure: Option<Structure>,
    /// Length of the descriptor in bytes.
    pub len: u16,
}

/// Layer indices of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// TID: temporal layer.
    pub temporal: u8,
    /// U: a receiver of lower temporal layers may go up here.
    pub switching_up: bool,
    /// SID: spatial layer.
    pub spatial: u8,
    /// D: predicted from the spatial layer below in the same picture.
    pub inter_layer_predicted: bool,
}

/// Scalability structure (RFC 9628 §4.2.1). The picture group is checked but not kept: layer
/// indices in the descriptor say the same per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// How many spatial layers there are, 1..=8.
    pub spatial_layers: u8,
    /// Width and height of each, if said.
    pub resolutions: Option<[(u16, u16); SPATIAL_LAYERS_MAX]>,
    /// How many pictures the group has, if said.
    pub group_len: Option<u8>,
}

impl Descriptor {
    /// Reads the descriptor at the start of a payload. `None` when it is cut off or says more
    /// references than allowed.
    #[must_use]
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader(payload);
        let flags = reader.u8()?;
        let mut found = Self {
            inter_predicted: flags & 0x40 != 0,
            flexible: flags & 0x10 != 0,
            start_of_frame: flags & 0x08 != 0,
            end_of_frame: flags & 0x04 != 0,
            not_inter_layer_reference: flags & 0x01 != 0,
            ..Self::default()
        };
        if flags & 0x80 != 0 {
            found.picture_id = Some(PictureId::parse(&mut reader)?);
        }
        if flags & 0x20 != 0 {
            let byte = reader.u8()?;
            found.layer = Some(Layer {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: (byte >> 1) & 0x07,
                inter_layer_predicted: byte & 0x01 != 0,
            });
            if !found.flexible {
                found.tl0_pic_idx = Some(reader.u8()?);
            }
        }
        if found.flexible && found.inter_predicted {
            found.references(&mut reader)?;
        }
        if flags & 0x02 != 0 {
            found.structure = Some(Structure::parse(&mut reader)?);
        }
        found.len = u16::try_from(payload.len() - reader.0.len()).ok()?;
        Some(found)
    }

    fn references(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        for slot in &mut self.reference_diffs {
            let byte = reader.u8()?;
            *slot = byte >> 1;
            self.reference_count += 1;
            if byte & 1 == 0 {
                return Some(());
            }
        }
        // RFC 9628 §4.2: at most three.
        None
    }

    /// Spatial layer, 0 without layer indices.
    #[must_use]
    pub fn spatial(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.spatial)
    }

    /// Temporal layer, 0 without layer indices.
    #[must_use]
    pub fn temporal(&self) -> u8 {
        self.layer.map_or(0, |layer| layer.temporal)
    }

    /// First packet of a key frame: the base spatial layer of a picture that is predicted from none.
    #[must_use]
    pub fn key_frame(&self) -> bool {
        self.start_of_frame && !self.inter_predicted && self.spatial() == 0
    }
}

impl Structure {
    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let head = reader.u8()?;
        let spatial_layers = (head >> 5) + 1;
        let resolutions = if head & 0x10 == 0 {
            None
        } else {
            let mut all = [(0, 0); SPATIAL_LAYERS_MAX];
            for slot in all.iter_mut().take(usize::from(spatial_layers)) {
                *slot = (reader.u16()?, reader.u16()?);
            }
            Some(all)
        };
        let group_len = if head & 0x08 == 0 {
            None
        } else {
            let count = reader.u8()?;
            for _ in 0..count {
                let references = (reader.u8()? >> 2) & 0x03;
                reader.take(usize::from(references))?;
            }
            Some(count)
        };
        Some(Self {
            spatial_layers,
            resolutions,
            group_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_non_flexible_layers() {
        // I, L, B; 15-bit id; temporal 2, up-switch, spatial 1, inter-layer.
        let found = Descriptor::parse(&[0xA8, 0x92, 0x34, 0b0101_0011, 0x07, 0xAA]).expect("whole");
        assert_eq!(
            found.picture_id,
            Some(PictureId {
                value: 0x1234,
                wide: true
            })
        );
        assert_eq!(
            found.layer,
            Some(Layer {
                temporal: 2,
                switching_up: true,
                spatial: 1,
                inter_layer_predicted: true,
            })
        );
        assert_eq!((found.tl0_pic_idx, found.len), (Some(7), 5));
        assert!(found.start_of_frame && !found.end_of_frame);
        assert!(!found.key_frame(), "an upper spatial layer begins no key frame");
    }

    #[test]
    fn reads_flexible_references() {
        // I, P, L, F, E; 7-bit id; two references.
        let found = Descriptor::parse(&[0xF4, 0x11, 0x00, 0x03, 0x04, 0xAA]).expect("whole");
        assert_eq!(found.tl0_pic_idx, None);
        assert_eq!((found.reference_count, found.reference_diffs), (2, [1, 2, 0]));
        assert_eq!(found.len, 5);
        assert!(found.end_of_frame && !found.key_frame());
        assert_eq!(
            Descriptor::parse(&[0xF4, 0x11, 0x00, 0x03, 0x03, 0x03, 0x02]),
            None,
            "four references"
        );
    }

    #[test]
    fn reads_the_structure_of_a_key_frame() {
        // I, L, B, E, V; three layers with sizes, a group of two pictures.
        let payload = [
            0xAE, 0x01, 0x00, 0x00, 0x58, 0, 160, 0, 90, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0x14, 1, 0x58, 1,
            2, 0xAA,
        ];
        assert_eq!(Descriptor::parse(&payload[..22]), None, "cut");
        let found = Descriptor::parse(&payload).expect("whole");
        let structure = found.structure.expect("said");
        assert_eq!((structure.spatial_layers, structure.group_len), (3, Some(2)));
        let sizes = structure.resolutions.expect("said");
        assert_eq!(sizes[..3], [(160, 90), (320, 180), (640, 360)]);
        assert_eq!(found.len, 23);
        assert!(found.key_frame());
    }

    #[test]
    fn key_frame_needs_the_start_and_no_prediction() {
        let key = |flags: u8| Descriptor::parse(&[flags, 0]).expect("whole").key_frame();
        assert!(key(0x08));
        assert!(!key(0x00));
        assert!(!key(0x48));
    }

    proptest! {
        #[test]
        fn the_length_stays_within_the_payload(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(found) = Descriptor::parse(&payload) {
                prop_assert!(usize::from(found.len) <= payload.len());
                // The bytes behind the descriptor do not matter.
                prop_assert_eq!(Descriptor::parse(&payload[..usize::from(found.len)]), Some(found));
            }
        }
    }
}
