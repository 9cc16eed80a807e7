//! The same seed gives the same run (I13), and many seeds keep the invariants.

use media::api::{Event, LayerWish};
use peer::Kind;
use std::time::Duration;
use testkit::client::Received;
use testkit::network::Link;
use testkit::rng::Rng;
use testkit::sim::{Down, Sim};

/// A call with loss, jitter, simulcast, crossings and changing wishes; every packet is checked on
/// its way.
fn busy_call(seed: u64) -> (Vec<Vec<Received>>, Vec<(Duration, Event)>) {
    let mut rng = Rng::new(seed);
    let mut sim = Sim::new(seed, 2, 256);
    let clients: Vec<usize> = (0..4).map(|i| sim.add_client(i % 2)).collect();
    sim.connect();
    for client in &clients {
        let link = |rng: &mut Rng| Link {
            latency: Duration::from_millis(5 + rng.below(40)),
            jitter: Duration::from_millis(rng.below(15)),
            loss_per_mille: rng.below(80),
            rate_bps: Some(20_000_000),
            ..Link::default()
        };
        let address = sim.clients[*client].address;
        let (up, down) = (link(&mut rng), link(&mut rng));
        sim.network.set_access(address, up, down);
    }
    let mut downs: Vec<Down> = Vec::new();
    let mut tracks = Vec::new();
    for client in &clients {
        for (kind, track) in [
            (Kind::Audio, sim.publish_audio(*client)),
            (Kind::Video, sim.publish_video(*client, 3)),
        ] {
            tracks.push(track);
            for other in clients.iter().filter(|other| *other != client) {
                let down = sim.subscribe(*other, track, kind, LayerWish::BEST);
                if kind == Kind::Video {
                    downs.push(down);
                }
            }
        }
    }
    for _ in 0..8 {
        sim.run_for(Duration::from_millis(100 + rng.below(400)));
        let down = downs[rng.below(downs.len() as u64) as usize];
        sim.wish(
            down,
            LayerWish {
                spatial: rng.below(3) as u8,
                temporal: rng.below(4) as u8,
                enabled: true,
            },
        );
    }
    sim.run_for(Duration::from_secs(1));
    let events = sim.threads.into_iter().flat_map(|thread| thread.events).collect();
    let received = sim.clients.into_iter().map(|client| client.received).collect();
    (received, events)
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (first, first_events) = busy_call(77);
    let (second, second_events) = busy_call(77);
    assert!(first.iter().map(Vec::len).sum::<usize>() > 3000);
    assert_eq!(first_events, second_events);
    assert!(first == second, "received packets differ");
}

#[test]
fn invariants_hold_for_many_seeds() {
    for seed in 0..4 {
        let (received, _) = busy_call(seed);
        assert!(received.iter().all(|packets| packets.len() > 300));
    }
}
