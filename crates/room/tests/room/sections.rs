//! Sections that clients with a single peer connection must offer for what they get.

use crate::sdp;
use crate::world::{World, camera, microphone, wish, wish_single};
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

#[test]
fn a_single_client_is_asked_for_the_sections_it_lacks() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish_single("bob", 1, 0));
    world.pass_ms(1_000);
    world.take(&bob);
    let audio = world.publish(&alice, microphone("mic"));
    world.pass_ms(10);
    assert_eq!(
        world.names(&bob),
        "update(alice=ACTIVE) permission:true sections:0+0",
        "sections suffice: a mere re-offer"
    );
    world.request(&bob, Request::Offer(sdp::offer(2, &sdp::receiving(1, 0))));
    let messages = world.take(&bob);
    let [Response::Answer(answer)] = &messages[..] else {
        panic!("an answer, not {messages:?}");
    };
    assert_eq!(answer.mid_to_track_id.get("1"), Some(&audio));

    let carol = world.enter(wish("carol"));
    world.take(&bob);
    world.publish(&carol, camera("cam"));
    world.pass_ms(200);
    assert!(world.names(&bob).ends_with("sections:0+1"));
    world.request(&bob, Request::Offer(sdp::offer(3, &sdp::receiving(1, 0))));
    assert_eq!(world.names(&bob), "answer sections:0+1", "still lacking");
    world.request(&bob, Request::Offer(sdp::offer(4, &sdp::receiving(1, 1))));
    assert_eq!(world.names(&bob), "answer");
    world.pass_ms(1_000);
    assert!(!world.names(&bob).contains("sections"));
}

#[test]
fn sections_that_only_the_client_sends_on_are_no_room_for_what_it_gets() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let carol = world.enter(wish("carol"));
    let bob = world.enter(wish_single("bob", 0, 0));
    world.pass_ms(1_000);
    world.announce(&bob, microphone("own"));
    world.announce(&bob, camera("own-cam"));
    let own = |direction| {
        vec![
            sdp::Section::data(),
            sdp::Section::of(&microphone("own")).with_direction(direction),
            sdp::Section::of(&camera("own-cam")).with_direction(direction),
        ]
    };
    world.request(&bob, Request::Offer(sdp::offer(2, &own("sendonly"))));
    world.take(&bob);
    let audio = world.publish(&alice, microphone("mic"));
    let video = world.publish(&carol, camera("cam"));
    world.pass_ms(200);
    let names = world.names(&bob);
    assert!(names.ends_with("sections:1+1"), "{names}");
    // Offered again without new sections: still none has room.
    world.request(&bob, Request::Offer(sdp::offer(3, &own("sendonly"))));
    assert_eq!(world.names(&bob), "answer sections:1+1");
    world.request(&bob, Request::Offer(sdp::offer(4, &own("sendrecv"))));
    let messages = world.take(&bob);
    let [Response::Answer(answer)] = &messages[..] else {
        panic!("sections that send and receive suffice, not {messages:?}");
    };
    assert_eq!(answer.mid_to_track_id.get("1"), Some(&audio));
    assert_eq!(answer.mid_to_track_id.get("2"), Some(&video));
}
