//! One room on two media threads.

use media::api::{EventKind, LayerWish, ThreadId, TrackKey};
use peer::Kind;
use std::time::Duration;
use testkit::sim::{Down, Sim};

fn count(sim: &Sim, down: Down) -> usize {
    let received = sim.clients[down.client].received.iter();
    received.filter(|packet| packet.tag == down.key.0).count()
}

#[test]
fn every_pair_hears_each_other_and_each_packet_crosses_once_per_thread() {
    let mut sim = Sim::new(20, 3, 256);
    let clients: Vec<usize> = (0..9).map(|i| sim.add_client(i % 3)).collect();
    sim.connect();
    let tracks: Vec<TrackKey> = clients.iter().map(|client| sim.publish_audio(*client)).collect();
    let mut downs = Vec::new();
    for (publisher, track) in tracks.iter().enumerate() {
        for subscriber in clients.iter().filter(|subscriber| **subscriber != publisher) {
            downs.push(sim.subscribe(*subscriber, *track, Kind::Audio, LayerWish::BEST));
        }
    }
    sim.run_for(Duration::from_millis(100));
    let before: Vec<_> = sim.threads.iter().map(|thread| thread.worker.stats()).collect();
    sim.run_for(Duration::from_secs(2));
    for down in &downs {
        assert!(count(&sim, *down) >= 98, "{}", count(&sim, *down));
        assert_eq!(sim.checker.holes(down.ssrc), 0);
    }
    for (thread, before) in sim.threads.iter().zip(before) {
        let stats = thread.worker.stats();
        let received = stats.packets_in - before.packets_in;
        assert!(received >= 3 * 99);
        // Three tracks, each with three subscribers on each other thread: one crossing per packet.
        for other in 0..3 {
            let crossed = stats.crossings_out[other] - before.crossings_out[other];
            let here = Some(other) == sim.threads.iter().position(|t| std::ptr::eq(t, thread));
            assert_eq!(crossed, if here { 0 } else { received });
        }
        // Three own tracks for two subscribers each, six replicas for three each.
        let copies = stats.packets_out - before.packets_out;
        let crossed_in = stats.crossings_in - before.crossings_in;
        assert_eq!(copies, received * 2 + crossed_in * 3);
    }
}

#[test]
fn a_stalled_thread_never_blocks_the_other() {
    let mut sim = Sim::new(21, 2, 64);
    let publisher = sim.add_client(0);
    let (near, far) = (sim.add_client(0), sim.add_client(1));
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let near = sim.subscribe(near, track, Kind::Video, LayerWish::BEST);
    let far = sim.subscribe(far, track, Kind::Video, LayerWish::BEST);
    sim.run_for(Duration::from_secs(2));
    sim.threads[1].stalled = true;
    let (near_before, far_before) = (count(&sim, near), count(&sim, far));
    sim.run_for(Duration::from_secs(5));
    assert!(count(&sim, near) > near_before + 145);
    // At most what was in flight.
    assert!(count(&sim, far) <= far_before + 1);
    let dropped = sim.threads[0].worker.stats().drops.crossing_full[1];
    assert!(dropped > 50, "{dropped}");
    sim.threads[1].stalled = false;
    sim.run_for(Duration::from_secs(3));
    assert!(
        count(&sim, far) > far_before + 80,
        "it catches up with a key frame"
    );
}

#[test]
fn a_key_frame_wish_of_another_thread_reaches_the_publisher() {
    let mut sim = Sim::new(22, 2, 64);
    let publisher = sim.add_client(0);
    let subscriber = sim.add_client(1);
    sim.connect();
    let track = sim.publish_video(publisher, 3);
    sim.run_for(Duration::from_secs(3));
    let down = sim.subscribe(subscriber, track, Kind::Video, LayerWish::BEST);
    sim.run_for(Duration::from_secs(2));
    let mut received = sim.clients[subscriber].received.iter();
    let last = received.rfind(|packet| packet.tag == down.key.0).unwrap();
    assert_eq!(last.content.layer, 2);
    assert!(sim.clients[publisher].key_frames_asked.values().sum::<usize>() <= 3);
    assert_eq!(sim.checker.holes(down.ssrc), 0);
}

#[test]
fn replicas_go_with_their_last_subscriber_and_mutes_cross() {
    let mut sim = Sim::new(23, 2, 64);
    let (publisher, subscriber) = (sim.add_client(0), sim.add_client(1));
    sim.connect();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(subscriber, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(1));
    assert!(count(&sim, down) >= 97, "{}", count(&sim, down));
    assert_eq!(sim.checker.holes(down.ssrc), 0, "a mute leaves no hole");
    sim.unsubscribe(down);
    sim.run_for(Duration::from_millis(100));
    assert_eq!(sim.threads[1].worker.stats().up_tracks, 0);
    let before = sim.threads[0].worker.stats().crossings_out[1];
    sim.run_for(Duration::from_millis(500));
    assert_eq!(sim.threads[0].worker.stats().crossings_out[1], before);
}

#[test]
fn datagrams_on_a_shared_port_reach_the_thread_that_owns_their_peer() {
    // Thread 0 gets everything, as one socket of several on one port might.
    let mut sim = Sim::new(24, 2, 64);
    sim.threads[0].takes_all = true;
    let (publisher, subscriber) = (sim.add_client(1), sim.add_client(1));
    sim.connect();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(subscriber, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    assert!(count(&sim, down) >= 48, "{}", count(&sim, down));
    let stats = sim.threads[0].worker.stats();
    assert!(stats.datagrams_handed_over > 50, "{stats:?}");
    let connected = sim.threads[1].events.iter();
    let connected = connected.filter(|(_, event)| matches!(event.kind, EventKind::PeerConnected { .. }));
    assert_eq!(connected.count(), 2);
    assert_eq!(down.key.thread(), ThreadId(1));
}

/// A binding request (RFC 8489 §5) for a user name fragment, without integrity: all that a stranger has.
fn request_for(fragment: &str) -> Vec<u8> {
    let name = format!("{fragment}:x");
    let padded = name.len().next_multiple_of(4);
    let mut request = vec![0, 1, 0, padded as u8 + 4, 0x21, 0x12, 0xA4, 0x42];
    request.extend([7; 12]);
    request.extend([0, 6, 0, name.len() as u8]);
    request.extend(name.as_bytes());
    request.resize(20 + 4 + padded, 0);
    request
}

#[test]
fn requests_with_a_forged_source_take_no_address_from_its_peer() {
    let mut sim = Sim::new(27, 2, 64);
    let (publisher, subscriber) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe(subscriber, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    let before = count(&sim, down);
    let (victim, server) = (sim.clients[publisher].address, sim.threads[0].address);
    for _ in 0..100 {
        // The fragment names the other thread.
        sim.network
            .send(sim.now, victim, server, &request_for("01abcdef"));
        sim.run_for(Duration::from_millis(10));
    }
    assert!(sim.threads[0].worker.stats().datagrams_handed_over >= 99);
    let heard = count(&sim, down) - before;
    assert!(heard >= 49, "{heard} packets in a second");
}

#[test]
fn forged_requests_on_a_shared_port_cost_nobody_a_packet() {
    // Thread 0 gets everything, and owns the publisher.
    let mut sim = Sim::new(31, 2, 64);
    sim.threads[0].takes_all = true;
    let (publisher, subscriber) = (sim.add_client(0), sim.add_client(1));
    let near = sim.add_client(0);
    sim.connect();
    let track = sim.publish_audio(publisher);
    let far = sim.publish_audio(subscriber);
    let downs = [
        sim.subscribe(subscriber, track, Kind::Audio, LayerWish::BEST),
        sim.subscribe(near, far, Kind::Audio, LayerWish::BEST),
    ];
    sim.run_for(Duration::from_secs(1));
    let before = downs.map(|down| count(&sim, down));
    let fragments = [
        sim.server_fragment(publisher),
        sim.server_fragment(subscriber),
        "01abcdefghijklmn".to_owned(),
    ];
    let mut forged = 0u32;
    // More sources than any table of addresses would hold, two in three of them for the other thread.
    for _ in 0..400 {
        for _ in 0..100 {
            let [_, a, b, c] = (0x0B00_0000 + forged).to_be_bytes();
            let from = std::net::SocketAddr::from(([11, a, b, c], 5000));
            let mut request = request_for(&fragments[forged as usize % 3]);
            let now = sim.now;
            let worker = &mut sim.threads[0].worker;
            worker.handle_datagram(now, from, 0, &mut request);
            forged += 1;
        }
        sim.run_for(Duration::from_millis(10));
    }
    // The addresses are still known, and those of strangers are not.
    for (down, before) in downs.iter().zip(before) {
        assert!(
            count(&sim, *down) - before >= 199,
            "{}",
            count(&sim, *down) - before
        );
        assert_eq!(sim.checker.holes(down.ssrc), 0);
    }
    let stats = [0, 1].map(|thread: usize| sim.threads[thread].worker.stats());
    assert_eq!(stats[0].drops.addresses + stats[1].drops.addresses, 0);
    let refused: u64 = stats
        .iter()
        .map(|stats| {
            let refused = stats.refused;
            refused.unauthenticated + refused.unknown_fragment + refused.over_budget + refused.handover_full
        })
        .sum();
    assert!(refused >= u64::from(forged) - 100, "{refused} of {forged}");
}
