//! The server API on one room.

use crate::world::{Client, World, config, microphone, wish};
use media::api::Command;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use room::{ApiCall, ApiErrorCode, ApiReply};

fn call() -> (World, Client, Client, String) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    world.answer(&bob);
    world.pass_ms(6_000);
    world.forget();
    (world, alice, bob, sid)
}

fn get(identity: &str) -> ApiCall {
    ApiCall::GetParticipant {
        identity: identity.to_owned(),
    }
}

fn mute(identity: &str, track_sid: &str, muted: bool) -> ApiCall {
    ApiCall::MutePublishedTrack {
        identity: identity.to_owned(),
        track_sid: track_sid.to_owned(),
        muted,
    }
}

fn failure(world: &mut World, call: ApiCall) -> (ApiErrorCode, String) {
    match world.api(call) {
        Err(error) => (error.code, error.message),
        Ok(reply) => panic!("{reply:?}"),
    }
}

#[test]
fn creating_a_live_room_returns_it_unchanged() {
    let mut world = World::new();
    let Ok(ApiReply::Room(first)) = world.api(ApiCall::CreateRoom) else {
        panic!("a room");
    };
    let Ok(ApiReply::Room(second)) = world.api(ApiCall::CreateRoom) else {
        panic!("a room");
    };
    assert_eq!(first, second);
    assert_eq!(world.room.sid(), first.sid);
}

#[test]
fn a_new_room_is_listed_at_once() {
    let world = World::new();
    assert_eq!(world.listed.len(), 1);
    assert_eq!(world.listed[0].name, "test");
}

#[test]
fn deleting_a_room_tells_everybody_and_ends_it() {
    let (mut world, alice, bob, _) = call();
    assert!(matches!(world.api(ApiCall::DeleteRoom), Ok(ApiReply::Empty)));
    for client in [&alice, &bob] {
        assert_eq!(world.names(client), "leave:ROOM_DELETED:DISCONNECT");
    }
    assert!(world.over);
    assert_eq!(world.room.poll_timeout(), None);
    assert!(
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::CloseRoom { .. }))
    );
    let late = world.join(wish("late"));
    assert_eq!(world.refused[0].0, late.connection);
    assert_eq!(failure(&mut world, ApiCall::CreateRoom).0, ApiErrorCode::NoTarget);
}

#[test]
fn participants_are_listed_hidden_ones_included_and_got_by_identity() {
    let (mut world, ..) = call();
    let mut join = wish("ghost");
    crate::world::grant(&mut join).hidden = true;
    world.enter(join);
    let Ok(ApiReply::Participants(infos)) = world.api(ApiCall::ListParticipants) else {
        panic!("participants");
    };
    let identities: Vec<_> = infos.iter().map(|info| info.identity.as_str()).collect();
    assert_eq!(identities, ["alice", "bob", "ghost"]);
    assert_eq!(world.info("alice").tracks.len(), 1);
    assert_eq!(
        failure(&mut world, get("nobody")),
        (ApiErrorCode::NotFound, "participant does not exist".to_owned())
    );
}

#[test]
fn a_removed_participant_gets_a_leave_and_is_gone() {
    let (mut world, _, bob, _) = call();
    let remove = || ApiCall::RemoveParticipant {
        identity: "bob".to_owned(),
    };
    assert!(matches!(world.api(remove()), Ok(ApiReply::Empty)));
    assert_eq!(world.names(&bob), "leave:PARTICIPANT_REMOVED:DISCONNECT");
    assert_eq!(
        failure(&mut world, remove()),
        (ApiErrorCode::NotFound, "participant does not exist".to_owned())
    );
}

#[test]
fn muting_reaches_the_publisher_and_everybody() {
    let (mut world, alice, bob, sid) = call();
    let Ok(ApiReply::Track(Some(track))) = world.api(mute("alice", &sid, true)) else {
        panic!("a track");
    };
    assert!(track.muted);
    assert!(world.names(&alice).starts_with("mute:true update(alice=ACTIVE)"));
    assert_eq!(world.names(&bob), "update(alice=ACTIVE)");
    assert!(matches!(
        world.api(mute("alice", &sid, true)),
        Ok(ApiReply::Track(Some(_)))
    ));
    assert!(matches!(
        world.api(mute("alice", "TR_none", true)),
        Ok(ApiReply::Track(None))
    ));
    assert!(matches!(
        world.api(mute("bob", &sid, true)),
        Ok(ApiReply::Track(None))
    ));
    assert_eq!(
        failure(&mut world, mute("nobody", &sid, true)).0,
        ApiErrorCode::NoTarget
    );
}

#[test]
fn remote_unmute_must_be_enabled() {
    let (mut world, _, _, sid) = call();
    assert_eq!(
        failure(&mut world, mute("alice", &sid, false)),
        (
            ApiErrorCode::FailedPrecondition,
            "remote unmute not enabled".to_owned()
        )
    );
    let mut world = World::with({
        let mut config = config();
        config.remote_unmute = true;
        config
    });
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    assert!(world.api(mute("alice", &sid, true)).is_ok());
    let Ok(ApiReply::Track(Some(track))) = world.api(mute("alice", &sid, false)) else {
        panic!("a track");
    };
    assert!(!track.muted);
}

#[test]
fn a_participant_is_updated_field_by_field() {
    let (mut world, alice, bob, _) = call();
    let request = proto::UpdateParticipantRequest {
        identity: "bob".to_owned(),
        name: "B".to_owned(),
        metadata: "m".to_owned(),
        attributes: [("a".to_owned(), "1".to_owned())].into(),
        permission: Some(proto::ParticipantPermission {
            can_publish: true,
            can_subscribe: true,
            can_publish_sources: vec![proto::TrackSource::Camera.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    let Ok(ApiReply::Participant(info)) = world.api(ApiCall::UpdateParticipant(Box::new(request))) else {
        panic!("a participant");
    };
    assert_eq!((info.name.as_str(), info.metadata.as_str()), ("B", "m"));
    assert!(!info.permission.expect("a permission").can_publish_data);
    assert_eq!(
        world.names(&bob),
        ["update(bob=ACTIVE) refresh_token"; 4].join(" ") + " room_update",
        "permission to publish makes a publisher"
    );
    assert_eq!(
        world.names(&alice),
        ["update(bob=ACTIVE)"; 4].join(" ") + " room_update"
    );
    let grant = world
        .tokens
        .last()
        .expect("a token")
        .1
        .video
        .clone()
        .expect("a grant");
    assert_eq!(grant.can_publish_data, Some(false));
    assert_eq!(grant.can_publish_sources, ["camera"]);
}

#[test]
fn updates_are_checked_before_the_participant_is_looked_up() {
    let mut world = World::new();
    let request = proto::UpdateParticipantRequest {
        identity: "nobody".to_owned(),
        name: "n".repeat(257),
        ..Default::default()
    };
    let Err(error) = world.api(ApiCall::UpdateParticipant(Box::new(request))) else {
        panic!("an error");
    };
    assert_eq!(error.code, ApiErrorCode::InvalidArgument);
    assert_eq!(error.message, "name length exceeds limits 256");
    assert_eq!(
        error.meta,
        [("argument".to_owned(), "name length exceeds limits".to_owned())]
    );
    let request = proto::UpdateParticipantRequest {
        identity: "nobody".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        failure(&mut world, ApiCall::UpdateParticipant(Box::new(request))),
        (ApiErrorCode::NotFound, "participant does not exist".to_owned())
    );
}

fn permit(world: &mut World, identity: &str, publish: bool, subscribe: bool) {
    let request = proto::UpdateParticipantRequest {
        identity: identity.to_owned(),
        permission: Some(proto::ParticipantPermission {
            can_publish: publish,
            can_subscribe: subscribe,
            can_publish_data: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    world
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .expect("updated");
}

#[test]
fn revoking_publishing_unpublishes() {
    let (mut world, alice, bob, sid) = call();
    permit(&mut world, "alice", false, true);
    let messages = world.take(&alice);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "update(alice=ACTIVE) track_unpublished update(alice=ACTIVE) refresh_token"
    );
    let Response::TrackUnpublished(unpublished) = &messages[1] else {
        panic!("track_unpublished");
    };
    assert_eq!(unpublished.track_sid, sid);
    let info = world.info("alice");
    assert!(info.tracks.is_empty() && !info.is_publisher);
    assert!(world.names(&bob).starts_with("update(alice=ACTIVE)"));
    for wanted in [
        |command: &Command| matches!(command, Command::Unpublish { .. }),
        |command: &Command| matches!(command, Command::Unsubscribe { .. }),
    ] {
        assert!(world.commands.iter().any(|(_, command)| wanted(command)));
    }
}

#[test]
fn revoking_subscribing_takes_all_tracks_and_restoring_brings_them_back() {
    let (mut world, _, bob, _) = call();
    permit(&mut world, "bob", true, false);
    assert!(
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Unsubscribe { .. }))
    );
    world.pass_ms(200);
    world.answer(&bob);
    world.forget();
    permit(&mut world, "bob", true, true);
    world.pass_ms(200);
    assert!(world.names(&bob).ends_with("offer"));
    world.answer(&bob);
}

#[test]
fn tracks_named_by_their_participants_are_subscribed_to() {
    let (mut world, _, bob, sid) = call();
    let participant_sid = world.info("alice").sid;
    let update = |subscribe| {
        ApiCall::UpdateSubscriptions(Box::new(proto::UpdateSubscriptionsRequest {
            identity: "bob".to_owned(),
            participant_tracks: vec![proto::ParticipantTracks {
                participant_sid: participant_sid.clone(),
                track_sids: vec![sid.clone()],
            }],
            subscribe,
            ..Default::default()
        }))
    };
    assert!(matches!(world.api(update(false)), Ok(ApiReply::Empty)));
    let ended = |command: &Command| matches!(command, Command::Unsubscribe { .. });
    assert!(world.commands.iter().any(|(_, command)| ended(command)));
    assert!(matches!(world.api(update(true)), Ok(ApiReply::Empty)));
    assert!(world.names(&bob).contains("permission:true"));
}

#[test]
fn subscriptions_are_updated_for_a_participant() {
    let (mut world, _, bob, sid) = call();
    let update = |identity: &str, subscribe| {
        ApiCall::UpdateSubscriptions(Box::new(proto::UpdateSubscriptionsRequest {
            identity: identity.to_owned(),
            track_sids: vec![sid.clone(), "TR_none".to_owned()],
            subscribe,
            ..Default::default()
        }))
    };
    assert!(matches!(world.api(update("bob", false)), Ok(ApiReply::Empty)));
    assert!(
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Unsubscribe { .. }))
    );
    assert!(matches!(world.api(update("bob", true)), Ok(ApiReply::Empty)));
    assert!(world.names(&bob).contains("permission:true"));
    assert_eq!(
        failure(&mut world, update("nobody", true)).0,
        ApiErrorCode::NoTarget
    );
}

#[test]
fn data_is_sent_without_a_sender_and_nonces_are_checked() {
    use prost::Message as _;
    let (mut world, alice, _, _) = call();
    let send = |nonce: Vec<u8>| {
        ApiCall::SendData(Box::new(proto::SendDataRequest {
            data: b"hi".to_vec(),
            topic: Some("t".to_owned()),
            destination_identities: vec!["alice".to_owned()],
            nonce,
            ..Default::default()
        }))
    };
    assert!(matches!(world.api(send(vec![1; 16])), Ok(ApiReply::Empty)));
    let sent = |world: &World| {
        world
            .commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::SendMessage { peers, data, .. } => Some((peers.clone(), data.clone())),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let messages = sent(&world);
    assert_eq!(messages[0].0, [alice.primary()]);
    let packet = proto::DataPacket::decode(&messages[0].1[..]).expect("a packet");
    assert!(packet.participant_sid.is_empty() && packet.sequence == 0);
    let Some(proto::data_packet::Value::User(user)) = packet.value else {
        panic!("a user packet");
    };
    assert_eq!((user.payload, user.topic), (b"hi".to_vec(), Some("t".to_owned())));
    assert!(world.api(send(vec![1; 16])).is_ok());
    assert_eq!(sent(&world).len(), 1, "the nonce was seen");
    assert_eq!(
        failure(&mut world, send(vec![1; 5])),
        (
            ApiErrorCode::InvalidArgument,
            "nonce should be 16-bytes or not present, got: 5 bytes".to_owned()
        )
    );
}

#[test]
fn data_reaches_those_whose_sid_or_identity_is_named() {
    let (mut world, alice, bob, _) = call();
    let carol = world.enter(wish("carol"));
    world.forget();
    let sid = |world: &mut World, identity: &str| world.info(identity).sid;
    let (alice_sid, bob_sid) = (sid(&mut world, "alice"), sid(&mut world, "bob"));
    let all = vec![alice.primary(), bob.primary(), carol.primary()];
    for (sids, identities, mut expected) in [
        (vec![alice_sid], vec![], vec![alice.primary()]),
        (
            vec![bob_sid, "PA_nobody".to_owned()],
            vec!["carol".to_owned()],
            vec![bob.primary(), carol.primary()],
        ),
        (vec!["PA_nobody".to_owned()], vec![], vec![]),
        (vec![], vec![], all),
    ] {
        let request = proto::SendDataRequest {
            data: b"hi".to_vec(),
            destination_sids: sids.clone(),
            destination_identities: identities,
            ..Default::default()
        };
        assert!(matches!(
            world.api(ApiCall::SendData(Box::new(request))),
            Ok(ApiReply::Empty)
        ));
        let reached = world.commands.iter().filter_map(|(_, command)| match command {
            Command::SendMessage { peers, .. } => Some(peers.clone()),
            _ => None,
        });
        let mut reached: Vec<_> = reached.flatten().collect();
        reached.sort_unstable();
        expected.sort_unstable();
        assert_eq!(reached, expected, "{sids:?}");
        world.forget();
    }
}

#[test]
fn room_metadata_is_told_and_listed_at_once() {
    let (mut world, alice, bob, _) = call();
    let Ok(ApiReply::Room(room)) = world.api(ApiCall::UpdateRoomMetadata {
        metadata: "rm".to_owned(),
    }) else {
        panic!("a room");
    };
    assert_eq!(room.metadata, "rm");
    for client in [&alice, &bob] {
        let messages = world.take(client);
        let [Response::RoomUpdate(update)] = &messages[..] else {
            panic!("a room update, not {messages:?}");
        };
        assert_eq!(update.room.as_ref().expect("a room").metadata, "rm");
    }
    assert_eq!(world.listed.last().map(|room| room.metadata.as_str()), Some("rm"));
    assert_eq!(
        failure(
            &mut world,
            ApiCall::UpdateRoomMetadata {
                metadata: "m".repeat(512 * 1024 + 1)
            }
        )
        .0,
        ApiErrorCode::InvalidArgument
    );
}

/// Version, whether it publishes, and how many tracks, of every update about somebody.
fn told_of(messages: &[Response], identity: &str) -> Vec<(u32, bool, usize)> {
    let updates = messages.iter().filter_map(|message| match message {
        Response::Update(update) => Some(&update.participants),
        _ => None,
    });
    let infos = updates.flatten().filter(|info| info.identity == identity);
    infos
        .map(|info| (info.version, info.is_publisher, info.tracks.len()))
        .collect()
}

#[test]
fn a_permission_is_told_as_the_reference_does() {
    let (mut world, alice, bob, _) = call();
    world.pass_ms(6_000);
    world.forget();
    // Who may publish and is connected for it becomes a publisher, and is counted at once.
    let before = world.info("bob").version;
    permit(&mut world, "bob", true, false);
    let messages = world.take(&bob);
    assert_eq!(told_of(&messages, "bob"), [(before + 1, true, 0)]);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(names, ["update(bob=ACTIVE)", "refresh_token", "room_update"]);

    // Tracks are gone in a first update, the publisher in a second one of the same version.
    world.forget();
    let before = world.info("alice").version;
    permit(&mut world, "alice", false, true);
    let expected = [(before + 1, true, 0), (before + 1, false, 0)];
    assert_eq!(told_of(&world.take(&bob), "alice"), expected);
    let names: Vec<_> = world.take(&alice).iter().map(crate::world::name).collect();
    assert_eq!(
        names,
        [
            "update(alice=ACTIVE)",
            "track_unpublished",
            "update(alice=ACTIVE)",
            "refresh_token"
        ]
    );
}
