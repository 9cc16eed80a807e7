//! Finding sections, layers and originals; what is handed on.

use super::*;

fn simulcast() -> ReceiveSpec {
    ReceiveSpec {
        rids: vec!["q".into(), "h".into(), "f".into()],
        ..receive_video(7)
    }
}

fn receive(streams: &mut Streams, mut bytes: Vec<u8>) -> Option<(ReceivedRtp, Vec<u8>)> {
    let received = streams.handle_rtp(test_epoch(), &mut bytes)?;
    let payload = bytes[received.payload.clone()].to_vec();
    Some((received, payload))
}

#[test]
fn simulcast_layers_and_their_rtx_are_found_by_rid() {
    let mut streams = server();
    streams.add_receive(simulcast());
    streams.add_receive(receive_audio(8));
    let raw = Raw::new();
    let rids: [&[u8]; 3] = [b"f", b"q", b"h"];
    let layers = [2, 0, 1];
    for (n, (rid, layer)) in rids.into_iter().zip(layers).enumerate() {
        let ssrc = 100 + n as u32;
        // With extensions at first, then by SSRC alone; number 11 is missing.
        for (index, extensions) in [(10, &[(1, &b"v"[..]), (2, rid)][..]), (12, &[])] {
            let packet = RawPacket {
                ssrc,
                pt: 96,
                index,
                extensions,
                payload: b"media",
            };
            let (received, payload) = receive(&mut streams, raw.rtp(&packet)).expect("media");
            assert_eq!(
                (received.tag, received.layer, received.retransmitted),
                (7, layer, false)
            );
            assert_eq!(
                (received.sequence as u16, &payload[..]),
                (index as u16, &b"media"[..])
            );
        }
        // The original number comes first in the payload of a retransmission.
        let repair = RawPacket {
            ssrc: 200 + n as u32,
            pt: 97,
            index: 3_000,
            extensions: &[(1, b"v"), (3, rid)],
            payload: b"\x00\x0Blost",
        };
        let (received, payload) = receive(&mut streams, raw.rtp(&repair)).expect("media");
        assert_eq!(
            (received.tag, received.layer, received.retransmitted),
            (7, layer, true)
        );
        assert_eq!((received.sequence as u16, &payload[..]), (11, &b"lost"[..]));
        assert_eq!(received.codec, Codec::Vp8);
    }
    let started: Vec<(u8, u32)> = events(&mut streams)
        .into_iter()
        .map(|event| match event {
            PeerEvent::StreamStarted {
                tag: 7,
                layer,
                ssrc,
                codec: Codec::Vp8,
                ..
            } => (layer, ssrc),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(started, [(2, 100), (0, 101), (1, 102)]);
    assert_eq!(streams.stats().rtp_recovered, 3);
}

#[test]
fn sections_are_found_by_sdp_by_mid_and_by_payload_type() {
    let mut streams = server();
    streams.add_receive(ReceiveSpec {
        ssrcs: vec![(1, Some(2))],
        ..receive_video(7)
    });
    streams.add_receive(ReceiveSpec {
        mid: "w".into(),
        ..receive_video(8)
    });
    streams.add_receive(receive_audio(9));
    let raw = Raw::new();
    let by_sdp = RawPacket {
        ssrc: 1,
        pt: 96,
        index: 1,
        extensions: &[],
        payload: b"x",
    };
    let by_mid = RawPacket {
        ssrc: 5,
        extensions: &[(1, b"w")],
        ..by_sdp
    };
    let by_type = RawPacket {
        ssrc: 6,
        pt: 111,
        ..by_sdp
    };
    for (packet, tag) in [(&by_sdp, 7), (&by_mid, 8), (&by_type, 9)] {
        assert_eq!(receive(&mut streams, raw.rtp(packet)).expect("media").0.tag, tag);
    }
    let tags_and_rtx: Vec<_> = events(&mut streams)
        .into_iter()
        .map(|event| match event {
            PeerEvent::StreamStarted { tag, rtx_ssrc, .. } => (tag, rtx_ssrc),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(tags_and_rtx, [(7, Some(2)), (8, None), (9, None)]);
    // Two sections have this payload type, none has the other one.
    for pt in [96, 50] {
        let unclear = RawPacket {
            ssrc: 77,
            pt,
            ..by_sdp
        };
        assert!(receive(&mut streams, raw.rtp(&unclear)).is_none());
    }
    assert_eq!(streams.stats().rtp_unknown, 2);
}

/// A packet of sound from an SSRC, perhaps with a MID.
fn sound(ssrc: u32, index: u64, mid: Option<&[u8]>) -> Vec<u8> {
    let extensions: Vec<(u8, &[u8])> = mid.map(|mid| (1, mid)).into_iter().collect();
    Raw::new().rtp(&RawPacket {
        ssrc,
        pt: 111,
        index,
        extensions: &extensions,
        payload: b"x",
    })
}

fn microphone(tag: Tag, mid: &str) -> ReceiveSpec {
    ReceiveSpec {
        mid: mid.into(),
        ..receive_audio(tag)
    }
}

#[test]
fn a_mid_that_no_section_has_is_nobodys_however_the_rest_would_fit() {
    let mut streams = server();
    streams.add_receive(microphone(9, "a"));
    assert!(receive(&mut streams, sound(6, 1, Some(b"gone"))).is_none());
    assert!(receive(&mut streams, sound(6, 2, Some(b"a"))).is_some());
    // A MID comes before what SDP announced, too.
    let mut streams = server();
    streams.add_receive(ReceiveSpec {
        ssrcs: vec![(6, None)],
        ..microphone(9, "a")
    });
    assert!(receive(&mut streams, sound(6, 1, Some(b"gone"))).is_none());
    let camera = ReceiveSpec {
        rids: vec!["q".into()],
        ..receive_video(7)
    };
    streams.add_receive(camera);
    let packet = RawPacket {
        ssrc: 70,
        pt: 96,
        index: 1,
        extensions: &[(1, b"gone"), (2, b"q")],
        payload: b"x",
    };
    assert!(receive(&mut streams, Raw::new().rtp(&packet)).is_none());
    assert_eq!(streams.stats().rtp_unknown, 2);
    assert!(events(&mut streams).is_empty(), "no stream is told");
}

#[test]
fn what_goes_on_behind_the_end_of_its_section_is_not_the_next_track() {
    let mut streams = server();
    streams.add_receive(microphone(9, "a"));
    assert!(receive(&mut streams, sound(6, 1, Some(b"a"))).is_some());
    streams.remove_receive(9);
    streams.add_receive(microphone(10, "b"));
    // It is acknowledged: the sender no longer names it.
    for index in 2..5 {
        assert!(receive(&mut streams, sound(6, index, None)).is_none());
    }
    let (received, _) = receive(&mut streams, sound(7, 1, None)).expect("the only free section");
    assert_eq!(
        received.tag, 10,
        "somebody new may still be found by payload type"
    );
    // The same section comes back, and with it the stream that belongs to it.
    streams.add_receive(microphone(11, "a"));
    let (received, _) = receive(&mut streams, sound(6, 5, None)).expect("its own section");
    assert_eq!(received.tag, 11);
}

#[test]
fn layers_go_on_where_they_were_when_their_section_comes_back() {
    let mut streams = server();
    streams.add_receive(simulcast());
    let layer = |index, extensions| RawPacket {
        ssrc: 70,
        pt: 96,
        index,
        extensions,
        payload: b"x",
    };
    let raw = Raw::new();
    let named: &[(u8, &[u8])] = &[(1, b"v"), (2, b"h")];
    assert!(receive(&mut streams, raw.rtp(&layer(1, named))).is_some());
    streams.remove_receive(7);
    let other = ReceiveSpec {
        tag: 8,
        mid: "w".into(),
        ..simulcast()
    };
    streams.add_receive(other);
    let by_rid: &[(u8, &[u8])] = &[(2, b"h")];
    assert!(receive(&mut streams, raw.rtp(&layer(2, by_rid))).is_none());
    streams.add_receive(simulcast());
    let (received, _) = receive(&mut streams, raw.rtp(&layer(3, &[]))).expect("its own section");
    assert_eq!((received.tag, received.layer), (7, 1));
}

#[test]
fn a_stream_that_names_another_section_moves_there() {
    let mut streams = server();
    streams.add_receive(microphone(9, "a"));
    streams.add_receive(microphone(10, "b"));
    assert_eq!(
        receive(&mut streams, sound(6, 1, Some(b"a")))
            .expect("media")
            .0
            .tag,
        9
    );
    assert!(
        receive(&mut streams, sound(6, 2, Some(b"b"))).is_none(),
        "it is on its way"
    );
    assert_eq!(receive(&mut streams, sound(6, 3, None)).expect("media").0.tag, 10);
}

#[test]
fn extensions_and_padding_are_told_as_ranges() {
    let mut pair = Pair::new();
    pair.ends[A].streams.add_send(send_video(1, 1000));
    pair.ends[B].streams.add_receive(receive_video(7));
    let rich = RtpWrite {
        marker: true,
        dependency_descriptor: &[0x80, 1, 2, 3],
        abs_capture_time: &[9; 8],
        prefix: b"pre",
        padding: 31,
        ..packet(Codec::Vp8, 1, b"payload")
    };
    pair.write_unkept(A, 0, &rich);
    let (_, _, mut bytes) = pair.log[0].clone();
    let received = pair.ends[B]
        .streams
        .handle_rtp(pair.now, &mut bytes)
        .expect("media");
    assert_eq!(&bytes[received.payload.clone()], b"prepayload");
    assert_eq!(bytes[received.dependency_descriptor.clone()], [0x80, 1, 2, 3]);
    assert_eq!(bytes[received.abs_capture_time.clone()], [9; 8]);
    assert!(received.marker && received.audio_level.is_none());

    let filler = RtpWrite {
        padding: 255,
        ..packet(Codec::Vp8, 2, b"")
    };
    pair.write_unkept(A, 0, &filler);
    let (_, _, mut bytes) = pair.log[1].clone();
    let received = pair.ends[B]
        .streams
        .handle_rtp(pair.now, &mut bytes)
        .expect("a packet without payload");
    assert!(received.payload.is_empty() && received.abs_capture_time.is_empty());
}

#[test]
fn audio_level_is_read() {
    let mut streams = server();
    streams.add_receive(receive_audio(9));
    let packet = RawPacket {
        ssrc: 6,
        pt: 111,
        index: 1,
        extensions: &[(4, &[0x80 | 30])],
        payload: b"x",
    };
    let (received, _) = receive(&mut streams, Raw::new().rtp(&packet)).expect("media");
    assert_eq!(received.audio_level, Some((true, 30)));
}

#[test]
fn duplicates_are_dropped_and_probes_have_no_use() {
    let (mut pair, index) = Pair::video();
    pair.write(A, index, &packet(Codec::Vp8, 5, b"x"));
    let again = RtpWrite {
        retransmission: true,
        ..packet(Codec::Vp8, 5, b"x")
    };
    pair.write_unkept(A, index, &again);
    let (_, _, first) = pair.log[0].clone();
    pair.flying.push_back((pair.now + ms(30), B, first));
    pair.run(ms(100));
    assert_eq!(pair.received(B).len(), 1);
    assert_eq!((pair.stats(B).rtp_duplicates, pair.stats(B).rtx_useless), (1, 1));
    let probe = RawPacket {
        ssrc: 1001,
        pt: 97,
        index: 60_000,
        extensions: &[],
        payload: b"",
    };
    let mut bytes = Raw::new().rtp(&probe);
    // Too far ahead of the real counter for its rollover to be clear, but authentic.
    let streams = &mut pair.ends[B].streams;
    assert!(streams.handle_rtp(pair.now, &mut bytes).is_none());
}

#[test]
fn a_sender_that_starts_over_gets_a_new_stream() {
    let mut streams = server();
    streams.add_receive(receive_video(7));
    let raw = Raw::new();
    // Again and again, it has to wait.
    for (at, ssrc, taken) in [
        (0, 10, true),
        (0, 11, true),
        (499, 12, false),
        (499, 11, true),
        (500, 13, true),
    ] {
        let mut packet = raw.rtp(&RawPacket {
            ssrc,
            pt: 96,
            index: at + u64::from(ssrc),
            extensions: &[(1, b"v")],
            payload: b"x",
        });
        let received = streams.handle_rtp(test_epoch() + ms(at), &mut packet);
        assert_eq!(received.is_some(), taken, "{ssrc} at {at} ms");
    }
    assert_eq!(events(&mut streams).len(), 3);
    assert_eq!(streams.stats().streams_refused, 1);
}

#[test]
fn a_section_that_comes_back_keeps_its_rollover_counter() {
    let mut streams = server();
    streams.add_receive(receive_video(7));
    let raw = Raw::new();
    let packet = |index| {
        raw.rtp(&RawPacket {
            ssrc: 10,
            pt: 96,
            index,
            extensions: &[(1, b"v")],
            payload: b"x",
        })
    };
    for index in [60_000, 66_000, 66_001] {
        assert!(receive(&mut streams, packet(index)).is_some());
    }
    streams.remove_receive(7);
    assert!(receive(&mut streams, packet(66_002)).is_none());
    assert_eq!((streams.stats().rtp_unknown, streams.stats().rtp_refused), (1, 0));
    streams.add_receive(receive_video(8));
    assert_eq!(receive(&mut streams, packet(66_003)).expect("media").0.tag, 8);
}

#[test]
fn an_updated_section_keeps_its_streams() {
    let mut streams = server();
    streams.add_receive(receive_video(7));
    let raw = Raw::new();
    let packet = |index, extensions| {
        raw.rtp(&RawPacket {
            ssrc: 10,
            pt: 96,
            index,
            extensions,
            payload: b"x",
        })
    };
    assert!(receive(&mut streams, packet(1, &[(1, b"v")])).is_some());
    let vp9 = Payload {
        codec: Codec::Vp9,
        ..VP8
    };
    streams.add_receive(ReceiveSpec {
        payloads: vec![vp9],
        ..receive_video(7)
    });
    assert_eq!(
        receive(&mut streams, packet(2, &[])).expect("media").0.codec,
        Codec::Vp9
    );
    assert_eq!(events(&mut streams).len(), 1);
}

#[test]
fn a_stream_starts_with_its_first_known_payload_type() {
    let mut streams = server();
    streams.add_receive(ReceiveSpec {
        ssrcs: vec![(10, None)],
        ..receive_audio(9)
    });
    let raw = Raw::new();
    for (index, pt) in [(1, 13), (2, 111), (3, 13), (4, 111)] {
        let packet = RawPacket {
            ssrc: 10,
            pt,
            index,
            extensions: &[],
            payload: b"x",
        };
        assert_eq!(receive(&mut streams, raw.rtp(&packet)).is_some(), pt == 111);
    }
    assert_eq!(events(&mut streams).len(), 1);
    assert_eq!(streams.stats().rtp_unknown, 2);
}
