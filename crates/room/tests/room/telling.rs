//! How fast changes are told: nobody makes the server send more to the others than it should, and the
//! last value always arrives.

use crate::data_tracks;
use crate::world::{Client, World, grant, microphone, wish};
use prost::Message;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::{ApiCall, Join, Pressure};

/// Small changes that one sender may make at once, and in each second that follows.
const BURST: usize = 90;
const PER_SECOND: usize = 11;

fn mallory() -> Join {
    let mut join = wish("mallory");
    grant(&mut join).can_update_own_metadata = Some(true);
    join
}

fn arrange() -> (World, Client, Client) {
    let mut world = World::new();
    let mallory = world.enter(mallory());
    let bob = world.enter(wish("bob"));
    world.pass_ms(10_000);
    world.forget();
    (world, mallory, bob)
}

fn update(name: &str, metadata: &str) -> Request {
    Request::UpdateMetadata(proto::UpdateParticipantMetadata {
        name: name.to_owned(),
        metadata: metadata.to_owned(),
        request_id: 7,
        ..Default::default()
    })
}

fn rule(all_participants: bool) -> Request {
    Request::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants,
        ..Default::default()
    })
}

/// What a client was told of somebody.
fn told_of<'a>(messages: &'a [Response], identity: &'a str) -> Vec<&'a proto::ParticipantInfo> {
    let updates = messages.iter().filter_map(|message| match message {
        Response::Update(update) => Some(&update.participants),
        _ => None,
    });
    updates
        .flatten()
        .filter(|info| info.identity == identity)
        .collect()
}

fn bytes(messages: &[Response]) -> usize {
    let responses = messages.iter().map(|message| proto::SignalResponse {
        message: Some(message.clone()),
    });
    responses.map(|response| response.encoded_len()).sum()
}

fn answers(messages: &[Response], reason: proto::request_response::Reason) -> usize {
    let is = |message: &&Response| matches!(message, Response::RequestResponse(response) if response.reason() == reason);
    messages.iter().filter(is).count()
}

#[test]
fn a_change_for_many_is_encoded_once() {
    let (mut world, mallory, _bob) = arrange();
    for index in 0..50 {
        world.enter(wish(&format!("listener{index}")));
    }
    world.pass_ms(10_000);
    world.encoded = 0;
    world.request(&mallory, update("M", ""));
    // The update for everybody, and the answer to the one who asked; tokens are signed by the shell.
    assert_eq!(world.encoded, 2);
}

#[test]
fn name_changes_at_full_speed_are_told_some_ten_times_a_second_and_the_last_arrives() {
    let (mut world, mallory, bob) = arrange();
    for index in 0..10_000 {
        world.request(&mallory, update(&index.to_string(), ""));
        world.pass_ms(1);
    }
    world.pass_ms(1_000);
    let (messages, own) = (world.take(&bob), world.take(&mallory));
    let told = told_of(&messages, "mallory");
    assert!(told.len() > 100, "{}", told.len());
    assert!(told.len() <= BURST + 11 * PER_SECOND, "{}", told.len());
    assert_eq!(told.last().map(|info| info.name.as_str()), Some("9999"));
    assert_eq!(told_of(&own, "mallory").len(), told.len());
    assert_eq!(answers(&own, proto::request_response::Reason::Ok), 10_000);
    assert_eq!(world.tokens.len(), told.len());
    let (_, last, _) = world.tokens.last().expect("tokens");
    assert_eq!(last.name, "9999");
    assert!(world.room.stats().changes_delayed > 9_000);
}

#[test]
fn large_metadata_is_told_as_often_as_its_bytes_allow_and_the_last_arrives() {
    let (mut world, mallory, bob) = arrange();
    let long = "m".repeat(500_000);
    for index in 0..80 {
        world.request(&mallory, update("", &format!("{index:03}{long}")));
        world.pass_ms(10);
    }
    world.pass_ms(10_000);
    let (messages, own) = (world.take(&bob), world.take(&mallory));
    let told = told_of(&messages, "mallory");
    assert!(told.last().is_some_and(|info| info.metadata.starts_with("079m")));
    assert!(bytes(&messages) < 5 << 20, "{}", bytes(&messages));
    // The answers do not repeat what was sent.
    assert_eq!(answers(&own, proto::request_response::Reason::Ok), 80);
    assert!(bytes(&own) < 5 << 20, "{}", bytes(&own));
    assert!(world.tokens.len() <= told.len());
}

#[test]
fn mute_flips_are_gathered_and_the_last_one_arrives() {
    let (mut world, mallory, bob) = arrange();
    let sid = world.publish(&mallory, microphone("mic"));
    world.pass_ms(1_000);
    world.forget();
    for round in 0..5_001 {
        let muted = round % 2 == 0;
        let request = proto::MuteTrackRequest {
            sid: sid.clone(),
            muted,
        };
        world.request(&mallory, Request::Mute(request));
        world.pass_ms(1);
    }
    world.pass_ms(1_000);
    let messages = world.take(&bob);
    let told = told_of(&messages, "mallory");
    assert!(told.len() <= BURST + 6 * PER_SECOND, "{}", told.len());
    assert!(told.last().is_some_and(|info| info.tracks[0].muted));
}

#[test]
fn data_tracks_announced_at_full_speed_are_given_in_batches_and_all_arrive() {
    let (mut world, mallory, _bob) = arrange();
    let mut join = wish("carol");
    join.settings.auto_subscribe_data_track = true;
    let carol = world.enter(join);
    world.forget();
    for handle in 1..=1_000 {
        world.request(&mallory, data_tracks::publish(handle, &format!("t{handle}")));
        world.pass_ms(1);
    }
    world.pass_ms(10_000);
    let messages = world.take(&carol);
    let handles: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Response::DataTrackSubscriberHandles(handles) => Some(handles.sub_handles.len()),
            _ => None,
        })
        .collect();
    assert!(handles.len() <= BURST + 20, "{}", handles.len());
    assert_eq!(handles.last(), Some(&1_000));
    let told = told_of(&messages, "mallory");
    assert_eq!(told.last().map(|info| info.data_tracks.len()), Some(1_000));
    assert!(bytes(&messages) < 8 << 20, "{}", bytes(&messages));
}

#[test]
fn a_rule_switched_at_full_speed_is_applied_now_and_then_and_the_last_one_stands() {
    for last in [true, false] {
        let (mut world, mallory, _bob) = arrange();
        let mut join = wish("carol");
        join.settings.auto_subscribe_data_track = true;
        let carol = world.enter(join);
        for handle in 1..=200 {
            world.request(&mallory, data_tracks::publish(handle, &format!("t{handle}")));
        }
        world.pass_ms(30_000);
        world.forget();
        world.permissions = Default::default();
        for round in 0..1_000 {
            let all = (round % 2 == 0) != last;
            world.request_unchecked(&mallory, rule(all));
        }
        world.pass_ms(30_000);
        let messages = world.take(&carol);
        let permissions: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                Response::SubscriptionPermissionUpdate(update) => Some(update.allowed),
                _ => None,
            })
            .collect();
        assert!(permissions.len() <= 200 * 100, "{}", permissions.len());
        let handles = messages.iter().rev().find_map(|message| match message {
            Response::DataTrackSubscriberHandles(handles) => Some(handles.sub_handles.len()),
            _ => None,
        });
        if let Some(told) = permissions.last() {
            assert_eq!(*told, last);
            assert_eq!(handles, Some(if last { 200 } else { 0 }));
        } else {
            assert!(last, "nothing changed");
        }
    }
}

#[test]
fn who_comes_and_goes_at_full_speed_is_told_in_batches_exactly() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    world.pass_ms(10_000);
    world.forget();
    let long = "m".repeat(400_000);
    let mut last = String::new();
    for round in 0..300 {
        let client = world.join(mallory());
        world.request(&client, update("", &format!("{round}{long}")));
        // A publisher is told of at once.
        world.request(&client, data_tracks::publish(1, "t"));
        last = world.info("mallory").sid;
        if round < 299 {
            world.request(&client, Request::Leave(proto::LeaveRequest::default()));
        }
        world.pass_ms(10);
    }
    world.pass_ms(10_000);
    let messages = world.take(&bob);
    assert!(bytes(&messages) < 12 << 20, "{}", bytes(&messages));
    let mut present = std::collections::BTreeSet::new();
    for info in told_of(&messages, "mallory") {
        if info.state() == proto::participant_info::State::Disconnected {
            present.remove(&info.sid);
        } else {
            // The client knows participants by identity: a new session takes the old one's place.
            present.clear();
            present.insert(info.sid.clone());
        }
    }
    assert_eq!(present.into_iter().collect::<Vec<_>>(), [last]);
}

#[test]
fn metadata_of_the_room_is_gathered_and_the_last_arrives() {
    let (mut world, _mallory, bob) = arrange();
    let long = "m".repeat(500_000);
    for index in 0..80 {
        let metadata = format!("{index:03}{long}");
        world
            .api(ApiCall::UpdateRoomMetadata { metadata })
            .expect("is done");
        world.pass_ms(10);
    }
    world.pass_ms(10_000);
    let messages = world.take(&bob);
    assert!(bytes(&messages) < 5 << 20, "{}", bytes(&messages));
    let last = messages.iter().rev().find_map(|message| match message {
        Response::RoomUpdate(update) => update.room.clone(),
        _ => None,
    });
    assert!(last.is_some_and(|room| room.metadata.starts_with("079m")));
    let listed = world.listed.last().expect("it is listed");
    assert!(listed.metadata.starts_with("079m"));
}

#[test]
fn while_much_waits_changes_wait_and_while_all_does_they_are_refused() {
    let (mut world, mallory, bob) = arrange();
    world.room.handle_pressure(Pressure::High);
    world.request(&mallory, update("waits", ""));
    world.pass_ms(5_000);
    assert_eq!(world.names(&bob), "");
    assert_eq!(world.info("mallory").name, "waits");
    world.room.handle_pressure(Pressure::Full);
    let long = "m".repeat(50_000);
    world.take(&mallory);
    world.request(&mallory, update("", &long));
    let refused = proto::request_response::Reason::LimitExceeded;
    assert_eq!(answers(&world.take(&mallory), refused), 1);
    assert_eq!(world.room.stats().changes_refused, 1);
    world.room.handle_pressure(Pressure::Low);
    world.pass_ms(200);
    let messages = world.take(&bob);
    let told = told_of(&messages, "mallory");
    assert_eq!(
        told.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(),
        ["waits"]
    );
}

#[test]
fn a_room_holds_so_much_of_all_and_has_room_for_those_with_little() {
    let mut world = World::new();
    let big = |index: usize, bytes: usize| {
        let mut join = wish(&format!("p{index}"));
        grant(&mut join).can_update_own_metadata = Some(true);
        join.claims.metadata = "m".repeat(bytes);
        join
    };
    for index in 0..16 {
        world.join(big(index, 510_000));
    }
    let last = world.join(big(20, 100_000));
    assert!(world.refused.is_empty());
    world.join(big(16, 500_000));
    assert_eq!(world.refused.len(), 1, "8 MiB of large ones");
    world.forget();
    let refused = proto::request_response::Reason::LimitExceeded;
    world.request(&last, update("", &"m".repeat(300_000)));
    assert_eq!(answers(&world.take(&last), refused), 1);
    world.request(&last, update("", &"m".repeat(50_000)));
    assert_eq!(answers(&world.take(&last), refused), 0);
    world.join(big(17, 10_000));
    world.join(big(18, 0));
    assert_eq!(world.refused.len(), 1);
    let newcomer = world.join(wish("newcomer"));
    let joined = bytes(&world.take(&newcomer));
    assert!(joined < 9 << 20, "{joined}");
}

#[test]
fn departures_with_much_metadata_are_little_to_who_comes_back() {
    let (mut world, _mallory, bob) = arrange();
    world.apply(room::Action::SignalClosed {
        connection: bob.connection,
    });
    let long = "m".repeat(500_000);
    for index in 0..45 {
        let mut join = mallory();
        join.claims.identity = format!("mallory{}", index % 9);
        let client = world.join(join);
        world.request(&client, update("", &long));
        world.request(&client, Request::Leave(proto::LeaveRequest::default()));
    }
    world.pass_ms(1_000);
    let again = world.resume(&bob, wish("bob"));
    let messages = world.take(&again);
    assert!(bytes(&messages) < 16 << 10, "{}", bytes(&messages));
    for index in 0..9 {
        let identity = format!("mallory{index}");
        let told = told_of(&messages, &identity);
        let [gone] = told[..] else { panic!("{told:?}") };
        assert_eq!(gone.state(), proto::participant_info::State::Disconnected);
        assert!(gone.sid.starts_with("PA_"));
    }
}
