//! A receiver that has no time: what it dropped itself it does not ask for, and what it has to say waits.

use super::*;

/// Sends one packet; `lost` on its way.
fn send(pair: &mut Pair, index: u32, codec: Codec, sequence: u64, lost: bool) {
    pair.lose = Box::new(move |side, bytes| lost && side == A && !rtp::is_rtcp(bytes));
    pair.write(A, index, &packet(codec, sequence, &[7; 80]));
    pair.lose = Box::new(|_, _| false);
    pair.run(ms(20));
}

#[test]
fn what_this_side_dropped_is_not_asked_for() {
    for ((mut pair, index), codec) in [(Pair::audio(), Codec::Opus), (Pair::video(), Codec::Vp8)] {
        for sequence in 100..400 {
            let dropped = sequence % 3 == 2;
            send(&mut pair, index, codec, sequence, dropped);
            if dropped {
                let now = pair.now;
                pair.ends[B].streams.note_dropped(now);
            }
        }
        let stats = pair.stats(B);
        assert_eq!((stats.nacks_sent, stats.gaps_forgiven), (0, 99));
        assert_eq!(pair.stats(A).nacks_received, 0);
    }
}

#[test]
fn repair_goes_on_as_soon_as_nothing_is_dropped_here() {
    let (mut pair, index) = Pair::audio();
    for sequence in 100..110 {
        send(&mut pair, index, Codec::Opus, sequence, false);
    }
    pair.run(ms(20));
    // Dropped here: hundreds, as after a while without any time. Then the network loses one.
    let now = pair.now;
    pair.ends[B].streams.note_dropped(now);
    for sequence in 400..410 {
        send(&mut pair, index, Codec::Opus, sequence, sequence == 405);
    }
    pair.run(ms(500));
    let base = pair.ends[B].received[0].0.sequence - 100;
    let mut received = pair.received(B);
    received.sort_unstable();
    let expected: Vec<u64> = (100..110)
        .chain(400..410)
        .map(|sequence| base + sequence)
        .collect();
    assert_eq!(received, expected);
    assert_eq!(
        (pair.stats(B).gaps_forgiven, pair.stats(B).rtp_recovered),
        (290, 0)
    );
    assert_eq!(pair.stats(A).nacks_received, 1);
}

#[test]
fn held_feedback_leaves_later_in_one_datagram() {
    let (mut pair, index) = Pair::video();
    for sequence in 100..110 {
        send(&mut pair, index, Codec::Vp8, sequence, false);
    }
    let now = pair.now;
    assert_eq!(
        pair.ends[B].streams.hold_feedback(now, now + ms(400)),
        HeldFeedback::default(),
        "nothing was due"
    );
    let before = pair.stats(B).rtcp_sent;
    for sequence in 110..126 {
        send(
            &mut pair,
            index,
            Codec::Vp8,
            sequence,
            sequence == 115 || sequence == 120,
        );
    }
    pair.ends[B].streams.request_key_frame(7, 0);
    pair.run(ms(60));
    assert_eq!(pair.stats(B).rtcp_sent, before);
    // Asked again, it says what waits.
    let now = pair.now;
    let held = pair.ends[B].streams.hold_feedback(now, now + ms(20));
    assert!(held.nack && held.transport_cc, "{held:?}");
    pair.run(ms(19));
    assert_eq!(pair.stats(B).rtcp_sent, before);
    pair.run(ms(2));
    assert_eq!(
        (pair.stats(B).rtcp_sent, pair.stats(B).nacks_sent),
        (before + 1, 2)
    );
}
