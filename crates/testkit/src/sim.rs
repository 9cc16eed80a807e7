//! A simulation: workers with their mesh, clients, and the network between them, in virtual time.
//!
//! Owns: time, and the roles that the control plane and the shell have in a server. Must not know:
//! workers' insides; it sees commands, events, datagrams and counters.

mod peers;

use crate::checker::Checker;
use crate::client::Client;
use crate::media::{H265Layer, VideoLayer, Vp8Layer};
use crate::network::Network;
use media::api::{
    ChannelLabel, Command, DownKey, Event, LayerWish, LocalSocket, PeerKey, RoomKey, ThreadId, TrackKey,
};
use media::{Tuning, Worker, WorkerConfig, mesh};
use peer::{Codec, Kind, Outbox, Payload, ReceiveSpec, SendSpec, Shared};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::ext::ExtensionIds;

/// The room of all simulations.
pub const ROOM: RoomKey = RoomKey(7);
/// Datagrams and bytes of an outbox.
const OUTBOX: (usize, usize) = (64, 64 * 1500);
/// RTX SSRCs are this far from their primaries.
pub const RTX: u32 = 0x1000_0000;

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 0,
    repaired_rid: 0,
    audio_level: 2,
    abs_send_time: 0,
    transport_cc: 3,
    abs_capture_time: 0,
    dependency_descriptor: 0,
    playout_delay: 0,
    frame_marking: 0,
};

/// What clients send. A peer writes no audio levels, for a server has none to send, but any bytes of
/// a capture time: sound has none here, so that its levels go there, under their own number.
const SENT_EXTENSIONS: ExtensionIds = ExtensionIds {
    audio_level: 0,
    abs_capture_time: EXTENSIONS.audio_level,
    ..EXTENSIONS
};

/// A media thread.
#[derive(Debug)]
pub struct Thread {
    /// Its worker.
    pub worker: Worker,
    /// Its socket.
    pub address: SocketAddr,
    /// It does not get to run.
    pub stalled: bool,
    /// Nobody takes its events.
    pub deaf: bool,
    /// Its socket gets the datagrams of all, as with a shared port.
    pub takes_all: bool,
    /// One datagram in so many finds its socket full, and the thread knows; 0: none.
    pub drops_one_in: u64,
    arrived: u64,
    /// What it told, with the time.
    pub events: Vec<(Duration, Event)>,
    inbox: Vec<(SocketAddr, Vec<u8>)>,
    woken: bool,
}

/// A subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Down {
    /// Its key, whose number is the tag of the receiving section, too.
    pub key: DownKey,
    /// SSRC of what is sent.
    pub ssrc: u32,
    /// Which client.
    pub client: usize,
    /// Sound or picture.
    pub kind: Kind,
}

/// A simulation.
#[derive(Debug)]
pub struct Sim {
    /// The present.
    pub now: Instant,
    /// Media threads.
    pub threads: Vec<Thread>,
    /// Clients.
    pub clients: Vec<Client>,
    /// The network.
    pub network: Network,
    /// Checks what leaves the workers.
    pub checker: Checker,
    /// Packets of a frame of each layer, in the video that clients publish from now on.
    pub packets_per_frame: [u8; 3],
    /// Video published from now on has no temporal layers.
    pub flat: bool,
    /// SSRCs of the RTP that left in each turn of a thread, in order, where a test wants to know.
    pub turns: Option<Vec<Vec<u32>>>,
    shared: [Arc<Shared>; 2],
    keys: Vec<PeerKey>,
    outbox: Outbox,
    serial: u32,
    /// Subscriptions by track, to allow and forbid packets.
    downs: BTreeMap<TrackKey, Vec<Down>>,
    seed: u64,
}

impl Sim {
    /// Threads without peers. `crossings` is the capacity of the rings between them.
    ///
    /// # Panics
    /// When the crypto library refuses to make a certificate.
    #[must_use]
    pub fn new(seed: u64, threads: usize, crossings: usize) -> Self {
        let tuning = Tuning {
            active_red: true,
            loss_proxying: true,
            ..Tuning::default()
        };
        Self::tuned(seed, (threads, crossings), tuning)
    }

    /// As [`Self::new`], with other options.
    ///
    /// # Panics
    /// When the crypto library refuses to make a certificate.
    #[must_use]
    pub fn tuned(seed: u64, (threads, crossings): (usize, usize), tuning: Tuning) -> Self {
        let start = epoch();
        let shared = || Arc::new(Shared::new((start, 0xE000_0000 << 32)).expect("a certificate can be made"));
        let shared = [shared(), shared()];
        let threads = mesh(threads, crossings)
            .into_iter()
            .enumerate()
            .map(|(i, mesh)| {
                let address = SocketAddr::from(([10, 0, 0, 1], 7000 + i as u16));
                let config = WorkerConfig {
                    thread: ThreadId(i as u8),
                    peers_max: 1000,
                    sockets: vec![LocalSocket { address }],
                    tuning,
                };
                Thread {
                    worker: Worker::new(config, shared[0].clone(), mesh),
                    address,
                    stalled: false,
                    deaf: false,
                    takes_all: false,
                    drops_one_in: 0,
                    arrived: 0,
                    events: Vec::new(),
                    inbox: Vec::new(),
                    woken: false,
                }
            })
            .collect();
        Self {
            now: start,
            threads,
            clients: Vec::new(),
            network: Network::new(seed),
            checker: Checker::default(),
            packets_per_frame: [1, 2, 4],
            flat: false,
            turns: None,
            shared,
            keys: Vec::new(),
            outbox: Outbox::new(OUTBOX.0, OUTBOX.1),
            serial: 0,
            downs: BTreeMap::new(),
            seed,
        }
    }

    /// Time since the beginning.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.now - epoch()
    }

    fn serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// The key of a client's peer.
    #[must_use]
    pub fn key(&self, client: usize) -> PeerKey {
        self.keys[client]
    }

    /// Gives a command to the thread that a peer key names.
    pub fn command(&mut self, thread: ThreadId, command: Command) {
        let now = self.now;
        self.threads[usize::from(thread.0)]
            .worker
            .handle_command(now, command);
        self.turn(usize::from(thread.0));
    }

    /// Sends a message to clients of one thread.
    pub fn send_message(&mut self, clients: &[usize], label: ChannelLabel, data: &[u8]) {
        let peers: Vec<PeerKey> = clients.iter().map(|client| self.keys[*client]).collect();
        let command = Command::SendMessage {
            label,
            data: data.into(),
            peers: peers.clone(),
        };
        self.command(peers[0].thread(), command);
    }

    /// Sends a packet of a data track to clients of one thread, each under its handle.
    pub fn send_data_track_packet(&mut self, receivers: &[(usize, u16)], data: &[u8]) {
        let receivers: Vec<(PeerKey, u16)> = receivers
            .iter()
            .map(|(client, handle)| (self.keys[*client], *handle))
            .collect();
        let thread = receivers[0].0.thread();
        let data = data.into();
        self.command(thread, Command::SendDataTrackPacket { receivers, data });
    }

    /// A client publishes audio.
    pub fn publish_audio(&mut self, client: usize) -> TrackKey {
        self.publish(client, Codec::Opus, 1)
    }

    /// The same in another codec.
    pub fn publish_audio_as(&mut self, client: usize, codec: Codec) -> TrackKey {
        self.publish(client, codec, 1)
    }

    /// A client publishes redundant audio, each packet of which repeats the two before it.
    pub fn publish_red(&mut self, client: usize) -> TrackKey {
        self.publish(client, Codec::Red, 1)
    }

    /// A client publishes VP8 with so many simulcast layers.
    pub fn publish_video(&mut self, client: usize, layers: u8) -> TrackKey {
        self.publish(client, Codec::Vp8, layers)
    }

    /// The same as H.265.
    pub fn publish_h265(&mut self, client: usize, layers: u8) -> TrackKey {
        self.publish(client, Codec::H265, layers)
    }

    fn publish(&mut self, client: usize, codec: Codec, layers: u8) -> TrackKey {
        let kind = codec.kind();
        let serial = self.serial();
        let key = self.keys[client];
        let track = TrackKey::new(key.thread(), ROOM, serial);
        let ssrc = |layer: u8| serial * 16 + u32::from(layer);
        let now = self.now;
        let mid = serial.to_string();
        for layer in 0..layers {
            let tag = source_tag(track, layer);
            let sender = &mut self.clients[client];
            let spec = send_spec(tag, &mid, &[codec], ssrc(layer));
            sender.peer.add_send(SendSpec {
                extensions: SENT_EXTENSIONS,
                ..spec
            });
            // Numbers that wrap early.
            let start = 0xFF00 + u16::from(layer) * 50 + serial as u16;
            match kind {
                Kind::Audio => sender.start_audio(now, tag, codec, serial, start),
                Kind::Video => {
                    let packets = self.packets_per_frame[usize::from(layer)];
                    let picture = 0x7FF0 - u16::from(layer) * 999;
                    let encoder = match codec {
                        Codec::H265 => VideoLayer::H265(H265Layer::new(serial, layer, packets)),
                        _ if self.flat => {
                            VideoLayer::Vp8(Vp8Layer::new(serial, layer, packets, picture).flat())
                        }
                        _ => VideoLayer::Vp8(Vp8Layer::new(serial, layer, packets, picture)),
                    };
                    sender.start_video(now, tag, encoder, start);
                }
            }
        }
        let spec = ReceiveSpec {
            tag: track.0,
            mid,
            kind,
            payloads: payloads(&[codec]),
            extensions: EXTENSIONS,
            rids: Vec::new(),
            ssrcs: (0..layers)
                .map(|layer| (ssrc(layer), Some(ssrc(layer) + RTX)))
                .collect(),
            transport_cc: kind == Kind::Video,
        };
        let command = Command::Publish {
            peer: key,
            track,
            spec,
            audio_level: kind == Kind::Audio,
        };
        self.command(key.thread(), command);
        track
    }

    /// A client subscribes.
    pub fn subscribe(&mut self, client: usize, track: TrackKey, kind: Kind, wish: LayerWish) -> Down {
        let codec = match kind {
            Kind::Audio => Codec::Opus,
            Kind::Video => Codec::Vp8,
        };
        self.subscribe_as(client, track, &[codec], wish)
    }

    /// A client that takes certain codecs subscribes.
    pub fn subscribe_as(
        &mut self,
        client: usize,
        track: TrackKey,
        codecs: &[Codec],
        wish: LayerWish,
    ) -> Down {
        let kind = codecs[0].kind();
        let serial = self.serial();
        let peer = self.keys[client];
        let key = DownKey::new(peer.thread(), ROOM, serial);
        let ssrc = 0x0100_0000 + serial;
        let down = Down {
            key,
            ssrc,
            client,
            kind,
        };
        let mid = serial.to_string();
        self.clients[client].peer.add_receive(ReceiveSpec {
            tag: key.0,
            mid: mid.clone(),
            kind,
            payloads: payloads(codecs),
            extensions: EXTENSIONS,
            rids: Vec::new(),
            ssrcs: vec![(ssrc, Some(ssrc + RTX))],
            transport_cc: false,
        });
        self.checker.ignore(ssrc + RTX);
        self.checker.allow(ssrc, wish.enabled);
        self.downs.entry(track).or_default().push(down);
        let command = Command::Subscribe {
            peer,
            down: key,
            track,
            spec: send_spec(key.0, &mid, codecs, ssrc),
            wish,
        };
        self.command(peer.thread(), command);
        down
    }

    /// A client unsubscribes.
    pub fn unsubscribe(&mut self, down: Down) {
        self.checker.allow(down.ssrc, false);
        let blank = match down.kind {
            Kind::Audio => 10,
            Kind::Video => 6,
        };
        self.checker.tolerate(down.ssrc, blank);
        self.command(down.key.thread(), Command::Unsubscribe { down: down.key });
    }

    /// A client wants other layers.
    pub fn wish(&mut self, down: Down, wish: LayerWish) {
        self.checker.allow(down.ssrc, wish.enabled);
        self.checker.tolerate(down.ssrc, silence(down.kind));
        let command = Command::SetWish { down: down.key, wish };
        self.command(down.key.thread(), command);
    }

    /// The publisher mutes or unmutes. Subscribers on other threads learn it with the next turn.
    pub fn mute(&mut self, track: TrackKey, muted: bool) {
        for down in self.downs.get(&track).into_iter().flatten() {
            self.checker.allow(down.ssrc, !muted);
            self.checker.tolerate(down.ssrc, silence(down.kind));
        }
        self.command(track.thread(), Command::MuteTrack { track, muted });
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let deadline = self.now + time;
        self.everybody();
        loop {
            let next = self.next().filter(|next| *next <= deadline);
            let Some(next) = next else {
                self.now = deadline;
                return;
            };
            self.now = self.now.max(next);
            self.deliver();
            self.everybody();
        }
    }

    fn next(&self) -> Option<Instant> {
        let running = self.threads.iter().filter(|thread| !thread.stalled);
        let timeouts = running.filter_map(|thread| thread.worker.poll_timeout());
        let clients = self.clients.iter().filter_map(Client::poll_timeout);
        timeouts.chain(clients).chain(self.network.next_arrival()).min()
    }

    fn deliver(&mut self) {
        let since = self.since();
        while let Some(mut arrived) = self.network.arrive(self.now) {
            let is_for = |thread: &Thread| {
                thread.address == arrived.to || (thread.takes_all && thread.address.ip() == arrived.to.ip())
            };
            if let Some(thread) = self.threads.iter_mut().find(|thread| is_for(thread)) {
                // A stalled thread's socket buffer is bounded, too.
                if thread.inbox.len() < 4096 {
                    thread.inbox.push((arrived.from, arrived.data));
                }
            } else if let Some(client) = self
                .clients
                .iter_mut()
                .find(|client| client.address == arrived.to)
            {
                client.handle_datagram(self.now, since, arrived.from, &mut arrived.data);
            }
        }
    }

    /// Everybody has a turn, until no thread wakes another one.
    fn everybody(&mut self) {
        for client in 0..self.clients.len() {
            self.client_turn(client);
        }
        for thread in 0..self.threads.len() {
            self.turn(thread);
        }
        while let Some(woken) = self
            .threads
            .iter()
            .position(|thread| thread.woken && !thread.stalled)
        {
            self.turn(woken);
        }
    }

    fn client_turn(&mut self, index: usize) {
        let since = self.since();
        let client = &mut self.clients[index];
        let mut outbox = Outbox::new(1024, 1024 * 1500);
        if client.poll_timeout().is_some_and(|due| due <= self.now) {
            client.handle_timeout(self.now, &mut outbox);
        }
        client.drain(self.now, since, &mut outbox);
        assert!(
            client.peer.poll_transmit(self.now, &mut outbox),
            "the outbox of a client is large"
        );
        for datagram in outbox.datagrams() {
            let data = outbox.datagram_bytes(datagram);
            self.network.send(self.now, client.address, datagram.to, data);
        }
    }

    /// One turn of a thread, as its shell does it.
    fn turn(&mut self, index: usize) {
        let (now, since) = (self.now, self.since());
        let thread = &mut self.threads[index];
        if thread.stalled {
            return;
        }
        thread.woken = false;
        for (from, mut data) in std::mem::take(&mut thread.inbox) {
            thread.arrived += 1;
            if thread.drops_one_in > 0 && thread.arrived.is_multiple_of(thread.drops_one_in) {
                thread.worker.note_dropped(now, 0);
                continue;
            }
            thread.worker.handle_datagram(now, from, 0, &mut data);
        }
        thread.worker.handle_crossings(now);
        if thread.worker.poll_timeout().is_some_and(|due| due <= now) {
            thread.worker.handle_timeout(now);
        }
        if let Some(turns) = &mut self.turns {
            turns.push(Vec::new());
        }
        loop {
            let more = thread.worker.poll_transmit(now, &mut self.outbox);
            for datagram in self.outbox.datagrams() {
                let data = self.outbox.datagram_bytes(datagram);
                self.checker.sent(data);
                if let Some(turn) = self.turns.as_mut().and_then(|turns| turns.last_mut()) {
                    turn.extend(rtp_ssrc(data));
                }
                self.network.send(now, thread.address, datagram.to, data);
            }
            self.outbox.clear();
            if !more {
                break;
            }
        }
        let mut woken = Vec::new();
        while let Some(other) = thread.worker.poll_wake() {
            woken.push(other);
        }
        while !thread.deaf
            && let Some(event) = thread.worker.poll_event()
        {
            thread.events.push((since, event));
        }
        for other in woken {
            self.threads[usize::from(other.0)].woken = true;
        }
    }
}

/// The SSRC of an RTP packet (RFC 7983, RFC 5761 §4).
fn rtp_ssrc(data: &[u8]) -> Option<u32> {
    let header: &[u8; 12] = data.first_chunk()?;
    let [first, second, .., a, b, c, d] = *header;
    let is_rtp = (128..192).contains(&first) && !(64..96).contains(&(second & 0x7F));
    is_rtp.then(|| u32::from_be_bytes([a, b, c, d]))
}

/// Packets of silence that follow when sound stops.
const fn silence(kind: Kind) -> usize {
    match kind {
        Kind::Audio => 50,
        Kind::Video => 0,
    }
}

/// The send stream on which a client sends a layer of its track.
#[must_use]
pub const fn source_tag(track: TrackKey, layer: u8) -> u64 {
    (track.0 & 0xFF_FFFF) << 8 | layer as u64
}

/// The moment at which all simulations of a test thread begin.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub fn epoch() -> Instant {
    thread_local! {
        static EPOCH: OnceCell<Instant> = const { OnceCell::new() };
    }
    EPOCH.with(|epoch| *epoch.get_or_init(Instant::now))
}

fn send_spec(tag: u64, mid: &str, codecs: &[Codec], ssrc: u32) -> SendSpec {
    SendSpec {
        tag,
        mid: mid.to_owned(),
        kind: codecs[0].kind(),
        ssrc,
        rtx_ssrc: Some(ssrc + RTX),
        payloads: payloads(codecs),
        extensions: EXTENSIONS,
        cname: "cname".to_owned(),
        playout_delay: None,
    }
}

fn payloads(codecs: &[Codec]) -> Vec<Payload> {
    let payload = |codec: &Codec| {
        let (pt, rtx_pt) = match codec {
            Codec::Red => (63, None),
            Codec::Vp8 => (96, Some(97)),
            Codec::H265 => (116, Some(117)),
            _ => (111, None),
        };
        Payload {
            codec: *codec,
            pt,
            rtx_pt,
            // RED repairs itself.
            nack: *codec != Codec::Red,
        }
    };
    codecs.iter().map(payload).collect()
}
