//! A room and the queues to its clients, who read late, leave, come back and change: whatever waits, is
//! gathered, replaced or lost on the way, each client ends with the room's own list.
//!
//! In virtual time: what is waited for is the room's own timers, and clients that read when they like.

use super::backlog::{Backlog, Pressure};
use super::outgoing::{Outgoing, OutgoingReceiver, OutgoingSender, outgoing};
use super::signal_message::SignalMessage;
use crate::clock;
use media::api::{Command, Event, EventKind, PeerKey, RoomKey, ThreadId, ThreadInfo};
use protocol::grants::{Claims, VideoGrant};
use protocol::proto;
use protocol::proto::client_info::Sdk;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::action::{Resume, Settings};
use room::{Action, ApiCall, ConnectionId, Effect, Join, Now, ReplyId, Room, RoomConfig, Seed};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use testkit::rng::Rng;
use testkit::roster::RosterChecker;
use tokio::time::Instant;

const ROOM: RoomKey = RoomKey(1);

/// Names that people have. Few, so that the same ones come back.
const NAMES: u64 = 4;

/// What makes a room wait, and refuse, with nothing in its queues.
const HIGH_BYTES: usize = 40 << 20;

struct World {
    room: Room,
    /// The room's clock begins here and goes on as tokio's.
    start: Now,
    began: Instant,
    rng: Rng,
    serial: u64,
    backlog: Arc<Backlog>,
    /// Bytes that somebody else's clients have not read.
    foreign_bytes: usize,
    senders: BTreeMap<ConnectionId, OutgoingSender>,
    /// Joins that wait until less does, as the room's task has them.
    waiting: VecDeque<Join>,
    clients: BTreeMap<ConnectionId, Client>,
    checker: RosterChecker,
    replaced: usize,
}

struct Client {
    join: Join,
    peers: Vec<PeerKey>,
    /// The session that it joined; who has not heard that it did does not resume.
    session: Option<String>,
    receiver: OutgoingReceiver,
}

impl World {
    fn new(seed: u64) -> Self {
        let start = clock::now();
        let mut config = RoomConfig::new(ROOM, "rosters");
        config.departure_timeout_s = 100_000;
        Self {
            room: Room::new(
                config,
                start,
                Seed::new(std::array::from_fn(|at| seed.to_le_bytes()[at % 8])),
            ),
            start,
            began: Instant::now(),
            rng: Rng::new(seed),
            serial: 0,
            backlog: Arc::new(Backlog::default()),
            foreign_bytes: 0,
            senders: BTreeMap::new(),
            waiting: VecDeque::new(),
            clients: BTreeMap::new(),
            checker: RosterChecker::default(),
            replaced: 0,
        }
    }

    fn now(&self) -> Now {
        let passed = self.began.elapsed();
        Now {
            monotonic: self.start.monotonic + passed,
            unix: self.start.unix + passed,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn pick(&mut self) -> Option<ConnectionId> {
        let count = self.clients.len() as u64;
        let index = (count > 0).then(|| self.rng.below(count))?;
        self.clients.keys().nth(usize::try_from(index).ok()?).copied()
    }

    fn apply(&mut self, action: Action) {
        let joining = match &action {
            Action::Join(join) => Some(join.connection),
            Action::Signal { .. }
            | Action::SignalClosed { .. }
            | Action::Media(_)
            | Action::PeerOverran { .. }
            | Action::Api { .. }
            | Action::Timeout
            | Action::Shutdown => None,
        };
        if let Action::Join(join) = &action
            && join.resume.is_some()
            && let Some(open) = self.room.connection_of(&join.claims.identity)
        {
            self.note_unread(open);
        }
        self.checker.begin(&action);
        self.room.handle_pressure(self.backlog.pressure());
        self.room.apply(self.now(), action);
        while let Some(effect) = self.room.poll_effect() {
            match effect {
                Effect::Signal { connection, response } => self.send_all(&[connection], &response),
                Effect::Broadcast {
                    connections,
                    response,
                } => self.send_all(&connections, &response),
                Effect::RefuseJoin { connection, text } => {
                    self.send(connection, Outgoing::Refuse(text));
                    self.senders.remove(&connection);
                }
                Effect::CloseSignal { connection } => {
                    self.send(connection, Outgoing::Close);
                    self.disconnect(connection);
                }
                Effect::Media {
                    command: Command::AddPeer { peer, .. },
                    ..
                } => {
                    if let Some(client) = joining.and_then(|joining| self.clients.get_mut(&joining)) {
                        client.peers.push(peer);
                    }
                }
                Effect::RefreshToken { .. }
                | Effect::Media { .. }
                | Effect::Reply { .. }
                | Effect::Listed { .. }
                | Effect::Closed => {}
            }
        }
    }

    fn send_all(&mut self, connections: &[ConnectionId], response: &proto::SignalResponse) {
        let message = SignalMessage::new(response, &self.backlog);
        for connection in connections {
            self.send(*connection, Outgoing::Message(Arc::clone(&message)));
        }
    }

    fn send(&mut self, connection: ConnectionId, outgoing: Outgoing) {
        let Some(queue) = self.senders.get(&connection) else {
            return;
        };
        match queue.send(outgoing, &self.backlog) {
            Ok(queued) => self.replaced += usize::from(queued == super::outgoing::Queued::Replaced),
            Err(_) => self.disconnect(connection),
        }
    }

    fn disconnect(&mut self, connection: ConnectionId) {
        self.note_unread(connection);
        self.senders.remove(&connection);
    }

    fn note_unread(&mut self, connection: ConnectionId) {
        let queue = self.senders.get(&connection);
        if let Some(since) = queue.and_then(OutgoingSender::unread_since) {
            // Both clocks are as far.
            let since = self.start.monotonic + (since - self.began);
            self.room.handle_unread(connection, since);
        }
    }

    /// The client's connection is lost, with all that it has not read.
    fn drop_connection(&mut self, connection: ConnectionId) -> Option<Client> {
        let client = self.clients.remove(&connection)?;
        self.disconnect(connection);
        self.waiting.retain(|join| join.connection != connection);
        self.apply(Action::SignalClosed { connection });
        Some(client)
    }

    /// So many messages, if there are; a connection that ends is noticed. Returns how many there were.
    fn read(&mut self, connection: ConnectionId, messages: usize) -> usize {
        for read in 0..messages {
            let Some(client) = self.clients.get_mut(&connection) else {
                return read;
            };
            match client.receiver.try_recv().map(|taken| taken.outgoing) {
                Some(Outgoing::Message(message)) => {
                    let message = message.response().and_then(|response| response.message);
                    let message = message.expect("it says something");
                    if let Response::Join(join) = &message {
                        client.session = join.participant.as_ref().map(|own| own.sid.clone());
                    }
                    self.checker.told(connection, &message);
                }
                Some(Outgoing::Refuse(_) | Outgoing::Busy | Outgoing::Close) => {
                    self.drop_connection(connection);
                }
                // Whose queue was full, or who was replaced, has no sender any more.
                None if !self.senders.contains_key(&connection) && self.has_no_wait(connection) => {
                    self.drop_connection(connection);
                }
                None => return read,
            }
        }
        messages
    }

    fn has_no_wait(&self, connection: ConnectionId) -> bool {
        !self.waiting.iter().any(|join| join.connection == connection)
    }

    fn read_all(&mut self) -> usize {
        let connections: Vec<_> = self.clients.keys().copied().collect();
        let read = connections.into_iter().map(|one| self.read(one, usize::MAX));
        read.sum()
    }

    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(due) = self.room.poll_timeout() {
            let due = self.began + due.saturating_duration_since(self.start.monotonic);
            if due > end {
                break;
            }
            tokio::time::sleep_until(due).await;
            self.apply(Action::Timeout);
        }
        tokio::time::sleep_until(end).await;
    }

    fn enter(&mut self, mut join: Join) -> ConnectionId {
        self.serial += 1;
        let connection = ConnectionId(self.serial);
        join.connection = connection;
        let (sender, receiver) = outgoing();
        self.senders.insert(connection, sender);
        let again = copy(&join);
        let client = Client {
            join: copy(&join),
            peers: Vec::new(),
            session: None,
            receiver,
        };
        self.clients.insert(connection, client);
        if self.backlog.pressure() == Pressure::Full || !self.waiting.is_empty() {
            self.waiting.push_back(again);
        } else {
            self.apply(Action::Join(Box::new(again)));
        }
        connection
    }

    fn admit_waiting(&mut self) {
        while self.backlog.pressure() < Pressure::Full {
            let Some(join) = self.waiting.pop_front() else {
                return;
            };
            self.apply(Action::Join(Box::new(join)));
        }
    }

    fn join(&mut self) {
        let identity = format!("p{}", self.rng.below(NAMES));
        // Mostly clients notice that they were replaced; some never read again.
        let join = self.wish(&identity);
        let connection = self.enter(join);
        if self.chance(60) {
            self.connect(connection);
        }
    }

    fn wish(&mut self, identity: &str) -> Join {
        let protocol = [5, 9, 12, 15, 17][usize::try_from(self.rng.below(5)).unwrap_or_default()];
        let sdk = [Sdk::Unknown, Sdk::Js, Sdk::Rust][usize::try_from(self.rng.below(3)).unwrap_or_default()];
        let hidden = self.chance(15);
        Join {
            connection: ConnectionId(0),
            claims: Claims {
                identity: identity.to_owned(),
                video: Some(VideoGrant {
                    room_join: true,
                    can_update_own_metadata: Some(true),
                    hidden,
                    ..Default::default()
                }),
                ..Default::default()
            },
            client: proto::ClientInfo {
                sdk: sdk.into(),
                protocol,
                version: "2.0.0".to_owned(),
                ..Default::default()
            },
            settings: Settings {
                auto_subscribe: true,
                auto_subscribe_data_track: true,
                ..Default::default()
            },
            // Its client never has to answer.
            single_peer_connection: protocol >= 12,
            metadata: None,
            attributes: Vec::new(),
            add_tracks: Vec::new(),
            publisher_offer: None,
            resume: None,
            sender_only: false,
            full: false,
            placement: ThreadInfo {
                thread: ThreadId(0),
                sockets: Vec::new(),
            },
            token_remaining_s: 3_600,
        }
    }

    fn connect(&mut self, connection: ConnectionId) {
        let Some(client) = self.clients.get(&connection) else {
            return;
        };
        for peer in client.peers.clone() {
            self.media(EventKind::IceConnected { peer });
            self.media(EventKind::PeerConnected { peer });
        }
    }

    fn media(&mut self, kind: EventKind) {
        self.apply(Action::Media(Event { room: ROOM, kind }));
    }

    fn request(&mut self, connection: ConnectionId, message: Request) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        self.apply(Action::Signal { connection, request });
    }

    fn change(&mut self, connection: ConnectionId) {
        let long = if self.chance(20) { 60_000 } else { 3 };
        let update = proto::UpdateParticipantMetadata {
            name: format!("n{}", self.rng.below(1_000)),
            metadata: format!("{}{}", self.rng.below(1_000), "m".repeat(long)),
            attributes: [(format!("a{}", self.rng.below(3)), self.rng.below(10).to_string())].into(),
            ..Default::default()
        };
        // Somebody who types, or who uses all that it may say.
        let times = if self.chance(5) {
            100
        } else {
            1 + self.rng.below(3)
        };
        for time in 0..times {
            let mut update = update.clone();
            update.name.push_str(&time.to_string());
            self.request(connection, Request::UpdateMetadata(update));
        }
    }

    fn permit(&mut self, connection: ConnectionId) {
        let Some(client) = self.clients.get(&connection) else {
            return;
        };
        let identity = client.join.claims.identity.clone();
        let request = proto::UpdateParticipantRequest {
            identity,
            permission: Some(proto::ParticipantPermission {
                can_subscribe: self.chance(80),
                can_publish: self.chance(80),
                can_publish_data: self.chance(80),
                can_update_metadata: true,
                hidden: self.chance(40),
                ..Default::default()
            }),
            ..Default::default()
        };
        self.serial += 1;
        self.apply(Action::Api {
            reply: ReplyId(self.serial),
            call: ApiCall::UpdateParticipant(Box::new(request)),
        });
    }

    fn data_track(&mut self, connection: ConnectionId) {
        let pub_handle = 1 + u32::try_from(self.rng.below(2)).unwrap_or_default();
        let message = if self.chance(60) {
            Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
                pub_handle,
                name: format!("t{pub_handle}"),
                ..Default::default()
            })
        } else {
            Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle })
        };
        self.request(connection, message);
    }

    fn rule(&mut self, connection: ConnectionId) {
        let all_participants = self.chance(50);
        let rule = proto::SubscriptionPermission {
            all_participants,
            ..Default::default()
        };
        self.request(connection, Request::SubscriptionPermission(rule));
    }

    fn leave(&mut self, connection: ConnectionId) {
        match self.rng.below(4) {
            0 | 1 => self.request(connection, Request::Leave(proto::LeaveRequest::default())),
            // A client that is gone without a word, and is noticed or not.
            2 => {
                self.drop_connection(connection);
            }
            _ => {
                if let Some(client) = self.clients.remove(&connection) {
                    drop(client.receiver);
                    self.checker.closed(connection);
                }
            }
        }
    }

    /// A new connection for the same session, noticed that the old one is gone or not.
    fn resume(&mut self, connection: ConnectionId) {
        let client = if self.chance(50) {
            self.drop_connection(connection)
        } else {
            self.clients.remove(&connection)
        };
        let Some(client) = client else { return };
        self.checker.closed(connection);
        let Some(session) = client.session.clone() else {
            return;
        };
        let mut join = copy(&client.join);
        join.resume = Some(Resume {
            participant_sid: session,
            ..Default::default()
        });
        let again = self.enter(join);
        if let Some(resumed) = self.clients.get_mut(&again) {
            resumed.peers = client.peers;
            resumed.session = client.session;
            resumed.join.resume = None;
        }
    }

    fn press(&mut self) {
        self.backlog.subtract(self.foreign_bytes);
        self.foreign_bytes =
            [0, 0, HIGH_BYTES, 2 * HIGH_BYTES][usize::try_from(self.rng.below(4)).unwrap_or_default()];
        self.backlog.add(self.foreign_bytes);
        self.admit_waiting();
    }

    async fn step(&mut self) {
        let Some(who) = self.pick() else {
            return self.join();
        };
        match self.rng.below(30) {
            0..=4 => self.join(),
            5 | 6 => self.leave(who),
            // At once, again and again.
            7 => {
                for _ in 0..1 + self.rng.below(5) {
                    let Some(who) = self.pick() else { return };
                    self.leave(who);
                    self.join();
                }
            }
            8..=10 => self.resume(who),
            11 => self.connect(who),
            12..=14 => self.change(who),
            15 | 16 => self.permit(who),
            17 | 18 => self.data_track(who),
            19 => self.rule(who),
            20 => self.press(),
            21..=23 => _ = self.read(who, 1),
            24 => _ = self.read(who, usize::MAX),
            _ => {
                let ms = 1 + self.rng.below(1_500);
                self.pass(Duration::from_millis(ms)).await;
            }
        }
    }

    /// Everything is told and read.
    async fn settle(&mut self) {
        self.backlog.subtract(std::mem::take(&mut self.foreign_bytes));
        self.admit_waiting();
        for _ in 0..60 {
            if self.read_all() == 0 && self.room.gauges().untold == 0 {
                return;
            }
            self.pass(Duration::from_millis(500)).await;
        }
        panic!("{:?} never settles", self.room.gauges());
    }
}

fn copy(join: &Join) -> Join {
    Join {
        claims: join.claims.clone(),
        client: join.client.clone(),
        settings: join.settings.clone(),
        metadata: join.metadata.clone(),
        attributes: join.attributes.clone(),
        add_tracks: join.add_tracks.clone(),
        publisher_offer: join.publisher_offer.clone(),
        resume: join.resume.clone(),
        placement: join.placement.clone(),
        ..*join
    }
}

/// Histories of a usual run. `ROSTER_SEEDS=1000 cargo test …` builds it with more.
const SEEDS: u64 = 60;

#[tokio::test(start_paused = true)]
#[expect(clippy::print_stdout, reason = "a long run says how far it came")]
async fn whatever_waits_is_replaced_or_lost_every_list_ends_as_the_rooms() {
    let wanted = option_env!("ROSTER_SEEDS");
    let seeds = wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut checks, mut replaced) = (0, 0);
    let mut found = Vec::new();
    for seed in 0..seeds {
        let mut world = World::new(seed);
        for round in 0..20 {
            for _ in 0..20 {
                world.step().await;
            }
            world.settle().await;
            let present = world.room.participants();
            let wrong = world.checker.check(&present);
            if !wrong.is_empty() {
                found.push(format!("seed {seed}, round {round}: {wrong:#?}"));
                break;
            }
        }
        checks += world.checker.checks();
        replaced += world.replaced;
    }
    println!("{checks} lists of {seeds} histories, {replaced} messages replaced");
    let some: Vec<_> = found.iter().take(8).collect();
    assert!(found.is_empty(), "{} histories end wrong: {some:#?}", found.len());
    assert!(checks > seeds * 20, "only {checks} lists");
    assert!(
        replaced > 0 || seeds < 10,
        "nothing waited long enough to be replaced"
    );
}
