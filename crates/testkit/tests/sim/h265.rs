//! H.265 simulcast (RFC 7798): streams begin and change layers at the parameter sets of key frames,
//! temporal layers by the temporal ids of payload headers.

use crate::video::{HIGH, LOW, MEDIUM, decoded, longest_gap, received, recent_layers, watch, wish};
use media::api::{LayerWish, TrackKey};
use std::time::Duration;
use testkit::client::Received;
use testkit::network::Link;
use testkit::sim::{Down, Sim, source_tag};

/// Types of NAL units: what an aggregation packet holds, and slices of key frames.
const PARAMETER_SETS: [u8; 3] = [32, 33, 34];
const IDR: u8 = 19;
const CRA: u8 = 21;

fn call(seed: u64, layers: u8) -> (Sim, TrackKey, usize, usize) {
    let mut sim = Sim::new(seed, 1, 64);
    let publisher = sim.add_client(0);
    let subscriber = sim.add_client(0);
    sim.connect();
    let track = sim.publish_h265(publisher, layers);
    (sim, track, publisher, subscriber)
}

fn subscribe(sim: &mut Sim, subscriber: usize, track: TrackKey, wish: LayerWish) -> Down {
    sim.subscribe_as(subscriber, track, &[peer::Codec::H265], wish)
}

/// Packets in order of sequence numbers, each with the one behind it, where a layer begins.
fn beginnings(sim: &Sim, down: Down) -> Vec<(Received, Received)> {
    let mut packets = received(sim, down);
    packets.sort_by_key(|packet| packet.sequence);
    let first = packets[..2].windows(2).map(|pair| (&pair[0], &pair[1]));
    let changes = packets.windows(3).filter_map(|three| match three {
        [before, first, second] if before.content.layer != first.content.layer => Some((first, second)),
        _ => None,
    });
    let all = first.chain(changes);
    all.map(|(first, second)| (first.clone(), second.clone()))
        .collect()
}

#[test]
fn h265_layers_begin_and_change_at_the_parameter_sets_of_key_frames() {
    let (mut sim, track, publisher, subscriber) = call(40, 3);
    let down = subscribe(&mut sim, subscriber, track, LOW);
    let steps = [(LOW, 0), (HIGH, 2), (MEDIUM, 1), (HIGH, 2), (LOW, 0), (MEDIUM, 1)];
    for (wish, layer) in steps {
        sim.wish(down, wish);
        sim.run_for(Duration::from_secs(3));
        assert_eq!(recent_layers(&sim, down), [layer]);
    }
    let beginnings = beginnings(&sim, down);
    let layers: Vec<u8> = beginnings.iter().map(|(first, _)| first.content.layer).collect();
    assert_eq!(layers, steps.map(|(_, layer)| layer), "changed when asked alone");
    let mut pictures = Vec::new();
    for (first, second) in beginnings {
        assert!(first.content.key && first.content.index == 0, "{first:?}");
        assert_eq!(first.nal_units, PARAMETER_SETS);
        assert_eq!(first.timestamp, second.timestamp);
        pictures.extend(second.nal_units);
    }
    assert_eq!(pictures.len(), steps.len());
    assert!(pictures.contains(&IDR) && pictures.contains(&CRA), "{pictures:?}");
    // Each layer was asked for when it was to begin, and not otherwise.
    for layer in 0..3 {
        let asked = sim.clients[publisher]
            .key_frames_asked
            .get(&source_tag(track, layer));
        assert!(asked.is_some_and(|asked| *asked <= 2), "layer {layer}: {asked:?}");
    }
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    assert_eq!(decoded(&sim, down).broken, 0);
    assert!(longest_gap(&sim, down) < Duration::from_millis(100));
}

#[test]
fn a_late_subscriber_of_h265_gets_a_key_frame_that_was_asked_for() {
    let (mut sim, track, publisher, subscriber) = call(41, 1);
    sim.run_for(Duration::from_secs(5));
    assert_eq!(sim.clients[publisher].key_frames_asked.values().sum::<usize>(), 0);
    let down = subscribe(&mut sim, subscriber, track, HIGH);
    sim.run_for(Duration::from_millis(200));
    assert_eq!(sim.clients[publisher].key_frames_asked[&source_tag(track, 0)], 1);
    let first = received(&sim, down).remove(0);
    assert!(first.content.key && first.content.frame > 100, "{first:?}");
    assert_eq!(first.nal_units, PARAMETER_SETS);
    assert_eq!(decoded(&sim, down).broken, 0);
}

#[test]
fn temporal_layers_of_h265_are_dropped_and_come_back_at_a_switching_picture() {
    let (mut sim, track, publisher, subscriber) = call(42, 1);
    let down = subscribe(&mut sim, subscriber, track, wish(0, 0));
    sim.run_for(Duration::from_secs(4));
    let packets = received(&sim, down);
    assert!(packets.len() > 25, "{}", packets.len());
    assert!(packets.iter().skip(8).all(|packet| packet.content.temporal == 0));
    let asked = sim.clients[publisher].key_frames_asked.clone();
    sim.wish(down, wish(0, 3));
    sim.run_for(Duration::from_secs(1));
    let top = |packet: &Received| packet.content.temporal == 2;
    assert!(received(&sim, down).iter().skip(packets.len()).any(top));
    assert_eq!(sim.clients[publisher].key_frames_asked, asked);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    assert_eq!(decoded(&sim, down).broken, 0);
}

/// A call with layers that change, where packets on the publisher's link, or on both, are lost and
/// overtake each other.
fn lossy_call(seed: u64, both: bool) -> (Sim, Down) {
    let (mut sim, track, publisher, subscriber) = call(seed, 3);
    let lossy = Link {
        loss_per_mille: 100,
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        ..Link::default()
    };
    for client in [publisher, subscriber] {
        if client == publisher || both {
            let address = sim.clients[client].address;
            sim.network.set_access(address, lossy, lossy);
        }
    }
    let down = subscribe(&mut sim, subscriber, track, HIGH);
    for wish in [HIGH, LOW, MEDIUM, LOW, HIGH, LOW] {
        sim.wish(down, wish);
        watch(&mut sim, down, Duration::from_secs(5));
    }
    (sim, down)
}

#[test]
fn no_h265_layer_begins_without_its_parameter_sets_though_packets_are_lost() {
    for seed in [43, 46, 48] {
        let (sim, down) = lossy_call(seed, false);
        let beginnings = beginnings(&sim, down);
        assert!(beginnings.len() >= 6, "{}", beginnings.len());
        for (first, _) in beginnings {
            assert_eq!(first.nal_units, PARAMETER_SETS, "{seed}: {first:?}");
        }
    }
}

#[test]
fn h265_still_decodes_at_ten_percent_loss_each_way() {
    let (sim, down) = lossy_call(50, true);
    let decoded = decoded(&sim, down);
    let frames = decoded.frames.len();
    assert!(frames > 850, "{frames} decoded, {} broken", decoded.broken);
    assert!(
        decoded.broken * 20 < frames,
        "{} of {frames} broken",
        decoded.broken
    );
    assert_eq!(recent_layers(&sim, down), [0]);
}
