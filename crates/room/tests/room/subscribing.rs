//! Subscriptions, offers to subscribers, layers.

use crate::sdp;
use crate::world::{Client, World, camera, grant, microphone, wish, wish_protocol, wish_single};
use media::api::{Command, LayerWish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

/// Publisher alice and subscriber bob, who has alice's track bound.
fn call(request: proto::AddTrackRequest) -> (World, Client, Client, String) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, request);
    settle(&mut world, &bob);
    world.forget();
    (world, alice, bob, sid)
}

/// Lets offers go out and answers them.
fn settle(world: &mut World, client: &Client) {
    world.pass_ms(150);
    world.answer(client);
    world.pass_ms(200);
}

fn subscribe(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(proto::UpdateSubscription {
        track_sids: vec![sid.to_owned()],
        subscribe,
        ..Default::default()
    })
}

fn settings(sid: &str) -> proto::UpdateTrackSettings {
    proto::UpdateTrackSettings {
        track_sids: vec![sid.to_owned()],
        ..Default::default()
    }
}

fn offers(messages: &[Response]) -> Vec<&proto::SessionDescription> {
    messages
        .iter()
        .filter_map(|message| match message {
            Response::Offer(offer) => Some(offer),
            _ => None,
        })
        .collect()
}

fn wishes(world: &World) -> Vec<LayerWish> {
    world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::SetWish { wish, .. } => Some(*wish),
            _ => None,
        })
        .collect()
}

#[test]
fn a_new_track_is_offered_bound_and_reported_to_its_publisher_once() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let carol = world.enter(wish("carol"));
    world.pass_ms(1_000);
    world.forget();
    let sid = world.publish(&alice, microphone("mic"));
    let alice_sid = world.info("alice").sid;
    assert_eq!(world.names(&bob), "update(alice=ACTIVE) permission:true");
    world.pass_ms(10);
    let messages = world.take(&bob);
    let offer = offers(&messages)[0].clone();
    assert_eq!(offer.mid_to_track_id.values().collect::<Vec<_>>(), [&sid]);
    assert!(
        offer.sdp.contains(&format!("a=msid:{alice_sid}|{sid} {sid}")),
        "stream id is participant|track: {}",
        offer.sdp
    );
    world.take(&alice);
    world.request(&bob, Request::Answer(sdp::answer_to(&offer)));
    assert!(world.commands.iter().any(|(_, command)| matches!(
        command,
        Command::Subscribe { peer, .. } if *peer == bob.primary()
    )));
    assert_eq!(world.names(&alice), "track_subscribed");
    settle(&mut world, &carol);
    assert!(!world.names(&alice).contains("track_subscribed"), "once");
}

#[test]
fn a_hidden_subscriber_is_not_reported_to_the_publisher_but_the_next_visible_one_is() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("ghost");
    grant(&mut join).hidden = true;
    let ghost = world.enter(join);
    world.pass_ms(1_000);
    world.publish(&alice, microphone("mic"));
    world.forget();
    let binds = |world: &mut World, client: &Client| {
        settle(world, client);
        let bound = world.commands.iter().any(
            |(_, command)| matches!(command, Command::Subscribe { peer, .. } if *peer == client.primary()),
        );
        assert!(bound, "the track reaches its subscriber");
        world.names(&alice).matches("track_subscribed").count()
    };
    assert_eq!(binds(&mut world, &ghost), 0);
    let bob = world.enter(wish("bob"));
    assert_eq!(binds(&mut world, &bob), 1);
    let carol = world.enter(wish("carol"));
    assert_eq!(binds(&mut world, &carol), 0, "once");
}

#[test]
fn protocol_0_gets_the_participant_as_stream_id() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let old = world.enter(wish_protocol("old", 0));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, microphone("mic"));
    let alice_sid = world.info("alice").sid;
    world.take(&old);
    // Not primary: ACTIVE came with the publisher; the subscriber peer is made when needed.
    world.pass_ms(200);
    let messages = world.take(&old);
    world.request(&old, Request::Answer(sdp::answer_to(offers(&messages)[0])));
    world.pass_ms(200);
    let messages = world.take(&old);
    let offer = offers(&messages)[0];
    assert!(
        offer.sdp.contains(&format!("a=msid:{alice_sid} {sid}")),
        "{}",
        offer.sdp
    );
}

#[test]
fn without_auto_subscribe_tracks_come_on_demand_only() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.auto_subscribe = false;
    let bob = world.enter(join);
    world.pass_ms(1_000);
    let sid = world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    assert!(!world.names(&bob).contains("permission"));
    world.request(&bob, subscribe(&sid, true));
    assert_eq!(world.names(&bob), "permission:true");
    world.pass_ms(10);
    assert_eq!(world.names(&bob), "offer");
}

#[test]
fn tracks_can_be_named_by_their_participants() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.auto_subscribe = false;
    let bob = world.enter(join);
    world.pass_ms(1_000);
    let audio = world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    let participant_sid = world.info("alice").sid;
    let update = |subscribe| {
        Request::Subscription(proto::UpdateSubscription {
            participant_tracks: vec![proto::ParticipantTracks {
                participant_sid: participant_sid.clone(),
                track_sids: vec![audio.clone()],
            }],
            subscribe,
            ..Default::default()
        })
    };
    world.take(&bob);
    world.request(&bob, update(true));
    assert_eq!(world.names(&bob), "permission:true");
    world.pass_ms(10);
    world.answer(&bob);
    let messages = world.take(&bob);
    assert_eq!(offers(&messages)[0].mid_to_track_id.get("1"), Some(&audio));
    world.forget();
    world.request(&bob, update(false));
    let ended = |command: &Command| matches!(command, Command::Unsubscribe { .. });
    assert!(world.commands.iter().any(|(_, command)| ended(command)));
}

#[test]
fn a_subscription_to_a_track_that_comes_later_is_remembered() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.auto_subscribe = false;
    let bob = world.enter(join);
    world.pass_ms(1_000);
    let sid = world.announce(&alice, microphone("mic"));
    world.request(&bob, subscribe(&sid, true));
    world.take(&bob);
    world.request(
        &alice,
        Request::Offer(sdp::offer(
            1,
            &[sdp::Section::data(), sdp::Section::of(&microphone("mic"))],
        )),
    );
    let (track, _) = world.published_track();
    world.start_layer(track, 0);
    assert_eq!(world.names(&bob), "update(alice=ACTIVE) permission:true");
}

#[test]
fn unsubscribing_frees_the_section_and_resubscribing_uses_it_again() {
    let (mut world, _, bob, sid) = call(microphone("mic"));
    world.request(&bob, subscribe(&sid, false));
    assert!(
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Unsubscribe { .. }))
    );
    // The section is shown until the blank frames that end the copy have left.
    world.pass_ms(290);
    assert_eq!(offers(&world.take(&bob)).len(), 0);
    world.pass_ms(20);
    let messages = world.take(&bob);
    let freed = offers(&messages)[0].clone();
    assert!(freed.mid_to_track_id.is_empty());
    world.request(&bob, Request::Answer(sdp::answer_to(&freed)));
    world.pass_ms(200);
    world.request(&bob, subscribe(&sid, true));
    world.pass_ms(10);
    let messages = world.take(&bob);
    let again = offers(&messages)[0];
    assert_eq!(again.sdp.matches("m=audio").count(), 1);
    assert_eq!(again.mid_to_track_id.get("1"), Some(&sid));
}

#[test]
fn one_offer_is_outstanding_and_what_changes_meanwhile_follows_its_answer() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    world.take(&bob);
    world.publish(&alice, microphone("mic"));
    world.pass_ms(10);
    let messages = world.take(&bob);
    let first = offers(&messages)[0].clone();
    let carol = world.enter(wish("carol"));
    world.publish(&carol, microphone("mic2"));
    world.pass_ms(500);
    let messages = world.take(&bob);
    assert!(offers(&messages).is_empty(), "unanswered");
    world.request(&bob, Request::Answer(sdp::answer_to(&first)));
    let messages = world.take(&bob);
    let [second] = offers(&messages)[..] else {
        panic!("at once, not {messages:?}");
    };
    assert_eq!((second.id, second.mid_to_track_id.len()), (first.id + 1, 2));
}

#[test]
fn changes_in_a_burst_share_one_offer() {
    let mut world = World::new();
    let publishers: Vec<_> = (0..5)
        .map(|number| world.enter(wish(&format!("p{number}"))))
        .collect();
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    world.take(&bob);
    for (number, publisher) in publishers.iter().enumerate() {
        world.publish(publisher, microphone(&format!("mic{number}")));
        world.pass_ms(1);
    }
    world.pass_ms(20);
    let messages = world.take(&bob);
    let [offer] = offers(&messages)[..] else {
        panic!("one offer, not {}", offers(&messages).len());
    };
    assert_eq!(offer.mid_to_track_id.len(), 5);
}

#[test]
fn a_change_right_behind_an_offer_waits_150_ms() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let carol = world.enter(wish("carol"));
    let dual = world.enter(wish("dual"));
    let single = world.enter(wish_single("single", 0, 0));
    world.pass_ms(1_000);
    world.forget();
    world.publish(&alice, microphone("mic"));
    world.pass_ms(10);
    // Both are answered at once: nothing is outstanding.
    world.answer(&dual);
    world.request(&single, Request::Offer(sdp::offer(2, &sdp::receiving(1, 0))));
    let told = world.names(&dual);
    assert!(told.ends_with(" offer"), "{told}");
    let told = world.names(&single);
    assert!(told.ends_with(" sections:1+0 answer"), "{told}");
    // The pause since then is just short enough.
    world.pass_ms(140);
    world.publish(&carol, microphone("mic2"));
    for client in [&dual, &single] {
        assert_eq!(world.names(client), "update(carol=ACTIVE) permission:true");
    }
    world.pass_ms(149);
    for client in [&dual, &single] {
        assert_eq!(world.names(client), "");
    }
    world.pass_ms(1);
    assert_eq!(world.names(&dual), "offer");
    assert_eq!(world.names(&single), "sections:1+0");
}

#[test]
fn an_offer_unanswered_for_fifteen_seconds_ends_the_session() {
    let (mut world, alice, bob, _) = call(microphone("mic"));
    world.publish(&alice, camera("cam"));
    world.pass_ms(14_900);
    assert!(!world.names(&bob).contains("leave"));
    world.pass_ms(200);
    assert!(world.names(&bob).contains("leave:STATE_MISMATCH:RECONNECT"));
}

#[test]
fn a_rejected_section_is_reported_as_unsupported_codec() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    world.publish(&alice, camera("cam"));
    world.pass_ms(10);
    let mut answer = sdp::answer_to(&world.last_offer(&bob));
    answer.sdp = answer.sdp.replace("m=video 9", "m=video 0");
    world.request(&bob, Request::Answer(answer));
    let unsupported: i32 = proto::SubscriptionError::SeCodecUnsupported.into();
    assert!(
        world
            .names(&bob)
            .contains(&format!("subscription_response:{unsupported}"))
    );
}

#[test]
fn a_publishers_rule_allows_and_denies_single_tracks() {
    let (mut world, alice, bob, sid) = call(microphone("mic"));
    let rule = |permissions: Vec<proto::TrackPermission>, all| {
        Request::SubscriptionPermission(proto::SubscriptionPermission {
            all_participants: all,
            track_permissions: permissions,
        })
    };
    world.request(&alice, rule(Vec::new(), false));
    assert_eq!(world.names(&bob), "permission:false");
    world.pass_ms(350);
    let messages = world.take(&bob);
    assert!(offers(&messages)[0].mid_to_track_id.is_empty());
    world.request(&bob, Request::Answer(sdp::answer_to(offers(&messages)[0])));
    world.request(
        &alice,
        rule(
            vec![proto::TrackPermission {
                participant_identity: "bob".to_owned(),
                track_sids: vec![sid],
                ..Default::default()
            }],
            false,
        ),
    );
    assert_eq!(world.names(&bob), "permission:true");
    world.request(&alice, rule(vec![proto::TrackPermission::default()], false));
    assert_eq!(world.names(&bob), "", "a rule for nobody keeps the previous one");
    // Who has left is passed over; that she wants nobody else to have it holds.
    let gone = proto::TrackPermission {
        participant_sid: "PA_gone".to_owned(),
        all_tracks: true,
        ..Default::default()
    };
    world.request(&alice, rule(vec![gone], false));
    assert_eq!(world.names(&bob), "permission:false");
    world.request(&alice, rule(Vec::new(), true));
    assert_eq!(world.names(&bob), "permission:true");
}

#[test]
fn a_participant_that_may_not_subscribe_gets_nothing() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    grant(&mut join).can_subscribe = Some(false);
    let bob = world.enter(join);
    world.take(&bob);
    world.publish(&alice, microphone("mic"));
    world.pass_ms(1_000);
    assert_eq!(world.names(&bob).replace("update(alice=ACTIVE)", "").trim(), "");
}

#[test]
fn an_adaptive_client_steers_layers_by_dimensions_after_a_pause() {
    let (mut world, _, bob, sid) = call(camera("cam"));
    let mut view = settings(&sid);
    (view.width, view.height) = (1280, 720);
    world.request(&bob, Request::TrackSetting(view.clone()));
    assert!(wishes(&world).is_empty(), "settling");
    (view.width, view.height) = (640, 360);
    world.request(&bob, Request::TrackSetting(view));
    world.pass_ms(100);
    let [wish] = wishes(&world)[..] else {
        panic!("one wish");
    };
    assert_eq!((wish.spatial, wish.enabled), (1, true));
}

#[test]
fn disabling_settles_and_enabling_is_immediate() {
    let (mut world, _, bob, sid) = call(camera("cam"));
    let mut off = settings(&sid);
    off.disabled = true;
    world.request(&bob, Request::TrackSetting(off));
    world.pass_ms(100);
    assert!(!wishes(&world)[0].enabled);
    world.forget();
    world.request(&bob, Request::TrackSetting(settings(&sid)));
    let [wish] = wishes(&world)[..] else {
        panic!("at once");
    };
    assert!(wish.enabled);
    assert_eq!(wish.spatial, 0, "LOW");
}

#[test]
fn settings_given_while_the_offer_is_out_reach_the_copy() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, camera("cam"));
    world.pass_ms(10);
    let mut high = settings(&sid);
    high.quality = proto::VideoQuality::High.into();
    world.request(&bob, Request::TrackSetting(high));
    world.pass_ms(200);
    assert!(wishes(&world).is_empty(), "nothing to steer yet");
    world.answer(&bob);
    assert_eq!(wishes(&world).last().map(|wish| wish.spatial), Some(2));
}

#[test]
fn the_publisher_is_told_which_qualities_are_wanted() {
    let (mut world, alice, bob, sid) = call(camera("cam"));
    let mut high = settings(&sid);
    high.quality = proto::VideoQuality::High.into();
    world.request(&bob, Request::TrackSetting(high));
    world.pass_ms(100);
    assert_eq!(world.names(&alice), "subscribed_quality:3", "more at once");
    world.request(&bob, Request::TrackSetting(settings(&sid)));
    world.pass_ms(4_000);
    assert!(
        !world.names(&alice).contains("subscribed_quality"),
        "less must last"
    );
    world.pass_ms(1_200);
    assert!(world.names(&alice).contains("subscribed_quality:1"));
}

#[test]
fn a_track_without_subscribers_is_told_off_after_ten_seconds() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, camera("cam"));
    world.pass_ms(9_900);
    assert!(!world.names(&alice).contains("subscribed_quality"));
    world.pass_ms(200);
    assert!(world.names(&alice).contains("subscribed_quality:0"));
}

#[test]
fn a_track_that_never_appears_is_reported_after_a_minute() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    world.request(&bob, subscribe("TR_none", true));
    world.pass_ms(59_900);
    assert!(!world.names(&bob).contains("subscription_response"));
    world.pass_ms(200);
    let not_found: i32 = proto::SubscriptionError::SeTrackNotfound.into();
    assert!(
        world
            .names(&bob)
            .contains(&format!("subscription_response:{not_found}"))
    );
    world.pass_ms(120_000);
    assert!(!world.names(&bob).contains("subscription_response"), "once");
}

#[test]
fn wishes_about_names_that_are_no_sids_are_not_kept() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    world.request(&bob, subscribe(&"T".repeat(1_000), true));
    world.request(&bob, Request::TrackSetting(settings(&"T".repeat(65))));
    assert_eq!(world.room.stats().over_limit, 2);
}

/// The publisher offers its camera again, and is answered.
fn offer_again(world: &mut World, alice: &Client, id: u32) {
    let sections = [sdp::Section::data(), sdp::Section::of(&camera("cam"))];
    world.request(alice, Request::Offer(sdp::offer(id, &sections)));
}

#[test]
fn wanted_qualities_are_told_again_after_an_answer_to_the_publisher() {
    let (mut world, alice, _, _) = call(camera("cam"));
    assert_eq!(world.names(&alice), "");
    offer_again(&mut world, &alice, 2);
    world.pass_ms(1_900);
    assert!(!world.names(&alice).contains("subscribed_quality"));
    world.pass_ms(200);
    assert!(world.names(&alice).contains("subscribed_quality:1"));
}

#[test]
fn a_series_of_answers_delays_the_wanted_qualities_by_eight_seconds_at_most() {
    let (mut world, alice, _, _) = call(camera("cam"));
    for id in 2..8 {
        assert!(!world.names(&alice).contains("subscribed_quality"), "offer {id}");
        offer_again(&mut world, &alice, id);
        world.pass_ms(1_500);
    }
    // Nine seconds after the first answer. The next one begins another series.
    assert!(world.names(&alice).contains("subscribed_quality:1"));
    offer_again(&mut world, &alice, 8);
    world.pass_ms(1_900);
    assert!(!world.names(&alice).contains("subscribed_quality"));
    world.pass_ms(200);
    assert!(world.names(&alice).contains("subscribed_quality:1"));
}
