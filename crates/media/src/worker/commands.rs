//! What the control plane says.

use super::peers::PeerSlot;
use super::time::REPORT_INTERVAL;
use super::{DOWN_TRACKS_PER_PEER_MAX, UP_TRACKS_PER_PEER_MAX, Worker};
use crate::api::{Command, DownKey, EventKind, LayerWish, PeerKey, RoomKey, TrackKey};
use crate::backlog::Backlog;
use crate::crossing::Control;
use crate::down::track::DownTrack;
use crate::feedback::Bucket;
use crate::strangers::Budget;
use crate::up::level::AudioLevel;
use crate::up::track::{Source, Subscriber, UpTrack};
use peer::{Candidate, CandidateKind, IceCredentials, Kind, Peer, PeerInit, ReceiveSpec, SendSpec};
use std::collections::VecDeque;
use std::time::Instant;

impl Worker {
    pub(crate) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeer {
                peer,
                ice,
                ice_lite,
                ice_controlling,
                seed,
            } => self.add_peer(now, peer, ice, (ice_lite, ice_controlling), seed),
            Command::SetRemote { peer, remote } => self.with_peer(now, peer, |p| p.set_remote(now, remote)),
            Command::AddCandidate { peer, candidate } => {
                self.with_peer(now, peer, |p| p.add_remote_candidate(candidate));
            }
            Command::RestartIce { peer, ice } => {
                if let Some(&index) = self.peer_keys.get(&peer) {
                    self.demux.add_fragment(index, &ice.ufrag);
                }
                self.with_peer(now, peer, |p| p.restart_ice(ice));
            }
            Command::OpenChannel { peer, channel } => self.with_peer(now, peer, |p| p.open_channel(channel)),
            Command::Publish {
                peer,
                track,
                spec,
                audio_level,
            } => self.publish(now, peer, track, spec, audio_level),
            Command::Unpublish { track } => self.unpublish(now, track),
            Command::MuteTrack { track, muted } => self.mute(now, track, muted),
            Command::Subscribe {
                peer,
                down,
                track,
                spec,
                wish,
            } => self.subscribe(now, peer, (down, track), spec, wish),
            Command::Unsubscribe { down } => self.unsubscribe(now, down),
            Command::SetDownOptions { down, options } => self.set_down_options(now, down, options),
            Command::SetWish { down, wish } => self.set_wish(now, down, wish),
            Command::SendMessage { peers, label, data } => self.send_message(now, &peers, label, &data),
            Command::SendDataTrackPacket { receivers, data } => {
                self.send_data_track_packet(now, &receivers, &data);
            }
            Command::ClosePeer { peer } => self.close_peer(now, peer),
            Command::Measure { room } => self.measure(now, room),
            Command::CloseRoom { room } => {
                self.levels.remove(&room);
            }
        }
    }

    fn with_peer(&mut self, now: Instant, key: PeerKey, action: impl FnOnce(&mut Peer)) {
        let Some(&index) = self.peer_keys.get(&key) else {
            self.stats.drops.commands += 1;
            return;
        };
        if let Some(slot) = self.peers.get_mut(index) {
            action(&mut slot.peer);
        }
        self.touched(now, index);
    }

    fn add_peer(
        &mut self,
        now: Instant,
        key: PeerKey,
        ice: IceCredentials,
        (ice_lite, ice_controlling): (bool, bool),
        seed: u64,
    ) {
        if self.peer_keys.contains_key(&key) {
            self.stats.drops.commands += 1;
            return;
        }
        if self.peers.len() >= self.config.peers_max {
            self.stats.drops.peers += 1;
            self.events.push(key.room(), EventKind::PeerFailed { peer: key });
            return;
        }
        let ufrag = ice.ufrag.clone();
        let init = PeerInit {
            ice,
            ice_lite,
            ice_controlling,
            local: self.local_candidates(),
            seed,
        };
        let slot = PeerSlot {
            key,
            peer: Peer::new(self.shared.clone(), init, now),
            connected: false,
            closing: false,
            transmits: false,
            seed,
            downs: Vec::new(),
            ups: Vec::new(),
            channels: Vec::new(),
            backlog: Backlog::default(),
            stalled: None,
            injections: Vec::new(),
            reports_due: None,
            feedback: Bucket::default(),
            armed: None,
            limited: false,
            limits: Box::default(),
            owed: VecDeque::new(),
            owing: false,
            strangers: Budget::PEER,
            counted: Box::default(),
        };
        let index = self.peers.insert(slot);
        self.peer_keys.insert(key, index);
        self.demux.add_fragment(index, &ufrag);
        self.touched(now, index);
    }

    /// Host candidates of our sockets, the first one preferred (RFC 8445 §5.1.2.1).
    fn local_candidates(&self) -> Vec<(u8, Candidate)> {
        let sockets = self.config.sockets.iter().take(usize::from(u8::MAX) + 1);
        sockets
            .enumerate()
            .map(|(i, socket)| {
                let preference = 0xFFFF - i as u32;
                let candidate = Candidate {
                    address: socket.address,
                    priority: (126 << 24) | (preference << 8) | 255,
                    foundation: i.to_string(),
                    kind: CandidateKind::Host,
                };
                (i as u8, candidate)
            })
            .collect()
    }

    /// The track of a key, made when it is new.
    pub(crate) fn track_or_new(&mut self, key: TrackKey) -> u32 {
        if let Some(&index) = self.track_keys.get(&key) {
            return index;
        }
        let index = self.tracks.insert(UpTrack::new(key));
        self.track_keys.insert(key, index);
        index
    }

    fn publish(&mut self, now: Instant, peer: PeerKey, key: TrackKey, spec: ReceiveSpec, audio_level: bool) {
        let Some(&peer_index) = self.peer_keys.get(&peer) else {
            self.stats.drops.commands += 1;
            return;
        };
        let measures = audio_level && spec.kind == Kind::Audio;
        let index = self.track_or_new(key);
        let (Some(track), Some(slot)) = (self.tracks.get_mut(index), self.peers.get_mut(peer_index)) else {
            return;
        };
        let known = slot.ups.iter().any(|(up, _)| *up == key);
        if !known {
            if slot.ups.len() >= UP_TRACKS_PER_PEER_MAX {
                self.stats.drops.tracks += 1;
                self.drop_unused_track(index);
                return;
            }
            slot.ups.push((key, index));
        }
        slot.peer.add_receive(spec);
        track.source = Source::Peer(peer_index);
        if measures && track.level.is_none() {
            track.level = Some(Box::new(AudioLevel::default()));
            self.levels.entry(key.room()).or_default().tracks.push(index);
            self.levels_due
                .get_or_insert(now + self.config.tuning.speaking.window());
        } else if !measures && track.level.take().is_some() {
            self.forget_level(key.room(), index);
        }
        self.touched(now, peer_index);
    }

    fn forget_level(&mut self, room: RoomKey, index: u32) {
        if let Some(levels) = self.levels.get_mut(&room) {
            levels.tracks.retain(|track| *track != index);
            if levels.tracks.is_empty() && !levels.told_above_zero {
                self.levels.remove(&room);
            }
        }
    }

    fn unpublish(&mut self, now: Instant, key: TrackKey) {
        let Some(&index) = self.track_keys.get(&key) else {
            return;
        };
        if let Some(Source::Peer(peer)) = self.tracks.get(index).map(|track| track.source)
            && let Some(slot) = self.peers.get_mut(peer)
        {
            slot.ups.retain(|(up, _)| *up != key);
            slot.peer.remove_receive(key.0);
            self.touched(now, peer);
        }
        self.tell_threads(index, Control::Ended { track: key });
        self.source_ended(key);
    }

    /// A track's publisher is gone, here or on its thread. A replica stays one: it may come back.
    pub(crate) fn source_ended(&mut self, key: TrackKey) {
        let Some(&index) = self.track_keys.get(&key) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let source = track.source;
        let measured = track.level.is_some();
        track.forget_source();
        if let Source::Thread(_) = source {
            track.source = source;
        }
        if measured {
            self.forget_level(key.room(), index);
        }
        self.for_each_down(index, |down| {
            down.pause();
            (0..3).for_each(|layer| down.source_restarted(layer));
        });
        self.drop_unused_track(index);
    }

    /// Removes a track to which nothing refers any more.
    pub(crate) fn drop_unused_track(&mut self, index: u32) {
        if self.tracks.get(index).is_some_and(UpTrack::is_unused)
            && let Some(track) = self.tracks.remove(index)
        {
            self.track_keys.remove(&track.key);
            self.fanout.forget_track(index);
        }
    }

    pub(crate) fn mute(&mut self, now: Instant, key: TrackKey, muted: bool) {
        let Some(&index) = self.track_keys.get(&key) else {
            self.stats.drops.commands += 1;
            return;
        };
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        if track.muted == muted {
            return;
        }
        track.muted = muted;
        if muted {
            track.end_turn();
            for (_, layer) in track.layers_mut() {
                layer.redundancy.reset();
                layer.requests.satisfied();
            }
        }
        self.tell_threads(index, Control::Muted { track: key, muted });
        if muted {
            self.for_each_down(index, DownTrack::pause);
            self.silence_downs(now, index);
        } else {
            self.ask_for_subscribers(now, index);
        }
    }

    fn subscribe(
        &mut self,
        now: Instant,
        peer: PeerKey,
        (down, track): (DownKey, TrackKey),
        spec: SendSpec,
        wish: LayerWish,
    ) {
        let Some(&peer_index) = self.peer_keys.get(&peer) else {
            self.stats.drops.commands += 1;
            return;
        };
        if let Some(&at) = self.down_keys.get(&down) {
            self.resubscribe(now, at, track, spec, wish);
            return;
        }
        let here = track.thread() == self.config.thread;
        if !here && !self.mesh.knows(track.thread()) {
            self.stats.drops.commands += 1;
            return;
        }
        let index = self.track_or_new(track);
        let Some(slot) = self.peers.get_mut(peer_index) else {
            return;
        };
        if slot.downs.len() >= DOWN_TRACKS_PER_PEER_MAX {
            self.stats.drops.tracks += 1;
            self.drop_unused_track(index);
            return;
        }
        slot.end_leaving(down, spec.ssrc, &spec.mid);
        let (kind, payloads) = (spec.kind, spec.payloads.clone());
        let line = (spec.ssrc, spec.mid.as_str().into());
        slot.peer.add_send(spec);
        let send_index = slot.peer.send_index(down.0);
        let first = first_sequence(slot.seed, down);
        let mut copy = DownTrack::new(down, index, send_index, kind, &payloads, wish, first);
        copy.line = line;
        if self.config.tuning.active_red {
            copy.make_red(&payloads);
        }
        let hole = slot.downs.iter().position(Option::is_none);
        let at = Subscriber {
            peer: peer_index,
            down: hole.unwrap_or(slot.downs.len()) as u32,
        };
        match hole {
            Some(hole) => slot.downs[hole] = Some(copy),
            None => slot.downs.push(Some(copy)),
        }
        slot.reports_due.get_or_insert(now + REPORT_INTERVAL);
        self.down_keys.insert(down, at);
        self.join_track(index, at, track);
        self.ask_for_down(now, at);
        self.touched(now, peer_index);
    }

    /// The section of a down track was negotiated again.
    fn resubscribe(
        &mut self,
        now: Instant,
        at: Subscriber,
        track: TrackKey,
        spec: SendSpec,
        wish: LayerWish,
    ) {
        let Some(slot) = self.peers.get_mut(at.peer) else {
            return;
        };
        let (tag, payloads) = (spec.tag, spec.payloads.clone());
        slot.peer.add_send(spec);
        let send_index = slot.peer.send_index(tag);
        if let Some(down) = slot.down_mut(at.down) {
            down.send_index = send_index;
            down.set_payloads(&payloads);
            if self.config.tuning.active_red {
                down.make_red(&payloads);
            }
            down.select.set_wish(wish);
        }
        self.move_copy(at, track);
        self.ask_for_down(now, at);
        self.touched(now, at.peer);
    }

    /// The copy is one of another track from now on. What it sent goes on with the same numbers.
    fn move_copy(&mut self, at: Subscriber, track: TrackKey) {
        let down = self.peers.get(at.peer).and_then(|slot| slot.down(at.down));
        let Some(before) = down.map(|down| down.track) else {
            return;
        };
        let same = self.tracks.get(before).is_some_and(|up| up.key == track);
        let here = track.thread() == self.config.thread;
        if same || !(here || self.mesh.knows(track.thread())) {
            return;
        }
        let index = self.track_or_new(track);
        if let Some(down) = self
            .peers
            .get_mut(at.peer)
            .and_then(|slot| slot.down_mut(at.down))
        {
            down.source_replaced(index);
        }
        self.leave_track(before, at);
        self.join_track(index, at, track);
    }

    /// A subscriber of a track of this thread, or of the replica of another one's.
    fn join_track(&mut self, index: u32, at: Subscriber, track: TrackKey) {
        let Some(up) = self.tracks.get_mut(index) else {
            return;
        };
        up.subscribers.push(at);
        if track.thread() != self.config.thread && up.source == Source::None {
            up.source = Source::Thread(track.thread());
            if !self.mesh.send_control(track.thread(), Control::Want { track }) {
                self.stats.drops.control_full += 1;
            }
        }
    }

    fn unsubscribe(&mut self, now: Instant, key: DownKey) {
        let Some(at) = self.down_keys.remove(&key) else {
            return;
        };
        let Some(slot) = self.peers.get_mut(at.peer) else {
            return;
        };
        let track = slot.down(at.down).map(|down| down.track);
        if !slot.flush(now, at.down) {
            slot.remove_down(at.down);
        }
        if let Some(track) = track {
            self.leave_track(track, at);
        }
        self.injects(now, at.peer);
        self.touched(now, at.peer);
    }

    /// A subscriber leaves a track; a replica without subscribers goes.
    fn leave_track(&mut self, index: u32, at: Subscriber) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        track.subscribers.retain(|other| *other != at);
        if track.subscribers.is_empty()
            && let Source::Thread(thread) = track.source
        {
            let unwant = Control::Unwant { track: track.key };
            track.forget_source();
            if !self.mesh.send_control(thread, unwant) {
                self.stats.drops.control_full += 1;
            }
        }
        self.drop_unused_track(index);
    }

    fn set_wish(&mut self, now: Instant, key: DownKey, wish: LayerWish) {
        let Some(&at) = self.down_keys.get(&key) else {
            self.stats.drops.commands += 1;
            return;
        };
        if let Some(down) = self
            .peers
            .get_mut(at.peer)
            .and_then(|slot| slot.down_mut(at.down))
        {
            down.select.set_wish(wish);
        }
        if !wish.enabled {
            self.silence(now, at);
        }
        self.ask_for_down(now, at);
    }

    fn close_peer(&mut self, now: Instant, key: PeerKey) {
        let Some(index) = self.peer_keys.remove(&key) else {
            return;
        };
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let ups = std::mem::take(&mut slot.ups);
        let downs = std::mem::take(&mut slot.downs);
        slot.injections.clear();
        slot.owed.clear();
        self.limited -= u64::from(std::mem::take(&mut slot.limited));
        slot.connected = false;
        slot.closing = true;
        slot.peer.close();
        for (up, _) in ups {
            self.unpublish(now, up);
        }
        for (i, down) in downs.into_iter().enumerate() {
            let Some(down) = down else {
                continue;
            };
            self.down_keys.remove(&down.key);
            let at = Subscriber {
                peer: index,
                down: i as u32,
            };
            self.leave_track(down.track, at);
        }
        self.touched(now, index);
    }
}

/// First outgoing sequence number: random to outsiders (RFC 3550 §5.1), the same for the same seed.
fn first_sequence(seed: u64, down: DownKey) -> u16 {
    // The finisher of SplitMix64.
    let mut x = seed ^ down.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x ^ (x >> 31)) as u16
}
