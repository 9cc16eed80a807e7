//! What a publisher is told of wanted qualities when it could not listen.

use crate::world::{Client, World, camera, wish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

fn mute(world: &mut World, client: &Client, sid: &str, muted: bool) {
    let request = proto::MuteTrackRequest {
        sid: sid.to_owned(),
        muted,
    };
    world.request(client, Request::Mute(request));
}

/// What alice was told of qualities since the last look.
fn told(world: &mut World, alice: &Client) -> Vec<String> {
    let names = world.names(alice);
    let of_quality = names
        .split(' ')
        .filter(|name| name.starts_with("subscribed_quality"));
    of_quality.map(ToOwned::to_owned).collect()
}

#[test]
fn a_track_muted_from_the_start_is_told_off_when_it_is_unmuted() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, camera("cam"));
    mute(&mut world, &alice, &sid, true);
    world.pass_ms(20_000);
    assert!(told(&mut world, &alice).is_empty(), "not while it is muted");
    mute(&mut world, &alice, &sid, false);
    assert_eq!(told(&mut world, &alice), ["subscribed_quality:0"]);
}

#[test]
fn who_came_while_a_track_was_muted_is_told_of_when_it_is_unmuted() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, camera("cam"));
    mute(&mut world, &alice, &sid, true);
    let bob = world.enter(wish("bob"));
    world.pass_ms(500);
    world.answer(&bob);
    world.pass_ms(500);
    assert!(told(&mut world, &alice).is_empty(), "not while it is muted");
    mute(&mut world, &alice, &sid, false);
    assert_eq!(told(&mut world, &alice), ["subscribed_quality:1"]);
}

#[test]
fn what_was_told_while_a_publisher_was_away_is_told_again() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, camera("cam"));
    world.pass_ms(11_000);
    world.apply(room::Action::SignalClosed {
        connection: alice.connection,
    });
    let bob = world.enter(wish("bob"));
    world.pass_ms(500);
    world.answer(&bob);
    world.pass_ms(3_000);
    let again = world.resume(&alice, wish("alice"));
    world.pass_ms(2_100);
    assert_eq!(told(&mut world, &again), ["subscribed_quality:1"]);
}
