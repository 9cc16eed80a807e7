//! A thread whose socket overflows, and what comes after.

use media::Class;
use media::api::{EventKind, LayerWish};
use peer::Kind;
use std::collections::BTreeSet;
use std::time::Duration;
use testkit::network::Link;
use testkit::sim::{Down, Sim};

/// Calls of two with sound and picture each.
fn calls(sim: &mut Sim, count: usize) -> Vec<Down> {
    let clients: Vec<usize> = (0..2 * count).map(|_| sim.add_client(0)).collect();
    sim.connect();
    let mut downs = Vec::new();
    for pair in clients.chunks(2) {
        for (from, to) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            let (sound, picture) = (sim.publish_audio(from), sim.publish_video(from, 1));
            downs.push(sim.subscribe(to, sound, Kind::Audio, LayerWish::BEST));
            downs.push(sim.subscribe(to, picture, Kind::Video, LayerWish::BEST));
        }
    }
    downs
}

/// Packets that the server asked of all clients so far.
fn asked(sim: &Sim) -> u64 {
    let clients = sim.clients.iter();
    clients
        .map(|client| client.peer.stream_stats().nacks_received)
        .sum()
}

/// Sequence numbers that a subscriber got from the `from`th packet on.
fn sequences(sim: &Sim, down: Down, from: usize) -> BTreeSet<u64> {
    let received = sim.clients[down.client].received.iter().skip(from);
    received
        .filter(|packet| packet.tag == down.key.0)
        .map(|packet| packet.sequence)
        .collect()
}

#[test]
fn own_drops_are_not_asked_for_and_losses_are_repaired_once_they_end() {
    let mut sim = Sim::new(31, 1, 64);
    let downs = calls(&mut sim, 3);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(asked(&sim), 0, "nothing is lost yet");

    sim.threads[0].drops_one_in = 3;
    sim.run_for(Duration::from_secs(5));
    let overloaded = asked(&sim);
    sim.threads[0].drops_one_in = 0;
    // The first seconds of a subscription's pictures wait for a key frame; sound does not.
    assert!(
        overloaded <= 5,
        "{overloaded} asked for while a third was dropped"
    );

    // A lossy link and time to spare: everything is repaired.
    for client in 0..sim.clients.len() {
        let lossy = Link {
            loss_per_mille: 100,
            ..Link::default()
        };
        let address = sim.clients[client].address;
        sim.network.set_access(address, lossy, Link::default());
    }
    sim.run_for(Duration::from_secs(1));
    let from: Vec<usize> = sim.clients.iter().map(|client| client.received.len()).collect();
    sim.run_for(Duration::from_secs(10));
    for client in 0..sim.clients.len() {
        let address = sim.clients[client].address;
        sim.network.set_access(address, Link::default(), Link::default());
    }
    sim.run_for(Duration::from_secs(1));
    assert!(asked(&sim) > overloaded + 300, "{}", asked(&sim));
    for down in downs.iter().filter(|down| down.kind == Kind::Audio) {
        let got = sequences(&sim, *down, from[down.client]);
        let (first, last) = (got.first().unwrap(), got.last().unwrap());
        let missing = last - first + 1 - got.len() as u64;
        assert!(missing <= 1, "{missing} of {} packets stay lost", got.len());
    }
}

#[test]
fn what_a_shared_port_drops_on_another_thread_is_not_asked_for_either() {
    // Thread 0 gets everything, and owns nobody.
    let mut sim = Sim::new(33, 2, 256);
    sim.threads[0].takes_all = true;
    let (publisher, subscriber) = (sim.add_client(1), sim.add_client(1));
    sim.connect();
    let track = sim.publish_audio(publisher);
    sim.subscribe(subscriber, track, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(2));
    assert_eq!(asked(&sim), 0, "nothing is lost yet");
    sim.threads[0].drops_one_in = 3;
    sim.run_for(Duration::from_secs(5));
    assert!(sim.threads[0].worker.stats().datagrams_handed_over > 100);
    assert!(asked(&sim) <= 3, "{} asked for", asked(&sim));
}

/// What a publisher of sound and of a picture in three layers is told within ten seconds: transport-wide
/// feedback that reaches it, and how often the server's budget held some back.
fn told(loss_per_mille: u64) -> (u64, u64) {
    let mut sim = Sim::new(34, 1, 64);
    let (publisher, subscriber) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let (sound, picture) = (sim.publish_audio(publisher), sim.publish_video(publisher, 3));
    sim.subscribe(subscriber, sound, Kind::Audio, LayerWish::BEST);
    sim.subscribe(subscriber, picture, Kind::Video, LayerWish::BEST);
    let lossy = Link {
        loss_per_mille,
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        ..Link::default()
    };
    let address = sim.clients[publisher].address;
    sim.network.set_access(address, lossy, lossy);
    sim.run_for(Duration::from_secs(10));
    let heard = sim.clients[publisher].peer.stream_stats().transport_cc_ignored;
    (heard, sim.threads[0].worker.stats().held.transport_cc)
}

#[test]
fn loss_costs_a_publisher_no_more_feedback_than_the_link_loses() {
    let (calm, _) = told(0);
    let (lossy, held) = told(100);
    assert!(calm > 90, "{calm}");
    assert!(lossy * 100 > calm * 85, "{lossy} of {calm}");
    assert!(held * 50 < calm, "{held} of {calm} were held back");
}

#[test]
fn a_datagram_is_known_for_what_it_is_before_it_is_handled() {
    let mut sim = Sim::new(32, 1, 64);
    let (alice, bob) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let (sound, picture) = (sim.publish_audio(alice), sim.publish_video(alice, 1));
    sim.subscribe(bob, sound, Kind::Audio, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    let late = sim.add_client(0);
    let worker = &sim.threads[0].worker;
    let address = sim.clients[alice].address;
    let rtp = |ssrc: u32| {
        let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
        packet.extend(ssrc.to_be_bytes());
        packet
    };
    let ssrc_of = |track| {
        sim.threads[0]
            .events
            .iter()
            .find_map(|(_, event)| match event.kind {
                EventKind::LayerStarted { track: of, ssrc, .. } if of == track => Some(ssrc),
                _ => None,
            })
    };
    let (heard, seen) = (ssrc_of(sound).unwrap(), ssrc_of(picture).unwrap());
    assert_eq!(worker.class_of(address, &rtp(heard)), Class::Audio(sound.0));
    assert_eq!(worker.class_of(address, &rtp(seen)), Class::Video(picture.0));
    assert_eq!(worker.class_of(address, &rtp(!heard)), Class::NewStream);
    // The first bytes of RTCP, DTLS and STUN, and of nothing.
    for (byte, class) in [
        ([0x80, 200], Class::Control),
        ([22, 254], Class::Control),
        ([0, 1], Class::Control),
        ([255, 0], Class::Unknown),
    ] {
        assert_eq!(worker.class_of(address, &byte), class);
    }
    // A peer that has sent nothing yet is known by its requests only.
    let stranger = sim.clients[late].address;
    assert_eq!(worker.class_of(stranger, &[0, 1]), Class::Joining);
    assert_eq!(worker.class_of(stranger, &[22, 254]), Class::Unknown);
    assert_eq!(worker.class_of(stranger, &rtp(heard)), Class::Unknown);
}
