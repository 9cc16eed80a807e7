//! ICE that fails and is restarted on a DTLS session that goes on.

use media::api::EventKind;
use std::time::Duration;
use testkit::network::Link;
use testkit::sim::Sim;

/// What the thread told of the client's connection, with the second it came in.
fn told(sim: &Sim, client: usize) -> Vec<(u64, &'static str)> {
    let key = sim.key(client);
    let told = sim.threads[0].events.iter();
    told.filter_map(|(at, event)| {
        let name = match event.kind {
            EventKind::IceConnected { peer } if peer == key => "ice connected",
            EventKind::IceDisconnected { peer } if peer == key => "ice disconnected",
            EventKind::PeerConnected { peer } if peer == key => "connected",
            EventKind::PeerFailed { peer } if peer == key => "failed",
            _ => return None,
        };
        Some((at.as_secs(), name))
    })
    .collect()
}

#[test]
fn a_restart_after_a_failure_is_told_as_a_connection() {
    let mut sim = Sim::new(51, 1, 64);
    let client = sim.add_client(0);
    sim.connect();
    assert_eq!(told(&sim, client), [(0, "ice connected"), (0, "connected")]);

    let cut = Link {
        loss_per_mille: 1_000,
        ..Link::default()
    };
    let address = sim.clients[client].address;
    sim.network.set_access(address, cut, cut);
    sim.run_for(Duration::from_secs(60));
    sim.network.set_access(address, Link::default(), Link::default());
    let before = told(&sim, client);
    assert_eq!(before.last().map(|(_, name)| *name), Some("failed"), "{before:?}");

    sim.restart_ice(client);
    sim.run_for(Duration::from_secs(5));
    assert_eq!(
        told(&sim, client)[before.len()..],
        [(60, "ice connected"), (60, "connected")]
    );
    sim.run_for(Duration::from_secs(60));
    assert_eq!(told(&sim, client).len(), before.len() + 2, "nothing more to tell");
}
