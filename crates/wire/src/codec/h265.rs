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
    /// Temporal layer of the packet, from its payload header.
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
        found.temporal = (second & 0x07).saturating_sub(1);
        match (first >> 1) & 0x3F {
            AGGREGATE => {
                while let Some(unit) = reader.u16().and_then(|len| reader.take(usize::from(len))) {
                    if let Some(&head) = unit.first() {
                        found.add((head >> 1) & 0x3F);
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
    fn only_the_first_fragment_counts() {
        assert!(NalUnits::parse(&[0x62, 0x01, 0x93, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01, 0x13, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01, 0x53, 0xAF]).key_frame());
        assert!(!NalUnits::parse(&[0x62, 0x01]).key_frame());
    }
}
