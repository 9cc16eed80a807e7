//! When things happened, as subscribers learn it from sender reports: by this they play sound and
//! picture together (RFC 3550 §6.4.1).

use crate::video::{HIGH, LOW, received};
use media::api::{LayerWish, TrackKey};
use peer::Kind;
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::client::{AUDIO_INTERVAL, VIDEO_INTERVAL, ntp_units};
use testkit::network::Link;
use testkit::sim::{Down, Sim, source_tag};

/// How far off a moment may be: what rounding to RTP's ticks and back makes, and no network.
const EXACT_MS: f64 = 0.2;

/// A publisher behind a network that delays its packets differently, and a listener on another thread.
fn call(seed: u64) -> (Sim, usize, usize) {
    let mut sim = Sim::new(seed, 2, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(1));
    sim.connect();
    let shaky = Link {
        latency: Duration::from_millis(40),
        jitter: Duration::from_millis(10),
        ..Link::default()
    };
    sim.network
        .set_access(sim.clients[publisher].address, shaky, Link::default());
    (sim, publisher, listener)
}

/// The NTP time of the simulation's beginning on the publisher's clock, by the reports that it sent
/// of a layer.
fn clock(sim: &Sim, track: TrackKey, layer: u8) -> u64 {
    let tag = source_tag(track, layer);
    let sent = sim.clients[0].reports_sent.iter();
    let zeros: BTreeSet<u64> = sent
        .filter(|report| report.0 == tag)
        .map(|(_, ntp, _, at)| ntp - ntp_units(*at))
        .collect();
    assert_eq!(zeros.len(), 1, "it has one clock");
    zeros.into_iter().next().unwrap()
}

/// How far the moments at which packets were captured, as each report that came tells them, lie from
/// those at which they were, in milliseconds at most. `begin`: when frame 0 was captured.
fn worst_error_ms(sim: &Sim, track: TrackKey, down: Down, begin: Duration) -> f64 {
    let (interval, clock_rate) = match down.kind {
        Kind::Audio => (AUDIO_INTERVAL, 48_000),
        Kind::Video => (VIDEO_INTERVAL, 90_000),
    };
    let reports = sim.clients[down.client].reports.iter();
    let reports: Vec<_> = reports.filter(|report| report.0 == down.key.0).collect();
    assert!(reports.len() >= 3, "{reports:?}");
    let packets = received(sim, down);
    assert!(packets.len() > 200, "{}", packets.len());
    let mut worst = 0.0f64;
    for packet in packets {
        let captured = begin + interval * packet.content.frame;
        let expected = clock(sim, track, packet.content.layer) + ntp_units(captured);
        for (_, ntp, rtp, _) in &reports {
            let ticks = i128::from(packet.timestamp.wrapping_sub(*rtp) as i32);
            let told = i128::from(*ntp) + (ticks << 32) / clock_rate;
            let error = (told - i128::from(expected)) as f64 / 4_294_967.296;
            worst = worst.max(error.abs());
        }
    }
    worst
}

#[test]
fn subscribers_get_sender_reports_on_the_publishers_clock() {
    let (mut sim, publisher, listener) = call(4);
    let begin = sim.since();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(listener, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(12));
    let error = worst_error_ms(&sim, track, down, begin);
    assert!(error < EXACT_MS, "{error} ms");
}

#[test]
fn a_switch_of_layers_keeps_the_picture_on_the_publishers_clock() {
    let (mut sim, publisher, listener) = call(5);
    let begin = sim.since();
    let track = sim.publish_video(publisher, 3);
    // Before its first report a layer's place is known by its arrival only.
    sim.run_for(Duration::from_secs(2));
    let down = sim.subscribe(listener, track, Kind::Video, HIGH);
    for wish in [HIGH, LOW, HIGH] {
        sim.wish(down, wish);
        sim.run_for(Duration::from_secs(4));
    }
    let packets = received(&sim, down);
    let layers: BTreeSet<u8> = packets.iter().map(|packet| packet.content.layer).collect();
    assert!(layers.contains(&0) && layers.contains(&2), "{layers:?}");
    let error = worst_error_ms(&sim, track, down, begin);
    assert!(error < EXACT_MS, "{error} ms");
}
