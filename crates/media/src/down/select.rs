//! Which packets of an up track a subscriber gets: spatial and temporal layers.
//!
//! Owns: the layers in force of one down track. Must not know: numbering, bytes, other subscribers.
//!
//! Two kinds of spatial layers meet here. *Streams* (simulcast): one SSRC per layer, switched only
//! at a key frame of the new one, while the old one keeps flowing until then. *Layers of one
//! scalable stream* (SVC): frames above the wish are dropped; going up waits for a frame that
//! does not need what was dropped before.

use super::allocate::Allowed;
use crate::api::LayerWish;
use crate::frame::{Dependency, Frame};

/// Streams (simulcast layers) a track may have.
pub(crate) const STREAMS_MAX: usize = 3;
/// Decode targets of a dependency structure that selection looks at (the format's own limit).
pub(crate) const TARGETS_MAX: usize = 32;

/// The (spatial, temporal) layer of each decode target of a dependency structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DecodeTargets {
    /// How many there are.
    pub(crate) count: u8,
    /// Layer of each.
    pub(crate) layers: [(u8, u8); TARGETS_MAX],
    /// Bit per target that the publisher still produces.
    pub(crate) active: u32,
    /// Who gets a higher spatial layer gets the lower ones too, and may go down without a key
    /// frame. Not so where layers depend on each other in key pictures only (`L3T3_KEY`).
    pub(crate) nested: bool,
}

impl DecodeTargets {
    /// No structure known yet.
    pub(crate) const NONE: Self = Self {
        count: 0,
        layers: [(0, 0); TARGETS_MAX],
        active: u32::MAX,
        nested: true,
    };

    /// The best target within a wish, by spatial, then temporal layer.
    fn best(&self, wish: LayerWish) -> Option<u8> {
        (0..self.count)
            .filter(|&t| {
                let (spatial, temporal) = self.layers[usize::from(t)];
                self.active & (1 << t) != 0 && spatial <= wish.spatial && temporal <= wish.temporal
            })
            .max_by_key(|&t| self.layers[usize::from(t)])
    }

    /// The spatial layer of a target.
    fn spatial(&self, target: u8) -> u8 {
        self.layers[usize::from(target) % TARGETS_MAX].0
    }
}

/// What to do with one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not for this subscriber.
    Drop,
    /// Forward it as the stream's next one.
    Forward,
    /// Forward it; it begins another stream, or the same one after a pause.
    Switch,
}

/// The layers in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Select {
    /// What is wished, as far as it is allowed.
    wish: LayerWish,
    wanted: LayerWish,
    allowed: Allowed,
    /// Between two bursts.
    held: bool,
    /// Stream that flows.
    stream: Option<u8>,
    /// Highest spatial layer of a scalable stream that flows.
    spatial: u8,
    /// Highest temporal layer that flows.
    temporal: u8,
    /// Decode target in force, when the stream has a dependency structure.
    target: Option<u8>,
}

impl Select {
    /// Nothing flows yet.
    pub(crate) fn new(wish: LayerWish) -> Self {
        Self {
            wish,
            wanted: wish,
            allowed: Allowed::All,
            held: false,
            stream: None,
            spatial: 0,
            temporal: 0,
            target: None,
        }
    }

    /// Other layers, or on and off. Takes effect at the next frame that allows it.
    pub(crate) fn set_wish(&mut self, wish: LayerWish) {
        self.wanted = wish;
        self.combine();
    }

    /// Less, or more again, than wished, by what the peer's link carries.
    pub(crate) fn allow(&mut self, allowed: Allowed) {
        self.allowed = allowed;
        self.combine();
    }

    /// Begins or ends the pause between two bursts.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
        self.combine();
    }

    fn combine(&mut self) {
        self.wish = self.allowed.within(self.wanted);
        self.wish.enabled &= !self.held;
        if !self.wish.enabled {
            self.pause();
        }
    }

    /// What is wished, allowed or not.
    pub(crate) fn wanted(&self) -> LayerWish {
        self.wanted
    }

    pub(crate) fn allowed(&self) -> Allowed {
        self.allowed
    }

    /// In the pause between two bursts.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Nothing flows until the next key frame.
    pub(crate) fn pause(&mut self) {
        self.stream = None;
        self.target = None;
    }

    /// The stream that flows.
    pub(crate) fn stream(&self) -> Option<u8> {
        self.stream
    }

    /// Highest (spatial, temporal) layer within the stream that flows.
    pub(crate) fn within(&self) -> (u8, u8) {
        (self.spatial, self.temporal)
    }

    /// The decode target in force.
    pub(crate) fn target(&self) -> Option<u8> {
        self.target
    }

    /// The stream that should flow, of those alive (bit per stream).
    pub(crate) fn wanted_stream(&self, alive: u8) -> Option<u8> {
        if !self.wish.enabled || alive == 0 {
            return None;
        }
        let within = alive & (1u16 << (self.wish.spatial.min(7) + 1)).wrapping_sub(1) as u8;
        if within != 0 {
            Some(7 - within.leading_zeros() as u8)
        } else {
            Some(alive.trailing_zeros() as u8)
        }
    }

    /// The stream whose key frame this subscriber waits for. `spatial_top` is the highest spatial
    /// layer seen within a scalable stream: going up within one waits for its key frame, too, and
    /// so does going down where the layers are not nested.
    pub(crate) fn waits_for(&self, alive: u8, spatial_top: u8, targets: &DecodeTargets) -> Option<u8> {
        let wanted = self.wanted_stream(alive)?;
        if self.stream != Some(wanted) {
            return Some(wanted);
        }
        let waits = match (self.target, targets.count) {
            (Some(target), 1..) => {
                let flowing = targets.spatial(target);
                let best = targets
                    .best(self.wish)
                    .map_or(flowing, |best| targets.spatial(best));
                flowing < best || (flowing > best && !targets.nested)
            }
            _ => self.spatial < self.wish.spatial.min(spatial_top),
        };
        waits.then_some(wanted)
    }

    /// Decides about the next packet in order of stream `stream`.
    pub(crate) fn decide(
        &mut self,
        stream: u8,
        alive: u8,
        frame: &Frame,
        targets: &DecodeTargets,
    ) -> Verdict {
        if !self.wish.enabled {
            return Verdict::Drop;
        }
        if frame.key && frame.start && self.takes_over(stream, alive) {
            self.stream = Some(stream);
            self.begin(frame, targets);
            return Verdict::Switch;
        }
        if self.stream != Some(stream) {
            return Verdict::Drop;
        }
        let wanted = match frame.dependency {
            Some(dependency) if targets.count > 0 => self.by_target(frame, dependency, targets),
            _ => self.by_layer(frame),
        };
        if wanted { Verdict::Forward } else { Verdict::Drop }
    }

    /// Whether a key frame of `stream` replaces what flows.
    fn takes_over(&self, stream: u8, alive: u8) -> bool {
        if self.stream == Some(stream) {
            return false;
        }
        let Some(wanted) = self.wanted_stream(alive | (1 << stream.min(7))) else {
            return false;
        };
        match self.stream {
            _ if stream == wanted => true,
            // Anything lower is better than nothing.
            None => stream < wanted,
            Some(_) => false,
        }
    }

    /// Layers at the first packet of a stream.
    fn begin(&mut self, frame: &Frame, targets: &DecodeTargets) {
        self.spatial = self.wish.spatial;
        self.temporal = self.wish.temporal;
        self.target = frame.dependency.and_then(|_| targets.best(self.wish));
    }

    /// Filters by the layer numbers of the payload descriptor (VP8, VP9).
    fn by_layer(&mut self, frame: &Frame) -> bool {
        if frame.start {
            if frame.key {
                self.spatial = self.wish.spatial;
                self.temporal = self.wish.temporal;
            }
            self.temporal = self.temporal.min(self.wish.temporal);
            if frame.spatial == 0 {
                // Only between pictures: the parts of one picture stay together.
                self.spatial = self.spatial.min(self.wish.spatial);
            }
            if frame.sync.is_some_and(|from| from <= self.temporal)
                && (self.temporal + 1..=self.wish.temporal).contains(&frame.temporal)
            {
                self.temporal = frame.temporal;
            }
            if frame.independent && (self.spatial + 1..=self.wish.spatial).contains(&frame.spatial) {
                self.spatial = frame.spatial;
            }
        }
        frame.spatial <= self.spatial && frame.temporal <= self.temporal
    }

    /// Filters by decode target (dependency descriptor). A frame at which the stream says that a
    /// target may be switched to keeps that promise only for those who can decode that frame.
    fn by_target(&mut self, frame: &Frame, dependency: Dependency, targets: &DecodeTargets) -> bool {
        let best = targets.best(self.wish);
        let flows = |target: Option<u8>| {
            target.is_some_and(|target| dependency.present & (1u32 << target.min(31)) != 0)
        };
        if frame.start && best != self.target {
            let at = best.map_or(0, |best| 1u32 << best);
            if dependency.switch & at != 0 && (frame.independent || flows(self.target)) {
                self.target = best;
            }
        }
        flows(self.target)
    }
}

#[cfg(test)]
#[path = "select/tests.rs"]
mod tests;
