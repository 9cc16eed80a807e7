//! Data channels.

use media::api::{ChannelLabel, EventKind};
use std::time::Duration;
use testkit::sim::Sim;

#[test]
fn channels_open_and_messages_pass_both_ways() {
    let mut sim = Sim::new(30, 1, 64);
    let (a, b) = (sim.add_client(0), sim.add_client(0));
    sim.open_channels(a);
    sim.open_channels(b);
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    let opened: Vec<ChannelLabel> = sim.threads[0]
        .events
        .iter()
        .filter_map(|(_, event)| match event.kind {
            EventKind::ChannelOpen { label, .. } => Some(label),
            _ => None,
        })
        .collect();
    assert_eq!(
        opened
            .iter()
            .filter(|label| **label == ChannelLabel::Reliable)
            .count(),
        2
    );
    assert_eq!(
        opened
            .iter()
            .filter(|label| **label == ChannelLabel::Lossy)
            .count(),
        2
    );

    sim.send_message(&[a, b], ChannelLabel::Reliable, &[7; 60_000]);
    sim.send_message(&[b], ChannelLabel::Lossy, b"lossy");
    sim.run_for(Duration::from_secs(1));
    let (reliable, lossy) = (
        sim.clients[b].channels["_reliable"],
        sim.clients[b].channels["_lossy"],
    );
    let mut messages = sim.clients[b].messages.clone();
    messages.sort_by_key(|(_, data)| data.len());
    assert_eq!(
        messages,
        [(lossy, b"lossy".to_vec()), (reliable, vec![7; 60_000])]
    );
    assert_eq!(sim.clients[a].messages.len(), 1);

    let id = sim.clients[a].channels["_reliable"];
    assert!(
        sim.clients[a]
            .peer
            .send_message(sim.now, id, true, b"to the server")
    );
    sim.run_for(Duration::from_millis(200));
    let key = sim.key(a);
    let got = sim.threads[0].events.iter().any(|(_, event)| {
        event.kind
            == EventKind::Message {
                peer: key,
                label: ChannelLabel::Reliable,
                data: b"to the server".to_vec(),
            }
    });
    assert!(got);
}

#[test]
fn a_message_without_a_channel_is_reported() {
    let mut sim = Sim::new(31, 1, 64);
    let a = sim.add_client(0);
    sim.connect();
    sim.send_message(&[a], ChannelLabel::Reliable, b"nobody listens");
    sim.run_for(Duration::from_millis(10));
    let dropped = EventKind::MessageDropped {
        peer: sim.key(a),
        label: ChannelLabel::Reliable,
    };
    assert!(
        sim.threads[0]
            .events
            .iter()
            .any(|(_, event)| event.kind == dropped)
    );
    assert_eq!(sim.threads[0].worker.stats().drops.messages, 1);
}
