//! What the media plane tells of quality: windows of loss where it happened, and loss passed on.

use media::Tuning;
use media::api::{Command, DownReception, DownWindow, EventKind, LayerWish, ThreadId, TrackKey, UpWindow};
use peer::Kind;
use std::time::Duration;
use testkit::network::Link;
use testkit::sim::{Down, ROOM, Sim, source_tag};

const SECOND: Duration = Duration::from_secs(1);

fn lossy(loss_per_mille: u64) -> Link {
    Link {
        loss_per_mille,
        ..Link::default()
    }
}

/// Closes the windows of a thread.
fn measure(sim: &mut Sim, thread: u8) -> (Vec<UpWindow>, Vec<DownWindow>) {
    let before = sim.threads[usize::from(thread)].events.len();
    sim.command(ThreadId(thread), Command::Measure { room: ROOM });
    let events = &sim.threads[usize::from(thread)].events[before..];
    events
        .iter()
        .find_map(|(_, event)| match &event.kind {
            EventKind::Windows { ups, downs } => Some((ups.clone(), downs.clone())),
            _ => None,
        })
        .unwrap_or_default()
}

/// Expected and lost packets of one copy.
fn reported(windows: &[DownWindow]) -> (u32, u32) {
    match windows {
        [
            DownWindow {
                reception: DownReception::Reported { expected, lost },
                ..
            },
        ] => (*expected, *lost),
        other => panic!("expected one report, got {other:?}"),
    }
}

#[test]
fn loss_is_told_of_the_subscriber_that_has_it() {
    let mut sim = Sim::new(1, 1, 64);
    let [publisher, good, bad] = [0; 3].map(|thread| sim.add_client(thread));
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    sim.subscribe(good, track, Kind::Video, LayerWish::BEST);
    let down = sim.subscribe(bad, track, Kind::Video, LayerWish::BEST);
    sim.run_for(5 * SECOND);
    let (ups, downs) = measure(&mut sim, 0);
    assert_eq!((ups.len(), ups[0].track, ups[0].lost), (1, track, 0));
    assert!(ups[0].expected > 140, "{ups:?}");
    assert_eq!((ups[0].reported, ups[0].top, ups[0].top_ever), (true, Some(0), 0));
    assert!(downs.is_empty(), "nothing was lost: {downs:?}");

    sim.network
        .set_access(sim.clients[bad].address, Link::default(), lossy(200));
    sim.run_for(5 * SECOND);
    let (ups, downs) = measure(&mut sim, 0);
    assert_eq!(ups[0].lost, 0);
    assert_eq!(downs[0].down, down.key);
    let (expected, lost) = reported(&downs);
    assert!(expected > 100, "{downs:?}");
    assert!((expected / 10..=expected * 3 / 10).contains(&lost), "{downs:?}");

    sim.network
        .set_access(sim.clients[bad].address, Link::default(), Link::default());
    sim.run_for(5 * SECOND);
    measure(&mut sim, 0);
    sim.run_for(5 * SECOND);
    let (_, downs) = measure(&mut sim, 0);
    assert_eq!(reported(&downs).1, 0, "told until its score has recovered");
}

#[test]
fn loss_of_the_publisher_is_not_told_of_its_subscribers() {
    let mut sim = Sim::new(2, 1, 64);
    let [publisher, listener] = [0; 2].map(|thread| sim.add_client(thread));
    sim.connect();
    let track = sim.publish_audio(publisher);
    sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(5 * SECOND);
    measure(&mut sim, 0);
    // Its retransmissions get lost, too, and so do requests for them.
    sim.network
        .set_access(sim.clients[publisher].address, lossy(500), lossy(900));
    let mut lost = (0, 0);
    for _ in 0..4 {
        sim.run_for(5 * SECOND);
        let (ups, downs) = measure(&mut sim, 0);
        lost.0 += ups[0].lost;
        lost.1 += downs.iter().map(|down| reported(&[*down]).1).sum::<u32>();
    }
    assert!(lost.0 > 100, "{lost:?}");
    assert!(lost.1 <= lost.0 / 20, "{lost:?}");
}

#[test]
fn a_publisher_that_falls_silent_is_seen_and_its_reports_too() {
    let mut sim = Sim::new(3, 1, 64);
    let publisher = sim.add_client(0);
    sim.connect();
    let track = sim.publish_audio(publisher);
    sim.run_for(5 * SECOND);
    measure(&mut sim, 0);
    sim.network
        .set_access(sim.clients[publisher].address, lossy(1000), Link::default());
    // What is on its way still arrives.
    sim.run_for(SECOND);
    measure(&mut sim, 0);
    sim.run_for(5 * SECOND);
    let (ups, _) = measure(&mut sim, 0);
    assert_eq!(
        (ups[0].track, ups[0].expected, ups[0].reported, ups[0].top),
        (track, 0, false, None)
    );
}

#[test]
fn frame_rates_of_temporal_layers_are_measured_on_the_stream() {
    let mut sim = Sim::new(4, 1, 64);
    let publisher = sim.add_client(0);
    sim.connect();
    sim.publish_video(publisher, 2);
    sim.run_for(5 * SECOND);
    let (ups, _) = measure(&mut sim, 0);
    assert_eq!((ups[0].top, ups[0].top_ever), (Some(1), 1));
    // The clients send 30 frames a second in three temporal layers, at 33 ms.
    for rates in &ups[0].rates[..2] {
        for (rate, expected) in rates.iter().zip([7.6, 15.2, 30.3, 30.3]) {
            assert!((rate - expected).abs() < 0.5, "{ups:?}");
        }
    }
}

/// A publisher of audio whose listeners are on threads of their own; the last one loses much.
fn audio_with_loss_behind(mut sim: Sim) -> (Sim, TrackKey, Vec<Down>) {
    let publisher = sim.add_client(0);
    let listeners = [sim.add_client(0), sim.add_client(1)];
    sim.connect();
    let track = sim.publish_audio(publisher);
    let downs = listeners.map(|listener| sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST));
    sim.run_for(6 * SECOND);
    assert_eq!(told(&sim, track), Some(0));
    // So much that retransmissions do not repair it in time.
    let far = sim.clients[downs[1].client].address;
    sim.network.set_access(far, lossy(500), lossy(700));
    sim.run_for(10 * SECOND);
    (sim, track, downs.to_vec())
}

/// The loss that the publisher, the first client, was told of last.
fn told(sim: &Sim, track: TrackKey) -> Option<u8> {
    sim.clients[0].loss_told.get(&source_tag(track, 0)).copied()
}

#[test]
fn a_publisher_of_audio_is_told_of_the_worst_loss_on_any_thread() {
    let (mut sim, track, downs) = audio_with_loss_behind(Sim::new(5, 2, 64));
    let loss = told(&sim, track).expect("reports go on");
    assert!(loss > 30, "{loss} of 256");
    let far = sim.clients[downs[1].client].address;
    sim.network.set_access(far, Link::default(), Link::default());
    sim.run_for(15 * SECOND);
    assert_eq!(told(&sim, track), Some(0), "it recovers");
}

#[test]
fn a_publisher_hears_no_more_of_the_loss_of_listeners_who_left() {
    let (mut sim, track, downs) = audio_with_loss_behind(Sim::new(6, 2, 64));
    assert!(told(&sim, track) > Some(30));
    sim.unsubscribe(downs[0]);
    sim.unsubscribe(downs[1]);
    sim.run_for(15 * SECOND);
    assert_eq!(told(&sim, track), Some(0));
}

#[test]
fn loss_is_not_passed_on_unless_that_is_configured() {
    let (sim, track, downs) = audio_with_loss_behind(Sim::tuned(7, (2, 64), Tuning::default()));
    let lossy = sim.clients[downs[1].client].received.len();
    let whole = sim.clients[downs[0].client].received.len();
    assert!(lossy < whole * 9 / 10, "{lossy} of {whole} packets");
    assert_eq!(told(&sim, track), Some(0));
}
