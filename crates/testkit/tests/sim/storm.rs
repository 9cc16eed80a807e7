//! Subscribers that ask for everything again and again: what they get is bounded, and others do not wait
//! for it.

use super::video::{HIGH, decoded, received};
use media::{RtxShare, Tuning};
use peer::Kind;
use peer::fuzzing::seal_rtcp;
use std::collections::BTreeMap;
use std::time::Duration;
use testkit::network::Link;
use testkit::sim::{RTX, Sim};
use wire::rtcp::Writer;

const SECOND: Duration = Duration::from_secs(1);

/// Asks for packets, sent or not, of a stream: if for thousands, as no browser does.
fn ask(sim: &mut Sim, client: usize, ssrc: u32, (from, count): (u16, u16)) {
    let mut plain = [0; 1100];
    let mut writer = Writer::new(&mut plain);
    let lost: Vec<u16> = (0..count).map(|n| from.wrapping_add(n)).collect();
    assert!(writer.nack(1, ssrc, &lost));
    let len = writer.len();
    let sealed = seal_rtcp(&mut sim.clients[client].peer, &plain[..len]).unwrap();
    let (from, to) = (sim.clients[client].address, sim.threads[0].address);
    sim.network.send(sim.now, from, to, &sealed);
}

#[test]
fn who_asks_for_everything_again_and_again_gets_a_bounded_answer() {
    let mut sim = Sim::new(5, 1, 64);
    sim.packets_per_frame = [8, 0, 0];
    let publisher = sim.add_client(0);
    let (hostile, clean) = (sim.add_client(0), sim.add_client(0));
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let asked = sim.subscribe(hostile, track, Kind::Video, HIGH);
    let other = sim.subscribe(clean, track, Kind::Video, HIGH);
    let address = sim.clients[clean].address;
    let lossy = Link {
        loss_per_mille: 20,
        ..Link::default()
    };
    sim.network.set_access(address, Link::default(), lossy);
    sim.run_for(SECOND);
    let traffic = |sim: &Sim, client: usize, down| {
        let address = sim.clients[client].address;
        sim.network.traffic[&(address, down)].sent
    };
    let before = (traffic(&sim, hostile, true), traffic(&sim, clean, true));
    for n in 0..5000 {
        ask(&mut sim, hostile, asked.ssrc, ((n * 4111) as u16, 4000));
        sim.run_for(Duration::from_millis(1));
    }
    let sent = traffic(&sim, hostile, true) - before.0;
    let media = traffic(&sim, clean, true) - before.1;
    assert!(sent < media * 5 / 4, "{sent} where others get {media}");
    let stats = sim.threads[0].worker.stats();
    assert!(stats.drops.resend_budget > 100, "{:?}", stats.drops);
    assert!(stats.drops.streams.nacks_ignored > 100_000, "{:?}", stats.drops);
    // The other one got everything, at once or in one round trip more.
    let packets = received(&sim, other);
    let late = packets.iter().filter(|packet| packet.retransmitted).count();
    assert!(late > 5, "{late}");
    let decoded = decoded(&sim, other);
    assert!(decoded.broken <= 1 && decoded.frames.len() > 175, "{decoded:?}");
}

/// Packets that one peer is sent again before the next one has its turn: as the worker has it.
const AT_ONCE: usize = 16;

/// Four ask for everything, and behind them one for three packets; no budget limits them. Order within a turn of the thread
/// is all that there is to delay a peer by.
#[test]
fn what_others_are_sent_again_waits_for_new_packets_and_takes_turns() {
    let unlimited = |share| RtxShare {
        max_permille: 0,
        ..share
    };
    let tuning = Tuning {
        rtx: [unlimited(RtxShare::AUDIO), unlimited(RtxShare::VIDEO)],
        ..Tuning::default()
    };
    let mut sim = Sim::tuned(6, (1, 64), tuning);
    sim.packets_per_frame = [8, 0, 0];
    let publisher = sim.add_client(0);
    let hostile: Vec<usize> = (0..4).map(|_| sim.add_client(0)).collect();
    let clean = sim.add_client(0);
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let asked: Vec<_> = hostile
        .iter()
        .map(|client| sim.subscribe(*client, track, Kind::Video, HIGH))
        .collect();
    let down = sim.subscribe(clean, track, Kind::Video, HIGH);
    sim.run_for(SECOND);
    sim.turns = Some(Vec::new());
    for _ in 0..20 {
        // So rarely that they are not taken for peers behind a narrow link.
        sim.run_for(Duration::from_millis(650));
        // What arrives while the thread is busy elsewhere meets in one turn.
        sim.threads[0].stalled = true;
        for asked in &asked {
            let newest = received(&sim, *asked).last().unwrap().sequence as u16;
            ask(
                &mut sim,
                asked.client,
                asked.ssrc,
                (newest.wrapping_sub(100), 101),
            );
        }
        sim.run_for(Duration::from_millis(30));
        let newest = received(&sim, down).last().unwrap().sequence as u16;
        ask(&mut sim, clean, down.ssrc, (newest.wrapping_sub(2), 3));
        sim.run_for(Duration::from_millis(60));
        sim.threads[0].stalled = false;
    }
    let mut met = 0;
    for turn in sim.turns.take().unwrap() {
        let last_new = turn.iter().rposition(|ssrc| *ssrc == down.ssrc);
        let is_repair =
            |ssrc: &u32| *ssrc == down.ssrc + RTX || asked.iter().any(|it| *ssrc == it.ssrc + RTX);
        let first_repair = turn.iter().position(is_repair);
        if let (Some(new), Some(repair)) = (last_new, first_repair) {
            assert!(new < repair, "new packets leave first: {turn:?}");
        }
        let (mut own, mut waited, mut others) = (0, false, BTreeMap::<u32, usize>::new());
        for ssrc in turn.iter().filter(|ssrc| is_repair(ssrc)) {
            if *ssrc != down.ssrc + RTX {
                *others.entry(*ssrc).or_default() += 1;
                continue;
            }
            let rounds = own / AT_ONCE + 1;
            let most = others.values().max().copied().unwrap_or_default();
            assert!(most <= rounds * AT_ONCE, "{most} of another one before {own}");
            own += 1;
            waited |= most > 0;
        }
        met += usize::from(waited && others.values().any(|count| *count > 2 * AT_ONCE));
    }
    assert!(met > 15, "they met in {met} turns of 20");
}

/// A decoder that lacks a packet stands still. When it is too late to send that again, a key frame is
/// asked for at once: clients take seconds to do so.
#[test]
fn a_packet_that_is_too_old_to_be_sent_again_brings_a_key_frame() {
    let mut sim = Sim::new(7, 1, 64);
    sim.packets_per_frame = [8, 0, 0];
    let publisher = sim.add_client(0);
    let subscriber = sim.add_client(0);
    sim.connect();
    let track = sim.publish_video(publisher, 1);
    let down = sim.subscribe(subscriber, track, Kind::Video, HIGH);
    sim.run_for(3 * SECOND);
    let requests = |sim: &Sim| sim.threads[0].worker.stats().key_frame_requests;
    let newest = received(&sim, down).last().unwrap().sequence as u16;
    let before = requests(&sim);
    ask(&mut sim, subscriber, down.ssrc, (newest, 1));
    sim.run_for(SECOND);
    assert_eq!(requests(&sim), before, "a new packet is sent again");
    let late = sim.threads[0].worker.stats().drops.resend_late;
    ask(&mut sim, subscriber, down.ssrc, (newest, 1));
    sim.run_for(Duration::from_millis(100));
    assert_eq!(sim.threads[0].worker.stats().drops.resend_late, late + 1);
    assert_eq!(requests(&sim), before + 1, "an old one is replaced");
}
