//! What clients of older protocols, and older clients, are not sent.

use crate::world::{Client, World, microphone, wish, wish_protocol};
use media::api::EventKind;
use protocol::proto;
use protocol::proto::client_info::Sdk;
use protocol::proto::signal_request::Message as Request;
use room::ApiCall;

/// Alice speaks, bob of this protocol hears her: what bob is told.
fn told_of_a_speaker(protocol: i32) -> String {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish_protocol("bob", protocol));
    world.publish(&alice, microphone("mic"));
    let (track, _) = world.published_track();
    world.pass_ms(200);
    world.answer(&bob);
    world.forget();
    world.media(EventKind::AudioLevels {
        levels: vec![(track, 0.5, true)],
    });
    world.names(&bob)
}

#[test]
fn changes_of_speakers_are_told_from_protocol_3_on() {
    assert_eq!(told_of_a_speaker(3), "speakers_changed");
    assert_eq!(told_of_a_speaker(2), "");
}

#[test]
fn a_leave_that_asks_for_a_resume_is_told_from_protocol_13_on() {
    for (protocol, told) in [(13, "leave:UNKNOWN_REASON:RESUME"), (12, "")] {
        let mut world = World::new();
        let alice = world.enter(wish_protocol("alice", protocol));
        world.forget();
        world.media(EventKind::PeerFailed {
            peer: alice.primary(),
        });
        assert_eq!(world.names(&alice), told, "{protocol}");
        assert_eq!(world.closed, [alice.connection]);
    }
}

#[test]
fn the_reconnect_response_is_told_to_javascript_clients_from_1_6_3_on() {
    for (sdk, version, told) in [
        (Sdk::Js, "1.6.2", false),
        (Sdk::Js, "1.6.3", true),
        (Sdk::Js, "2.23.0-beta.1", true),
        (Sdk::Js, "", true),
        (Sdk::Swift, "1.0.0", true),
    ] {
        let mut world = World::new();
        let join = || {
            let mut join = wish("alice");
            join.client.sdk = sdk.into();
            join.client.version = version.to_owned();
            join
        };
        let alice = world.enter(join());
        let again = world.resume(&alice, join());
        let names = world.names(&again);
        assert_eq!(names.starts_with("reconnect "), told, "{version}: {names}");
        assert!(names.contains("update(alice=ACTIVE)"), "{names}");
    }
}

#[test]
fn rust_clients_are_told_of_a_first_subscriber_from_protocol_10_on() {
    for (sdk, protocol, told) in [(Sdk::Rust, 9, false), (Sdk::Rust, 10, true), (Sdk::Js, 9, true)] {
        let mut world = World::new();
        let mut join = wish_protocol("alice", protocol);
        join.client.sdk = sdk.into();
        let alice = world.enter(join);
        let bob = world.enter(wish("bob"));
        world.publish(&alice, microphone("mic"));
        world.pass_ms(200);
        world.answer(&bob);
        let names = world.names(&alice);
        assert_eq!(names.contains("track_subscribed"), told, "{protocol}: {names}");
    }
}

/// Alice may not publish any more: what she is told of her track.
fn told_of_a_revoked_track(protocol: i32) -> String {
    let mut world = World::new();
    let alice = world.enter(wish_protocol("alice", protocol));
    world.publish(&alice, microphone("mic"));
    world.forget();
    let request = proto::UpdateParticipantRequest {
        identity: "alice".to_owned(),
        permission: Some(proto::ParticipantPermission {
            can_subscribe: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    world
        .api(ApiCall::UpdateParticipant(Box::new(request)))
        .expect("alice is here");
    let names = world.names(&alice);
    let of_the_track = names
        .split(' ')
        .filter(|name| name.starts_with("mute") || *name == "track_unpublished");
    of_the_track.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_track_that_is_taken_away_is_unpublished_from_protocol_7_on_and_muted_before() {
    assert_eq!(told_of_a_revoked_track(7), "track_unpublished");
    assert_eq!(told_of_a_revoked_track(6), "mute:true");
}

/// Bob loses alice's first track and gets her second one: the sections that he has then.
fn sections_after_two_tracks(mut join: room::Join, browser: &str) -> usize {
    join.client.browser = browser.to_owned();
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(join);
    let sid = world.publish(&alice, microphone("one"));
    settle(&mut world, &bob);
    world.request(
        &bob,
        Request::Subscription(proto::UpdateSubscription {
            track_sids: vec![sid],
            subscribe: false,
            ..Default::default()
        }),
    );
    world.pass_ms(1_000);
    settle(&mut world, &bob);
    let carol = world.enter(wish("carol"));
    world.publish(&carol, microphone("two"));
    world.pass_ms(1_000);
    let offer = world.last_offer(&bob);
    offer.sdp.matches("m=audio").count()
}

fn settle(world: &mut World, bob: &Client) {
    world.pass_ms(300);
    world.answer(bob);
    world.take(bob);
}

#[test]
fn sections_are_used_again_from_protocol_4_on_and_not_by_safari() {
    assert_eq!(sections_after_two_tracks(wish_protocol("bob", 4), "Chrome"), 1);
    assert_eq!(sections_after_two_tracks(wish_protocol("bob", 3), "Chrome"), 2);
    assert_eq!(sections_after_two_tracks(wish("bob"), "Safari"), 2);
}
