//! A room on a virtual clock, with what it said sorted by whom it said it to.

use crate::sdp;
use media::api::{
    ChannelLabel, Command, Event, EventKind, LocalSocket, PeerKey, RoomKey, ThreadId, ThreadInfo, TrackKey,
};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::action::Settings;
use room::{
    Action, ApiCall, ApiError, ApiReply, ConnectionId, Effect, Join, Now, ReplyId, Room, RoomConfig, Seed,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use testkit::description::DescriptionChecker;
use testkit::permission::PermissionChecker;
use testkit::roster::RosterChecker;

pub struct World {
    pub room: Room,
    pub now: Now,
    serial: u64,
    signals: BTreeMap<ConnectionId, Vec<Response>>,
    /// Who was told what about the quality of connections.
    pub qualities: Vec<(ConnectionId, Vec<proto::ConnectionQualityInfo>)>,
    pub commands: Vec<(ThreadId, Command)>,
    pub tokens: Vec<(ConnectionId, Claims, u64)>,
    pub refused: Vec<(ConnectionId, String)>,
    pub closed: Vec<ConnectionId>,
    pub listed: Vec<proto::Room>,
    /// Messages that had to be encoded, however many were sent each.
    pub encoded: usize,
    pub replies: BTreeMap<ReplyId, Result<ApiReply, ApiError>>,
    pub over: bool,
    /// Looks at every step of every test (I12).
    pub permissions: PermissionChecker,
    /// Holds what every client was told against the room, whenever nothing waits to be told.
    pub rosters: RosterChecker,
    /// Look at every description of every test: what clients last offered, and what they were told.
    offers: BTreeMap<ConnectionId, String>,
    descriptions: BTreeMap<(ConnectionId, &'static str), DescriptionChecker>,
    /// The same in order: our offers, and our answers to their offers.
    pub told: BTreeMap<(ConnectionId, &'static str), Vec<Told>>,
}

/// A description that a client was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it answers, if it is an answer.
    pub offer: Option<String>,
    pub sdp: String,
}

/// One client as the test sees it.
#[derive(Clone, Debug)]
pub struct Client {
    pub connection: ConnectionId,
    /// Publisher or only peer connection.
    pub publisher: PeerKey,
    pub subscriber: Option<PeerKey>,
}

impl Client {
    pub fn primary(&self) -> PeerKey {
        self.subscriber.unwrap_or(self.publisher)
    }
}

pub fn config() -> RoomConfig {
    let mut config = RoomConfig::new(RoomKey(7), "test");
    config.server_info = proto::ServerInfo {
        version: "1.13.11".to_owned(),
        protocol: 18,
        agent_protocol: 1,
        node_id: "ND_test".to_owned(),
        ..Default::default()
    };
    config.fingerprint = [0x5A; 32];
    config
}

/// A join as a current dual-peer-connection client asks for it.
pub fn wish(identity: &str) -> Join {
    Join {
        connection: ConnectionId(0),
        claims: Claims {
            api_key: "key".to_owned(),
            identity: identity.to_owned(),
            video: Some(VideoGrant {
                room_join: true,
                room: "test".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        },
        sender_only: false,
        client: proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            protocol: 17,
            ..Default::default()
        },
        settings: Settings {
            auto_subscribe: true,
            adaptive_stream: true,
            ..Default::default()
        },
        single_peer_connection: false,
        metadata: None,
        attributes: Vec::new(),
        add_tracks: Vec::new(),
        publisher_offer: None,
        resume: None,
        placement: ThreadInfo {
            thread: ThreadId(1),
            sockets: vec![LocalSocket {
                address: "127.0.0.1:7882".parse().unwrap(),
            }],
        },
        token_remaining_s: 3_600,
        full: false,
    }
}

/// A join of that protocol number.
pub fn wish_protocol(identity: &str, protocol: i32) -> Join {
    let mut join = wish(identity);
    join.client.protocol = protocol;
    join
}

/// A single-peer-connection join with an offer for data channels and `audio`/`video` sections to
/// receive on.
pub fn wish_single(identity: &str, audios: usize, videos: usize) -> Join {
    let mut join = wish(identity);
    join.single_peer_connection = true;
    join.publisher_offer = Some(sdp::offer(1, &sdp::receiving(audios, videos)));
    join
}

pub fn grant(join: &mut Join) -> &mut VideoGrant {
    join.claims.video.as_mut().unwrap()
}

/// One of each kind that neither counts nor keeps a room open.
pub fn dependents() -> Vec<Join> {
    let kind = |identity: &str, kind: &str| {
        let mut join = wish(identity);
        join.claims.kind = kind.to_owned();
        join
    };
    let mut recorder = wish("recorder");
    grant(&mut recorder).recorder = true;
    vec![kind("agent", "agent"), kind("egress", "egress"), recorder]
}

impl World {
    pub fn new() -> Self {
        Self::with(config())
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
    pub fn with(config: RoomConfig) -> Self {
        let now = Now {
            monotonic: Instant::now(),
            unix: Duration::from_secs(1_700_000_000),
        };
        let mut world = Self {
            room: Room::new(config, now, Seed::new([42; 32])),
            now,
            serial: 0,
            signals: BTreeMap::new(),
            qualities: Vec::new(),
            commands: Vec::new(),
            tokens: Vec::new(),
            refused: Vec::new(),
            closed: Vec::new(),
            listed: Vec::new(),
            encoded: 0,
            replies: BTreeMap::new(),
            over: false,
            permissions: PermissionChecker::default(),
            rosters: RosterChecker::default(),
            offers: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            told: BTreeMap::new(),
        };
        world.drain();
        world
    }

    pub fn apply(&mut self, action: Action) {
        self.permissions.begin(&action);
        self.rosters.begin(&action);
        self.note_offer(&action);
        self.room.apply(self.now, action);
        self.drain();
        self.permissions.settle();
        let violations = self.permissions.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        self.check_rosters();
    }

    fn check_rosters(&mut self) {
        if self.over || self.room.gauges().untold > 0 {
            return;
        }
        let wrong = self.rosters.check(&self.room.participants());
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn note_offer(&mut self, action: &Action) {
        let (connection, offer) = match action {
            Action::Join(join) => (join.connection, join.publisher_offer.as_ref()),
            Action::Signal { connection, request } => match &request.message {
                Some(Request::Offer(offer)) => (*connection, Some(offer)),
                _ => return,
            },
            _ => return,
        };
        if let Some(offer) = offer {
            self.offers.insert(connection, offer.sdp.clone());
        }
    }

    fn check_description(&mut self, connection: ConnectionId, message: &Response) {
        let checked = match message {
            Response::Offer(offer) => {
                let key = (connection, "offers");
                self.tell_description(key, None, &offer.sdp);
                self.descriptions.entry(key).or_default().offer(&offer.sdp)
            }
            Response::Answer(answer) => {
                let key = (connection, "answers");
                let offer = self.offers.get(&connection).expect("an answer follows an offer");
                let offer = offer.clone();
                let checked = self
                    .descriptions
                    .entry(key)
                    .or_default()
                    .answer(&offer, &answer.sdp);
                self.tell_description(key, Some(offer), &answer.sdp);
                checked
            }
            _ => return,
        };
        if let Err(why) = checked {
            panic!("a description breaks a rule: {why}\n{message:#?}");
        }
    }

    fn tell_description(&mut self, key: (ConnectionId, &'static str), offer: Option<String>, sdp: &str) {
        let sdp = sdp.to_owned();
        self.told.entry(key).or_default().push(Told { offer, sdp });
    }

    /// Descriptions that were looked at.
    pub fn descriptions_checked(&self) -> u64 {
        self.descriptions.values().map(DescriptionChecker::checked).sum()
    }

    fn drain(&mut self) {
        while let Some(effect) = self.room.poll_effect() {
            self.permissions.effect(&effect);
            self.rosters.effect(&effect);
            match effect {
                Effect::Signal { connection, response } => {
                    self.encoded += 1;
                    self.tell(connection, response.message.expect("responses have a message"));
                }
                Effect::Broadcast {
                    connections,
                    response,
                } => {
                    self.encoded += 1;
                    let message = response.message.expect("responses have a message");
                    for connection in connections {
                        self.tell(connection, message.clone());
                    }
                }
                Effect::RefreshToken {
                    connection,
                    claims,
                    valid_s,
                } => {
                    let token = Response::RefreshToken(String::new());
                    self.signals.entry(connection).or_default().push(token);
                    self.tokens.push((connection, *claims, valid_s));
                }
                Effect::RefuseJoin { connection, text } => self.refused.push((connection, text)),
                Effect::CloseSignal { connection } => self.closed.push(connection),
                Effect::Media { thread, command } => self.commands.push((thread, command)),
                Effect::Reply { reply, result } => {
                    self.replies.insert(reply, result);
                }
                Effect::Listed { room } => self.listed.push(*room),
                Effect::Closed => self.over = true,
            }
        }
    }

    fn tell(&mut self, connection: ConnectionId, message: Response) {
        assert!(!self.closed.contains(&connection), "nothing follows a close");
        self.check_description(connection, &message);
        // Told on its own clock: kept apart, so that the order of all else is seen.
        if let Response::ConnectionQuality(update) = message {
            self.qualities.push((connection, update.updates));
            return;
        }
        self.signals.entry(connection).or_default().push(message);
    }

    /// Lets time pass, waking the room whenever it asked for it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.monotonic + time;
        while let Some(due) = self.room.poll_timeout().filter(|due| *due <= end) {
            let step = due.saturating_duration_since(self.now.monotonic);
            self.now.monotonic += step;
            self.now.unix += step;
            self.apply(Action::Timeout);
            let next = self.room.poll_timeout();
            assert!(
                next.is_none_or(|next| next > due),
                "a passed deadline must not stay"
            );
        }
        let rest = end.saturating_duration_since(self.now.monotonic);
        self.now.monotonic += rest;
        self.now.unix += rest;
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    /// Asks to join; the client's peers are read from the commands.
    pub fn join(&mut self, mut join: Join) -> Client {
        self.serial += 1;
        join.connection = ConnectionId(self.serial);
        let connection = join.connection;
        let before = self.commands.len();
        self.apply(Action::Join(Box::new(join)));
        let mut peers = self.commands[before..]
            .iter()
            .filter_map(|(_, command)| match command {
                Command::AddPeer { peer, .. } => Some(*peer),
                _ => None,
            });
        let publisher = peers.next().unwrap_or(PeerKey(0));
        let subscriber = peers.next();
        Client {
            connection,
            publisher,
            subscriber,
        }
    }

    /// Joins, answers the first offer if there is one, and connects every peer.
    pub fn enter(&mut self, join: Join) -> Client {
        let client = self.join(join);
        self.answer(&client);
        self.connect(&client);
        client
    }

    pub fn resume(&mut self, client: &Client, mut join: Join) -> Client {
        self.serial += 1;
        join.connection = ConnectionId(self.serial);
        join.resume = Some(join.resume.unwrap_or_default());
        let connection = join.connection;
        self.apply(Action::Join(Box::new(join)));
        Client {
            connection,
            ..client.clone()
        }
    }

    pub fn connect(&mut self, client: &Client) {
        for peer in [Some(client.publisher), client.subscriber].into_iter().flatten() {
            self.media(EventKind::IceConnected { peer });
            self.media(EventKind::PeerConnected { peer });
            for label in [ChannelLabel::Reliable, ChannelLabel::Lossy] {
                self.media(EventKind::ChannelOpen { peer, label });
            }
        }
    }

    pub fn media(&mut self, kind: EventKind) {
        self.apply(Action::Media(Event {
            room: RoomKey(7),
            kind,
        }));
    }

    pub fn request(&mut self, client: &Client, message: Request) {
        self.apply(Action::Signal {
            connection: client.connection,
            request: proto::SignalRequest {
                message: Some(message),
            },
        });
    }

    /// As [`Self::request`] for what takes effect later: the model of permissions believes it at once.
    pub fn request_unchecked(&mut self, client: &Client, message: Request) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        let connection = client.connection;
        self.room.apply(self.now, Action::Signal { connection, request });
        self.drain();
    }

    /// What a client has been told since the last look.
    pub fn take(&mut self, client: &Client) -> Vec<Response> {
        self.signals.remove(&client.connection).unwrap_or_default()
    }

    /// The names of what a client has been told since the last look.
    pub fn names(&mut self, client: &Client) -> String {
        let names: Vec<_> = self.take(client).iter().map(name).collect();
        names.join(" ")
    }

    pub fn forget(&mut self) {
        self.signals.clear();
        self.commands.clear();
        self.tokens.clear();
        self.listed.clear();
    }

    /// Answers the last offer a client was sent, keeping what it was told.
    pub fn answer(&mut self, client: &Client) {
        self.answer_without(client, &[]);
    }

    fn offer(&self, client: &Client) -> Option<proto::SessionDescription> {
        let messages = self.signals.get(&client.connection)?;
        messages.iter().rev().find_map(|message| match message {
            Response::Offer(offer) => Some(offer.clone()),
            _ => None,
        })
    }

    /// The last offer that a client was sent since the last look.
    pub fn last_offer(&self, client: &Client) -> proto::SessionDescription {
        self.offer(client).expect("there was an offer")
    }

    /// As [`Self::answer`] by a client that lacks some codecs.
    pub fn answer_without(&mut self, client: &Client, lacks: &[&str]) {
        if let Some(offer) = self.offer(client) {
            let answer = sdp::without(sdp::answer_to(&offer), lacks);
            self.request(client, Request::Answer(answer));
        }
    }

    /// Announces, offers and sends a track; returns its SID.
    pub fn publish(&mut self, client: &Client, request: proto::AddTrackRequest) -> String {
        let section = sdp::Section::of(&request);
        let sid = self.announce(client, request);
        let mut sections = vec![sdp::Section::data()];
        sections.push(section);
        self.request(client, Request::Offer(sdp::offer(1, &sections)));
        let (track, rids) = self.published_track();
        self.start_layer(track, rids.saturating_sub(1));
        sid
    }

    pub fn announce(&mut self, client: &Client, request: proto::AddTrackRequest) -> String {
        let before = self.signals.get(&client.connection).map_or(0, Vec::len);
        self.request(client, Request::AddTrack(request));
        let messages = &self.signals[&client.connection][before..];
        match messages {
            [Response::TrackPublished(published)] => published.track.as_ref().unwrap().sid.clone(),
            other => panic!("expected track_published, got {other:?}"),
        }
    }

    /// The last track that was put on a section, and how many RIDs it has.
    pub fn published_track(&self) -> (TrackKey, usize) {
        self.commands
            .iter()
            .rev()
            .find_map(|(_, command)| match command {
                Command::Publish { track, spec, .. } => Some((*track, spec.rids.len())),
                _ => None,
            })
            .expect("a track was put on a section")
    }

    pub fn start_layer(&mut self, track: TrackKey, layer: usize) {
        let spec = self.commands.iter().rev().find_map(|(_, command)| match command {
            Command::Publish {
                track: other, spec, ..
            } if *other == track => Some(spec.clone()),
            _ => None,
        });
        let codec = spec.expect("a published track").payloads[0].codec;
        self.media(EventKind::LayerStarted {
            track,
            layer: u8::try_from(layer).unwrap(),
            ssrc: 1_000 + u32::try_from(layer).unwrap(),
            rtx_ssrc: None,
            codec,
        });
    }

    pub fn api(&mut self, call: ApiCall) -> Result<ApiReply, ApiError> {
        self.serial += 1;
        let reply = ReplyId(self.serial);
        self.apply(Action::Api { reply, call });
        self.replies.remove(&reply).expect("every call is answered")
    }

    /// The SID of somebody who is here.
    pub fn find(&mut self, identity: &str) -> Option<String> {
        let identity = identity.to_owned();
        match self.api(ApiCall::GetParticipant { identity }) {
            Ok(ApiReply::Participant(info)) => Some(info.sid),
            _ => None,
        }
    }

    /// What was last told to anybody about the connection of a participant.
    pub fn last_quality(&self, sid: &str) -> Option<proto::ConnectionQuality> {
        let infos = self.qualities.iter().rev().flat_map(|(_, infos)| infos);
        let mut infos = infos.filter(|info| info.participant_sid == sid);
        infos.next().map(proto::ConnectionQualityInfo::quality)
    }

    /// The participant as the API shows it.
    pub fn info(&mut self, identity: &str) -> proto::ParticipantInfo {
        let call = ApiCall::GetParticipant {
            identity: identity.to_owned(),
        };
        match self.api(call) {
            Ok(ApiReply::Participant(info)) => *info,
            other => panic!("{identity}: {other:?}"),
        }
    }
}

/// A short name of a message, with what matters for its order.
pub fn name(message: &Response) -> String {
    match message {
        Response::Join(_) => "join".to_owned(),
        Response::Answer(_) => "answer".to_owned(),
        Response::Offer(_) => "offer".to_owned(),
        Response::Trickle(trickle) => {
            let end = if trickle.r#final { "!" } else { "" };
            format!("trickle:{}{end}", trickle.target().as_str_name())
        }
        Response::Update(update) => {
            let who: Vec<_> = update
                .participants
                .iter()
                .map(|info| format!("{}={}", info.identity, info.state().as_str_name()))
                .collect();
            format!("update({})", who.join(","))
        }
        Response::TrackPublished(_) => "track_published".to_owned(),
        Response::Leave(leave) => {
            format!(
                "leave:{}:{}",
                leave.reason().as_str_name(),
                leave.action().as_str_name()
            )
        }
        Response::Mute(mute) => format!("mute:{}", mute.muted),
        Response::SpeakersChanged(_) => "speakers_changed".to_owned(),
        Response::RoomUpdate(_) => "room_update".to_owned(),
        Response::SubscribedQualityUpdate(update) => {
            let enabled = update
                .subscribed_qualities
                .iter()
                .filter(|quality| quality.enabled);
            format!("subscribed_quality:{}", enabled.count())
        }
        Response::SubscriptionPermissionUpdate(update) => format!("permission:{}", update.allowed),
        Response::RefreshToken(_) => "refresh_token".to_owned(),
        Response::TrackUnpublished(_) => "track_unpublished".to_owned(),
        Response::Reconnect(_) => "reconnect".to_owned(),
        Response::SubscriptionResponse(response) => format!("subscription_response:{}", response.err),
        Response::RequestResponse(response) => {
            format!("request_response:{}", response.reason().as_str_name())
        }
        Response::TrackSubscribed(_) => "track_subscribed".to_owned(),
        Response::MediaSectionsRequirement(need) => {
            format!("sections:{}+{}", need.num_audios, need.num_videos)
        }
        Response::DataTrackSubscriberHandles(handles) => format!("handles:{}", handles.sub_handles.len()),
        Response::PublishDataTrackResponse(_) => "data_track_published".to_owned(),
        Response::UnpublishDataTrackResponse(_) => "data_track_unpublished".to_owned(),
        other => panic!("unexpected message {other:?}"),
    }
}

pub fn microphone(cid: &str) -> proto::AddTrackRequest {
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        r#type: proto::TrackType::Audio.into(),
        source: proto::TrackSource::Microphone.into(),
        ..Default::default()
    }
}

/// A camera with three simulcast layers of VP8.
pub fn camera(cid: &str) -> proto::AddTrackRequest {
    use proto::VideoQuality::{High, Low, Medium};
    proto::AddTrackRequest {
        cid: cid.to_owned(),
        r#type: proto::TrackType::Video.into(),
        source: proto::TrackSource::Camera.into(),
        width: 1280,
        height: 720,
        layers: [(High, 1280, 720), (Low, 320, 180), (Medium, 640, 360)]
            .map(|(quality, width, height)| proto::VideoLayer {
                quality: quality.into(),
                width,
                height,
                ..Default::default()
            })
            .to_vec(),
        simulcast_codecs: vec![proto::SimulcastCodec {
            codec: "vp8".to_owned(),
            cid: cid.to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    }
}
