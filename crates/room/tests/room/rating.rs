//! Connection quality: who is told what, and when.

use crate::world::{Client, World, camera, microphone, wish, wish_protocol};
use media::api::{Codec, Command, DownKey, DownReception, DownWindow, EventKind, TrackKey, UpWindow};
use proto::ConnectionQuality::{Excellent, Good, Lost, Poor};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

/// What a client was told since the last look: (identity, quality), one list per message.
fn told(world: &mut World, client: &Client) -> Vec<Vec<(String, proto::ConnectionQuality)>> {
    let messages: Vec<_> = world
        .qualities
        .iter()
        .filter(|(connection, _)| *connection == client.connection)
        .map(|(_, infos)| infos.clone())
        .collect();
    world
        .qualities
        .retain(|(connection, _)| *connection != client.connection);
    let names: Vec<_> = ["alice", "bob", "deaf", "old"]
        .into_iter()
        .filter_map(|identity| Some((world.find(identity)?, identity)))
        .collect();
    let name = |sid: &str| names.iter().find(|(own, _)| own == sid).expect("somebody here").1;
    messages
        .iter()
        .map(|infos| {
            infos
                .iter()
                .map(|info| (name(&info.participant_sid).to_owned(), info.quality()))
                .collect()
        })
        .collect()
}

fn about(list: &[(&str, proto::ConnectionQuality)]) -> Vec<(String, proto::ConnectionQuality)> {
    list.iter()
        .map(|(name, quality)| ((*name).to_owned(), *quality))
        .collect()
}

fn up(track: TrackKey, expected: u32, lost: u32) -> UpWindow {
    UpWindow {
        track,
        expected,
        lost,
        reported: true,
        top: Some(2),
        top_ever: 2,
        rates: Default::default(),
    }
}

fn windows(world: &mut World, ups: Vec<UpWindow>, downs: Vec<DownWindow>) {
    world.media(EventKind::Windows { ups, downs });
}

/// Alice, whose microphone bob receives; the first windows are past.
fn call() -> (World, Client, Client, TrackKey, DownKey) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.publish(&alice, microphone("mic"));
    let (track, _) = world.published_track();
    world.pass_ms(1_000);
    world.answer(&bob);
    let down = world
        .commands
        .iter()
        .find_map(|(_, command)| match command {
            Command::Subscribe { down, .. } => Some(*down),
            _ => None,
        })
        .expect("bob gets a copy");
    world.pass_ms(3_800);
    windows(&mut world, vec![up(track, 250, 0)], Vec::new());
    world.pass_ms(200);
    world.qualities.clear();
    (world, alice, bob, track, down)
}

#[test]
fn everybody_hears_of_itself_and_of_its_publishers_on_a_five_second_tick() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let mut join = wish("deaf");
    join.settings.auto_subscribe = false;
    let deaf = world.enter(join);
    let old = world.enter(wish_protocol("old", 4));
    world.publish(&alice, microphone("mic"));
    let first = told(&mut world, &bob);
    assert_eq!(
        first,
        [about(&[("alice", Excellent)])],
        "with the first track of alice"
    );
    world.pass_ms(4_999);
    assert!(world.qualities.is_empty(), "before the tick");
    world.pass_ms(1);
    assert_eq!(told(&mut world, &alice), [about(&[("alice", Excellent)])]);
    assert_eq!(
        told(&mut world, &bob),
        [about(&[("bob", Excellent), ("alice", Excellent)])]
    );
    assert_eq!(told(&mut world, &deaf), [about(&[("deaf", Excellent)])]);
    assert!(
        told(&mut world, &old).is_empty(),
        "protocol 4 does not know of it"
    );
    world.pass_ms(20_000);
    assert!(world.qualities.is_empty(), "nothing changed");
}

#[test]
fn loss_of_a_publisher_is_told_and_its_recovery_too() {
    let (mut world, alice, bob, track, _) = call();
    for (lost, quality) in [
        (40, Some(Good)),
        (100, Some(Poor)),
        (100, None),
        (0, Some(Good)),
        (0, None),
    ] {
        world.pass_ms(4_900);
        windows(&mut world, vec![up(track, 250, lost)], Vec::new());
        world.pass_ms(100);
        let expected: Vec<_> = quality.into_iter().collect();
        let own: Vec<_> = expected
            .iter()
            .map(|quality| about(&[("alice", *quality)]))
            .collect();
        assert_eq!(told(&mut world, &alice), own, "{lost}");
        let of_bob: Vec<_> = expected
            .iter()
            .map(|quality| about(&[("bob", Excellent), ("alice", *quality)]))
            .collect();
        assert_eq!(told(&mut world, &bob), of_bob, "{lost}");
    }
}

#[test]
fn loss_of_a_subscriber_is_its_own() {
    let (mut world, alice, bob, track, down) = call();
    let lossy = DownWindow {
        down,
        codec: Codec::Opus,
        reception: DownReception::Reported {
            expected: 250,
            lost: 50,
        },
    };
    windows(&mut world, vec![up(track, 250, 0)], vec![lossy]);
    world.pass_ms(5_000);
    assert_eq!(told(&mut world, &alice), [about(&[("alice", Excellent)])]);
    assert_eq!(
        told(&mut world, &bob),
        [about(&[("bob", Poor), ("alice", Excellent)])]
    );
    world.qualities.clear();
    // Muted: nothing is to come any more, so nothing is amiss.
    let sid = world.info("alice").tracks[0].sid.clone();
    world.request(
        &alice,
        Request::Mute(proto::MuteTrackRequest { sid, muted: true }),
    );
    world.pass_ms(5_000);
    assert_eq!(
        told(&mut world, &bob),
        [about(&[("bob", Excellent), ("alice", Excellent)])]
    );
}

#[test]
fn loss_in_silence_weighs_little() {
    let (mut world, alice, bob, track, down) = call();
    let copy = |expected, lost| DownWindow {
        down,
        codec: Codec::Opus,
        reception: DownReception::Reported { expected, lost },
    };
    for _ in 0..12 {
        windows(&mut world, vec![up(track, 250, 0)], Vec::new());
        world.pass_ms(5_000);
    }
    // The same part of a window's packets is lost: first of silence, then of speech. The track is RED and the
    // copy Opus, which suffers twice as much.
    windows(&mut world, vec![up(track, 12, 4)], vec![copy(12, 2)]);
    world.pass_ms(5_000);
    assert!(world.qualities.is_empty(), "all is excellent as before");
    windows(&mut world, vec![up(track, 240, 80)], vec![copy(240, 40)]);
    world.pass_ms(5_000);
    assert_eq!(told(&mut world, &alice), [about(&[("alice", Poor)])]);
    assert_eq!(told(&mut world, &bob), [about(&[("bob", Poor), ("alice", Poor)])]);
}

#[test]
fn lost_is_told_when_packets_are_due_and_nothing_comes() {
    let (mut world, alice, bob, track, _) = call();
    let old = world.enter(wish_protocol("old", 10));
    world.pass_ms(100);
    world.answer(&old);
    world.qualities.clear();
    let dead = UpWindow {
        reported: false,
        top: None,
        ..up(track, 0, 0)
    };
    windows(&mut world, vec![dead], Vec::new());
    world.pass_ms(5_000);
    assert_eq!(told(&mut world, &alice), [about(&[("alice", Lost)])]);
    assert_eq!(
        told(&mut world, &bob),
        [about(&[("bob", Excellent), ("alice", Lost)])]
    );
    assert_eq!(
        told(&mut world, &old),
        [about(&[("old", Excellent), ("alice", Poor)])],
        "before protocol 11 there was no LOST"
    );
}

#[test]
fn media_threads_are_asked_before_each_tick_while_anybody_is_here() {
    let (mut world, alice, bob, ..) = call();
    world.forget();
    world.pass_ms(20_000);
    let asked = |world: &World| {
        let commands = world.commands.iter();
        commands
            .filter(|(_, command)| matches!(command, Command::Measure { .. }))
            .count()
    };
    assert_eq!(asked(&world), 4);
    for client in [&alice, &bob] {
        world.request(client, Request::Leave(proto::LeaveRequest::default()));
    }
    world.pass_ms(5_000);
    world.forget();
    world.pass_ms(10_000);
    assert_eq!(asked(&world), 0, "nobody is here");
}

#[test]
fn a_layer_that_is_wanted_and_missing_costs_a_quality() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.adaptive_stream = false;
    let bob = world.enter(join);
    world.publish(&alice, camera("cam"));
    let (track, _) = world.published_track();
    world.pass_ms(1_000);
    world.answer(&bob);
    for (top, quality) in [(Some(2), Excellent), (Some(1), Good), (Some(2), Excellent)] {
        for _ in 0..3 {
            let window = UpWindow {
                top,
                ..up(track, 1_000, 0)
            };
            windows(&mut world, vec![window], Vec::new());
            world.pass_ms(5_000);
        }
        let sid = world.info("alice").sid;
        assert_eq!(world.last_quality(&sid), Some(quality), "top layer {top:?}");
    }
}

#[test]
fn a_frame_rate_is_met_by_the_layers_as_they_were_measured() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = world.publish(&alice, camera("cam"));
    let (track, _) = world.published_track();
    world.pass_ms(1_000);
    world.answer(&bob);
    let settings = proto::UpdateTrackSettings {
        track_sids: vec![sid],
        quality: proto::VideoQuality::High.into(),
        fps: 15,
        ..Default::default()
    };
    world.request(&bob, Request::TrackSetting(settings));
    world.pass_ms(200);
    let temporal = |world: &World| {
        world
            .commands
            .iter()
            .rev()
            .find_map(|(_, command)| match command {
                Command::SetWish { wish, .. } => Some(wish.temporal),
                _ => None,
            })
    };
    assert_eq!(temporal(&world), Some(3), "all, while nothing is measured");
    for (rates, expected) in [
        ([7.5, 15.0, 30.0, 30.0], 1),
        ([15.0, 30.0, 60.0, 60.0], 0),
        ([3.0, 6.0, 12.0, 12.0], 3),
    ] {
        let window = UpWindow {
            rates: [rates; 3],
            ..up(track, 1_000, 0)
        };
        windows(&mut world, vec![window], Vec::new());
        assert_eq!(temporal(&world), Some(expected), "{rates:?}");
    }
}
