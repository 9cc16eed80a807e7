//! H.265 payload (RFC 7798 §4.4): which NAL units begin in a packet, through aggregation and
//! fragmentation, and their temporal layer.

use crate::bytes::Reader;

const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;

/// The NAL units of interest that begin in one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NalUnits {
    /// Video parameter set.
    pub vps: bool,
    /// Sequence parameter set.
    pub sps: bool,
    /// Picture parameter set.
    pub pps: bool,
    /// A slice of a picture at which decoding can start (IRAP: BLA, IDR or CRA, types 16..=23).
    pub irap: bool,
    /// A slice of a picture at which decoding may go up from the next lower temporal layer to the
    /// picture's own (TSA or STSA, types 2..=5; ITU-T H.265 §7.4.2.2).
    pub switch: bool,
    /// Temporal layer of the picture, from the payload header; of an aggregate from its first slice
    /// if it has one, for the header has to say the lowest layer of all units (RFC 7798 §4.4.2), some
    /// packetisers always say 0 there, and some encoders put delimiters of layer 0 before pictures of
    /// any (which ITU-T H.265 §7.4.2.2 forbids).
    pub temporal: u8,
}

impl NalUnits {
    /// Looks through one payload. A broken aggregate ends the look, what came before counts.
    /// Streams with decoding order numbers (sprop-max-don-diff above 0) are not negotiated.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let mut found = Self::default();
        let mut reader = Reader(payload);
        let Some([first, second]) = reader.array() else {
            return found;
        };
        found.temporal = temporal(second);
        match (first >> 1) & 0x3F {
            AGGREGATE => {
                let mut slices = false;
                while let Some(unit) = reader.u16().and_then(|len| reader.take(usize::from(len))) {
                    let Some(&[head, second]) = unit.first_chunk() else {
                        continue;
                    };
                    let kind = (head >> 1) & 0x3F;
                    found.add(kind);
                    if kind < VPS && !slices {
                        slices = true;
                        found.temporal = temporal(second);
                    }
                }
            }
            FRAGMENT => {
                if let Some(head) = reader.u8()
                    && head & 0x80 != 0
                {
                    found.add(head & 0x3F);
                }
            }
            kind => found.add(kind),
        }
        found
    }

    const fn add(&mut self, kind: u8) {
        match kind {
            2..=5 => self.switch = true,
            16..=23 => self.irap = true,
            VPS => self.vps = true,
            SPS => self.sps = true,
            PPS => self.pps = true,
            _ => {}
        }
    }

    /// The packet begins a key frame.
    #[must_use]
    pub const fn key_frame(self) -> bool {
        self.vps || self.sps || self.irap
    }
}

/// From the second byte of a unit's header, which has it plus 1 (RFC 7798 §1.1.4).
const fn temporal(second: u8) -> u8 {
    (second & 0x07).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_units() {
        assert!(NalUnits::parse(&[0x40, 0x01, 0x0C]).vps);
        assert!(NalUnits::parse(&[0x42, 0x01, 0x01]).sps);
        assert!(NalUnits::parse(&[0x44, 0x01, 0xC1]).pps);
        assert!(NalUnits::parse(&[0x26, 0x01, 0xAF]).irap, "IDR_W_RADL");
        assert!(NalUnits::parse(&[0x2A, 0x01, 0xAF]).key_frame(), "CRA");
        assert!(!NalUnits::parse(&[0x02, 0x01, 0xD0]).key_frame(), "TRAIL_R");
        assert_eq!(NalUnits::parse(&[0x02, 0x03, 0xD0]).temporal, 2);
        assert!(NalUnits::parse(&[0x06, 0x02, 0xD0]).switch, "TSA_R");
        assert!(NalUnits::parse(&[0x08, 0x03, 0xD0]).switch, "STSA_N");
        assert!(!NalUnits::parse(&[0x00, 0x03, 0xD0]).switch, "TRAIL_N");
        assert!(!NalUnits::parse(&[0x0C, 0x02, 0xD0]).switch, "RADL_N");
        assert_eq!(NalUnits::parse(&[0x40]), NalUnits::default());
    }

    #[test]
    fn aggregates() {
        let found = NalUnits::parse(&[0x60, 0x01, 0, 2, 0x40, 1, 0, 2, 0x42, 1, 0, 2, 0x44, 1]);
        assert!(found.vps && found.sps && found.pps && found.key_frame());
        let found = NalUnits::parse(&[0x60, 0x01, 0, 2, 0x44, 1, 0, 9, 0x42]);
        assert!(found.pps && !found.sps, "a broken unit ends the look");
    }

    #[test]
    fn the_temporal_layer_of_an_aggregate_is_that_of_its_slices() {
        // As libx265 and ffmpeg send a picture of layer 1: a delimiter in front, and 0 in the header.
        let delimiter = [0x60, 0x01, 0, 3, 0x46, 0x01, 0x50, 0, 4, 0x04, 0x02, 0xE0, 0x24];
        let found = NalUnits::parse(&delimiter);
        assert_eq!(found.temporal, 1);
        assert!(found.switch, "TSA_N");
        assert_eq!(NalUnits::parse(&delimiter[..7]).temporal, 0, "of the header");
        let sets = [0x60, 0x01, 0, 2, 0x42, 0x01, 0, 2, 0x44, 0x02];
        assert_eq!(NalUnits::parse(&sets).temporal, 0, "no slice");
    }

    #[test]
    fn only_the_first_fragment_counts() {
        assert!(NalUnits::parse(&[0x62, 0x01, 0x93, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01, 0x13, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01, 0x53, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01]).key_frame());
    }
}
