//! A participant over real sockets: signalling of protocol 15 with two peer connections, one for
//! what it publishes and one for what it receives, driven by one task.

use crate::client::host_candidate;
use crate::describe::{
    answer_section, bundle, candidate, description, extensions, offer_section, payload, receive_spec,
    remote_of, sctp_of, transport,
};
use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use peer::{Codec, IceCredentials, Kind, Outbox, Peer, PeerInit, RtpWrite, SendSpec, Shared};
use prost::Message as _;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wire::sdp::{self, Description, Direction, Setup};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two audio packets.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// What all guests share.
#[derive(Clone)]
pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) keys: protocol::token::Keys,
    pub(super) shared: Arc<Shared>,
    pub(super) fingerprint: [u8; 32],
}

/// One peer connection with its socket.
struct Link {
    peer: Peer,
    socket: UdpSocket,
    outbox: Outbox,
    ice: IceCredentials,
    /// ICE user name of the server: another one is a restart.
    server: Option<String>,
    restarts: u32,
}

/// A published track.
struct Track {
    cid: String,
    ssrc: u32,
    sequence: u64,
}

pub(super) struct Guest {
    world: World,
    pub(super) identity: String,
    pub(super) sid: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    receiving: Link,
    sending: Option<Link>,
    /// By section.
    tracks: Vec<Option<Track>>,
    next_track: u32,
    next_packet: Instant,
    /// How many tracks of others are known.
    pub(super) remote_tracks: HashMap<String, usize>,
    /// Sending sections of the server's last offer, and its length in bytes.
    pub(super) offered: (usize, usize),
    pub(super) answers: u32,
    /// Length of the last answer in bytes.
    pub(super) answer_bytes: usize,
    pub(super) ended: bool,
}

impl Link {
    async fn new(world: &World, controlling: bool) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let seed = u64::from(socket.local_addr()?.port());
        let ice = credentials(seed, 0);
        let init = PeerInit {
            ice: ice.clone(),
            ice_lite: false,
            ice_controlling: controlling,
            local: vec![(0, host_candidate(socket.local_addr()?))],
            seed,
        };
        Ok(Self {
            peer: Peer::new(Arc::clone(&world.shared), init, Instant::now()),
            socket,
            outbox: Outbox::new(64, 64 * 1500),
            ice,
            server: None,
            restarts: 0,
        })
    }

    /// Takes the server's description; new credentials are a restart, which is answered by one.
    fn set_remote(&mut self, described: &Description, sctp: Option<u32>) -> anyhow::Result<()> {
        let (remote, addresses) = remote_of(described, sctp)?;
        if self
            .server
            .as_ref()
            .is_some_and(|server| *server != remote.ice.ufrag)
        {
            self.restarts += 1;
            self.ice = credentials(u64::from(self.socket.local_addr()?.port()), self.restarts);
            self.peer.restart_ice(self.ice.clone());
        }
        if self.server.as_ref() != Some(&remote.ice.ufrag) {
            self.server = Some(remote.ice.ufrag.clone());
            self.peer.set_remote(Instant::now(), remote);
        }
        for address in addresses {
            self.peer.add_remote_candidate(host_candidate(address));
        }
        Ok(())
    }

    fn transport(&self, world: &World, setup: Setup) -> anyhow::Result<sdp::Transport> {
        let candidate = host_candidate(self.socket.local_addr()?);
        Ok(transport(candidate, &self.ice, world.fingerprint, setup))
    }

    async fn flush(&mut self) {
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        while self.peer.poll_event().is_some() {}
        loop {
            let all = self.peer.poll_transmit(now, &mut self.outbox);
            for datagram in self.outbox.datagrams() {
                let bytes = self.outbox.datagram_bytes(datagram);
                // A server that has forgotten us refuses, which shows elsewhere.
                let _refused = self.socket.send_to(bytes, datagram.to).await;
            }
            self.outbox.clear();
            if all {
                return;
            }
        }
    }
}

fn credentials(seed: u64, generation: u32) -> IceCredentials {
    IceCredentials {
        ufrag: format!("u{seed:x}g{generation:x}"),
        pwd: format!("{seed:016x}{generation:016x}"),
    }
}

impl Guest {
    /// Joins and waits for the server's first message.
    pub(super) async fn join(world: &World, room: &str, identity: &str) -> anyhow::Result<Self> {
        let url = url(world, room, identity)?;
        let (socket, _) = tokio_tungstenite::connect_async(url).await.context("join")?;
        let mut guest = Self {
            world: world.clone(),
            identity: identity.to_owned(),
            sid: String::new(),
            socket,
            receiving: Link::new(world, false).await?,
            sending: None,
            tracks: Vec::new(),
            next_track: 0,
            next_packet: Instant::now(),
            remote_tracks: HashMap::new(),
            offered: (0, 0),
            answers: 0,
            answer_bytes: 0,
            ended: false,
        };
        guest.until("a join", |guest| !guest.sid.is_empty()).await?;
        Ok(guest)
    }

    /// Is everything connected that there is?
    pub(super) fn is_connected(&self) -> bool {
        self.receiving.peer.is_connected()
            && self.sending.as_ref().is_none_or(|link| link.peer.is_connected())
    }

    pub(super) fn restarts(&self) -> u32 {
        self.receiving.restarts
    }

    /// Runs until something holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            if Instant::now() > deadline {
                bail!("{}: no {what} within {PATIENCE:?}", self.identity);
            }
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for one thing to happen, and handles it.
    pub(super) async fn step(&mut self) -> anyhow::Result<()> {
        let (mut first, mut second) = ([0; 2048], [0; 2048]);
        let receiving = self.receiving.socket.recv_from(&mut first);
        let sending = async {
            match &self.sending {
                Some(link) => link.socket.recv_from(&mut second).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            frame = self.socket.next() => match frame {
                Some(Ok(Frame::Binary(bytes))) => {
                    let response = proto::SignalResponse::decode(bytes)?;
                    self.handle(response.message.context("an empty response")?).await?;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => {
                    self.ended = true;
                    // The caller decides what follows; do not spin until then.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            },
            Ok((length, from)) = receiving => {
                self.receiving.peer.handle_datagram(Instant::now(), from, 0, &mut first[..length]);
            }
            Ok((length, from)) = sending => {
                let link = self.sending.as_mut().expect("it received");
                link.peer.handle_datagram(Instant::now(), from, 0, &mut second[..length]);
            }
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
        self.send_media();
        self.receiving.flush().await;
        if let Some(link) = &mut self.sending {
            link.flush().await;
        }
        Ok(())
    }

    fn send_media(&mut self) {
        let now = Instant::now();
        let Some(link) = &mut self.sending else { return };
        if now < self.next_packet || !link.peer.is_connected() {
            return;
        }
        self.next_packet = now + PACKET_INTERVAL;
        for track in self.tracks.iter_mut().flatten() {
            let Some(index) = link.peer.send_index(track.ssrc.into()) else {
                continue;
            };
            let write = RtpWrite {
                codec: Codec::Opus,
                sequence: track.sequence,
                timestamp: (track.sequence as u32).wrapping_mul(960),
                marker: false,
                dependency_descriptor: &[],
                abs_capture_time: &[],
                prefix: &[],
                payload: &[0xF8, 0xFF, 0xFE],
                padding: 0,
                retransmission: false,
            };
            track.sequence += 1;
            link.peer.write_rtp(now, index, &write, &mut link.outbox);
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest says nothing that matters here"
    )]
    async fn handle(&mut self, response: Response) -> anyhow::Result<()> {
        match response {
            Response::Join(join) => {
                self.sid = join.participant.context("no participant")?.sid;
                self.learn(&join.other_participants);
            }
            Response::Update(update) => self.learn(&update.participants),
            Response::Offer(offer) => self.answer(&offer).await?,
            Response::Answer(answer) => {
                let described = parse(&answer.sdp)?;
                self.answer_bytes = answer.sdp.len();
                self.answers += 1;
                let link = self.sending.as_mut().context("an answer without an offer")?;
                link.set_remote(&described, None)?;
            }
            Response::Trickle(trickle) => {
                let to_sender = trickle.target() == proto::SignalTarget::Publisher;
                if let Some(address) = candidate(&trickle.candidate_init) {
                    let address = host_candidate(address);
                    match (&mut self.sending, to_sender) {
                        (Some(link), true) => link.peer.add_remote_candidate(address),
                        (None, true) => {}
                        (_, false) => self.receiving.peer.add_remote_candidate(address),
                    }
                }
            }
            Response::Leave(leave) if leave.reason() != proto::DisconnectReason::ClientInitiated => {
                bail!("{} was sent away: {leave:?}", self.identity)
            }
            _ => {}
        }
        Ok(())
    }

    fn learn(&mut self, participants: &[proto::ParticipantInfo]) {
        for one in participants {
            if one.state() == proto::participant_info::State::Disconnected {
                self.remote_tracks.remove(&one.identity);
            } else {
                self.remote_tracks.insert(one.identity.clone(), one.tracks.len());
            }
        }
    }

    async fn answer(&mut self, offer: &proto::SessionDescription) -> anyhow::Result<()> {
        let described = parse(&offer.sdp)?;
        let sctp = sctp_of(&described);
        self.receiving.set_remote(&described, sctp)?;
        let mut sections = Vec::new();
        let mut sent = 0;
        for media in &described.media {
            let mut section = answer_section(media, Codec::Opus)?;
            section.transport = self.receiving.transport(&self.world, Setup::Active)?;
            let mid = media.mid.clone().unwrap_or_default();
            let tag = mid.parse().unwrap_or(u64::MAX);
            self.receiving.peer.remove_receive(tag);
            if section.direction == Direction::RecvOnly {
                sent += 1;
                let spec = receive_spec(tag, media, &section, Codec::Opus);
                self.receiving.peer.add_receive(spec);
            }
            sections.push(section);
        }
        self.offered = (sent, offer.sdp.len());
        let answer = description("answer", offer.id, &bundle(sections));
        self.request(Request::Answer(answer)).await
    }

    /// Publishes a track on each of so many sections.
    pub(super) async fn publish(&mut self, count: usize) -> anyhow::Result<()> {
        if self.sending.is_none() {
            self.sending = Some(Link::new(&self.world, true).await?);
        }
        self.tracks.clear();
        for _ in 0..count {
            self.next_track += 1;
            let track = Track {
                cid: format!("{}-{}", self.identity, self.next_track),
                ssrc: 0x4000_0000 + self.next_track,
                sequence: 1,
            };
            self.request(Request::AddTrack(proto::AddTrackRequest {
                cid: track.cid.clone(),
                name: "churn".into(),
                r#type: proto::TrackType::Audio as i32,
                source: proto::TrackSource::Microphone as i32,
                ..Default::default()
            }))
            .await?;
            self.tracks.push(Some(track));
        }
        self.offer().await
    }

    /// Ends all tracks.
    pub(super) async fn unpublish(&mut self) -> anyhow::Result<()> {
        let link = self.sending.as_mut().context("nothing is published")?;
        for track in self.tracks.iter_mut() {
            if let Some(track) = track.take() {
                link.peer.remove_send(track.ssrc.into());
            }
        }
        self.offer().await
    }

    async fn offer(&mut self) -> anyhow::Result<()> {
        let link = self.sending.as_mut().context("nothing is published")?;
        let mut sections = Vec::new();
        for (index, track) in self.tracks.iter().enumerate() {
            let sent = track.as_ref().map(|track| (&*track.cid, track.ssrc));
            let mut section = offer_section(Codec::Opus, &index.to_string(), sent);
            section.transport = link.transport(&self.world, Setup::ActPass)?;
            if let Some(track) = track {
                link.peer.add_send(SendSpec {
                    tag: track.ssrc.into(),
                    mid: index.to_string(),
                    kind: Kind::Audio,
                    ssrc: track.ssrc,
                    rtx_ssrc: None,
                    payloads: vec![payload(Codec::Opus, 111)],
                    extensions: extensions(&section),
                    cname: "churn".into(),
                    playout_delay: None,
                });
            }
            sections.push(section);
        }
        let (answers, offer) = (
            self.answers,
            description("offer", self.answers + 1, &bundle(sections)),
        );
        self.request(Request::Offer(offer)).await?;
        self.until("answer", |guest| guest.answers > answers).await
    }

    /// Loses the WebSocket and comes back with another, for the same session.
    pub(super) async fn resume(&mut self, room: &str) -> anyhow::Result<()> {
        let restarts = self.restarts();
        let url = format!(
            "{}&reconnect=1&sid={}",
            url(&self.world, room, &self.identity)?,
            self.sid
        );
        // Replacing it drops the old one without a word.
        (self.socket, _) = tokio_tungstenite::connect_async(url).await.context("resume")?;
        self.until("ICE restart", |guest| guest.restarts() > restarts)
            .await
    }

    /// Says goodbye and waits until the server has closed.
    pub(super) async fn leave(mut self) -> anyhow::Result<()> {
        self.request(Request::Leave(proto::LeaveRequest::default()))
            .await?;
        self.until("end", |guest| guest.ended).await
    }

    async fn request(&mut self, message: Request) -> anyhow::Result<()> {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        self.socket.send(Frame::binary(request.encode_to_vec())).await?;
        Ok(())
    }
}

fn url(world: &World, room: &str, identity: &str) -> anyhow::Result<String> {
    let claims = protocol::grants::Claims {
        identity: identity.to_owned(),
        video: Some(protocol::grants::VideoGrant {
            room_join: true,
            room: room.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let now = i64::try_from(server::clock::unix().as_secs())?;
    let token = protocol::token::sign(&world.keys, &claims, now, 3600).context("cannot sign a token")?;
    Ok(format!(
        "ws://{}/rtc?access_token={token}&protocol=15&auto_subscribe=1&sdk=js&version=2.23.0",
        world.address
    ))
}

fn parse(text: &str) -> anyhow::Result<Description> {
    Description::parse(text).map_err(|error| anyhow::anyhow!("a description: {error:?}"))
}
