//! STUN (RFC 8489) as ICE uses it (RFC 8445 §16): binding messages, read and written.
//!
//! Owns: recognition, a look at the user name of a check that needs no key (RFC 8445 §7.2.2), and in
//! the files beside it whole messages. Must not know: passwords and what HMAC is made with (the caller
//! hands in a function), transactions, ICE's state.
//!
//! ```text
//! |0 0| type: 14 | length: 16 | magic cookie: 32 | transaction id: 96 | attributes …
//! attribute: | type: 16 | length: 16 | value, padded to 32 bits |
//! ```

mod fingerprint;
mod message;
mod write;

pub use message::{Class, Message, Role, TransactionId, UNKNOWN_MAX, UnknownAttributes};
pub use write::Writer;

use crate::bytes::Reader;

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
/// Bytes of HMAC-SHA1 (RFC 8489 §14.5).
const INTEGRITY_LEN: usize = 20;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1).
mod attribute {
    pub(super) const MAPPED_ADDRESS: u16 = 0x0001;
    pub(super) const USERNAME: u16 = 0x0006;
    pub(super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(super) const ERROR_CODE: u16 = 0x0009;
    pub(super) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub(super) const REALM: u16 = 0x0014;
    pub(super) const NONCE: u16 = 0x0015;
    pub(super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub(super) const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub(super) const USERHASH: u16 = 0x001E;
    pub(super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(super) const PRIORITY: u16 = 0x0024;
    pub(super) const USE_CANDIDATE: u16 = 0x0025;
    /// Types from here on may be passed over by who does not know them (RFC 8489 §14).
    pub(super) const OPTIONAL_FROM: u16 = 0x8000;
    pub(super) const FINGERPRINT: u16 = 0x8028;
    pub(super) const ICE_CONTROLLED: u16 = 0x8029;
    pub(super) const ICE_CONTROLLING: u16 = 0x802A;
}

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
        if kind == attribute::USERNAME {
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
mod tests;

#[cfg(test)]
mod peek_tests {
    use super::tests::REQUEST;
    use super::*;
    use proptest::prelude::*;

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
