//! Reports, round trip, transport-wide feedback, key frame requests.

use super::*;
use wire::rtcp::{DlrrReport, SDES_CNAME, SDES_MID};

#[test]
fn receiver_reports_tell_loss_and_the_round_trip() {
    let (mut pair, index) = Pair::audio();
    // Every fourth packet of one second is lost, and never repaired.
    pair.lose = Box::new(|side, bytes| side == A && !rtp::is_rtcp(bytes) && bytes[3] % 4 == 3);
    for sequence in 0..150 {
        if sequence == 10 {
            let ntp = pair.ends[A].streams.clock.ntp(pair.now);
            pair.ends[A].streams.send_report(pair.now, 1, ntp, 9_600);
        }
        pair.write_unkept(A, index, &packet(Codec::Opus, sequence, b"x"));
        pair.run(ms(20));
    }
    let reports: Vec<(u8, Option<u32>)> = pair.ends[A]
        .events
        .iter()
        .filter_map(|event| match event {
            PeerEvent::ReceiverReport {
                tag: 1,
                fraction_lost,
                jitter,
                rtt_us,
                ..
            } => {
                assert_eq!(*jitter, 0);
                Some((*fraction_lost, *rtt_us))
            }
            _ => None,
        })
        .collect();
    assert!((2..=3).contains(&reports.len()), "one a second: {reports:?}");
    for (fraction_lost, rtt_us) in reports {
        assert!((60..=68).contains(&fraction_lost), "a quarter: {fraction_lost}");
        let rtt_us = rtt_us.expect("a sender report came before");
        assert!((49_900..=50_100).contains(&rtt_us), "{rtt_us}");
    }
    let rtt_us = pair.ends[A].streams.rtt_us().expect("known");
    assert!((49_900..=50_100).contains(&rtt_us), "{rtt_us}");
    assert!(pair.ends[B].events.contains(&PeerEvent::SenderReport {
        tag: 7,
        layer: 0,
        ntp: NTP_EPOCH + (200 << 32) / 1000,
        rtp: 9_600,
        at: pair.start + ms(225),
    }));
}

#[test]
fn a_receiver_learns_the_round_trip_by_reference_times() {
    let (mut pair, index) = Pair::audio();
    for sequence in 0..60 {
        pair.write(A, index, &packet(Codec::Opus, sequence, b"x"));
        pair.run(ms(20));
    }
    let rtt_us = pair.ends[B].streams.rtt_us().expect("known");
    assert!((49_900..=50_100).contains(&rtt_us), "{rtt_us}");
}

#[test]
fn nothing_is_reported_while_nothing_arrives() {
    let (mut pair, index) = Pair::audio();
    pair.write(A, index, &packet(Codec::Opus, 1, b"x"));
    pair.run(ms(5_000));
    let reports = pair.sent_rtcp(B);
    let kinds: Vec<u8> = reports.iter().map(|(_, plain)| plain[1]).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == 201).count(), 1);
    assert_eq!(pair.ends[B].streams.poll_timeout(), None);
    assert_eq!(pair.ends[A].streams.poll_timeout(), None);
}

#[test]
fn sender_reports_count_payload_and_describe_the_source() {
    let (mut pair, index) = Pair::video();
    for sequence in 0..10 {
        let padded = RtpWrite {
            prefix: b"desc",
            padding: 200,
            ..packet(Codec::Vp8, sequence, &[7; 100])
        };
        pair.write_unkept(A, index, &padded);
    }
    pair.ends[A].streams.send_report(pair.now, 1, 5 << 32, 6);
    pair.ends[A].streams.send_report(pair.now, 1, 7 << 32, 8);
    pair.run(ms(1));
    let sent = pair.sent_rtcp(A);
    let [(_, plain)] = &sent[..] else {
        panic!("one datagram: {sent:?}")
    };
    let packets: Vec<Packet<'_>> = rtcp::parse(plain).collect();
    let [
        Packet::SenderReport {
            ssrc,
            ntp,
            rtp,
            packets,
            octets,
            ..
        },
        Packet::Sdes(sdes),
    ] = &packets[..]
    else {
        panic!("report and description: {packets:?}");
    };
    assert_eq!((*ssrc, *ntp, *rtp), (1000, 7 << 32, 8));
    assert_eq!((*packets, *octets), (10, 1_040));
    let items: Vec<_> = sdes
        .clone()
        .map(|item| (item.ssrc, item.kind, item.text))
        .collect();
    assert_eq!(
        items,
        [(1000, SDES_CNAME, &b"stream"[..]), (1000, SDES_MID, b"v")]
    );
}

#[test]
fn many_reports_share_datagrams() {
    let mut pair = Pair::new();
    for n in 0..40u32 {
        pair.ends[A].streams.add_send(send_audio(u64::from(n), 5_000 + n));
        pair.ends[A]
            .streams
            .send_report(pair.now, u64::from(n), 1 << 32, 2);
    }
    pair.run(ms(1));
    let sent = pair.sent_rtcp(A);
    let mut ssrcs: Vec<u32> = sent
        .iter()
        .flat_map(|(_, plain)| rtcp::parse(plain))
        .filter_map(|packet| match packet {
            Packet::SenderReport { ssrc, .. } => Some(ssrc),
            _ => None,
        })
        .collect();
    ssrcs.sort_unstable();
    assert_eq!(ssrcs, (5_000..5_040).collect::<Vec<_>>());
    assert!(sent.len() <= 4, "{} datagrams", sent.len());
    assert!(pair.log.iter().all(|(_, _, bytes)| bytes.len() <= 1200));
}

#[test]
fn transport_wide_feedback_tells_the_truth() {
    let (mut pair, index) = Pair::video();
    let mut random = 3;
    let mut truth: BTreeMap<u16, Option<Duration>> = BTreeMap::new();
    pair.lose = Box::new(move |side, bytes| side == A && !rtp::is_rtcp(bytes) && bytes[3] % 5 == 2);
    for sequence in 0..1_000u64 {
        let lost = sequence as u8 % 5 == 2;
        let arrival = pair.now + pair.delay - pair.start;
        truth.insert(sequence as u16, (!lost).then_some(arrival));
        let frame_end = RtpWrite {
            marker: sequence % 10 == 9,
            ..packet(Codec::Vp8, sequence, b"x")
        };
        pair.write_unkept(A, index, &frame_end);
        pair.run(ms(next_random(&mut random) % 8));
    }
    pair.run(ms(500));
    let mut told: BTreeMap<u16, Option<Duration>> = BTreeMap::new();
    let mut count = 0;
    let mut times = Vec::new();
    let sent = pair.sent_rtcp(B);
    for (at, plain) in &sent {
        for packet in rtcp::parse(plain) {
            let Packet::TransportCc {
                reference_time,
                feedback_count,
                statuses,
                media,
                ..
            } = packet
            else {
                continue;
            };
            assert_eq!((media, feedback_count), (1000, count));
            count = count.wrapping_add(1);
            times.push(*at);
            let mut ticks = i64::from(reference_time) * 256;
            for (sequence, delta) in statuses {
                let arrival = delta.map(|delta| {
                    ticks += i64::from(delta);
                    Duration::from_micros(ticks as u64 * 250)
                });
                assert!(told.insert(sequence, arrival).is_none(), "{sequence} told twice");
            }
        }
    }
    // The last packets may be lost: nothing after them shows it.
    assert!(told.len() >= 998);
    for (sequence, arrival) in told {
        assert_eq!(arrival, truth[&sequence], "packet {sequence}");
    }
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= ms(50) || pair[1] == pair[0], "{pair:?}");
    }
    assert_eq!(u64::from(count), pair.stats(A).transport_cc_ignored);
}

#[test]
fn key_frame_requests_reach_the_sender() {
    let (mut pair, index) = Pair::video();
    pair.ends[B].streams.request_key_frame(7, 0);
    pair.run(ms(100));
    assert_eq!(pair.ends[A].events, [], "no stream yet, nobody to ask");
    pair.write(A, index, &packet(Codec::Vp8, 1, b"x"));
    pair.run(ms(100));
    pair.ends[B].streams.request_key_frame(7, 0);
    pair.ends[B].streams.request_key_frame(7, 0);
    pair.ends[B].streams.request_key_frame(7, 1);
    pair.run(ms(100));
    assert_eq!(pair.ends[A].events, [PeerEvent::KeyFrameWanted { tag: 1 }]);
}

#[test]
fn a_repeated_fir_counts_once() {
    let mut streams = server();
    let now = test_epoch();
    streams.add_send(send_video(1, 1000));
    let mut raw = Raw::new();
    let mut wanted = Vec::new();
    for sequence in [4, 4, 5, 5, 4] {
        streams.handle_rtcp(now, &mut raw.rtcp(|writer| writer.fir(9, 1000, sequence)));
        wanted.push(events(&mut streams).len());
    }
    assert_eq!(wanted, [1, 0, 1, 0, 1]);
    streams.handle_rtcp(now, &mut raw.rtcp(|writer| writer.fir(9, 999, 1)));
    assert_eq!(events(&mut streams), []);
}

#[test]
fn feedback_finds_its_stream_whatever_was_added_and_removed() {
    let mut streams = server();
    let now = test_epoch();
    let mut raw = Raw::new();
    let mut asked = |streams: &mut Streams, ssrc| {
        streams.handle_rtcp(now, &mut raw.rtcp(|writer| writer.pli(9, ssrc)));
        events(streams)
    };
    let wanted = |tag| vec![PeerEvent::KeyFrameWanted { tag }];
    let ssrc = |tag: Tag| 1000 + 10 * (tag as u32 * 7 % 20);
    // Neither in the order of SSRCs, nor in that of tags afterwards.
    for tag in 1..20 {
        streams.add_send(send_video(tag, ssrc(tag)));
    }
    for tag in (1..20).step_by(3) {
        streams.remove_send(tag);
    }
    // One description changes, one stream gets another SSRC, one comes anew in a place that is free.
    let changed = SendSpec {
        mid: "other".into(),
        ..send_video(2, ssrc(2))
    };
    streams.add_send(changed);
    streams.add_send(send_video(3, 5000));
    streams.add_send(send_video(30, 10));
    for tag in 1..20 {
        let here = tag % 3 != 1 && tag != 3;
        let expected = if here { wanted(tag) } else { Vec::new() };
        assert_eq!(asked(&mut streams, ssrc(tag)), expected, "{tag}");
        assert_eq!(asked(&mut streams, ssrc(tag) + 1), [], "the RTX stream of {tag}");
    }
    assert_eq!(asked(&mut streams, 5000), wanted(3));
    assert_eq!(asked(&mut streams, 10), wanted(30));
    // The SSRC of one that was removed is another's now.
    streams.add_send(send_video(31, ssrc(1)));
    assert_eq!(asked(&mut streams, ssrc(1)), wanted(31));
    // A refused one changes nothing.
    streams.add_send(send_video(32, ssrc(5)));
    assert_eq!(streams.stats().streams_refused, 1);
    assert_eq!(asked(&mut streams, ssrc(5)), wanted(5));
}

#[test]
fn remb_and_reference_times_are_understood() {
    let mut streams = server();
    let now = test_epoch();
    let mut raw = Raw::new();
    streams.handle_rtcp(now, &mut raw.rtcp(|writer| writer.remb(9, 1 << 20, &[1000])));
    assert_eq!(events(&mut streams), [PeerEvent::Remb { bitrate_bps: 1 << 20 }]);
    streams.handle_rtcp(
        now,
        &mut raw.rtcp(|writer| writer.xr_rrtr(9, 0x1122_3344_5566_7788)),
    );
    let mut outbox = Outbox::new(1, 2000);
    assert!(streams.poll_transmit(now + ms(500), to(), 0, &mut outbox));
    let mut answer = outbox.bytes().to_vec();
    let len = raw.srtp.open_rtcp(&mut answer).expect("ours");
    let packets: Vec<Packet<'_>> = rtcp::parse(&answer[..len]).collect();
    let [Packet::ExtendedReport { blocks, .. }] = &packets[..] else {
        panic!("{packets:?}")
    };
    let Some(XrBlock::Dlrr(mut reports)) = blocks.clone().next() else {
        panic!("an answer")
    };
    let expected = DlrrReport {
        ssrc: 9,
        last_rr: 0x3344_5566,
        delay: 0x8000,
    };
    assert_eq!(reports.next(), Some(expected));
}

#[test]
fn a_full_outbox_delays_feedback_but_loses_none() {
    let (mut pair, index) = Pair::video();
    pair.write(A, index, &packet(Codec::Vp8, 1, b"x"));
    pair.run(ms(60));
    pair.ends[B].streams.request_key_frame(7, 0);
    let mut full = Outbox::new(0, 0);
    assert!(!pair.ends[B].streams.poll_transmit(pair.now, to(), 0, &mut full));
    assert!(!pair.ends[B].streams.poll_transmit(pair.now, to(), 0, &mut full));
    pair.run(ms(60));
    assert!(
        pair.ends[A]
            .events
            .contains(&PeerEvent::KeyFrameWanted { tag: 1 })
    );
}
