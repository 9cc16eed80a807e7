//! Redundant audio: unpacked and repaired for those who do not read it, made for those who do.

use media::api::LayerWish;
use peer::Codec;
use std::time::Duration;
use testkit::client::Received;
use testkit::network::Link;
use testkit::sim::{Down, Sim};

const BOTH: &[Codec] = &[Codec::Red, Codec::Opus];

fn received(sim: &Sim, down: Down) -> Vec<&Received> {
    let received = sim.clients[down.client].received.iter();
    let mut packets: Vec<_> = received.filter(|packet| packet.tag == down.key.0).collect();
    packets.sort_by_key(|packet| packet.sequence);
    packets
}

fn lossy(loss_per_mille: u64) -> Link {
    Link {
        loss_per_mille,
        latency: Duration::from_millis(20),
        ..Link::default()
    }
}

#[test]
fn lost_packets_are_recovered_for_those_who_do_not_read_red() {
    let mut sim = Sim::new(11, 1, 64);
    let publisher = sim.add_client(0);
    let (plain, able) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let address = sim.clients[publisher].address;
    sim.network.set_access(address, lossy(100), Link::default());
    let track = sim.publish_red(publisher);
    let plain = sim.subscribe_as(plain, track, &[Codec::Opus], LayerWish::BEST);
    let able = sim.subscribe_as(able, track, BOTH, LayerWish::BEST);
    sim.run_for(Duration::from_secs(60));
    let unpacked = received(&sim, plain);
    let (first, last) = (unpacked[0], unpacked[unpacked.len() - 1]);
    let expected = (last.content.frame - first.content.frame + 1) as usize;
    let missing = expected - unpacked.len();
    assert!(expected > 2900, "{expected}");
    // Three in a row are lost once in a thousand.
    assert!(missing <= expected / 250, "{missing} of {expected}");
    for packet in &unpacked {
        let behind = packet.content.frame - first.content.frame;
        assert_eq!(packet.codec, Codec::Opus);
        assert_eq!(packet.sequence - first.sequence, u64::from(behind));
        assert_eq!(packet.timestamp.wrapping_sub(first.timestamp), behind * 960);
    }
    let whole = received(&sim, able);
    let lost = expected - whole.len();
    assert!(
        lost > expected / 20,
        "{lost} of {expected} are left to the subscriber to repair"
    );
    assert!(whole.iter().all(|packet| packet.codec == Codec::Red));
    let stats = sim.threads[0].worker.stats();
    assert!(
        stats.packets_recovered as usize > expected / 20,
        "{}",
        stats.packets_recovered
    );
}

#[test]
fn recovered_packets_are_repeated_like_others() {
    let mut sim = Sim::new(12, 2, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(1));
    sim.connect();
    for client in [publisher, listener] {
        let address = sim.clients[client].address;
        sim.network.set_access(address, lossy(100), lossy(100));
    }
    let track = sim.publish_red(publisher);
    let down = sim.subscribe_as(listener, track, &[Codec::Opus], LayerWish::BEST);
    sim.run_for(Duration::from_secs(60));
    let packets = received(&sim, down);
    let expected = (packets[packets.len() - 1].content.frame - packets[0].content.frame + 1) as usize;
    let missing = expected - packets.len();
    assert!(missing * 50 < expected, "{missing} of {expected}");
    assert!(sim.threads[1].worker.stats().packets_resent > 200);
}

#[test]
fn packets_that_overtake_each_other_are_heard_once() {
    let mut sim = Sim::new(13, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let address = sim.clients[publisher].address;
    let shaky = Link {
        jitter: Duration::from_millis(60),
        ..lossy(0)
    };
    sim.network.set_access(address, shaky, Link::default());
    let track = sim.publish_red(publisher);
    let down = sim.subscribe_as(listener, track, &[Codec::Opus], LayerWish::BEST);
    sim.run_for(Duration::from_secs(20));
    let packets = received(&sim, down);
    assert!(packets.len() > 900, "{}", packets.len());
    let numbers: Vec<u32> = packets.iter().map(|packet| packet.content.frame).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    assert!(sim.threads[0].worker.stats().packets_recovered > 50);
}

#[test]
fn nothing_said_while_muted_is_recovered() {
    let mut sim = Sim::new(14, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_red(publisher);
    let down = sim.subscribe_as(listener, track, &[Codec::Opus], LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    sim.mute(track, true);
    sim.run_for(Duration::from_secs(1));
    let before = received(&sim, down).last().expect("some came").content.frame;
    sim.mute(track, false);
    sim.run_for(Duration::from_secs(1));
    let packets = received(&sim, down);
    let next = packets.iter().find(|packet| packet.content.frame > before);
    assert!(next.expect("it went on").content.frame > before + 45);
    assert_eq!(sim.threads[0].worker.stats().packets_recovered, 0);
}

#[test]
fn opus_becomes_redundant_for_those_who_read_red() {
    let mut sim = Sim::new(15, 1, 64);
    let publisher = sim.add_client(0);
    let (able, plain) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_audio(publisher);
    sim.run_for(Duration::from_secs(1));
    let able = sim.subscribe_as(able, track, BOTH, LayerWish::BEST);
    let plain = sim.subscribe_as(plain, track, &[Codec::Opus], LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    let redundant = received(&sim, able);
    assert!(redundant.len() > 45);
    for (i, packet) in redundant.iter().enumerate() {
        let number = packet.content.frame;
        // What was said before the subscription is not told.
        let first = number - i.min(2) as u32;
        assert_eq!(packet.codec, Codec::Red);
        assert_eq!(packet.repeats, (first..number).collect::<Vec<_>>());
    }
    let plain = received(&sim, plain);
    assert!(plain.len() > 45 && plain.iter().all(|packet| packet.codec == Codec::Opus));
}

#[test]
fn what_was_lost_on_the_way_up_is_not_repeated_wrongly() {
    let mut sim = Sim::new(16, 1, 64);
    let (publisher, listener) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let address = sim.clients[publisher].address;
    sim.network.set_access(address, lossy(100), Link::default());
    let track = sim.publish_audio(publisher);
    let down = sim.subscribe_as(listener, track, BOTH, LayerWish::BEST);
    sim.run_for(Duration::from_secs(20));
    let packets = received(&sim, down);
    let shorter = packets.iter().filter(|packet| packet.repeats.len() < 2).count();
    assert!(shorter > 50, "{shorter}");
    for packet in packets {
        let number = packet.content.frame;
        let first = number - packet.repeats.len() as u32;
        assert_eq!(packet.repeats, (first..number).collect::<Vec<_>>());
    }
}
