//! The dependency descriptor header extension (AV1 RTP payload format v1.0, appendix A): which
//! layer a frame belongs to and which decode targets need it, without a look at the payload.
//!
//! Owns: reading against a template structure, and writing again with another frame number and
//! other active decode targets, which is what a forwarder changes when it leaves layers out.
//! Must not know: which structure belongs to which stream (the caller keeps it).
//!
//! ```text
//! |first|last| template id: 6 | frame number: 16 |                       mandatory
//! |structure|active|dtis|fdiffs|chains|                                  flags, when longer
//! structure, active decode targets mask, dtis, fdiffs, chains            each if flagged
//! ```

mod structure;
mod write;

pub use structure::{FrameDiffs, Structure, Template};
pub use write::{NewDescriptor, rewrite, write};

use crate::bits::BitReader;

/// The most decode targets of a structure.
pub const DECODE_TARGETS_MAX: usize = 32;
/// The most templates of a structure.
pub const TEMPLATES_MAX: usize = 64;
/// The most spatial layers.
pub const SPATIAL_LAYERS_MAX: u8 = 4;
/// The most temporal layers.
pub const TEMPORAL_LAYERS_MAX: u8 = 8;
/// The most frames that one frame may reference. The format has no limit; AV1 frames have up to
/// seven references.
pub const FRAME_DIFFS_MAX: usize = 8;

/// Length of the mandatory fields in bytes.
const MANDATORY_LEN: usize = 3;
/// Where the extended flags begin, in bits.
const FLAGS_START: usize = 24;
/// How many there are.
const FLAGS_COUNT: usize = 5;

/// Why a descriptor could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Cut off, or over a limit of the format.
    Broken,
    /// It brings no structure and none is known: only a key frame helps.
    NoStructure,
    /// Its template is not one of the structure: the structure is an older or a newer one.
    UnknownTemplate,
}

/// What a frame is to a decode target (§A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// `-`: not part of it.
    NotPresent,
    /// `D`: part of it, but no other frame of it needs this one.
    Discardable,
    /// `S`: a receiver may begin the target here.
    Switch,
    /// `R`: other frames of it need this one.
    Required,
}

/// The relation of one frame to every decode target, two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// The relation to one decode target; those beyond the structure are not present.
    #[must_use]
    pub const fn get(self, target: usize) -> Indication {
        if target >= DECODE_TARGETS_MAX {
            return Indication::NotPresent;
        }
        match (self.0 >> (target * 2)) & 3 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// Whether the frame is part of a decode target.
    #[must_use]
    pub fn includes(self, target: usize) -> bool {
        self.get(target) != Indication::NotPresent
    }

    fn read(reader: &mut BitReader<'_>, targets: usize) -> Option<Self> {
        let mut bits = 0;
        for target in 0..targets {
            bits |= u64::from(reader.read(2)?) << (target * 2);
        }
        Some(Self(bits))
    }
}

/// The mandatory fields, which need no structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mandatory {
    /// First packet of the frame.
    pub first_packet: bool,
    /// Last packet of the frame.
    pub last_packet: bool,
    /// Template of the frame, 0..=63.
    pub template_id: u8,
    /// Number of the frame; wraps.
    pub frame_number: u16,
}

impl Mandatory {
    /// Reads the first three bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, n0, n1] = *bytes.first_chunk::<MANDATORY_LEN>()?;
        Some(Self {
            first_packet: first & 0x80 != 0,
            last_packet: first & 0x40 != 0,
            template_id: first & 0x3F,
            frame_number: u16::from_be_bytes([n0, n1]),
        })
    }
}

/// A descriptor, resolved through its template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Mandatory fields.
    pub mandatory: Mandatory,
    /// Spatial layer of the frame.
    pub spatial: u8,
    /// Temporal layer of the frame.
    pub temporal: u8,
    /// Relation to the decode targets.
    pub indications: Indications,
    /// Frame number differences to the frames that it references.
    pub frame_diffs: FrameDiffs,
    /// Per chain: frame number difference to the frame of the chain before, 0 for none.
    pub chain_diffs: [u8; DECODE_TARGETS_MAX],
    /// How many of `chain_diffs` are set.
    pub chain_count: u8,
    /// One bit per decode target that the sender still produces, bit 0 for target 0. `None`: as
    /// said last; a new structure sets all of them.
    pub active_decode_targets: Option<u32>,
    /// The size of the frame's spatial layer, when the structure says it.
    pub resolution: Option<(u32, u32)>,
    /// The structure that came with it. The caller keeps it for the frames that follow.
    pub structure: Option<Box<Structure>>,
    /// Where [`rewrite`] cuts.
    layout: Layout,
}

/// Bit positions within the bytes that were parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Behind the flags and the structure; here a mask is or would be.
    mask_start: usize,
    /// Behind the mask.
    mask_end: usize,
    /// Behind everything that has a meaning.
    end: usize,
    /// Decode targets of the structure: the width of a mask.
    targets: usize,
}

impl Descriptor {
    /// Reads a descriptor. `known` is the structure that came last on its stream.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(bytes: &[u8], known: Option<&Structure>) -> Result<Self, Error> {
        Self::parse_into(bytes, known, &mut None)
    }

    /// As [`Self::parse`], with memory for an attached structure: `spare` is taken when there is one,
    /// and comes back as [`Self::structure`] or, when the descriptor is broken, stays. Nothing says
    /// that structures come with key frames only, so who reads packets hands back what it no longer
    /// needs.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse_into(
        bytes: &[u8],
        known: Option<&Structure>,
        spare: &mut Option<Box<Structure>>,
    ) -> Result<Self, Error> {
        let mandatory = Mandatory::parse(bytes).ok_or(Error::Broken)?;
        let mut reader = BitReader::new(bytes);
        let mut flags = 0;
        let mut attached = false;
        if bytes.len() > MANDATORY_LEN {
            reader.read(FLAGS_START).ok_or(Error::Broken)?;
            flags = reader.read(FLAGS_COUNT).ok_or(Error::Broken)?;
            if flags & 0x10 != 0 {
                let structure = spare.get_or_insert_with(|| Box::new(Structure::unread()));
                structure.read(&mut reader).ok_or(Error::Broken)?;
                attached = true;
            }
        } else {
            reader.read(FLAGS_START).ok_or(Error::Broken)?;
        }
        let own = spare.as_deref().filter(|_| attached);
        let structure = own.or(known).ok_or(Error::NoStructure)?;
        let template = structure
            .template(mandatory.template_id)
            .ok_or(Error::UnknownTemplate)?;
        let mut found = Self {
            mandatory,
            spatial: template.spatial,
            temporal: template.temporal,
            indications: template.indications,
            frame_diffs: template.frame_diffs,
            chain_diffs: template.chain_diffs,
            chain_count: structure.chain_count,
            active_decode_targets: own.map(Structure::all_targets),
            resolution: structure.resolution(template.spatial),
            structure: None,
            layout: Layout {
                mask_start: reader.position(),
                mask_end: 0,
                end: 0,
                targets: structure.target_count(),
            },
        };
        found.read_rest(&mut reader, flags).ok_or(Error::Broken)?;
        if attached {
            found.structure = spare.take();
        }
        Ok(found)
    }

    /// The mask and the fields that differ from the template.
    fn read_rest(&mut self, reader: &mut BitReader<'_>, flags: u32) -> Option<()> {
        let targets = self.layout.targets;
        if flags & 0x08 != 0 {
            // The highest bit of the field is the highest target.
            self.active_decode_targets = Some(reader.read(targets)?);
        }
        self.layout.mask_end = reader.position();
        if flags & 0x04 != 0 {
            self.indications = Indications::read(reader, targets)?;
        }
        if flags & 0x02 != 0 {
            self.frame_diffs = FrameDiffs::read_custom(reader)?;
        }
        if flags & 0x01 != 0 {
            for diff in self.chain_diffs.iter_mut().take(usize::from(self.chain_count)) {
                *diff = reader.read(8)? as u8;
            }
        }
        self.layout.end = reader.position();
        Some(())
    }
}

#[cfg(test)]
mod tests;
