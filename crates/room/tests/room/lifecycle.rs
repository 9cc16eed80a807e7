//! When a room ends.

use crate::world::{World, dependents, wish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

fn leave() -> Request {
    Request::Leave(proto::LeaveRequest::default())
}

#[test]
fn a_room_that_nobody_joins_ends_after_its_empty_timeout() {
    let mut world = World::new();
    world.pass_ms(299_900);
    assert!(!world.over);
    world.pass_ms(200);
    assert!(world.over);
}

#[test]
fn a_room_ends_its_departure_timeout_after_the_last_one_left() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.pass_ms(1_000_000);
    assert!(!world.over, "somebody is here");
    world.request(&alice, leave());
    world.pass_ms(19_900);
    assert!(!world.over);
    let bob = world.enter(wish("bob"));
    world.pass_ms(60_000);
    assert!(!world.over, "somebody came back");
    world.request(&bob, leave());
    world.pass_ms(20_100);
    assert!(world.over);
}

#[test]
fn agents_do_not_keep_a_room_open_and_learn_that_it_closed() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bot");
    join.claims.kind = "agent".to_owned();
    let agent = world.enter(join);
    world.request(&alice, leave());
    world.forget();
    world.pass_ms(20_100);
    assert!(world.over);
    assert!(world.names(&agent).ends_with("leave:ROOM_CLOSED:DISCONNECT"));
}

#[test]
fn a_room_of_dependents_only_ends_as_an_empty_one() {
    for dependent in dependents() {
        let who = dependent.claims.identity.clone();
        let mut world = World::new();
        let client = world.enter(dependent);
        world.forget();
        world.pass_ms(299_900);
        assert!(!world.over, "{who}");
        world.pass_ms(200);
        assert!(world.over, "{who} does not keep it open");
        let told = world.names(&client);
        assert!(told.ends_with("leave:ROOM_CLOSED:DISCONNECT"), "{who}: {told}");
    }
    // All of them at once, behind somebody who left.
    let mut world = World::new();
    let clients: Vec<_> = dependents().into_iter().map(|join| world.enter(join)).collect();
    let alice = world.enter(wish("alice"));
    world.pass_ms(1_000_000);
    assert!(!world.over);
    world.request(&alice, leave());
    world.pass_ms(19_900);
    assert!(!world.over);
    world.forget();
    world.pass_ms(200);
    assert!(world.over);
    for client in &clients {
        let told = world.names(client);
        assert!(told.ends_with("leave:ROOM_CLOSED:DISCONNECT"), "{told}");
    }
}

#[test]
fn a_dependent_that_leaves_is_no_departure() {
    let mut world = World::new();
    for dependent in dependents() {
        let client = world.enter(dependent);
        world.request(&client, leave());
    }
    world.pass_ms(299_900);
    assert!(!world.over, "nobody has joined yet");
    world.pass_ms(200);
    assert!(world.over);
}

#[test]
fn a_shutdown_is_told_to_everybody() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.forget();
    world.apply(room::Action::Shutdown);
    for client in [&alice, &bob] {
        assert_eq!(world.names(client), "leave:SERVER_SHUTDOWN:DISCONNECT");
        assert!(world.closed.contains(&client.connection));
    }
    assert!(world.over);
}
