//! Published vectors, both directions, and the rules of indices.

use super::cipher::Cipher;
use super::*;
use ::dtls::SrtpProfile;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(u8::is_ascii_hexdigit)
        .map(|digit| (digit as char).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AES128_CM_SHA1_80,
    SrtpProfile::AEAD_AES_128_GCM,
    SrtpProfile::AEAD_AES_256_GCM,
];

fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    let material: Vec<u8> = (0..88).collect();
    (
        Srtp::new(profile, &material, true).expect("enough material"),
        Srtp::new(profile, &material, false).expect("enough material"),
    )
}

#[test]
fn rfc3711_b3_key_derivation() {
    let master_key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
    let master_salt = hex("0EC675AD498AFEEBB6960B3AABE6");
    let derivation = Derivation::new(&master_key, &master_salt).unwrap();
    assert_eq!(
        derivation.derive::<16>(0).unwrap()[..],
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derivation.derive::<14>(2).unwrap()[..],
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    assert_eq!(
        derivation.derive::<20>(1).unwrap()[..],
        hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
    );
}

#[test]
fn rfc6188_7_1_key_derivation_with_256_bits() {
    let master_key = hex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6");
    let master_salt = hex("3b04803de51ee7c96423ab5b78d2");
    let derivation = Derivation::new(&master_key, &master_salt).unwrap();
    assert_eq!(
        derivation.derive::<32>(0).unwrap()[..],
        hex("5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4")
    );
    assert_eq!(
        derivation.derive::<14>(2).unwrap()[..],
        hex("fa31791685ca444a9e07c6c64e93")
    );
}

#[test]
fn rfc3711_b2_counter_mode_key_stream() {
    let key: [u8; 16] = hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().unwrap();
    let salt: [u8; 14] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let cipher = Cipher::counter_mode(&key, &salt, &[0; 20]).unwrap();
    let mut packet = vec![0; 12 + 48 + 10];
    assert_eq!(cipher.seal_rtp(0, 0, &mut packet, 12, 60), Some(70));
    let stream =
        "E03EAD0935C95E80E166B16DD92B4EB4 D23513162B02D0F72A43A2FE4A5F97AB 41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(packet[12..60], hex(stream));
}

#[test]
fn rfc7714_16_rtp() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 \
         696e2070 61727465 73207472 6573",
    );
    let expected = [
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a \
         51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 \
         76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    ];
    for (key_len, expected) in [16, 32].into_iter().zip(expected) {
        let key: Vec<u8> = (0..key_len).collect();
        let cipher = Cipher::gcm(&key, *b"Quid pro quo").unwrap();
        let mut packet = plain.clone();
        packet.resize(plain.len() + 16, 0);
        let len = cipher.seal_rtp(0x5501_a0b2, 0xf17b, &mut packet, 12, plain.len());
        assert_eq!(len, Some(packet.len()));
        assert_eq!(packet, hex(expected));
        assert_eq!(
            cipher.open_rtp(0x5501_a0b2, 0xf17b, &mut packet, 12),
            Some(plain.len())
        );
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rfc7714_17_rtcp() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef \
         deadbeef deadbeef deadbeef deadbeef",
    );
    let expected = [
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
         4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be \
         8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
    ];
    for (key_len, expected) in [16, 32].into_iter().zip(expected) {
        let key: Vec<u8> = (0..key_len).collect();
        let cipher = Cipher::gcm(&key, *b"Quid pro quo").unwrap();
        let mut packet = plain.clone();
        packet.resize(plain.len() + 20, 0);
        assert_eq!(
            cipher.seal_rtcp(0x5d4, &mut packet, plain.len()),
            Some(packet.len())
        );
        assert_eq!(packet, hex(expected));
        assert_eq!(cipher.open_rtcp(&mut packet), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn every_profile_round_trips_and_notices_a_flipped_bit() {
    for profile in PROFILES {
        let (client, mut server) = pair(profile);
        let mut plain = vec![0x80, 96, 0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 9];
        plain.extend([7; 100]);
        let mut packet = plain.clone();
        packet.resize(plain.len() + RTP_OVERHEAD_MAX, 0);
        let index = 0x3_1234;
        let len = client.seal_rtp(9, index, &mut packet, 12, plain.len()).unwrap();
        packet.truncate(len);
        assert_ne!(packet[12..plain.len()], plain[12..]);
        let header = Header::parse(&packet).unwrap();
        for bit in 0..len * 8 {
            let mut broken = packet.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(server.open_rtp(&header, index, &mut broken), None, "bit {bit}");
        }
        assert_eq!(
            server.open_rtp(&header, index + 0x1_0000, &mut packet.clone()),
            None
        );
        assert_eq!(server.open_rtp(&header, index, &mut packet), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);

        let plain = hex("80c90001 00000007 80c90001 00000008");
        let mut packet = plain.clone();
        packet.resize(plain.len() + RTCP_OVERHEAD_MAX, 0);
        let len = server.seal_rtcp(&mut packet, plain.len()).unwrap();
        packet.truncate(len);
        for bit in 0..len * 8 {
            let mut broken = packet.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(client.open_rtcp(&mut broken), None, "bit {bit}");
        }
        assert_eq!(client.open_rtcp(&mut packet), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }
}

#[test]
fn rtcp_indices_count_up_and_end() {
    let (mut client, server) = pair(SrtpProfile::AEAD_AES_128_GCM);
    let seal = |client: &mut Srtp| {
        let mut packet = hex("80c90001 00000007");
        packet.resize(28, 0);
        client.seal_rtcp(&mut packet, 8).map(|_| packet)
    };
    let first = seal(&mut client).unwrap();
    let second = seal(&mut client).unwrap();
    assert_eq!(
        (first[24..].to_vec(), second[24..].to_vec()),
        (hex("80000000"), hex("80000001"))
    );
    assert_ne!(first[8..24], second[8..24]);
    client.rtcp_index = ENCRYPTED - 1;
    let mut last = seal(&mut client).unwrap();
    assert_eq!(server.open_rtcp(&mut last), Some(8));
    assert_eq!(seal(&mut client), None);
}

#[test]
fn short_packets_are_refused() {
    for profile in PROFILES {
        let (client, mut server) = pair(profile);
        for len in 0..40 {
            let mut packet = vec![0x80; len];
            assert_eq!(client.open_rtcp(&mut packet), None);
            if let Some(header) = Header::parse(&packet) {
                assert_eq!(client.open_rtp(&header, 0, &mut packet), None);
            }
            assert_eq!(server.seal_rtcp(&mut packet, len), None);
        }
        assert!(Srtp::new(profile, &[0; 55], true).is_none());
    }
}

#[test]
fn a_new_outgoing_ssrc_starts_in_rollover_zero() {
    let mut ssrcs = OutgoingSsrcs::default();
    let mut index = ssrcs.take(7).unwrap();
    assert_eq!(index.claim(0x5_FFFF), Use::First(0xFFFF));
    assert_eq!(index.claim(0x6_0000), Use::First(0x1_0000));
    assert_eq!(index.claim(0x5_FFFE), Use::First(0xFFFE));
    assert_eq!(index.claim(0x5_FFFE), Use::Again(0xFFFE));
    assert_eq!(index.find(0xFFFF, 200), Some((0xFFFF, 0x5_FFFF)));
    assert_eq!(index.find(0xFFFD, 200), None);
    assert_eq!(index.find(1, 200), None);
}

#[test]
fn an_outgoing_index_is_never_first_twice() {
    let mut ssrcs = OutgoingSsrcs::default();
    let mut used = std::collections::HashSet::new();
    let mut random = 1u64;
    for _life in 0..20 {
        let mut index = ssrcs.take(7).unwrap();
        assert!(ssrcs.take(7).is_none(), "an SSRC has one owner");
        let mut sequence = 60_000u64;
        for _ in 0..5_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sequence += random >> 62;
            let late = (random >> 40) % 700;
            match index.claim(sequence - late) {
                Use::First(first) => assert!(used.insert(first), "index {first} twice"),
                Use::Again(again) => assert!(used.contains(&again)),
                Use::Never => {}
            }
        }
        ssrcs.put_back(index);
    }
    assert!(used.len() > 50_000);
}

#[test]
fn a_returning_ssrc_continues_behind_its_last_index() {
    let mut ssrcs = OutgoingSsrcs::default();
    let mut index = ssrcs.take(7).unwrap();
    assert_eq!(index.claim(500), Use::First(500));
    ssrcs.put_back(index);
    let mut index = ssrcs.take(7).unwrap();
    assert_eq!(index.claim(40_000), Use::First(501));
    assert_eq!(index.claim(39_999), Use::Never);
    assert_eq!(index.find(501, 200), Some((501, 40_000)));
}

#[test]
fn incoming_rollover_follows_rfc3711() {
    let mut incoming = IncomingIndex::default();
    for (sequence, index) in [
        (65_530, 65_530),
        (2, 0x1_0002),
        (65_531, 65_531),
        (40_000, 0x1_9C40),
        (1, 0x2_0001),
    ] {
        let estimate = if sequence == 40_000 {
            // Half a cycle ahead is ahead only from a nearer reference.
            incoming.update(0x1_7000);
            incoming.estimate(sequence)
        } else {
            incoming.estimate(sequence)
        };
        assert_eq!(estimate, Some(index));
        incoming.update(index);
    }
    let mut early = IncomingIndex::default();
    early.update(3);
    assert_eq!(early.estimate(65_535), None);
}
