//! A LiveKit-compatible server at a URL, joined over its signalling with two peer connections per
//! participant as protocol 15 has them: publishers offer, subscribers answer.
//!
//! One small task per participant moves messages between its WebSocket and the load's thread; the
//! peer connections live on the load's thread like those of the local server.

use crate::client::{Client, ClientSpec, Load};
use crate::traffic::{Media, Source};
use anyhow::{Context, bail, ensure};
use bench::describe::{
    answer_section, bundle, candidate, description, extensions, offer_section, payload, receive_spec,
    remote_of, sctp_of, transport,
};
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use peer::{Codec, IceCredentials, SctpRemote, SendSpec, Shared};
use prost::Message as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};
use tokio_tungstenite::tungstenite::Message as Frame;
use wire::sdp::{self, Description, Direction, Setup};

const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that may wait between a WebSocket and the load.
const MESSAGES_MAX: usize = 1024;

/// Where the server is and how to get in.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) secret: String,
    /// Process whose CPU time is charged.
    pub(crate) pid: Option<u32>,
}

/// A room on the server with everybody in it.
pub(crate) struct Remote {
    access: Access,
    media: Media,
    room: String,
    runtime: tokio::runtime::Runtime,
    participants: Vec<Participant>,
    shared: Arc<Shared>,
    fingerprint: [u8; 32],
}

/// One participant: its signalling, and which client of the load is its peer connection.
struct Participant {
    requests: tokio::sync::mpsc::Sender<proto::SignalRequest>,
    responses: Receiver<proto::SignalResponse>,
    client: Option<usize>,
    ice: IceCredentials,
    /// Candidates that came before the description.
    early: Vec<SocketAddr>,
    sections: Vec<String>,
}

impl Remote {
    pub(crate) fn new(access: Access, media: Media) -> anyhow::Result<Self> {
        let shared = Shared::new(server::clock::epoch())?;
        let fingerprint = shared.fingerprint();
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok(Self {
            access,
            media,
            room: format!("bench-{}", unix.as_millis()),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .on_thread_start(crate::alloc::this_thread_is_load)
                .enable_all()
                .build()?,
            participants: Vec::new(),
            shared: Arc::new(shared),
            fingerprint,
        })
    }

    /// CPU time of all threads of the server's process; zero when it is not known.
    pub(crate) fn cpu(&self) -> Duration {
        self.access.pid.and_then(process_cpu).unwrap_or_default()
    }

    /// Publishers join and publish, then subscribers join until each has every track.
    pub(crate) fn load(&mut self, source: &mut Source, subscribers: usize) -> anyhow::Result<Load> {
        let mut load = Load::new(Vec::new());
        for publisher in 0..Source::publishers_of(self.media) {
            self.join_publisher(&mut load, publisher)?;
        }
        load.connect(JOIN_TIMEOUT)?;
        // A track exists once media arrives.
        self.publish_for(&mut load, source, Duration::from_millis(500))?;
        for subscriber in 0..subscribers {
            let participant = self.join(&format!("subscriber-{subscriber}"), false)?;
            self.participants.push(participant);
        }
        let publishers = Source::publishers_of(self.media);
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            self.publish_for(&mut load, source, Duration::from_millis(100))?;
            let subscribed = |participant: &&Participant| participant.sections.len() == publishers;
            let ready = self
                .participants
                .iter()
                .skip(publishers)
                .filter(subscribed)
                .count();
            if ready == subscribers && load.is_connected() {
                load.connect(JOIN_TIMEOUT)?;
                return Ok(load);
            }
            ensure!(
                Instant::now() < deadline,
                "only {ready} of {subscribers} subscribers got every track"
            );
        }
    }

    /// Answers what the server asks meanwhile.
    pub(crate) fn poll(&mut self, load: &mut Load) -> anyhow::Result<()> {
        for index in 0..self.participants.len() {
            while let Ok(response) = self.participants[index].responses.try_recv() {
                self.handle(load, index, response)?;
            }
        }
        Ok(())
    }

    fn publish_for(&mut self, load: &mut Load, source: &mut Source, length: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        for burst in source.round(length, true) {
            while start.elapsed() < burst.due {
                self.poll(load)?;
                load.sweep(Instant::now());
            }
            load.publish(burst.publisher, 0, codec(self.media), &burst.packets)?;
        }
        Ok(())
    }

    fn join(&self, identity: &str, publisher: bool) -> anyhow::Result<Participant> {
        let keys = protocol::token::Keys::new(vec![(self.access.key.clone(), self.access.secret.clone())]);
        let claims = protocol::grants::Claims {
            api_key: self.access.key.clone(),
            identity: identity.to_owned(),
            video: Some(protocol::grants::VideoGrant {
                room_join: true,
                room: self.room.clone(),
                can_publish: Some(publisher),
                can_subscribe: Some(!publisher),
                ..Default::default()
            }),
            ..Default::default()
        };
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let now = i64::try_from(unix.as_secs())?;
        let token = protocol::token::sign(&keys, &claims, now, 3600).context("cannot sign a token")?;
        let base = self.access.url.replacen("http", "ws", 1);
        let url = format!(
            "{}/rtc?access_token={token}&protocol=15&auto_subscribe=1&sdk=go&version=2.0.0",
            base.trim_end_matches('/')
        );
        let (requests, outgoing) = tokio::sync::mpsc::channel(MESSAGES_MAX);
        let (incoming, responses) = sync_channel(MESSAGES_MAX);
        self.runtime.spawn(pump(url, outgoing, incoming));
        Ok(Participant {
            requests,
            responses,
            client: None,
            ice: IceCredentials {
                ufrag: format!("{identity:-<20}").replace('-', "x"),
                pwd: format!("{identity:-<32}").replace('-', "y"),
            },
            early: Vec::new(),
            sections: Vec::new(),
        })
    }

    fn join_publisher(&mut self, load: &mut Load, index: usize) -> anyhow::Result<()> {
        let mut participant = self.join(&format!("publisher-{index}"), true)?;
        wait_for(&mut participant, |response| {
            matches!(response, Response::Join(_)).then_some(())
        })?;
        let audio = self.media == Media::Audio;
        let (kind, track_source) = if audio {
            (proto::TrackType::Audio, proto::TrackSource::Microphone)
        } else {
            (proto::TrackType::Video, proto::TrackSource::Camera)
        };
        let cid = format!("track-{index}");
        participant.request(Request::AddTrack(proto::AddTrackRequest {
            cid: cid.clone(),
            name: "bench".into(),
            r#type: kind as i32,
            source: track_source as i32,
            width: if audio { 0 } else { 1280 },
            height: if audio { 0 } else { 720 },
            ..Default::default()
        }))?;
        let mut client = self.client(&participant.ice, true, index as u64)?;
        let ssrc = 0x3000_0000 + index as u32;
        let offer = self.offer(&client, &participant.ice, &cid, ssrc);
        participant.request(Request::Offer(description("offer", 1, &offer)))?;
        let answer = wait_for(&mut participant, |response| {
            if let Response::Answer(answer) = response {
                return Some(answer.sdp.clone());
            }
            None
        })?;
        let answer = Description::parse(&answer).map_err(|error| anyhow::anyhow!("answer: {error:?}"))?;
        let section = answer.media.first().context("the answer has no section")?;
        connect(&mut client, &answer, None, &participant.early)?;
        client.add_send(SendSpec {
            tag: 0,
            mid: "0".into(),
            kind: codec(self.media).kind(),
            ssrc,
            rtx_ssrc: None,
            payloads: vec![payload(
                codec(self.media),
                section.payload_types().next().context("no format")?,
            )],
            extensions: extensions(section),
            cname: "bench".into(),
            playout_delay: None,
        });
        participant.client = Some(load.clients.len());
        load.clients.push(client);
        self.participants.push(participant);
        Ok(())
    }

    fn client(&self, ice: &IceCredentials, controlling: bool, seed: u64) -> anyhow::Result<Client> {
        Client::new(ClientSpec {
            shared: Arc::clone(&self.shared),
            ice: ice.clone(),
            ice_controlling: controlling,
            seed,
        })
    }

    fn offer(&self, client: &Client, ice: &IceCredentials, cid: &str, ssrc: u32) -> Description {
        let mut section = offer_section(codec(self.media), "0", Some((cid, ssrc)));
        section.transport = self.transport(client, ice, Setup::ActPass);
        bundle(vec![section])
    }

    fn transport(&self, client: &Client, ice: &IceCredentials, setup: Setup) -> sdp::Transport {
        transport(client.candidate(), ice, self.fingerprint, setup)
    }

    fn handle(
        &mut self,
        load: &mut Load,
        index: usize,
        response: proto::SignalResponse,
    ) -> anyhow::Result<()> {
        match response.message {
            Some(Response::Offer(offer)) => self.handle_offer(load, index, &offer),
            Some(Response::Trickle(trickle)) => {
                let participant = &mut self.participants[index];
                if let Some(address) = candidate(&trickle.candidate_init) {
                    match participant.client {
                        Some(client) => load.clients[client].add_server(address),
                        None => participant.early.push(address),
                    }
                }
                Ok(())
            }
            Some(Response::Leave(leave)) => bail!("the server sent a participant away: {leave:?}"),
            _ => Ok(()),
        }
    }

    fn handle_offer(
        &mut self,
        load: &mut Load,
        index: usize,
        offer: &proto::SessionDescription,
    ) -> anyhow::Result<()> {
        let parsed = Description::parse(&offer.sdp).map_err(|error| anyhow::anyhow!("offer: {error:?}"))?;
        let sctp = sctp_of(&parsed);
        let client_index = match self.participants[index].client {
            Some(client) => client,
            None => {
                let participant = &self.participants[index];
                let mut client = self.client(&participant.ice, false, 10_000 + index as u64)?;
                connect(&mut client, &parsed, sctp, &participant.early)?;
                load.clients.push(client);
                self.participants[index].client = Some(load.clients.len() - 1);
                load.clients.len() - 1
            }
        };
        let mut sections = Vec::new();
        for media in &parsed.media {
            let mut section = answer_section(media, codec(self.media))?;
            let mid = media.mid.clone().unwrap_or_default();
            let participant = &mut self.participants[index];
            if section.direction == Direction::RecvOnly && !participant.sections.contains(&mid) {
                participant.sections.push(mid.clone());
                let tag = participant.sections.len() as u64;
                let spec = receive_spec(tag, media, &section, codec(self.media));
                load.clients[client_index].add_receive(spec);
            }
            let ice = &self.participants[index].ice;
            section.transport = self.transport(&load.clients[client_index], ice, Setup::Active);
            sections.push(section);
        }
        let answer = bundle(sections);
        self.participants[index].request(Request::Answer(description("answer", offer.id, &answer)))
    }
}

impl Participant {
    fn request(&self, message: Request) -> anyhow::Result<()> {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        self.requests
            .try_send(request)
            .ok()
            .context("a signal connection has ended")
    }
}

/// Waits for a response of one kind; keeps candidates that come before it.
fn wait_for<T>(participant: &mut Participant, find: impl Fn(&Response) -> Option<T>) -> anyhow::Result<T> {
    loop {
        let response = match participant.responses.recv_timeout(JOIN_TIMEOUT) {
            Ok(response) => response.message,
            Err(RecvTimeoutError::Timeout) => bail!("no answer from the server"),
            Err(RecvTimeoutError::Disconnected) => bail!("the signal connection was refused or ended"),
        };
        match response {
            Some(Response::Trickle(trickle)) => participant.early.extend(candidate(&trickle.candidate_init)),
            Some(response) => {
                if let Some(found) = find(&response) {
                    return Ok(found);
                }
            }
            None => {}
        }
    }
}

async fn pump(
    url: String,
    mut outgoing: tokio::sync::mpsc::Receiver<proto::SignalRequest>,
    incoming: SyncSender<proto::SignalResponse>,
) -> anyhow::Result<()> {
    let (socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .inspect_err(|error| eprintln!("cannot join: {error}"))?;
    let (mut write, mut read) = socket.split();
    loop {
        tokio::select! {
            request = outgoing.recv() => match request {
                Some(request) => write.send(Frame::binary(request.encode_to_vec())).await?,
                None => return Ok(()),
            },
            frame = read.next() => match frame.transpose()? {
                Some(Frame::Binary(bytes)) => {
                    // Full only when the load has stopped reading.
                    let _full = incoming.try_send(proto::SignalResponse::decode(bytes)?);
                }
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

/// Tells a client who and where the server is.
fn connect(
    client: &mut Client,
    described: &Description,
    sctp: Option<SctpRemote>,
    early: &[SocketAddr],
) -> anyhow::Result<()> {
    let (remote, addresses) = remote_of(described, sctp)?;
    client.set_remote(remote);
    for address in addresses.into_iter().chain(early.iter().copied()) {
        client.add_server(address);
    }
    Ok(())
}

pub(crate) const fn codec(media: Media) -> Codec {
    match media {
        Media::Audio => Codec::Opus,
        Media::Video => Codec::Vp8,
    }
}

/// CPU time of a process: the sum over its threads, from the scheduler's own counters.
fn process_cpu(pid: u32) -> Option<Duration> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let statistics = std::fs::read_to_string(task.ok()?.path().join("schedstat")).unwrap_or_default();
        let nanoseconds = statistics
            .split_whitespace()
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        total += nanoseconds.unwrap_or(0);
    }
    Some(Duration::from_nanos(total))
}
