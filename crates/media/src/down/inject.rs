//! Packets that no publisher sent: silence when sound stops, blank key frames when a
//! picture ends, and fillers that show a client a stream before its publisher says anything.
//!
//! Owns: what such packets hold and how often they come. Must not know: when a track ends, the outbox.
//!
//! A decoder that is left alone in the middle of a sound goes on with a noise of its own, and an
//! element whose track is replaced shows the last picture of the old one: both end by a few frames
//! of nothing. Encrypted tracks mark them by the room's trailer, so that clients do not decrypt them.

use super::track::DownTrack;
use crate::api::BLANK_END;
use peer::{Codec, Kind, RtpWrite};
use std::time::{Duration, Instant};
use wire::codec::{PictureId, vp8};

/// Longest payload that is made here, its trailer included.
const PAYLOAD_MAX: usize = 512;

/// Frames of silence and of blank pictures, per second.
const AUDIO_RATE: u32 = 50;
const VIDEO_RATE: u32 = 30;

/// How long sound that stops is followed by silence. Less, and loss could leave the noise on; more,
/// and there is nothing left to gain.
const SILENCE: Duration = Duration::from_secs(1);
/// How long, how often and after which pause a stream without packets is announced.
const ANNOUNCE: Duration = Duration::from_secs(5);
const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(100);
const ANNOUNCE_AFTER: Duration = Duration::from_millis(100);

/// Padding of a packet that holds nothing else, in bytes: the most that RTP allows.
const PADDING: u8 = 255;

/// The frame of silence that Opus encoders make of digital silence: 20 ms, both channels.
const OPUS_SILENCE: [u8; 3] = [0xF8, 0xFF, 0xFE];
/// 20 ms of silence at 8 kHz in µ-law and A-law (G.711).
const PCMU_SILENCE: [u8; 160] = [0xFF; 160];
const PCMA_SILENCE: [u8; 160] = [0xD5; 160];
/// A black key frame of 8×8 pixels, as libvpx makes it.
const VP8_BLANK: [u8; 31] = [
    0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x08, 0x00, 0x08, 0x00, 0x00, 0x07, 0x08, 0x85, 0x85, 0x88, 0x99,
    0x84, 0x88, 0x01, 0x24, 0x10, 0x00, 0x60, 0x6B, 0x00, 0xFE, 0xFF, 0xAB, 0x50, 0x80,
];
/// A black key frame cropped to 2×2 pixels, as OpenH264 makes it: sequence and picture parameters
/// and the picture in one aggregation packet (RFC 6184 §5.7.1).
const H264_BLANK: [u8; 37] = [
    0x78, // STAP-A
    0x00, 0x0A, 0x67, 0x42, 0xC0, 0x0B, 0x8C, 0x8D, 0x4E, 0xC4, 0x44, 0x20, // sequence
    0x00, 0x04, 0x68, 0xCE, 0x3C, 0x80, // picture
    0x00, 0x10, 0x65, 0xB8, 0x00, 0x04, 0x00, 0x00, 0x09, 0xFF, 0xFF, 0xF8, 0x7A, 0x28, 0x00, 0x08, 0x27,
    0xFC,
];

/// Why packets are injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Sound was muted.
    Silence,
    /// The down track ends with the last of them.
    Flush,
    /// Nothing was sent yet, and the client learns of a track by its packets only.
    Announce,
}

/// A row of packets that a peer still gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    /// Index of the down track within its peer.
    pub(crate) down: u32,
    /// Why.
    pub(crate) purpose: Purpose,
    /// When the next one is due.
    pub(crate) due: Instant,
    interval: Duration,
    left: u32,
}

impl Injection {
    /// Packets for a down track of that kind.
    pub(crate) fn new(now: Instant, down: u32, kind: Kind, purpose: Purpose) -> Self {
        let frame = match kind {
            Kind::Audio => Duration::from_secs(1) / AUDIO_RATE,
            Kind::Video => Duration::from_secs(1) / VIDEO_RATE,
        };
        let (interval, length, due) = match (purpose, kind) {
            (Purpose::Silence, _) => (frame, SILENCE, now),
            (Purpose::Flush, _) => (frame, BLANK_END, now),
            (Purpose::Announce, Kind::Audio) => (frame, ANNOUNCE, now + ANNOUNCE_AFTER),
            (Purpose::Announce, Kind::Video) => (ANNOUNCE_INTERVAL, ANNOUNCE, now + ANNOUNCE_AFTER),
        };
        Self {
            down,
            purpose,
            due,
            interval,
            left: (length.as_micros() / interval.as_micros()) as u32,
        }
    }

    /// One was written. False: it was the last.
    pub(crate) fn advance(&mut self, now: Instant) -> bool {
        self.left = self.left.saturating_sub(1);
        // A thread that stalled does not catch up: the decoder wants time to pass, not packets.
        self.due = (self.due + self.interval).max(now);
        self.left > 0
    }

    /// Whether it has a sense still: what the publisher sends itself takes its place.
    pub(crate) fn fits(&self, down: &DownTrack) -> bool {
        let flows = down.select.stream().is_some();
        match self.purpose {
            Purpose::Silence | Purpose::Flush => !flows,
            Purpose::Announce => !flows && !down.started,
        }
    }
}

/// Room for one injected payload.
#[derive(Debug)]
pub(crate) struct Blank([u8; PAYLOAD_MAX]);

impl Default for Blank {
    fn default() -> Self {
        Self([0; PAYLOAD_MAX])
    }
}

/// A frame of nothing, as its encoder makes it. `None`: there is no small one.
const fn frame_of(codec: Codec) -> Option<&'static [u8]> {
    match codec {
        Codec::Opus | Codec::Red => Some(&OPUS_SILENCE),
        Codec::Pcmu => Some(&PCMU_SILENCE),
        Codec::Pcma => Some(&PCMA_SILENCE),
        Codec::Vp8 => Some(&VP8_BLANK),
        Codec::H264 => Some(&H264_BLANK),
        Codec::Vp9 | Codec::H265 | Codec::Av1 => None,
    }
}

/// Whether decoders of this codec can be given a frame of nothing.
pub(crate) const fn has_blank(codec: Codec) -> bool {
    frame_of(codec).is_some()
}

impl DownTrack {
    /// The next injected packet. `None`: this codec has none, or nothing tells which codec it is.
    pub(crate) fn inject<'a>(
        &mut self,
        now: Instant,
        purpose: Purpose,
        scratch: &'a mut Blank,
    ) -> Option<RtpWrite<'a>> {
        let announces = purpose == Purpose::Announce;
        let codec = if announces { self.preferred } else { self.codec }?;
        // Redundancy of silence is silence, for who takes both.
        let codec = self.accepts.without_redundancy(codec);
        let padding_only = announces && codec.kind() == Kind::Video;
        let rate = match codec.kind() {
            Kind::Audio => AUDIO_RATE,
            Kind::Video => VIDEO_RATE,
        };
        let mut payload = None;
        if !padding_only {
            payload = Some(BlankPayload {
                codec,
                block_type: self.red_block_type,
                frame: frame_of(codec)?,
                trailer: self
                    .options
                    .as_deref()
                    .map_or(&[], |options| &options.injected_trailer),
            });
        }
        if payload.as_ref().is_some_and(|payload| !payload.can_be_put()) {
            return None;
        }
        // From here on nothing may fail: a number that is taken has to be sent.
        let numbers = self.munger.inject(now, codec.clock_rate(), rate);
        let len = payload.map_or(0, |payload| payload.put(numbers.vp8, &mut scratch.0));
        Some(RtpWrite {
            codec,
            sequence: numbers.sequence,
            timestamp: numbers.timestamp,
            marker: true,
            dependency_descriptor: &[],
            abs_capture_time: &[],
            prefix: &[],
            payload: &scratch.0[..len],
            padding: if padding_only { PADDING } else { 0 },
            retransmission: false,
        })
    }
}

/// Numbers of a blank VP8 frame, those that the stream's descriptors carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BlankVp8 {
    pub(crate) picture: Option<(u16, bool)>,
    pub(crate) tl0: Option<u8>,
    pub(crate) keyidx: Option<u8>,
}

/// What an injected packet is made of.
#[derive(Clone, Copy, Debug)]
struct BlankPayload<'a> {
    codec: Codec,
    /// Payload type of the blocks of redundant audio, if any was heard.
    block_type: Option<u8>,
    frame: &'a [u8],
    trailer: &'a [u8],
}

impl BlankPayload<'_> {
    /// Whether nothing is missing and it is not too long.
    const fn can_be_put(&self) -> bool {
        let known = !matches!(self.codec, Codec::Red) || self.block_type.is_some();
        known && vp8::Descriptor::LEN_MAX + self.frame.len() + self.trailer.len() <= PAYLOAD_MAX
    }

    /// Writes it; returns its length.
    fn put(&self, vp8: BlankVp8, out: &mut [u8; PAYLOAD_MAX]) -> usize {
        debug_assert!(self.can_be_put(), "asked before its number was taken");
        let mut len = match (self.codec, self.block_type) {
            (Codec::Vp8, _) => descriptor_of(vp8).write(out),
            (Codec::Red, Some(block_type)) => {
                // The primary block alone (RFC 2198 §3).
                out[0] = block_type;
                1
            }
            _ => 0,
        };
        for part in [self.frame, self.trailer] {
            out[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        len
    }
}

fn descriptor_of(numbers: BlankVp8) -> vp8::Descriptor {
    vp8::Descriptor {
        start_of_partition: true,
        picture_id: numbers.picture.map(|(value, wide)| PictureId { value, wide }),
        tl0_pic_idx: numbers.tl0,
        // TL0PICIDX makes no sense without a layer (RFC 7741 §4.2).
        temporal: numbers.tl0.map(|_| 0),
        layer_sync: numbers.tl0.is_some(),
        key_idx: numbers.keyidx,
        ..vp8::Descriptor::default()
    }
}

#[cfg(test)]
#[path = "inject/tests.rs"]
mod tests;
