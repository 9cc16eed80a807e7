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
    assert_eq!(sim.threads[0].worker.stats().drops.messages, 0);
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
    let dropped = sim.threads[0].worker.stats().drops.messages;
    assert_eq!(dropped, 400 - 4 - 139 + 400 - 4);
}

/// 4.8 Mbit/s of messages and a voice for a reader on a link of 1 Mbit/s and two on good ones.
#[test]
fn a_slow_reader_costs_the_others_nothing_and_misses_only_what_is_past_the_limit() {
    const SENT: u32 = 400;
    let mut sim = Sim::new(35, 1, 64);
    let speaker = sim.add_client(0);
    let readers = [0; 3].map(|thread| sim.add_client(thread));
    for reader in readers {
        sim.open_channels(reader);
    }
    sim.connect();
    let track = sim.publish_audio(speaker);
    let downs = readers.map(|reader| sim.subscribe(reader, track, Kind::Audio, LayerWish::BEST));
    sim.run_for(Duration::from_secs(1));
    let [slow, quick @ ..] = readers;
    let narrow = Link {
        rate_bps: Some(1_000_000),
        ..Link::default()
    };
    let address = sim.clients[slow].address;
    sim.network.set_access(address, Link::default(), narrow);
    let begin = sim.since();
    for number in 0..SENT {
        let message = [&number.to_be_bytes()[..], &[7; 30_000]].concat();
        sim.send_message(&readers, ChannelLabel::Reliable, &message);
        sim.run_for(Duration::from_millis(50));
        for client in quick {
            let got = &sim.clients[client].messages;
            // The first ones find a congestion window that has not opened yet.
            assert!(got.len() >= number as usize, "{} of {number}", got.len());
        }
    }
    let end = sim.since();
    for down in &downs[1..] {
        let heard = sim.clients[down.client].received.iter();
        let times: Vec<_> = heard
            .map(|packet| packet.at)
            .filter(|at| (begin..end).contains(at))
            .collect();
        assert!(times.len() >= 999, "{} packets in 20 s", times.len());
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(gap < Some(Duration::from_millis(30)), "{gap:?} without sound");
        assert_eq!(sim.checker.holes(down.ssrc), 0);
    }
    // What waited for the slow one arrives still; the rest was dropped for it alone, and counted.
    let behind = sim.clients[slow].messages.len();
    assert!(behind < 100, "{behind} messages in 20 s of 1 Mbit/s");
    sim.network.set_access(address, Link::default(), Link::default());
    sim.run_for(Duration::from_secs(20));
    let number = |(_, data): &(u16, Vec<u8>)| u32::from_be_bytes(data[..4].try_into().unwrap());
    let got: Vec<u32> = sim.clients[slow].messages.iter().map(number).collect();
    let dropped = sim.threads[0].worker.stats().drops.messages;
    assert!(dropped > 0, "the limit was reached");
    assert_eq!(got.len() as u64 + dropped, u64::from(SENT));
    assert!(got.is_sorted_by(|a, b| a < b), "in order, each once");
    let lost = EventKind::MessageDropped {
        peer: sim.key(slow),
        label: ChannelLabel::Reliable,
    };
    let told = sim.threads[0]
        .events
        .iter()
        .filter(|(_, event)| event.kind == lost);
    assert_eq!(told.count() as u64, dropped);
}
