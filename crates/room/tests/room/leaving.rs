//! Leaving, losing the signal connection, losing media.

use crate::world::{World, grant, microphone, wish, wish_protocol};
use media::api::{Command, EventKind};
use proto::DisconnectReason as Reason;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

fn leave(reason: Reason) -> Request {
    Request::Leave(proto::LeaveRequest {
        reason: reason.into(),
        ..Default::default()
    })
}

#[test]
fn a_client_that_leaves_gets_a_leave_and_its_peers_are_closed() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    world.request(&alice, leave(Reason::UnknownReason));
    assert_eq!(world.names(&alice), "leave:CLIENT_INITIATED:DISCONNECT");
    assert_eq!(world.closed, [alice.connection]);
    let closed = world
        .commands
        .iter()
        .filter(|(_, command)| matches!(command, Command::ClosePeer { .. }));
    assert_eq!(closed.count(), 2);
}

#[test]
fn some_leave_reasons_are_kept_and_others_are_client_initiated() {
    for (given, told) in [
        (Reason::UserRejected, "USER_REJECTED"),
        (Reason::UserUnavailable, "USER_UNAVAILABLE"),
        (Reason::AgentError, "AGENT_ERROR"),
        (Reason::SipTrunkFailure, "SIP_TRUNK_FAILURE"),
        (Reason::ServerShutdown, "CLIENT_INITIATED"),
        (Reason::ParticipantRemoved, "CLIENT_INITIATED"),
    ] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let bob = world.enter(wish("bob"));
        world.publish(&alice, microphone("mic"));
        world.forget();
        world.request(&alice, leave(given));
        assert_eq!(world.names(&alice), format!("leave:{told}:DISCONNECT"));
        let messages = world.take(&bob);
        let Some(proto::signal_response::Message::Update(update)) = messages.first() else {
            panic!("an update, not {messages:?}");
        };
        let info = &update.participants[0];
        assert_eq!(info.disconnect_reason().as_str_name(), told);
        assert!(info.tracks.is_empty());
    }
}

#[test]
fn a_publisher_that_leaves_is_reported_at_once_and_a_subscriber_with_the_batch() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let alice = world.enter(wish("alice"));
    let carol = world.enter(wish("carol"));
    world.publish(&alice, microphone("mic"));
    world.pass_ms(6_000);
    world.forget();
    world.request(&alice, leave(Reason::ClientInitiated));
    assert_eq!(world.names(&bob), "update(alice=DISCONNECTED)");
    world.request(&carol, leave(Reason::ClientInitiated));
    assert_eq!(world.names(&bob), "");
    world.pass_ms(3_000);
    assert!(world.names(&bob).contains("update(carol=DISCONNECTED)"));
}

#[test]
fn old_clients_get_a_leave_without_action() {
    let mut world = World::new();
    let alice = world.enter(wish_protocol("alice", 12));
    world.forget();
    world.request(&alice, Request::Offer(proto::SessionDescription::default()));
    let messages = world.take(&alice);
    let [proto::signal_response::Message::Leave(leave)] = &messages[..] else {
        panic!("a leave, not {messages:?}");
    };
    assert!(leave.can_reconnect);
    assert_eq!(leave.action, 0);
}

#[test]
fn unusable_sdp_ends_the_session_with_state_mismatch() {
    for garbage in ["garbage", "", "v=0\r\n"] {
        let description = |kind: &str| proto::SessionDescription {
            r#type: kind.to_owned(),
            sdp: garbage.to_owned(),
            ..Default::default()
        };
        for request in [
            Request::Offer(description("offer")),
            Request::Answer(description("answer")),
        ] {
            let mut world = World::new();
            let alice = world.join(wish("alice"));
            world.forget();
            world.request(&alice, request);
            assert_eq!(world.names(&alice), "leave:STATE_MISMATCH:RECONNECT");
            assert_eq!(world.closed, [alice.connection]);
        }
    }
}

#[test]
fn an_answer_in_single_mode_is_ignored() {
    let mut world = World::new();
    let alice = world.join(crate::world::wish_single("alice", 1, 1));
    world.forget();
    world.request(&alice, Request::Answer(proto::SessionDescription::default()));
    assert_eq!(world.names(&alice), "");
    assert!(world.closed.is_empty());
}

#[test]
fn losing_the_signal_before_ice_ever_connected_removes_the_participant() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    world.apply(room::Action::SignalClosed {
        connection: alice.connection,
    });
    assert!(participants(&mut world).is_empty());
}

#[test]
fn losing_the_signal_later_leaves_the_session_to_its_media() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.apply(room::Action::SignalClosed {
        connection: alice.connection,
    });
    world.pass_ms(120_000);
    assert_eq!(participants(&mut world), ["alice"]);
}

#[test]
fn failed_media_asks_for_a_resume_and_ends_the_session_after_five_seconds() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(6_000);
    world.forget();
    world.media(EventKind::PeerFailed {
        peer: alice.primary(),
    });
    assert_eq!(world.names(&alice), "leave:UNKNOWN_REASON:RESUME");
    assert_eq!(world.closed, [alice.connection]);
    world.pass_ms(4_900);
    assert_eq!(participants(&mut world), ["alice", "bob"]);
    world.pass_ms(200);
    assert_eq!(participants(&mut world), ["bob"]);
    world.pass_ms(3_000);
    let messages = world.take(&bob);
    let reason = messages.iter().find_map(|message| match message {
        proto::signal_response::Message::Update(update) => Some(update.participants[0].disconnect_reason()),
        _ => None,
    });
    assert_eq!(reason, Some(Reason::ConnectionTimeout));
}

#[test]
fn a_leaver_that_was_hidden_is_not_reported() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let mut ghost = wish("ghost");
    grant(&mut ghost).hidden = true;
    let ghost = world.enter(ghost);
    world.pass_ms(6_000);
    world.forget();
    world.request(&ghost, leave(Reason::ClientInitiated));
    world.pass_ms(4_000);
    assert!(!world.names(&bob).contains("ghost"));
}

fn participants(world: &mut World) -> Vec<String> {
    match world.api(room::ApiCall::ListParticipants) {
        Ok(room::ApiReply::Participants(infos)) => infos.into_iter().map(|info| info.identity).collect(),
        other => panic!("{other:?}"),
    }
}
