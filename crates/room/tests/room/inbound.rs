//! Bounds of what comes in: sessions of one token, peers that send too much, long texts.

use crate::world::{World, wish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::{Action, Join};

fn sender(identity: &str) -> Join {
    let mut join = wish(identity);
    join.sender_only = true;
    join
}

#[test]
fn a_token_has_sixteen_sessions_beside_its_first_and_others_as_many() {
    let mut world = World::new();
    world.join(wish("alice"));
    for number in 0..16 {
        world.join(sender(&format!("alice#{number}")));
    }
    assert_eq!(world.refused, []);
    let seventeenth = world.join(sender("alice#16"));
    let text = "too many sessions of one participant: at most 16 beside it";
    assert_eq!(world.refused, [(seventeenth.connection, text.to_owned())]);
    // A session that comes again takes its own place.
    world.join(sender("alice#3"));
    world.join(sender("alicea#1"));
    world.join(sender("bob#1"));
    assert_eq!(world.refused.len(), 1);
    assert_eq!(world.room.gauges().participants, 19);
    // A session's refreshed token opens no further ones, joined as itself or not.
    world.join(wish("alice#3"));
    world.join(sender("alice#3#1"));
    world.join(sender("alice#17"));
    assert_eq!(world.refused.len(), 3);
    // Names of tokens are nobody's sessions.
    for number in 0..20 {
        world.join(wish(&format!("team#{number}")));
    }
    assert_eq!(world.refused.len(), 3);
}

#[test]
fn a_peer_that_sent_more_than_the_room_took_begins_anew_and_others_stay() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.forget();
    world.apply(Action::PeerOverran {
        peer: alice.publisher,
    });
    let told = world.take(&alice);
    assert!(
        matches!(&told[..], [.., Response::Leave(leave)] if leave.action() == proto::leave_request::Action::Reconnect),
        "{told:?}"
    );
    assert!(world.closed.contains(&alice.connection));
    assert!(!world.closed.contains(&bob.connection));
    assert_eq!(world.room.gauges().participants, 1);
    // It is gone: more of the same changes nothing.
    world.apply(Action::PeerOverran {
        peer: alice.publisher,
    });
    assert_eq!(world.room.gauges().participants, 1);
}

#[test]
fn a_candidate_that_is_too_long_is_refused_and_not_sent_back() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let trickle = proto::TrickleRequest {
        candidate_init: format!("{{\"candidate\":[{}0]}}", "[],".repeat(100_000)),
        ..Default::default()
    };
    world.request(&alice, Request::Trickle(trickle));
    let told = world.take(&alice);
    let [Response::RequestResponse(answer)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(answer.message, "a candidate may have 4096 bytes");
    let Some(proto::request_response::Request::Trickle(echo)) = &answer.request else {
        panic!("{answer:?}")
    };
    assert_eq!(echo.candidate_init, "");
}
