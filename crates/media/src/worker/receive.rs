//! What comes in: datagrams of peers, and crossings from other threads.

use super::Worker;
use crate::api::{EventKind, ThreadId, TrackKey, thread_of_ufrag};
use crate::crossing::{Content, Control, Crossing};
use crate::demux::{Forgotten, Route};
use crate::up::layer::Arrival;
use crate::up::ring::Inserted;
use crate::up::track::{Source, TurnPacket};
use peer::{Kind, Received, ReceivedRtp, Refusal};
use std::net::SocketAddr;
use std::time::Instant;
use wire::stun;

/// Crossings taken per ring and turn: as many as a large batch of datagrams, so that neither starves.
const CROSSINGS_PER_TURN: usize = 256;
/// Control items taken per ring and turn.
const CONTROLS_PER_TURN: usize = 1024;

/// Through whose hands a datagram came.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hand {
    /// From a socket of ours: it may be handed over.
    First,
    /// From another thread's: it stays. `familiar`: that thread knew its source as one of ours.
    Over { thread: ThreadId, familiar: bool },
}

impl Worker {
    /// Finds the peer of a datagram and gives it to it.
    pub(crate) fn datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: u8,
        data: &mut [u8],
        hand: Hand,
    ) {
        let fragment = stun::username(data).map(|(fragment, _)| fragment);
        let mut known = self.demux.by_address(from);
        if known.is_none() && fragment.is_none() && self.mesh.threads() > 1 {
            // What follows an answer may be here before the news that the source is known.
            self.controls(now);
            known = self.demux.by_address(from);
        }
        let route = match fragment {
            Some(fragment) => self.route_of_fragment(fragment).or(known),
            None => known,
        };
        match (route, hand) {
            (Some(Route::Peer(index)), _) => {
                if fragment.is_some() && known != route && !self.looks_at_stranger(now, index) {
                    self.stats.refused.over_budget += 1;
                    return;
                }
                self.peer_datagram(now, index, (from, local), data, hand);
            }
            (Some(Route::Thread(thread)), Hand::First) => {
                self.hand_over(now, thread, (from, local), known == route, data);
            }
            (Some(Route::Thread(_)) | None, _) => {
                if fragment.is_some() {
                    self.stats.refused.unknown_fragment += 1;
                } else {
                    self.stats.refused.unknown_source += 1;
                }
                if let Hand::Over {
                    thread,
                    familiar: true,
                } = hand
                {
                    self.tell_forgotten((thread, from));
                }
            }
        }
    }

    fn route_of_fragment(&self, fragment: &[u8]) -> Option<Route> {
        if let Some(index) = self.demux.by_fragment(fragment) {
            return Some(Route::Peer(index));
        }
        let thread = thread_of_ufrag(fragment)?;
        (thread != self.config.thread && self.mesh.knows(thread)).then_some(Route::Thread(thread))
    }

    /// Whether there is time to check the integrity of a request from an unknown source.
    fn looks_at_stranger(&mut self, now: Instant, index: u32) -> bool {
        let slot = self.peers.get_mut(index);
        slot.is_some_and(|slot| slot.strangers.take(now)) && self.strangers.take(now)
    }

    /// Anybody may name another thread in a request with a forged source: nothing is learned here. The
    /// other thread tells when it knows whose the source is.
    fn hand_over(
        &mut self,
        now: Instant,
        thread: ThreadId,
        source: (SocketAddr, u8),
        familiar: bool,
        data: &[u8],
    ) {
        if !familiar && !self.strangers.take(now) {
            self.stats.refused.over_budget += 1;
        } else if self.mesh.send_datagram(thread, source, familiar, data) {
            self.stats.datagrams_handed_over += 1;
            self.dropped.hands_over(thread);
        } else {
            self.stats.refused.handover_full += 1;
        }
    }

    fn peer_datagram(
        &mut self,
        now: Instant,
        index: u32,
        (from, local): (SocketAddr, u8),
        data: &mut [u8],
        hand: Hand,
    ) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        if let Some(at) = self.dropped.at(local, hand) {
            slot.peer.note_dropped(at);
        }
        let refused = &mut self.stats.refused;
        match slot.peer.handle_datagram(now, from, local, data) {
            Received::Rtp(rtp) => {
                self.touched(now, index);
                self.stats.packets_in += 1;
                self.stats.packets_in_retransmitted += u64::from(rtp.retransmitted);
                self.rtp(now, index, &rtp, data);
            }
            Received::Check => {
                self.touched(now, index);
                self.learn(now, index, from, hand);
            }
            Received::Taken => self.touched(now, index),
            Received::Refused(Refusal::Unauthenticated) => refused.unauthenticated += 1,
            Received::Refused(Refusal::Stranger) => refused.unknown_source += 1,
            Received::Refused(Refusal::Malformed | Refusal::TooMany) => refused.malformed += 1,
        }
    }

    /// A peer proved itself from an address: what comes from there is its own.
    fn learn(&mut self, now: Instant, index: u32, from: SocketAddr, hand: Hand) {
        let via = match hand {
            Hand::First => None,
            Hand::Over { thread, .. } => Some(thread),
        };
        let peers = &self.peers;
        let selected = |index| Some(peers.get(index)?.peer.destination()?.0);
        let (learned, forgotten) = self.demux.learn((now, from, via), index, selected);
        if !learned {
            self.stats.refused.address_in_use += 1;
        } else if let Hand::Over {
            thread,
            familiar: false,
        } = hand
        {
            self.tell(thread, Control::Learned { source: from });
        }
        if let Some(forgotten) = forgotten {
            self.tell_forgotten(forgotten);
        }
    }

    /// Another thread needs to send on no longer what comes from an address.
    pub(crate) fn tell_forgotten(&mut self, (thread, source): Forgotten) {
        self.tell(thread, Control::Forgotten { source });
    }

    pub(crate) fn tell(&mut self, thread: ThreadId, control: Control) {
        if !self.mesh.send_control(thread, control) {
            self.stats.drops.control_full += 1;
        }
    }

    /// Takes a decrypted packet of a peer of this thread.
    fn rtp(&mut self, now: Instant, peer: u32, rtp: &ReceivedRtp, data: &[u8]) {
        let key = TrackKey(rtp.tag);
        let found = self.peers.get(peer).and_then(|slot| {
            let (_, index) = slot.ups.iter().find(|(up, _)| *up == key)?;
            Some(*index)
        });
        let Some(index) = found else {
            self.stats.drops.unknown_track += 1;
            return;
        };
        let bytes = |range: &std::ops::Range<usize>| data.get(range.clone()).unwrap_or(&[]);
        let arrival = Arrival {
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            marker: rtp.marker,
            codec: rtp.codec,
            payload: bytes(&rtp.payload),
            dependency_descriptor: bytes(&rtp.dependency_descriptor),
            abs_capture_time: bytes(&rtp.abs_capture_time),
        };
        if let (Some((_, level)), Some(track)) = (rtp.audio_level, self.tracks.get_mut(index))
            && let Some(meter) = &mut track.level
        {
            meter.observe(
                now,
                (rtp.timestamp, rtp.codec.clock_rate()),
                level,
                &self.config.tuning.speaking,
            );
        }
        if self.accept(now, index, rtp.layer, &arrival) {
            self.cross(index, rtp.layer, &arrival);
        }
    }

    /// Stores a packet of a track and puts it on the turn's list. True when it is new and the
    /// track is not muted.
    fn accept(&mut self, now: Instant, index: u32, number: u8, arrival: &Arrival<'_>) -> bool {
        if arrival.payload.is_empty() {
            return self.accept_padding(now, index, number, arrival);
        }
        let Some(track) = self.tracks.get_mut(index) else {
            return false;
        };
        if track.muted {
            return false;
        }
        let Some(layer) = track.layer_or_new(number, arrival.codec) else {
            self.stats.drops.unknown_track += 1;
            return false;
        };
        let active = layer.targets.active;
        let (inserted, frame) = layer.accept(now, arrival);
        let retargets = layer.targets.active != active;
        let (ssrc, rtx_ssrc) = (layer.ssrc, layer.rtx_ssrc);
        match inserted {
            Inserted::New => {}
            Inserted::Duplicate => self.stats.drops.duplicate += 1,
            Inserted::TooOld => self.stats.drops.too_old += 1,
            Inserted::Full => self.stats.drops.ring_full += 1,
        }
        if inserted != Inserted::New {
            return false;
        }
        let lost = layer.recover(arrival);
        track.spatial_top = track.spatial_top.max(frame.spatial);
        if track.turn.is_empty() {
            self.fanout.tracks.push(index);
        }
        self.fanout.copies += track.subscribers.len();
        for recovers in lost.into_iter().filter(|distance| *distance > 0).chain([0]) {
            track.turn.push(TurnPacket {
                layer: number,
                sequence: arrival.sequence,
                recovers,
                padding: 0,
            });
            self.stats.packets_recovered += u64::from(recovers > 0);
        }
        let bit = 1u8 << number;
        if track.alive & bit == 0 {
            track.alive |= bit;
            let (key, here) = (track.key, matches!(track.source, Source::Peer(_)));
            if here {
                let started = EventKind::LayerStarted {
                    track: key,
                    layer: number,
                    ssrc: ssrc.unwrap_or(0),
                    rtx_ssrc,
                    codec: arrival.codec,
                };
                self.events.push(key.room(), started);
            }
            if !(frame.key && frame.start) {
                self.ask_for_subscribers(now, index);
            }
            self.arm_track(index);
        } else if retargets {
            // The publisher turned spatial layers off or on: some may need a key frame to follow.
            self.ask_for_subscribers(now, index);
        }
        true
    }

    /// A packet of padding is not forwarded, nor does it make a layer flow. It takes its turn among the
    /// packets of a layer that flows, so that subscribers are not told of a hole where nothing is lost.
    fn accept_padding(&mut self, now: Instant, index: u32, number: u8, arrival: &Arrival<'_>) -> bool {
        let Some(track) = self.tracks.get_mut(index) else {
            return false;
        };
        let flows = track.alive & (1 << number.min(7)) != 0;
        if track.muted || !flows || arrival.codec.kind() != Kind::Video {
            return false;
        }
        let Some(layer) = track.layer_mut(number) else {
            return false;
        };
        if layer.accept_padding(now, arrival) != Inserted::New {
            return false;
        }
        if track.turn.is_empty() {
            self.fanout.tracks.push(index);
        }
        track.turn.push(TurnPacket {
            layer: number,
            sequence: arrival.sequence,
            recovers: 0,
            padding: 0,
        });
        true
    }

    /// Sends a packet to each other thread with subscribers, once.
    fn cross(&mut self, index: u32, layer: u8, arrival: &Arrival<'_>) {
        let Some(track) = self.tracks.get(index) else {
            return;
        };
        let key = track.key;
        for i in 0..track.threads.len() {
            let Some(&thread) = self.tracks.get(index).and_then(|track| track.threads.get(i)) else {
                return;
            };
            if self.mesh.send_packet(thread, key, layer, arrival) {
                if let Some(count) = self.stats.crossings_out.get_mut(usize::from(thread.0)) {
                    *count += 1;
                }
            } else {
                self.count_crossing_drop(thread);
                // Its subscribers have a hole that no retransmission fills.
                self.fanout.torn.push((index, layer));
            }
        }
    }

    fn count_crossing_drop(&mut self, thread: ThreadId) {
        if let Some(count) = self.stats.drops.crossing_full.get_mut(usize::from(thread.0)) {
            *count += 1;
        }
    }

    /// Takes control items and crossings of all other threads, bounded per ring.
    pub(crate) fn crossings(&mut self, now: Instant) {
        self.mesh.flush();
        while let Some((index, layer)) = self.fanout.torn.pop() {
            self.want_key_frame(now, index, layer);
        }
        self.controls(now);
        for thread in 0..self.mesh.threads() {
            let thread = ThreadId(thread as u8);
            for _ in 0..CROSSINGS_PER_TURN {
                let Some(mut crossing) = self.mesh.receive(thread) else {
                    break;
                };
                self.stats.crossings_in += 1;
                self.crossing(now, thread, &mut crossing);
                self.mesh.recycle(thread, crossing);
            }
        }
    }

    fn controls(&mut self, now: Instant) {
        for thread in 0..self.mesh.threads() {
            let thread = ThreadId(thread as u8);
            for _ in 0..CONTROLS_PER_TURN {
                let Some(control) = self.mesh.receive_control(thread) else {
                    break;
                };
                self.control(now, thread, control);
            }
        }
    }

    fn crossing(&mut self, now: Instant, thread: ThreadId, crossing: &mut Crossing) {
        match crossing.content {
            Content::Datagram {
                from,
                local,
                familiar,
                ..
            } => {
                let hand = Hand::Over { thread, familiar };
                self.datagram(now, from, local, crossing.datagram_mut(), hand);
            }
            Content::Packet { track, layer, .. } => {
                if let (Some(&index), Some(arrival)) = (self.track_keys.get(&track), crossing.arrival()) {
                    self.accept(now, index, layer, &arrival);
                }
            }
        }
    }

    fn control(&mut self, now: Instant, from: ThreadId, control: Control) {
        match control {
            Control::Want { track } => self.thread_wants(now, from, track),
            Control::Unwant { track } => self.thread_unwants(from, track),
            Control::KeyFrame { track, layer } => {
                if let Some(&index) = self.track_keys.get(&track) {
                    self.want_key_frame(now, index, layer);
                }
            }
            Control::Muted { track, muted } => self.mute(now, track, muted),
            Control::Started {
                track,
                layer,
                codec,
                ssrc,
            } => self.stream_started(track, layer, codec, (ssrc, None)),
            Control::Ended { track } => self.source_ended(track),
            Control::Report { track, layer, report } => self.sender_report(track, layer, report),
            Control::Loss { track, fraction } => self.track_loss(now, track, fraction),
            Control::Learned { source } => self.demux.learn_foreign(source, from),
            Control::Forgotten { source } => self.demux.forget_foreign(source, from),
            Control::Dropped { at } => self.dropped.elsewhere(from, at),
        }
    }

    /// Another thread has subscribers of a track of ours, published or not yet.
    fn thread_wants(&mut self, now: Instant, thread: ThreadId, key: TrackKey) {
        if key.thread() != self.config.thread {
            self.stats.drops.commands += 1;
            return;
        }
        let index = self.track_or_new(key);
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        if !track.threads.contains(&thread) {
            track.threads.push(thread);
        }
        let muted = track.muted;
        let mut news = [None, None, None];
        for (number, layer) in track.layers_mut() {
            let slot = news.get_mut(usize::from(number)).expect("as many as layers");
            *slot = layer.ssrc.map(|ssrc| (number, layer.codec, ssrc, layer.report));
        }
        let mut controls = vec![Control::Muted { track: key, muted }];
        for (layer, codec, ssrc, report) in news.into_iter().flatten() {
            controls.push(Control::Started {
                track: key,
                layer,
                codec,
                ssrc,
            });
            controls.extend(report.map(|report| Control::Report {
                track: key,
                layer,
                report,
            }));
        }
        for control in controls {
            if !self.mesh.send_control(thread, control) {
                self.stats.drops.control_full += 1;
            }
        }
        // The replica asks for the layer it needs when it sees what flows.
        self.arm_track(index);
        let _ = now;
    }

    fn thread_unwants(&mut self, thread: ThreadId, key: TrackKey) {
        if let Some(&index) = self.track_keys.get(&key) {
            if let Some(track) = self.tracks.get_mut(index) {
                track.threads.retain(|other| *other != thread);
            }
            self.drop_unused_track(index);
        }
    }
}
