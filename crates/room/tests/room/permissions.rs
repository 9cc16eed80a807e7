//! Random participants whose permissions change in mid-call, by token, API and rule: every step is
//! looked at by the permission checker of the testkit (I12), which is shown to see what is wrong.

use crate::crowd::Crowd;
use crate::world::{Client, World, grant, microphone, name, wish};
use media::api::{ChannelLabel, Command, EventKind, TrackKey};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::{Action, ApiCall, Effect};
use testkit::permission::PermissionChecker;

const SOURCES: [proto::TrackSource; 4] = [
    proto::TrackSource::Camera,
    proto::TrackSource::Microphone,
    proto::TrackSource::ScreenShare,
    proto::TrackSource::Unknown,
];

struct Call {
    crowd: Crowd,
    tracks: Vec<TrackKey>,
    seen: usize,
    /// What everybody was told, without regard to the order of map entries.
    transcript: Vec<(String, u64)>,
    copies: usize,
    messages: usize,
}

impl Call {
    fn new(seed: u64) -> Self {
        Self {
            crowd: Crowd::new(seed),
            tracks: Vec::new(),
            seen: 0,
            transcript: Vec::new(),
            copies: 0,
            messages: 0,
        }
    }

    fn run(mut self, steps: usize) -> Self {
        for _ in 0..4 {
            self.join();
        }
        for _ in 0..steps {
            self.step();
        }
        self
    }

    fn step(&mut self) {
        if self.crowd.actors.is_empty() {
            self.join();
        }
        match self.crowd.roll(20) {
            0 if self.crowd.actors.len() < 6 => self.join(),
            1 if self.crowd.actors.len() > 2 => self.leave(),
            2 => self.resume(),
            3..=6 => self.publish(),
            7 | 8 => self.permit(),
            9 | 10 => self.rule(),
            11 => self.subscribe(),
            12 | 13 => self.packet(),
            14 | 15 => self.data_track(),
            16 => self.metadata(),
            17 => self.speak(),
            _ => {
                let ms = self.crowd.rng.below(300);
                self.crowd.world.pass_ms(ms);
            }
        }
        self.follow();
    }

    /// Reads what the room did, starts tracks, and answers offers, mostly.
    fn follow(&mut self) {
        let mut fresh = Vec::new();
        for (_, command) in &self.crowd.world.commands[self.seen..] {
            self.transcript.push((format!("{command:?}"), 0));
            match command {
                Command::Publish { track, .. } => fresh.push(*track),
                Command::Unpublish { track } => self.tracks.retain(|known| known != track),
                Command::Subscribe { .. } => self.copies += 1,
                Command::SendMessage { .. } | Command::SendDataTrackPacket { .. } => self.messages += 1,
                _ => {}
            }
        }
        self.seen = self.crowd.world.commands.len();
        for track in fresh {
            if self.crowd.chance(80) {
                self.crowd.world.start_layer(track, 0);
                self.tracks.push(track);
            }
        }
        let transcript = &mut self.transcript;
        self.crowd.listen(|message| {
            let response = proto::SignalResponse {
                message: Some(message.clone()),
            };
            let bytes = response.encode_to_vec();
            let sum = bytes.iter().map(|byte| u64::from(*byte).pow(3)).sum();
            transcript.push((name(message), sum));
        });
    }

    fn permission(&mut self) -> proto::ParticipantPermission {
        let sources = match self.crowd.roll(3) {
            0 => (0..=self.crowd.roll(2))
                .map(|_| SOURCES[self.crowd.roll(4)].into())
                .collect(),
            _ => Vec::new(),
        };
        proto::ParticipantPermission {
            can_subscribe: self.crowd.chance(75),
            can_publish: self.crowd.chance(75),
            can_publish_data: self.crowd.chance(75),
            can_publish_sources: sources,
            hidden: self.crowd.chance(20),
            can_update_metadata: self.crowd.chance(50),
            ..Default::default()
        }
    }

    fn join(&mut self) {
        let mut join = self.crowd.wish(8);
        join.settings.auto_subscribe = self.crowd.chance(80);
        join.settings.auto_subscribe_data_track = self.crowd.chance(80);
        let permission = self.permission();
        let grant = grant(&mut join);
        grant.can_subscribe = Some(permission.can_subscribe);
        grant.can_publish = Some(permission.can_publish);
        grant.can_publish_data = Some(permission.can_publish_data);
        grant.can_update_own_metadata = Some(permission.can_update_metadata);
        grant.hidden = permission.hidden;
        grant.recorder = self.crowd.chance(10);
        if self.crowd.chance(20) {
            grant.can_publish_sources = vec!["camera".to_owned(), "nonsense".to_owned()];
        }
        self.crowd.join(join, true);
    }

    fn leave(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let actor = self.crowd.actors.remove(index);
        let leave = Request::Leave(proto::LeaveRequest::default());
        self.crowd.world.request(&actor.client, leave);
    }

    /// The signal connection breaks; things happen; the client comes back.
    fn resume(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let (old, identity) = (
            self.crowd.actors[index].client.clone(),
            self.crowd.actors[index].identity.clone(),
        );
        self.crowd.world.apply(Action::SignalClosed {
            connection: old.connection,
        });
        if self.crowd.chance(50) && self.crowd.actors.len() > 1 {
            self.permit();
            self.rule();
            self.publish();
            self.data_track();
        }
        if let Some(actor) = self
            .crowd
            .actors
            .iter_mut()
            .find(|actor| actor.identity == identity)
        {
            actor.client = self.crowd.world.resume(&old, wish(&identity));
        }
    }

    /// Announces another track, and offers all, some of them stopped.
    fn publish(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let source = SOURCES[self.crowd.roll(4)];
        self.crowd.announce(index, source);
        self.crowd.offer(index);
    }

    fn permit(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let permission = self.permission();
        let request = proto::UpdateParticipantRequest {
            identity: self.crowd.actors[index].identity.clone(),
            permission: Some(permission),
            metadata: ["", "from the api"][self.crowd.roll(2)].to_owned(),
            ..Default::default()
        };
        let _ = self
            .crowd
            .world
            .api(ApiCall::UpdateParticipant(Box::new(request)));
    }

    /// A publisher says who may have what: everybody, nobody, or some by identity or SID.
    fn rule(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let infos = self.crowd.infos();
        let own = &self.crowd.actors[index].identity;
        let mut sids: Vec<_> = infos.iter().filter(|info| info.identity == *own).collect();
        let sids: Vec<String> = sids.pop().map_or_else(Vec::new, |info| {
            let tracks = info.tracks.iter().map(|track| track.sid.clone());
            tracks
                .chain(info.data_tracks.iter().map(|track| track.sid.clone()))
                .collect()
        });
        let mut permissions = Vec::new();
        for info in &infos {
            let by_sid = self.crowd.chance(30);
            let permission = proto::TrackPermission {
                participant_sid: if by_sid { info.sid.clone() } else { String::new() },
                participant_identity: if by_sid {
                    String::new()
                } else {
                    info.identity.clone()
                },
                all_tracks: self.crowd.chance(30),
                track_sids: sids.iter().filter(|_| self.crowd.chance(50)).cloned().collect(),
            };
            if self.crowd.chance(50) {
                permissions.push(permission);
            }
        }
        let rule = proto::SubscriptionPermission {
            all_participants: self.crowd.chance(40),
            track_permissions: permissions,
        };
        self.crowd.request(index, Request::SubscriptionPermission(rule));
    }

    fn subscribe(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let sids: Vec<_> = self
            .crowd
            .infos()
            .iter()
            .flat_map(|info| info.tracks.clone())
            .collect();
        let update = proto::UpdateSubscription {
            track_sids: sids.into_iter().map(|track| track.sid).collect(),
            subscribe: self.crowd.chance(70),
            ..Default::default()
        };
        self.crowd.request(index, Request::Subscription(update));
    }

    fn packet(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let to = match self.crowd.roll(3) {
            0 => vec![format!("p{}", self.crowd.roll(8))],
            _ => Vec::new(),
        };
        let packet = proto::DataPacket {
            destination_identities: to,
            participant_identity: "somebody else".to_owned(),
            value: Some(proto::data_packet::Value::User(proto::UserPacket {
                payload: b"hello".to_vec(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let label = [
            ChannelLabel::Reliable,
            ChannelLabel::Lossy,
            ChannelLabel::Unlabelled,
        ][self.crowd.roll(3)];
        let peer = self.crowd.actors[index].client.publisher;
        let data = packet.encode_to_vec();
        self.crowd.world.media(EventKind::Message { peer, label, data });
    }

    fn data_track(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let client = self.crowd.actors[index].client.clone();
        let handle = u16::try_from(self.crowd.roll(3) + 1).unwrap();
        let request = proto::PublishDataTrackRequest {
            pub_handle: handle.into(),
            name: format!("sensor {handle}"),
            ..Default::default()
        };
        self.crowd
            .world
            .request(&client, Request::PublishDataTrackRequest(request));
        let mut data = vec![0; 20];
        data[2..4].copy_from_slice(&handle.to_be_bytes());
        self.crowd.world.media(EventKind::Message {
            peer: client.publisher,
            label: ChannelLabel::DataTrack,
            data,
        });
        if self.crowd.chance(20) {
            let request = proto::UnpublishDataTrackRequest {
                pub_handle: handle.into(),
            };
            self.crowd
                .world
                .request(&client, Request::UnpublishDataTrackRequest(request));
        }
    }

    fn metadata(&mut self) {
        let Some(index) = self.crowd.pick() else { return };
        let update = proto::UpdateParticipantMetadata {
            metadata: format!("m{}", self.crowd.roll(50)),
            ..Default::default()
        };
        self.crowd.request(index, Request::UpdateMetadata(update));
    }

    fn speak(&mut self) {
        let levels = self.tracks.clone();
        let levels = levels.into_iter().filter(|_| self.crowd.chance(50));
        let levels: Vec<_> = levels.map(|track| (track, 0.5, true)).collect();
        self.crowd.world.media(EventKind::AudioLevels { levels });
    }
}

#[test]
fn nothing_reaches_anybody_without_permission_whatever_changes() {
    let (mut copies, mut messages, mut checks) = (0, 0, 0);
    for seed in 0..24 {
        let call = Call::new(seed).run(250);
        copies += call.copies;
        messages += call.messages;
        checks += call.crowd.world.permissions.checks();
    }
    assert!(copies > 200, "only {copies} copies");
    assert!(messages > 500, "only {messages} messages");
    assert!(checks > 20_000, "only {checks} checks");
}

#[test]
fn the_same_seed_gives_the_same_call() {
    let (first, second) = (Call::new(5).run(250), Call::new(5).run(250));
    assert!(first.transcript.len() > 500, "{}", first.transcript.len());
    assert_eq!(first.transcript, second.transcript);
    assert_ne!(first.transcript, Call::new(6).run(250).transcript);
}

/// A publisher with a microphone and a subscriber that receives it.
fn pair() -> (World, Client, Client, String) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    world.answer(&bob);
    (world, alice, bob, sid)
}

/// What the checker says when it sees these actions, without some of their effects.
fn observe(world: &mut World, actions: Vec<Action>, hidden: fn(&Effect) -> bool) -> Vec<String> {
    let mut checker = std::mem::take(&mut world.permissions);
    for action in actions {
        checker.begin(&action);
        world.room.apply(world.now, action);
        while let Some(effect) = world.room.poll_effect() {
            if !hidden(&effect) {
                checker.effect(&effect);
            }
        }
        checker.settle();
    }
    checker.violations().to_vec()
}

fn permit(identity: &str, permission: proto::ParticipantPermission) -> Action {
    let request = proto::UpdateParticipantRequest {
        identity: identity.to_owned(),
        permission: Some(permission),
        ..Default::default()
    };
    Action::Api {
        reply: room::ReplyId(1_000),
        call: ApiCall::UpdateParticipant(Box::new(request)),
    }
}

fn everything() -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        ..Default::default()
    }
}

#[test]
fn the_checker_sees_a_copy_that_goes_on_without_permission() {
    let no_subscribe = proto::ParticipantPermission {
        can_subscribe: false,
        ..everything()
    };
    let (mut world, ..) = pair();
    let silent = observe(&mut world, vec![permit("bob", no_subscribe.clone())], |_| false);
    assert_eq!(silent, [""; 0], "the room itself does it right");

    let unsubscribe = |effect: &Effect| {
        matches!(
            effect,
            Effect::Media {
                command: Command::Unsubscribe { .. },
                ..
            }
        )
    };
    let (mut world, ..) = pair();
    let found = observe(&mut world, vec![permit("bob", no_subscribe)], unsubscribe);
    assert!(found[0].contains("bob receives TR_"), "{found:?}");

    let (mut world, alice, ..) = pair();
    let nobody = Action::Signal {
        connection: alice.connection,
        request: proto::SignalRequest {
            message: Some(Request::SubscriptionPermission(
                proto::SubscriptionPermission::default(),
            )),
        },
    };
    let found = observe(&mut world, vec![nobody], unsubscribe);
    assert!(found[0].contains("bob receives TR_"), "{found:?}");

    let no_microphone = proto::ParticipantPermission {
        can_publish_sources: vec![proto::TrackSource::Camera.into()],
        ..everything()
    };
    let (mut world, ..) = pair();
    let found = observe(&mut world, vec![permit("alice", no_microphone)], |effect| {
        matches!(effect, Effect::Media { .. })
    });
    assert!(
        found.iter().any(|what| what.contains("alice goes on publishing")),
        "{found:?}"
    );
}

/// What the checker says about one effect of a step that has no other.
fn invented(world: &mut World, action: &Action, effect: &Effect) -> Vec<String> {
    let mut checker: PermissionChecker = std::mem::take(&mut world.permissions);
    checker.begin(action);
    checker.effect(effect);
    checker.settle();
    checker.violations().to_vec()
}

fn told(client: &Client, message: Response) -> Effect {
    Effect::Signal {
        connection: client.connection,
        response: Box::new(proto::SignalResponse {
            message: Some(message),
        }),
    }
}

#[test]
fn the_checker_sees_messages_without_permission() {
    let no_data = proto::ParticipantPermission {
        can_publish_data: false,
        ..everything()
    };
    let (mut world, alice, bob, _) = pair();
    assert_eq!(
        observe_kept(&mut world, permit("alice", no_data)),
        [""; 0],
        "the room itself does it right"
    );
    let speaks = Action::Media(media::api::Event {
        room: media::api::RoomKey(7),
        kind: EventKind::Message {
            peer: alice.publisher,
            label: ChannelLabel::Lossy,
            data: Vec::new(),
        },
    });
    let heard = Effect::Media {
        thread: bob.primary().thread(),
        command: Command::SendMessage {
            peers: vec![bob.primary()],
            label: ChannelLabel::Lossy,
            data: Vec::new().into(),
        },
    };
    let found = invented(&mut world, &speaks, &heard);
    assert!(
        found[0].contains("alice is heard without permission"),
        "{found:?}"
    );
}

#[test]
fn the_checker_sees_knowledge_without_permission() {
    let (mut world, _, bob, _) = pair();
    let info = world.info("alice");
    let hidden = proto::ParticipantPermission {
        hidden: true,
        ..everything()
    };
    observe_kept(&mut world, permit("alice", hidden));
    let update = proto::ParticipantUpdate {
        participants: vec![info],
    };
    let found = invented(
        &mut world,
        &Action::Timeout,
        &told(&bob, Response::Update(update)),
    );
    assert!(found[0].contains("told of alice, who is hidden"), "{found:?}");

    let (mut world, _, bob, sid) = pair();
    let handles = proto::DataTrackSubscriberHandles {
        sub_handles: [(
            1,
            proto::data_track_subscriber_handles::PublishedDataTrack {
                track_sid: sid,
                ..Default::default()
            },
        )]
        .into(),
    };
    let found = invented(
        &mut world,
        &Action::Timeout,
        &told(&bob, Response::DataTrackSubscriberHandles(handles)),
    );
    assert!(found[0].contains("bob keeps a handle"), "{found:?}");

    let (mut world, _, bob, _) = pair();
    let mut claims = wish("bob").claims;
    claims.video.as_mut().unwrap().hidden = true;
    let token = Effect::RefreshToken {
        connection: bob.connection,
        claims: Box::new(claims),
        valid_s: 600,
    };
    let found = invented(&mut world, &Action::Timeout, &token);
    assert!(found[0].contains("the token of bob grants"), "{found:?}");
}

/// As [`observe`] with all effects; the checker goes on.
fn observe_kept(world: &mut World, action: Action) -> Vec<String> {
    world.apply(action);
    world.permissions.violations().to_vec()
}
