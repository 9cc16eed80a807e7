//! Two [`Streams`] with the same keys, a link with delay and loss between them, virtual time.

#![allow(clippy::wildcard_enum_match_arm, reason = "tests pick what they look for")]

mod feedback;
mod hostile;
mod overload;
mod protection;
mod receiving;
mod repair;
mod sending;

use super::*;
use crate::config::{Codec, Kind, Payload};
use crate::test_epoch;
use std::collections::BTreeMap;
use std::time::Duration;
use wire::ext::{self, ExtensionIds};
use wire::rtp;

const PROFILE: ::dtls::SrtpProfile = ::dtls::SrtpProfile::AEAD_AES_128_GCM;
const IDS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 2,
    repaired_rid: 3,
    audio_level: 4,
    abs_send_time: 5,
    transport_cc: 6,
    abs_capture_time: 7,
    dependency_descriptor: 8,
    playout_delay: 0,
    frame_marking: 0,
};
const VP8: Payload = Payload {
    codec: Codec::Vp8,
    pt: 96,
    rtx_pt: Some(97),
    nack: true,
};
const OPUS: Payload = Payload {
    codec: Codec::Opus,
    pt: 111,
    rtx_pt: None,
    nack: true,
};
const NTP_EPOCH: u64 = 3_900_000_000 << 32;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn to() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

fn material() -> Vec<u8> {
    (0..56).collect()
}

fn send_video(tag: Tag, ssrc: u32) -> SendSpec {
    SendSpec {
        tag,
        mid: "v".into(),
        kind: Kind::Video,
        ssrc,
        rtx_ssrc: Some(ssrc + 1),
        payloads: vec![VP8],
        extensions: IDS,
        cname: "stream".into(),
        playout_delay: None,
    }
}

fn send_audio(tag: Tag, ssrc: u32) -> SendSpec {
    SendSpec {
        mid: "a".into(),
        kind: Kind::Audio,
        rtx_ssrc: None,
        payloads: vec![OPUS],
        ..send_video(tag, ssrc)
    }
}

fn receive_video(tag: Tag) -> ReceiveSpec {
    ReceiveSpec {
        tag,
        mid: "v".into(),
        kind: Kind::Video,
        payloads: vec![VP8],
        extensions: IDS,
        rids: Vec::new(),
        ssrcs: Vec::new(),
        transport_cc: true,
    }
}

fn receive_audio(tag: Tag) -> ReceiveSpec {
    ReceiveSpec {
        mid: "a".into(),
        kind: Kind::Audio,
        payloads: vec![OPUS],
        ..receive_video(tag)
    }
}

fn packet(codec: Codec, sequence: u64, payload: &[u8]) -> RtpWrite<'_> {
    RtpWrite {
        codec,
        sequence,
        timestamp: (sequence as u32).wrapping_mul(960),
        marker: false,
        dependency_descriptor: &[],
        abs_capture_time: &[],
        prefix: &[],
        payload,
        padding: 0,
        retransmission: false,
    }
}

/// One side with everything that came out of it.
struct End {
    streams: Streams,
    events: Vec<PeerEvent>,
    received: Vec<(ReceivedRtp, Vec<u8>)>,
    /// Payloads that its caller keeps for retransmission, by outgoing sequence number.
    kept: BTreeMap<u16, (Codec, u64, Vec<u8>)>,
}

/// Sees side and datagram; true loses it.
type Loss = Box<dyn FnMut(usize, &[u8]) -> bool>;

struct Pair {
    start: Instant,
    now: Instant,
    delay: Duration,
    ends: [End; 2],
    flying: VecDeque<(Instant, usize, Vec<u8>)>,
    /// Every datagram that was sent, with the side that sent it.
    log: Vec<(Duration, usize, Vec<u8>)>,
    lose: Loss,
}

const A: usize = 0;
const B: usize = 1;

impl Pair {
    fn new() -> Self {
        let start = test_epoch();
        let end = |client| {
            let mut streams = Streams::new(u64::from(client), (start, NTP_EPOCH));
            streams.install_keys(PROFILE, &material(), client);
            End {
                streams,
                events: Vec::new(),
                received: Vec::new(),
                kept: BTreeMap::new(),
            }
        };
        Self {
            start,
            now: start,
            delay: ms(25),
            ends: [end(true), end(false)],
            flying: VecDeque::new(),
            log: Vec::new(),
            lose: Box::new(|_, _| false),
        }
    }

    /// `A` sends one video stream to `B`; returns its index.
    fn video() -> (Self, u32) {
        let mut pair = Self::new();
        pair.ends[A].streams.add_send(send_video(1, 1000));
        pair.ends[B].streams.add_receive(ReceiveSpec {
            ssrcs: vec![(1000, Some(1001))],
            ..receive_video(7)
        });
        let index = pair.ends[A].streams.send_index(1).expect("added");
        (pair, index)
    }

    /// `A` sends one audio stream without RTX to `B`; returns its index.
    fn audio() -> (Self, u32) {
        let mut pair = Self::new();
        pair.ends[A].streams.add_send(send_audio(1, 1000));
        pair.ends[B].streams.add_receive(receive_audio(7));
        let index = pair.ends[A].streams.send_index(1).expect("added");
        (pair, index)
    }

    /// Writes a packet at one side and keeps it for retransmission.
    fn write(&mut self, side: usize, index: u32, packet: &RtpWrite<'_>) {
        let kept = (packet.codec, packet.sequence, packet.payload.to_vec());
        self.ends[side].kept.insert(packet.sequence as u16, kept);
        self.write_unkept(side, index, packet);
    }

    fn write_unkept(&mut self, side: usize, index: u32, packet: &RtpWrite<'_>) {
        let mut outbox = Outbox::new(4, 8000);
        let streams = &mut self.ends[side].streams;
        assert!(streams.write_rtp(self.now, index, packet, to(), 0, &mut outbox));
        self.fly(side, &outbox);
    }

    fn fly(&mut self, side: usize, outbox: &Outbox) {
        for datagram in outbox.datagrams() {
            let bytes = outbox.datagram_bytes(datagram).to_vec();
            self.log.push((self.now - self.start, side, bytes.clone()));
            if !(self.lose)(side, &bytes) {
                self.flying.push_back((self.now + self.delay, 1 - side, bytes));
            }
        }
    }

    /// Runs both sides for a while: arrivals and timers in order of time.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.drain();
        loop {
            let timers = self.ends.iter().filter_map(|end| end.streams.poll_timeout());
            let arrival = self.flying.front().map(|(at, _, _)| *at);
            let Some(next) = timers.chain(arrival).min().filter(|at| *at <= end) else {
                break;
            };
            assert!(next >= self.now || arrival != Some(next), "time goes forward");
            self.now = self.now.max(next);
            while let Some((at, side, mut bytes)) = self.flying.pop_front() {
                if at > self.now {
                    self.flying.push_front((at, side, bytes));
                    break;
                }
                self.deliver(side, &mut bytes);
            }
            for end in &mut self.ends {
                end.streams.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    fn deliver(&mut self, side: usize, bytes: &mut [u8]) {
        let end = &mut self.ends[side];
        if rtp::is_rtcp(bytes) {
            end.streams.handle_rtcp(self.now, bytes);
        } else if let Some(received) = end.streams.handle_rtp(self.now, bytes) {
            let payload = bytes[received.payload.clone()].to_vec();
            end.received.push((received, payload));
        }
    }

    fn drain(&mut self) {
        for side in [A, B] {
            while let Some(event) = self.ends[side].streams.poll_event() {
                if let PeerEvent::Nack { tag, sequence } = event {
                    self.retransmit(side, tag, sequence);
                }
                self.ends[side].events.push(event);
            }
            let mut outbox = Outbox::new(64, 100_000);
            let streams = &mut self.ends[side].streams;
            assert!(streams.poll_transmit(self.now, to(), 0, &mut outbox));
            self.fly(side, &outbox);
        }
    }

    fn retransmit(&mut self, side: usize, tag: Tag, sequence: u16) {
        let Some((codec, sequence, payload)) = self.ends[side].kept.get(&sequence).cloned() else {
            return;
        };
        let index = self.ends[side].streams.send_index(tag).expect("it is there");
        let again = RtpWrite {
            retransmission: true,
            ..packet(codec, sequence, &payload)
        };
        self.write_unkept(side, index, &again);
    }

    fn received(&self, side: usize) -> Vec<u64> {
        let received = self.ends[side].received.iter();
        received.map(|(received, _)| received.sequence).collect()
    }

    /// The plain RTCP packets that one side sent.
    fn sent_rtcp(&self, side: usize) -> Vec<(Duration, Vec<u8>)> {
        let reader = Srtp::new(PROFILE, &material(), side == B).expect("enough material");
        self.log
            .iter()
            .filter(|(_, by, bytes)| *by == side && rtp::is_rtcp(bytes))
            .map(|(at, _, bytes)| {
                let mut plain = bytes.clone();
                let len = reader.open_rtcp(&mut plain).expect("we have the keys");
                plain.truncate(len);
                (*at, plain)
            })
            .collect()
    }

    fn stats(&self, side: usize) -> StreamStats {
        self.ends[side].streams.stats()
    }
}

/// A sender of hand-made packets, with the client's keys.
struct Raw {
    srtp: Srtp,
}

struct RawPacket<'a> {
    ssrc: u32,
    pt: u8,
    index: u64,
    extensions: &'a [(u8, &'a [u8])],
    payload: &'a [u8],
}

impl Raw {
    fn new() -> Self {
        Self {
            srtp: Srtp::new(PROFILE, &material(), true).expect("enough material"),
        }
    }

    fn rtp(&self, packet: &RawPacket<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 1500];
        let extension_len = ext::write(&mut bytes[12..], packet.extensions).expect("short");
        bytes[0] = 0x80 | u8::from(extension_len > 0) << 4;
        bytes[1] = packet.pt;
        bytes[2..4].copy_from_slice(&(packet.index as u16).to_be_bytes());
        bytes[8..12].copy_from_slice(&packet.ssrc.to_be_bytes());
        let header_len = 12 + extension_len;
        let len = header_len + packet.payload.len();
        bytes[header_len..len].copy_from_slice(packet.payload);
        let len = self
            .srtp
            .seal_rtp(packet.ssrc, packet.index, &mut bytes, header_len, len);
        bytes.truncate(len.expect("room"));
        bytes
    }

    fn rtcp(&mut self, write: impl FnOnce(&mut Writer<'_>) -> bool) -> Vec<u8> {
        let mut bytes = vec![0; 1500];
        let mut writer = Writer::new(&mut bytes);
        assert!(write(&mut writer));
        let len = writer.len();
        let len = self.srtp.seal_rtcp(&mut bytes, len).expect("room");
        bytes.truncate(len);
        bytes
    }
}

fn server() -> Streams {
    let mut streams = Streams::new(5, (test_epoch(), NTP_EPOCH));
    streams.install_keys(PROFILE, &material(), false);
    streams
}

fn events(streams: &mut Streams) -> Vec<PeerEvent> {
    std::iter::from_fn(|| streams.poll_event()).collect()
}
