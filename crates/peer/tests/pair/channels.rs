//! Data channels between two peers.

use crate::net::{CLIENT, Pair, SERVER, Setup, Side};
use peer::{ChannelSpec, PeerEvent};
use std::time::Duration;

fn reliable() -> ChannelSpec {
    ChannelSpec {
        label: "_reliable".to_owned(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    }
}

fn lossy() -> ChannelSpec {
    ChannelSpec {
        label: "_lossy".to_owned(),
        ordered: false,
        max_retransmits: Some(0),
        negotiated: None,
    }
}

/// Both ends with the channel open; its ids at A and B.
fn open(pair: &mut Pair, opener: Side, spec: ChannelSpec) -> (u16, u16) {
    let label = spec.label.clone();
    pair.end(opener).peer.open_channel(spec);
    let both = |p: &Pair| p.a.channel(&label).is_some() && p.b.channel(&label).is_some();
    assert!(
        pair.run_until(Duration::from_secs(10), both),
        "{:?} {:?}",
        pair.a.events,
        pair.b.events
    );
    (pair.a.channel(&label).unwrap(), pair.b.channel(&label).unwrap())
}

#[test]
fn ids_follow_the_dtls_role() {
    let mut pair = Pair::new(CLIENT, SERVER);
    // Before the connection is up: they wait.
    pair.b.peer.open_channel(reliable());
    pair.b.peer.open_channel(lossy());
    pair.connect();
    let up = |p: &Pair| p.a.channel("_lossy").is_some() && p.b.channel("_lossy").is_some();
    assert!(pair.run_until(Duration::from_secs(5), up));
    assert_eq!(pair.a.channel("_reliable"), Some(1));
    assert_eq!(pair.a.channel("_lossy"), Some(3));
    let client_opens = ChannelSpec {
        label: "mine".to_owned(),
        ..reliable()
    };
    assert_eq!(open(&mut pair, Side::A, client_opens), (0, 0));
}

#[test]
fn messages_up_to_the_limit_pass_both_ways() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (a, b) = open(&mut pair, Side::A, reliable());
    pair.run_for(Duration::from_secs(1));
    let now = pair.now;
    let large: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();
    assert!(pair.a.peer.send_message(now, a, true, &large));
    assert!(pair.a.peer.send_message(now, a, false, b"text"));
    assert!(pair.a.peer.send_message(now, a, true, b""));
    assert!(pair.b.peer.send_message(now, b, true, &large));
    assert!(pair.b.peer.send_message(now, b, true, &[7; 65_535]));
    assert!(
        !pair.b.peer.send_message(now, b, true, &[7; 65_536]),
        "longer than announced"
    );
    assert_eq!(pair.b.peer.buffered_amount(b), 125_535);
    let all = |p: &Pair| p.a.messages().len() == 2 && p.b.messages().len() == 3;
    assert!(pair.run_until(Duration::from_secs(5), all));
    assert_eq!(pair.b.messages()[0], (b, true, large.clone()));
    assert_eq!(pair.b.messages()[1], (b, false, b"text".to_vec()));
    assert_eq!(pair.b.messages()[2], (b, true, Vec::new()));
    assert_eq!(pair.a.messages()[0], (a, true, large));
    assert_eq!(pair.a.messages()[1].2.len(), 65_535);
    let acknowledged = |p: &Pair| p.b.peer.buffered_amount(b) == 0;
    assert!(pair.run_until(Duration::from_secs(2), acknowledged));
}

#[test]
fn the_remote_message_limit_is_honoured() {
    let narrow = Setup {
        sctp: Some(1000),
        ..SERVER
    };
    let mut pair = Pair::new(CLIENT, narrow);
    pair.connect();
    let (_, b) = open(&mut pair, Side::B, reliable());
    let now = pair.now;
    assert!(!pair.b.peer.send_message(now, b, true, &[0; 1001]));
    assert!(pair.b.peer.send_message(now, b, true, &[0; 1000]));
}

#[test]
fn negotiated_channels_need_no_announcement_and_in_band_ones_of_the_same_label_follow() {
    let mut pair = Pair::new(CLIENT, SERVER);
    let negotiated = |spec: ChannelSpec, id| ChannelSpec {
        negotiated: Some(id),
        ..spec
    };
    for side in [Side::A, Side::B] {
        pair.end(side).peer.open_channel(negotiated(reliable(), 100));
        pair.end(side).peer.open_channel(negotiated(lossy(), 101));
    }
    pair.connect();
    let up = |p: &Pair| p.a.channel("_lossy") == Some(101) && p.b.channel("_lossy") == Some(101);
    assert!(pair.run_until(Duration::from_secs(5), up));
    let now = pair.now;
    assert!(pair.a.peer.send_message(now, 100, true, b"one"));
    assert!(pair.a.peer.send_message(now, 101, true, b"two"));
    assert!(pair.run_until(Duration::from_secs(1), |p| p.b.messages().len() == 2));
    // The client opens its own: the announcement with the later id replaces the earlier.
    let (a, b) = open_in_band(&mut pair);
    assert_eq!((a, b), (0, 0));
    let now = pair.now;
    assert!(pair.b.peer.send_message(now, b, true, b"three"));
    assert!(pair.run_until(Duration::from_secs(1), |p| p.a.messages()
        == [(0, true, b"three".to_vec())]));
}

fn open_in_band(pair: &mut Pair) -> (u16, u16) {
    pair.a.peer.open_channel(reliable());
    let both = |p: &Pair| p.a.channel("_reliable") == Some(0) && p.b.channel("_reliable") == Some(0);
    assert!(pair.run_until(Duration::from_secs(5), both));
    (0, 0)
}

#[test]
fn ordered_reliable_messages_survive_10_percent_loss() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (a, b) = open(&mut pair, Side::A, reliable());
    pair.loss = 10;
    for i in 0..200u32 {
        let now = pair.now;
        assert!(
            pair.a
                .peer
                .send_message(now, a, true, &[&i.to_be_bytes()[..], &[0; 700]].concat())
        );
        assert!(pair.b.peer.send_message(now, b, true, &i.to_be_bytes()));
        pair.run_for(Duration::from_millis(20));
    }
    let all = |p: &Pair| p.a.messages().len() == 200 && p.b.messages().len() == 200;
    assert!(
        pair.run_until(Duration::from_secs(60), all),
        "{} {}",
        pair.a.messages().len(),
        pair.b.messages().len()
    );
    for (i, (_, _, data)) in pair.b.messages().iter().enumerate() {
        assert_eq!(data[..4], u32::try_from(i).unwrap().to_be_bytes());
    }
}

#[test]
fn lossy_messages_are_dropped_rather_than_repeated() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (a, _) = open(&mut pair, Side::A, lossy());
    pair.loss = 20;
    for i in 0..300u32 {
        let now = pair.now;
        assert!(pair.a.peer.send_message(now, a, true, &i.to_be_bytes()));
        pair.run_for(Duration::from_millis(20));
    }
    pair.loss = 0;
    pair.run_for(Duration::from_secs(10));
    let got = pair.b.messages().len();
    assert!((180..290).contains(&got), "{got} of 300");
    assert_eq!(pair.a.peer.buffered_amount(a), 0);
}

#[test]
fn the_send_buffer_is_bounded() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (a, _) = open(&mut pair, Side::A, reliable());
    pair.cut = true;
    let now = pair.now;
    let accepted = (0..100)
        .filter(|_| pair.a.peer.send_message(now, a, true, &[0; 60_000]))
        .count();
    assert_eq!(accepted, 4);
    pair.cut = false;
    assert!(pair.run_until(Duration::from_secs(20), |p| p.b.messages().len() == 4));
    let now = pair.now;
    assert!(pair.a.peer.send_message(now, a, true, &[0; 60_000]), "room again");
}

#[test]
fn a_closed_channel_is_reported_to_the_remote_side_and_its_id_is_free_again() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (a, b) = open(&mut pair, Side::A, reliable());
    pair.a.peer.close_channel(a);
    let closed = PeerEvent::ChannelClosed {
        id: b,
        label: "_reliable".to_owned(),
    };
    assert!(pair.run_until(Duration::from_secs(5), |p| p.b.has(&closed)));
    let now = pair.now;
    assert!(!pair.a.peer.send_message(now, a, true, b"late"));
    assert!(!pair.b.peer.send_message(now, b, true, b"late"));
    pair.run_for(Duration::from_secs(2));
    assert!(!pair.a.has(&closed), "the closing side knows");
    let again = ChannelSpec {
        label: "again".to_owned(),
        ..reliable()
    };
    assert_eq!(open(&mut pair, Side::A, again), (0, 0));
    let now = pair.now;
    assert!(pair.b.peer.send_message(now, 0, true, b"hello"));
    assert!(pair.run_until(Duration::from_secs(1), |p| p.a.messages().len() == 1));
}

#[test]
fn channels_close_when_the_remote_side_leaves() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.connect();
    let (_, b) = open(&mut pair, Side::A, reliable());
    pair.a.peer.close();
    let closed = PeerEvent::ChannelClosed {
        id: b,
        label: "_reliable".to_owned(),
    };
    assert!(pair.run_until(Duration::from_secs(1), |p| p.b.has(&closed)));
    assert!(!pair.b.has(&PeerEvent::Failed));
}

fn without(setup: Setup) -> Setup {
    Setup { sctp: None, ..setup }
}

#[test]
fn channels_open_whoever_begins_over_a_line_that_loses_and_overtakes() {
    for run in 0..60 {
        let mut pair = Pair::new(without(CLIENT), without(SERVER));
        for _ in 0..run {
            pair.random();
        }
        pair.connect();
        (pair.loss, pair.jitter) = (20 * (run % 2), Duration::from_millis(60 * (run % 3)));
        pair.b.peer.open_channel(reliable());
        // Both at once, or one of them when the other has long begun.
        let late = [None, Some(Side::A), Some(Side::B)][usize::try_from(run).unwrap() / 20];
        for side in [Side::A, Side::B] {
            pair.end(side).setup.sctp = Some(0);
            if late != Some(side) {
                pair.describe(side);
            }
        }
        if let Some(side) = late {
            pair.run_for(Duration::from_millis(777));
            pair.describe(side);
        }
        let up = |p: &Pair| p.a.channel("_reliable") == Some(1) && p.b.channel("_reliable") == Some(1);
        let limit = if pair.loss == 0 { 1000 } else { 10_000 };
        assert!(pair.run_until(Duration::from_millis(limit), up), "run {run}");
        let now = pair.now;
        assert!(pair.a.peer.send_message(now, 1, true, b"up"));
        assert!(pair.b.peer.send_message(now, 1, true, &[7; 65_535]));
        let all = |p: &Pair| p.a.messages().len() == 1 && p.b.messages().len() == 1;
        assert!(pair.run_until(Duration::from_secs(60), all), "run {run}");
    }
}

#[test]
fn sctp_starts_when_it_is_negotiated_later() {
    let mut pair = Pair::new(without(CLIENT), without(SERVER));
    pair.connect();
    pair.b.peer.open_channel(reliable());
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.b.channel("_reliable"), None);
    for side in [Side::A, Side::B] {
        pair.end(side).setup.sctp = Some(0);
        pair.describe(side);
    }
    let up = |p: &Pair| p.a.channel("_reliable") == Some(1) && p.b.channel("_reliable") == Some(1);
    assert!(pair.run_until(Duration::from_secs(5), up));
}
