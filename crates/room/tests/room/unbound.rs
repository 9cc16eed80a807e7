//! Tracks that a client was offered and did not negotiate.

use crate::world::{World, microphone, wish, wish_single};

const UNKNOWN: &str = "subscription_response:0";

#[test]
fn a_track_that_is_not_negotiated_in_fifteen_seconds_is_reported_once() {
    // One does not answer, one does not add the sections that it is asked for.
    for join in [wish("bob"), wish_single("bob", 0, 0)] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let bob = world.enter(join);
        world.publish(&alice, microphone("mic"));
        world.pass_ms(14_900);
        assert!(!world.names(&bob).contains(UNKNOWN));
        world.pass_ms(200);
        assert!(world.names(&bob).contains(UNKNOWN));
        world.pass_ms(30_000);
        assert!(!world.names(&bob).contains(UNKNOWN), "once");
    }
}

#[test]
fn a_client_that_is_still_connecting_has_the_time_from_then_on() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, microphone("mic"));
    let bob = world.join(wish("bob"));
    world.pass_ms(14_000);
    world.connect(&bob);
    world.pass_ms(13_000);
    world.answer(&bob);
    world.pass_ms(30_000);
    assert!(!world.names(&bob).contains(UNKNOWN));
}
