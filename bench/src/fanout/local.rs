//! The server under test within this process: a media pool of one thread, driven by commands.

use crate::client::{Client, ClientSpec, Load};
use crate::traffic::{Media, Source};
use anyhow::Context;
use media::api::{Command, DownKey, Event, LayerWish, PeerKey, RoomKey, ThreadId, TrackKey, make_ufrag};
use peer::{Codec, DtlsRole, IceCredentials, Kind, Payload, ReceiveSpec, Remote, SendSpec, Shared};
use server::media_pool::{MediaPool, MediaPoolConfig, SocketPlan};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use wire::ext::ExtensionIds;
use wire::sdp::Fingerprint;

const ROOM: RoomKey = RoomKey(1);
const THREAD: ThreadId = ThreadId(0);
/// Serials of publishers' peers and tracks begin at 0, those of subscribers' peers here.
const SUBSCRIBER_SERIAL: u32 = 1000;
const DOWN_SERIAL: u32 = 10_000;

/// A running pool, and what its load must know.
pub(crate) struct Server {
    pool: MediaPool,
    /// Kept, so that the events have somewhere to go.
    events: mpsc::Receiver<Event>,
    media: Media,
    subscribers: usize,
    shared: Arc<Shared>,
    fingerprint: [u8; 32],
}

/// What left the media thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) datagrams: u64,
    pub(crate) messages: u64,
    pub(crate) turns: u64,
}

impl Sent {
    pub(crate) const fn since(self, earlier: Self) -> Self {
        Self {
            datagrams: self.datagrams - earlier.datagrams,
            messages: self.messages - earlier.messages,
            turns: self.turns - earlier.turns,
        }
    }
}

/// Heap bytes that a pool without peers holds.
pub(crate) fn heap_of_an_empty_server() -> anyhow::Result<i64> {
    let server = Server::start(Media::Audio, 0)?;
    // It has started when it has counted a turn.
    while server.pool.stats().iter().any(|thread| thread.turns == 0) {
        std::thread::yield_now();
    }
    let before = crate::alloc::live_bytes();
    server.shutdown();
    Ok(before - crate::alloc::live_bytes())
}

impl Server {
    pub(crate) fn start(media: Media, subscribers: usize) -> anyhow::Result<Self> {
        let config = MediaPoolConfig {
            threads: 1,
            sockets: SocketPlan::Single(0),
            bind: vec!["127.0.0.1".parse()?],
            loopback: true,
            pin: true,
            commands_max: 65_536,
            ..MediaPoolConfig::default()
        };
        let (sender, events) = mpsc::channel(65_536);
        let shared = Shared::new(server::clock::epoch())?;
        let fingerprint = shared.fingerprint();
        Ok(Self {
            pool: MediaPool::start(config, sender)?,
            events,
            media,
            subscribers,
            shared: Arc::new(shared),
            fingerprint,
        })
    }

    /// CPU time of the media thread.
    pub(crate) fn cpu(&self) -> Duration {
        self.pool.stats().iter().map(|thread| thread.cpu).sum()
    }

    pub(crate) fn sent(&mut self) -> Sent {
        while self.events.try_recv().is_ok() {}
        let stats = self.pool.stats();
        Sent {
            datagrams: stats.iter().map(|thread| thread.send.datagrams).sum(),
            messages: stats.iter().map(|thread| thread.send.messages).sum(),
            turns: stats.iter().map(|thread| thread.turns).sum(),
        }
    }

    pub(crate) fn shutdown(self) {
        self.pool.shutdown();
    }

    /// Connects publishers (first) and subscribers, and subscribes all to all.
    pub(crate) fn load(&self) -> anyhow::Result<Load> {
        let publishers = Source::publishers_of(self.media);
        let mut clients = Vec::new();
        for publisher in 0..publishers {
            let mut client = self.client(publisher as u32)?;
            let ssrc = publisher_ssrc(publisher);
            client.add_send(self.send_spec(0, ssrc));
            clients.push(client);
            self.send(Command::Publish {
                peer: PeerKey::new(THREAD, ROOM, publisher as u32),
                track: track(publisher),
                spec: self.receive_spec(track(publisher).0, "0", ssrc),
                audio_level: self.media == Media::Audio,
            })?;
        }
        for subscriber in 0..self.subscribers {
            let serial = SUBSCRIBER_SERIAL + subscriber as u32;
            let mut client = self.client(serial)?;
            for publisher in 0..publishers {
                let down_serial = DOWN_SERIAL + (subscriber * publishers + publisher) as u32;
                let down = DownKey::new(THREAD, ROOM, down_serial);
                let ssrc = 0x2000_0000 + publisher as u32;
                let mut spec = self.send_spec(down.0, ssrc);
                spec.mid = publisher.to_string();
                // As negotiated with browsers: NACK for all, RTX for video. Nothing is lost here.
                for payload in &mut spec.payloads {
                    payload.nack = true;
                    payload.rtx_pt = (self.media == Media::Video).then_some(97);
                }
                spec.rtx_ssrc = (self.media == Media::Video).then_some(ssrc + 0x1000_0000);
                client.add_receive(self.receive_spec(publisher as u64, &spec.mid, ssrc));
                self.send(Command::Subscribe {
                    peer: PeerKey::new(THREAD, ROOM, serial),
                    down,
                    track: track(publisher),
                    spec,
                    wish: LayerWish::BEST,
                })?;
            }
            clients.push(client);
        }
        let mut load = Load::new(clients);
        load.connect(Duration::from_secs(20))?;
        Ok(load)
    }

    fn client(&self, serial: u32) -> anyhow::Result<Client> {
        let ice = IceCredentials {
            ufrag: format!("client{serial:06}"),
            pwd: format!("client-password-{serial:012}"),
        };
        let server_ice = IceCredentials {
            ufrag: make_ufrag(THREAD, &format!("srv{serial:06}")),
            pwd: format!("server-password-{serial:012}"),
        };
        let mut client = Client::new(ClientSpec {
            shared: Arc::clone(&self.shared),
            ice: ice.clone(),
            ice_controlling: true,
            seed: u64::from(serial),
        })?;
        let peer = PeerKey::new(THREAD, ROOM, serial);
        self.send(Command::AddPeer {
            peer,
            ice: server_ice.clone(),
            // The server asks for nothing by itself, so that rounds without keepalives exist.
            ice_lite: true,
            ice_controlling: false,
            seed: u64::from(serial) + 1_000_000,
        })?;
        let remote = |ice, fingerprint, dtls_role| Remote {
            ice,
            fingerprint: Fingerprint::Sha256(fingerprint),
            dtls_role,
            ice_lite: dtls_role == DtlsRole::Client,
            sctp: None,
        };
        self.send(Command::SetRemote {
            peer,
            remote: remote(ice, self.fingerprint, DtlsRole::Server),
        })?;
        self.send(Command::AddCandidate {
            peer,
            candidate: client.candidate(),
        })?;
        let info = self.pool.threads().first().context("one thread")?;
        let address = info.sockets.first().context("one socket")?.address;
        client.set_remote(remote(server_ice, self.pool.fingerprint(), DtlsRole::Client));
        client.add_server(address);
        Ok(client)
    }

    fn send(&self, command: Command) -> anyhow::Result<()> {
        self.pool
            .send(THREAD, command)
            .map_err(|_| anyhow::anyhow!("the media thread's command queue is full"))
    }

    const fn codec(&self) -> Codec {
        match self.media {
            Media::Audio => Codec::Opus,
            Media::Video => Codec::Vp8,
        }
    }

    const fn kind(&self) -> Kind {
        self.codec().kind()
    }

    fn payloads(&self) -> Vec<Payload> {
        // No NACK: a client that looks at a sample only would ask for everything else again.
        vec![Payload {
            codec: self.codec(),
            pt: 96,
            rtx_pt: None,
            nack: false,
        }]
    }

    fn extensions(&self) -> ExtensionIds {
        ExtensionIds {
            mid: 1,
            abs_send_time: if self.media == Media::Video { 2 } else { 0 },
            ..ExtensionIds::default()
        }
    }

    fn send_spec(&self, tag: u64, ssrc: u32) -> SendSpec {
        SendSpec {
            tag,
            mid: "0".into(),
            kind: self.kind(),
            ssrc,
            rtx_ssrc: None,
            payloads: self.payloads(),
            extensions: self.extensions(),
            cname: "bench".into(),
            playout_delay: None,
        }
    }

    fn receive_spec(&self, tag: u64, mid: &str, ssrc: u32) -> ReceiveSpec {
        ReceiveSpec {
            tag,
            mid: mid.into(),
            kind: self.kind(),
            payloads: self.payloads(),
            extensions: self.extensions(),
            rids: Vec::new(),
            ssrcs: vec![(ssrc, None)],
            transport_cc: false,
        }
    }
}

const fn track(publisher: usize) -> TrackKey {
    TrackKey::new(THREAD, ROOM, publisher as u32)
}

const fn publisher_ssrc(publisher: usize) -> u32 {
    0x1000_0000 + publisher as u32
}
