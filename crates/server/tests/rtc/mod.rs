//! A WebRTC connection of a test client: real ICE, DTLS and SCTP over a real socket, driven by a
//! task of its own. Descriptions are made elsewhere; [`Connection::own`] puts our side into them.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

pub mod media;
pub mod stream;

use peer::{
    Candidate, CandidateKind, ChannelSpec, Codec, DtlsRole, IceCredentials, Outbox, Peer, PeerEvent,
    PeerInit, ReceiveSpec, Remote, RtpWrite, SctpRemote, SendSpec, Shared,
};
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use wire::sdp::{self, Description, Fingerprint, MediaKind, Setup};

/// Nothing in these tests takes longer.
const PATIENCE: Duration = Duration::from_secs(12);

static SHARED: LazyLock<Arc<Shared>> =
    LazyLock::new(|| Arc::new(Shared::new((Instant::now(), 0xE000_0000 << 32)).expect("a certificate")));
static COUNT: AtomicU64 = AtomicU64::new(1);

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Connected,
    Open {
        label: String,
        id: u16,
    },
    Message {
        label: String,
        data: Vec<u8>,
    },
    /// One of the first packets of a section.
    Media {
        mid: String,
        codec: Codec,
        payload: Vec<u8>,
    },
    /// The server asks a stream for a key frame.
    KeyFrameWanted,
    /// The connection is of no use any more.
    Failed(&'static str),
}

enum Order {
    Remote(Box<Remote>),
    Candidate(Candidate),
    Open(ChannelSpec),
    Send(String, Vec<u8>),
    Publish(Box<Source>),
    Receive(Box<ReceiveSpec>),
    /// A stream whose packets are given one by one.
    Stream(Box<SendSpec>),
    Write(stream::Frame),
    /// Tells of all packets that come from now on.
    Record(mpsc::Sender<stream::Packet>),
}

/// A stream of packets that all carry the same.
pub struct Source {
    pub spec: SendSpec,
    pub codec: Codec,
    pub payload: Vec<u8>,
    /// Layer of a simulcast; sent in place of a capture time, whose extension has the RID's id then.
    pub rid: String,
    pub dependency_descriptor: Vec<u8>,
}

/// Between two packets of a source.
const INTERVAL: Duration = Duration::from_millis(20);

/// Packets of a section that are told of.
const HEARD_MAX: usize = 3;

/// One connection. Dropping it ends its task without a word, as a crash would.
pub struct Connection {
    orders: mpsc::Sender<Order>,
    events: mpsc::Receiver<Event>,
    /// Came, and was not asked for yet.
    waiting: VecDeque<Event>,
    ice: IceCredentials,
    address: SocketAddr,
}

impl Connection {
    /// `controlling`: we offer.
    pub async fn new(controlling: bool) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("it is bound");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let ice = IceCredentials {
            ufrag: format!("client{number:04}"),
            pwd: format!("passwordofclient{number:08}"),
        };
        let init = PeerInit {
            ice: ice.clone(),
            ice_lite: false,
            ice_controlling: controlling,
            local: vec![(0, host(address))],
            seed: number,
        };
        let peer = Peer::new(Arc::clone(&SHARED), init, Instant::now());
        let (orders, receiver) = mpsc::channel(64);
        let (sender, events) = mpsc::channel(4096);
        tokio::spawn(run(peer, socket, receiver, sender));
        Self {
            orders,
            events,
            waiting: VecDeque::new(),
            ice,
            address,
        }
    }

    /// A description with our credentials, fingerprint and candidate in place of the recorded ones.
    pub fn own(&self, sdp: &str) -> String {
        let mut out = String::new();
        let mut candidates = false;
        for line in sdp.lines() {
            let line = if line.starts_with("a=ice-ufrag:") {
                candidates = false;
                format!("a=ice-ufrag:{}", self.ice.ufrag)
            } else if line.starts_with("a=ice-pwd:") {
                format!("a=ice-pwd:{}", self.ice.pwd)
            } else if line.starts_with("a=fingerprint:") {
                format!("a=fingerprint:{}", Fingerprint::Sha256(SHARED.fingerprint()))
            } else if line.starts_with("a=candidate:") {
                if std::mem::replace(&mut candidates, true) {
                    continue;
                }
                format!("a={}", self.candidate_line())
            } else {
                line.to_owned()
            };
            out.push_str(&line);
            out.push_str("\r\n");
        }
        out
    }

    /// An answer that accepts everything in an offer.
    pub fn answer_to(&self, offer: &str) -> String {
        let mut answer = String::new();
        let mut media = "";
        for line in offer.lines() {
            if let Some(kind) = line.strip_prefix("m=") {
                media = kind.split(' ').next().unwrap_or_default();
            }
            let of_the_sender = ["a=ssrc", "a=msid:", "a=candidate", "a=end-of", "a=ice-lite"];
            if of_the_sender.iter().any(|start| line.starts_with(start)) {
                continue;
            }
            answer.push_str(match line {
                "a=setup:actpass" => "a=setup:active",
                "a=sendrecv" | "a=sendonly" if media != "application" => "a=recvonly",
                line => line,
            });
            answer.push_str("\r\n");
        }
        self.own(&answer)
    }

    /// Our candidate as clients trickle it.
    pub fn candidate_init(&self) -> String {
        serde_json::json!({
            "candidate": self.candidate_line(),
            "sdpMid": "0",
            "sdpMLineIndex": 0,
            "usernameFragment": self.ice.ufrag,
        })
        .to_string()
    }

    fn candidate_line(&self) -> String {
        let (host, port) = (self.address.ip(), self.address.port());
        format!(
            "candidate:1 1 udp 2122260223 {host} {port} typ host generation 0 ufrag {}",
            self.ice.ufrag
        )
    }

    /// Takes the server's description; `offered`: it answers ours.
    pub async fn remote(&self, text: &str, offered: bool) {
        let description = Description::parse(text).expect("the server's SDP");
        let transports: Vec<_> = description
            .media
            .iter()
            .map(|media| description.transport_of(media))
            .collect();
        let find = |field: &dyn Fn(&sdp::Transport) -> Option<String>| transports.iter().find_map(field);
        let setup = transports.iter().find_map(|transport| transport.setup);
        let dtls_role = match setup {
            Some(Setup::Active) => DtlsRole::Server,
            _ if offered => DtlsRole::Client,
            // Chromium answers actively.
            _ => DtlsRole::Client,
        };
        let data = description
            .media
            .iter()
            .find(|media| media.kind == MediaKind::Application && media.port != 0);
        let remote = Remote {
            ice: IceCredentials {
                ufrag: find(&|transport| transport.ufrag.clone()).expect("a user name fragment"),
                pwd: find(&|transport| transport.pwd.clone()).expect("a password"),
            },
            fingerprint: transports
                .iter()
                .find_map(|transport| transport.fingerprint)
                .expect("a fingerprint"),
            dtls_role,
            ice_lite: description.session.ice_lite,
            sctp: data.map(|media| SctpRemote {
                port: SctpRemote::PORT,
                message_len_max: u32::try_from(media.max_message_size.unwrap_or(65_536)).expect("32 bits"),
            }),
        };
        self.order(Order::Remote(Box::new(remote))).await;
        for media in &description.media {
            for candidate in &media.transport.candidates {
                self.add_candidate(candidate).await;
            }
        }
    }

    /// Takes a trickled candidate (JSON).
    pub async fn candidate(&self, init: &str) {
        let init: Value = serde_json::from_str(init).expect("candidateInit is JSON");
        let line = init["candidate"].as_str().expect("a candidate");
        self.add_candidate(&sdp::Candidate::parse(line).expect("a candidate line"))
            .await;
    }

    async fn add_candidate(&self, candidate: &sdp::Candidate) {
        if candidate.protocol == sdp::Protocol::Udp && candidate.component == 1 {
            let priority = candidate.priority;
            let foundation = candidate.foundation.clone();
            self.order(Order::Candidate(Candidate {
                priority,
                foundation,
                ..host(candidate.address)
            }))
            .await;
        }
    }

    /// Makes a channel: with its stream when `negotiated`, else in band.
    pub async fn create(&self, label: &str, reliable: bool, negotiated: Option<u16>) {
        self.order(Order::Open(ChannelSpec {
            label: label.to_owned(),
            ordered: reliable,
            max_retransmits: (!reliable).then_some(0),
            negotiated,
        }))
        .await;
    }

    pub async fn send(&self, label: &str, data: Vec<u8>) {
        self.order(Order::Send(label.to_owned(), data)).await;
    }

    /// Sends sound and pictures on all sections that our description offers and the server's takes.
    pub async fn publish_all(&self, ours: &str, theirs: &str) {
        let parse = |text| Description::parse(text).expect("a description");
        for source in media::sources(&parse(ours), &parse(theirs)) {
            self.publish(source).await;
        }
    }

    /// Sends media from now on; a source with the same tag is replaced.
    pub async fn publish(&self, source: Source) {
        self.order(Order::Publish(Box::new(source))).await;
    }

    /// Takes what the server's description says that it sends.
    pub async fn receive_all(&self, theirs: &str) {
        for spec in media::receives(&Description::parse(theirs).expect("a description")) {
            self.order(Order::Receive(Box::new(spec))).await;
        }
    }

    /// The codec and payload of the next packet of a section.
    pub async fn media(&mut self, wanted: &str) -> Result<(Codec, Vec<u8>), String> {
        let what = format!("media on {wanted}");
        self.wait(&what, |event| match event {
            Event::Media { mid, codec, payload } if mid == wanted => Some((*codec, payload.clone())),
            _ => None,
        })
        .await
    }

    async fn order(&self, order: Order) {
        assert!(self.orders.send(order).await.is_ok(), "the connection has ended");
    }

    pub async fn connected(&mut self) -> Result<(), String> {
        self.wait("the connection", |event| {
            (*event == Event::Connected).then_some(())
        })
        .await
    }

    /// The stream of a channel, once it is open.
    pub async fn opened(&mut self, wanted: &str) -> Result<u16, String> {
        let what = format!("channel {wanted}");
        self.wait(&what, |event| match event {
            Event::Open { label, id } if label == wanted => Some(*id),
            _ => None,
        })
        .await
    }

    /// The next message of a channel.
    pub async fn message(&mut self, wanted: &str) -> Result<Vec<u8>, String> {
        let what = format!("a message on {wanted}");
        self.wait(&what, |event| match event {
            Event::Message { label, data } if label == wanted => Some(data.clone()),
            _ => None,
        })
        .await
    }

    /// Messages that came and were not asked for.
    pub fn unread(&mut self) -> Vec<Event> {
        while let Ok(event) = self.events.try_recv() {
            self.waiting.push_back(event);
        }
        let messages = self.waiting.iter();
        messages
            .filter(|event| matches!(event, Event::Message { .. }))
            .cloned()
            .collect()
    }

    async fn wait<T>(&mut self, what: &str, fits: impl Fn(&Event) -> Option<T>) -> Result<T, String> {
        let mut seen = 0;
        loop {
            while let Some(event) = self.waiting.get(seen) {
                if let Some(found) = fits(event) {
                    self.waiting.remove(seen);
                    return Ok(found);
                }
                if let Event::Failed(reason) = event {
                    return Err(format!("{reason} before {what}"));
                }
                seen += 1;
            }
            let event = timeout(PATIENCE, self.events.recv()).await;
            let event = event.map_err(|_| format!("no {what}; waiting: {:?}", self.waiting))?;
            self.waiting
                .push_back(event.ok_or_else(|| format!("ended before {what}"))?);
        }
    }
}

fn host(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_122_260_223,
        foundation: "1".to_owned(),
        kind: CandidateKind::Host,
    }
}

async fn run(
    mut peer: Peer,
    socket: UdpSocket,
    mut orders: mpsc::Receiver<Order>,
    events: mpsc::Sender<Event>,
) {
    let mut outbox = Outbox::new(64, 64 * Outbox::DATAGRAM_MAX);
    let mut labels: BTreeMap<u16, String> = BTreeMap::new();
    let mut heard: BTreeMap<u64, usize> = BTreeMap::new();
    let mut recorder: Option<mpsc::Sender<stream::Packet>> = None;
    let mut written = 0;
    let mut buffer = vec![0; 4096];
    let mut sources = Sources {
        list: Vec::new(),
        number: 1,
        next: Instant::now(),
    };
    loop {
        sources.send(&mut peer, &mut outbox);
        while let Some(event) = peer.poll_event() {
            let Some(event) = told(event, &mut labels) else {
                continue;
            };
            if events.send(event).await.is_err() {
                return;
            }
        }
        while !flush(&mut peer, &socket, &mut outbox).await {}
        let far = Instant::now() + Duration::from_secs(1);
        let due = peer.poll_timeout().unwrap_or(far).min(far);
        let due = if sources.list.is_empty() {
            due
        } else {
            due.min(sources.next)
        };
        tokio::select! {
            order = orders.recv() => {
                let Some(order) = order else { return };
                if let Order::Publish(source) = order {
                    peer.add_send(source.spec.clone());
                    sources.list.retain(|other| other.spec.tag != source.spec.tag);
                    sources.list.push(*source);
                } else if let Order::Write(frame) = order {
                    frame.write(&mut peer, &mut written, &mut outbox);
                } else if let Order::Record(sender) = order {
                    recorder = Some(sender);
                } else if !obey(&mut peer, order, &labels) && events.send(Event::Failed("a message was refused")).await.is_err() {
                    return;
                }
            }
            received = socket.recv_from(&mut buffer) => {
                // A port that was closed answers with an error: no datagram.
                let Ok((len, from)) = received else { continue };
                let Some(rtp) = peer.handle_datagram(Instant::now(), from, 0, &mut buffer[..len]).rtp() else { continue };
                if let Some(recorder) = &recorder {
                    let told = recorder.try_send(stream::Packet::received(&rtp, &buffer));
                    assert!(!matches!(told, Err(TrySendError::Full(_))), "the recorder has room");
                }
                let count = heard.entry(rtp.tag).or_default();
                *count += 1;
                let event = Event::Media {
                    mid: rtp.tag.to_string(),
                    codec: rtp.codec,
                    payload: buffer[rtp.payload].to_vec(),
                };
                if *count <= HEARD_MAX && events.send(event).await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(due.into()) => peer.handle_timeout(Instant::now()),
        }
    }
}

/// What a test is told of what happened on its connection.
fn told(event: PeerEvent, labels: &mut BTreeMap<u16, String>) -> Option<Event> {
    Some(match event {
        PeerEvent::Connected => Event::Connected,
        PeerEvent::ChannelOpen { id, label } => {
            labels.insert(id, label.clone());
            Event::Open { label, id }
        }
        PeerEvent::Message { id, data, .. } => {
            let label = labels.get(&id).cloned().unwrap_or_default();
            Event::Message { label, data }
        }
        PeerEvent::KeyFrameWanted { .. } => Event::KeyFrameWanted,
        PeerEvent::Failed => Event::Failed("DTLS failed"),
        PeerEvent::IceFailed => Event::Failed("ICE failed"),
        _ => return None,
    })
}

fn obey(peer: &mut Peer, order: Order, labels: &BTreeMap<u16, String>) -> bool {
    let now = Instant::now();
    match order {
        Order::Remote(remote) => peer.set_remote(now, *remote),
        Order::Candidate(candidate) => peer.add_remote_candidate(candidate),
        Order::Open(spec) => peer.open_channel(spec),
        Order::Send(wanted, data) => {
            let id = labels.iter().find(|(_, label)| **label == wanted);
            return id.is_some_and(|(id, _)| peer.send_message(now, *id, true, &data));
        }
        Order::Receive(spec) => peer.add_receive(*spec),
        Order::Stream(spec) => peer.add_send(*spec),
        Order::Publish(_) | Order::Write(_) | Order::Record(_) => return false,
    }
    true
}

/// Sends what waits; false when there is more.
async fn flush(peer: &mut Peer, socket: &UdpSocket, outbox: &mut Outbox) -> bool {
    let all = peer.poll_transmit(Instant::now(), outbox);
    for datagram in outbox.datagrams() {
        // Lost, as on any network: what must arrive is sent again.
        let _ = socket.send_to(outbox.datagram_bytes(datagram), datagram.to).await;
    }
    outbox.clear();
    all
}

struct Sources {
    list: Vec<Source>,
    number: u64,
    next: Instant,
}

impl Sources {
    fn send(&mut self, peer: &mut Peer, outbox: &mut Outbox) {
        let now = Instant::now();
        if now < self.next || !peer.is_connected() {
            self.next = self.next.max(now);
            return;
        }
        self.next = now + INTERVAL;
        self.number += 1;
        let ticks = u32::try_from(self.number).expect("short tests");
        for source in &self.list {
            let Some(index) = peer.send_index(source.spec.tag) else {
                continue;
            };
            let write = RtpWrite {
                codec: source.codec,
                sequence: self.number,
                timestamp: ticks * (source.codec.clock_rate() / 50),
                marker: true,
                dependency_descriptor: &source.dependency_descriptor,
                abs_capture_time: source.rid.as_bytes(),
                prefix: &[],
                payload: &source.payload,
                padding: 0,
                retransmission: false,
            };
            assert!(
                peer.write_rtp(now, index, &write, outbox),
                "the outbox has room for one packet of each source"
            );
        }
    }
}
