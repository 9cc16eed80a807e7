//! Writing a whole binding message.
//!
//! Owns: lengths, padding, and the order in which integrity and fingerprint end a message. Must not
//! know: keys.

use super::message::xor;
use super::{Class, HEADER_LEN, INTEGRITY_LEN, MAGIC_COOKIE, Role, TransactionId, attribute, fingerprint};
use std::net::SocketAddr;

/// Enough for all but long user names.
const USUAL_LEN: usize = 128;

/// A message in the making; attributes follow one another as they are called.
#[derive(Debug)]
pub struct Writer {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Writer {
    /// Begins a binding message.
    #[must_use]
    pub fn new(class: Class, transaction: TransactionId) -> Self {
        let kind: u16 = match class {
            Class::Request => 0x0001,
            Class::Indication => 0x0011,
            Class::Success => 0x0101,
            Class::Error => 0x0111,
        };
        let mut bytes = Vec::with_capacity(USUAL_LEN);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(MAGIC_COOKIE);
        bytes.extend(transaction);
        Self { bytes, transaction }
    }

    /// USERNAME of a check: the receiver's fragment, then ours. Both together may have 508 bytes
    /// (RFC 8489 §14.3); fragments have up to 256 each (RFC 8839 §5.4).
    #[must_use]
    pub fn username(mut self, remote: &str, local: &str) -> Self {
        let len = remote.len() + 1 + local.len();
        self.head(attribute::USERNAME, len);
        self.bytes.extend(remote.bytes());
        self.bytes.push(b':');
        self.bytes.extend(local.bytes());
        self.pad();
        self
    }

    /// PRIORITY
    #[must_use]
    pub fn priority(self, priority: u32) -> Self {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    /// USE-CANDIDATE
    #[must_use]
    pub fn use_candidate(self) -> Self {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED
    #[must_use]
    pub fn role(self, role: Role) -> Self {
        match role {
            Role::Controlling(tie_breaker) => {
                self.attribute(attribute::ICE_CONTROLLING, &tie_breaker.to_be_bytes())
            }
            Role::Controlled(tie_breaker) => {
                self.attribute(attribute::ICE_CONTROLLED, &tie_breaker.to_be_bytes())
            }
        }
    }

    /// XOR-MAPPED-ADDRESS (RFC 8489 §14.2)
    #[must_use]
    pub fn mapped(self, address: SocketAddr) -> Self {
        let [p0, p1] = address.port().to_be_bytes();
        let port = [p0 ^ MAGIC_COOKIE[0], p1 ^ MAGIC_COOKIE[1]];
        let mut value = [0; 20];
        value[2..4].copy_from_slice(&port);
        let len = match address {
            SocketAddr::V4(v4) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&xor(v4.ip().octets(), &self.transaction));
                8
            }
            SocketAddr::V6(v6) => {
                value[1] = 2;
                value[4..].copy_from_slice(&xor(v6.ip().octets(), &self.transaction));
                20
            }
        };
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value[..len])
    }

    /// ERROR-CODE (RFC 8489 §14.8), 300..=699.
    #[must_use]
    pub fn error(self, code: u16, reason: &str) -> Self {
        debug_assert!(
            (300..700).contains(&code),
            "RFC 8489 §14.8 gives the class 3 bits"
        );
        let [_, class] = (code / 100).to_be_bytes();
        let [_, number] = (code % 100).to_be_bytes();
        let mut value = vec![0, 0, class, number];
        value.extend(reason.bytes());
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// UNKNOWN-ATTRIBUTES
    #[must_use]
    pub fn unknown_attributes(self, types: &[u16]) -> Self {
        let value: Vec<u8> = types.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &value)
    }

    /// Any attribute, as it is.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.head(kind, value.len());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// Ends the message with MESSAGE-INTEGRITY, whose tag `sign` makes from the bytes so far, and
    /// FINGERPRINT.
    #[must_use]
    pub fn sign(mut self, sign: impl FnOnce(&[u8]) -> [u8; INTEGRITY_LEN]) -> Vec<u8> {
        self.set_len(4 + INTEGRITY_LEN);
        let tag = sign(&self.bytes);
        self.attribute(attribute::MESSAGE_INTEGRITY, &tag).finish()
    }

    /// Ends the message with FINGERPRINT alone.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.set_len(8);
        let value = fingerprint::of(&self.bytes).to_be_bytes();
        self.attribute(attribute::FINGERPRINT, &value).bytes
    }

    fn head(&mut self, kind: u16, len: usize) {
        let len = u16::try_from(len).expect("attributes of ours have a few hundred bytes");
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(len.to_be_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The length in the header counts what is there and `more` bytes behind it (RFC 8489 §14.5).
    fn set_len(&mut self, more: usize) {
        let len = u16::try_from(self.bytes.len() - HEADER_LEN + more).expect("a few attributes");
        self.bytes[2..4].copy_from_slice(&len.to_be_bytes());
    }
}
