//! Loss, NACK, retransmission.

use super::*;

/// Loses about one RTP packet in ten of those that side `A` sends, by a fixed sequence.
fn lossy() -> Loss {
    let mut random = 7;
    Box::new(move |side, bytes| {
        side == A && !rtp::is_rtcp(bytes) && next_random(&mut random).is_multiple_of(10)
    })
}

fn payload_of(sequence: u64) -> Vec<u8> {
    let mut random = sequence;
    (0..100 + sequence % 7)
        .map(|_| next_random(&mut random) as u8)
        .collect()
}

/// Sends 3,000 packets across a wrap of the sequence numbers, and checks that each arrives once.
fn all_arrive_once(mut pair: Pair, index: u32, codec: Codec) -> Pair {
    pair.lose = lossy();
    let first = 64_000u64;
    for sequence in first..first + 3_000 {
        pair.write(A, index, &packet(codec, sequence, &payload_of(sequence)));
        // Streams remember the last 120 packets: long enough for three requests.
        pair.run(ms(5));
    }
    pair.lose = Box::new(|_, _| false);
    pair.write(A, index, &packet(codec, first + 3_000, &[1]));
    pair.run(ms(1_500));
    let base = pair.ends[B].received[0].0.sequence & !0xFFFF;
    let mut received = pair.received(B);
    received.sort_unstable();
    let missing: Vec<u64> = (first..=first + 3_000)
        .filter(|sequence| !received.contains(&(base + sequence)))
        .collect();
    assert_eq!(missing, [] as [u64; 0]);
    assert_eq!(received.len(), 3_001, "no duplicates");
    for (received, payload) in &pair.ends[B].received {
        let sequence = received.sequence - base;
        assert_eq!(received.timestamp, (sequence as u32).wrapping_mul(960));
        if sequence < first + 3_000 {
            assert_eq!(*payload, payload_of(sequence), "packet {sequence}");
        }
    }
    assert!(pair.stats(A).retransmissions_sent > 250);
    pair
}

#[test]
fn loss_is_repaired_by_rtx_across_a_sequence_wrap() {
    let (pair, index) = Pair::video();
    let pair = all_arrive_once(pair, index, Codec::Vp8);
    let stats = pair.stats(B);
    let repaired = pair.ends[B]
        .received
        .iter()
        .filter(|(received, _)| received.retransmitted);
    assert_eq!(repaired.count() as u64, stats.rtp_recovered);
    assert!(stats.rtp_recovered > 250);
    assert_eq!((stats.rtp_refused, stats.rtp_unknown), (0, 0));
    assert_eq!(pair.stats(A).indices_refused, 0);
}

#[test]
fn loss_is_repaired_without_rtx_by_identical_datagrams() {
    let (pair, index) = Pair::audio();
    let pair = all_arrive_once(pair, index, Codec::Opus);
    let mut by_sequence: BTreeMap<[u8; 2], &[u8]> = BTreeMap::new();
    let mut repeated = 0;
    for (_, side, bytes) in &pair.log {
        if *side == A && !rtp::is_rtcp(bytes) {
            let before = by_sequence.insert([bytes[2], bytes[3]], bytes);
            repeated += usize::from(before.is_some());
            assert!(
                before.is_none_or(|before| before == bytes),
                "same index, same bytes"
            );
        }
    }
    assert!(repeated > 250);
    assert!(
        !pair.ends[B]
            .received
            .iter()
            .any(|(received, _)| received.retransmitted)
    );
}

#[test]
fn retransmissions_leave_alone_and_first_packets_in_trains() {
    let (mut pair, index) = Pair::video();
    let mut outbox = Outbox::new(4, 8000);
    let first = packet(Codec::Vp8, 5, b"payload");
    let again = RtpWrite {
        retransmission: true,
        ..first
    };
    for packet in [first, again] {
        let streams = &mut pair.ends[A].streams;
        assert!(streams.write_rtp(pair.now, index, &packet, to(), 3, &mut outbox));
    }
    let trains: Vec<bool> = outbox
        .datagrams()
        .iter()
        .map(|datagram| datagram.trainable)
        .collect();
    assert_eq!(trains, [true, false]);
    assert!(outbox.datagrams().iter().all(|datagram| datagram.local == 3));
}

#[test]
fn different_bytes_never_leave_under_a_used_index() {
    let (mut pair, index) = Pair::audio();
    pair.write(A, index, &packet(Codec::Opus, 10, b"original"));
    let sent = pair.log.len();
    // The same number again, as if it were new.
    pair.write_unkept(A, index, &packet(Codec::Opus, 10, b"original"));
    // A retransmission of something else.
    for (payload, marker) in [(&b"differs!"[..], false), (b"original", true)] {
        let forged = RtpWrite {
            marker,
            retransmission: true,
            ..packet(Codec::Opus, 10, payload)
        };
        pair.write_unkept(A, index, &forged);
    }
    assert_eq!(pair.log.len(), sent);
    assert_eq!(pair.stats(A).indices_refused, 3);
    let same = RtpWrite {
        retransmission: true,
        ..packet(Codec::Opus, 10, b"original")
    };
    pair.write_unkept(A, index, &same);
    assert_eq!(pair.log.len(), sent + 1);
    assert_eq!(pair.log[sent].2, pair.log[sent - 1].2);
}

#[test]
fn a_late_packet_is_sent_for_the_first_time() {
    let (mut pair, index) = Pair::video();
    for sequence in [100, 102, 101, 99] {
        pair.write(A, index, &packet(Codec::Vp8, sequence, b"x"));
    }
    pair.run(ms(30));
    let base = pair.ends[B].received[0].0.sequence - 100;
    let received: Vec<u64> = pair.received(B).iter().map(|sequence| sequence - base).collect();
    assert_eq!(received, [100, 102, 101, 99]);
}

#[test]
fn a_packet_is_given_up_after_five_requests() {
    let (mut pair, index) = Pair::video();
    for sequence in [1, 3] {
        pair.write_unkept(A, index, &packet(Codec::Vp8, sequence, b"x"));
    }
    pair.run(ms(3_000));
    assert_eq!(pair.stats(B).nacks_sent, 5);
    // The number was never sent, so nobody is told.
    assert_eq!(pair.stats(A).nacks_ignored, 5);
    assert!(
        !pair.ends[A]
            .events
            .iter()
            .any(|event| matches!(event, PeerEvent::Nack { .. }))
    );
}

#[test]
fn requests_per_packet_are_limited() {
    let (mut pair, index) = Pair::video();
    pair.write(A, index, &packet(Codec::Vp8, 40_000, b"x"));
    let mut peer = Srtp::new(PROFILE, &material(), false).expect("enough material");
    let mut asked = Vec::new();
    for at in (0..30).map(|count| count * 50) {
        let mut bytes = vec![0; 200];
        let mut writer = Writer::new(&mut bytes);
        assert!(writer.nack(9, 1000, &[40_000]) && writer.nack(9, 1000, &[39_999]));
        let len = writer.len();
        let len = peer.seal_rtcp(&mut bytes, len).expect("room");
        let streams = &mut pair.ends[A].streams;
        streams.handle_rtcp(pair.start + ms(at), &mut bytes[..len]);
        for event in events(streams) {
            assert_eq!(
                event,
                PeerEvent::Nack {
                    tag: 1,
                    sequence: 40_000
                }
            );
            asked.push(at);
        }
    }
    assert_eq!(asked, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
    assert_eq!(pair.stats(A).nacks_received, 60);
    assert_eq!(pair.stats(A).nacks_ignored, 50);
    let sent = pair.ends[A].streams.media_sent(Kind::Video);
    assert_eq!((sent.packets, sent.missed), (1, 1));
}

#[test]
fn ten_percent_loss_both_ways_leaves_hardly_a_gap() {
    for (mut pair, index, codec) in [
        {
            let (pair, index) = Pair::audio();
            (pair, index, Codec::Opus)
        },
        {
            let (pair, index) = Pair::video();
            (pair, index, Codec::Vp8)
        },
    ] {
        let mut random = 11;
        pair.lose = Box::new(move |_, _| next_random(&mut random).is_multiple_of(10));
        for sequence in 0..3_000 {
            pair.write(A, index, &packet(codec, sequence, b"x"));
            pair.run(ms(20));
        }
        pair.run(ms(1_000));
        let arrived = pair.received(B).len();
        assert!(arrived > 2_990, "{codec:?}: {arrived} of 3,000");
        let requests = pair.stats(B).nacks_sent;
        assert!((250..700).contains(&requests), "{codec:?}: {requests} requests");
    }
}

#[test]
fn a_little_reordering_asks_for_nothing() {
    let (mut pair, index) = Pair::video();
    for block in 0..100u64 {
        for place in [2, 0, 3, 1] {
            pair.write(A, index, &packet(Codec::Vp8, block * 4 + place, b"x"));
            pair.run(ms(2));
        }
    }
    pair.run(ms(500));
    assert_eq!(pair.received(B).len(), 400);
    assert_eq!(pair.stats(B).nacks_sent, 0);
}
