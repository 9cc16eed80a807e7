//! Media threads with real sockets on the loopback interface: clients are peers of our own.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use media::api::{
    ChannelLabel, Command, DownKey, Event, EventKind, LayerWish, PeerKey, RoomKey, ThreadId, ThreadInfo,
    TrackKey, make_ufrag,
};
use peer::{
    Candidate, CandidateKind, Codec, DtlsRole, IceCredentials, Kind, Outbox, Payload, Peer, PeerInit,
    ReceiveSpec, Remote, RtpWrite, SendSpec, Shared,
};
use server::media_pool::{MediaPool, MediaPoolConfig, SendError, SocketPlan};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wire::ext::ExtensionIds;
use wire::sdp::Fingerprint;

const ROOM: RoomKey = RoomKey(7);
const SSRC: u32 = 0x1234;

struct Client {
    peer: Peer,
    socket: UdpSocket,
    outbox: Outbox,
}

impl Client {
    /// Connects to a thread of the pool.
    fn new(pool: &MediaPool, info: &ThreadInfo, serial: u32, identity: &(Arc<Shared>, [u8; 32])) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let ours = credentials(&format!("client{serial:04}"));
        let theirs = credentials(&make_ufrag(info.thread, &format!("server{serial:04}")));
        let init = PeerInit {
            ice: ours.clone(),
            ice_lite: false,
            ice_controlling: true,
            local: vec![(0, host(socket.local_addr().unwrap()))],
            seed: u64::from(serial),
        };
        let mut peer = Peer::new(Arc::clone(&identity.0), init, Instant::now());
        let remote = |ice, fingerprint, dtls_role| Remote {
            ice,
            fingerprint: Fingerprint::Sha256(fingerprint),
            dtls_role,
            ice_lite: false,
            sctp: None,
        };
        let server = remote(theirs.clone(), pool.fingerprint(), DtlsRole::Client);
        peer.set_remote(Instant::now(), server);
        peer.add_remote_candidate(host(info.sockets[0].address));
        let key = PeerKey::new(info.thread, ROOM, serial);
        let commands = [
            Command::AddPeer {
                peer: key,
                ice: theirs,
                ice_lite: false,
                ice_controlling: false,
                seed: u64::from(serial) + 1000,
            },
            Command::SetRemote {
                peer: key,
                remote: remote(ours, identity.1, DtlsRole::Server),
            },
        ];
        for command in commands {
            pool.send(info.thread, command).unwrap();
        }
        Self {
            peer,
            socket,
            outbox: Outbox::new(64, 64 * 1500),
        }
    }

    /// Moves datagrams once; returns the payload of an RTP packet that came with them.
    fn pump(&mut self) -> Option<Vec<u8>> {
        let now = Instant::now();
        self.peer.handle_timeout(now);
        while self.peer.poll_event().is_some() {}
        while !self.peer.poll_transmit(now, &mut self.outbox) {}
        self.flush();
        let mut buffer = [0; 1500];
        let (len, from) = self.socket.recv_from(&mut buffer).ok()?;
        let rtp = self
            .peer
            .handle_datagram(Instant::now(), from, 0, &mut buffer[..len])
            .rtp()?;
        Some(buffer[rtp.payload].to_vec())
    }

    fn flush(&mut self) {
        for datagram in self.outbox.datagrams() {
            let bytes = self.outbox.datagram_bytes(datagram);
            self.socket.send_to(bytes, datagram.to).unwrap();
        }
        self.outbox.clear();
    }

    fn say(&mut self, sequence: u64) {
        let index = self.peer.send_index(0).unwrap();
        let packet = RtpWrite {
            codec: Codec::Opus,
            sequence,
            timestamp: sequence as u32 * 960,
            marker: false,
            dependency_descriptor: &[],
            abs_capture_time: &[],
            prefix: &[],
            payload: b"spoken",
            padding: 0,
            retransmission: false,
        };
        assert!(
            self.peer
                .write_rtp(Instant::now(), index, &packet, &mut self.outbox)
        );
        self.flush();
    }
}

fn identity() -> (Arc<Shared>, [u8; 32]) {
    let shared = Shared::new(server::clock::epoch()).unwrap();
    let fingerprint = shared.fingerprint();
    (Arc::new(shared), fingerprint)
}

fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.into(),
        pwd: format!("{ufrag:x<24}"),
    }
}

fn host(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".into(),
        kind: CandidateKind::Host,
    }
}

fn start(threads: usize, sockets: SocketPlan) -> (MediaPool, mpsc::Receiver<Event>) {
    start_with(MediaPoolConfig {
        threads,
        sockets,
        ..MediaPoolConfig::default()
    })
}

fn start_with(config: MediaPoolConfig) -> (MediaPool, mpsc::Receiver<Event>) {
    let config = MediaPoolConfig {
        bind: vec!["127.0.0.1".parse().unwrap()],
        loopback: true,
        spread: true,
        ..config
    };
    let (sender, events) = mpsc::channel(1024);
    (MediaPool::start(config, sender).unwrap(), events)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "did not happen: {what}");
    }
}

fn connect(clients: &mut [Client], events: &mut mpsc::Receiver<Event>) {
    let mut connected = 0;
    let count = clients.len();
    until("all peers connect", || {
        for client in &mut *clients {
            client.pump();
        }
        while let Ok(event) = events.try_recv() {
            assert_eq!(event.room, ROOM);
            connected += usize::from(matches!(event.kind, EventKind::PeerConnected { .. }));
        }
        connected == count && clients.iter().all(|client| client.peer.is_connected())
    });
}

#[test]
fn clients_reach_their_thread_through_a_shared_port() {
    let (pool, mut events) = start(2, SocketPlan::Single(0));
    assert_eq!(pool.threads()[0].sockets, pool.threads()[1].sockets);
    let identity = identity();
    // The kernel spreads them over both sockets without knowing whose they are.
    let mut clients: Vec<Client> = (0..8)
        .map(|serial| Client::new(&pool, &pool.place(None), serial, &identity))
        .collect();
    connect(&mut clients, &mut events);
    let peers: Vec<u64> = pool.stats().iter().map(|thread| thread.peers).collect();
    assert_eq!(peers, [4, 4]);
    pool.shutdown();
}

#[test]
fn a_room_on_two_threads_hears_its_speaker() {
    let (pool, mut events) = start(2, SocketPlan::Range(49_400..=49_500));
    assert_ne!(pool.threads()[0].sockets, pool.threads()[1].sockets);
    let identity = identity();
    let mut clients: Vec<Client> = (0..4)
        .map(|serial| Client::new(&pool, &pool.place(None), serial, &identity))
        .collect();
    let thread = |serial: u32| ThreadId((serial % 2) as u8);
    let track = TrackKey::new(thread(0), ROOM, 0);
    clients[0].peer.add_send(send_spec(0));
    let publish = Command::Publish {
        peer: PeerKey::new(thread(0), ROOM, 0),
        track,
        spec: receive_spec(track.0),
        audio_level: true,
    };
    pool.send(thread(0), publish).unwrap();
    for serial in 1..4 {
        clients[serial as usize].peer.add_receive(receive_spec(0));
        let down = DownKey::new(thread(serial), ROOM, 100 + serial);
        let subscribe = Command::Subscribe {
            peer: PeerKey::new(thread(serial), ROOM, serial),
            down,
            track,
            spec: send_spec(down.0),
            wish: LayerWish::BEST,
        };
        pool.send(thread(serial), subscribe).unwrap();
    }
    connect(&mut clients, &mut events);
    let mut heard = [false; 4];
    let mut sequence = 0;
    until("all three listeners hear the speaker", || {
        sequence += 1;
        clients[0].say(sequence);
        for (client, heard) in clients.iter_mut().zip(&mut heard) {
            *heard |= client.pump().is_some_and(|payload| payload == b"spoken");
        }
        heard == [false, true, true, true]
    });
    pool.shutdown();
}

#[test]
fn commands_go_to_threads_that_exist_and_a_closed_peer_makes_room() {
    let (pool, _events) = start(1, SocketPlan::Single(0));
    let peer = PeerKey::new(ThreadId(0), ROOM, 1);
    let add = || Command::AddPeer {
        peer,
        ice: credentials(&make_ufrag(ThreadId(0), "abcdefgh")),
        ice_lite: false,
        ice_controlling: false,
        seed: 1,
    };
    assert_eq!(pool.send(ThreadId(1), add()), Err(SendError));
    pool.send(ThreadId(0), add()).unwrap();
    assert_eq!(pool.stats()[0].peers, 1);
    for _ in 0..2 {
        pool.send(ThreadId(0), Command::ClosePeer { peer }).unwrap();
    }
    assert_eq!(pool.stats()[0].peers, 0);
    until("the thread executes and publishes all commands", || {
        pool.stats()[0].commands == 3
    });
    assert!(pool.stats()[0].cpu > Duration::ZERO);
    pool.shutdown();
}

/// Peers that are not there: a message to each of them is lost and counted.
fn nobody(count: u32) -> Vec<PeerKey> {
    (0..count)
        .map(|serial| PeerKey::new(ThreadId(0), ROOM, serial))
        .collect()
}

#[test]
fn data_messages_take_no_place_of_commands_that_control() {
    const RECEIVERS: u32 = 20_000;
    const CONTROLS: u64 = 4;
    let (pool, _events) = start_with(MediaPoolConfig {
        threads: 1,
        sockets: SocketPlan::Single(0),
        commands_max: 16,
        ..MediaPoolConfig::default()
    });
    let peers = nobody(RECEIVERS);
    let receivers: Vec<(PeerKey, u16)> = peers.iter().map(|peer| (*peer, 1)).collect();
    let data: Arc<[u8]> = Arc::from([0; 12]);
    let message = |label| Command::SendMessage {
        peers: peers.clone(),
        label,
        data: Arc::clone(&data),
    };
    let packet = || Command::SendDataTrackPacket {
        receivers: receivers.clone(),
        data: Arc::clone(&data),
    };
    let mut accepted = 0;
    // More than the thread has time for, until every kind has found its part of the queue full.
    let mut flood = |command: &dyn Fn() -> Command| {
        let mut sent = 1;
        until("messages are refused", || {
            let refused = pool.send(ThreadId(0), command()).is_err();
            sent += u64::from(!refused);
            accepted += u64::from(!refused);
            refused
        });
        sent * u64::from(RECEIVERS)
    };
    let lossy = flood(&|| message(ChannelLabel::Lossy));
    let tracks = flood(&packet);
    let reliable = flood(&|| message(ChannelLabel::Reliable));
    for _ in 0..CONTROLS {
        let close = Command::CloseRoom { room: ROOM };
        assert_eq!(pool.send(ThreadId(0), close), Ok(()));
    }
    until("the thread has taken all that was accepted", || {
        pool.stats()[0].commands == accepted + CONTROLS
    });
    let stats = &pool.stats()[0];
    let lost = stats.media.drops.messages;
    assert_eq!(
        (lost.lossy, lost.data_track, lost.reliable),
        (lossy, tracks, reliable)
    );
    assert_eq!(stats.commands_refused, 0);
    // What was taken made room again.
    assert_eq!(pool.send(ThreadId(0), message(ChannelLabel::Lossy)), Ok(()));
    pool.shutdown();
}

#[test]
fn what_a_room_sends_in_one_turn_finds_room_however_many_subscribe() {
    const PACKETS: u64 = 64;
    const SUBSCRIBERS: u32 = 200;
    let (pool, _events) = start(1, SocketPlan::Single(0));
    let receivers: Vec<(PeerKey, u16)> = nobody(SUBSCRIBERS).into_iter().map(|peer| (peer, 1)).collect();
    for _ in 0..PACKETS {
        let receivers = receivers.clone();
        let data = Arc::from([0; 1_000]);
        let packet = Command::SendDataTrackPacket { receivers, data };
        assert_eq!(pool.send(ThreadId(0), packet), Ok(()));
    }
    until("each subscriber's copy of each packet was looked at", || {
        pool.stats()[0].media.drops.messages.data_track == PACKETS * u64::from(SUBSCRIBERS)
    });
    assert_eq!(pool.stats()[0].commands, PACKETS);
    // Between every two of them the thread looks after its packets: 256 copies are enough for a turn.
    assert!(pool.stats()[0].turns >= PACKETS / 2, "{}", pool.stats()[0].turns);
    pool.shutdown();
}

fn payloads() -> Vec<Payload> {
    vec![Payload {
        codec: Codec::Opus,
        pt: 111,
        rtx_pt: None,
        nack: false,
    }]
}

fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: 1,
        ..ExtensionIds::default()
    }
}

fn send_spec(tag: u64) -> SendSpec {
    SendSpec {
        tag,
        mid: "0".into(),
        kind: Kind::Audio,
        ssrc: SSRC,
        rtx_ssrc: None,
        payloads: payloads(),
        extensions: extensions(),
        cname: "test".into(),
        playout_delay: None,
    }
}

fn receive_spec(tag: u64) -> ReceiveSpec {
    ReceiveSpec {
        tag,
        mid: "0".into(),
        kind: Kind::Audio,
        payloads: payloads(),
        extensions: extensions(),
        rids: Vec::new(),
        ssrcs: vec![(SSRC, None)],
        transport_cc: false,
    }
}
