//! A look at STUN (RFC 8489 §5): enough to find the peer to which a first binding request belongs.
//!
//! Owns: recognition, and the user name of ICE connectivity checks (RFC 8445 §7.2.2).
//! Must not know: integrity, transactions, anything that needs a key; the ICE agent checks those.
//!
//! ```text
//! |0 0| type: 14 | length: 16 | magic cookie: 32 | transaction id: 96 | attributes …
//! attribute: | type: 16 | length: 16 | value, padded to 32 bits |
//! ```

use crate::bytes::Reader;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const ATTRIBUTE_USERNAME: u16 = 0x0006;

/// Whether a datagram is a STUN message: two zero bits, the magic cookie, and a length that is
/// whole words and ends where the datagram ends (RFC 8489 §6.3).
#[must_use]
pub fn is_stun(data: &[u8]) -> bool {
    attributes(data).is_some()
}

/// Whether a datagram is a STUN binding request.
#[must_use]
pub fn is_binding_request(data: &[u8]) -> bool {
    data.starts_with(&BINDING_REQUEST) && is_stun(data)
}

/// The user name of a connectivity check, as its receiver sees it: the local fragment, then the
/// remote one. `None` when the datagram is no binding request or has no such user name.
#[must_use]
pub fn username(data: &[u8]) -> Option<(&[u8], &[u8])> {
    if !data.starts_with(&BINDING_REQUEST) {
        return None;
    }
    let mut reader = Reader(attributes(data)?);
    loop {
        let kind = reader.u16()?;
        let len = usize::from(reader.u16()?);
        let value = reader.take(len)?;
        if kind == ATTRIBUTE_USERNAME {
            let colon = value.iter().position(|&byte| byte == b':')?;
            return Some((value.get(..colon)?, value.get(colon + 1..)?));
        }
        reader.take(len.next_multiple_of(4) - len)?;
    }
}

fn attributes(data: &[u8]) -> Option<&[u8]> {
    let [t0, _, l0, l1, cookie @ .., _, _, _, _, _, _, _, _, _, _, _, _] =
        *data.first_chunk::<HEADER_LEN>()?;
    let rest = data.get(HEADER_LEN..)?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    (t0 < 0x40 && cookie == MAGIC_COOKIE && len.is_multiple_of(4) && rest.len() == len).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 5769 §2.1: a request with software, priority, controlled, user name, integrity and
    /// fingerprint.
    const REQUEST: [u8; 108] = [
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
        0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
        0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
        0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
        0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
        0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    #[test]
    fn the_user_name_of_rfc_5769_is_found() {
        assert!(is_stun(&REQUEST) && is_binding_request(&REQUEST));
        assert_eq!(username(&REQUEST), Some((&b"evtj"[..], &b"h6vY"[..])));
    }

    #[test]
    fn a_response_is_stun_but_no_request() {
        let mut response = REQUEST;
        response[0] = 0x01;
        assert!(is_stun(&response) && !is_binding_request(&response));
        assert_eq!(username(&response), None);
    }

    #[test]
    fn other_datagrams_are_not_stun() {
        assert!(!is_stun(&REQUEST[..107]));
        assert!(!is_stun(&[]));
        let mut rtp = REQUEST;
        rtp[0] = 0x80;
        assert!(!is_stun(&rtp));
        let mut old = REQUEST;
        old[4] = 0;
        assert!(!is_stun(&old), "no magic cookie");
        let mut odd = REQUEST;
        odd[3] -= 1;
        assert!(!is_stun(&odd[..107]), "not whole words");
    }

    #[test]
    fn a_broken_attribute_ends_the_look() {
        let mut broken = REQUEST;
        broken[23] = 0xFF;
        assert_eq!(username(&broken), None);
        let mut nameless = REQUEST;
        nameless[68] = b'x';
        assert_eq!(username(&nameless), None, "no colon");
    }

    proptest! {
        #[test]
        fn any_attributes_are_passed_without_panic(mut attributes in prop::collection::vec(any::<u8>(), 0..40)) {
            attributes.resize(attributes.len().next_multiple_of(4), 0);
            let mut data = REQUEST[..20].to_vec();
            data[3] = attributes.len() as u8;
            data.extend(&attributes);
            prop_assert!(is_binding_request(&data));
            if let Some((local, remote)) = username(&data) {
                prop_assert!(local.len() + remote.len() < attributes.len());
            }
        }
    }
}
