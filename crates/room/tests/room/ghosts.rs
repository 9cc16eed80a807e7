//! Nobody is shown who is gone, nobody is missed who is here. The lists of all clients are looked at in
//! every test, whenever nothing waits to be told (`World::rosters`); here are the histories that are
//! hard on them.

use crate::data_tracks::publish;
use crate::world::{Client, World, config, grant, microphone, wish};
use protocol::proto;
use protocol::proto::client_info::Sdk;
use protocol::proto::signal_request::Message as Request;
use room::action::Resume;
use room::{Action, ApiCall, Join, Pressure};
use std::time::Duration;

/// Small changes after which a sender has to wait.
const BURST: usize = 90;

fn ann() -> Join {
    let mut join = wish("ann");
    grant(&mut join).can_update_own_metadata = Some(true);
    join
}

/// Watchers of every kind.
fn watch(world: &mut World) -> Vec<Client> {
    let kinds = [(Sdk::Js, 17), (Sdk::Rust, 12), (Sdk::Unknown, 15), (Sdk::Js, 11)];
    let watchers = kinds.map(|(sdk, protocol)| {
        let mut join = wish(&format!("{}{protocol}", sdk.as_str_name()));
        join.client.sdk = sdk.into();
        join.client.protocol = protocol;
        join.client.version = "2.0.0".to_owned();
        // It has nothing to answer.
        join.settings.auto_subscribe = false;
        world.enter(join)
    });
    world.pass_ms(3_100);
    watchers.into()
}

fn change(world: &mut World, client: &Client, name: &str) {
    let update = proto::UpdateParticipantMetadata {
        name: name.to_owned(),
        ..Default::default()
    };
    world.request(client, Request::UpdateMetadata(update));
}

fn leave(world: &mut World, client: &Client) {
    world.request(client, Request::Leave(proto::LeaveRequest::default()));
}

fn hide(world: &mut World, identity: &str, hidden: bool) {
    let request = proto::UpdateParticipantRequest {
        identity: identity.to_owned(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            can_publish_data: true,
            can_update_metadata: true,
            hidden,
            ..Default::default()
        }),
        ..Default::default()
    };
    let _ = world
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .expect("is here");
}

/// Everything is told; every list is looked at.
fn settle(world: &mut World) {
    world.pass_ms(10_000);
    world.find("ann");
    assert_eq!(world.room.gauges().untold, 0);
    assert!(world.rosters.checks() > 0, "nobody looked");
}

#[test]
fn who_leaves_and_is_back_at_once_is_seen_once() {
    for pause_ms in [0, 1, 100, 290, 1_000, 3_100] {
        let mut world = World::new();
        watch(&mut world);
        for turn in 0..15 {
            let client = world.join(ann());
            world.pass_ms(pause_ms);
            match turn % 3 {
                0 => leave(&mut world, &client),
                1 => world.apply(Action::SignalClosed {
                    connection: client.connection,
                }),
                // It is noticed when the next one comes.
                _ => {}
            }
            world.pass_ms(pause_ms / 2);
        }
        settle(&mut world);
        world.join(ann());
        settle(&mut world);
    }
}

#[test]
fn the_end_of_a_session_is_told_before_the_state_of_the_next_one() {
    let mut world = World::new();
    watch(&mut world);
    let first = world.enter(ann());
    for index in 0..BURST {
        change(&mut world, &first, &index.to_string());
    }
    world.pass_ms(3_000);
    for index in 0..BURST {
        change(&mut world, &first, &index.to_string());
    }
    leave(&mut world, &first);
    // It may tell nothing yet: the end of the first session waits with its own first state.
    let second = world.join(ann());
    assert!(world.room.gauges().untold > 1);
    world.pass_ms(500);
    change(&mut world, &second, "back");
    settle(&mut world);
}

#[test]
fn a_change_that_waits_is_told_although_an_older_state_waits_with_the_batch() {
    let mut world = World::new();
    watch(&mut world);
    let client = world.join(ann());
    // The next batch goes out at six seconds.
    world.pass_ms(2_850);
    for index in 0..BURST {
        change(&mut world, &client, &index.to_string());
    }
    world.connect(&client);
    change(&mut world, &client, "last");
    settle(&mut world);
    assert_eq!(world.info("ann").name, "last");
}

#[test]
fn a_session_that_a_hidden_one_replaces_is_taken_away() {
    let mut world = World::new();
    watch(&mut world);
    world.enter(ann());
    settle(&mut world);
    let mut hidden = ann();
    grant(&mut hidden).hidden = true;
    let hidden = world.join(hidden);
    settle(&mut world);
    world.connect(&hidden);
    settle(&mut world);
    leave(&mut world, &hidden);
    settle(&mut world);
}

#[test]
fn a_session_whose_successor_is_refused_is_taken_away() {
    let mut world = World::with({
        let mut config = config();
        config.max_participants = 4;
        config
    });
    watch(&mut world);
    let mut agent = ann();
    agent.claims.kind = "agent".to_owned();
    world.enter(agent);
    settle(&mut world);
    world.join(ann());
    assert_eq!(world.refused.len(), 1);
    settle(&mut world);
}

#[test]
fn who_hides_is_taken_away_and_who_shows_itself_again_is_there() {
    let mut world = World::new();
    let watchers = watch(&mut world);
    let client = world.enter(ann());
    world.publish(&client, microphone("mic"));
    settle(&mut world);
    world.apply(Action::SignalClosed {
        connection: watchers[0].connection,
    });
    hide(&mut world, "ann", true);
    settle(&mut world);
    // Who was away meanwhile is told when it is back, and who comes anew never knew.
    world.resume(&watchers[0], wish("JS17"));
    world.enter(wish("new"));
    settle(&mut world);
    hide(&mut world, "ann", false);
    settle(&mut world);
    hide(&mut world, "ann", true);
    hide(&mut world, "ann", false);
    settle(&mut world);
    hide(&mut world, "ann", true);
    leave(&mut world, &client);
    settle(&mut world);
}

#[test]
fn who_hides_while_it_may_tell_nothing_and_leaves_is_taken_away() {
    let mut world = World::new();
    watch(&mut world);
    let client = world.enter(ann());
    settle(&mut world);
    for index in 0..2 * BURST {
        change(&mut world, &client, &index.to_string());
    }
    hide(&mut world, "ann", true);
    leave(&mut world, &client);
    settle(&mut world);
}

#[test]
fn who_hides_before_it_was_told_of_is_never_told_of() {
    let mut world = World::new();
    let watchers = watch(&mut world);
    world.forget();
    world.join(ann());
    hide(&mut world, "ann", true);
    settle(&mut world);
    let told = world.names(&watchers[0]);
    assert!(
        !told.contains("ann=ACTIVE") && !told.contains("ann=JOINED"),
        "{told}"
    );
}

#[test]
fn a_departure_that_an_old_connection_may_not_have_delivered_is_told_again() {
    for unread in [true, false] {
        let mut world = World::new();
        let watchers = watch(&mut world);
        let watcher = &watchers[0];
        let client = world.enter(ann());
        settle(&mut world);
        let before = world.now.monotonic;
        leave(&mut world, &client);
        world.pass_ms(20_000);
        // It still writes, but does not read.
        change(&mut world, watcher, "denied");
        if unread {
            world.room.handle_unread(watcher.connection, before);
        }
        world.apply(Action::SignalClosed {
            connection: watcher.connection,
        });
        let again = world.resume(watcher, wish("JS17"));
        let told = world.names(&again);
        assert_eq!(told.contains("ann=DISCONNECTED"), unread, "{told}");
    }
}

#[test]
fn who_hides_while_it_may_tell_nothing_is_taken_away_by_a_batch_that_comes_first() {
    let mut world = World::new();
    let start = world.now.monotonic;
    watch(&mut world);
    let client = world.join(ann());
    settle(&mut world);
    // The next batch goes out in 50 ms, before it is looked whether the sender may tell more.
    let age_ms = (world.now.monotonic - start).as_millis() as u64;
    world.pass_ms(5_950 - age_ms % 3_000);
    for index in 0..2 * BURST {
        change(&mut world, &client, &index.to_string());
    }
    // Its new state waits with the batch when it hides.
    world.connect(&client);
    hide(&mut world, "ann", true);
    settle(&mut world);
}

#[test]
fn a_hidden_publisher_knows_that_it_is_one_although_the_end_of_its_earlier_session_waits() {
    let mut world = World::new();
    watch(&mut world);
    let mut hidden = ann();
    grant(&mut hidden).hidden = true;
    world.join(wish("ann"));
    let client = world.join(hidden);
    world.request(&client, publish(1, "frames"));
    assert!(world.info("ann").is_publisher);
    settle(&mut world);
}

#[test]
fn a_departure_is_missed_by_who_was_lost_when_it_was_told_not_when_it_happened() {
    let mut world = World::new();
    let watchers = watch(&mut world);
    let client = world.enter(ann());
    settle(&mut world);
    world.room.handle_pressure(Pressure::High);
    leave(&mut world, &client);
    world.pass_ms(20_000);
    assert!(world.room.gauges().untold > 0);
    let before = world.now.monotonic;
    world.room.handle_pressure(Pressure::Low);
    settle(&mut world);
    let watcher = &watchers[0];
    world.room.handle_unread(watcher.connection, before);
    change(&mut world, watcher, "denied");
    world.apply(Action::SignalClosed {
        connection: watcher.connection,
    });
    let again = world.resume(watcher, wish("JS17"));
    let told = world.names(&again);
    assert!(told.contains("ann=DISCONNECTED"), "{told}");
}

#[test]
fn what_is_told_at_a_resume_is_told_again_if_that_connection_is_lost_as_well() {
    // What the shell says of the first of two resumes: nothing was sent, nothing was read, all was.
    for (unread_after_s, again) in [(None, true), (Some(0), true), (Some(8), false)] {
        let mut world = World::new();
        let watchers = watch(&mut world);
        let client = world.enter(ann());
        settle(&mut world);
        world.apply(Action::SignalClosed {
            connection: watchers[0].connection,
        });
        leave(&mut world, &client);
        world.pass_ms(10_000);
        let first = world.resume(&watchers[0], wish("JS17"));
        assert!(world.names(&first).contains("ann=DISCONNECTED"));
        let resumed = world.now.monotonic;
        world.pass_ms(10_000);
        change(&mut world, &first, "denied");
        if let Some(seconds) = unread_after_s {
            let since = resumed + Duration::from_secs(seconds);
            world.room.handle_unread(first.connection, since);
        }
        world.apply(Action::SignalClosed {
            connection: first.connection,
        });
        let second = world.resume(&first, wish("JS17"));
        let told = world.names(&second);
        assert_eq!(told.contains("ann=DISCONNECTED"), again, "{told}");
    }
}

#[test]
fn who_takes_over_the_session_of_a_newer_client_is_told_of_all_who_left() {
    let mut world = World::new();
    watch(&mut world);
    let (bob, carol) = (world.enter(wish("bob")), world.enter(wish("carol")));
    let resuming = |sid: &str, protocol: i32| {
        let mut join = wish("ann");
        join.client.protocol = protocol;
        join.resume = Some(Resume {
            participant_sid: sid.to_owned(),
            ..Default::default()
        });
        join
    };
    let older = world.enter(ann());
    let older_sid = world.info("ann").sid;
    settle(&mut world);
    // It is gone without a word, and somebody leaves before its identity is here again.
    leave(&mut world, &bob);
    world.pass_ms(10_000);
    let newer = world.enter({
        let mut join = ann();
        join.client.protocol = 5;
        join
    });
    let newer_sid = world.info("ann").sid;
    world.pass_ms(10_000);
    let older = world.resume(&older, resuming(&older_sid, 17));
    let told = world.names(&older);
    assert!(told.contains("bob=DISCONNECTED"), "{told}");
    leave(&mut world, &carol);
    world.pass_ms(10_000);
    change(&mut world, &older, "here");
    // It has heard of this; the other one, which takes its session back, has not.
    let read = world.now.monotonic;
    world.room.handle_unread(older.connection, read);
    let newer = world.resume(&newer, resuming(&newer_sid, 9));
    let told = world.names(&newer);
    assert!(told.contains("carol=DISCONNECTED"), "{told}");
}
