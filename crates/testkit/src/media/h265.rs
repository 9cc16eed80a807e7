//! Synthetic H.265 in the packets of RFC 7798: parameter sets in an aggregation packet, key frames as
//! fragmentation units, everything else as single NAL units.
//!
//! Owns: the packets' layout. Must not know: simulcast, networks.

use super::Content;

/// NAL unit types (ITU-T H.265 table 7-1, RFC 7798 §1.1.4 and §4.4).
const TRAIL_R: u8 = 1;
const TSA_N: u8 = 2;
const TSA_R: u8 = 3;
const TRAIL_N: u8 = 0;
const IDR_W_RADL: u8 = 19;
const CRA: u8 = 21;
const VPS: u8 = 32;
const SPS: u8 = 33;
const PPS: u8 = 34;
const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;

/// Bytes behind the content of a slice.
const FILLER: usize = 900;

/// A packet as received: the types of the NAL units that it carries, and its content.
///
/// The one unit of a fragment is named with its first fragment alone.
#[must_use]
pub fn read_h265(payload: &[u8]) -> Option<(Vec<u8>, Content)> {
    let [first, _, rest @ ..] = payload else {
        return None;
    };
    match kind(*first) {
        AGGREGATE => {
            let mut types = Vec::new();
            let mut content = None;
            let mut left = rest;
            while let [high, low, tail @ ..] = left {
                let len = usize::from(u16::from_be_bytes([*high, *low]));
                let (unit, behind) = tail.split_at_checked(len)?;
                types.push(kind(*unit.first()?));
                content = content.or_else(|| Content::read(unit.get(2..)?));
                left = behind;
            }
            left.is_empty().then_some((types, content?))
        }
        FRAGMENT => {
            let (head, fragment) = rest.split_first()?;
            let begun = (head & 0x80 != 0).then_some(head & 0x3F);
            Some((begun.into_iter().collect(), Content::read(fragment)?))
        }
        single => Some((vec![single], Content::read(rest)?)),
    }
}

/// Encoder of one layer with three temporal layers: 0 2 1 2. Key frames are IDR and CRA pictures in
/// turn.
#[derive(Debug)]
pub struct H265Layer {
    track: u32,
    layer: u8,
    packets_per_frame: u8,
    frame: u32,
    keys: u32,
    position: u8,
    wants_key: bool,
}

impl H265Layer {
    /// An encoder whose first frame is a key frame. Its other frames have so many slices.
    #[must_use]
    pub const fn new(track: u32, layer: u8, packets_per_frame: u8) -> Self {
        Self {
            track,
            layer,
            packets_per_frame,
            frame: 0,
            keys: 0,
            position: 0,
            wants_key: true,
        }
    }

    /// The next frame is a key frame.
    pub const fn request_key_frame(&mut self) {
        self.wants_key = true;
    }

    /// The payloads of the next frame.
    pub fn encode(&mut self) -> Vec<Vec<u8>> {
        let key = std::mem::take(&mut self.wants_key);
        if key {
            self.position = 0;
        }
        let temporal = [0, 2, 1, 2][usize::from(self.position % 4)];
        // A fragmented unit has two packets at least (§4.4.3), and its parameter sets one.
        let count = if key {
            1 + 2 * self.packets_per_frame
        } else {
            self.packets_per_frame
        };
        let payloads = (0..count)
            .map(|index| {
                let content = Content {
                    track: self.track,
                    layer: self.layer,
                    temporal,
                    key,
                    frame: self.frame,
                    index,
                    count,
                };
                match (key, index) {
                    (true, 0) => parameter_sets(&content),
                    (true, _) => fragment(
                        &content,
                        if self.keys.is_multiple_of(2) {
                            IDR_W_RADL
                        } else {
                            CRA
                        },
                    ),
                    (false, _) => {
                        // Behind a TSA picture any higher temporal layer can be decoded.
                        let kind = [TRAIL_R, TSA_N, TSA_R, TRAIL_N][usize::from(self.position % 4)];
                        let mut payload = header(kind, temporal).to_vec();
                        content.write(&mut payload, FILLER);
                        payload
                    }
                }
            })
            .collect();
        self.keys += u32::from(key);
        self.frame += 1;
        self.position = self.position.wrapping_add(1);
        payloads
    }
}

/// VPS, SPS and PPS in one packet; the content stands in the first.
fn parameter_sets(content: &Content) -> Vec<u8> {
    let mut payload = header(AGGREGATE, 0).to_vec();
    for kind in [VPS, SPS, PPS] {
        let mut unit = header(kind, 0).to_vec();
        if kind == VPS {
            content.write(&mut unit, 0);
        }
        unit.extend([0x0C, 0x01, 0xFF]);
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(unit);
    }
    payload
}

/// One of the fragments of a key frame's only slice (§4.4.3).
fn fragment(content: &Content, kind: u8) -> Vec<u8> {
    let mut payload = header(FRAGMENT, 0).to_vec();
    let start = u8::from(content.index == 1) << 7;
    let end = u8::from(content.index + 1 == content.count) << 6;
    payload.push(start | end | kind);
    content.write(&mut payload, FILLER);
    payload
}

/// The two bytes in front of every NAL unit and payload (§1.1.4): type, layer 0, temporal id + 1.
const fn header(kind: u8, temporal: u8) -> [u8; 2] {
    [kind << 1, temporal + 1]
}

const fn kind(first: u8) -> u8 {
    (first >> 1) & 0x3F
}
