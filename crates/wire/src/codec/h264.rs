//! H.264 payload (RFC 6184 §5): which NAL units begin in a packet, through aggregation and
//! fragmentation.

use crate::bytes::Reader;

const IDR: u8 = 5;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_B: u8 = 29;

/// The NAL units of interest that begin in one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NalUnits {
    /// Sequence parameter set.
    pub sps: bool,
    /// Picture parameter set.
    pub pps: bool,
    /// A slice of an IDR picture.
    pub idr: bool,
}

impl NalUnits {
    /// Looks through one payload. A broken aggregate ends the look, what came before counts.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let mut found = Self::default();
        let mut reader = Reader(payload);
        let Some(first) = reader.u8() else {
            return found;
        };
        match first & 0x1F {
            // RFC 6184 §5.7: single-time aggregates without and with decoding order number, and
            // multi-time aggregates whose units have 3 or 4 bytes in front.
            kind @ STAP_A..=27 => {
                let unit_head = match kind {
                    26 => 3,
                    27 => 4,
                    _ => 0,
                };
                if kind != STAP_A && reader.u16().is_none() {
                    return found;
                }
                while let Some(unit) = reader.u16().and_then(|len| reader.take(usize::from(len))) {
                    if let Some(&head) = unit.get(unit_head) {
                        found.add(head);
                    }
                }
            }
            // RFC 6184 §5.8: the type is in the second byte, and begins where the start bit is.
            FU_A | FU_B => {
                if let Some(head) = reader.u8()
                    && head & 0x80 != 0
                {
                    found.add(head);
                }
            }
            _ => found.add(first),
        }
        found
    }

    const fn add(&mut self, head: u8) {
        match head & 0x1F {
            IDR => self.idr = true,
            SPS => self.sps = true,
            PPS => self.pps = true,
            _ => {}
        }
    }

    /// The packet begins a key frame: parameter sets come first, and encoders that send them out
    /// of band begin with the IDR slice.
    #[must_use]
    pub const fn key_frame(self) -> bool {
        self.sps || self.idr
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_units() {
        assert!(NalUnits::parse(&[0x67, 0x42]).sps);
        assert!(NalUnits::parse(&[0x68, 0xCE]).pps);
        assert!(NalUnits::parse(&[0x65, 0x88]).key_frame());
        assert!(!NalUnits::parse(&[0x61, 0x88]).key_frame());
        assert!(!NalUnits::parse(&[0x68, 0xCE]).key_frame(), "PPS alone");
        assert_eq!(NalUnits::parse(&[]), NalUnits::default());
    }

    #[test]
    fn aggregates() {
        let found = NalUnits::parse(&[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 1, 0x65]);
        assert!(found.sps && found.pps && found.idr);
        let found = NalUnits::parse(&[0x78, 0, 2, 0x06, 0x42, 0, 1, 0x41]);
        assert_eq!(found, NalUnits::default());
        let found = NalUnits::parse(&[0x78, 0, 1, 0x68, 0, 9, 0x67]);
        assert!(found.pps && !found.sps, "a broken unit ends the look");
        assert!(NalUnits::parse(&[0x79, 0, 1, 0, 1, 0x67]).sps, "STAP-B");
        assert!(NalUnits::parse(&[0x7A, 0, 1, 0, 4, 0, 0, 0, 0x67]).sps, "MTAP16");
    }

    #[test]
    fn only_the_first_fragment_counts() {
        assert!(NalUnits::parse(&[0x7C, 0x85, 0x88]).key_frame());
        assert!(!NalUnits::parse(&[0x7C, 0x05, 0x88]).key_frame());
        assert!(!NalUnits::parse(&[0x7C, 0x45, 0x88]).key_frame());
        assert!(!NalUnits::parse(&[0x7C]).key_frame());
    }
}
