//! Whole messages, by the vectors of RFC 5769 and there and back.

use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;

/// RFC 5769 §2.1: a request with software, priority, controlled, user name, integrity and
/// fingerprint.
pub(super) const REQUEST: [u8; 108] = [
    0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
    0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
    0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
    0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
    0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
    0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
];

/// RFC 5769 §2.2: a response over IPv4 with software, XOR-MAPPED-ADDRESS, integrity and fingerprint.
const RESPONSE_V4: [u8; 80] = [
    0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
    0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74, 0x20, 0x76, 0x65, 0x63, 0x74, 0x6f,
    0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00,
    0x14, 0x2b, 0x91, 0xf5, 0x99, 0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53,
    0xf0, 0x6b, 0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
];

const ID: TransactionId = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

#[test]
fn the_request_of_rfc_5769_is_read() {
    let message = Message::parse(&REQUEST).unwrap();
    assert_eq!(message.class, Class::Request);
    assert_eq!(message.transaction[..4], [0xb7, 0xe7, 0xa7, 0x01]);
    assert_eq!(message.fragments(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.priority, Some(0x6e00_01ff));
    assert_eq!(message.role, Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!message.use_candidate && !message.malformed);
    assert!(message.unknown.types().is_empty());
    let covered = |parts: &[&[u8]], tag: &[u8; 20]| {
        // The length that the message has up to the end of the attribute.
        assert_eq!(parts[0][..4], [0x00, 0x01, 0x00, 0x50]);
        assert_eq!(parts[0][4..], REQUEST[4..20]);
        assert_eq!(*parts[1], REQUEST[20..76]);
        *tag == REQUEST[80..100]
    };
    assert!(message.is_authentic(covered));
}

#[test]
fn the_response_of_rfc_5769_is_read() {
    let message = Message::parse(&RESPONSE_V4).unwrap();
    assert_eq!(message.class, Class::Success);
    assert_eq!(message.mapped, Some("192.0.2.1:32853".parse().unwrap()));
}

#[test]
fn any_changed_bit_is_seen_by_the_fingerprint_or_the_integrity() {
    let right = |parts: &[&[u8]], tag: &[u8; 20]| {
        let header = [&[0x00, 0x01, 0x00, 0x50], &REQUEST[4..20]].concat();
        parts.concat() == [&header, &REQUEST[20..76]].concat() && *tag == REQUEST[80..100]
    };
    assert!(Message::parse(&REQUEST).unwrap().is_authentic(right));
    for at in 0..REQUEST.len() * 8 {
        let mut changed = REQUEST;
        changed[at / 8] ^= 1 << (at % 8);
        // But in the type of the fingerprint itself, which makes another attribute of it.
        let is_fingerprint_type = (100 * 8..102 * 8).contains(&at);
        let message = Message::parse(&changed);
        let refused = message.is_none_or(|message| !message.is_authentic(right));
        assert!(is_fingerprint_type || refused, "{at}");
    }
}

#[test]
fn attributes_behind_the_integrity_mean_nothing() {
    let message = Writer::new(Class::Request, ID)
        .username("a", "b")
        .attribute(attribute::MESSAGE_INTEGRITY, &[7; 20])
        .use_candidate()
        .attribute(0x7777, b"x")
        .priority(5)
        .finish();
    let message = Message::parse(&message).unwrap();
    assert!(!message.use_candidate && message.priority.is_none());
    assert!(message.unknown.types().is_empty());
    assert!(message.is_authentic(|_, tag| *tag == [7; 20]));
}

#[test]
fn unknown_attributes_are_told_when_they_must_be_understood() {
    let mut writer = Writer::new(Class::Request, ID).attribute(0xC057, b"network");
    for kind in 0x7000..0x7010 {
        writer = writer.attribute(kind, b"");
    }
    let bytes = writer.finish();
    let message = Message::parse(&bytes).unwrap();
    let expected: Vec<u16> = (0x7000..0x7008).collect();
    assert_eq!(message.unknown.types(), expected);
    assert!(!message.malformed);
}

#[test]
fn values_of_the_wrong_size_are_told() {
    for (kind, value) in [
        (attribute::PRIORITY, &[1, 2][..]),
        (attribute::ICE_CONTROLLED, &[1; 4]),
        (attribute::ICE_CONTROLLING, &[1; 16]),
        (attribute::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 1, 2, 3]),
        (attribute::XOR_MAPPED_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]),
        (attribute::ERROR_CODE, &[0, 0, 2, 0]),
        (attribute::ERROR_CODE, &[0, 0, 4, 100]),
    ] {
        let bytes = Writer::new(Class::Request, ID).attribute(kind, value).finish();
        assert!(Message::parse(&bytes).unwrap().malformed, "{kind} {value:?}");
    }
    let short_tag = Writer::new(Class::Request, ID).attribute(attribute::MESSAGE_INTEGRITY, &[1; 19]);
    assert_eq!(Message::parse(&short_tag.finish()), None);
}

#[test]
fn an_error_comes_back() {
    let bytes = Writer::new(Class::Error, ID)
        .error(487, "Role Conflict")
        .unknown_attributes(&[1, 2])
        .sign(|_| [9; 20]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class, message.error), (Class::Error, Some(487)));
    assert_eq!(message.transaction, ID);
}

proptest! {
    #[test]
    fn checks_come_back(
        remote in "[A-Za-z0-9+/]{1,256}",
        local in "[A-Za-z0-9+/]{1,250}",
        priority: u32,
        tie_breaker: u64,
        controlling: bool,
        use_candidate: bool,
    ) {
        let role = if controlling { Role::Controlling(tie_breaker) } else { Role::Controlled(tie_breaker) };
        let mut writer = Writer::new(Class::Request, ID).username(&remote, &local).priority(priority).role(role);
        if use_candidate {
            writer = writer.use_candidate();
        }
        let mut signed = Vec::new();
        let bytes = writer.sign(|bytes| {
            signed = bytes.to_vec();
            [3; 20]
        });
        prop_assert!(is_binding_request(&bytes));
        prop_assert_eq!(username(&bytes), Some((remote.as_bytes(), local.as_bytes())));
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.fragments(), Some((remote.as_bytes(), local.as_bytes())));
        prop_assert_eq!(message.priority, Some(priority));
        prop_assert_eq!(message.role, Some(role));
        prop_assert_eq!(message.use_candidate, use_candidate);
        prop_assert!(!message.malformed);
        prop_assert!(message.is_authentic(|parts, tag| parts.concat() == signed && *tag == [3; 20]));
    }

    #[test]
    fn addresses_come_back(v4: [u8; 4], v6: [u8; 16], port: u16, id: TransactionId) {
        for address in [SocketAddr::from((v4, port)), SocketAddr::from((v6, port))] {
            let bytes = Writer::new(Class::Success, id).mapped(address).finish();
            prop_assert_eq!(Message::parse(&bytes).unwrap().mapped, Some(address));
        }
    }

    #[test]
    fn any_attributes_are_read_without_panic(mut attributes in prop::collection::vec(any::<u8>(), 0..80)) {
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        for kind in [[0, 1], [1, 1], [1, 0x11], [0, 0x11]] {
            let mut data = REQUEST[..20].to_vec();
            data[..2].copy_from_slice(&kind);
            data[3] = attributes.len() as u8;
            data.extend(&attributes);
            if let Some(message) = Message::parse(&data) {
                let _ = message.is_authentic(|parts, _| parts.concat().len() < data.len());
            }
        }
    }
}
