//! RTP between two peers, with the keys of a real handshake.

use crate::net::{CLIENT, Pair, SERVER, Setup, Side, credentials};
use peer::{Codec, Kind, Payload, PeerEvent, ReceiveSpec, RtpWrite, SendSpec};
use std::time::Duration;
use wire::ext::ExtensionIds;

const TAG: u64 = 7;
const SSRC: u32 = 0x0102_0304;
const PAYLOADS: [Payload; 1] = [Payload {
    codec: Codec::Vp8,
    pt: 96,
    rtx_pt: Some(97),
    nack: true,
}];
const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: 1,
    rid: 0,
    repaired_rid: 0,
    audio_level: 0,
    abs_send_time: 2,
    transport_cc: 3,
    abs_capture_time: 0,
    dependency_descriptor: 0,
    playout_delay: 0,
    frame_marking: 0,
};

/// A pair in which `from` sends one stream of video.
fn sending(pair: &mut Pair, from: Side) {
    pair.end(from).peer.add_send(SendSpec {
        tag: TAG,
        mid: "0".to_owned(),
        kind: Kind::Video,
        ssrc: SSRC,
        rtx_ssrc: Some(SSRC + 1),
        payloads: PAYLOADS.to_vec(),
        extensions: EXTENSIONS,
        cname: "cname".to_owned(),
        playout_delay: None,
    });
    pair.end(from.other()).peer.add_receive(ReceiveSpec {
        tag: TAG,
        mid: "0".to_owned(),
        kind: Kind::Video,
        payloads: PAYLOADS.to_vec(),
        extensions: EXTENSIONS,
        rids: Vec::new(),
        ssrcs: vec![(SSRC, Some(SSRC + 1))],
        transport_cc: true,
    });
}

/// A payload that names its packet.
fn payload(sequence: u64) -> Vec<u8> {
    let mut payload = b"the payload of packet number ".to_vec();
    payload.extend(sequence.to_be_bytes());
    payload
}

fn write(pair: &mut Pair, from: Side, sequence: u64) {
    let payload = payload(sequence);
    let packet = RtpWrite {
        codec: Codec::Vp8,
        sequence,
        timestamp: 3000,
        marker: true,
        dependency_descriptor: &[],
        abs_capture_time: &[],
        prefix: &[],
        payload: &payload,
        padding: 0,
        retransmission: false,
    };
    let index = pair.end(from).peer.send_index(TAG).unwrap();
    pair.write(from, index, &packet);
}

fn received(pair: &mut Pair, side: Side) -> Vec<u64> {
    let packets = std::mem::take(&mut pair.end(side).rtp);
    let check = |(packet, data): &(peer::ReceivedRtp, Vec<u8>)| {
        assert_eq!(
            (packet.tag, packet.codec, packet.timestamp),
            (TAG, Codec::Vp8, 3000)
        );
        let sequence = packet.sequence & 0xffff;
        assert_eq!(data[packet.payload.clone()], payload(sequence));
        sequence
    };
    packets.iter().map(check).collect()
}

#[test]
fn video_flows_both_dtls_roles_and_kinds_of_keys() {
    for rsa in [false, true] {
        for from in [Side::A, Side::B] {
            let mut pair = Pair::new(Setup { rsa, ..CLIENT }, SERVER);
            sending(&mut pair, from);
            pair.connect();
            for sequence in 100..200 {
                write(&mut pair, from, sequence);
                pair.run_for(Duration::from_millis(5));
            }
            pair.run_for(Duration::from_millis(50));
            let all: Vec<u64> = (100..200).collect();
            assert_eq!(received(&mut pair, from.other()), all);
        }
    }
}

#[test]
fn nothing_leaves_in_the_clear() {
    let mut pair = Pair::new(CLIENT, SERVER);
    sending(&mut pair, Side::B);
    write(&mut pair, Side::B, 1);
    assert_eq!(pair.b.peer.transport_stats().rtp_unsent, 1, "no keys, no packet");
    pair.record = Some(Vec::new());
    pair.connect();
    write(&mut pair, Side::B, 2);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(received(&mut pair, Side::A), [2]);
    for (_, data) in pair.record.take().unwrap() {
        assert!(!data.windows(11).any(|window| window == b"the payload"));
    }
}

#[test]
fn media_flows_through_an_ice_restart() {
    let mut pair = Pair::new(CLIENT, SERVER);
    sending(&mut pair, Side::B);
    pair.connect();
    let mut sequence = 0;
    let mut stream = |pair: &mut Pair, packets| {
        for _ in 0..packets {
            write(pair, Side::B, sequence);
            pair.run_for(Duration::from_millis(10));
            sequence += 1;
        }
    };
    stream(&mut pair, 20);
    for (side, ufrag) in [(Side::A, "new1"), (Side::B, "new2")] {
        pair.end(side).ice = credentials(ufrag);
        pair.end(side).peer.restart_ice(credentials(ufrag));
        stream(&mut pair, 20);
    }
    pair.describe(Side::B);
    stream(&mut pair, 5);
    pair.describe(Side::A);
    pair.trickle(Side::A);
    stream(&mut pair, 50);
    pair.run_for(Duration::from_millis(50));
    let all: Vec<u64> = (0..115).collect();
    assert_eq!(received(&mut pair, Side::A), all);
}

#[test]
fn a_key_frame_request_reaches_the_sender() {
    let mut pair = Pair::new(CLIENT, SERVER);
    sending(&mut pair, Side::A);
    pair.connect();
    write(&mut pair, Side::A, 1);
    pair.run_for(Duration::from_millis(50));
    pair.b.peer.request_key_frame(TAG, 0);
    let wanted = |p: &Pair| p.a.has(&PeerEvent::KeyFrameWanted { tag: TAG });
    assert!(pair.run_until(Duration::from_millis(100), wanted));
}

#[test]
fn garbage_that_looks_like_rtp_is_no_media() {
    let mut pair = Pair::new(CLIENT, SERVER);
    sending(&mut pair, Side::A);
    pair.connect();
    for i in 0..1000u64 {
        let len = 2 + usize::try_from(pair.random() % 300).unwrap();
        let mut data: Vec<u8> = (0..len).map(|_| pair.random().to_le_bytes()[0]).collect();
        data[0] = 0x80 | (data[0] & 0x3f);
        if let Some(ssrc) = data.get_mut(8..12).filter(|_| i % 2 == 0) {
            ssrc.copy_from_slice(&SSRC.to_be_bytes());
        }
        pair.inject(Side::B, data);
    }
    write(&mut pair, Side::A, 1);
    pair.run_for(Duration::from_millis(50));
    assert_eq!(received(&mut pair, Side::B), [1]);
}
