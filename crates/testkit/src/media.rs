//! Synthetic media whose packets say what they are, and a decoder that tells what could be decoded.
//!
//! Owns: payload layouts of tests. Must not know: networks, peers.
//!
//! Content of a packet behind the codec's descriptor:
//! `track: 4 | layer: 1 | temporal: 1 | key: 1 | frame: 4 | index: 1 | count: 1 | filler`

mod h265;

pub use h265::{H265Layer, read_h265};
use peer::Codec;
use std::collections::{BTreeMap, BTreeSet};
use wire::codec::{PictureId, vp8};

/// Length of the content without filler.
const CONTENT_LEN: usize = 13;

/// What a synthetic packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content {
    /// Which track, as the test numbers them.
    pub track: u32,
    /// Simulcast layer.
    pub layer: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Key frame.
    pub key: bool,
    /// Frame number within the layer (or the audio packet's number).
    pub frame: u32,
    /// Which packet of the frame.
    pub index: u8,
    /// Of how many.
    pub count: u8,
}

impl Content {
    /// Appends the content and `filler` bytes.
    pub fn write(&self, out: &mut Vec<u8>, filler: usize) {
        out.extend(self.track.to_be_bytes());
        out.extend([self.layer, self.temporal, u8::from(self.key)]);
        out.extend(self.frame.to_be_bytes());
        out.extend([self.index, self.count]);
        out.resize(out.len() + filler, 0xA5);
    }

    /// Reads it back.
    #[must_use]
    pub fn read(data: &[u8]) -> Option<Self> {
        let [t0, t1, t2, t3, layer, temporal, key, f0, f1, f2, f3, index, count] =
            *data.first_chunk::<CONTENT_LEN>()?;
        Some(Self {
            track: u32::from_be_bytes([t0, t1, t2, t3]),
            layer,
            temporal,
            key: key != 0,
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            index,
            count,
        })
    }
}

/// A VP8 packet as received: its descriptor and content.
#[must_use]
pub fn read_vp8(payload: &[u8]) -> Option<(vp8::Descriptor, Content)> {
    let descriptor = vp8::Descriptor::parse(payload)?;
    let rest = payload.get(usize::from(descriptor.len) + 1..)?;
    Some((descriptor, Content::read(rest)?))
}

/// Encoder of one layer of a picture.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names are the codecs'")]
pub enum VideoLayer {
    Vp8(Vp8Layer),
    H265(H265Layer),
}

impl VideoLayer {
    /// What it encodes.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Vp8(_) => Codec::Vp8,
            Self::H265(_) => Codec::H265,
        }
    }

    /// The next frame is a key frame.
    pub const fn request_key_frame(&mut self) {
        match self {
            Self::Vp8(layer) => layer.request_key_frame(),
            Self::H265(layer) => layer.request_key_frame(),
        }
    }

    /// The payloads of the next frame.
    pub fn encode(&mut self) -> Vec<Vec<u8>> {
        match self {
            Self::Vp8(layer) => layer.encode(),
            Self::H265(layer) => layer.encode(),
        }
    }
}

/// Encoder of one VP8 layer with three temporal layers: 0 2 1 2.
#[derive(Debug)]
pub struct Vp8Layer {
    track: u32,
    layer: u8,
    packets_per_frame: u8,
    frame: u32,
    picture: u16,
    tl0: u8,
    keyidx: u8,
    position: u8,
    wants_key: bool,
    flat: bool,
}

impl Vp8Layer {
    /// An encoder whose first frame is a key frame. `start` makes its numbers differ from others'.
    #[must_use]
    pub const fn new(track: u32, layer: u8, packets_per_frame: u8, start: u16) -> Self {
        Self {
            track,
            layer,
            packets_per_frame,
            frame: 0,
            picture: start & 0x7FFF,
            tl0: start as u8,
            keyidx: 0,
            position: 0,
            wants_key: true,
            flat: false,
        }
    }

    /// The same without temporal layers: each frame refers to the one before it.
    #[must_use]
    pub const fn flat(self) -> Self {
        Self { flat: true, ..self }
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
            self.keyidx = (self.keyidx + 1) & 0x1F;
        }
        let position = if self.flat { 0 } else { self.position % 4 };
        let temporal = [0, 2, 1, 2][usize::from(position)];
        let sync = matches!(position, 1 | 2);
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        // A key frame is larger.
        let count = if key {
            self.packets_per_frame * 2
        } else {
            self.packets_per_frame
        };
        let payloads = (0..count)
            .map(|index| {
                let descriptor = vp8::Descriptor {
                    start_of_partition: index == 0,
                    picture_id: Some(PictureId {
                        value: self.picture,
                        wide: true,
                    }),
                    tl0_pic_idx: Some(self.tl0),
                    temporal: Some(temporal),
                    layer_sync: sync,
                    key_idx: Some(self.keyidx),
                    ..vp8::Descriptor::default()
                };
                let mut payload = vec![0; vp8::Descriptor::LEN_MAX];
                let len = descriptor.write(&mut payload);
                payload.truncate(len);
                // P bit of the payload header: 0 in key frames (RFC 7741 §4.3).
                payload.push(u8::from(!key));
                let content = Content {
                    track: self.track,
                    layer: self.layer,
                    temporal,
                    key,
                    frame: self.frame,
                    index,
                    count,
                };
                content.write(&mut payload, 900);
                payload
            })
            .collect();
        self.frame += 1;
        self.picture = (self.picture + 1) & 0x7FFF;
        self.position = self.position.wrapping_add(1);
        payloads
    }
}

/// What could be decoded of a received stream of [`VideoLayer`]s: every frame whose packets are all there and
/// whose reference was decoded.
#[derive(Debug, Default)]
pub struct Decoded {
    /// (layer, frame, temporal) in the order of sequence numbers.
    pub frames: Vec<(u8, u32, u8)>,
    /// Frames that began but could not be decoded.
    pub broken: usize,
}

/// Decodes packets given as (extended sequence number, content).
#[must_use]
pub fn decode(packets: &BTreeMap<u64, Content>) -> Decoded {
    let mut frames: Vec<(Content, BTreeSet<u8>)> = Vec::new();
    for content in packets.values() {
        match frames.last_mut() {
            Some((last, indices)) if (last.layer, last.frame) == (content.layer, content.frame) => {
                indices.insert(content.index);
            }
            _ => frames.push((*content, BTreeSet::from([content.index]))),
        }
    }
    let mut decoded = Decoded::default();
    // Last decoded frame of each temporal layer, of the running layer.
    let mut layer = None;
    let mut last: [Option<u32>; 3] = [None; 3];
    // Frame of the base layer that comes next, when the chain is whole.
    for (content, indices) in frames {
        let whole = indices.len() == usize::from(content.count);
        if content.key && whole {
            layer = Some(content.layer);
            last = [Some(content.frame), None, None];
            decoded
                .frames
                .push((content.layer, content.frame, content.temporal));
            continue;
        }
        let reference = match content.temporal {
            // Without temporal layers it is the frame before.
            0 => last[0].filter(|base| base + 4 == content.frame || base + 1 == content.frame),
            1 => last[0].filter(|base| base + 2 == content.frame),
            // The first one of four needs the base, the other one the middle layer.
            _ => last[0]
                .filter(|base| base + 1 == content.frame)
                .or_else(|| last[1].filter(|middle| middle + 1 == content.frame)),
        };
        if whole && layer == Some(content.layer) && reference.is_some() {
            last[usize::from(content.temporal.min(2))] = Some(content.frame);
            decoded
                .frames
                .push((content.layer, content.frame, content.temporal));
        } else {
            decoded.broken += 1;
        }
    }
    decoded
}
