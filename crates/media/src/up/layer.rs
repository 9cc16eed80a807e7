//! One layer of an up track: a stream with its own SSRC, clock and packet ring.
//!
//! Owns: the layer's packets, liveness, sender report and key-frame requests. Must not know:
//! other layers, subscribers.

use super::keyframe::KeyFrameRequests;
use super::rates::Rates;
use super::redundancy::{DISTANCE_MAX, Redundancy};
use super::ring::{Inserted, Packet, PacketInfo, PacketRing, RingSize};
use crate::down::munge::SenderReport;
use crate::down::select::DecodeTargets;
use crate::frame::{Dependency, Frame, Place, describe};
use crate::window::LayerWindow;
use peer::{Codec, Kind};
use std::time::{Duration, Instant};
use wire::dependency_descriptor::{Descriptor, Indication, Mandatory, Structure};

/// A video layer that sent nothing for this long counts as stopped (four cycles of
/// 500 ms). Screen shares of still pictures send a frame per second.
pub(crate) const STOP_AFTER: Duration = Duration::from_secs(2);
/// The same for the layers above the lowest while that one flows: a publisher pauses them when its
/// uplink shrinks, and their subscribers should not look at a still picture for long.
pub(crate) const STOP_UPPER_AFTER: Duration = Duration::from_secs(1);

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Its recent packets.
    pub(crate) ring: PacketRing,
    /// Codec of its packets.
    pub(crate) codec: Codec,
    /// When the latest packet arrived; `None` before the first and after it stopped.
    pub(crate) last_at: Option<Instant>,
    /// Latest sender report.
    pub(crate) report: Option<SenderReport>,
    /// When other threads were told of one.
    pub(crate) report_told: Option<Instant>,
    /// Requests for key frames.
    pub(crate) requests: KeyFrameRequests,
    /// Decode targets of the running dependency structure.
    pub(crate) targets: DecodeTargets,
    /// Dependency structure in force: of all that came, the one sent last.
    pub(crate) structure: Option<Box<Structure>>,
    /// Sequence numbers of the packets that brought it and the mask of active targets.
    structure_at: u64,
    active_at: u64,
    /// Memory for the next structure: a publisher may attach one to every packet.
    spare: Option<Box<Structure>>,
    /// What was recovered of redundant audio.
    pub(crate) redundancy: Redundancy,
    /// SSRC, to notice that the source began anew.
    pub(crate) ssrc: Option<u32>,
    /// SSRC of retransmissions.
    pub(crate) rtx_ssrc: Option<u32>,
    /// What passed since the last look.
    pub(crate) window: LayerWindow,
    /// Bytes per second.
    pub(crate) rates: Rates,
    /// Sequence number and timestamp of the newest packet.
    newest: Option<(u64, u32)>,
}

/// One decrypted packet on its way into a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) codec: Codec,
    pub(crate) payload: &'a [u8],
    pub(crate) dependency_descriptor: &'a [u8],
    pub(crate) abs_capture_time: &'a [u8],
}

impl Layer {
    /// A layer that has sent nothing.
    pub(crate) fn new(kind: Kind, codec: Codec) -> Self {
        let size = match kind {
            Kind::Audio => RingSize::AUDIO,
            Kind::Video => RingSize::VIDEO,
        };
        Self {
            ring: PacketRing::new(size),
            codec,
            last_at: None,
            report: None,
            report_told: None,
            requests: KeyFrameRequests::default(),
            targets: DecodeTargets::NONE,
            structure: None,
            structure_at: 0,
            active_at: 0,
            spare: None,
            redundancy: Redundancy::default(),
            ssrc: None,
            rtx_ssrc: None,
            window: LayerWindow::default(),
            rates: Rates::default(),
            newest: None,
        }
    }

    /// Stores a packet and reads its descriptor.
    pub(crate) fn accept(&mut self, now: Instant, arrival: &Arrival<'_>) -> (Inserted, Frame) {
        let place = match self.newest {
            None => Place::BehindGap,
            Some((sequence, _)) if arrival.sequence <= sequence => Place::Inside,
            Some((_, timestamp)) if arrival.timestamp == timestamp => Place::Inside,
            Some((sequence, _)) if arrival.sequence == sequence + 1 => Place::First,
            Some(_) => Place::BehindGap,
        };
        let late = self
            .newest
            .is_some_and(|(sequence, _)| arrival.sequence <= sequence);
        let mut frame = describe(arrival.codec, arrival.payload, arrival.marker, place);
        if !arrival.dependency_descriptor.is_empty() && arrival.codec.kind() == Kind::Video {
            self.describe_dependency(arrival, &mut frame);
        }
        let info = PacketInfo {
            sequence: arrival.sequence,
            timestamp: arrival.timestamp,
            marker: arrival.marker,
            codec: arrival.codec,
            frame,
            at: now,
            late,
        };
        let inserted = self.ring.insert(
            info,
            arrival.payload,
            arrival.dependency_descriptor,
            arrival.abs_capture_time,
        );
        if inserted == Inserted::New {
            if !late {
                self.newest = Some((arrival.sequence, arrival.timestamp));
            }
            self.codec = arrival.codec;
            self.last_at = Some(now);
            let len = arrival.payload.len();
            self.rates.packet(now, frame.spatial, frame.temporal, len);
            if frame.key && frame.start {
                self.requests.satisfied();
            }
            if frame.start && frame.spatial == 0 {
                self.window.frames.frame(now, frame.temporal);
            }
        }
        (inserted, frame)
    }

    /// Notes a packet of padding: whoever gets this layer closes the gap that it would leave.
    pub(crate) fn accept_padding(&mut self, now: Instant, arrival: &Arrival<'_>) -> Inserted {
        let late = self.newest().is_some_and(|newest| arrival.sequence <= newest);
        let info = PacketInfo {
            sequence: arrival.sequence,
            timestamp: arrival.timestamp,
            marker: false,
            codec: arrival.codec,
            frame: Frame::PADDING,
            at: now,
            late,
        };
        let inserted = self.ring.insert(info, &[], &[], &[]);
        if inserted == Inserted::New && !late {
            self.newest = Some((arrival.sequence, arrival.timestamp));
        }
        inserted
    }

    /// Which packets in front of one that was just accepted are lost and can be recovered from it,
    /// as distances, farthest first; 0 stands for none.
    pub(crate) fn recover(&mut self, arrival: &Arrival<'_>) -> [u8; DISTANCE_MAX as usize] {
        match self.newest {
            Some((newest, _)) if arrival.codec == Codec::Red && newest == arrival.sequence => {
                let Arrival {
                    sequence,
                    timestamp,
                    payload,
                    ..
                } = *arrival;
                self.redundancy.advance(sequence, timestamp, payload)
            }
            _ => [0; DISTANCE_MAX as usize],
        }
    }

    /// The newest sequence number that came.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest.map(|(sequence, _)| sequence)
    }

    /// A stored packet.
    pub(crate) fn get(&self, sequence: u64) -> Option<Packet<'_>> {
        self.ring.get(sequence)
    }

    /// The source began anew (another SSRC): what is stored belongs to other numbers.
    pub(crate) fn restart(&mut self) {
        self.ring.clear();
        self.report = None;
        self.report_told = None;
        self.newest = None;
        self.redundancy.reset();
        self.targets = DecodeTargets::NONE;
        self.structure = None;
        (self.structure_at, self.active_at) = (0, 0);
        self.window = LayerWindow::default();
        self.rates = Rates::default();
    }

    /// Adds what a dependency descriptor says. Where the payload tells its layers itself (VP9, most
    /// VP8) it decides, and only the frame number is of interest.
    fn describe_dependency(&mut self, arrival: &Arrival<'_>, frame: &mut Frame) {
        let raw = arrival.dependency_descriptor;
        let known = self.structure.as_deref();
        let Ok(mut descriptor) = Descriptor::parse_into(raw, known, &mut self.spare) else {
            // Without its structure a frame cannot be judged; the number can still be read.
            frame.dependency = Mandatory::parse(raw).map(|mandatory| Dependency {
                number: mandatory.frame_number,
                present: u32::MAX,
                switch: 0,
            });
            return;
        };
        let attached = descriptor.structure.take();
        let starts = attached.is_some();
        let mut count = usize::from(self.targets.count);
        if let Some(structure) = attached {
            count = structure.target_count();
            // A key frame that was sent again may come behind a newer one, whose structure stays;
            // or it may be the newest itself, of which only this packet was lost.
            if self.structure.is_none() || arrival.sequence >= self.structure_at {
                let active = self.targets.active;
                self.targets = targets_of(&structure);
                self.targets.active = active;
                self.spare = self.structure.replace(structure);
                self.structure_at = arrival.sequence;
            } else {
                self.spare = Some(structure);
            }
        }
        if let Some(active) = descriptor.active_decode_targets
            && arrival.sequence >= self.active_at
        {
            self.targets.active = active;
            self.active_at = arrival.sequence;
        }
        let (mut present, mut switch) = (0, 0);
        for target in 0..count {
            match descriptor.indications.get(target) {
                Indication::NotPresent => {}
                Indication::Switch => {
                    present |= 1 << target;
                    switch |= 1 << target;
                }
                Indication::Discardable | Indication::Required => present |= 1 << target,
            }
        }
        frame.dependency = Some(Dependency {
            number: descriptor.mandatory.frame_number,
            present,
            switch,
        });
        if frame.is_layered_by_dependency(arrival.codec) {
            frame.temporal = descriptor.temporal;
        }
        if arrival.codec == Codec::Av1 {
            frame.start = descriptor.mandatory.first_packet;
            frame.end = descriptor.mandatory.last_packet;
            frame.spatial = descriptor.spatial;
            frame.independent = descriptor.frame_diffs.as_slice().is_empty();
            frame.key = starts && frame.independent;
        }
    }
}

fn targets_of(structure: &Structure) -> DecodeTargets {
    let mut targets = DecodeTargets::NONE;
    for (target, layers) in targets.layers.iter_mut().enumerate() {
        if let Some(found) = structure.layers_of(target) {
            *layers = found;
            targets.count = target as u8 + 1;
        }
    }
    targets.nested = is_nested(structure);
    targets
}

/// Whether the frames of every decode target, key pictures aside, are also frames of the target of
/// the highest spatial layer with the same temporal one.
fn is_nested(structure: &Structure) -> bool {
    let top = structure.spatial_layers() - 1;
    structure
        .templates()
        .iter()
        .filter(|template| !template.frame_diffs.as_slice().is_empty())
        .all(|template| {
            let has = |target: usize| template.indications.get(target) != Indication::NotPresent;
            (0..structure.target_count())
                .filter(|&target| has(target))
                .all(|target| {
                    let temporal = structure.layers_of(target).map_or(0, |layers| layers.1);
                    structure.target_within(top, temporal).is_none_or(has)
                })
        })
}

#[cfg(test)]
#[path = "layer/tests.rs"]
mod tests;
