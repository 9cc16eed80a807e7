//! Peers of this thread and what they report.

use super::limit::Limits;
use super::{Owed, Worker};
use crate::api::{ChannelLabel, DownKey, EventKind, PeerKey, TrackKey};
use crate::backlog::Backlog;
use crate::crossing::Control;
use crate::down::inject::Injection;
use crate::down::munge::SenderReport;
use crate::down::track::DownTrack;
use crate::drain::DrainRate;
use crate::feedback::Bucket;
use crate::stats::StreamDrops;
use crate::strangers::Budget;
use crate::timers::Who;
use crate::up::track::{Source, Subscriber};
use peer::{Codec, Peer, PeerEvent};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// At most that often other threads are told of a layer's sender reports, of which a remote side sends as
/// many as it likes. Publishers send some per second; a clock drifts by microseconds meanwhile.
const REPORT_CROSSING_INTERVAL: Duration = Duration::from_millis(100);

/// A data channel that is open.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: u16,
    pub(crate) label: ChannelLabel,
    /// How fast it drains, where that limits what is sent.
    pub(crate) rate: Option<Box<DrainRate>>,
}

/// A peer and everything of it.
#[derive(Debug)]
pub(crate) struct PeerSlot {
    /// Its key.
    pub(crate) key: PeerKey,
    /// The connection.
    pub(crate) peer: Peer,
    /// Media may be sent.
    pub(crate) connected: bool,
    /// Goodbyes are queued; the peer goes with the next transmission.
    pub(crate) closing: bool,
    /// It waits in the list of peers with something to send.
    pub(crate) transmits: bool,
    /// Random seed, for first sequence numbers.
    pub(crate) seed: u64,
    /// Down tracks by index; holes are reused.
    pub(crate) downs: Vec<Option<DownTrack>>,
    /// Tracks that it publishes.
    pub(crate) ups: Vec<(TrackKey, u32)>,
    /// Open channels; of several with one label the last is meant for sending.
    pub(crate) channels: Vec<Channel>,
    /// Reliable messages for which its channel has no room yet.
    pub(crate) backlog: Backlog,
    /// A message, or a channel that opened or closed, for which the event queue has no room yet. The
    /// peer is not asked for more of its data channels.
    pub(crate) stalled: Option<PeerEvent>,
    /// Packets that no publisher sent and that are still to leave.
    pub(crate) injections: Vec<Injection>,
    /// When sender reports are due.
    pub(crate) reports_due: Option<Instant>,
    /// What it may be told of what it sends.
    pub(crate) feedback: Bucket,
    /// When its timer is armed.
    pub(crate) armed: Option<Instant>,
    /// It has a ceiling: [`Limits::ceiling`] says which.
    pub(crate) limited: bool,
    /// What it may be sent.
    pub(crate) limits: Box<Limits>,
    /// Packets that wait to be sent to it outside of their turn.
    pub(crate) owed: VecDeque<Owed>,
    /// It waits in the list of peers that are owed packets.
    pub(crate) owing: bool,
    /// Checks from unknown sources that it looks at.
    pub(crate) strangers: Budget,
    /// What its streams refused, as far as the thread has counted it.
    pub(crate) counted: Box<StreamDrops>,
}

impl PeerSlot {
    pub(crate) fn down(&self, index: u32) -> Option<&DownTrack> {
        self.downs.get(index as usize)?.as_ref()
    }

    pub(crate) fn down_mut(&mut self, index: u32) -> Option<&mut DownTrack> {
        self.downs.get_mut(index as usize)?.as_mut()
    }

    /// Adds what its streams refused since the last time.
    pub(crate) fn count_streams(&mut self, drops: &mut StreamDrops) {
        drops.add(&mut self.counted, &self.peer.stream_stats());
    }
}

impl Worker {
    /// Notes that a peer was touched: it may have something to tell, and something to send or another
    /// deadline, which [`Self::transmit`] asks for.
    pub(crate) fn touched(&mut self, now: Instant, index: u32) {
        self.drain_peer(now, index);
        let Some(slot) = self.peers.get(index) else {
            return;
        };
        if !slot.backlog.is_empty() {
            self.send_backlog(now, index);
        }
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        if !slot.transmits {
            slot.transmits = true;
            self.fanout.peers.push(index);
        }
    }

    /// Takes all events of a peer, or as many as there is room for.
    pub(crate) fn drain_peer(&mut self, now: Instant, index: u32) {
        loop {
            let Some(slot) = self.peers.get_mut(index) else {
                return;
            };
            let event = match slot.stalled {
                None => slot.peer.poll_event(),
                Some(_) => slot.peer.poll_event_but_data(),
            };
            let Some(event) = event else {
                return;
            };
            self.peer_event(now, index, event);
        }
    }

    /// The next event for the control plane. When there is room again, peers that hold messages
    /// back are asked.
    pub(crate) fn next_event(&mut self) -> Option<crate::api::Event> {
        while self.events.has_room() {
            let Some(index) = self.fanout.stalled.pop_front() else {
                break;
            };
            let Some(slot) = self.peers.get_mut(index) else {
                continue;
            };
            if let Some(event) = slot.stalled.take() {
                // `now` matters to media events only; this one is of a data channel.
                let now = slot.armed.unwrap_or(self.shared.epoch.0);
                self.peer_event(now, index, event);
                self.fanout.resumed.push(index);
            }
        }
        self.events.pop()
    }

    fn peer_event(&mut self, now: Instant, index: u32, event: PeerEvent) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let peer = slot.key;
        match event {
            PeerEvent::IceConnected => {
                self.events.push(peer.room(), EventKind::IceConnected { peer });
                // A restart leads back to the DTLS session that there is: nothing else says so.
                if slot.connected {
                    self.events.push(peer.room(), EventKind::PeerConnected { peer });
                }
            }
            PeerEvent::IceDisconnected => self.events.push(peer.room(), EventKind::IceDisconnected { peer }),
            PeerEvent::HandshakeFailed(failure) => {
                self.stats.drops.handshakes[failure.index()] += 1;
                self.events
                    .push(peer.room(), EventKind::HandshakeFailed { peer, failure });
            }
            PeerEvent::IceFailed => self.events.push(peer.room(), EventKind::PeerFailed { peer }),
            PeerEvent::Failed => {
                slot.connected = false;
                self.events.push(peer.room(), EventKind::PeerFailed { peer });
            }
            PeerEvent::Connected => {
                slot.connected = true;
                self.events.push(peer.room(), EventKind::PeerConnected { peer });
                self.announce_all(now, index);
                self.ask_for_all_downs(now, index);
            }
            PeerEvent::StreamStarted {
                tag,
                layer,
                ssrc,
                rtx_ssrc,
                codec,
            } => self.stream_started(TrackKey(tag), layer, codec, (ssrc, rtx_ssrc)),
            PeerEvent::SenderReport {
                tag,
                layer,
                ntp,
                rtp,
                at,
            } => self.sender_report(TrackKey(tag), layer, SenderReport { ntp, rtp, at }),
            PeerEvent::KeyFrameWanted { tag } => self.key_frame_wanted(now, DownKey(tag)),
            PeerEvent::Nack { tag, sequence } => self.nack(now, DownKey(tag), sequence),
            // A remote side opens and closes as often as it likes.
            PeerEvent::ChannelOpen { .. } | PeerEvent::ChannelClosed { .. } if !self.events.has_room() => {
                self.stall(index, event);
            }
            PeerEvent::ChannelOpen { id, label } => self.channel_open(index, id, &label),
            PeerEvent::ChannelClosed { id, label } => self.channel_closed(index, id, &label),
            PeerEvent::Message { id, binary, data } => self.message(index, id, binary, data),
            PeerEvent::ReceiverReport {
                tag,
                fraction_lost,
                delivery,
                ..
            } => {
                self.copy_loss(now, DownKey(tag), fraction_lost);
                if let Some(delivery) = delivery {
                    self.delivered(now, index, &delivery);
                }
            }
            // Bandwidth estimation will read these.
            PeerEvent::Remb { .. } => {}
        }
    }

    /// A layer has its SSRC. Another one than before means that its source began anew.
    pub(crate) fn stream_started(
        &mut self,
        key: TrackKey,
        number: u8,
        codec: Codec,
        (ssrc, rtx_ssrc): (u32, Option<u32>),
    ) {
        let Some(&index) = self.track_keys.get(&key) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let Some(layer) = track.layer_or_new(number, codec) else {
            return;
        };
        let before = layer.ssrc.replace(ssrc);
        layer.rtx_ssrc = rtx_ssrc.or(layer.rtx_ssrc);
        let restarted = before.is_some_and(|before| before != ssrc);
        if restarted {
            layer.restart();
            track.turn.retain(|packet| packet.layer != number);
            track.alive &= !(1 << number);
        }
        let started = Control::Started {
            track: key,
            layer: number,
            codec,
            ssrc,
        };
        self.tell_threads(index, started);
        if restarted {
            self.for_each_down(index, |down| down.source_restarted(number));
        }
    }

    /// A sender report of a publisher's layer.
    pub(crate) fn sender_report(&mut self, key: TrackKey, number: u8, report: SenderReport) {
        let Some(&index) = self.track_keys.get(&key) else {
            return;
        };
        if let Some(layer) = self
            .tracks
            .get_mut(index)
            .and_then(|track| track.layer_mut(number))
        {
            layer.report = Some(report);
            let since = layer
                .report_told
                .map(|told| report.at.saturating_duration_since(told));
            if since.is_some_and(|since| since < REPORT_CROSSING_INTERVAL) {
                return;
            }
            layer.report_told = Some(report.at);
            let control = Control::Report {
                track: key,
                layer: number,
                report,
            };
            self.tell_threads(index, control);
        }
    }

    /// A subscriber cannot decode: ask for a key frame of what it gets.
    pub(super) fn key_frame_wanted(&mut self, now: Instant, key: DownKey) {
        let Some((track, layer)) = self.down_keys.get(&key).and_then(|at| {
            let down = self.peers.get(at.peer)?.down(at.down)?;
            let alive = self.tracks.get(down.track)?.alive;
            let layer = down
                .select
                .stream()
                .or_else(|| down.select.wanted_stream(alive))?;
            Some((down.track, layer))
        }) else {
            return;
        };
        self.want_key_frame(now, track, layer);
    }

    fn channel_open(&mut self, index: u32, id: u16, label: &str) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let label = ChannelLabel::from_label(label);
        slot.channels.retain(|channel| channel.id != id);
        let limited = match label {
            ChannelLabel::Reliable => self.config.tuning.slow_reader_bps > 0,
            ChannelLabel::Lossy => !self.config.tuning.lossy_latency.is_zero(),
            ChannelLabel::DataTrack => !self.config.tuning.data_track_latency.is_zero(),
            ChannelLabel::Unlabelled => false,
        };
        let rate = limited.then(Box::default);
        slot.channels.push(Channel { id, label, rate });
        let peer = slot.key;
        self.events
            .push(peer.room(), EventKind::ChannelOpen { peer, label });
    }

    fn channel_closed(&mut self, index: u32, id: u16, label: &str) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let label = ChannelLabel::from_label(label);
        slot.channels.retain(|channel| channel.id != id);
        let peer = slot.key;
        // Another channel of the same label may have taken its place.
        if slot.channels.iter().all(|channel| channel.label != label) {
            self.events
                .push(peer.room(), EventKind::ChannelClosed { peer, label });
            if label == ChannelLabel::Reliable {
                self.lose_backlog(index);
            }
        }
    }

    fn message(&mut self, index: u32, id: u16, binary: bool, data: Vec<u8>) {
        let Some(slot) = self.peers.get_mut(index) else {
            return;
        };
        let label = slot
            .channels
            .iter()
            .find(|channel| channel.id == id)
            .map_or(ChannelLabel::Unlabelled, |channel| channel.label);
        let peer = slot.key;
        if !self.events.has_room() {
            match label {
                ChannelLabel::Lossy | ChannelLabel::DataTrack => self.stats.drops.events_full += 1,
                ChannelLabel::Reliable | ChannelLabel::Unlabelled => {
                    self.stall(index, PeerEvent::Message { id, binary, data });
                }
            }
            return;
        }
        self.events
            .push(peer.room(), EventKind::Message { peer, label, data });
    }

    /// Holds an event of a peer's data channels back until there is room for it, and all that follow.
    fn stall(&mut self, index: u32, event: PeerEvent) {
        if let Some(slot) = self.peers.get_mut(index) {
            slot.stalled = Some(event);
            self.fanout.stalled.push_back(index);
        }
    }

    /// Asks for key frames of everything a peer waits for.
    pub(crate) fn ask_for_all_downs(&mut self, now: Instant, index: u32) {
        let count = self.peers.get(index).map_or(0, |slot| slot.downs.len());
        for down in 0..count {
            self.ask_for_down(
                now,
                Subscriber {
                    peer: index,
                    down: down as u32,
                },
            );
        }
    }

    /// Asks for the key frame that a down track waits for, if any.
    pub(crate) fn ask_for_down(&mut self, now: Instant, at: Subscriber) {
        let Some((track, layer)) = self.peers.get(at.peer).and_then(|slot| {
            let down = slot.down(at.down)?;
            let track = self.tracks.get(down.track)?;
            let targets = track
                .layer(down.select.stream().unwrap_or(0))
                .map_or(&crate::down::select::DecodeTargets::NONE, |layer| &layer.targets);
            let layer = down.select.waits_for(track.alive, track.spatial_top, targets)?;
            slot.connected.then_some((down.track, layer))
        }) else {
            return;
        };
        self.want_key_frame(now, track, layer);
    }

    /// Asks the publisher of a track for a key frame of one layer, throttled. Audio needs none, and
    /// who waits for a muted track asks when it is unmuted.
    pub(crate) fn want_key_frame(&mut self, now: Instant, index: u32, number: u8) {
        let Some(layer) = self
            .tracks
            .get_mut(index)
            .filter(|track| !track.muted)
            .and_then(|track| track.layer_mut(number))
        else {
            return;
        };
        if layer.codec.kind() == peer::Kind::Video {
            layer.requests.want(now, self.config.tuning.throttle(number));
            self.key_frame_requests(now, index);
        }
    }

    /// Sends the key-frame requests of a track that are due, and arms its timer.
    pub(crate) fn key_frame_requests(&mut self, now: Instant, index: u32) {
        let Some(track) = self.tracks.get_mut(index) else {
            return;
        };
        let (key, source) = (track.key, track.source);
        let rtt = match source {
            Source::Peer(peer) => self.peers.get(peer).and_then(|slot| slot.peer.rtt_us()),
            Source::None | Source::Thread(_) => None,
        };
        let rtt = Duration::from_micros(rtt.map_or(100_000, u64::from));
        for (number, layer) in track.layers_mut() {
            if !layer.requests.poll(now, self.config.tuning.throttle(number), rtt) {
                continue;
            }
            match source {
                Source::Peer(peer) => {
                    if let Some(slot) = self.peers.get_mut(peer) {
                        slot.peer.request_key_frame(key.0, number);
                        self.stats.key_frame_requests += 1;
                        if !slot.transmits {
                            slot.transmits = true;
                            self.fanout.peers.push(peer);
                        }
                    }
                }
                Source::Thread(thread) => {
                    let control = Control::KeyFrame {
                        track: key,
                        layer: number,
                    };
                    if !self.mesh.send_control(thread, control) {
                        self.stats.drops.control_full += 1;
                    }
                }
                Source::None => {}
            }
        }
        self.arm_track(index);
    }

    /// Arms a track's timer.
    pub(crate) fn arm_track(&mut self, index: u32) {
        if let Some(track) = self.tracks.get_mut(index) {
            let due = track.due();
            self.timers.arm(Who::Track(index), due, &mut track.armed);
        }
    }

    /// Tells the threads that have subscribers of a track.
    pub(crate) fn tell_threads(&mut self, index: u32, control: Control) {
        let Some(track) = self.tracks.get(index) else {
            return;
        };
        for &thread in &track.threads {
            if !self.mesh.send_control(thread, control) {
                self.stats.drops.control_full += 1;
            }
        }
    }

    /// Runs over all down tracks of an up track.
    pub(crate) fn for_each_down(&mut self, index: u32, mut action: impl FnMut(&mut DownTrack)) {
        let Some(track) = self.tracks.get(index) else {
            return;
        };
        for at in &track.subscribers {
            if let Some(down) = self
                .peers
                .get_mut(at.peer)
                .and_then(|slot| slot.down_mut(at.down))
            {
                action(down);
            }
        }
    }

    /// Asks for the key frames that a track's subscribers wait for.
    pub(crate) fn ask_for_subscribers(&mut self, now: Instant, index: u32) {
        let count = self.tracks.get(index).map_or(0, |track| track.subscribers.len());
        for i in 0..count {
            if let Some(&at) = self.tracks.get(index).and_then(|track| track.subscribers.get(i)) {
                self.ask_for_down(now, at);
            }
        }
    }
}
