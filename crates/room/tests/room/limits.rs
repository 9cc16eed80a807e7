//! Limits that give way: subscriptions that wait for room, pending tracks that are given up.

use crate::sdp::{self, Section};
use crate::world::{Client, World, camera, config, microphone, wish, wish_protocol};
use media::api::{Command, EventKind};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeSet;

/// SIDs of the tracks that a client was last offered.
fn offered(world: &mut World, client: &Client) -> BTreeSet<String> {
    let offer = world
        .take(client)
        .into_iter()
        .rev()
        .find_map(|message| match message {
            Response::Offer(offer) => Some(offer),
            _ => None,
        })
        .expect("an offer");
    world.request(client, Request::Answer(sdp::answer_to(&offer)));
    let live = |section: &&str| section.contains("a=sendrecv") || section.contains("a=sendonly");
    let sids = offer.sdp.split("m=").filter(live).filter_map(|section| {
        let (_, sid) = section.split_once("|TR_")?;
        Some(format!("TR_{}", sid.split_whitespace().next()?))
    });
    sids.collect()
}

fn subscribe(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(proto::UpdateSubscription {
        track_sids: vec![sid.to_owned()],
        subscribe,
        participant_tracks: Vec::new(),
    })
}

#[test]
fn subscriptions_past_the_limit_of_their_kind_wait_for_freed_capacity() {
    let mut config = config();
    config.limits.subscription_video_max = 2;
    config.limits.subscription_audio_max = 1;
    let mut world = World::with(config);
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let mut videos = Vec::new();
    let mut audios = Vec::new();
    for name in ["ann", "ben", "cat"] {
        let publisher = world.enter(wish(name));
        videos.push(world.publish(&publisher, camera("cam")));
        let publisher = world.enter(wish(&format!("{name}'s voice")));
        audios.push(world.publish(&publisher, microphone("mic")));
    }
    world.pass_ms(200);
    let first: BTreeSet<_> = [&videos[0], &videos[1], &audios[0]]
        .into_iter()
        .cloned()
        .collect();
    assert_eq!(offered(&mut world, &bob), first);

    // The client gives one up: the one that waits takes its place.
    world.request(&bob, subscribe(&videos[0], false));
    world.pass_ms(200);
    // Not before its last frames have left is the former one shown as gone.
    assert!(offered(&mut world, &bob).contains(&videos[0]));
    world.pass_ms(200);
    let second: BTreeSet<_> = [&videos[1], &videos[2], &audios[0]]
        .into_iter()
        .cloned()
        .collect();
    assert_eq!(offered(&mut world, &bob), second);

    // A publisher ends one: likewise, and not past the limit.
    let voice = room::ApiCall::RemoveParticipant {
        identity: "ann's voice".to_owned(),
    };
    world.api(voice).expect("is there");
    world.pass_ms(200);
    assert!(offered(&mut world, &bob).contains(&audios[0]));
    world.pass_ms(300);
    let third = offered(&mut world, &bob);
    assert!(videos[1..].iter().all(|sid| third.contains(sid)));
    assert_eq!(audios.iter().filter(|sid| third.contains(*sid)).count(), 1);
    assert!(!third.contains(&audios[0]));
}

/// Twenty announced cameras; the first one has a section, whose layers are awaited, none has media.
fn twenty_pending(world: &mut World, client: &Client) -> Vec<String> {
    let sids: Vec<_> = (0..20)
        .map(|number| world.announce(client, camera(&format!("p{number}"))))
        .collect();
    let sections = [Section::data(), Section::of(&camera("p0"))];
    world.request(client, Request::Offer(sdp::offer(1, &sections)));
    sids
}

fn unpublished(messages: &[Response]) -> BTreeSet<String> {
    messages
        .iter()
        .filter_map(|message| match message {
            Response::TrackUnpublished(track) => Some(track.track_sid.clone()),
            Response::Mute(mute) if mute.muted => Some(mute.sid.clone()),
            _ => None,
        })
        .collect()
}

fn refused(messages: &[Response]) -> bool {
    messages.iter().any(|message| {
        matches!(message, Response::RequestResponse(response)
            if response.reason() == proto::request_response::Reason::LimitExceeded)
    })
}

#[test]
fn pending_tracks_that_timed_out_make_room_at_the_limit() {
    for protocol in [17, 6] {
        let mut world = World::new();
        let alice = world.enter(wish_protocol("alice", protocol));
        let sids = twenty_pending(&mut world, &alice);
        // Muted ones are not expected to send.
        let muted = proto::MuteTrackRequest {
            sid: sids[19].clone(),
            muted: true,
        };
        world.request(&alice, Request::Mute(muted));
        world.pass_ms(29_000);
        world.forget();
        world.request(&alice, Request::AddTrack(microphone("late")));
        let messages = world.take(&alice);
        assert!(refused(&messages) && unpublished(&messages).is_empty());

        world.pass_ms(2_000);
        world.forget();
        world.request(&alice, Request::AddTrack(microphone("late")));
        let messages = world.take(&alice);
        let given_up: BTreeSet<_> = sids[..19].iter().cloned().collect();
        assert_eq!(unpublished(&messages), given_up, "protocol {protocol}");
        assert_eq!(
            messages
                .iter()
                .any(|message| matches!(message, Response::Mute(_))),
            protocol < 7,
            "protocols below 7 do not know track_unpublished"
        );
        assert!(matches!(messages.last(), Some(Response::TrackPublished(_))));
        assert_eq!(world.room.gauges().tracks, 2);
    }
}

#[test]
fn media_of_a_track_that_was_given_up_is_nobodys_until_it_is_announced_anew() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    twenty_pending(&mut world, &alice);
    let (given_up, _) = world.published_track();
    world.pass_ms(31_000);
    world.request(&alice, Request::AddTrack(microphone("late")));
    world.start_layer(given_up, 0);
    world.forget();
    let sections = [Section::data(), Section::of(&camera("p0"))];
    for id in [2, 3] {
        world.request(&alice, Request::Offer(sdp::offer(id, &sections)));
    }
    assert!(
        !world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Publish { .. })),
        "the section of what was given up carries nothing else"
    );
    assert!(world.info("alice").tracks.is_empty());

    let again = world.announce(&alice, camera("p0"));
    world.request(&alice, Request::Offer(sdp::offer(4, &sections)));
    let (track, _) = world.published_track();
    assert_ne!(track, given_up);
    world.start_layer(track, 0);
    let tracks = world.info("alice").tracks;
    assert_eq!(tracks.len(), 1);
    assert_eq!(tracks[0].sid, again);
}

#[test]
fn pending_tracks_do_not_time_out_before_their_publisher_is_connected() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    world.answer(&alice);
    let primary = alice.primary();
    world.media(EventKind::PeerConnected { peer: primary });
    twenty_pending(&mut world, &alice);
    world.pass_ms(40_000);
    world.media(EventKind::PeerConnected {
        peer: alice.publisher,
    });
    world.pass_ms(29_000);
    world.forget();
    world.request(&alice, Request::AddTrack(microphone("late")));
    let messages = world.take(&alice);
    assert!(refused(&messages) && unpublished(&messages).is_empty());
}
