//! Readers of data on slow links: what they miss, and that they cost the others nothing.

use media::Tuning;
use media::api::{ChannelLabel, EventKind, LayerWish};
use peer::Kind;
use std::time::Duration;
use testkit::network::Link;
use testkit::sim::Sim;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn narrow(sim: &mut Sim, client: usize, rate_bps: u64) {
    let link = Link {
        rate_bps: Some(rate_bps),
        ..Link::default()
    };
    let address = sim.clients[client].address;
    sim.network.set_access(address, Link::default(), link);
}

/// A room with readers on links of these rates.
fn readers<const N: usize>(seed: u64, tuning: Tuning, rates_bps: [u64; N]) -> (Sim, [usize; N]) {
    let mut sim = Sim::tuned(seed, (1, 64), tuning);
    let readers = rates_bps.map(|_| sim.add_client(0));
    for reader in readers {
        sim.open_channels(reader);
    }
    sim.connect();
    sim.run_for(Duration::from_secs(1));
    for (reader, rate_bps) in readers.into_iter().zip(rates_bps) {
        narrow(&mut sim, reader, rate_bps);
    }
    (sim, readers)
}

/// 2 Mbit/s of messages for five seconds to a reader of 1 Mbit/s: the ages at which those of the
/// last three seconds arrive.
fn ages(tuning: Tuning, label: ChannelLabel) -> Vec<Duration> {
    let (mut sim, [reader]) = readers(36, tuning, [1_000_000]);
    let (begin, mut seen, mut ages) = (sim.since(), 0, Vec::new());
    while sim.since() < begin + ms(5000) {
        let stamp = (sim.since().as_micros() as u64).to_be_bytes();
        sim.send_message(&[reader], label, &[&stamp[..], &[7; 1242]].concat());
        sim.run_for(ms(5));
        for (_, data) in &sim.clients[reader].messages[seen..] {
            let sent = u64::from_be_bytes(data[..8].try_into().unwrap());
            ages.push(sim.since() - Duration::from_micros(sent));
        }
        seen = sim.clients[reader].messages.len();
        if sim.since() < begin + ms(2000) {
            ages.clear();
        }
    }
    let lost = sim.threads[0].worker.stats().drops.messages;
    assert!(lost.all() > 0);
    let of_label = match label {
        ChannelLabel::Lossy => lost.lossy,
        _ => lost.data_track,
    };
    assert_eq!(of_label, lost.all(), "counted by its label");
    ages
}

#[test]
fn messages_of_a_slow_reader_keep_the_target_latency_or_are_dropped() {
    let lossy = |latency| Tuning {
        lossy_latency: latency,
        ..Tuning::default()
    };
    // 256 KiB in the channel: two seconds.
    let free = ages(lossy(ms(0)), ChannelLabel::Lossy);
    assert!(free.iter().min() > Some(&ms(1000)), "{:?}", free.iter().min());
    for target in [ms(200), ms(500)] {
        let bound = ages(lossy(target), ChannelLabel::Lossy);
        let (least, most) = (bound.iter().min().unwrap(), bound.iter().max().unwrap());
        assert!(*least > target / 4 && *most < target * 2, "{least:?} to {most:?}");
        // What passes fills the link.
        assert!(bound.len() > 250, "{} messages in 3 s of 1 Mbit/s", bound.len());
    }
    let tracks = ages(Tuning::default(), ChannelLabel::DataTrack);
    assert!(tracks.iter().max() < Some(&ms(200)), "{:?}", tracks.iter().max());
    assert!(tracks.len() > 250, "{} messages in 3 s of 1 Mbit/s", tracks.len());
}

/// 1.6 Mbit/s of messages to readers of 1 Mbit/s and 200 kbit/s, where 500 kbit/s are asked for.
#[test]
fn a_reader_below_the_threshold_misses_what_waits_and_one_above_it_gets_all() {
    const SENT: u64 = 100;
    let tuning = Tuning {
        slow_reader_bps: 500_000,
        ..Tuning::default()
    };
    let (mut sim, [quick, slow]) = readers(37, tuning, [1_000_000, 200_000]);
    for number in 0..SENT {
        let message = [&number.to_be_bytes()[..], &[7; 20_000]].concat();
        sim.send_message(&[quick, slow], ChannelLabel::Reliable, &message);
        sim.run_for(ms(100));
    }
    sim.run_for(Duration::from_secs(20));
    let got = |client: usize| {
        let messages = sim.clients[client].messages.iter();
        let numbers = messages.map(|(_, data)| u64::from_be_bytes(data[..8].try_into().unwrap()));
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(got(quick), (0..SENT).collect::<Vec<_>>());
    let dropped = sim.threads[0].worker.stats().drops.messages;
    assert_eq!(dropped.reliable, dropped.all());
    assert_eq!(got(slow).len() as u64 + dropped.reliable, SENT);
    assert!(got(slow).is_sorted_by(|a, b| a < b), "in order, each once");
    assert!((10..SENT - 20).contains(&dropped.reliable), "{dropped:?}");
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
    narrow(&mut sim, slow, 1_000_000);
    let address = sim.clients[slow].address;
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
    let dropped = sim.threads[0].worker.stats().drops.messages.all();
    assert!(dropped > 0, "the limit was reached");
    assert_eq!(got.len() as u64 + dropped, u64::from(SENT));
    assert!(got.is_sorted_by(|a, b| a < b), "in order, each once");
    let told = sim.threads[0].events.iter().map(|(_, event)| match event.kind {
        EventKind::MessageDropped { peer, label, count } => {
            assert_eq!((peer, label), (sim.key(slow), ChannelLabel::Reliable));
            count
        }
        _ => 0,
    });
    assert_eq!(told.sum::<u64>(), dropped);
}
