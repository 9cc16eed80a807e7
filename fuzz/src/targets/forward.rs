//! A media worker between a publisher and a subscriber, both connected: what the publisher sends
//! is any payload with any descriptor, what the subscriber wishes changes at any time.

use super::peer::{SHARED, START, candidate, credentials, payload, transmit};
use super::{IDS, chunks};
use ::peer::{
    Codec, DtlsRole, Kind, Outbox, Payload, Peer, PeerInit, ReceiveSpec, Remote, RtpWrite, SendSpec,
};
use media::api::{
    Command, DownKey, LayerWish, LocalSocket, PeerKey, RoomKey, ThreadId, TrackKey, make_ufrag,
};
use media::{Tuning, Worker, WorkerConfig, mesh};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7000);
const CLIENTS: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5001),
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 5002),
];
const THREAD: ThreadId = ThreadId(0);
const ROOM: RoomKey = RoomKey(7);
const VIDEO: TrackKey = TrackKey::new(THREAD, ROOM, 10);
const AUDIO: TrackKey = TrackKey::new(THREAD, ROOM, 11);
const DOWNS: [DownKey; 2] = [DownKey::new(THREAD, ROOM, 20), DownKey::new(THREAD, ROOM, 21)];

/// Datagrams that may leave for one that came in: two copies, retransmissions and feedback.
const AMPLIFICATION_MAX: usize = 2048;

const VIDEO_CODECS: [(Codec, u8); 5] = [
    (Codec::Vp8, 96),
    (Codec::Vp9, 98),
    (Codec::Av1, 45),
    (Codec::H264, 102),
    (Codec::H265, 116),
];

/// What came of an input, so that a test can tell whether it reaches anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardCounts {
    /// Packets that the publisher sent.
    pub(crate) sent: usize,
    /// Packets that the subscriber got.
    pub(crate) received: usize,
}

/// The target.
pub(crate) fn forward(data: &[u8]) {
    forward_counts(data);
}

pub(crate) fn forward_counts(data: &[u8]) -> ForwardCounts {
    let mut world = World::new();
    world.connect();
    for chunk in chunks(data) {
        if let Some((&operation, bytes)) = chunk.split_first() {
            world.operate(operation, bytes);
            world.carry();
        }
    }
    world.counts
}

struct World {
    worker: Worker,
    /// Publisher and subscriber.
    clients: [Peer; 2],
    keys: [PeerKey; 2],
    now: Instant,
    outbox: Outbox,
    /// Next sequence number and timestamp of three video layers and audio.
    next: [(u64, u32); 4],
    counts: ForwardCounts,
}

impl World {
    fn new() -> Self {
        let config = WorkerConfig {
            thread: THREAD,
            peers_max: 4,
            sockets: vec![LocalSocket { address: SERVER }],
            tuning: Tuning {
                active_red: true,
                loss_proxying: true,
                ..Tuning::default()
            },
        };
        let mesh = mesh(1, 8).pop().expect("one thread");
        let mut world = Self {
            worker: Worker::new(config, Arc::clone(&SHARED), mesh),
            clients: [client(0), client(1)],
            keys: [PeerKey::new(THREAD, ROOM, 1), PeerKey::new(THREAD, ROOM, 2)],
            now: *START,
            outbox: Outbox::new(256, 256 * Outbox::DATAGRAM_MAX),
            next: [(100, 0), (200, 5), (300, 9), (65_500, 1)],
            counts: ForwardCounts::default(),
        };
        for who in 0..2 {
            world.meet(who);
        }
        world.publish();
        world.subscribe(0);
        world.subscribe(1);
        world
    }

    fn command(&mut self, command: Command) {
        self.worker.handle_command(self.now, command);
    }

    fn meet(&mut self, who: usize) {
        let peer = self.keys[who];
        let commands = [
            Command::AddPeer {
                peer,
                ice: server_credentials(who),
                ice_lite: false,
                ice_controlling: false,
                seed: who as u64,
            },
            Command::SetRemote {
                peer,
                remote: Remote {
                    ice: credentials(NAMES[who]),
                    fingerprint: SHARED.fingerprint().into(),
                    dtls_role: DtlsRole::Server,
                    ice_lite: false,
                    sctp: None,
                },
            },
            Command::AddCandidate {
                peer,
                candidate: candidate(CLIENTS[who]),
            },
        ];
        for command in commands {
            self.command(command);
        }
    }

    fn publish(&mut self) {
        let tracks = [(VIDEO, Kind::Video, 0..3u32), (AUDIO, Kind::Audio, 3..4)];
        for (track, kind, streams) in tracks {
            for stream in streams.clone() {
                let mid = track.0.to_string();
                self.clients[0].add_send(send_spec(u64::from(stream), mid, kind, 100 + stream));
            }
            let ssrcs = streams.map(|stream| (100 + stream, Some(150 + stream))).collect();
            let spec = receive_spec(track.0, kind, ssrcs, payloads(kind));
            self.command(Command::Publish {
                peer: self.keys[0],
                track,
                spec,
                audio_level: kind == Kind::Audio,
            });
        }
    }

    fn subscribe(&mut self, which: usize) {
        let (track, kind) = [(VIDEO, Kind::Video), (AUDIO, Kind::Audio)][which];
        let (down, ssrc) = (DOWNS[which], 200 + which as u32);
        let mut spec = send_spec(down.0, down.0.to_string(), kind, ssrc);
        // The subscriber knows no RED: the primary block is taken out.
        spec.payloads.retain(|payload| payload.codec != Codec::Red);
        let receive = receive_spec(down.0, kind, vec![(ssrc, Some(ssrc + 50))], spec.payloads.clone());
        self.clients[1].add_receive(receive);
        self.command(Command::Subscribe {
            peer: self.keys[1],
            down,
            track,
            spec,
            wish: LayerWish::BEST,
        });
    }

    fn connect(&mut self) {
        for _ in 0..400 {
            self.carry();
            if self.clients.iter().all(Peer::is_connected) {
                return;
            }
            let due = self.clients.iter().filter_map(Peer::poll_timeout);
            let due = due.chain(self.worker.poll_timeout()).min();
            self.pass(due.expect("the handshake has timers"));
        }
        panic!("not connected after {:?}", self.now - *START);
    }

    fn pass(&mut self, to: Instant) {
        self.now = self.now.max(to);
        for client in &mut self.clients {
            client.handle_timeout(self.now);
        }
        self.worker.handle_timeout(self.now);
    }

    /// One operation of an input; see the corpus for examples.
    fn operate(&mut self, operation: u8, bytes: &[u8]) {
        let first = bytes.first().copied().unwrap_or(0);
        let down = DOWNS[usize::from(operation >> 4 & 1)];
        match operation & 15 {
            0..=7 => self.send(operation & 7, bytes),
            8 | 9 => self.pass(self.now + Duration::from_millis(u64::from(first) * 5)),
            10 => self.command(Command::SetWish {
                down,
                wish: LayerWish {
                    spatial: first & 3,
                    temporal: first >> 2 & 3,
                    enabled: first & 16 == 0,
                },
            }),
            11 => self.clients[1].request_key_frame(DOWNS[0].0, 0),
            12 => {
                let mut data = bytes.to_vec();
                self.worker
                    .handle_datagram(self.now, CLIENTS[usize::from(operation >> 4 & 1)], 0, &mut data);
            }
            13 => self.command(Command::MuteTrack {
                track: VIDEO,
                muted: first & 1 != 0,
            }),
            14 => self.command(Command::Unsubscribe { down }),
            _ => self.subscribe(usize::from(operation >> 4 & 1)),
        }
    }

    /// The publisher sends: sizes of the steps, flags, length of the descriptor, then both.
    fn send(&mut self, choice: u8, bytes: &[u8]) {
        let Some((&[steps, codec, flags, descriptor_len], rest)) = bytes.split_first_chunk::<4>() else {
            return;
        };
        let stream = usize::from(choice & 3);
        let (sequence, timestamp) = &mut self.next[stream];
        *sequence += 1 + u64::from(steps & 7);
        *timestamp = timestamp.wrapping_add(u32::from(steps >> 3) * 1500);
        let (descriptor, payload) = rest
            .split_at_checked(usize::from(descriptor_len))
            .unwrap_or((rest, &[]));
        let codec = match stream {
            3 if codec & 1 == 0 => Codec::Opus,
            3 => Codec::Red,
            _ => VIDEO_CODECS[usize::from(codec) % VIDEO_CODECS.len()].0,
        };
        let packet = RtpWrite {
            codec,
            sequence: *sequence,
            timestamp: *timestamp,
            marker: flags & 1 != 0,
            dependency_descriptor: descriptor.get(..200).unwrap_or(descriptor),
            abs_capture_time: if flags & 2 != 0 { &[1; 8] } else { &[] },
            prefix: &[],
            payload: payload.get(..1000).unwrap_or(payload),
            padding: if flags & 4 != 0 { flags } else { 0 },
            retransmission: false,
        };
        let publisher = &mut self.clients[0];
        let index = publisher.send_index(stream as u64).expect("added at the start");
        assert!(publisher.write_rtp(self.now, index, &packet, &mut self.outbox));
        self.counts.sent += 1;
        let written: Vec<Vec<u8>> = self
            .outbox
            .datagrams()
            .iter()
            .map(|datagram| self.outbox.datagram_bytes(datagram).to_vec())
            .collect();
        self.outbox.clear();
        for mut data in written {
            self.worker.handle_datagram(self.now, CLIENTS[0], 0, &mut data);
        }
    }

    /// Carries datagrams both ways until there are none.
    fn carry(&mut self) {
        let mut carried = 0;
        for _ in 0..32 {
            self.worker.handle_crossings(self.now);
            while self.worker.poll_event().is_some() {}
            let down = self.worker_datagrams();
            let mut quiet = down.is_empty();
            carried += down.len();
            for (to, mut data) in down {
                let Some(who) = CLIENTS.iter().position(|address| *address == to) else {
                    continue;
                };
                let got = self.clients[who]
                    .handle_datagram(self.now, SERVER, 0, &mut data)
                    .rtp();
                self.counts.received += usize::from(got.is_some());
            }
            for (client, from) in self.clients.iter_mut().zip(CLIENTS) {
                while client.poll_event().is_some() {}
                for mut data in transmit(client, self.now, &mut self.outbox) {
                    quiet = false;
                    self.worker.handle_datagram(self.now, from, 0, &mut data);
                }
            }
            if quiet {
                break;
            }
        }
        assert!(carried <= AMPLIFICATION_MAX, "{carried} datagrams left");
    }

    fn worker_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            let more = self.worker.poll_transmit(self.now, &mut self.outbox);
            let datagrams = self.outbox.datagrams().iter();
            all.extend(datagrams.map(|d| (d.to, self.outbox.datagram_bytes(d).to_vec())));
            self.outbox.clear();
            if !more {
                return all;
            }
        }
    }
}

const NAMES: [&str; 2] = ["publish", "subscri"];

fn server_credentials(who: usize) -> ::peer::IceCredentials {
    credentials(&make_ufrag(THREAD, NAMES[who]))
}

fn client(who: usize) -> Peer {
    let init = PeerInit {
        ice: credentials(NAMES[who]),
        ice_lite: false,
        ice_controlling: true,
        local: vec![(0, candidate(CLIENTS[who]))],
        seed: 9 + who as u64,
    };
    let mut peer = Peer::new(Arc::clone(&SHARED), init, *START);
    let remote = Remote {
        ice: server_credentials(who),
        fingerprint: SHARED.fingerprint().into(),
        dtls_role: DtlsRole::Client,
        ice_lite: false,
        sctp: None,
    };
    peer.set_remote(*START, remote);
    peer.add_remote_candidate(candidate(SERVER));
    peer
}

fn payloads(kind: Kind) -> Vec<Payload> {
    match kind {
        Kind::Audio => vec![payload(Codec::Opus, 111, None), payload(Codec::Red, 63, None)],
        Kind::Video => VIDEO_CODECS
            .iter()
            .map(|&(codec, pt)| payload(codec, pt, Some(pt + 1)))
            .collect(),
    }
}

fn send_spec(tag: u64, mid: String, kind: Kind, ssrc: u32) -> SendSpec {
    SendSpec {
        tag,
        mid,
        kind,
        ssrc,
        rtx_ssrc: Some(ssrc + 50),
        payloads: payloads(kind),
        extensions: IDS,
        cname: "c".to_owned(),
        playout_delay: None,
    }
}

fn receive_spec(tag: u64, kind: Kind, ssrcs: Vec<(u32, Option<u32>)>, payloads: Vec<Payload>) -> ReceiveSpec {
    ReceiveSpec {
        tag,
        mid: tag.to_string(),
        kind,
        payloads,
        extensions: IDS,
        rids: Vec::new(),
        ssrcs,
        transport_cc: true,
    }
}
