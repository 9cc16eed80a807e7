//! One up track on this thread: published here, or the replica of another thread's track.
//!
//! Owns: its layers, the packets of the running turn, who is subscribed (by index). Must not know:
//! how subscribers number packets, identities.

use super::layer::{Layer, STOP_AFTER, STOP_UPPER_AFTER};
use super::level::AudioLevel;
use crate::api::{ThreadId, TrackKey};
use crate::down::select::STREAMS_MAX;
use crate::worker::Loss;
use peer::{Codec, Kind};
use std::time::{Duration, Instant};

/// Packets of one turn for which room is made at once: a large frame's worth grows it only once.
const TURN_USUAL: usize = 32;

/// Most padding per packet, in bytes: what even splitting needs, and an encoder's rounding.
const PADDING_MAX: u8 = 2;

/// Where a track's packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Not published (yet, or any more).
    None,
    /// A peer of this thread, by index.
    Peer(u32),
    /// Another thread sends crossings.
    Thread(ThreadId),
}

/// A subscriber: indices of its peer and of the down track within that peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: u32,
    pub(crate) down: u32,
}

/// A packet of the running turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnPacket {
    pub(crate) layer: u8,
    pub(crate) sequence: u64,
    /// 0: the packet itself. Otherwise the lost one so many places in front of it, which it repeats.
    pub(crate) recovers: u8,
    /// RTP padding that brings it to the length of its frame's longest packet.
    pub(crate) padding: u8,
}

/// An up track.
#[derive(Debug)]
pub(crate) struct UpTrack {
    /// Its key.
    pub(crate) key: TrackKey,
    /// Where packets come from.
    pub(crate) source: Source,
    /// Not forwarded.
    pub(crate) muted: bool,
    /// Layers by index; made by their first packet.
    layers: [Option<Box<Layer>>; STREAMS_MAX],
    /// Layers that flow, bit per layer.
    pub(crate) alive: u8,
    /// Highest spatial layer seen within a scalable stream.
    pub(crate) spatial_top: u8,
    /// Packets since the last fan-out.
    pub(crate) turn: Vec<TurnPacket>,
    /// Subscribers of this thread.
    pub(crate) subscribers: Vec<Subscriber>,
    /// Other threads with subscribers.
    pub(crate) threads: Vec<ThreadId>,
    /// Speaker level, for microphones.
    pub(crate) level: Option<Box<AudioLevel>>,
    /// When the timer of this track is armed.
    pub(crate) armed: Option<Instant>,
    /// Loss at subscribers, when that is passed on.
    pub(crate) loss: Option<Loss>,
}

impl UpTrack {
    /// A track that nobody publishes or subscribes to yet.
    pub(crate) fn new(key: TrackKey) -> Self {
        Self {
            key,
            source: Source::None,
            muted: false,
            layers: [None, None, None],
            alive: 0,
            spatial_top: 0,
            turn: Vec::with_capacity(TURN_USUAL),
            subscribers: Vec::new(),
            threads: Vec::new(),
            level: None,
            armed: None,
            loss: None,
        }
    }

    /// A layer, if it ever sent.
    pub(crate) fn layer(&self, layer: u8) -> Option<&Layer> {
        self.layers.get(usize::from(layer))?.as_deref()
    }

    /// A layer, if it ever sent.
    pub(crate) fn layer_mut(&mut self, layer: u8) -> Option<&mut Layer> {
        self.layers.get_mut(usize::from(layer))?.as_deref_mut()
    }

    /// A layer, made when it is new. `None` for a number beyond the limit.
    pub(crate) fn layer_or_new(&mut self, layer: u8, codec: Codec) -> Option<&mut Layer> {
        let slot = self.layers.get_mut(usize::from(layer))?;
        Some(slot.get_or_insert_with(|| Box::new(Layer::new(codec.kind(), codec))))
    }

    /// All layers that ever sent.
    pub(crate) fn layers_mut(&mut self) -> impl Iterator<Item = (u8, &mut Layer)> {
        self.layers
            .iter_mut()
            .enumerate()
            .filter_map(|(i, layer)| Some((i as u8, layer.as_deref_mut()?)))
    }

    /// The publisher is gone: its packets, too.
    pub(crate) fn forget_source(&mut self) {
        self.source = Source::None;
        self.layers = [None, None, None];
        self.alive = 0;
        self.spatial_top = 0;
        self.turn.clear();
        self.level = None;
        self.loss = None;
    }

    /// Packets of one frame are of nearly one length: encoders split evenly, to a byte. One or two
    /// bytes of padding make them equal, and then a whole frame leaves as one train.
    pub(crate) fn even_out(&mut self) {
        let mut turn = std::mem::take(&mut self.turn);
        let measure = |track: &Self, packet: &TurnPacket| {
            let packet = track.layer(packet.layer)?.get(packet.sequence)?;
            Some((packet.info.timestamp, packet.payload.len()))
        };
        let mut from = 0;
        while let Some((timestamp, mut longest)) = turn.get(from).and_then(|first| measure(self, first)) {
            let mut to = from + 1;
            while let Some((_, len)) = turn
                .get(to)
                .and_then(|next| measure(self, next))
                .filter(|(other, _)| *other == timestamp)
            {
                longest = longest.max(len);
                to += 1;
            }
            for packet in turn.get_mut(from..to).into_iter().flatten() {
                let short = measure(self, packet).map_or(0, |(_, len)| longest - len);
                packet.padding = u8::try_from(short)
                    .ok()
                    .filter(|short| *short <= PADDING_MAX)
                    .unwrap_or(0);
            }
            from = to;
        }
        self.turn = turn;
    }

    /// The turn's packets were sent, or are not to be.
    pub(crate) fn end_turn(&mut self) {
        self.turn.clear();
        for layer in self.layers.iter_mut().flatten() {
            layer.ring.end_turn();
        }
    }

    /// Nothing refers to this track any more.
    pub(crate) fn is_unused(&self) -> bool {
        self.source == Source::None && self.subscribers.is_empty() && self.threads.is_empty()
    }

    /// Finds a layer that stopped, marks and returns it. Audio pauses by itself and never stops.
    pub(crate) fn take_stopped(&mut self, now: Instant) -> Option<u8> {
        let low_flows = self.alive & 1 != 0;
        let mut stopped = None;
        for (index, layer) in self.layers_mut() {
            if layer.codec.kind() == Kind::Audio {
                continue;
            }
            if let Some(at) = layer.last_at
                && now.saturating_duration_since(at) >= stop_after(index, low_flows)
            {
                layer.last_at = None;
                layer.requests.satisfied();
                stopped = Some(index);
                break;
            }
        }
        if let Some(index) = stopped {
            self.alive &= !(1 << index);
        }
        stopped
    }

    /// When this track wants its timer: a key-frame request is due, or a layer may have stopped.
    pub(crate) fn due(&mut self) -> Option<Instant> {
        let low_flows = self.alive & 1 != 0;
        self.layers_mut()
            .flat_map(|(index, layer)| {
                let stop = layer
                    .last_at
                    .filter(|_| layer.codec.kind() == Kind::Video)
                    .map(|at| at + stop_after(index, low_flows));
                [layer.requests.due(), stop]
            })
            .flatten()
            .min()
    }
}

fn stop_after(layer: u8, low_flows: bool) -> Duration {
    if layer > 0 && low_flows {
        STOP_UPPER_AFTER
    } else {
        STOP_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RoomKey;

    #[test]
    fn packets_of_a_frame_are_padded_to_its_longest_by_two_bytes_at_most() {
        use crate::up::layer::Arrival;
        let mut track = UpTrack::new(TrackKey::new(ThreadId(0), RoomKey(1), 1));
        // (timestamp, payload length): a frame split evenly, one that is not, one packet alone.
        let packets = [(1, 999), (1, 1000), (1, 998), (2, 500), (2, 900), (3, 1001)];
        for (sequence, (timestamp, len)) in (100..).zip(packets) {
            let layer = track.layer_or_new(0, Codec::Vp8).expect("within the limit");
            let payload = vec![0x10; len];
            layer.accept(
                crate::testing::epoch(),
                &Arrival {
                    sequence,
                    timestamp,
                    marker: false,
                    codec: Codec::Vp8,
                    payload: &payload,
                    dependency_descriptor: &[],
                    abs_capture_time: &[],
                },
            );
            track.turn.push(TurnPacket {
                layer: 0,
                sequence,
                recovers: 0,
                padding: 0,
            });
        }
        track.even_out();
        let padding: Vec<u8> = track.turn.iter().map(|packet| packet.padding).collect();
        assert_eq!(padding, [1, 0, 2, 0, 0, 0]);
    }

    fn flowing(layers: u8, now: Instant) -> UpTrack {
        let mut track = UpTrack::new(TrackKey::new(ThreadId(0), RoomKey(1), 1));
        for layer in 0..layers {
            track
                .layer_or_new(layer, Codec::Vp8)
                .expect("within the limit")
                .last_at = Some(now);
            track.alive |= 1 << layer;
        }
        track
    }

    #[test]
    fn a_silent_upper_layer_stops_before_the_lowest() {
        let now = crate::testing::epoch();
        let mut track = flowing(2, now);
        assert_eq!(track.due(), Some(now + STOP_UPPER_AFTER));
        assert_eq!(track.take_stopped(now + STOP_UPPER_AFTER), Some(1));
        assert_eq!(track.take_stopped(now + STOP_UPPER_AFTER), None);
        assert_eq!(track.alive, 0b01);
        assert_eq!(track.take_stopped(now + STOP_AFTER), Some(0));
        assert_eq!((track.alive, track.due()), (0, None));
    }

    #[test]
    fn layers_beyond_the_limit_are_refused() {
        let mut track = flowing(0, crate::testing::epoch());
        assert!(track.layer_or_new(3, Codec::Vp8).is_none());
    }
}
