//! Everybody: the media thread under test with its peers, and their clients on one socket.

use super::air::{Air, Leaving};
use bench::describe::host_candidate;
use media::api::{Command, DownKey, Event, LayerWish, PeerKey, RoomKey, ThreadId, TrackKey, make_ufrag};
use peer::{
    Codec, DtlsRole, IceCredentials, Kind, Outbox, Payload, Peer, PeerInit, ReceiveSpec, Remote, RtpWrite,
    SendSpec, Shared,
};
use server::media_pool::{MediaPool, MediaPoolConfig, SocketPlan, ThreadStats};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wire::ext::ExtensionIds;
use wire::sdp::Fingerprint;

const THREAD: ThreadId = ThreadId(0);
/// One packet in so many is decrypted, authenticated and asked when it left. A prime, so that the
/// streams of a client take turns.
const SAMPLE: u64 = 31;
/// Bytes of a payload, as Opus at 32 kbit/s has them; the first eight say when the packet left.
const PAYLOAD: usize = 80;
const TIMER_INTERVAL: Duration = Duration::from_millis(10);

/// Who is in which room, and who hears whom.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Room of each client.
    pub(super) rooms: Vec<u32>,
    /// Clients that publish: the first ones of this number.
    pub(super) publishers: usize,
    /// Subscriber and publisher.
    pub(super) subscriptions: Vec<(usize, usize)>,
}

/// What arrived, and how.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) forged: u64,
    /// Microseconds under way, of the sample.
    pub(super) delays: Vec<u32>,
    /// RTCP datagrams from the server by the type of their first packet.
    pub(super) nacks: u64,
    pub(super) key_frame_requests: u64,
    pub(super) reports: u64,
}

struct Client {
    peer: Peer,
    index: Option<u32>,
    sequence: u64,
    timestamp: u32,
    received: u64,
    connected: bool,
}

/// See the file's head.
pub(super) struct Crowd {
    pool: MediaPool,
    events: mpsc::Receiver<Event>,
    air: Air,
    server: SocketAddr,
    clients: Vec<Client>,
    outbox: Outbox,
    leaving: Vec<Leaving>,
    epoch: Instant,
    next_timers: Instant,
    tally: Tally,
}

impl Crowd {
    /// Starts the thread, connects everybody and subscribes as planned.
    pub(super) fn start(plan: &Plan) -> anyhow::Result<Self> {
        let config = MediaPoolConfig {
            threads: 1,
            sockets: SocketPlan::Single(0),
            bind: vec!["127.0.0.1".parse()?],
            loopback: true,
            pin: true,
            peers_per_thread: 20_000,
            commands_max: 65_536,
            ..MediaPoolConfig::default()
        };
        let (sender, events) = mpsc::channel(65_536);
        let shared = Arc::new(Shared::new(server::clock::epoch())?);
        let fingerprint = shared.fingerprint();
        let pool = MediaPool::start(config, sender)?;
        let info = pool.threads().first().cloned();
        let server = info.and_then(|info| Some(info.sockets.first()?.address));
        let server = server.ok_or_else(|| anyhow::anyhow!("one thread with one socket"))?;
        let now = Instant::now();
        let mut crowd = Self {
            pool,
            events,
            air: Air::new(server)?,
            server,
            clients: Vec::new(),
            outbox: Outbox::new(256, 256 * 1500),
            leaving: Vec::with_capacity(256),
            epoch: now,
            next_timers: now,
            tally: Tally::default(),
        };
        for (client, &room) in plan.rooms.iter().enumerate() {
            crowd.join(client, RoomKey(room), &shared, fingerprint, server)?;
            if client < plan.publishers {
                let track = TrackKey::new(THREAD, RoomKey(room), client as u32);
                crowd.clients[client].peer.add_send(send_spec(0, ssrc(client)));
                crowd.clients[client].index = crowd.clients[client].peer.send_index(0);
                crowd.command(Command::Publish {
                    peer: PeerKey::new(THREAD, RoomKey(room), client as u32),
                    track,
                    spec: receive_spec(track.0, ssrc(client), true),
                    audio_level: false,
                })?;
            }
        }
        for (serial, &(subscriber, publisher)) in plan.subscriptions.iter().enumerate() {
            let room = RoomKey(plan.rooms[subscriber]);
            let down = DownKey::new(THREAD, room, serial as u32);
            let mut spec = send_spec(down.0, ssrc(publisher) + 0x1000_0000);
            spec.mid = serial.to_string();
            let mut section = receive_spec(serial as u64, spec.ssrc, false);
            section.mid.clone_from(&spec.mid);
            crowd.clients[subscriber].peer.add_receive(section);
            crowd.command(Command::Subscribe {
                peer: PeerKey::new(THREAD, room, subscriber as u32),
                down,
                track: TrackKey::new(THREAD, room, publisher as u32),
                spec,
                wish: LayerWish::BEST,
            })?;
        }
        crowd.connect(Duration::from_secs(60))?;
        Ok(crowd)
    }

    fn join(
        &mut self,
        client: usize,
        room: RoomKey,
        shared: &Arc<Shared>,
        fingerprint: [u8; 32],
        server: SocketAddr,
    ) -> anyhow::Result<()> {
        let ice = IceCredentials {
            ufrag: format!("client{client:06}"),
            pwd: format!("client-password-{client:012}"),
        };
        let server_ice = IceCredentials {
            ufrag: make_ufrag(THREAD, &format!("srv{client:06}")),
            pwd: format!("server-password-{client:012}"),
        };
        let candidate = host_candidate(self.air.address(client));
        let init = PeerInit {
            ice: ice.clone(),
            ice_lite: false,
            ice_controlling: true,
            local: vec![(0, candidate.clone())],
            seed: client as u64,
        };
        let now = Instant::now();
        let mut peer = Peer::new(Arc::clone(shared), init, now);
        let key = PeerKey::new(THREAD, room, client as u32);
        self.command(Command::AddPeer {
            peer: key,
            ice: server_ice.clone(),
            ice_lite: true,
            ice_controlling: false,
            seed: client as u64 + 1_000_000,
        })?;
        let remote = |ice, fingerprint, dtls_role| Remote {
            ice,
            fingerprint: Fingerprint::Sha256(fingerprint),
            dtls_role,
            ice_lite: dtls_role == DtlsRole::Client,
            sctp: None,
        };
        self.command(Command::SetRemote {
            peer: key,
            remote: remote(ice, fingerprint, DtlsRole::Server),
        })?;
        self.command(Command::AddCandidate { peer: key, candidate })?;
        peer.set_remote(now, remote(server_ice, self.pool.fingerprint(), DtlsRole::Client));
        peer.add_remote_candidate(host_candidate(server));
        self.clients.push(Client {
            peer,
            index: None,
            sequence: 1000,
            timestamp: 50_000,
            received: 0,
            connected: false,
        });
        Ok(())
    }

    fn command(&self, command: Command) -> anyhow::Result<()> {
        self.pool
            .send(THREAD, command)
            .map_err(|_| anyhow::anyhow!("the media thread's command queue is full"))
    }

    fn connect(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let now = Instant::now();
            self.sweep(now)?;
            if self.clients.iter().all(|client| client.connected) {
                return Ok(());
            }
            let missing = self.clients.iter().filter(|client| !client.connected).count();
            anyhow::ensure!(
                now < deadline,
                "{missing} of {} clients did not connect",
                self.clients.len()
            );
        }
    }

    /// What arrived since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    pub(super) fn stats(&self) -> ThreadStats {
        self.pool.stats().into_iter().next().unwrap_or_default()
    }

    /// Datagrams that the kernel dropped because the server's socket was full.
    pub(super) fn overflows(&self) -> u64 {
        let address = self.pool.threads().first().and_then(|info| info.sockets.first());
        address.map_or(0, |socket| drops_of(socket.address.port()))
    }

    pub(super) const fn unsent(&self) -> u64 {
        self.air.unsent
    }

    pub(super) fn shutdown(self) {
        self.pool.shutdown();
    }

    /// The next packet of a publisher. Leaves with [`Self::flush`], or when many wait.
    pub(super) fn publish(&mut self, publisher: usize) -> anyhow::Result<()> {
        let now = Instant::now();
        let client = &mut self.clients[publisher];
        client.sequence += 1;
        client.timestamp = client.timestamp.wrapping_add(960);
        let stamp = (now - self.epoch).as_micros() as u64;
        let write = RtpWrite {
            codec: Codec::Opus,
            sequence: client.sequence,
            timestamp: client.timestamp,
            marker: false,
            dependency_descriptor: &[],
            abs_capture_time: &[],
            prefix: &stamp.to_be_bytes(),
            payload: &[0xC3; PAYLOAD - 8],
            padding: 0,
            retransmission: false,
        };
        let index = client
            .index
            .ok_or_else(|| anyhow::anyhow!("publishers have a stream"))?;
        anyhow::ensure!(
            client.peer.write_rtp(now, index, &write, &mut self.outbox),
            "outbox full"
        );
        self.note(publisher);
        if self.leaving.len() >= 32 {
            self.flush()?;
        }
        Ok(())
    }

    /// Notes whose the datagrams are that the outbox holds beyond those already noted.
    fn note(&mut self, client: usize) {
        for datagram in self.outbox.datagrams().iter().skip(self.leaving.len()) {
            self.leaving.push(Leaving {
                client,
                start: datagram.start as usize,
                len: usize::from(datagram.len),
            });
        }
    }

    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if self.leaving.is_empty() {
            return Ok(());
        }
        let Self {
            air, outbox, leaving, ..
        } = self;
        air.send(outbox.bytes(), leaving)?;
        self.leaving.clear();
        self.outbox.clear();
        Ok(())
    }

    /// Takes what arrived, up to a bound, and runs timers.
    pub(super) fn sweep(&mut self, now: Instant) -> anyhow::Result<()> {
        self.flush()?;
        let mut active: Vec<usize> = Vec::new();
        for _ in 0..16 {
            let arrived = Instant::now();
            let Self {
                air,
                clients,
                tally,
                epoch,
                server,
                ..
            } = self;
            let count = air.receive(|index, data| {
                let Some(client) = clients.get_mut(index) else {
                    return;
                };
                if !client.take((arrived, *epoch, *server), data, tally) {
                    active.push(index);
                }
            });
            for index in active.drain(..) {
                self.drive(now, index)?;
            }
            if count < 32 {
                break;
            }
        }
        if now >= self.next_timers {
            self.next_timers = now + TIMER_INTERVAL;
            for index in 0..self.clients.len() {
                let client = &self.clients[index];
                let due = client.peer.poll_timeout().is_some_and(|at| at <= now);
                if due || !client.connected {
                    self.drive(now, index)?;
                }
            }
            while self.events.try_recv().is_ok() {}
        }
        Ok(())
    }

    /// Runs a client's timers and sends what it has to say, but for its reports: it looked at a
    /// sample only, and would report the rest as lost.
    fn drive(&mut self, now: Instant, index: usize) -> anyhow::Result<()> {
        self.flush()?;
        let client = &mut self.clients[index];
        if client.peer.poll_timeout().is_some_and(|at| at <= now) {
            client.peer.handle_timeout(now);
        }
        while client.peer.poll_event().is_some() {}
        client.peer.poll_transmit(now, &mut self.outbox);
        client.connected |= client.peer.is_connected();
        self.note(index);
        let outbox = &self.outbox;
        let datagrams = outbox.datagrams().iter().zip(std::mem::take(&mut self.leaving));
        self.leaving = datagrams
            .filter(|(datagram, _)| !wire::rtp::is_rtcp(outbox.datagram_bytes(datagram)))
            .map(|(_, leaving)| leaving)
            .collect();
        let Self {
            air, outbox, leaving, ..
        } = self;
        air.send(outbox.bytes(), leaving)?;
        self.leaving.clear();
        self.outbox.clear();
        Ok(())
    }
}

impl Client {
    /// Takes one datagram; false when it was none of media, and the client may have to answer.
    fn take(
        &mut self,
        (now, epoch, server): (Instant, Instant, SocketAddr),
        data: &mut [u8],
        tally: &mut Tally,
    ) -> bool {
        let media = matches!(data.first(), Some(128..=191));
        if !(media && self.connected) {
            self.peer.handle_datagram(now, server, 0, data);
            return false;
        }
        if wire::rtp::is_rtcp(data) {
            match data.get(1) {
                Some(205) => tally.nacks += 1,
                Some(206) => tally.key_frame_requests += 1,
                _ => tally.reports += 1,
            }
            return true;
        }
        tally.packets += 1;
        self.received += 1;
        if self.received % SAMPLE == 1 {
            let received = self.peer.handle_datagram(now, server, 0, data).rtp();
            let payload = received.and_then(|packet| data.get(packet.payload)?.first_chunk().copied());
            match payload {
                Some(stamp) => {
                    let under_way = (now - epoch).as_micros() as u64 - u64::from_be_bytes(stamp);
                    tally.delays.push(u32::try_from(under_way).unwrap_or(u32::MAX));
                }
                None => tally.forged += 1,
            }
        }
        true
    }
}

/// The `drops` column of `/proc/net/udp` (`proc(5)`) of a local port.
fn drops_of(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let wanted = format!(":{port:04X}");
    let line = table.lines().find(|line| {
        let local = line.split_whitespace().nth(1);
        local.is_some_and(|local| local.ends_with(&wanted))
    });
    line.and_then(|line| line.split_whitespace().last()?.parse().ok())
        .unwrap_or(0)
}

const fn ssrc(publisher: usize) -> u32 {
    0x1000_0000 + publisher as u32
}

fn payloads(nack: bool) -> Vec<Payload> {
    vec![Payload {
        codec: Codec::Opus,
        pt: 96,
        rtx_pt: None,
        nack,
    }]
}

fn extensions() -> ExtensionIds {
    ExtensionIds {
        mid: 1,
        ..ExtensionIds::default()
    }
}

fn send_spec(tag: u64, ssrc: u32) -> SendSpec {
    SendSpec {
        tag,
        mid: "0".into(),
        kind: Kind::Audio,
        ssrc,
        rtx_ssrc: None,
        payloads: payloads(true),
        extensions: extensions(),
        cname: "bench".into(),
        playout_delay: None,
    }
}

/// With `nack` the server asks for what it misses; clients, which look at a sample, never do.
fn receive_spec(tag: u64, ssrc: u32, nack: bool) -> ReceiveSpec {
    ReceiveSpec {
        tag,
        mid: "0".into(),
        kind: Kind::Audio,
        payloads: payloads(nack),
        extensions: extensions(),
        rids: Vec::new(),
        ssrcs: vec![(ssrc, None)],
        transport_cc: false,
    }
}
