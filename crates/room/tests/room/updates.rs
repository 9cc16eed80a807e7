//! Who is told of whom, and when.

use crate::world::{World, config, grant, microphone, wish};
use prost::Message;
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeSet;

#[test]
fn pure_subscribers_are_reported_in_batches_of_three_seconds() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.pass_ms(3_000);
    world.forget();
    world.pass_ms(500);
    world.enter(wish("bob"));
    world.enter(wish("carol"));
    assert_eq!(world.names(&alice), "");
    world.pass_ms(2_400);
    assert!(!world.names(&alice).contains("update("));
    world.pass_ms(200);
    assert_eq!(world.names(&alice), "update(bob=ACTIVE,carol=ACTIVE)");
}

#[test]
fn publishers_are_reported_at_once_to_everybody_and_themselves() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(6_000);
    world.forget();
    world.publish(&alice, microphone("mic"));
    assert!(world.names(&alice).contains("update(alice=ACTIVE)"));
    assert!(
        world
            .names(&bob)
            .starts_with("update(alice=ACTIVE) permission:true")
    );
}

#[test]
fn versions_grow_by_one_per_change_that_was_told() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    assert_eq!(world.info("alice").version, 2, "JOINED, ACTIVE");
    world.publish(&alice, microphone("mic"));
    let mut last = 0;
    for message in world.take(&bob) {
        let Response::Update(update) = message else {
            continue;
        };
        for info in update.participants.iter().filter(|info| info.identity == "alice") {
            assert!(info.version > last, "never back");
            last = info.version;
        }
    }
    assert_eq!(last, 3);
}

#[test]
fn hidden_participants_are_told_to_themselves_only() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut ghost = wish("ghost");
    grant(&mut ghost).hidden = true;
    let ghost = world.enter(ghost);
    world.pass_ms(3_100);
    assert!(!world.names(&alice).contains("ghost"));
    assert!(world.names(&ghost).contains("ghost=ACTIVE"));
}

#[test]
fn large_batches_are_split_near_the_configured_size() {
    let mut world = World::with({
        let mut config = config();
        config.update_batch_bytes = 300;
        config
    });
    let alice = world.enter(wish("alice"));
    for number in 0..10 {
        world.enter(wish(&format!("participant-{number}")));
    }
    world.forget();
    world.pass_ms(3_000);
    let updates: Vec<_> = world
        .take(&alice)
        .into_iter()
        .filter_map(|message| match message {
            Response::Update(update) => Some(update.participants.len()),
            _ => None,
        })
        .collect();
    assert!(updates.len() > 2, "{updates:?}");
    assert_eq!(updates.iter().sum::<usize>(), 11);
}

#[test]
fn five_hundred_joins_are_told_in_messages_of_the_configured_size() {
    let mut world = World::new();
    let target = config().update_batch_bytes;
    assert_eq!(target, 128 * 1024);
    let alice = world.enter(wish("alice"));
    world.pass_ms(3_000);
    world.forget();
    for number in 0..500 {
        let mut join = wish(&format!("participant-{number}"));
        join.metadata = Some("m".repeat(1_024));
        let client = world.enter(join);
        // So that only one is told of all: this one may still come back.
        world.apply(room::Action::SignalClosed {
            connection: client.connection,
        });
        world.take(&client);
    }
    world.pass_ms(3_000);
    let check = |messages: Vec<Response>, expected: usize| {
        let updates: Vec<_> = messages
            .into_iter()
            .filter_map(|message| match message {
                Response::Update(update) => Some(update),
                _ => None,
            })
            .collect();
        let infos = || updates.iter().flat_map(|update| &update.participants);
        let names: BTreeSet<_> = infos().map(|info| info.identity.as_str()).collect();
        assert_eq!((infos().count(), names.len()), (expected, expected), "each once");
        assert!(infos().all(|info| info.state() == proto::participant_info::State::Active));
        let largest = infos().map(Message::encoded_len).max().expect("some");
        for (position, update) in updates.iter().enumerate() {
            let bytes = update.encoded_len();
            assert!(bytes <= target + largest, "{bytes}");
            let is_last = position + 1 == updates.len();
            assert!(
                is_last || bytes + largest > target,
                "{bytes}: not split too early"
            );
        }
        assert!(updates.len() >= 4, "{}", updates.len());
    };
    check(world.take(&alice), 500);
    let again = world.resume(&alice, wish("alice"));
    check(world.take(&again), 501);
}

#[test]
fn counts_are_told_at_most_every_five_seconds_and_without_agents() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, microphone("mic"));
    let mut agent = wish("bot");
    agent.claims.kind = "agent".to_owned();
    world.enter(agent);
    world.forget();
    world.pass_ms(4_900);
    assert!(!world.names(&alice).contains("room_update"));
    world.pass_ms(200);
    let rooms: Vec<_> = world
        .take(&alice)
        .into_iter()
        .filter_map(|message| match message {
            Response::RoomUpdate(update) => update.room,
            _ => None,
        })
        .collect();
    assert_eq!(rooms.len(), 1);
    assert_eq!((rooms[0].num_participants, rooms[0].num_publishers), (1, 1));
    assert_eq!(world.listed.last(), rooms.last(), "lists follow");
    world.pass_ms(20_000);
    assert_eq!(
        world.names(&alice).matches("room_update").count(),
        0,
        "nothing changed"
    );
}

#[test]
fn a_recorder_is_told_at_once() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let mut recorder = wish("rec");
    recorder.claims.kind = "egress".to_owned();
    grant(&mut recorder).recorder = true;
    grant(&mut recorder).hidden = true;
    world.join(recorder);
    let messages = world.take(&alice);
    let [Response::RoomUpdate(proto::RoomUpdate { room: Some(room) })] = &messages[..] else {
        panic!("a room update, not {messages:?}");
    };
    assert!(room.active_recording);
    assert_eq!(room.num_participants, 1);
}
