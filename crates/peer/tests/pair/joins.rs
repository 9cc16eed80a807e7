//! How long it takes to connect, joins as they are: descriptions cross on the signalling connection,
//! and either side may be ready before the other.

use crate::net::{CLIENT, Pair, SERVER, Setup, Side};
use peer::{DtlsRole, PeerEvent};
use std::collections::BTreeSet;
use std::time::Duration;

/// One way.
const LATENCY: Duration = Duration::from_millis(2);
const JOINS: u64 = 50;

/// Who offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The client: a single connection, or the publisher's of two. The server shakes hands first.
    Single,
    /// The server: the subscriber's of two.
    Dual,
}

/// From the description that makes the second side ready to keys on both.
fn join(mode: Mode, loss: u64, seed: u64) -> Duration {
    // A is the client.
    let (client, server) = match mode {
        Mode::Single => (
            Setup {
                dtls: DtlsRole::Server,
                ..CLIENT
            },
            Setup {
                dtls: DtlsRole::Client,
                ..SERVER
            },
        ),
        Mode::Dual => (
            Setup {
                controlling: false,
                ..CLIENT
            },
            Setup {
                controlling: true,
                ..SERVER
            },
        ),
    };
    let mut pair = Pair::strangers(client, server);
    for _ in 0..seed {
        pair.random();
    }
    pair.latency = LATENCY;
    pair.loss = loss;
    let (answers, offers) = match mode {
        Mode::Single => (Side::B, Side::A),
        Mode::Dual => (Side::A, Side::B),
    };
    pair.describe(answers);
    pair.trickle(answers);
    pair.run_for(LATENCY);
    pair.describe(offers);
    pair.trickle(offers);
    let from = pair.elapsed();
    pair.connect();
    pair.elapsed() - from
}

/// Median and the 95th of a hundred.
fn joins(mode: Mode, loss: u64) -> (Duration, Duration) {
    let mut times: Vec<_> = (0..JOINS).map(|seed| join(mode, loss, seed)).collect();
    times.sort();
    (times[24], times[47])
}

#[test]
fn joins_are_quick_with_loss_too() {
    let mut report = Vec::new();
    let mut slow = Vec::new();
    for mode in [Mode::Single, Mode::Dual] {
        for (loss, p50_ms, p95_ms) in [(0, 16, 16), (5, 16, 130), (20, 130, 800)] {
            let (p50, p95) = joins(mode, loss);
            report.push(format!("{mode:?} {loss} %: p50 {p50:?}, p95 {p95:?}"));
            if p50 > Duration::from_millis(p50_ms) || p95 > Duration::from_millis(p95_ms) {
                slow.push(report.last().cloned());
            }
        }
    }
    assert!(slow.is_empty(), "{slow:#?} of {report:#?}");
}

#[test]
fn a_lost_first_check_costs_50_ms_at_most() {
    for server in [
        SERVER,
        Setup {
            controlling: true,
            ..SERVER
        },
    ] {
        let client = Setup {
            controlling: !server.controlling,
            ..CLIENT
        };
        let connect = |lost: &[Side]| {
            let mut pair = Pair::strangers(client, server);
            pair.latency = LATENCY;
            for side in [Side::A, Side::B] {
                pair.cut = lost.contains(&side);
                pair.describe(side);
                pair.trickle(side);
                pair.run_for(Duration::ZERO);
            }
            pair.cut = false;
            pair.connect();
            pair.elapsed()
        };
        let undisturbed = connect(&[]);
        for lost in [&[Side::A][..], &[Side::B], &[Side::A, Side::B]] {
            let took = connect(lost);
            let most = undisturbed + Duration::from_millis(50);
            assert!(took <= most, "{lost:?} lost: {took:?} against {undisturbed:?}");
        }
    }
}

#[test]
fn a_check_of_the_remote_side_is_answered_by_one_of_ours_at_once() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.latency = LATENCY;
    // The server's first check meets a client that is not there yet.
    pair.cut = true;
    pair.describe(Side::B);
    pair.trickle(Side::B);
    pair.run_for(Duration::from_millis(10));
    pair.cut = false;
    pair.describe(Side::A);
    pair.trickle(Side::A);
    let ready = pair.elapsed();
    let nominated = |p: &Pair| p.b.has(&PeerEvent::IceConnected);
    assert!(pair.run_until(Duration::from_secs(1), nominated));
    // Check, our own check, its answer.
    assert_eq!(pair.elapsed() - ready, LATENCY * 3);
}

#[test]
fn a_lost_flight_of_the_handshake_costs_100_ms_at_most() {
    let connect = |lost: Option<Duration>| {
        let mut pair = Pair::new(CLIENT, SERVER);
        pair.lose_dtls_at = lost;
        pair.connect();
        let flights: BTreeSet<_> = pair.dtls.iter().map(|(_, at)| *at).collect();
        (pair.elapsed(), flights)
    };
    let (undisturbed, flights) = connect(None);
    // The hello and what follows, of both sides.
    assert!(flights.len() >= 4, "{flights:?}");
    for lost in flights {
        let (took, _) = connect(Some(lost));
        // The library's clock has a grain of 16 ms.
        let most = undisturbed + Duration::from_millis(116);
        assert!(took <= most, "sent at {lost:?}: {took:?} against {undisturbed:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_datagrams() {
    let record = || {
        let mut pair = Pair::strangers(CLIENT, SERVER);
        pair.record = Some(Vec::new());
        pair.loss = 10;
        for side in [Side::A, Side::B] {
            pair.describe(side);
            pair.trickle(side);
        }
        pair.connect();
        pair.run_for(Duration::from_secs(10));
        let recorded = pair.record.take().unwrap();
        // DTLS draws its keys within the crypto library.
        let stun = recorded.into_iter().filter(|(_, data)| data[0] < 4);
        stun.take(6).collect::<Vec<_>>()
    };
    let first = record();
    assert_eq!(first.len(), 6);
    assert_eq!(first, record());
}
