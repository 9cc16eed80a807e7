//! ICE and DTLS between two peers.

use crate::net::{CLIENT, Pair, SERVER, Setup, Side, credentials};
use peer::{DtlsRole, HandshakeFailure, PeerEvent};
use std::time::Duration;
use wire::sdp::Fingerprint;

const LITE: Setup = Setup { lite: true, ..SERVER };

#[test]
fn full_agents_connect_with_the_offerer_as_dtls_client() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    assert!(pair.a.has(&PeerEvent::IceConnected) && pair.b.has(&PeerEvent::IceConnected));
    assert!(pair.a.has(&PeerEvent::Connected) && pair.b.has(&PeerEvent::Connected));
    assert_eq!(pair.b.peer.destination(), Some((pair.a.address, 0)));
    // Checks and handshake: 6 one-way trips of 20 ms, and the pace of checks.
    assert!(
        pair.elapsed() < Duration::from_millis(250),
        "{:?}",
        pair.elapsed()
    );
}

#[test]
fn full_agents_connect_with_the_offerer_as_dtls_server() {
    let offerer = Setup {
        controlling: true,
        ..SERVER
    };
    let answerer = Setup {
        controlling: false,
        ..CLIENT
    };
    let mut pair = Pair::new(offerer, answerer);
    pair.connect();
}

#[test]
fn a_lite_agent_connects_without_waiting_for_its_timer() {
    let mut pair = Pair::new(CLIENT, LITE);
    pair.connect();
    assert!(
        pair.elapsed() < Duration::from_millis(250),
        "{:?}",
        pair.elapsed()
    );
}

#[test]
fn a_lite_agent_connects_as_dtls_client_too() {
    let lite = Setup {
        dtls: DtlsRole::Client,
        ..LITE
    };
    let client = Setup {
        dtls: DtlsRole::Server,
        ..CLIENT
    };
    let mut pair = Pair::new(client, lite);
    pair.connect();
}

#[test]
fn an_rsa_certificate_connects_in_both_dtls_roles_with_loss_too() {
    let rsa = |setup: Setup| Setup { rsa: true, ..setup };
    for loss in [0, 20] {
        for (a, b) in [
            (rsa(CLIENT), SERVER),
            (CLIENT, rsa(SERVER)),
            (rsa(CLIENT), rsa(SERVER)),
        ] {
            let mut pair = Pair::strangers(a, b);
            pair.loss = loss;
            pair.describe(Side::A);
            pair.describe(Side::B);
            pair.trickle(Side::A);
            pair.trickle(Side::B);
            pair.connect();
            pair.loss = 0;
            pair.a.peer.open_channel(peer::ChannelSpec {
                label: "x".to_owned(),
                ordered: true,
                max_retransmits: None,
                negotiated: None,
            });
            let open = |p: &Pair| p.a.channel("x").is_some() && p.b.channel("x").is_some();
            assert!(pair.run_until(Duration::from_secs(5), open));
        }
    }
}

#[test]
fn a_peer_that_says_no_dtls_fails_after_a_minute() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.no_dtls = true;
    for side in [Side::A, Side::B] {
        pair.describe(side);
        pair.trickle(side);
    }
    pair.run_for(Duration::from_secs(70));
    let sent = pair.dtls.iter().filter(|(side, _)| *side == Side::A);
    let sent: Vec<_> = sent.map(|(_, at)| *at).collect();
    // The time-outs of RFC 6347 §4.2.4.1 double from 100 ms on.
    let waits = sent.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
    for (wait, expected) in waits.clone().zip([0.1, 0.2, 0.4, 0.8]) {
        assert!((expected - 0.016..=expected + 0.002).contains(&wait), "{sent:?}");
    }
    assert!(waits.clone().count() >= 8, "{sent:?}");
    for end in [&pair.a, &pair.b] {
        // The client's handshake begins with the path, the server's with the description.
        let failed = end
            .at(&PeerEvent::Failed)
            .unwrap_or_else(|| panic!("{:?} {:?}", end.setup.dtls, end.events));
        assert!(
            (59.0..=60.5).contains(&failed.as_secs_f64()),
            "{failed:?} {sent:?}"
        );
        assert!(end.has(&PeerEvent::HandshakeFailed(HandshakeFailure::TimedOut)));
        assert!(end.has(&PeerEvent::IceConnected) && !end.peer.is_connected());
        assert!(!end.has(&PeerEvent::IceDisconnected), "the path lived");
    }
}

#[test]
fn two_controlling_agents_settle_the_conflict() {
    let server = Setup {
        controlling: true,
        ..SERVER
    };
    let mut pair = Pair::new(CLIENT, server);
    pair.connect();
}

#[test]
fn a_wrong_fingerprint_fails_both_dtls_roles() {
    for side in [Side::A, Side::B] {
        let mut pair = Pair::strangers(CLIENT, SERVER);
        let right = pair.end(side.other()).fingerprint;
        pair.end(side.other()).fingerprint = Fingerprint::Sha384([7; 48]);
        assert_ne!(right, pair.end(side.other()).fingerprint);
        pair.describe(Side::A);
        pair.describe(Side::B);
        pair.trickle(Side::A);
        pair.trickle(Side::B);
        let failed = move |p: &Pair| match side {
            Side::A => p.a.has(&PeerEvent::Failed),
            Side::B => p.b.has(&PeerEvent::Failed),
        };
        assert!(pair.run_until(Duration::from_secs(10), failed));
        assert!(
            pair.end(side)
                .has(&PeerEvent::HandshakeFailed(HandshakeFailure::Fingerprint))
        );
        // The other side is told: bad_certificate.
        let told = move |p: &Pair| match side {
            Side::A => p.b.has(&PeerEvent::HandshakeFailed(HandshakeFailure::Alert(42))),
            Side::B => p.a.has(&PeerEvent::HandshakeFailed(HandshakeFailure::Alert(42))),
        };
        assert!(pair.run_until(Duration::from_secs(1), told));
        assert!(!pair.end(side).has(&PeerEvent::Connected));
        assert!(!pair.end(side).peer.is_connected());
        let once = pair
            .end(side)
            .events
            .iter()
            .filter(|(_, e)| *e == PeerEvent::Failed);
        assert_eq!(once.count(), 1);
    }
}

#[test]
fn candidates_that_are_trickled_later_connect() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.describe(Side::A);
    pair.describe(Side::B);
    pair.run_for(Duration::from_secs(2));
    assert!(!pair.a.has(&PeerEvent::IceConnected));
    // One way is enough: the other side learns the address from the check.
    pair.trickle(Side::A);
    pair.connect();
}

#[test]
fn checks_before_the_answer_arrives_are_answered_when_it_does() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.describe(Side::A);
    pair.trickle(Side::A);
    pair.run_for(Duration::from_millis(500));
    assert!(!pair.a.has(&PeerEvent::IceConnected));
    pair.describe(Side::B);
    let described = pair.elapsed();
    let connected = |p: &Pair| p.a.has(&PeerEvent::IceConnected);
    assert!(pair.run_until(Duration::from_secs(1), connected));
    assert!(
        pair.elapsed() - described < Duration::from_millis(100),
        "{:?}",
        pair.elapsed()
    );
    pair.connect();
}

#[test]
fn a_handshake_survives_a_quarter_of_the_datagrams_lost() {
    for seed in 1..6 {
        let mut pair = Pair::strangers(CLIENT, SERVER);
        for _ in 0..seed {
            pair.random();
        }
        pair.loss = 25;
        pair.describe(Side::A);
        pair.describe(Side::B);
        pair.trickle(Side::A);
        pair.trickle(Side::B);
        pair.connect();
    }
}

#[test]
fn silence_disconnects_after_10_s_and_fails_after_15_s() {
    for server in [SERVER, LITE] {
        let mut pair = Pair::new(CLIENT, server);
        pair.connect();
        pair.run_for(Duration::from_secs(30));
        assert!(!pair.b.has(&PeerEvent::IceDisconnected), "an idle path stays up");
        pair.cut = true;
        let cut = pair.elapsed();
        pair.run_for(Duration::from_secs(40));
        for end in [&pair.a, &pair.b] {
            let disconnected = end.at(&PeerEvent::IceDisconnected).unwrap() - cut;
            let failed = end.at(&PeerEvent::IceFailed).unwrap() - cut;
            // The last check was heard up to a keepalive interval before the cut.
            assert!(
                (7.5..=10.1).contains(&disconnected.as_secs_f64()),
                "{disconnected:?}"
            );
            assert_eq!((failed - disconnected).as_millis(), 5000);
        }
    }
}

#[test]
fn a_path_that_comes_back_in_time_goes_on() {
    for server in [SERVER, LITE] {
        let mut pair = Pair::new(CLIENT, server);
        pair.connect();
        pair.cut = true;
        let gone = |p: &Pair| p.a.has(&PeerEvent::IceDisconnected) && p.b.has(&PeerEvent::IceDisconnected);
        assert!(pair.run_until(Duration::from_secs(15), gone));
        pair.cut = false;
        let back = pair.elapsed();
        let again = move |p: &Pair| {
            let connected = [p.a.at(&PeerEvent::IceConnected), p.b.at(&PeerEvent::IceConnected)];
            connected.into_iter().all(|at| at.is_some_and(|at| at >= back))
        };
        assert!(
            pair.run_until(Duration::from_secs(4), again),
            "{:?} {:?}",
            pair.a.events,
            pair.b.events
        );
    }
}

#[test]
fn an_ice_restart_keeps_the_connection() {
    for (server, first) in [(SERVER, Side::A), (SERVER, Side::B), (LITE, Side::A)] {
        let mut pair = Pair::new(CLIENT, server);
        pair.connect();
        let before = pair.elapsed();
        for (side, ufrag) in [(first, "new1"), (first.other(), "new2")] {
            pair.end(side).ice = credentials(ufrag);
            pair.end(side).peer.restart_ice(credentials(ufrag));
            assert!(pair.end(side).peer.destination().is_some(), "media goes on");
            pair.drain();
            if side == first {
                pair.run_for(Duration::from_millis(100));
            }
        }
        pair.describe(first.other());
        pair.run_for(Duration::from_millis(50));
        pair.describe(first);
        pair.trickle(Side::A);
        pair.trickle(Side::B);
        let again = move |p: &Pair| {
            let connected = [p.a.at(&PeerEvent::IceConnected), p.b.at(&PeerEvent::IceConnected)];
            connected.into_iter().all(|at| at.is_some_and(|at| at > before))
        };
        assert!(
            pair.run_until(Duration::from_secs(2), again),
            "{:?} {:?}",
            pair.a.events,
            pair.b.events
        );
        pair.run_for(Duration::from_secs(20));
        assert!(pair.a.peer.is_connected() && pair.b.peer.is_connected());
        assert!(!pair.a.has(&PeerEvent::IceDisconnected) && !pair.b.has(&PeerEvent::IceDisconnected));
    }
}

#[test]
fn an_ice_restart_moves_the_connection_from_a_dead_address_to_a_new_one() {
    for server in [SERVER, LITE] {
        // Before the server noticed, and after.
        for (dead, told) in [(1, false), (1, true), (13, false), (13, true)] {
            let mut pair = Pair::new(CLIENT, server);
            pair.connect();
            pair.run_for(Duration::from_secs(1));
            let old = pair.a.address;
            pair.rebind(Side::A, "203.0.113.77:4000");
            pair.cut = true;
            pair.run_for(Duration::from_secs(dead));
            assert_eq!(pair.b.has(&PeerEvent::IceDisconnected), dead > 10);
            assert_eq!(pair.b.peer.destination(), Some((old, 0)));
            let restarted = pair.elapsed();
            for (side, ufrag) in [(Side::A, "new1"), (Side::B, "new2")] {
                pair.end(side).ice = credentials(ufrag);
                pair.end(side).peer.restart_ice(credentials(ufrag));
            }
            pair.describe(Side::B);
            if told {
                pair.trickle(Side::B);
            }
            pair.cut = false;
            pair.run_for(Duration::from_millis(50));
            pair.describe(Side::A);
            pair.trickle(Side::A);
            let moved = |p: &Pair| p.b.peer.destination() == Some((p.a.address, 0));
            assert!(
                pair.run_until(Duration::from_secs(2), moved),
                "{:?}",
                pair.b.peer.destination()
            );
            // What runs above goes on: nobody noticed.
            pair.a.peer.open_channel(peer::ChannelSpec {
                label: "x".to_owned(),
                ordered: true,
                max_retransmits: None,
                negotiated: None,
            });
            let open = |p: &Pair| p.a.channel("x").is_some() && p.b.channel("x").is_some();
            assert!(
                pair.run_until(Duration::from_secs(2), open),
                "{:?}",
                pair.b.events
            );
            pair.run_for(Duration::from_secs(30));
            assert!(pair.run_until(Duration::ZERO, moved));
            for end in [&pair.a, &pair.b] {
                assert!(end.peer.is_connected());
                assert!(end.at(&PeerEvent::IceConnected).is_some_and(|at| at >= restarted));
                assert!(!end.has(&PeerEvent::IceFailed), "{:?}", end.events);
                let lost = end.at(&PeerEvent::IceDisconnected);
                assert!(lost.is_none_or(|at| at < restarted), "{:?}", end.events);
            }
        }
    }
}

#[test]
fn the_socket_that_works_carries_the_traffic() {
    for server in [SERVER, LITE] {
        let mut pair = Pair::new(CLIENT, Setup { socket: 2, ..server });
        pair.connect();
        pair.run_for(Duration::from_secs(1));
        assert_eq!(pair.b.peer.destination(), Some((pair.a.address, 2)));
    }
}

#[test]
fn a_nat_rebinding_moves_the_traffic_within_8_s() {
    for server in [SERVER, LITE] {
        let mut pair = Pair::new(CLIENT, server);
        pair.connect();
        pair.run_for(Duration::from_secs(5));
        pair.rebind(Side::A, "192.0.2.1:1001");
        let moved = |p: &Pair| p.b.peer.destination() == Some((p.a.address, 0));
        assert!(pair.run_until(Duration::from_secs(8), moved));
        pair.run_for(Duration::from_secs(30));
        assert!(!pair.b.has(&PeerEvent::IceDisconnected), "{:?}", pair.b.events);
        assert!(pair.run_until(Duration::ZERO, moved));
    }
}

#[test]
fn an_address_that_was_left_is_taken_again_without_a_restart() {
    for server in [SERVER, LITE] {
        let mut pair = Pair::new(CLIENT, server);
        pair.connect();
        pair.run_for(Duration::from_secs(5));
        let home = pair.a.address.to_string();
        for address in ["203.0.113.77:4000", &home, "203.0.113.77:4000", &home] {
            pair.rebind(Side::A, address);
            let moved = |p: &Pair| p.b.peer.destination() == Some((p.a.address, 0));
            assert!(
                pair.run_until(Duration::from_secs(8), moved),
                "{address} {server:?}"
            );
            pair.run_for(Duration::from_secs(30));
            assert!(pair.run_until(Duration::ZERO, moved), "{address} {server:?}");
        }
        for end in [&pair.a, &pair.b] {
            assert!(!end.has(&PeerEvent::IceDisconnected), "{:?}", end.events);
        }
    }
}

#[test]
fn a_forged_check_does_not_bring_a_left_address_back() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    let home = pair.a.address.to_string();
    pair.record = Some(Vec::new());
    pair.rebind(Side::A, "203.0.113.77:4000");
    pair.run_for(Duration::from_secs(20));
    let recorded = pair.record.take().unwrap();
    // RFC 8489 §6: a request begins with 0x0001.
    let is_check = |(to, data): &&(Side, Vec<u8>)| *to == Side::B && data.starts_with(&[0, 1]);
    let mut forged = recorded.iter().find(is_check).unwrap().1.clone();
    // Another transaction, to which the integrity does not belong.
    forged[12] ^= 1;
    let dropped = pair.b.peer.transport_stats().ice_dropped;
    pair.rebind(Side::A, &home);
    pair.inject(Side::B, forged);
    pair.rebind(Side::A, "203.0.113.77:4000");
    assert_eq!(pair.b.peer.transport_stats().ice_dropped, dropped + 1);
    // A candidate that came back would be checked.
    let nowhere = pair.sent_nowhere;
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.sent_nowhere, nowhere);
    assert_eq!(pair.b.peer.destination(), Some((pair.a.address, 0)));
}

#[test]
fn no_answer_to_the_first_checks_fails_after_15_s() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.cut = true;
    pair.describe(Side::A);
    pair.trickle(Side::A);
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.a.at(&PeerEvent::IceFailed), Some(Duration::from_secs(15)));
}

#[test]
fn an_idle_pair_costs_a_few_datagrams_in_10_s() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    let before = pair.sent;
    pair.run_for(Duration::from_secs(10));
    // Both sides check every 2 s, and each check is answered.
    assert!(
        (16..=24).contains(&(pair.sent - before)),
        "{}",
        pair.sent - before
    );
}

#[test]
fn closing_tells_the_remote_side_and_does_not_end_ice() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    pair.a.peer.close();
    pair.run_for(Duration::from_secs(1));
    assert!(!pair.b.has(&PeerEvent::Failed));
    assert!(pair.b.peer.is_connected());
}
