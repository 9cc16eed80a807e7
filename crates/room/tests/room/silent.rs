//! Negotiated tracks of which no packet comes: a muted microphone, a camera that has not begun.

use crate::sdp::{self, Section};
use crate::world::{Client, World, camera, microphone, wish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

/// The mute state of alice's tracks, as the messages tell it last.
fn told(messages: &[Response]) -> Option<Vec<bool>> {
    let updates = messages.iter().rev().filter_map(|message| match message {
        Response::Update(update) => Some(&update.participants),
        _ => None,
    });
    let alice = updates.flatten().find(|info| info.identity == "alice")?;
    Some(alice.tracks.iter().map(|track| track.muted).collect())
}

/// Announces a track and offers its section.
fn negotiate(world: &mut World, client: &Client, request: proto::AddTrackRequest) -> String {
    let sections = [Section::data(), Section::of(&request)];
    let sid = world.announce(client, request);
    world.request(client, Request::Offer(sdp::offer(1, &sections)));
    sid
}

fn call() -> (World, Client, Client) {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let alice = world.enter(wish("alice"));
    world.forget();
    (world, alice, bob)
}

#[test]
fn a_negotiated_track_is_told_and_offered_after_a_second_without_media() {
    let (mut world, alice, bob) = call();
    let sid = negotiate(&mut world, &alice, microphone("mic"));
    world.pass_ms(900);
    assert_eq!(world.take(&bob), [], "its media may be on its way");
    world.pass_ms(200);
    let messages = world.take(&bob);
    assert_eq!(told(&messages), Some(vec![false]));
    assert!(
        messages
            .iter()
            .any(|message| matches!(message, Response::Offer(_)))
    );
    let info = world.info("alice");
    assert_eq!(info.tracks[0].sid, sid);
    assert_eq!(info.tracks[0].mime_type, "audio/red");
    assert!(info.is_publisher);
    world.answer(&bob);

    // Nothing is offered twice.
    let (track, _) = world.published_track();
    world.take(&bob);
    world.start_layer(track, 0);
    let messages = world.take(&bob);
    assert!(
        !messages
            .iter()
            .any(|message| matches!(message, Response::Offer(_)))
    );
}

#[test]
fn a_muted_track_is_told_at_once() {
    let (mut world, alice, bob) = call();
    let request = proto::AddTrackRequest {
        muted: true,
        ..microphone("mic")
    };
    negotiate(&mut world, &alice, request);
    world.pass_ms(0);
    assert_eq!(told(&world.take(&bob)), Some(vec![true]));
}

#[test]
fn who_is_not_connected_yet_has_a_second_from_then() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let alice = world.join(wish("alice"));
    negotiate(&mut world, &alice, microphone("mic"));
    world.pass_ms(5000);
    assert!(world.info("alice").tracks.is_empty());
    world.connect(&alice);
    world.pass_ms(900);
    assert!(world.info("alice").tracks.is_empty());
    world.pass_ms(200);
    assert_eq!(told(&world.take(&bob)), Some(vec![false]));
}

#[test]
fn simulcast_waits_for_its_layers_and_what_was_unpublished_is_not_told() {
    let (mut world, alice, bob) = call();
    negotiate(&mut world, &alice, camera("cam"));
    world.pass_ms(5000);
    assert!(told(&world.take(&bob)).unwrap_or_default().is_empty());
    let (mut world, alice, bob) = call();
    negotiate(&mut world, &alice, microphone("mic"));
    let stopped = Section::of(&microphone("mic")).with_direction("inactive");
    world.request(&alice, Request::Offer(sdp::offer(2, &[Section::data(), stopped])));
    world.pass_ms(5000);
    assert!(told(&world.take(&bob)).unwrap_or_default().is_empty());
}

/// Copies are made of one codec: which one it is must be known.
#[test]
fn who_may_still_send_another_codec_is_waited_for() {
    let vague = proto::AddTrackRequest {
        cid: "cam".to_owned(),
        r#type: proto::TrackType::Video.into(),
        ..Default::default()
    };
    let secret = proto::AddTrackRequest {
        encryption: proto::encryption::Type::Gcm.into(),
        ..microphone("mic")
    };
    for request in [vague, secret] {
        let (mut world, alice, _) = call();
        let sections = [Section::data(), Section::of(&request)];
        world.announce(&alice, request);
        let mut offer = sdp::offer(1, &sections);
        offer.sdp = offer.sdp.replace("SAVPF 96 97", "SAVPF 96 97 98");
        offer.sdp = offer.sdp.replace(
            "a=rtpmap:96 VP8/90000\r\n",
            "a=rtpmap:96 VP8/90000\r\na=rtpmap:98 VP9/90000\r\n",
        );
        world.request(&alice, Request::Offer(offer));
        world.pass_ms(5000);
        assert!(world.info("alice").tracks.is_empty());
        let (track, _) = world.published_track();
        world.start_layer(track, 0);
        assert_eq!(world.info("alice").tracks.len(), 1);
    }
}
