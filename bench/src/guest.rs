//! A participant over real sockets: signalling of protocol 15 with two peer connections, one for
//! what it publishes and one for what it receives, driven by one task.

use crate::describe::{
    answer_section, bundle, candidate, data_section, description, extensions, host_candidate, offer_section,
    payload, receive_spec, remote_of, sctp_of, transport,
};
use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use livekit_protocol as proto;
use livekit_protocol::signal_request::Message as Request;
use livekit_protocol::signal_response::Message as Response;
use peer::{
    ChannelSpec, Codec, IceCredentials, Kind, Outbox, Peer, PeerEvent, PeerInit, RtpWrite, SctpRemote,
    SendSpec, Shared,
};
use prost::Message as _;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use wire::sdp::{self, Description, Direction, Setup};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The channel of messages that must arrive.
pub const RELIABLE: &str = "_reliable";
/// The channel of messages that may be lost.
pub const LOSSY: &str = "_lossy";
/// Between two audio packets.
const PACKET_INTERVAL: Duration = Duration::from_millis(20);

/// What all guests share.
#[derive(Clone, Debug)]
pub struct World {
    /// Of the server.
    pub address: SocketAddr,
    /// To sign tokens with.
    pub keys: protocol::token::Keys,
    /// The certificate of all of them.
    pub shared: Arc<Shared>,
    /// Its fingerprint.
    pub fingerprint: [u8; 32],
    /// What happens to their datagrams on the way.
    pub loss: Loss,
}

/// Datagrams that get lost, as a seed says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loss {
    percent: u64,
    state: u64,
}

impl Loss {
    /// So many of a hundred, in each direction.
    #[must_use]
    pub const fn new(percent: u64, seed: u64) -> Self {
        Self {
            percent,
            // Neighbouring seeds are to have nothing in common.
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
        }
    }

    fn strikes(&mut self) -> bool {
        if self.percent == 0 {
            return false;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 32) % 100 < self.percent
    }
}

/// Messages of data channels that wait to be read; beyond it the oldest is forgotten.
const MESSAGES_MAX: usize = 4096;

/// One peer connection with its socket.
#[derive(Debug)]
pub struct Link {
    /// The connection itself.
    pub peer: Peer,
    socket: UdpSocket,
    /// Labels of the open data channels.
    labels: BTreeMap<u16, String>,
    messages: VecDeque<(String, Vec<u8>)>,
    /// Media packets that arrived.
    pub heard: u64,
    outbox: Outbox,
    ice: IceCredentials,
    /// ICE user name of the server: another one is a restart.
    pub server: Option<String>,
    /// Where the server receives.
    pub addresses: Vec<SocketAddr>,
    restarts: u32,
    loss: Loss,
}

/// A published track.
#[derive(Debug)]
struct Track {
    cid: String,
    ssrc: u32,
    sequence: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Guest {
    world: World,
    /// As the token says.
    pub identity: String,
    /// As the join response says.
    pub sid: String,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What it receives.
    pub receiving: Link,
    /// What it publishes.
    pub sending: Option<Link>,
    /// It offers data channels beside its tracks.
    data: bool,
    /// It sends no sound on its own.
    pub silent: bool,
    /// By section.
    tracks: Vec<Option<Track>>,
    next_track: u32,
    next_packet: Instant,
    /// SIDs of the tracks of others.
    pub remote_sids: Vec<String>,
    /// How many tracks of others are known.
    pub remote_tracks: HashMap<String, usize>,
    /// Sending sections of the server's last offer, and its length in bytes.
    pub offered: (usize, usize),
    /// SSRCs that the server's last offer announced.
    pub offered_ssrcs: Vec<u32>,
    /// Answers to its offers that came.
    pub answers: u32,
    /// Length of the last answer in bytes.
    pub answer_bytes: usize,
    /// The WebSocket is closed.
    pub ended: bool,
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
            labels: BTreeMap::new(),
            messages: VecDeque::new(),
            heard: 0,
            outbox: Outbox::new(64, 64 * 1500),
            ice,
            server: None,
            addresses: Vec::new(),
            restarts: 0,
            loss: world.loss,
        })
    }

    /// Takes the server's description; new credentials are a restart, which is answered by one.
    fn set_remote(&mut self, described: &Description, sctp: Option<SctpRemote>) -> anyhow::Result<()> {
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
            self.add_server(address);
        }
        Ok(())
    }

    fn add_server(&mut self, address: SocketAddr) {
        self.peer.add_remote_candidate(host_candidate(address));
        self.addresses.push(address);
    }

    /// Takes one datagram.
    fn receive(&mut self, from: SocketAddr, data: &mut [u8]) {
        if self.loss.strikes() {
            return;
        }
        let media = self.peer.handle_datagram(Instant::now(), from, 0, data);
        self.heard += u64::from(media.rtp().is_some());
    }

    /// The next message of a data channel, with the channel's label.
    pub fn message(&mut self) -> Option<(String, Vec<u8>)> {
        self.messages.pop_front()
    }

    /// Sends a message; false when the channel is not open or takes no more.
    pub fn send(&mut self, label: &str, data: &[u8]) -> bool {
        let channel = self.labels.iter().find(|(_, open)| *open == label);
        channel.is_some_and(|(id, _)| self.peer.send_message(Instant::now(), *id, true, data))
    }

    /// Whether a data channel is open.
    #[must_use]
    pub fn is_open(&self, label: &str) -> bool {
        self.labels.values().any(|open| open == label)
    }

    /// Writes a media packet on one of the connection's streams, to go out with the next flush.
    pub fn write(&mut self, tag: u64, packet: &RtpWrite<'_>) -> bool {
        let index = self.peer.send_index(tag);
        index.is_some_and(|index| {
            self.peer
                .write_rtp(Instant::now(), index, packet, &mut self.outbox)
        })
    }

    /// Sends any RTCP, sealed with the connection's keys.
    pub fn write_rtcp(&mut self, plain: &[u8]) -> bool {
        self.peer.write_rtcp_unchecked(plain, &mut self.outbox)
    }

    /// The user name of its STUN checks, which anybody on the way can read.
    #[must_use]
    pub fn user_name(&self) -> Option<String> {
        Some(format!("{}:{}", self.server.as_ref()?, self.ice.ufrag))
    }

    /// Sends a datagram past the connection, from its own address.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn inject(&self, data: &[u8], to: SocketAddr) -> std::io::Result<usize> {
        self.socket.try_send_to(data, to)
    }

    fn transport(&self, world: &World, setup: Setup) -> anyhow::Result<sdp::Transport> {
        let candidate = host_candidate(self.socket.local_addr()?);
        Ok(transport(candidate, &self.ice, world.fingerprint, setup))
    }

    /// Takes what happened and sends what waits.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest says nothing that matters here"
    )]
    pub async fn flush(&mut self) {
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
        }
        while let Some(event) = self.peer.poll_event() {
            match event {
                PeerEvent::ChannelOpen { id, label } => {
                    self.labels.insert(id, label);
                }
                PeerEvent::Message { id, data, .. } => {
                    if self.messages.len() == MESSAGES_MAX {
                        self.messages.pop_front();
                    }
                    let label = self.labels.get(&id).cloned().unwrap_or_default();
                    self.messages.push_back((label, data));
                }
                _ => {}
            }
        }
        loop {
            let all = self.peer.poll_transmit(now, &mut self.outbox);
            for datagram in self.outbox.datagrams() {
                if self.loss.strikes() {
                    continue;
                }
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
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn join(world: &World, room: &str, identity: &str) -> anyhow::Result<Self> {
        Self::open(world, &url(world, room, identity)?, identity).await
    }

    /// Joins by a URL that has the token in it.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn open(world: &World, url: &str, identity: &str) -> anyhow::Result<Self> {
        // Small messages leave at once (no Nagle), as browsers' do: else a second one waits 40 ms.
        let (socket, _) = connect_async_with_config(url, None, true).await.context("join")?;
        let mut guest = Self {
            world: world.clone(),
            identity: identity.to_owned(),
            sid: String::new(),
            socket,
            receiving: Link::new(world, false).await?,
            sending: None,
            data: false,
            silent: false,
            tracks: Vec::new(),
            next_track: 0,
            next_packet: Instant::now(),
            remote_sids: Vec::new(),
            remote_tracks: HashMap::new(),
            offered: (0, 0),
            offered_ssrcs: Vec::new(),
            answers: 0,
            answer_bytes: 0,
            ended: false,
        };
        guest.until("a join", |guest| !guest.sid.is_empty()).await?;
        Ok(guest)
    }

    /// Is everything connected that there is?
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.receiving.peer.is_connected()
            && self.sending.as_ref().is_none_or(|link| link.peer.is_connected())
    }

    /// How often the server has restarted ICE.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.receiving.restarts
    }

    /// Packets of sound that it sent on the tracks of now.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.tracks.iter().flatten().map(|track| track.sequence - 1).sum()
    }

    /// Runs until something holds.
    ///
    /// # Errors
    /// When it takes too long or the session ends.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
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
    ///
    /// # Errors
    /// When the server says what no client understands, or sends us away.
    pub async fn step(&mut self) -> anyhow::Result<()> {
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
                self.receiving.receive(from, &mut first[..length]);
            }
            Ok((length, from)) = sending => {
                let link = self.sending.as_mut().expect("it received");
                link.receive(from, &mut second[..length]);
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
        if self.silent || now < self.next_packet || !link.peer.is_connected() {
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
                link.set_remote(&described, sctp_of(&described))?;
            }
            Response::Trickle(trickle) => {
                let to_sender = trickle.target() == proto::SignalTarget::Publisher;
                if let Some(address) = candidate(&trickle.candidate_init) {
                    match (&mut self.sending, to_sender) {
                        (Some(link), true) => link.add_server(address),
                        (None, true) => {}
                        (_, false) => self.receiving.add_server(address),
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
            for track in &one.tracks {
                if !self.remote_sids.contains(&track.sid) {
                    self.remote_sids.push(track.sid.clone());
                }
            }
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
        let ssrcs = described.media.iter().flat_map(|media| &media.ssrcs);
        self.offered_ssrcs = ssrcs.map(|ssrc| ssrc.ssrc).collect();
        let answer = description("answer", offer.id, &bundle(sections));
        self.request(Request::Answer(answer)).await
    }

    /// Opens the data channels of its own and waits until both sides of them are open.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open_data(&mut self) -> anyhow::Result<()> {
        self.data = true;
        let mut link = Link::new(&self.world, true).await?;
        for (label, retransmits) in [(RELIABLE, None), (LOSSY, Some(0))] {
            link.peer.open_channel(ChannelSpec {
                label: label.to_owned(),
                ordered: retransmits.is_none(),
                max_retransmits: retransmits,
                negotiated: None,
            });
        }
        self.sending = Some(link);
        self.offer().await?;
        let open = |link: &Link| link.is_open(RELIABLE) && link.is_open(LOSSY);
        self.until("data channels", |guest| {
            guest.sending.as_ref().is_some_and(open) && open(&guest.receiving)
        })
        .await
    }

    /// Publishes a track on each of so many sections.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn publish(&mut self, count: usize) -> anyhow::Result<()> {
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
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn unpublish(&mut self) -> anyhow::Result<()> {
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
        if self.data {
            let mut section = data_section("data");
            section.transport = link.transport(&self.world, Setup::ActPass)?;
            sections.push(section);
        }
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
    ///
    /// # Errors
    /// When the server does not restart ICE.
    pub async fn resume(&mut self, room: &str) -> anyhow::Result<()> {
        let restarts = self.restarts();
        let url = format!(
            "{}&reconnect=1&sid={}",
            url(&self.world, room, &self.identity)?,
            self.sid
        );
        // Replacing it drops the old one without a word.
        (self.socket, _) = connect_async_with_config(url, None, true)
            .await
            .context("resume")?;
        self.until("ICE restart", |guest| guest.restarts() > restarts)
            .await
    }

    /// Says goodbye and waits until the server has closed.
    ///
    /// # Errors
    /// When the server does not close.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.request(Request::Leave(proto::LeaveRequest::default()))
            .await?;
        self.until("end", |guest| guest.ended).await
    }

    /// Sends a signal request.
    ///
    /// # Errors
    /// When the WebSocket is closed.
    pub async fn request(&mut self, message: Request) -> anyhow::Result<()> {
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
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let token = protocol::token::sign(&world.keys, &claims, now, 3600).context("cannot sign a token")?;
    Ok(format!(
        "ws://{}/rtc?access_token={token}&protocol=15&auto_subscribe=1&sdk=js&version=2.23.0",
        world.address
    ))
}

fn parse(text: &str) -> anyhow::Result<Description> {
    Description::parse(text).map_err(|error| anyhow::anyhow!("a description: {error:?}"))
}
