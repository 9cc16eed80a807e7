//! Failures that clients ask for.

use crate::world::{Client, World, grant, microphone, wish};
use proto::simulate_scenario::Scenario;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

fn simulate(world: &mut World, client: &Client, scenario: Scenario) {
    world.take(client);
    world.request(
        client,
        Request::Simulate(proto::SimulateScenario {
            scenario: Some(scenario),
        }),
    );
}

#[test]
fn a_simulated_speaker_speaks_and_falls_silent() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    simulate(&mut world, &alice, Scenario::SpeakerUpdate(3));
    let speakers = |world: &mut World| {
        world.take(&alice).into_iter().find_map(|message| match message {
            Response::SpeakersChanged(changed) => Some(changed.speakers[0].active),
            _ => None,
        })
    };
    assert_eq!(speakers(&mut world), Some(true));
    world.pass_ms(2_900);
    assert_eq!(speakers(&mut world), None);
    world.pass_ms(200);
    assert_eq!(speakers(&mut world), Some(false));
}

#[test]
fn a_simulated_speaker_is_told_to_those_who_hear_it() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let mut join = wish("ghost");
    grant(&mut join).hidden = true;
    let ghost = world.enter(join);
    let speaks = |world: &mut World, client: &Client| world.names(client).contains("speakers_changed");
    simulate(&mut world, &ghost, Scenario::SpeakerUpdate(3));
    assert!(speaks(&mut world, &ghost));
    assert!(!speaks(&mut world, &bob), "nobody sees who is hidden");
    simulate(&mut world, &alice, Scenario::SpeakerUpdate(3));
    assert!(!speaks(&mut world, &bob), "bob has nothing of alice's");
    world.publish(&alice, microphone("mic"));
    world.pass_ms(200);
    simulate(&mut world, &alice, Scenario::SpeakerUpdate(3));
    assert!(speaks(&mut world, &bob));
}

#[test]
fn failures_end_sessions_silently_and_a_leave_is_told() {
    for (scenario, told) in [
        (Scenario::NodeFailure(true), ""),
        (Scenario::Migration(true), ""),
        (Scenario::ServerLeave(true), "leave:SERVER_SHUTDOWN:DISCONNECT"),
    ] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        simulate(&mut world, &alice, scenario);
        assert_eq!(world.names(&alice), told);
        assert_eq!(world.closed, [alice.connection]);
        assert_eq!(world.room.gauges().participants, 0);
    }
}

#[test]
fn the_next_resume_is_cut_after_its_messages() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    simulate(&mut world, &alice, Scenario::DisconnectSignalOnResume(true));
    let first = world.resume(&alice, wish("alice"));
    assert!(world.names(&first).starts_with("reconnect "));
    assert!(world.closed.contains(&first.connection));
    let second = world.resume(&alice, wish("alice"));
    assert!(world.names(&second).starts_with("reconnect "));
    assert!(!world.closed.contains(&second.connection));
}

#[test]
fn three_resumes_are_cut_before_any_message() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    simulate(
        &mut world,
        &alice,
        Scenario::DisconnectSignalOnResumeNoMessages(true),
    );
    for _ in 0..3 {
        let again = world.resume(&alice, wish("alice"));
        assert_eq!(world.names(&again), "");
        assert!(world.closed.contains(&again.connection));
    }
    assert_eq!(world.refused.len(), 0);
    let again = world.resume(&alice, wish("alice"));
    assert!(world.names(&again).starts_with("reconnect "));
}

#[test]
fn a_cut_resume_ends_a_session_whose_media_never_connected() {
    let mut world = World::new();
    let alice = world.join(wish("alice"));
    simulate(
        &mut world,
        &alice,
        Scenario::DisconnectSignalOnResumeNoMessages(true),
    );
    let first = world.resume(&alice, wish("alice"));
    assert_eq!(world.names(&first), "");
    assert_eq!(world.closed, [alice.connection, first.connection]);
    let second = world.resume(&alice, wish("alice"));
    assert_eq!(world.names(&second), "leave:STATE_MISMATCH:RECONNECT");
}

#[test]
fn switching_the_candidates_protocol_restarts_ice_of_the_subscriber() {
    use proto::CandidateProtocol as Protocol;
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Tls] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let scenario = Scenario::SwitchCandidateProtocol(protocol.into());
        simulate(&mut world, &alice, scenario);
        assert_eq!(world.names(&alice), "offer trickle:SUBSCRIBER!");
    }
}

#[test]
fn a_bandwidth_and_a_full_reconnect_are_accepted_without_effect() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    for scenario in [
        Scenario::SubscriberBandwidth(100_000),
        Scenario::LeaveRequestFullReconnect(true),
    ] {
        simulate(&mut world, &alice, scenario);
        assert_eq!(world.names(&alice), "");
    }
    assert_eq!(world.closed, []);
}
