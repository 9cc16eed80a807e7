//! Datagrams that nobody should have sent.

use crate::net::{CLIENT, Pair, SERVER, Side};
use peer::{ChannelSpec, PeerEvent};
use std::time::Duration;

/// First bytes of every protocol on the port, and of none.
const FIRST_BYTES: [u8; 12] = [0, 1, 3, 4, 20, 21, 22, 23, 25, 63, 128, 255];

#[test]
fn random_datagrams_change_nothing() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    garbage(&mut pair, 200);
    pair.describe(Side::A);
    pair.describe(Side::B);
    garbage(&mut pair, 200);
    pair.trickle(Side::A);
    pair.trickle(Side::B);
    pair.connect();
    garbage(&mut pair, 2000);
    pair.a.peer.open_channel(ChannelSpec {
        label: "x".to_owned(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    });
    assert!(pair.run_until(Duration::from_secs(5), |p| p.b.channel("x").is_some()));
    garbage(&mut pair, 2000);
    let now = pair.now;
    let id = pair.b.channel("x").unwrap();
    assert!(pair.b.peer.send_message(now, id, true, b"still here"));
    assert!(pair.run_until(Duration::from_secs(5), |p| p.a.messages().len() == 1));
    assert!(!pair.a.has(&PeerEvent::Failed) && !pair.b.has(&PeerEvent::Failed));
    assert!(pair.b.peer.transport_stats().ice_dropped > 0);
}

#[test]
fn datagrams_replayed_and_mutated_change_nothing() {
    let mut pair = Pair::new(CLIENT, SERVER);
    pair.record = Some(Vec::new());
    pair.connect();
    pair.a.peer.open_channel(ChannelSpec {
        label: "x".to_owned(),
        ordered: true,
        max_retransmits: None,
        negotiated: None,
    });
    assert!(pair.run_until(Duration::from_secs(5), |p| p.a.channel("x").is_some()));
    let recorded = pair.record.take().unwrap();
    assert!(recorded.len() > 10);
    for (to, data) in &recorded {
        pair.inject(*to, data.clone());
        for _ in 0..20 {
            let mut mutated = data.clone();
            let at = usize::try_from(pair.random()).unwrap() % mutated.len();
            mutated[at] ^= u8::try_from(pair.random() % 255).unwrap() + 1;
            if pair.random().is_multiple_of(4) {
                mutated.truncate(at);
            }
            pair.inject(*to, mutated);
        }
    }
    let now = pair.now;
    assert!(pair.b.peer.send_message(now, 0, true, b"still here"));
    assert!(pair.a.peer.send_message(now, 0, true, b"still here"));
    let arrived = |p: &Pair| p.a.messages().len() == 1 && p.b.messages().len() == 1;
    assert!(
        pair.run_until(Duration::from_secs(5), arrived),
        "{:?} {:?}",
        pair.a.events,
        pair.b.events
    );
    assert!(!pair.a.has(&PeerEvent::Failed) && !pair.b.has(&PeerEvent::Failed));
}

#[test]
fn dtls_from_an_address_without_a_valid_check_is_dropped() {
    let mut pair = Pair::strangers(CLIENT, SERVER);
    pair.describe(Side::B);
    pair.inject(Side::B, vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(pair.b.peer.transport_stats().dtls_dropped, 1);
    assert_eq!(pair.b.peer.destination(), None);
}

fn garbage(pair: &mut Pair, count: usize) {
    for i in 0..count {
        let len = usize::try_from(pair.random() % 1400).unwrap();
        let mut data: Vec<u8> = (0..len).map(|_| pair.random().to_le_bytes()[0]).collect();
        if let Some(first) = data.first_mut() {
            *first = FIRST_BYTES[i % FIRST_BYTES.len()];
        }
        if i % 3 == 0 && data.len() >= 20 {
            // A plausible STUN header.
            let attributes = u16::try_from(data.len() - 20).unwrap() & !3;
            data.truncate(20 + usize::from(attributes));
            data[..2].copy_from_slice(&[0, 1]);
            data[2..4].copy_from_slice(&attributes.to_be_bytes());
            data[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
        }
        pair.inject(if i % 2 == 0 { Side::A } else { Side::B }, data);
    }
}
