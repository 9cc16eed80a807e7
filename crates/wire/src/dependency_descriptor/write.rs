//! Writing descriptors: received ones again with changes, and plain ones from a structure.

use super::{Descriptor, FLAGS_COUNT, FLAGS_START, MANDATORY_LEN, Mandatory, Structure};
use crate::bits::BitWriter;

/// The flag of a mask among the five extended flags.
const ACTIVE_FLAG: u32 = 0x08;

/// Writes `source`, the bytes from which `parsed` was read, with another frame number, and with
/// `active_decode_targets` in place of its mask (a mask is added when it had none; `None` leaves it
/// as it is). Everything else stays bit by bit: frame numbers are only ever compared by their
/// differences, so a constant offset per stream keeps all references whole.
///
/// Returns the length; `None` when it does not fit into `out`.
#[must_use]
pub fn rewrite(
    source: &[u8],
    parsed: &Descriptor,
    frame_number: u16,
    active_decode_targets: Option<u32>,
    out: &mut [u8],
) -> Option<usize> {
    let Some(mask) = active_decode_targets else {
        let target = out.get_mut(..source.len())?;
        target.copy_from_slice(source);
        target
            .get_mut(1..MANDATORY_LEN)?
            .copy_from_slice(&frame_number.to_be_bytes());
        return Some(source.len());
    };
    let layout = parsed.layout;
    let mut writer = BitWriter::new(out);
    writer.write(8, u32::from(*source.first()?))?;
    writer.write(16, u32::from(frame_number))?;
    if source.len() > MANDATORY_LEN {
        let flags = u32::from(*source.get(MANDATORY_LEN)?) >> (8 - FLAGS_COUNT);
        writer.write(FLAGS_COUNT, flags | ACTIVE_FLAG)?;
        writer.copy(source, FLAGS_START + FLAGS_COUNT, layout.mask_start)?;
    } else {
        writer.write(FLAGS_COUNT, ACTIVE_FLAG)?;
    }
    writer.write(layout.targets, mask)?;
    writer.copy(source, layout.mask_end, layout.end)?;
    Some(writer.len())
}

/// A descriptor that follows its template.
#[derive(Clone, Copy, Debug)]
pub struct NewDescriptor<'a> {
    /// Mandatory fields.
    pub mandatory: Mandatory,
    /// Structure to attach; key frames have it in their first packet.
    pub structure: Option<&'a Structure>,
    /// Mask of active decode targets and how many targets the structure has.
    pub active_decode_targets: Option<(u32, usize)>,
}

/// Writes a descriptor that follows its template. Returns the length; `None` when it does not fit
/// into `out`.
#[must_use]
pub fn write(descriptor: &NewDescriptor<'_>, out: &mut [u8]) -> Option<usize> {
    let mandatory = descriptor.mandatory;
    let mut writer = BitWriter::new(out);
    writer.flag(mandatory.first_packet)?;
    writer.flag(mandatory.last_packet)?;
    writer.write(6, u32::from(mandatory.template_id))?;
    writer.write(16, u32::from(mandatory.frame_number))?;
    if descriptor.structure.is_none() && descriptor.active_decode_targets.is_none() {
        return Some(writer.len());
    }
    writer.flag(descriptor.structure.is_some())?;
    writer.flag(descriptor.active_decode_targets.is_some())?;
    writer.write(3, 0)?;
    if let Some(structure) = descriptor.structure {
        structure.write(&mut writer)?;
    }
    if let Some((mask, targets)) = descriptor.active_decode_targets {
        writer.write(targets, mask)?;
    }
    Some(writer.len())
}
