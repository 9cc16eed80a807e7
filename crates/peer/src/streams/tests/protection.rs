//! Old packets, replays and rollover, through the whole of [`Streams`].

use super::*;

#[test]
fn an_old_packet_is_authentic_but_brings_nothing_new() {
    let (mut pair, index) = Pair::video();
    for sequence in 0..3_000 {
        pair.write_unkept(A, index, &packet(Codec::Vp8, sequence, b"x"));
        pair.run(ms(1));
    }
    pair.run(ms(100));
    let count = pair.received(B).len();
    let before = pair.stats(B);
    let oldest = pair.log[0].2.clone();
    for _ in 0..3 {
        assert!(
            pair.ends[B]
                .streams
                .handle_rtp(pair.now, &mut oldest.clone())
                .is_none()
        );
    }
    let after = pair.stats(B);
    assert_eq!(after.rtp_received, before.rtp_received + 3);
    assert_eq!(after.rtp_duplicates, before.rtp_duplicates + 3);
    assert_eq!(after.rtp_refused, 0);
    assert_eq!(count, 3_000);
}

#[test]
fn rollover_counters_survive_many_wraps_with_loss_and_every_profile() {
    for profile in [
        ::dtls::SrtpProfile::AES128_CM_SHA1_80,
        ::dtls::SrtpProfile::AEAD_AES_128_GCM,
        ::dtls::SrtpProfile::AEAD_AES_256_GCM,
    ] {
        let (mut pair, index) = Pair::video();
        let material: Vec<u8> = (0..88).collect();
        for (end, client) in pair.ends.iter_mut().zip([true, false]) {
            end.streams.install_keys(profile, &material, client);
        }
        let mut outbox = Outbox::new(1, 2_000);
        let mut expected = 0u64;
        for sequence in (65_000..400_000u64).filter(|sequence| sequence % 1_000 < 30) {
            outbox.clear();
            let end = &mut pair.ends[A].streams;
            assert!(end.write_rtp(
                pair.now,
                index,
                &packet(Codec::Vp8, sequence, b"x"),
                to(),
                0,
                &mut outbox
            ));
            let mut bytes = outbox.bytes().to_vec();
            let received = pair.ends[B]
                .streams
                .handle_rtp(pair.now, &mut bytes)
                .expect("decrypted");
            assert_eq!(received.sequence, sequence + 0x1_0000);
            expected += 1;
        }
        assert_eq!(pair.stats(B).rtp_received, expected);
    }
}

#[test]
fn wrong_keys_refuse_everything() {
    let (mut pair, index) = Pair::video();
    pair.ends[B].streams.install_keys(PROFILE, &[9; 56], false);
    pair.write(A, index, &packet(Codec::Vp8, 1, b"x"));
    pair.ends[A].streams.send_report(pair.now, 1, 1, 1);
    pair.run(ms(100));
    assert_eq!((pair.stats(B).rtp_refused, pair.stats(B).rtcp_refused), (1, 1));
    assert_eq!(pair.received(B), []);
    pair.ends[B].streams.install_keys(PROFILE, &[9; 10], false);
    pair.write(A, index, &packet(Codec::Vp8, 2, b"x"));
    pair.run(ms(100));
    assert_eq!(pair.stats(B).rtp_refused, 2);
}
