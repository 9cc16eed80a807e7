//! Coming back with a new signal connection.

use crate::world::{World, grant, microphone, wish, wish_protocol};
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
    let sid = world.publish(&alice, crate::world::camera("cam"));
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
