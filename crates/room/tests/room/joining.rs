//! Joins: contents of the join response and the order of what follows it.

use crate::sdp;
use crate::world::{World, camera, config, dependents, grant, microphone, wish, wish_protocol, wish_single};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

fn join_response(messages: Vec<Response>) -> proto::JoinResponse {
    match messages.into_iter().next() {
        Some(Response::Join(join)) => join,
        other => panic!("the first message is join, not {other:?}"),
    }
}

#[test]
fn a_dual_join_is_answered_with_join_token_offer_and_candidates() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    assert_eq!(
        world.names(&alice),
        "join refresh_token offer trickle:SUBSCRIBER!"
    );
}

#[test]
fn only_the_last_of_several_candidates_is_final() {
    let two_sockets = |mut join: room::Join| {
        let address = |address: &str| media::api::LocalSocket {
            address: address.parse().expect("an address"),
        };
        join.placement.sockets = vec![address("127.0.0.1:7882"), address("[::1]:7882")];
        join
    };
    let mut world = World::new();
    let alice = world.enter(two_sockets(wish("alice")));
    let messages = world.take(&alice);
    let trickled: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Response::Trickle(trickle) => Some(trickle),
            _ => None,
        })
        .collect();
    let [first, last] = trickled[..] else {
        panic!("a candidate of each socket, not {trickled:?}");
    };
    assert!(first.candidate_init.contains("127.0.0.1") && last.candidate_init.contains("::1"));
    assert!(!first.r#final && last.r#final);
    let single = world.join(two_sockets(wish_single("bob", 1, 1)));
    assert!(
        world
            .names(&single)
            .ends_with("answer trickle:PUBLISHER trickle:PUBLISHER!")
    );
    // An ICE restart makes new candidates, which end with a final one, too.
    let again = world.resume(&alice, wish("alice"));
    assert!(
        world
            .names(&again)
            .ends_with("offer trickle:SUBSCRIBER trickle:SUBSCRIBER!")
    );
}

#[test]
fn the_join_response_has_every_field_of_the_reference() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    let join = join_response(world.take(&alice));
    let room = join.room.expect("a room");
    assert!(room.sid.starts_with("RM_") && room.sid.len() == 15);
    assert_eq!(
        (room.name.as_str(), room.empty_timeout, room.departure_timeout),
        ("test", 300, 20)
    );
    assert_eq!(
        (room.creation_time, room.creation_time_ms),
        (1_700_000_000, 1_700_000_000_000)
    );
    assert_eq!((room.enabled_codecs.len(), room.num_participants), (10, 0));
    assert!(!room.turn_password.is_empty());
    let own = join.participant.expect("a participant");
    assert!(own.sid.starts_with("PA_") && own.sid.len() == 15);
    assert_eq!(own.state(), proto::participant_info::State::Joining);
    assert_eq!((own.version, own.joined_at), (0, 1_700_000_000));
    let permission = own.permission.expect("a permission");
    assert!(permission.can_publish && permission.can_subscribe && permission.can_publish_data);
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert_eq!(join.server_version, "1.13.11");
    assert_eq!(join.server_info.expect("server info").protocol, 18);
    assert!(join.subscriber_primary && join.fast_publish);
    assert!(join.sif_trailer.len() >= 40 && join.sif_trailer.is_ascii());
    assert!(join.client_configuration.is_none() && join.alternative_url.is_empty());
    let codecs: Vec<_> = join
        .enabled_publish_codecs
        .iter()
        .map(|codec| codec.mime.as_str())
        .collect();
    assert_eq!(codecs[..3], ["video/VP8", "video/H264", "video/VP9"]);
    assert_eq!(codecs[codecs.len() - 1], "audio/red");
}

#[test]
fn ice_lite_is_not_used_towards_those_that_cannot_have_it() {
    let mut world = World::with({
        let mut config = config();
        config.ice_lite = true;
        config
    });
    let browser = |identity: &str, browser: &str| {
        let mut join = wish(identity);
        join.client.browser = browser.to_owned();
        join
    };
    let mut unwilling = wish("unwilling");
    unwilling.settings.disable_ice_lite = true;
    for (join, lite) in [
        (browser("chrome", "Chrome"), true),
        (wish_protocol("six", 6), true),
        (browser("firefox", "Firefox"), false),
        (browser("mobile", "Firefox Mobile"), false),
        (wish_protocol("five", 5), false),
        (unwilling, false),
    ] {
        let who = join.claims.identity.clone();
        world.forget();
        let client = world.join(join);
        let inits = world.commands.iter().filter_map(|(_, command)| match command {
            media::api::Command::AddPeer { ice_lite, .. } => Some(*ice_lite),
            _ => None,
        });
        assert_eq!(inits.collect::<Vec<_>>(), [lite, lite], "{who}");
        let offer = world.last_offer(&client).sdp;
        assert_eq!(offer.contains("a=ice-lite"), lite, "{who}: {offer}");
        let request = proto::signal_request::Message::Offer(sdp::offer(1, &[sdp::Section::data()]));
        world.request(&client, request);
        let messages = world.take(&client);
        let answer = messages.iter().find_map(|message| match message {
            Response::Answer(answer) => Some(&answer.sdp),
            _ => None,
        });
        let answer = answer.expect("an answer");
        assert_eq!(answer.contains("a=ice-lite"), lite, "{who}: {answer}");
    }
}

#[test]
fn firefox_is_told_not_to_use_av1() {
    let mut world = World::new();
    let mut join = wish("alice");
    join.client.browser = "Firefox".to_owned();
    let alice = world.join(join);
    let configuration = join_response(world.take(&alice))
        .client_configuration
        .expect("rules");
    assert_eq!(
        configuration.disabled_codecs.expect("codecs").codecs[0].mime,
        "video/AV1"
    );
}

#[test]
fn others_but_hidden_ones_stand_in_the_join_response_with_their_tracks() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    let mut ghost = wish("ghost");
    grant(&mut ghost).hidden = true;
    world.join(ghost);
    let bob = world.join(wish("bob"));
    let others = join_response(world.take(&bob)).other_participants;
    assert_eq!(others.len(), 1);
    assert_eq!(others[0].identity, "alice");
    assert_eq!(others[0].tracks[0].sid, sid);
}

#[test]
fn protocol_below_3_or_no_subscribing_means_no_offer_at_join() {
    let mut world = World::new();
    let old = world.join(wish_protocol("old", 2));
    assert_eq!(world.names(&old), "join refresh_token");
    let mut join = wish("sender");
    grant(&mut join).can_subscribe = Some(false);
    let sender = world.join(join);
    let messages = world.take(&sender);
    assert_eq!(messages.len(), 2);
    assert!(!join_response(messages).subscriber_primary);
}

#[test]
fn a_single_join_processes_its_tracks_and_offer_at_once() {
    let mut world = World::new();
    let mut join = wish("alice");
    join.single_peer_connection = true;
    join.add_tracks = vec![camera("cam"), microphone("mic")];
    join.publisher_offer = Some(sdp::offer(
        5,
        &[
            sdp::Section::data(),
            sdp::Section::of(&microphone("mic")),
            sdp::Section::of(&camera("cam")),
        ],
    ));
    let alice = world.join(join);
    let messages = world.take(&alice);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "join track_published track_published refresh_token answer trickle:PUBLISHER!"
    );
    let Response::Answer(answer) = &messages[4] else {
        panic!("an answer");
    };
    assert_eq!((answer.id, answer.r#type.as_str()), (5, "answer"));
    assert!(!join_response(messages).subscriber_primary);
}

#[test]
fn a_single_joiner_gets_existing_tracks_in_its_first_answer() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    let bob = world.join(wish_single("bob", 3, 3));
    let messages = world.take(&bob);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "join refresh_token permission:true answer trickle:PUBLISHER!"
    );
    let Response::Answer(answer) = &messages[3] else {
        panic!("an answer");
    };
    assert_eq!(answer.mid_to_track_id.get("1"), Some(&sid));
}

#[test]
fn a_late_joiner_gets_the_data_channels_first_and_all_tracks_in_the_second_offer() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let microphone_sid = world.publish(&alice, microphone("mic"));
    let bob = world.join(wish("bob"));
    let messages = world.take(&bob);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "join refresh_token offer trickle:SUBSCRIBER! permission:true"
    );
    let Response::Offer(first) = &messages[2] else {
        panic!("an offer");
    };
    assert!(first.sdp.contains("m=application") && !first.sdp.contains("m=audio"));
    assert!(first.mid_to_track_id.is_empty());
    let (id, answer) = (first.id, sdp::answer_to(first));
    world.request(&bob, proto::signal_request::Message::Answer(answer));
    let messages = world.take(&bob);
    let [Response::Offer(second)] = &messages[..] else {
        panic!("one offer, not {messages:?}");
    };
    assert_eq!(second.id, id + 1);
    assert_eq!(
        second.mid_to_track_id.values().collect::<Vec<_>>(),
        [&microphone_sid]
    );
    world.pass_ms(1_000);
    assert!(!world.names(&bob).contains("offer"), "all of them together");
}

#[test]
fn protocol_7_subscribes_only_when_active() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, microphone("mic"));
    let bob = world.join(wish_protocol("bob", 7));
    assert_eq!(world.names(&bob), "join refresh_token offer trickle:SUBSCRIBER!");
    world.connect(&bob);
    assert_eq!(world.names(&bob), "permission:true");
}

#[test]
fn a_participant_is_active_when_its_primary_peer_is_connected() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    let state = |world: &mut World| world.info("alice").state().as_str_name();
    assert_eq!(state(&mut world), "JOINED");
    world.media(media::api::EventKind::PeerConnected {
        peer: alice.publisher,
    });
    assert_eq!(state(&mut world), "JOINED");
    world.media(media::api::EventKind::PeerConnected {
        peer: alice.primary(),
    });
    assert_eq!(state(&mut world), "ACTIVE");
}

#[test]
fn a_participant_that_never_becomes_active_is_removed_after_a_minute() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.forget();
    world.pass_ms(59_900);
    assert!(world.closed.is_empty());
    world.forget();
    world.pass_ms(200);
    assert_eq!(world.names(&alice), "leave:JOIN_FAILURE:DISCONNECT");
    assert_eq!(world.closed, [alice.connection]);
    world.pass_ms(3_000);
    assert_eq!(world.names(&bob), "update(alice=DISCONNECTED)");
}

#[test]
fn a_second_join_of_an_identity_replaces_the_first() {
    let mut world = World::new();
    let watcher = world.enter(wish_protocol("watcher", 11));
    let modern = world.enter(wish_protocol("modern", 12));
    let first = world.enter(wish("alice"));
    let first_sid = world.info("alice").sid;
    world.pass_ms(3_100);
    world.forget();
    let second = world.enter(wish("alice"));
    assert_eq!(world.names(&first), "leave:DUPLICATE_IDENTITY:DISCONNECT");
    assert_eq!(world.closed, [first.connection]);
    assert_ne!(world.info("alice").sid, first_sid);
    // Old clients see the old session end; those that go by identity do not.
    assert_eq!(world.names(&watcher), "update(alice=DISCONNECTED,alice=JOINED)");
    assert_eq!(world.names(&modern), "update(alice=JOINED)");
    assert!(world.names(&second).starts_with("join "));
}

#[test]
fn a_full_room_refuses_but_agents_are_not_counted() {
    let mut world = World::with({
        let mut config = config();
        config.max_participants = 1;
        config
    });
    world.join(wish("alice"));
    let bob = world.join(wish("bob"));
    assert_eq!(
        world.refused,
        [(bob.connection, "connection closed by media".to_owned())]
    );
    let mut agent = wish("bot");
    agent.claims.kind = "agent".to_owned();
    let agent = world.join(agent);
    assert!(world.names(&agent).starts_with("join "));
}

#[test]
fn a_busy_server_refuses_newcomers_but_nobody_who_is_here() {
    let busy = |mut join: room::Join| {
        join.full = true;
        join
    };
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.join(busy(wish("bob")));
    assert_eq!(
        world.refused,
        [(
            bob.connection,
            "node has exceeded its configured limit".to_owned()
        )]
    );
    // A full reconnect is a join of somebody who is here, as far as the room knows.
    let again = world.join(busy(wish("alice")));
    assert_ne!(again.connection, alice.connection);
    assert!(world.names(&again).starts_with("join "));
    assert_eq!(world.refused.len(), 1);
}

#[test]
fn dependents_that_came_first_leave_the_room_to_its_participants() {
    let mut world = World::with({
        let mut config = config();
        config.max_participants = 1;
        config
    });
    for dependent in dependents() {
        world.enter(dependent);
    }
    world.enter(wish("alice"));
    assert!(world.refused.is_empty());
    let bob = world.join(wish("bob"));
    assert_eq!(
        world.refused,
        [(bob.connection, "connection closed by media".to_owned())]
    );
}

#[test]
fn too_much_metadata_or_attributes_refuse_the_join() {
    let mut world = World::new();
    let mut join = wish("alice");
    join.metadata = Some("m".repeat(512 * 1024 + 1));
    world.join(join);
    let mut join = wish("bob");
    join.attributes = vec![("big".to_owned(), "v".repeat(64 * 1024))];
    world.join(join);
    assert_eq!(world.refused.len(), 2);
}

#[test]
fn client_metadata_overrides_and_attributes_merge_over_the_token() {
    let mut world = World::new();
    let mut join = wish("alice");
    join.claims.metadata = "token".to_owned();
    join.claims.attributes = [("a", "1"), ("b", "2")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    join.metadata = Some("client".to_owned());
    join.attributes = vec![("a".to_owned(), "x".to_owned()), ("b".to_owned(), String::new())];
    world.join(join);
    let info = world.info("alice");
    assert_eq!(info.metadata, "client");
    assert_eq!(
        (info.attributes["a"].as_str(), info.attributes["b"].as_str()),
        ("x", "2")
    );
}

#[test]
fn tokens_are_refreshed_after_the_join_and_every_five_minutes() {
    let mut world = World::new();
    world.enter(wish("alice"));
    assert_eq!(world.tokens.len(), 1);
    assert_eq!(world.tokens[0].2, 3_600, "as long as the client's own token");
    world.pass_ms(300_000);
    assert_eq!(world.tokens.len(), 2);
    assert_eq!(world.tokens[1].2, 3_300);
    world.pass_ms(3_000_000);
    assert_eq!(
        world.tokens.last().expect("a token").2,
        600,
        "at least ten minutes"
    );
}

#[test]
fn same_seed_and_same_actions_give_the_same_effects() {
    let run = || {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        world.publish(&alice, camera("cam"));
        let bob = world.enter(wish_single("bob", 1, 1));
        world.pass_ms(10_000);
        format!(
            "{:?} {:?} {:?}",
            world.take(&alice),
            world.take(&bob),
            world.listed
        )
    };
    // Attribute maps of protobuf have no order; none are used here.
    assert_eq!(run(), run());
}

/// When the offers came that a late joiner with this SDK was sent, in ms since its join, and when its
/// data channel opened.
fn offers_of_a_late_joiner(sdk: proto::client_info::Sdk, opens_at: Option<u64>) -> Vec<u64> {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.pass_ms(1_000);
    world.publish(&alice, microphone("mic"));
    let mut join = wish("bob");
    join.client.sdk = sdk.into();
    let bob = world.join(join);
    let mut times = Vec::new();
    for ms in 0..400 {
        let came = world.take(&bob);
        if came.iter().any(|message| matches!(message, Response::Offer(_))) {
            times.push(ms);
            for message in &came {
                if let Response::Offer(offer) = message {
                    world.request(&bob, Request::Answer(sdp::answer_to(offer)));
                }
            }
        }
        if opens_at == Some(ms) {
            world.connect(&bob);
        }
        world.pass_ms(1);
    }
    times
}

#[test]
fn the_second_offer_waits_for_clients_that_may_not_take_it_while_they_connect() {
    use proto::client_info::Sdk;
    assert_eq!(offers_of_a_late_joiner(Sdk::Unknown, None), [0, 150]);
    assert_eq!(offers_of_a_late_joiner(Sdk::Esp32, Some(300)), [0, 150]);
    assert_eq!(offers_of_a_late_joiner(Sdk::Unknown, Some(20)), [0, 20 + 1]);
    let at_once = offers_of_a_late_joiner(Sdk::Js, None);
    assert!(at_once[1] <= 1, "browsers take it at any time: {at_once:?}");
}
