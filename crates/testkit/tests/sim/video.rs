//! VP8 simulcast: layers follow wishes, numbers stay continuous, lost packets are repaired.

use media::api::{EventKind, LayerWish, TrackKey};
use peer::Kind;
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::client::Received;
use testkit::media::{Content, Decoded, decode};
use testkit::network::Link;
use testkit::sim::{Down, Sim, source_tag};

pub(crate) const LOW: LayerWish = wish(0, 3);
pub(crate) const MEDIUM: LayerWish = wish(1, 3);
pub(crate) const HIGH: LayerWish = wish(2, 3);

pub(crate) const fn wish(spatial: u8, temporal: u8) -> LayerWish {
    LayerWish {
        spatial,
        temporal,
        enabled: true,
    }
}

pub(crate) fn received(sim: &Sim, down: Down) -> Vec<Received> {
    let all = sim.clients[down.client].received.iter();
    all.filter(|packet| packet.tag == down.key.0).cloned().collect()
}

/// What a subscriber decodes of the packets since `from`.
pub(crate) fn decoded(sim: &Sim, down: Down) -> Decoded {
    let packets: BTreeMap<u64, Content> = received(sim, down)
        .into_iter()
        .map(|packet| (packet.sequence, packet.content))
        .collect();
    decode(&packets)
}

/// Lets time pass for a subscriber that asks for a key frame when it decoded nothing for 200 ms, as
/// decoders do: what was lost for good, no retransmission repairs.
pub(crate) fn watch(sim: &mut Sim, down: Down, time: Duration) {
    const STEP: Duration = Duration::from_millis(200);
    for _ in 0..time.as_millis() / STEP.as_millis() {
        let before = decoded(sim, down).frames.len();
        sim.run_for(STEP);
        if decoded(sim, down).frames.len() == before {
            sim.clients[down.client].peer.request_key_frame(down.key.0, 0);
        }
    }
}

/// VP8 numbers of a stream in order of sequence numbers never go back, and picture ids leave no hole.
fn check_numbers(sim: &Sim, down: Down) {
    let mut packets = received(sim, down);
    packets.sort_by_key(|packet| packet.sequence);
    for pair in packets.windows(2) {
        let [(a, a_tl0, a_key), (b, b_tl0, b_key)] = [pair[0].vp8.unwrap(), pair[1].vp8.unwrap()];
        assert!((b.wrapping_sub(a) & 0x7FFF) <= 1, "picture ids {pair:?}");
        assert!(b_tl0.wrapping_sub(a_tl0) <= 1, "TL0PICIDX {pair:?}");
        assert!((b_key.wrapping_sub(a_key) & 0x1F) <= 1, "KEYIDX {pair:?}");
        let same =
            (pair[0].content.layer, pair[0].content.frame) == (pair[1].content.layer, pair[1].content.frame);
        assert_eq!(pair[0].timestamp == pair[1].timestamp, same, "{pair:?}");
    }
}

/// Layers of the packets that came within the last second.
pub(crate) fn recent_layers(sim: &Sim, down: Down) -> Vec<u8> {
    let since = sim.since() - Duration::from_secs(1);
    let mut layers: Vec<u8> = received(sim, down)
        .iter()
        .filter(|packet| packet.at >= since)
        .map(|packet| packet.content.layer)
        .collect();
    layers.sort_unstable();
    layers.dedup();
    layers
}

/// The longest time between two packets.
pub(crate) fn longest_gap(sim: &Sim, down: Down) -> Duration {
    let packets = received(sim, down);
    let gaps = packets.windows(2).map(|pair| pair[1].at - pair[0].at);
    gaps.max().unwrap()
}

fn call(seed: u64, layers: u8, subscribers: usize) -> (Sim, TrackKey, Vec<usize>, usize) {
    let mut sim = Sim::new(seed, 1, 64);
    let publisher = sim.add_client(0);
    let subscribers: Vec<usize> = (0..subscribers).map(|_| sim.add_client(0)).collect();
    sim.connect();
    let track = sim.publish_video(publisher, layers);
    (sim, track, subscribers, publisher)
}

#[test]
fn each_subscriber_gets_the_layer_it_wishes() {
    let (mut sim, track, subscribers, _) = call(10, 3, 3);
    let downs: Vec<Down> = [LOW, MEDIUM, HIGH]
        .into_iter()
        .zip(subscribers)
        .map(|(wish, subscriber)| sim.subscribe(subscriber, track, Kind::Video, wish))
        .collect();
    sim.run_for(Duration::from_secs(5));
    for (layer, down) in downs.into_iter().enumerate() {
        assert_eq!(recent_layers(&sim, down), [layer as u8]);
        assert_eq!(sim.checker.holes(down.ssrc), 0);
        check_numbers(&sim, down);
        let decoded = decoded(&sim, down);
        assert_eq!(decoded.broken, 0);
        assert!(decoded.frames.len() > 140, "{}", decoded.frames.len());
    }
    let started = sim.threads[0].events.iter();
    let layers = started.filter(|(_, event)| matches!(event.kind, EventKind::LayerStarted { .. }));
    assert_eq!(layers.count(), 3);
}

/// Who has no repair stream probes the network with padding on the stream itself.
#[test]
fn padding_of_a_publisher_is_no_loss_to_subscribers() {
    let (mut sim, track, subscribers, publisher) = call(23, 2, 2);
    for layer in 0..2 {
        sim.clients[publisher].set_padding(source_tag(track, layer), 12);
    }
    let downs: Vec<Down> = [LOW, MEDIUM]
        .into_iter()
        .zip(subscribers)
        .map(|(wish, subscriber)| sim.subscribe(subscriber, track, Kind::Video, wish))
        .collect();
    sim.run_for(Duration::from_secs(5));
    for (layer, down) in downs.into_iter().enumerate() {
        assert_eq!(recent_layers(&sim, down), [layer as u8]);
        assert_eq!(sim.checker.holes(down.ssrc), 0);
        check_numbers(&sim, down);
        let decoded = decoded(&sim, down);
        assert_eq!(decoded.broken, 0);
        assert!(decoded.frames.len() > 140, "{}", decoded.frames.len());
    }
    assert_eq!(sim.threads[0].worker.stats().peers_limited, 0);
}

#[test]
fn the_layer_follows_the_wish_at_key_frames_without_a_freeze() {
    let (mut sim, track, subscribers, _) = call(11, 3, 1);
    let down = sim.subscribe(subscribers[0], track, Kind::Video, LOW);
    for (wish, layer) in [(LOW, 0), (HIGH, 2), (MEDIUM, 1), (HIGH, 2), (LOW, 0), (MEDIUM, 1)] {
        sim.wish(down, wish);
        sim.run_for(Duration::from_secs(3));
        assert_eq!(recent_layers(&sim, down), [layer]);
    }
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    check_numbers(&sim, down);
    let decoded = decoded(&sim, down);
    assert_eq!(decoded.broken, 0);
    assert!(longest_gap(&sim, down) < Duration::from_millis(100));
}

#[test]
fn temporal_layers_are_dropped_and_come_back() {
    let (mut sim, track, subscribers, _) = call(12, 1, 1);
    let down = sim.subscribe(subscribers[0], track, Kind::Video, wish(0, 0));
    sim.run_for(Duration::from_secs(4));
    let base: Vec<u8> = received(&sim, down)
        .iter()
        .map(|packet| packet.content.temporal)
        .collect();
    assert!(
        base.len() > 25 && base.iter().skip(8).all(|temporal| *temporal == 0),
        "{base:?}"
    );
    sim.wish(down, wish(0, 3));
    sim.run_for(Duration::from_secs(1));
    assert!(
        received(&sim, down)
            .iter()
            .any(|packet| packet.content.temporal == 2)
    );
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    check_numbers(&sim, down);
    assert_eq!(decoded(&sim, down).broken, 0);
}

#[test]
fn a_paused_layer_is_replaced_by_one_that_flows() {
    let (mut sim, track, subscribers, publisher) = call(13, 3, 1);
    let down = sim.subscribe(subscribers[0], track, Kind::Video, HIGH);
    sim.run_for(Duration::from_secs(2));
    sim.clients[publisher].pause(source_tag(track, 2), true);
    sim.run_for(Duration::from_secs(3));
    assert_eq!(recent_layers(&sim, down), [1]);
    assert!(longest_gap(&sim, down) < Duration::from_millis(1300));
    sim.clients[publisher].pause(source_tag(track, 2), false);
    sim.run_for(Duration::from_secs(3));
    assert_eq!(recent_layers(&sim, down), [2]);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    check_numbers(&sim, down);
    let stopped = sim.threads[0].events.iter();
    let stopped = stopped.filter(|(_, event)| matches!(event.kind, EventKind::LayerStopped { layer: 2, .. }));
    assert_eq!(stopped.count(), 1);
}

#[test]
fn a_late_subscriber_gets_a_key_frame_at_once_and_requests_coalesce() {
    let (mut sim, track, subscribers, publisher) = call(14, 1, 10);
    sim.run_for(Duration::from_secs(5));
    let downs: Vec<Down> = subscribers
        .into_iter()
        .map(|subscriber| sim.subscribe(subscriber, track, Kind::Video, HIGH))
        .collect();
    sim.run_for(Duration::from_millis(200));
    for down in downs {
        let first = received(&sim, down).remove(0);
        assert!(first.content.key && first.content.index == 0, "{first:?}");
    }
    let asked: usize = sim.clients[publisher].key_frames_asked.values().sum();
    assert_eq!(asked, 1);
}

#[test]
fn a_disabled_track_sends_nothing_and_resumes_at_a_key_frame() {
    let (mut sim, track, subscribers, _) = call(15, 1, 1);
    let down = sim.subscribe(subscribers[0], track, Kind::Video, HIGH);
    sim.run_for(Duration::from_secs(1));
    let disabled = LayerWish {
        enabled: false,
        ..HIGH
    };
    sim.wish(down, disabled);
    sim.run_for(Duration::from_secs(1));
    sim.wish(down, HIGH);
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    check_numbers(&sim, down);
    assert_eq!(decoded(&sim, down).broken, 0);
    assert_eq!(recent_layers(&sim, down), [0]);
}

#[test]
fn a_muted_video_track_sends_nothing_and_resumes_at_a_key_frame() {
    let (mut sim, track, subscribers, _) = call(16, 3, 1);
    let down = sim.subscribe(subscribers[0], track, Kind::Video, HIGH);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    let sent = |sim: &Sim| sim.checker.count(down.ssrc);
    let arrived = |sim: &Sim| sim.threads[0].worker.stats().packets_in;
    // The publisher itself is not stopped.
    let before = (sent(&sim), arrived(&sim));
    sim.run_for(Duration::from_secs(3));
    assert_eq!(sent(&sim), before.0);
    assert!(arrived(&sim) > before.1 + 200, "{} {}", arrived(&sim), before.1);
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(2));
    assert!(sent(&sim) > before.0 + 45, "{} {}", sent(&sim), before.0);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
    check_numbers(&sim, down);
    assert_eq!(decoded(&sim, down).broken, 0);
    assert_eq!(recent_layers(&sim, down), [2]);
}

#[test]
fn no_key_frame_of_a_muted_track_is_asked_for() {
    for threads in [1, 2] {
        let mut sim = Sim::new(16, threads, 256);
        let publisher = sim.add_client(0);
        let watchers: Vec<usize> = (0..2).map(|_| sim.add_client(threads as u8 - 1)).collect();
        sim.connect();
        let track = sim.publish_video(publisher, 3);
        sim.subscribe(watchers[0], track, Kind::Video, HIGH);
        sim.run_for(Duration::from_secs(1));
        sim.mute(track, true);
        let asked = |sim: &Sim| sim.threads[0].worker.stats().key_frame_requests;
        let before = asked(&sim);
        let late = sim.subscribe(watchers[1], track, Kind::Video, LOW);
        sim.run_for(Duration::from_secs(3));
        assert_eq!(asked(&sim), before, "{threads} threads");
        sim.mute(track, false);
        sim.run_for(Duration::from_secs(2));
        assert!(asked(&sim) > before, "{threads} threads");
        assert_eq!(recent_layers(&sim, late), [0]);
    }
}

/// Of four calls together: loss comes in runs, and one call alone tells more of its seed than of repair.
#[test]
fn video_still_decodes_at_ten_percent_loss_each_way() {
    let (mut frames, mut broken) = (0, 0);
    for seed in 17..21 {
        let (mut sim, track, subscribers, publisher) = call(seed, 3, 1);
        let lossy = Link {
            loss_per_mille: 100,
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            ..Link::default()
        };
        for client in [publisher, subscribers[0]] {
            let address = sim.clients[client].address;
            sim.network.set_access(address, lossy, lossy);
        }
        let down = sim.subscribe(subscribers[0], track, Kind::Video, HIGH);
        watch(&mut sim, down, Duration::from_secs(15));
        sim.wish(down, LOW);
        watch(&mut sim, down, Duration::from_secs(15));
        let decoded = decoded(&sim, down);
        frames += decoded.frames.len();
        broken += decoded.broken;
        assert!(sim.threads[0].worker.stats().packets_resent > 100);
        assert_eq!(recent_layers(&sim, down), [0]);
    }
    assert!(frames > 4 * 850, "{frames} decoded, {broken} broken");
    assert!(broken * 20 < frames, "{broken} of {frames} broken");
}

/// A publisher whose packets overtake each other: those of a key frame that came before its first
/// one are not lost for who waited for it.
#[test]
fn a_key_frame_whose_first_packet_came_late_is_whole() {
    for seed in 19..23 {
        let (mut sim, track, subscribers, publisher) = call(seed, 3, 1);
        let shuffled = Link {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(5),
            ..Link::default()
        };
        let address = sim.clients[publisher].address;
        sim.network.set_access(address, shuffled, shuffled);
        let down = sim.subscribe(subscribers[0], track, Kind::Video, HIGH);
        for (wish, layer) in [(HIGH, 2), (LOW, 0), (MEDIUM, 1), (LOW, 0), (HIGH, 2)] {
            sim.wish(down, wish);
            sim.run_for(Duration::from_secs(2));
            assert_eq!(recent_layers(&sim, down), [layer]);
        }
        assert_eq!(sim.checker.holes(down.ssrc), 0);
        check_numbers(&sim, down);
        // A change may cut a frame that was on its way.
        assert!(decoded(&sim, down).broken <= 4, "{seed}");
    }
}

#[test]
fn the_same_temporal_filter_holds_under_loss() {
    let (mut sim, track, subscribers, publisher) = call(18, 1, 1);
    let lossy = Link {
        loss_per_mille: 50,
        jitter: Duration::from_millis(3),
        ..Link::default()
    };
    let address = sim.clients[publisher].address;
    sim.network.set_access(address, lossy, Link::default());
    let down = sim.subscribe(subscribers[0], track, Kind::Video, wish(0, 1));
    sim.run_for(Duration::from_secs(20));
    let packets = received(&sim, down);
    assert!(packets.iter().skip(8).all(|packet| packet.content.temporal <= 1));
    let lost = sim.network.lost[&(address, false)];
    let holes = sim.checker.holes(down.ssrc) as u64;
    assert!(holes <= lost, "{holes} holes for {lost} lost packets");
    let decoded = decoded(&sim, down);
    assert!(decoded.broken * 20 < decoded.frames.len(), "{}", decoded.broken);
}
