//! Coming back with a new signal connection.

use crate::sdp;
use crate::world::{World, camera, grant, microphone, wish, wish_protocol};
use media::api::{ChannelLabel, EventKind};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

#[test]
fn a_resume_of_nobody_is_told_to_start_anew() {
    let mut world = World::new();
    let nobody = world.join({
        let mut join = wish("ghost");
        join.resume = Some(Default::default());
        join
    });
    assert_eq!(world.names(&nobody), "leave:STATE_MISMATCH:RECONNECT");
    assert_eq!(world.closed, [nobody.connection]);
    let old = world.join({
        let mut join = wish_protocol("ghost", 12);
        join.resume = Some(Default::default());
        join
    });
    let messages = world.take(&old);
    let [Response::Leave(leave)] = &messages[..] else {
        panic!("a leave, not {messages:?}");
    };
    assert!(leave.can_reconnect);
}

#[test]
fn a_resume_gets_reconnect_everybody_and_the_room_in_order() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.enter(wish("bob"));
    let mut join = wish("ghost");
    grant(&mut join).hidden = true;
    world.enter(join);
    let sid = world.info("alice").sid;
    world.pass_ms(10_000);
    let packet = proto::DataPacket {
        sequence: 7,
        value: Some(proto::data_packet::Value::User(proto::UserPacket::default())),
        ..Default::default()
    };
    world.media(EventKind::Message {
        peer: alice.publisher,
        label: ChannelLabel::Reliable,
        data: packet.encode_to_vec(),
    });
    world.forget();
    let again = world.resume(&alice, wish("alice"));
    assert_eq!(
        world.closed,
        [alice.connection],
        "the old socket, without a leave"
    );
    assert_eq!(world.names(&alice), "");
    let messages = world.take(&again);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "reconnect update(alice=ACTIVE,bob=ACTIVE) room_update refresh_token offer trickle:SUBSCRIBER!"
    );
    let Response::Reconnect(reconnect) = &messages[0] else {
        panic!("reconnect");
    };
    assert_eq!(reconnect.last_message_seq, 7);
    assert_eq!(world.info("alice").sid, sid);
}

#[test]
fn a_resume_within_five_seconds_of_a_media_failure_keeps_the_session() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.media(EventKind::PeerFailed {
        peer: alice.primary(),
    });
    world.pass_ms(3_000);
    let again = world.resume(&alice, wish("alice"));
    world.answer(&again);
    world.pass_ms(15_000);
    world.connect(&again);
    world.pass_ms(60_000);
    assert_eq!(world.info("alice").identity, "alice");
}

#[test]
fn media_that_does_not_come_back_after_a_resume_ends_the_session() {
    // The client goes on signalling, or is never heard again.
    for signals in [true, false] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        world.media(EventKind::PeerFailed {
            peer: alice.primary(),
        });
        world.pass_ms(3_000);
        let again = world.resume(&alice, wish("alice"));
        if !signals {
            world.apply(room::Action::SignalClosed {
                connection: again.connection,
            });
        }
        world.pass_ms(19_900);
        assert!(world.find("alice").is_some());
        world.take(&again);
        world.pass_ms(200);
        let told = if signals {
            "leave:UNKNOWN_REASON:RESUME"
        } else {
            ""
        };
        assert_eq!(world.names(&again), told);
        world.pass_ms(5_000);
        assert_eq!(world.find("alice"), None, "signals: {signals}");
    }
}

#[test]
fn an_answer_to_an_offer_that_a_resume_replaced_changes_nothing() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    let old = sdp::answer_to(&world.last_offer(&bob));
    let again = world.resume(&bob, wish("bob"));
    let new = sdp::answer_to(&world.last_offer(&again));
    assert_ne!(old.id, new.id);
    world.forget();
    world.request(&again, Request::Answer(old));
    assert!(world.commands.is_empty(), "{:?}", world.commands);
    world.request(&again, Request::Answer(new));
    assert!(!world.commands.is_empty(), "the right one is applied");
    assert!(!world.names(&again).contains("leave"));
    assert!(world.closed.iter().all(|closed| *closed != again.connection));
}

#[test]
fn departures_missed_while_away_are_told_from_protocol_9_on() {
    for (protocol, told) in [(9, true), (8, false)] {
        let mut world = World::new();
        let alice = world.enter(wish_protocol("alice", protocol));
        let bob = world.enter(wish("bob"));
        world.pass_ms(10_000);
        world.apply(room::Action::SignalClosed {
            connection: alice.connection,
        });
        world.request(&bob, Request::Leave(proto::LeaveRequest::default()));
        world.pass_ms(5_000);
        let again = world.resume(&alice, wish_protocol("alice", protocol));
        assert_eq!(world.names(&again).contains("bob=DISCONNECTED"), told);
    }
}

#[test]
fn departures_of_who_came_back_are_not_told_from_protocol_12_on() {
    for (protocol, told) in [(12, false), (11, true)] {
        let mut world = World::new();
        let alice = world.enter(wish_protocol("alice", protocol));
        let bob = world.enter(wish("bob"));
        world.request(&bob, Request::Leave(proto::LeaveRequest::default()));
        world.enter(wish("bob"));
        let again = world.resume(&alice, wish_protocol("alice", protocol));
        let names = world.names(&again);
        assert_eq!(names.contains("bob=DISCONNECTED"), told, "{names}");
        assert!(names.contains("bob=ACTIVE"), "{names}");
    }
}

#[test]
fn a_state_that_does_not_match_ends_the_session() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    let state = |sid: &str| {
        Request::SyncState(proto::SyncState {
            publish_tracks: vec![proto::TrackPublishedResponse {
                cid: "mic".to_owned(),
                track: Some(proto::TrackInfo {
                    sid: sid.to_owned(),
                    ..Default::default()
                }),
            }],
            ..Default::default()
        })
    };
    world.forget();
    world.request(&alice, state(&sid));
    assert_eq!(world.names(&alice), "");
    world.request(&alice, state("TR_other"));
    assert_eq!(world.names(&alice), "leave:STATE_MISMATCH:RECONNECT");
}

#[test]
fn tracks_disabled_before_a_resume_stay_so_until_enabled() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.auto_subscribe = false;
    join.settings.adaptive_stream = false;
    let bob = world.enter(join);
    let sid = world.publish(&alice, camera("cam"));
    world.request(
        &bob,
        Request::SyncState(proto::SyncState {
            track_sids_disabled: vec![sid.clone()],
            subscription: Some(proto::UpdateSubscription {
                track_sids: vec![sid.clone()],
                subscribe: true,
                ..Default::default()
            }),
            ..Default::default()
        }),
    );
    world.pass_ms(200);
    world.answer(&bob);
    let enabled = |world: &World| {
        world
            .commands
            .iter()
            .rev()
            .find_map(|(_, command)| match command {
                media::api::Command::Subscribe { wish, .. } | media::api::Command::SetWish { wish, .. } => {
                    Some(wish.enabled)
                }
                _ => None,
            })
    };
    assert_eq!(enabled(&world), Some(false));
    world.request(
        &bob,
        Request::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![sid],
            ..Default::default()
        }),
    );
    assert_eq!(enabled(&world), Some(true));
}

/// What the media plane was told to send of copies, in order: with the copy or afterwards.
fn enabled(world: &World) -> Vec<bool> {
    world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            media::api::Command::Subscribe { wish, .. } | media::api::Command::SetWish { wish, .. } => {
                Some(wish.enabled)
            }
            _ => None,
        })
        .collect()
}

/// What a current client says of itself when it is back: tracks that it does not show, and that it
/// unsubscribed from nothing.
fn state_of(disabled: &[&String]) -> Request {
    Request::SyncState(proto::SyncState {
        track_sids_disabled: disabled.iter().map(|sid| (*sid).clone()).collect(),
        subscription: Some(proto::UpdateSubscription::default()),
        ..Default::default()
    })
}

#[test]
fn a_copy_of_an_adaptive_client_stays_disabled_over_a_resume() {
    // Disabled before the connection was lost, or first by what the client says when it is back.
    for before in [true, false] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let bob = world.enter(wish("bob"));
        world.pass_ms(1_000);
        let sid = world.publish(&alice, camera("cam"));
        world.pass_ms(150);
        world.answer(&bob);
        world.pass_ms(200);
        let settings = |disabled| {
            Request::TrackSetting(proto::UpdateTrackSettings {
                track_sids: vec![sid.clone()],
                disabled,
                ..Default::default()
            })
        };
        if before {
            world.request(&bob, settings(true));
            world.pass_ms(200);
            assert_eq!(enabled(&world).last(), Some(&false));
        }
        world.apply(room::Action::SignalClosed {
            connection: bob.connection,
        });
        world.pass_ms(2_000);
        world.forget();
        let again = world.resume(&bob, wish("bob"));
        world.request(&again, state_of(&[&sid]));
        world.answer(&again);
        world.pass_ms(5_000);
        let told = enabled(&world);
        assert_eq!(told, if before { vec![] } else { vec![false] });
        world.request(&again, settings(false));
        assert_eq!(enabled(&world).last(), Some(&true), "until it is shown");
    }
}

#[test]
fn only_pictures_are_enabled_when_an_adaptive_client_gets_them_anew() {
    for (request, starts) in [(camera("cam"), true), (microphone("mic"), false)] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let on_demand = || {
            let mut join = wish("bob");
            join.settings.auto_subscribe = false;
            join
        };
        let bob = world.enter(on_demand());
        let sid = world.publish(&alice, request);
        world.apply(room::Action::SignalClosed {
            connection: bob.connection,
        });
        world.pass_ms(1_000);
        world.forget();
        // It asked for the track while it had no connection: its state starts the copy.
        let again = world.resume(&bob, on_demand());
        world.request(
            &again,
            Request::SyncState(proto::SyncState {
                track_sids_disabled: vec![sid.clone()],
                subscription: Some(proto::UpdateSubscription {
                    track_sids: vec![sid],
                    subscribe: true,
                    ..Default::default()
                }),
                ..Default::default()
            }),
        );
        world.answer(&again);
        world.pass_ms(200);
        world.answer(&again);
        world.pass_ms(200);
        let told = enabled(&world);
        assert!(
            !told.is_empty() && told.iter().all(|enabled| *enabled == starts),
            "{told:?}"
        );
    }
}

#[test]
fn what_happens_while_a_client_is_away_is_told_once_behind_the_reconnect() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    grant(&mut join).can_update_own_metadata = Some(true);
    let bob = world.enter(join);
    let carol = world.enter(wish("carol"));
    world.pass_ms(10_000);
    world.apply(room::Action::SignalClosed {
        connection: alice.connection,
    });
    world.forget();
    let sid = world.publish(&bob, microphone("mic"));
    world.request(
        &bob,
        Request::UpdateMetadata(proto::UpdateParticipantMetadata {
            name: "Robert".to_owned(),
            ..Default::default()
        }),
    );
    world.request(&carol, Request::Leave(proto::LeaveRequest::default()));
    let call = room::ApiCall::UpdateRoomMetadata {
        metadata: "meanwhile".to_owned(),
    };
    world.api(call).expect("a room that is there");
    world.pass_ms(3_000);
    // Its join waits to be told with the next batch.
    world.enter(wish("dave"));
    world.pass_ms(500);
    assert_eq!(world.names(&alice), "", "nothing goes to the lost connection");

    let again = world.resume(&alice, wish("alice"));
    let messages = world.take(&again);
    let names: Vec<_> = messages.iter().map(crate::world::name).collect();
    assert_eq!(
        names.join(" "),
        "reconnect update(carol=DISCONNECTED) update(alice=ACTIVE,bob=ACTIVE,dave=ACTIVE) room_update \
         refresh_token offer trickle:SUBSCRIBER!"
    );
    let (Response::Update(update), Response::RoomUpdate(room)) = (&messages[2], &messages[3]) else {
        panic!("everybody, then the room");
    };
    let told = &update.participants[1];
    assert_eq!((told.name.as_str(), &told.tracks[0].sid), ("Robert", &sid));
    assert_eq!(*told, world.info("bob"));
    assert_eq!(room.room.as_ref().expect("a room").metadata, "meanwhile");
    let Response::Offer(offer) = &messages[5] else {
        panic!("an offer");
    };
    assert!(
        offer.mid_to_track_id.values().eq([&sid]),
        "the track that came meanwhile"
    );

    world.request(&again, state_of(&[]));
    world.answer(&again);
    world.pass_ms(10_000);
    let later = world.names(&again);
    for told in ["carol", "bob=", "alice=", "reconnect"] {
        assert!(!later.contains(told), "told before: {later}");
    }
}
