//! Bytes from the network, with and without the keys: no panic, no growth.

use super::*;
use proptest::prelude::*;

fn busy() -> Streams {
    let mut streams = server();
    streams.add_receive(receive_video(7));
    streams.add_receive(ReceiveSpec {
        mid: "s".into(),
        rids: vec!["q".into(), "h".into()],
        ..receive_video(8)
    });
    streams.add_receive(receive_audio(9));
    streams.add_send(send_video(1, 1000));
    streams.add_send(send_audio(2, 2000));
    streams
}

/// Lets everything happen that a packet may have set off.
fn settle(streams: &mut Streams, now: Instant) {
    let mut outbox = Outbox::new(16, 20_000);
    for round in 0..4 {
        let now = now + ms(300 * round);
        streams.handle_timeout(now);
        while streams.poll_event().is_some() {}
        assert!(streams.poll_transmit(now, to(), 0, &mut outbox));
        assert!(streams.poll_timeout().is_none_or(|at| at > now), "no busy loop");
        outbox.clear();
    }
}

fn some_ssrc() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(1u32),
        Just(2),
        Just(1000),
        Just(1001),
        Just(2000),
        any::<u32>()
    ]
}

proptest! {
    #[test]
    fn any_bytes_without_keys(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut streams = busy();
        let now = test_epoch();
        for mut bytes in packets {
            prop_assert!(streams.handle_rtp(now, &mut bytes.clone()).is_none());
            streams.handle_rtcp(now, &mut bytes);
        }
        settle(&mut streams, now);
    }

    #[test]
    fn mutated_packets(at in 0usize..60, value: u8, cut in 0usize..80) {
        let mut streams = busy();
        let now = test_epoch();
        let mut raw = Raw::new();
        let rtp = raw.rtp(&RawPacket { ssrc: 1, pt: 96, index: 1, extensions: &[(1, b"v"), (6, &[0, 1])], payload: &[7; 30] });
        let rtcp = raw.rtcp(|writer| writer.nack(9, 1000, &[1, 2]) && writer.xr_rrtr(9, 1) && writer.pli(9, 1000));
        for mut bytes in [rtp, rtcp] {
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            streams.handle_rtp(now, &mut bytes.clone());
            streams.handle_rtcp(now, &mut bytes);
        }
        settle(&mut streams, now);
    }

    #[test]
    fn authentic_nonsense_in_rtp(
        packets in prop::collection::vec(
            (
                (some_ssrc(), any::<u8>(), any::<u16>()),
                prop::collection::vec(any::<u8>(), 0..60),
                prop::collection::vec(any::<u8>(), 0..40),
            ),
            1..40,
        ),
    ) {
        let mut streams = busy();
        let now = test_epoch();
        let raw = Raw::new();
        for ((ssrc, second, sequence), extension, payload) in packets {
            // Any extension bytes at all, in the one-byte form.
            let words = extension.len() / 4;
            let mut bytes = vec![0xB0, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xBE, 0xDE, 0, words as u8];
            bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
            bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
            bytes.extend(&extension[..words * 4]);
            let header_len = bytes.len();
            bytes.extend(&payload);
            let len = bytes.len();
            bytes.resize(len + 16, 0);
            raw.srtp.seal_rtp(ssrc, u64::from(sequence), &mut bytes, header_len, len);
            if let Some(received) = streams.handle_rtp(now, &mut bytes) {
                for range in [received.payload, received.dependency_descriptor, received.abs_capture_time] {
                    prop_assert!(bytes.get(range).is_some());
                }
            }
        }
        settle(&mut streams, now);
    }

    #[test]
    fn authentic_nonsense_in_rtcp(
        (kind, format) in (prop_oneof![200u8..=207, any::<u8>()], any::<u8>()),
        body in prop::collection::vec(any::<u8>(), 0..40),
        ssrc in some_ssrc(),
    ) {
        let mut streams = busy();
        let now = test_epoch();
        let mut raw = Raw::new();
        let mut bytes = vec![0x80 | (format & 0x3F), kind, 0, (body.len() / 4 + 2) as u8];
        bytes.extend(9u32.to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend(&body);
        let len = bytes.len();
        bytes.resize(len + 20, 0);
        prop_assert!(raw.srtp.seal_rtcp(&mut bytes, len).is_some());
        streams.handle_rtcp(now, &mut bytes);
        prop_assert_eq!(streams.stats().rtcp_received, 1);
        settle(&mut streams, now);
    }
}

#[test]
fn a_flood_of_ssrcs_is_bounded() {
    let mut streams = busy();
    let now = test_epoch();
    let raw = Raw::new();
    for ssrc in 10_000..12_000 {
        for (pt, mid) in [(96, &b"v"[..]), (97, b"v"), (111, b"a"), (50, b"x")] {
            let packet = RawPacket {
                ssrc: ssrc * 4 + u32::from(pt),
                pt,
                index: 1,
                extensions: &[(1, mid)],
                payload: b"\0\x01x",
            };
            streams.handle_rtp(now, &mut raw.rtp(&packet));
        }
        while streams.poll_event().is_some() {}
    }
    let text = format!("{:?}", streams.receiving);
    assert!(text.len() < 40_000, "{} bytes of state in text", text.len());
    settle(&mut streams, now);
}

#[test]
fn a_stream_is_found_among_many_sections_whose_ids_differ() {
    let mut streams = server();
    let now = test_epoch();
    let raw = Raw::new();
    let ids = |n: u16| ExtensionIds {
        mid: (1 + n % 7) as u8,
        rid: (8 + n % 7) as u8,
        repaired_rid: (15 + n % 7) as u8,
        ..ExtensionIds::default()
    };
    for n in 0..512 {
        streams.add_receive(ReceiveSpec {
            mid: format!("m{n}"),
            extensions: ids(n),
            rids: vec!["q".into(), "h".into()],
            ..receive_video(u64::from(n))
        });
    }
    let many: Vec<(u8, &[u8])> = vec![(200, &[]); 600];
    for n in [0u16, 1, 255, 511] {
        let mid = format!("m{n}");
        let ExtensionIds { mid: id, rid, .. } = ids(n);
        for (ssrc, names, found) in [
            (1, &[][..], false),
            (2, &[(id, &b"m512"[..]), (rid, b"h")], false),
            (3, &[(id, mid.as_bytes()), (rid, b"x")], false),
            // Of two values the last one counts.
            (4, &[(id, b"m512"), (rid, b"h"), (id, mid.as_bytes())], true),
        ] {
            let extensions = [&many[..], names].concat();
            let packet = RawPacket {
                ssrc: u32::from(n) * 10 + ssrc,
                pt: 96,
                index: 1,
                extensions: &extensions,
                payload: b"x",
            };
            let received = streams.handle_rtp(now, &mut raw.rtp(&packet));
            let place = received.map(|received| (received.tag, received.layer));
            assert_eq!(place, found.then_some((u64::from(n), 1)), "{n} {names:?}");
        }
    }
}

#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut streams = busy();
    let now = test_epoch();
    let mut raw = Raw::new();
    for _ in 0..EVENTS_MAX + 10 {
        streams.handle_rtcp(now, &mut raw.rtcp(|writer| writer.pli(9, 1000)));
    }
    assert_eq!(streams.stats().events_dropped, 10);
    assert_eq!(events(&mut streams).len(), EVENTS_MAX);
}
