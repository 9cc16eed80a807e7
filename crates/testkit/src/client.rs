//! A client: one peer with the media that it publishes and the log of what it receives.
//!
//! Owns: encoders, what was sent (to answer NACKs), what came. Must not know: the server's insides.

use crate::media::{Content, VideoLayer, read_h265, read_vp8};
use peer::{Codec, Kind, Outbox, Peer, PeerEvent, RtpWrite};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::codec::red::{self, Red};
use wire::codec::vp8;

/// Between two audio packets.
pub const AUDIO_INTERVAL: Duration = Duration::from_millis(20);
/// Between two video frames.
pub const VIDEO_INTERVAL: Duration = Duration::from_millis(33);
/// Packets that redundant audio repeats.
const REPEATED: usize = 2;
/// Bytes of a packet of padding.
const PADDING: u8 = 200;
/// Packets kept to answer NACKs.
const KEPT: u64 = 1000;

/// A packet that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Time since the simulation began.
    pub at: Duration,
    /// Tag of the receiving section.
    pub tag: u64,
    /// Extended sequence number.
    pub sequence: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Codec.
    pub codec: Codec,
    /// What it says about itself.
    pub content: Content,
    /// Numbers of the packets that redundant audio repeats, oldest first.
    pub repeats: Vec<u32>,
    /// VP8 picture id, TL0PICIDX and KEYIDX.
    pub vp8: Option<(u16, u8, u8)>,
    /// Types of the H.265 NAL units that begin in it.
    pub nal_units: Vec<u8>,
    /// It came as a retransmission.
    pub retransmitted: bool,
}

/// A packet that no publisher sent: silence, a blank frame, or padding alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Time since the simulation began.
    pub at: Duration,
    /// Tag of the receiving section.
    pub tag: u64,
    /// Extended sequence number.
    pub sequence: u64,
    /// Timestamp.
    pub timestamp: u32,
    /// Payload, empty for padding.
    pub payload: Vec<u8>,
}

/// One stream that a client sends.
#[derive(Debug)]
struct Source {
    tag: u64,
    codec: Codec,
    sequence: u64,
    timestamp: u32,
    sent: BTreeMap<u64, (u32, bool, Vec<u8>)>,
    encoder: Encoder,
    next: Instant,
    /// Sends nothing while it is paused.
    paused: bool,
    /// Packets of padding that follow each frame, as senders without a repair stream probe with.
    pads: usize,
    /// The audio level that packets tell, as the byte of RFC 6464 §3.
    level: Option<u8>,
    reports: Instant,
}

#[derive(Debug)]
enum Encoder {
    Audio {
        track: u32,
        number: u32,
        /// The latest payloads with their timestamps, which redundant audio repeats.
        before: VecDeque<(u32, Vec<u8>)>,
    },
    Video(VideoLayer),
}

/// A client.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub peer: Peer,
    /// Its address.
    pub address: SocketAddr,
    /// What came, in order of arrival.
    pub received: Vec<Received>,
    /// What came and no publisher sent.
    pub injected: Vec<Injected>,
    /// Data messages that came: (channel id, bytes).
    pub messages: Vec<(u16, Vec<u8>)>,
    /// Open channels by label.
    pub channels: BTreeMap<String, u16>,
    /// Sender reports that came: (tag, NTP, RTP, when).
    pub reports: Vec<(u64, u64, u32, Duration)>,
    /// Sender reports that it sent: (tag, NTP, RTP, when).
    pub reports_sent: Vec<(u64, u64, u32, Duration)>,
    /// PLI or FIR that came, per tag.
    pub key_frames_asked: BTreeMap<u64, usize>,
    /// The last loss, in 1/256, that the server reported of each stream.
    pub loss_told: BTreeMap<u64, u8>,
    /// Packets sent again because the server missed them.
    pub resent: u64,
    sources: Vec<Source>,
}

impl Client {
    /// A client that publishes nothing yet.
    #[must_use]
    pub const fn new(peer: Peer, address: SocketAddr) -> Self {
        Self {
            peer,
            address,
            received: Vec::new(),
            injected: Vec::new(),
            messages: Vec::new(),
            channels: BTreeMap::new(),
            reports: Vec::new(),
            reports_sent: Vec::new(),
            key_frames_asked: BTreeMap::new(),
            loss_told: BTreeMap::new(),
            resent: 0,
            sources: Vec::new(),
        }
    }

    /// Starts audio on the send stream `tag`: Opus, or RED that repeats two packets of it.
    pub fn start_audio(&mut self, now: Instant, tag: u64, codec: Codec, track: u32, start: u16) {
        let encoder = Encoder::Audio {
            track,
            number: 0,
            before: VecDeque::new(),
        };
        self.start(now, tag, codec, start, encoder);
    }

    /// Starts a video layer on the send stream `tag`.
    pub fn start_video(&mut self, now: Instant, tag: u64, encoder: VideoLayer, start: u16) {
        self.start(now, tag, encoder.codec(), start, Encoder::Video(encoder));
    }

    fn start(&mut self, now: Instant, tag: u64, codec: Codec, start: u16, encoder: Encoder) {
        self.sources.push(Source {
            tag,
            codec,
            sequence: u64::from(start),
            // Layers have clocks of their own.
            timestamp: u32::from(start).wrapping_mul(77_777),
            sent: BTreeMap::new(),
            encoder,
            next: now,
            paused: false,
            pads: 0,
            level: None,
            reports: now + Duration::from_millis(500),
        });
    }

    /// Pauses or resumes the source of a send stream.
    pub fn pause(&mut self, tag: u64, paused: bool) {
        for source in self.sources.iter_mut().filter(|source| source.tag == tag) {
            source.paused = paused;
        }
    }

    /// From now on so many packets of padding follow each frame of a video stream.
    pub fn set_padding(&mut self, tag: u64, packets: usize) {
        for source in self.sources.iter_mut().filter(|source| source.tag == tag) {
            source.pads = packets;
        }
    }

    /// From now on the packets of an audio stream tell this level, in −dBov: 0 is the loudest, 127
    /// silence. Before the first call they tell none.
    pub fn set_level(&mut self, tag: u64, dbov: u8) {
        for source in self.sources.iter_mut().filter(|source| source.tag == tag) {
            source.level = Some(dbov & 0x7F);
        }
    }

    /// When media or a timer is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connected = self.peer.is_connected();
        let media = self
            .sources
            .iter()
            .filter(|_| connected)
            .map(|source| source.next);
        media.chain(self.peer.poll_timeout()).min()
    }

    /// Sends media that is due, after the timers of the peer.
    pub fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
        }
        if !self.peer.is_connected() {
            return;
        }
        for source in &mut self.sources {
            let interval = match source.encoder {
                Encoder::Audio { .. } => AUDIO_INTERVAL,
                Encoder::Video(_) => VIDEO_INTERVAL,
            };
            while source.next <= now {
                // A source that waited for its connection does not catch up.
                let ticks = interval.as_micros() as u64 * u64::from(source.codec.clock_rate()) / 1_000_000;
                source.timestamp = source.timestamp.wrapping_add(ticks as u32);
                let behind = now - source.next;
                source.next += interval;
                if behind < interval && !source.paused {
                    let report = source.send_next(now, &mut self.peer, outbox);
                    self.reports_sent.extend(report);
                }
            }
        }
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, since: Duration, from: SocketAddr, data: &mut [u8]) {
        let Some(rtp) = self.peer.handle_datagram(now, from, 0, data).rtp() else {
            return;
        };
        let Some(payload) = data.get(rtp.payload.clone()) else {
            return;
        };
        if is_injected(rtp.codec, payload) {
            self.injected.push(Injected {
                at: since,
                tag: rtp.tag,
                sequence: rtp.sequence,
                timestamp: rtp.timestamp,
                payload: payload.to_vec(),
            });
            return;
        }
        let (mut repeats, mut nal_units) = (Vec::new(), Vec::new());
        let (vp8, content) = match rtp.codec {
            Codec::Vp8 => {
                let (descriptor, content) = read_vp8(payload).expect("our own VP8 came back broken");
                let numbers = (
                    descriptor.picture_id.map_or(0, |id| id.value),
                    descriptor.tl0_pic_idx.unwrap_or(0),
                    descriptor.key_idx.unwrap_or(0),
                );
                (Some(numbers), content)
            }
            Codec::H265 => {
                let (types, content) = read_h265(payload).expect("our own H.265 came back broken");
                nal_units = types;
                (None, content)
            }
            Codec::Red => {
                let red = Red::parse(payload).expect("RED came broken");
                let read = |range| Content::read(&payload[range]).expect("our own audio came back broken");
                repeats.extend(red.redundant().map(|block| read(block.range).frame));
                (None, read(red.primary().range.clone()))
            }
            _ => (
                None,
                Content::read(payload).expect("our own audio came back broken"),
            ),
        };
        self.received.push(Received {
            at: since,
            tag: rtp.tag,
            sequence: rtp.sequence,
            timestamp: rtp.timestamp,
            marker: rtp.marker,
            codec: rtp.codec,
            content,
            repeats,
            vp8,
            nal_units,
            retransmitted: rtp.retransmitted,
        });
    }

    /// Drains the peer's events, answers NACKs and key-frame requests.
    pub fn drain(&mut self, now: Instant, since: Duration, outbox: &mut Outbox) {
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::KeyFrameWanted { tag } => {
                    *self.key_frames_asked.entry(tag).or_default() += 1;
                    for source in self.sources.iter_mut().filter(|source| source.tag == tag) {
                        if let Encoder::Video(layer) = &mut source.encoder {
                            layer.request_key_frame();
                        }
                    }
                }
                PeerEvent::Nack { tag, sequence } => {
                    for source in self.sources.iter_mut().filter(|source| source.tag == tag) {
                        self.resent += u64::from(source.resend(now, sequence, &mut self.peer, outbox));
                    }
                }
                PeerEvent::SenderReport { tag, ntp, rtp, .. } => self.reports.push((tag, ntp, rtp, since)),
                PeerEvent::ReceiverReport {
                    tag, fraction_lost, ..
                } => {
                    self.loss_told.insert(tag, fraction_lost);
                }
                PeerEvent::ChannelOpen { id, label } => {
                    self.channels.insert(label, id);
                }
                PeerEvent::Message { id, data, .. } => self.messages.push((id, data)),
                _ => {}
            }
        }
    }
}

impl Source {
    /// Sends what was captured now, and a sender report now and then, which it returns.
    fn send_next(
        &mut self,
        now: Instant,
        peer: &mut Peer,
        outbox: &mut Outbox,
    ) -> Option<(u64, u64, u32, Duration)> {
        let payloads = match &mut self.encoder {
            Encoder::Audio {
                track,
                number,
                before,
            } => {
                let mut payload = Vec::new();
                let content = Content {
                    track: *track,
                    layer: 0,
                    temporal: 0,
                    key: true,
                    frame: *number,
                    index: 0,
                    count: 1,
                };
                content.write(&mut payload, 67);
                *number += 1;
                let sent = match self.codec {
                    Codec::Red => redundant(self.timestamp, &payload, before),
                    _ => payload.clone(),
                };
                before.push_back((self.timestamp, payload));
                if before.len() > REPEATED {
                    before.pop_front();
                }
                vec![sent]
            }
            Encoder::Video(layer) => layer.encode(),
        };
        let count = payloads.len();
        for (i, payload) in payloads.into_iter().enumerate() {
            let marker = i + 1 == count && self.codec.kind() == Kind::Video;
            self.write(
                now,
                peer,
                outbox,
                self.sequence,
                (self.timestamp, marker, &payload),
                false,
            );
            self.sent.insert(self.sequence, (self.timestamp, marker, payload));
            self.sent.remove(&self.sequence.wrapping_sub(KEPT));
            self.sequence += 1;
        }
        for _ in 0..self.pads {
            self.write(
                now,
                peer,
                outbox,
                self.sequence,
                (self.timestamp, false, &[]),
                false,
            );
            self.sequence += 1;
        }
        if self.reports > now {
            return None;
        }
        self.reports = now + Duration::from_secs(1);
        // Any clock will do as the sender's wall clock, but the server's: that would hide a mistake.
        let since = now.saturating_duration_since(crate::sim::epoch());
        let ntp = (0xE123_0000u64 << 32) + ntp_units(since);
        peer.send_report(now, self.tag, ntp, self.timestamp);
        Some((self.tag, ntp, self.timestamp, since))
    }

    fn write(
        &self,
        now: Instant,
        peer: &mut Peer,
        outbox: &mut Outbox,
        sequence: u64,
        (timestamp, marker, payload): (u32, bool, &[u8]),
        retransmission: bool,
    ) {
        let Some(index) = peer.send_index(self.tag) else {
            return;
        };
        let write = RtpWrite {
            codec: self.codec,
            sequence,
            timestamp,
            marker,
            dependency_descriptor: &[],
            // Under the number of audio levels: see `SENT_EXTENSIONS` of the simulation.
            abs_capture_time: self.level.as_slice(),
            prefix: &[],
            payload,
            padding: if payload.is_empty() { PADDING } else { 0 },
            retransmission,
        };
        assert!(
            peer.write_rtp(now, index, &write, outbox),
            "the outbox of a client is large"
        );
    }

    fn resend(&self, now: Instant, sequence: u16, peer: &mut Peer, outbox: &mut Outbox) -> bool {
        let extended = wire::seq::extend_16(self.sequence, sequence);
        let Some((timestamp, marker, payload)) = self.sent.get(&extended) else {
            return false;
        };
        self.write(now, peer, outbox, extended, (*timestamp, *marker, payload), true);
        true
    }
}

/// RED of one packet and those before it.
fn redundant(timestamp: u32, primary: &[u8], before: &VecDeque<(u32, Vec<u8>)>) -> Vec<u8> {
    let blocks: Vec<(u16, &[u8])> = before
        .iter()
        .map(|(at, data)| (timestamp.wrapping_sub(*at) as u16, &data[..]))
        .collect();
    let mut payload = vec![0; 1000];
    let len = red::write(&mut payload, 111, &blocks, primary).expect("three small packets fit");
    payload.truncate(len);
    payload
}

/// Whether a payload is none of our encoders': a frame of silence, a real key frame, nothing at all.
fn is_injected(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => payload.is_empty() || payload.starts_with(&[0xF8, 0xFF, 0xFE]),
        Codec::Red => Red::parse(payload)
            .and_then(|red| payload.get(red.primary().range.clone()))
            .is_some_and(|primary| is_injected(Codec::Opus, primary)),
        Codec::Pcmu => payload.starts_with(&[0xFF; 4]),
        Codec::Pcma => payload.starts_with(&[0xD5; 4]),
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_none_or(|descriptor| {
            let start_code = usize::from(descriptor.len) + 3;
            payload.get(start_code..start_code + 3) == Some(&[0x9D, 0x01, 0x2A])
        }),
        _ => payload.is_empty(),
    }
}

/// A duration in units of 2⁻³² s.
#[must_use]
pub fn ntp_units(duration: Duration) -> u64 {
    (duration.as_secs() << 32) | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}
