//! What leaves: headers, sizes, limits, streams that come and go.

use super::*;

#[test]
fn the_mid_is_left_out_once_a_report_shows_that_it_is_known() {
    let (mut pair, index) = Pair::video();
    for sequence in 0..200 {
        pair.write(A, index, &packet(Codec::Vp8, sequence, b"x"));
        pair.run(ms(10));
    }
    let sizes: Vec<usize> = pair
        .log
        .iter()
        .filter(|(_, side, bytes)| *side == A && !rtp::is_rtcp(bytes))
        .map(|(_, _, bytes)| bytes.len())
        .collect();
    // 3 + 4 bytes of stamps, 2 of MID: with padding 12 and 8.
    assert_eq!(sizes[0], 12 + 4 + 12 + 1 + 16);
    assert_eq!(*sizes.last().expect("many"), 12 + 4 + 8 + 1 + 16);
    assert_eq!(pair.received(B).len(), 198, "the last two are still on their way");
}

#[test]
fn transport_wide_numbers_count_over_all_streams() {
    let mut pair = Pair::new();
    for (tag, ssrc) in [(1, 1000), (2, 2000)] {
        pair.ends[A].streams.add_send(send_video(tag, ssrc));
    }
    for (index, sequence) in [(0, 7), (1, 9), (0, 8)] {
        pair.write_unkept(A, index, &packet(Codec::Vp8, sequence, b"x"));
    }
    let numbers: Vec<_> = pair
        .log
        .iter()
        .map(|(_, _, bytes)| {
            let header = Header::parse(bytes).expect("RTP");
            let found = ext::Extensions::parse(header.extension_profile, header.extension_bytes(bytes), &IDS);
            (
                header.ssrc,
                header.sequence,
                found.transport_cc,
                found.abs_send_time,
            )
        })
        .collect();
    assert_eq!(
        numbers,
        [
            (1000, 7, Some(0), Some(0)),
            (2000, 9, Some(1), Some(0)),
            (1000, 8, Some(2), Some(0))
        ]
    );
}

#[test]
fn a_stream_with_the_same_ssrc_continues_its_numbers() {
    let (mut pair, index) = Pair::video();
    for sequence in 0..70_000u64 {
        pair.write_unkept(A, index, &packet(Codec::Vp8, sequence, b"x"));
        if sequence % 500 == 0 {
            pair.run(ms(1));
        }
    }
    pair.run(ms(100));
    let before = pair.received(B);
    assert_eq!(before.len(), 70_000);
    pair.ends[A].streams.remove_send(1);
    assert_eq!(pair.ends[A].streams.send_index(1), None);
    pair.ends[A].streams.add_send(send_video(2, 1000));
    let index = pair.ends[A].streams.send_index(2).expect("added");
    pair.write(A, index, &packet(Codec::Vp8, 12_345, b"fresh"));
    // Lost, then asked for by its number on the wire and found by the caller's.
    pair.lose = Box::new(|side, _| side == A);
    pair.write(A, index, &packet(Codec::Vp8, 12_346, b"again"));
    pair.lose = Box::new(|_, _| false);
    pair.write(A, index, &packet(Codec::Vp8, 12_347, b"after"));
    pair.run(ms(200));
    let last = before.last().expect("many");
    assert_eq!(pair.received(B)[70_000..], [last + 1, last + 3, last + 2]);
    assert_eq!(pair.ends[B].received[70_002].1, b"again");
    assert!(pair.ends[A].events.contains(&PeerEvent::Nack {
        tag: 2,
        sequence: 12_346
    }));
    assert_eq!(pair.stats(B).rtp_refused, 0);
}

#[test]
fn an_ssrc_in_use_is_refused() {
    let mut pair = Pair::new();
    let streams = &mut pair.ends[A].streams;
    streams.add_send(send_video(1, 1000));
    streams.add_send(send_video(2, 1000));
    streams.add_send(send_video(3, 1001));
    streams.add_send(send_video(4, 999));
    assert_eq!(streams.stats().streams_refused, 3);
    assert_eq!(
        [1, 2, 3, 4].map(|tag| streams.send_index(tag)),
        [Some(0), None, None, None]
    );
    streams.remove_send(1);
    streams.add_send(send_video(4, 999));
    assert_eq!(streams.send_index(4), Some(0));
}

#[test]
fn an_updated_stream_keeps_its_place_and_numbers() {
    let (mut pair, index) = Pair::video();
    pair.write(A, index, &packet(Codec::Vp8, 1, b"x"));
    let vp9 = Payload {
        codec: Codec::Vp9,
        pt: 98,
        ..VP8
    };
    pair.ends[A].streams.add_send(SendSpec {
        payloads: vec![vp9],
        ..send_video(1, 1000)
    });
    assert_eq!(pair.ends[A].streams.send_index(1), Some(index));
    pair.write(A, index, &packet(Codec::Vp9, 2, b"x"));
    assert_eq!(pair.log[1].2[1], 98);
    pair.write(A, index, &packet(Codec::Vp8, 3, b"x"));
    assert_eq!(pair.stats(A).rtp_unsent, 1);
}

#[test]
fn nothing_is_written_without_keys_without_stream_or_without_room() {
    let start = test_epoch();
    let mut outbox = Outbox::new(1, 2_000);
    let mut streams = Streams::new(1, (start, NTP_EPOCH));
    streams.add_send(send_video(1, 1000));
    assert!(streams.write_rtp(start, 0, &packet(Codec::Vp8, 1, b"x"), to(), 0, &mut outbox));
    streams.install_keys(PROFILE, &material(), true);
    assert!(streams.write_rtp(start, 9, &packet(Codec::Vp8, 1, b"x"), to(), 0, &mut outbox));
    assert_eq!(streams.stats().rtp_unsent, 2);
    assert!(streams.write_rtp(
        start,
        0,
        &packet(Codec::Vp8, 1, &[0; 1_450]),
        to(),
        0,
        &mut outbox
    ));
    assert_eq!(streams.stats().oversized, 1);
    assert!(outbox.is_empty());
    assert!(streams.write_rtp(start, 0, &packet(Codec::Vp8, 2, b"x"), to(), 0, &mut outbox));
    assert!(!streams.write_rtp(start, 0, &packet(Codec::Vp8, 3, b"x"), to(), 0, &mut outbox));
    outbox.clear();
    assert!(streams.write_rtp(start, 0, &packet(Codec::Vp8, 3, b"x"), to(), 0, &mut outbox));
    assert_eq!(outbox.datagrams().len(), 1);
}

#[test]
fn video_carries_its_playout_delay_until_a_report_covers_it() {
    let (mut pair, index) = Pair::video();
    pair.ends[A].streams.add_send(SendSpec {
        playout_delay: Some((100, 2000)),
        extensions: ExtensionIds {
            playout_delay: 9,
            ..IDS
        },
        ..send_video(1, 1000)
    });
    for sequence in 0..200 {
        pair.write(A, index, &packet(Codec::Vp8, sequence, b"x"));
        pair.run(ms(10));
    }
    let sent = pair
        .log
        .iter()
        .filter(|(_, side, bytes)| *side == A && !rtp::is_rtcp(bytes));
    // 100 ms and 2 s in units of 10 ms.
    let value = [0x00, 0xA0, 0xC8];
    let carries: Vec<bool> = sent
        .map(|(_, _, bytes)| bytes[12..32].windows(3).any(|bytes| bytes == value))
        .collect();
    assert!(carries[..20].iter().all(|carries| *carries));
    assert!(carries[150..].iter().all(|carries| !carries));
}
