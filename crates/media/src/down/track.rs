//! One subscriber's copy of an up track: decides about each packet and says how it is written.
//!
//! Owns: selection and numbering of this copy. Must not know: the peer, the outbox, other copies.

use super::history::{RUNS_AUDIO, RUNS_VIDEO, Run};
use super::inject::has_blank;
use super::munge::{Munger, Source};
use super::red::{PAYLOAD_MAX, put_front};
use super::select::{DecodeTargets, Select, Verdict};
use super::trailer;
use crate::api::{DownKey, DownOptions, LayerWish};
use crate::up::layer::Layer;
use crate::up::ring::Packet;
use crate::up::track::UpTrack;
use crate::window::CopyWindow;
use peer::{Codec, Kind, Payload, RtpWrite};
use std::time::Instant;
use wire::codec::{red::Red, vp8};
use wire::dependency_descriptor::{Descriptor, Structure, rewrite};

/// Longest dependency descriptor that is rewritten, in bytes: what a two-byte header extension holds.
const DEPENDENCY_MAX: usize = 255;

/// Room for the rewritten pieces of one packet, reused for all.
#[derive(Debug)]
pub(crate) struct Scratch {
    prefix: [u8; vp8::Descriptor::LEN_MAX],
    dependency: [u8; DEPENDENCY_MAX],
    /// Memory for structures that come with dependency descriptors.
    structure: Option<Box<Structure>>,
    red: [u8; PAYLOAD_MAX],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            prefix: [0; vp8::Descriptor::LEN_MAX],
            dependency: [0; DEPENDENCY_MAX],
            structure: None,
            red: [0; PAYLOAD_MAX],
        }
    }
}

/// A down track.
#[derive(Debug)]
pub(crate) struct DownTrack {
    /// Its key.
    pub(crate) key: DownKey,
    /// Index of the up track.
    pub(crate) track: u32,
    /// Index of the send stream within the peer.
    pub(crate) send_index: Option<u32>,
    /// Layers.
    pub(crate) select: Select,
    /// A packet left already.
    pub(crate) started: bool,
    /// Padding may be added. Not where a packet is sent again as it was: it would be forgotten then.
    pub(crate) pads: bool,
    /// It ends as soon as its decoder was given the last blank frame.
    pub(crate) leaving: bool,
    /// SSRC and section: a successor on either ends what still leaves.
    pub(crate) line: (u32, Box<str>),
    /// What is particular about it, if anything.
    pub(crate) options: Option<Box<DownOptions>>,
    /// As what the latest stream was sent.
    pub(crate) codec: Option<Codec>,
    /// What the client takes best.
    pub(super) preferred: Option<Codec>,
    pub(super) accepts: Accepts,
    /// Opus becomes redundant: the payload type of its blocks.
    makes_red: Option<u8>,
    /// The payload type of the blocks in redundant audio that was forwarded as it came. It stands in
    /// the first byte, which stays readable when the payload is encrypted.
    pub(super) red_block_type: Option<u8>,
    pub(super) munger: Munger,
    /// Outgoing number of the latest key frame, and when it left.
    pub(crate) key_frame: Option<(u64, Instant)>,
    /// When the pause between two bursts began.
    pub(crate) held_at: Option<Instant>,
    /// What passed since the last look.
    pub(crate) window: CopyWindow,
}

impl DownTrack {
    /// A copy of which nothing was sent. `first` is the first outgoing sequence number.
    pub(crate) fn new(
        key: DownKey,
        track: u32,
        send_index: Option<u32>,
        kind: Kind,
        payloads: &[Payload],
        wish: LayerWish,
        first: u16,
    ) -> Self {
        let runs_max = match kind {
            Kind::Audio => RUNS_AUDIO,
            Kind::Video => RUNS_VIDEO,
        };
        Self {
            key,
            track,
            send_index,
            select: Select::new(wish),
            started: false,
            pads: pads(payloads),
            leaving: false,
            line: Default::default(),
            options: None,
            codec: None,
            preferred: payloads.first().map(|payload| payload.codec),
            key_frame: None,
            held_at: None,
            window: CopyWindow::default(),
            accepts: Accepts::new(payloads),
            makes_red: None,
            red_block_type: None,
            munger: Munger::new(first, runs_max),
        }
    }

    /// The section was negotiated again.
    pub(crate) fn set_payloads(&mut self, payloads: &[Payload]) {
        self.accepts = Accepts::new(payloads);
        self.pads = pads(payloads);
        self.preferred = payloads.first().map(|payload| payload.codec);
    }

    /// From now on Opus is made redundant, if the subscriber takes both.
    pub(crate) fn make_red(&mut self, payloads: &[Payload]) {
        let opus = payloads.iter().find(|payload| payload.codec == Codec::Opus);
        let red = self.accepts.outgoing(Codec::Red) == Some(Codec::Red);
        self.makes_red = opus.filter(|_| red).map(|payload| payload.pt);
    }

    /// Reads what the next packet needs; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.track as usize
            ^ usize::from(self.started)
            ^ usize::from(self.accepts.0)
            ^ self.select.stream().map_or(0, usize::from)
            ^ self.munger.warm()
    }

    /// As [`Self::warm`], for what lies behind a pointer.
    pub(crate) fn warm_history(&self) -> usize {
        self.munger.warm_history()
    }

    /// Decides about one packet of the running turn; `Some` says how to number it.
    pub(crate) fn offer(&mut self, track: &UpTrack, layer: u8, packet: &Packet<'_>) -> Option<Run> {
        let info = packet.info;
        let flowing = self.select.stream();
        if packet.is_padding() {
            if flowing == Some(layer) {
                self.munger.skip_padding(info.sequence);
            }
            return None;
        }
        if info.late && flowing.is_some() {
            let replaced = |up: &Layer| up.redundancy.was_recovered(info.sequence);
            if self.unwraps_red() && track.layer(layer).is_some_and(replaced) {
                return None;
            }
            if let Some(run) = self.munger.late(layer, info.sequence) {
                let frame = &info.frame;
                let ours = frame.spatial <= run.spatial_max && frame.temporal <= run.temporal_max;
                return ours.then_some(*run);
            }
            if flowing == Some(layer) && self.munger.is_late(info.sequence) {
                return None;
            }
        }
        let up = track.layer(layer)?;
        let accepted = self.accepts.outgoing(info.codec).is_some();
        let verdict = if accepted {
            let targets = if info.frame.is_layered_by_dependency(info.codec) {
                &up.targets
            } else {
                &DecodeTargets::NONE
            };
            self.select.decide(layer, track.alive, &info.frame, targets)
        } else {
            Verdict::Drop
        };
        let source = Source {
            layer,
            sequence: info.sequence,
            timestamp: info.timestamp,
            clock_rate: info.codec.clock_rate(),
            frame: &info.frame,
            at: info.at,
        };
        let run = match verdict {
            Verdict::Drop => {
                if flowing == Some(layer) {
                    self.munger.drop_packet(info.sequence, &info.frame);
                }
                None
            }
            Verdict::Forward => self.munger.forward(&source, self.within(&up.targets)).copied(),
            Verdict::Switch => {
                self.codec = self.accepts.outgoing(info.codec);
                if info.codec == Codec::Red {
                    self.red_block_type = packet.payload.first().map(|first| first & 0x7F);
                }
                let before = self
                    .munger
                    .running()
                    .and_then(|(old, _)| track.layer(old)?.report);
                let within = self.within(&up.targets);
                Some(*self.munger.switch(&source, within, (before, up.report)))
            }
        }?;
        if info.frame.key && info.frame.start && info.codec.kind() == Kind::Video {
            self.key_frame = Some((run.out(info.sequence), info.at));
        }
        Some(run)
    }

    /// The layer flows, and nothing behind this packet of it was decided about.
    pub(crate) fn is_newest(&self, layer: u8, sequence: u64) -> bool {
        self.select.stream() == Some(layer) && !self.munger.is_late(sequence + 1)
    }

    /// Highest layers in force, for the marker and for late packets.
    fn within(&self, targets: &DecodeTargets) -> (u8, u8) {
        match self.select.target() {
            Some(target) if target < targets.count => targets.layers[usize::from(target)],
            _ => self.select.within(),
        }
    }

    /// How a packet that was offered is written.
    pub(crate) fn write<'a>(
        &self,
        packet: &Packet<'a>,
        run: &Run,
        track: &UpTrack,
        scratch: &'a mut Scratch,
    ) -> Option<RtpWrite<'a>> {
        let info = packet.info;
        let mut codec = self.accepts.outgoing(info.codec)?;
        let mut payload = packet.payload;
        if codec == Codec::Opus && info.codec == Codec::Red {
            let primary = Red::parse(payload)?.primary().range.clone();
            payload = payload.get(primary)?;
        }
        let mut prefix: &[u8] = &[];
        if let (Some(payload_type), Codec::Opus) = (self.makes_red, info.codec)
            && let Some(layer) = track.layer(run.layer)
            && let Some(len) = put_front(packet, layer, run, payload_type, &mut scratch.red)
        {
            codec = Codec::Red;
            prefix = &scratch.red[..len];
        }
        if let Some(numbers) = info.frame.vp8 {
            let len = write_vp8(payload, run, &mut scratch.prefix)?;
            prefix = &scratch.prefix[..len];
            payload = payload.get(usize::from(numbers.header_len)..)?;
        }
        if info.marker && self.options.as_deref().is_some_and(|o| o.strip_packet_trailer) {
            payload = trailer::cut(payload);
        }
        let room = (&mut scratch.dependency, &mut scratch.structure);
        let dependency_descriptor = rewrite_dependency(packet, run, track.layer(run.layer), room);
        let spatial_top = track.spatial_top;
        // A picture ends with the highest spatial layer that this subscriber gets.
        let last_part = info.frame.end && info.frame.spatial == run.spatial_max.min(spatial_top);
        Some(RtpWrite {
            codec,
            sequence: run.out(info.sequence),
            timestamp: info.timestamp.wrapping_add(run.timestamp_offset),
            marker: info.marker || (spatial_top > 0 && last_part),
            dependency_descriptor,
            abs_capture_time: packet.abs_capture_time,
            prefix,
            payload,
            padding: 0,
            retransmission: false,
        })
    }

    /// Redundant audio is unpacked for this subscriber, so what is lost of it is recovered.
    pub(crate) fn unwraps_red(&self) -> bool {
        self.accepts.outgoing(Codec::Red) == Some(Codec::Opus)
    }

    /// The run and source sequence number behind an outgoing sequence number.
    pub(crate) fn find_sent(&self, out: u16) -> Option<(Run, u64)> {
        self.munger.sent(out).map(|(run, sequence)| (*run, sequence))
    }

    /// The layer that flows and what is added to its timestamps, for sender reports.
    pub(crate) fn clock(&mut self) -> Option<(u8, u32)> {
        self.select.stream()?;
        self.munger.running()
    }

    /// Frames of nothing can follow what was sent.
    pub(crate) fn can_end_blank(&self) -> bool {
        self.started && self.codec.is_some_and(has_blank)
    }

    /// What it is a copy of, as the client takes it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.codec.or(self.preferred).map(Codec::kind)
    }

    /// The publisher paused (muted) or is gone: go on at the next key frame.
    pub(crate) fn pause(&mut self) {
        self.select.pause();
    }

    /// The copy is made of another up track from now on.
    pub(crate) fn source_replaced(&mut self, track: u32) {
        self.track = track;
        self.select.pause();
        self.munger.source_restarted();
    }

    /// A layer's source began anew with other numbers.
    pub(crate) fn source_restarted(&mut self, layer: u8) {
        if self.select.stream() == Some(layer) {
            self.select.pause();
        }
        self.munger.source_restarted();
    }
}

/// Video whose packets are repeated on a stream of their own (RFC 4588).
fn pads(payloads: &[Payload]) -> bool {
    let video = |payload: &&Payload| payload.codec.kind() == Kind::Video;
    let mut video = payloads.iter().filter(video).peekable();
    video.peek().is_some() && video.all(|payload| payload.rtx_pt.is_some())
}

/// Codecs that the subscriber accepts, bit per codec.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepts(u16);

impl Accepts {
    fn new(payloads: &[Payload]) -> Self {
        Self(payloads.iter().fold(0, |set, payload| set | bit(payload.codec)))
    }

    /// The codec that a plain frame of this stream has.
    pub(super) fn without_redundancy(self, codec: Codec) -> Codec {
        if codec == Codec::Red && self.0 & bit(Codec::Opus) != 0 {
            Codec::Opus
        } else {
            codec
        }
    }

    /// As what a packet is sent: redundant audio is unpacked for those who do not read it.
    fn outgoing(self, codec: Codec) -> Option<Codec> {
        if self.0 & bit(codec) != 0 {
            return Some(codec);
        }
        (codec == Codec::Red && self.0 & bit(Codec::Opus) != 0).then_some(Codec::Opus)
    }
}

fn bit(codec: Codec) -> u16 {
    1 << (codec as u16)
}

/// Writes the VP8 descriptor with the run's offsets.
fn write_vp8(payload: &[u8], run: &Run, out: &mut [u8; vp8::Descriptor::LEN_MAX]) -> Option<usize> {
    let mut descriptor = vp8::Descriptor::parse(payload)?;
    if let Some(id) = &mut descriptor.picture_id {
        let mask = if id.wide { 0x7FFF } else { 0x7F };
        id.value = id.value.wrapping_add(run.picture_offset) & mask;
    }
    if let Some(tl0) = &mut descriptor.tl0_pic_idx {
        *tl0 = tl0.wrapping_add(run.tl0_offset);
    }
    if let Some(keyidx) = &mut descriptor.key_idx {
        *keyidx = keyidx.wrapping_add(run.keyidx_offset) & 0x1F;
    }
    Some(descriptor.write(out))
}

/// The dependency descriptor with the run's frame number and, for a subscriber of fewer layers than
/// there are, the decode targets that it gets (AV1 RTP specification §A.8). A structure makes all
/// targets active, and a mask holds until the next one: so masks are written with every frame that
/// is below the top, and with the first packet behind a change.
fn rewrite_dependency<'a>(
    packet: &Packet<'a>,
    run: &Run,
    layer: Option<&Layer>,
    (out, spare): (&'a mut [u8; DEPENDENCY_MAX], &mut Option<Box<Structure>>),
) -> &'a [u8] {
    let raw = packet.dependency_descriptor;
    let (Some(dependency), true) = (packet.info.frame.dependency, raw.len() <= DEPENDENCY_MAX) else {
        return raw;
    };
    let number = dependency.number.wrapping_add(run.frame_offset);
    let structure = layer.and_then(|layer| layer.structure.as_deref());
    let frame = &packet.info.frame;
    if let (true, true, Some(structure)) = (
        frame.is_layered_by_dependency(packet.info.codec),
        frame.start,
        structure,
    ) {
        let (all, mask) = (
            structure.all_targets(),
            structure.mask_within(run.spatial_max, run.temporal_max),
        );
        if (mask != all || packet.info.sequence == run.first)
            && let Ok(mut parsed) = Descriptor::parse_into(raw, Some(structure), spare)
        {
            let active = layer.map_or(all, |layer| layer.targets.active);
            let mut mask = mask & active;
            if let Some(own) = parsed.structure.take() {
                if *own != *structure {
                    // Sent again behind a key frame with another one.
                    mask = own.mask_within(run.spatial_max, run.temporal_max);
                }
                *spare = Some(own);
            }
            return match rewrite(raw, &parsed, number, Some(mask), out) {
                Some(len) => &out[..len],
                None => raw,
            };
        }
    }
    if run.frame_offset == 0 {
        return raw;
    }
    let Some(copy) = out.get_mut(..raw.len()) else {
        return raw;
    };
    copy.copy_from_slice(raw);
    // The frame number stands in bytes 1 and 2 (§A.8.2, mandatory_descriptor_fields).
    if let Some(field) = copy.get_mut(1..3) {
        field.copy_from_slice(&number.to_be_bytes());
    }
    copy
}

#[cfg(test)]
mod tests;
