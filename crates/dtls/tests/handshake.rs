//! Handshakes on a virtual network: whose certificates are taken, what is agreed upon, what is lost.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "each test file uses a part")]
mod ends;

use dtls::{Context, Failure, Identity, Received, Role, Session, SrtpProfile};
use ends::{End, Link, epoch};
use std::time::Duration;
use wire::sdp::Fingerprint;

/// Certificates of every kind of key, as clients have them.
fn identities() -> Vec<(&'static str, Identity)> {
    macro_rules! identity {
        ($name:literal) => {{
            let certificate = include_bytes!(concat!("identities/", $name, ".crt.der"));
            let key = include_bytes!(concat!("identities/", $name, ".key.der"));
            ($name, Identity::from_der(certificate.to_vec(), key.to_vec()))
        }};
    }
    vec![
        ("p-256", Identity::generate().unwrap()),
        identity!("p-384"),
        identity!("p-521"),
        identity!("ed25519"),
        identity!("rsa-2048"),
        identity!("rsa-4096"),
    ]
}

#[test]
fn every_kind_of_certificate_connects_in_both_roles() {
    let ours = Identity::generate().unwrap();
    for (name, theirs) in identities() {
        for (client, server) in [(&theirs, &ours), (&ours, &theirs)] {
            let mut link = Link::new(client, server);
            link.run(Duration::from_secs(1));
            assert!(
                link.is_up(),
                "{name}: {:?} {:?}",
                link.client.failure,
                link.server.failure
            );
            assert_eq!(link.agreed(), SrtpProfile::AEAD_AES_256_GCM, "{name}");
            link.exchange();
        }
    }
}

#[test]
fn certificates_are_checked_by_every_hash_function() {
    let identity = Identity::generate().unwrap();
    let certificate = link_certificate();
    for wrong in [false, true] {
        for fingerprint in fingerprints(&certificate, wrong) {
            let mut link = Link::new(&Identity::from_der(certificate.clone(), key()), &identity);
            link.server = End::new(&identity, Role::Server, fingerprint);
            link.run(Duration::from_secs(1));
            assert_eq!(link.server.session.is_established(), !wrong, "{fingerprint}");
            assert_eq!(
                link.server.failure,
                wrong.then_some(Failure::Fingerprint),
                "{fingerprint}"
            );
            // The client learns of it: bad_certificate.
            assert_eq!(
                link.client.failure,
                wrong.then_some(Failure::Alert(42)),
                "{fingerprint}"
            );
        }
    }
}

fn link_certificate() -> Vec<u8> {
    include_bytes!("identities/rsa-2048.crt.der").to_vec()
}

fn key() -> Vec<u8> {
    include_bytes!("identities/rsa-2048.key.der").to_vec()
}

fn fingerprints(certificate: &[u8], wrong: bool) -> [Fingerprint; 5] {
    use aws_lc_rs::digest;
    fn of<const LEN: usize>(
        algorithm: &'static digest::Algorithm,
        certificate: &[u8],
        wrong: bool,
    ) -> [u8; LEN] {
        let mut bytes: [u8; LEN] = digest::digest(algorithm, certificate)
            .as_ref()
            .try_into()
            .unwrap();
        bytes[LEN - 1] ^= u8::from(wrong);
        bytes
    }
    [
        Fingerprint::Sha1(of(&digest::SHA1_FOR_LEGACY_USE_ONLY, certificate, wrong)),
        Fingerprint::Sha224(of(&digest::SHA224, certificate, wrong)),
        Fingerprint::Sha256(of(&digest::SHA256, certificate, wrong)),
        Fingerprint::Sha384(of(&digest::SHA384, certificate, wrong)),
        Fingerprint::Sha512(of(&digest::SHA512, certificate, wrong)),
    ]
}

#[test]
fn a_lost_datagram_of_any_flight_is_sent_again_after_100_ms() {
    let identity = Identity::generate().unwrap();
    let mut whole = Link::new(&identity, &identity);
    whole.run(Duration::from_secs(1));
    let datagrams = whole.sent;
    assert!(whole.is_up() && (4..=8).contains(&datagrams), "{datagrams}");
    assert_eq!(
        whole.elapsed(),
        Duration::ZERO,
        "nothing waits when nothing is lost"
    );
    for lost in 0..datagrams {
        let mut link = Link::new(&identity, &identity);
        link.lose = Some(lost);
        link.run(Duration::from_secs(1));
        assert!(link.is_up(), "{lost}");
        assert!(
            link.elapsed() <= Duration::from_millis(100),
            "{lost}: {:?}",
            link.elapsed()
        );
        link.exchange();
    }
}

#[test]
fn retransmissions_double_from_100_ms_on_and_go_on_for_a_minute() {
    let identity = Identity::generate().unwrap();
    let mut end = End::new(&identity, Role::Client, identity.fingerprint().into());
    let mut sent = Vec::new();
    let mut now = epoch();
    while now < epoch() + Duration::from_secs(60) {
        while end.session.poll_packet().is_some() {
            sent.push((now - epoch()).as_millis());
        }
        now = end
            .session
            .poll_timeout()
            .expect("the flight is still unanswered");
        end.session.handle_timeout(now).unwrap();
    }
    assert_eq!(sent, [0, 100, 300, 700, 1500, 3100, 6300, 12_700, 25_500, 51_100]);
}

#[test]
fn no_handshake_datagram_is_longer_than_the_mtu() {
    let big = include_bytes!("identities/rsa-4096.crt.der").to_vec();
    let big = Identity::from_der(big, include_bytes!("identities/rsa-4096.key.der").to_vec());
    let mut link = Link::new(&big, &big);
    link.run(Duration::from_secs(1));
    assert!(link.is_up());
    assert!((600..=1200).contains(&link.longest), "{}", link.longest);
}

#[test]
fn what_is_no_dtls_changes_nothing() {
    let identity = Identity::generate().unwrap();
    let mut link = Link::new(&identity, &identity);
    let mut noise = 7_u64;
    for round in 0..2 {
        for len in (0..400).chain([1200, 9000, 65_507]) {
            let rubbish: Vec<u8> = (0..len)
                .map(|_| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (noise >> 33) as u8
                })
                .collect();
            for end in [&mut link.client, &mut link.server] {
                end.take(link.now, &rubbish);
                assert_eq!(end.failure, None, "{round} {len}");
            }
        }
        link.run(Duration::from_secs(1));
        assert!(link.is_up(), "{round}");
        link.exchange();
    }
}

#[test]
fn mangled_handshakes_end_in_a_reason_and_never_in_a_panic() {
    let identity = Identity::generate().unwrap();
    let mut failures = 0;
    for seed in 0..600 {
        let mut link = Link::new(&identity, &identity);
        link.mangle = Some(seed);
        link.run(Duration::from_secs(1));
        for end in [&link.client, &link.server] {
            failures += u32::from(end.failure.is_some());
            if let Some(failure) = end.failure {
                assert!(!failure.to_string().contains("unknown"), "{seed}: {failure}");
            }
        }
    }
    assert!(failures > 100, "{failures}");
}

#[test]
fn a_flood_of_client_hellos_makes_one_handshake() {
    let identity = Identity::generate().unwrap();
    let mut server = End::new(&identity, Role::Server, identity.fingerprint().into());
    let mut answers = 0;
    for _ in 0..1000 {
        let mut client = End::new(&identity, Role::Client, identity.fingerprint().into());
        let hello = client.session.poll_packet().expect("a ClientHello");
        server.take(epoch(), &hello);
        while server.session.poll_packet().is_some() {
            answers += 1;
        }
    }
    assert!(answers < 20, "{answers}");
    assert!(!server.session.is_established());
}

#[test]
fn a_server_answers_the_first_client_hello_with_its_own_hello() {
    let identity = Identity::generate().unwrap();
    let mut client = End::new(&identity, Role::Client, identity.fingerprint().into());
    let mut server = End::new(&identity, Role::Server, identity.fingerprint().into());
    server.take(epoch(), &client.session.poll_packet().expect("a ClientHello"));
    let answer = server.session.poll_packet().expect("a flight");
    // Behind the record's header of 13 bytes: server_hello is 2, hello_verify_request 3 (RFC 6347 §4.3.2).
    assert_eq!((answer[0], answer[13]), (22, 2));
}

#[test]
fn close_notify_is_told_and_ends_sending() {
    let identity = Identity::generate().unwrap();
    let mut link = Link::new(&identity, &identity);
    link.run(Duration::from_secs(1));
    link.client.session.close();
    let last = link.client.session.poll_packet().expect("close_notify");
    link.server.session.handle_packet(link.now, &last).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(
        link.server.session.receive(link.now, &mut buffer),
        Ok(Received::Closed)
    );
    assert!(link.client.session.send(b"late").is_err());
}

#[test]
fn sessions_outlive_their_context() {
    let identity = Identity::generate().unwrap();
    let context = Context::new(&identity, epoch()).unwrap();
    let copy = context.clone();
    drop(context);
    let fingerprint = copy.fingerprint().into();
    let mut session = Session::new(&copy, Role::Client, fingerprint, epoch()).unwrap();
    drop(copy);
    assert!(session.poll_packet().is_some());
}

#[test]
fn a_key_that_is_none_is_refused() {
    let broken = Identity::from_der(link_certificate(), vec![1, 2, 3]);
    assert!(Context::new(&broken, epoch()).is_err());
    let other = include_bytes!("identities/p-384.key.der").to_vec();
    assert!(Context::new(&Identity::from_der(link_certificate(), other), epoch()).is_err());
}
