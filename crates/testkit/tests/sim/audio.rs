//! Audio from one to many.

use media::api::{EventKind, LayerWish, TrackKey};
use peer::Kind;
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::sim::{Down, Sim, source_tag};

/// Of speech, an interval of events (`WINDOW_MS` of the level's meter).
const WINDOW: Duration = Duration::from_millis(400);
/// Without packets for this long nobody speaks (`STALE`).
const STALE: Duration = Duration::from_millis(800);
/// So much of a window must be speech for it to count.
const ACTIVE: Duration = Duration::from_millis(160);
/// A packet and its way.
const PACKET: Duration = Duration::from_millis(40);

fn numbers(sim: &Sim, down: Down) -> BTreeSet<u32> {
    let received = sim.clients[down.client].received.iter();
    received
        .filter(|packet| packet.tag == down.key.0)
        .map(|packet| packet.content.frame)
        .collect()
}

#[test]
fn everybody_hears_the_publisher() {
    let mut sim = Sim::new(1, 1, 64);
    let publisher = sim.add_client(0);
    let listeners: Vec<usize> = (0..20).map(|_| sim.add_client(0)).collect();
    sim.connect();
    let track = sim.publish_audio(publisher);
    let downs: Vec<Down> = listeners
        .iter()
        .map(|listener| sim.subscribe(*listener, track, Kind::Audio, LayerWish::BEST))
        .collect();
    sim.run_for(Duration::from_secs(3));
    for down in downs {
        let numbers = numbers(&sim, down);
        assert!(numbers.len() >= 145, "{}", numbers.len());
        let whole = numbers.last().unwrap() - numbers.first().unwrap() + 1;
        assert_eq!(whole as usize, numbers.len());
        assert_eq!(sim.checker.holes(down.ssrc), 0);
    }
    let stats = sim.threads[0].worker.stats();
    assert_eq!(
        stats.packets_out,
        stats.packets_in * 20,
        "one copy per subscriber"
    );
    let events = &sim.threads[0].events;
    let started = events
        .iter()
        .filter(|(_, event)| matches!(event.kind, EventKind::DownStarted { .. }));
    assert_eq!(started.count(), 20);
}

#[test]
fn a_muted_track_sends_nothing_and_goes_on_without_a_hole() {
    let mut sim = Sim::new(2, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(1));
    let before = numbers(&sim, down).len();
    sim.run_for(Duration::from_secs(1));
    assert_eq!(numbers(&sim, down).len(), before);
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(1));
    assert!(numbers(&sim, down).len() > before + 45);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
}

#[test]
fn an_unsubscribed_track_sends_nothing_but_its_end() {
    let mut sim = Sim::new(3, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_millis(500));
    sim.unsubscribe(down);
    let heard = numbers(&sim, down).len();
    // What is on its way still arrives.
    sim.run_for(Duration::from_millis(300));
    let (before, arrived) = (sim.checker.count(down.ssrc), numbers(&sim, down).len());
    assert!(arrived <= heard + 1, "{heard}, {arrived}");
    sim.run_for(Duration::from_millis(500));
    assert_eq!(sim.checker.count(down.ssrc), before);
    assert_eq!(sim.threads[0].worker.stats().down_tracks, 0);
}

#[test]
fn missing_audio_is_below_two_percent_at_ten_percent_loss_each_way() {
    let mut sim = Sim::new(5, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let lossy = testkit::network::Link {
        loss_per_mille: 100,
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        ..Default::default()
    };
    for client in [publisher, listener] {
        let address = sim.clients[client].address;
        sim.network.set_access(address, lossy, lossy);
    }
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(60));
    let numbers = numbers(&sim, down);
    let expected = numbers.last().unwrap() - numbers.first().unwrap() + 1;
    let missing = expected as usize - numbers.len();
    assert!(expected > 2900, "{expected}");
    assert!(missing * 50 < expected as usize, "{missing} of {expected}");
    assert!(
        sim.clients[publisher].resent > 200,
        "the server asked for what it missed"
    );
    assert!(
        sim.threads[0].worker.stats().packets_resent > 200,
        "the listener, too"
    );
}

/// When a track's audio level was told from `since` on, and whether it counted as speaking.
fn told(sim: &Sim, track: TrackKey, since: Duration) -> Vec<(Duration, bool)> {
    let mut told = Vec::new();
    for (at, event) in &sim.threads[0].events {
        if let EventKind::AudioLevels { levels } = &event.kind
            && *at >= since
        {
            let own = levels.iter().find(|(key, ..)| *key == track);
            told.push((*at, own.is_some_and(|(.., active)| *active)));
        }
    }
    told
}

/// Publishes a microphone that tells a level.
fn publish_level(sim: &mut Sim, client: usize, dbov: u8) -> (TrackKey, u64) {
    let track = sim.publish_audio(client);
    let tag = source_tag(track, 0);
    sim.clients[client].set_level(tag, dbov);
    (track, tag)
}

#[test]
fn a_track_that_begins_with_speech_is_told_within_two_windows() {
    let mut sim = Sim::new(6, 1, 64);
    let publisher = sim.add_client(0);
    sim.connect();
    let (track, _) = publish_level(&mut sim, publisher, 20);
    let begun = sim.since();
    sim.run_for(Duration::from_secs(10));
    let told = told(&sim, track, begun);
    let (first, active) = told[0];
    assert!(active && first - begun <= WINDOW * 2, "{:?}", first - begun);
    for pair in told.windows(2) {
        assert_eq!(pair[1].0 - pair[0].0, WINDOW, "one event per window");
        assert!(pair[1].1, "still speaking");
    }
}

#[test]
fn speech_and_silence_are_told_in_time_whenever_they_begin() {
    let mut sim = Sim::new(7, 1, 64);
    let publisher = sim.add_client(0);
    sim.connect();
    let (track, tag) = publish_level(&mut sim, publisher, 127);
    let begun = sim.since();
    sim.run_for(Duration::from_secs(3));
    assert_eq!(told(&sim, track, begun), [], "nothing is told of silence");
    // Each turn begins elsewhere in the windows of packets and of events.
    for turn in 0..20u32 {
        let pauses = turn % 2 == 1;
        let speaks = sim.since();
        sim.clients[publisher].set_level(tag, 20);
        sim.run_for(Duration::from_secs(3));
        let heard = told(&sim, track, speaks);
        let (first, active) = heard[0];
        // The window in which it begins may hold too little of it; the next one is full, and is told
        // with the next event.
        let late = first - speaks;
        assert!(
            active && late <= ACTIVE + WINDOW * 2 + PACKET,
            "turn {turn}: {late:?}"
        );
        assert!(heard.iter().all(|(_, active)| *active), "turn {turn}: {heard:?}");

        let ends = sim.since();
        if pauses {
            sim.clients[publisher].pause(tag, true);
        } else {
            sim.clients[publisher].set_level(tag, 127);
        }
        sim.run_for(Duration::from_secs(3));
        let heard = told(&sim, track, ends);
        let (last, active) = heard[heard.len() - 1];
        // Told as silent once, then no more.
        assert!(!active && heard.iter().filter(|(_, active)| !active).count() == 1);
        let late = last - ends;
        // With packets: the window in which it ends may hold enough speech; the next one is empty.
        let due = if pauses { STALE } else { WINDOW * 2 - ACTIVE };
        assert!(late <= due + WINDOW + PACKET, "turn {turn}: {late:?}");
        sim.clients[publisher].set_level(tag, 127);
        sim.clients[publisher].pause(tag, false);
        sim.run_for(Duration::from_millis(1_000 + 37 * u64::from(turn)));
    }
}
