//! Data tracks: what is told once, and where it ends.

use crate::data_tracks::{all_handles, handles, publish, published, refusal, sensor, subscribe};
use crate::world::{Client, World, config, wish};
use prost::Message as _;
use proto::update_data_subscription::Update;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeSet;

fn automatic(identity: &str) -> room::Join {
    let mut join = wish(identity);
    join.settings.auto_subscribe_data_track = true;
    join
}

fn updates(updates: impl IntoIterator<Item = (String, bool)>) -> Request {
    let update = |(track_sid, subscribe)| Update {
        track_sid,
        subscribe,
        options: None,
    };
    Request::UpdateDataSubscription(proto::UpdateDataSubscription {
        updates: updates.into_iter().map(update).collect(),
    })
}

/// Publishes so many tracks; their SIDs.
fn sensors(world: &mut World, publisher: &Client, count: u32) -> Vec<String> {
    let one = |handle| {
        world.take(publisher);
        world.request(publisher, publish(handle, &format!("sensor {handle}")));
        published(&world.take(publisher))
    };
    (1..=count).map(one).collect()
}

#[test]
fn a_request_that_changes_its_mind_is_answered_once() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = sensor(&mut world, &alice);
    world.take(&bob);
    let changes = (0..1_001).map(|number| (sid.clone(), number % 2 == 0));
    world.request(&bob, updates(changes));
    let messages = world.take(&bob);
    let [
        Response::SubscriptionPermissionUpdate(update),
        Response::DataTrackSubscriberHandles(_),
    ] = &messages[..]
    else {
        panic!(
            "permission and handles once each, not {} messages",
            messages.len()
        );
    };
    assert!(update.allowed);
    assert_eq!(handles(&messages).into_values().collect::<Vec<_>>(), [sid]);
}

#[test]
fn several_tracks_of_a_request_are_told_in_one_list() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sids = sensors(&mut world, &alice, 5);
    for wanted in [true, false] {
        world.take(&bob);
        world.request(&bob, updates(sids.iter().map(|sid| (sid.clone(), wanted))));
        let told = all_handles(&world.take(&bob));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].len(), if wanted { 5 } else { 0 });
    }
}

#[test]
fn a_request_is_read_as_far_as_there_can_be_tracks() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = sensor(&mut world, &alice);
    world.take(&bob);
    let mut changes = vec![(sid.clone(), true); 4_096];
    changes.extend(vec![(sid, false); 10]);
    world.request(&bob, updates(changes));
    assert_eq!(handles(&world.take(&bob)).len(), 1);
    assert_eq!(world.room.stats().over_limit, 10);
}

#[test]
fn wishes_are_bounded_and_those_that_say_nothing_new_are_not_kept() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let invented = |wanted| (0..1_024).map(move |number| (format!("DTR_{number}"), wanted));
    world.request(&bob, updates(invented(false)));
    world.request(&bob, updates([("D".repeat(65), true)]));
    assert_eq!(world.room.stats().over_limit, 1);
    world.request(&bob, updates(invented(true)));
    assert_eq!(world.room.stats().over_limit, 1);
    let sid = sensor(&mut world, &alice);
    world.take(&bob);
    world.request(&bob, subscribe(&sid, true));
    assert_eq!(world.room.stats().over_limit, 2);
    assert!(all_handles(&world.take(&bob)).is_empty());
    world.request(&bob, subscribe("DTR_7", false));
    world.request(&bob, subscribe(&sid, true));
    assert_eq!(
        handles(&world.take(&bob)).into_values().collect::<Vec<_>>(),
        [sid]
    );
}

#[test]
fn all_that_a_joiner_receives_is_told_in_one_list() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let carol = world.enter(wish("carol"));
    let mut sids = sensors(&mut world, &alice, 3);
    sids.extend(sensors(&mut world, &carol, 2));
    let bob = world.enter(automatic("bob"));
    let told = all_handles(&world.take(&bob));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].values().collect::<BTreeSet<_>>(), sids.iter().collect());
    // And so is that a publisher leaves.
    let identity = "alice".to_owned();
    world
        .api(room::ApiCall::RemoveParticipant { identity })
        .expect("is there");
    let told = all_handles(&world.take(&bob));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].len(), 2);
}

#[test]
fn tracks_past_the_limit_of_what_one_receives_wait_for_a_place() {
    let mut config = config();
    config.limits.data_tracks_received_max = 4;
    let mut world = World::with(config);
    let bob = world.enter(automatic("bob"));
    let alice = world.enter(wish("alice"));
    let carol = world.enter(wish("carol"));
    let mut of_alice = sensors(&mut world, &alice, 3);
    let of_carol = sensors(&mut world, &carol, 4);
    let received =
        |world: &mut World| -> BTreeSet<String> { handles(&world.take(&bob)).into_values().collect() };
    let set = |sids: &[&[String]]| -> BTreeSet<String> { sids.concat().into_iter().collect() };
    assert_eq!(received(&mut world), set(&[&of_alice, &of_carol[..1]]));
    assert_eq!(world.room.stats().over_limit, 3);

    // A publisher ends one, the subscriber gives one up, a publisher leaves: each time others follow.
    let ended = proto::UnpublishDataTrackRequest { pub_handle: 1 };
    world.request(&alice, Request::UnpublishDataTrackRequest(ended));
    of_alice.remove(0);
    let now = received(&mut world);
    assert_eq!(now.len(), 4);
    assert!(of_alice.iter().all(|sid| now.contains(sid)));

    world.request(&bob, subscribe(&of_alice[0], false));
    let now = received(&mut world);
    assert_eq!(now.len(), 4);
    assert!(now.contains(&of_alice[1]) && !now.contains(&of_alice[0]));

    let identity = "alice".to_owned();
    world
        .api(room::ApiCall::RemoveParticipant { identity })
        .expect("is there");
    assert_eq!(received(&mut world), set(&[&of_carol]));
}

/// An announcement of about so many bytes.
fn announcement(handle: u32, bytes: usize) -> Request {
    Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle: handle,
        name: format!("track {handle}"),
        schema: Some(proto::DataTrackSchemaId {
            name: "s".repeat(bytes),
            encoding: None,
        }),
        ..Default::default()
    })
}

fn unpublish(handle: u32) -> Request {
    Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: handle })
}

#[test]
fn a_publisher_has_a_most_of_tracks_and_of_bytes_about_each() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let exceeded = "LIMIT_EXCEEDED";
    assert_eq!(
        refusal(&mut world, &alice, announcement(2_000, 4_100)).0,
        exceeded
    );
    sensors(&mut world, &alice, 1_024);
    assert_eq!(refusal(&mut world, &alice, announcement(2_000, 1)).0, exceeded);
    assert_eq!(world.room.stats().over_limit, 2);
    world.request(&alice, unpublish(7));
    world.take(&alice);
    world.request(&alice, announcement(2_000, 1));
    published(&world.take(&alice));
}

#[test]
fn what_is_told_of_a_publisher_is_bounded_however_many_tracks_it_has() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    for handle in 1..=129 {
        world.take(&alice);
        world.request(&alice, announcement(handle, 4_000));
        published(&world.take(&alice));
    }
    assert_eq!(
        refusal(&mut world, &alice, announcement(130, 4_000)).0,
        "LIMIT_EXCEEDED"
    );
    let bytes = |message: &Response| match message {
        Response::Update(update) => update.encoded_len(),
        _ => 0,
    };
    // So much at once is told a little later.
    world.pass_ms(10_000);
    let longest = world.take(&bob).iter().map(bytes).max();
    assert!(
        longest.is_some_and(|bytes| (500_000..530_000).contains(&bytes)),
        "{longest:?}"
    );
    world.request(&alice, unpublish(1));
    world.take(&alice);
    world.request(&alice, announcement(130, 4_000));
    published(&world.take(&alice));
}
