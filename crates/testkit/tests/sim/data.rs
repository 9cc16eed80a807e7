//! Data channels.

use media::api::{ChannelLabel, EventKind, LayerWish};
use peer::Kind;
use std::time::Duration;
use testkit::network::Link;
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
fn a_data_track_packet_reaches_each_subscriber_under_its_own_handle() {
    let mut sim = Sim::new(39, 1, 64);
    let clients: Vec<usize> = (0..5).map(|_| sim.add_client(0)).collect();
    // The last one has no channel: the others get theirs all the same.
    for client in &clients[..4] {
        sim.open_channels(*client);
    }
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    let packet = |handle: u16| {
        let [high, low] = handle.to_be_bytes();
        [&[0x18, 0, high, low, 0, 1, 0, 2, 0, 0, 0, 3], &[7; 3_000][..]].concat()
    };
    let handle = |client: usize| 0x0100 * (1 + client as u16) + 7;
    let receivers: Vec<_> = clients.iter().map(|&client| (client, handle(client))).collect();
    sim.send_data_track_packet(&receivers, &packet(0xFFFF));
    sim.run_for(Duration::from_millis(200));
    for &client in &clients[..4] {
        let channel = sim.clients[client].channels["_data_track"];
        assert_eq!(sim.clients[client].messages, [(channel, packet(handle(client)))]);
    }
    assert!(sim.clients[4].messages.is_empty());
    assert_eq!(sim.threads[0].worker.stats().drops.messages.data_track, 1);
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
        count: 1,
    };
    assert!(
        sim.threads[0]
            .events
            .iter()
            .any(|(_, event)| event.kind == dropped)
    );
    assert_eq!(sim.threads[0].worker.stats().drops.messages.all(), 1);
}

#[test]
fn a_slow_control_plane_loses_no_reliable_message() {
    let mut sim = Sim::new(32, 1, 64);
    let a = sim.add_client(0);
    sim.open_channels(a);
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    sim.threads[0].deaf = true;
    let (reliable, lossy) = (
        sim.clients[a].channels["_reliable"],
        sim.clients[a].channels["_lossy"],
    );
    let (mut accepted, mut lossy_sent) = (0u32, 0u32);
    for number in 0..6000u32 {
        let (now, peer) = (sim.now, &mut sim.clients[a].peer);
        let id = if number % 4 == 0 { lossy } else { reliable };
        let queued = peer.send_message(now, id, true, &number.to_be_bytes());
        if queued && id == reliable {
            accepted += 1;
        } else if queued {
            lossy_sent += 1;
        }
        if number % 20 == 0 {
            sim.run_for(Duration::from_millis(5));
        }
    }
    sim.run_for(Duration::from_secs(2));
    assert!(accepted > 4200, "{accepted}");
    sim.threads[0].deaf = false;
    sim.run_for(Duration::from_secs(5));
    let got = |label| {
        let events = sim.threads[0].events.iter();
        let numbers = events.filter_map(move |(_, event)| match &event.kind {
            EventKind::Message { label: l, data, .. } if *l == label => Some(data.clone()),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    let reliable = got(ChannelLabel::Reliable);
    assert_eq!(reliable.len(), accepted as usize);
    assert!(reliable.is_sorted(), "in order");
    assert!((got(ChannelLabel::Lossy).len() as u32) <= lossy_sent);
}

#[test]
fn whose_messages_are_held_back_gets_lost_packets_again_all_the_same() {
    let mut sim = Sim::new(34, 1, 64);
    let (talker, publisher) = (sim.add_client(0), sim.add_client(0));
    sim.open_channels(talker);
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let down = sim.subscribe(talker, track, Kind::Video, LayerWish::BEST);
    sim.run_for(Duration::from_secs(1));
    sim.threads[0].deaf = true;
    let id = sim.clients[talker].channels["_reliable"];
    for number in 0..6000u32 {
        let now = sim.now;
        sim.clients[talker]
            .peer
            .send_message(now, id, true, &number.to_be_bytes());
        if number % 20 == 0 {
            sim.run_for(Duration::from_millis(5));
        }
    }
    sim.run_for(Duration::from_secs(2));
    let lossy = Link {
        loss_per_mille: 100,
        ..Link::default()
    };
    let address = sim.clients[talker].address;
    sim.network.set_access(address, Link::default(), lossy);
    let before = sim.threads[0].worker.stats().packets_resent;
    sim.run_for(Duration::from_secs(5));
    let resent = sim.threads[0].worker.stats().packets_resent - before;
    assert!(resent > 10, "{resent} of {}", sim.checker.count(down.ssrc));
}

#[test]
fn a_burst_reaches_a_slower_reader_whole_and_in_order() {
    let mut sim = Sim::new(33, 1, 64);
    let (slow, quick) = (sim.add_client(0), sim.add_client(0));
    for client in [slow, quick] {
        sim.open_channels(client);
    }
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    let narrow = Link {
        rate_bps: Some(8_000_000),
        ..Link::default()
    };
    let address = sim.clients[slow].address;
    sim.network.set_access(address, Link::default(), narrow);
    for number in 0..200u32 {
        let message = [&number.to_be_bytes()[..], &[7; 15_000]].concat();
        sim.send_message(&[slow, quick], ChannelLabel::Reliable, &message);
    }
    // 3 MB at 8 Mbit/s are 3 s; the quick one does not wait for the slow one.
    sim.run_for(Duration::from_secs(1));
    assert_eq!(sim.clients[quick].messages.len(), 200);
    sim.run_for(Duration::from_secs(5));
    for client in [slow, quick] {
        let got = &sim.clients[client].messages;
        assert_eq!(got.len(), 200);
        assert!(got.is_sorted(), "in order");
        assert!(got.iter().all(|(_, data)| data.len() == 15_004));
    }
    assert_eq!(sim.threads[0].worker.stats().drops.messages.all(), 0);
}

#[test]
fn what_waits_for_a_reader_that_stopped_is_bounded_and_counted() {
    let mut sim = Sim::new(34, 1, 64);
    let client = sim.add_client(0);
    sim.open_channels(client);
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    let dead = Link {
        loss_per_mille: 1000,
        ..Link::default()
    };
    let address = sim.clients[client].address;
    sim.network.set_access(address, dead, dead);
    for _ in 0..400 {
        sim.send_message(&[client], ChannelLabel::Reliable, &[7; 60_000]);
        // Lossy data does not wait: what finds its channel busy is dropped.
        sim.send_message(&[client], ChannelLabel::Lossy, &[7; 60_000]);
    }
    // 256 KiB in each channel, 8 MiB behind the reliable one.
    let dropped = sim.threads[0].worker.stats().drops.messages.all();
    assert_eq!(dropped, 400 - 4 - 139 + 400 - 4);
}
