//! Reading a whole binding message.
//!
//! Owns: what each attribute means, and over which bytes the integrity goes. Must not know: keys.

use super::{HEADER_LEN, INTEGRITY_LEN, MAGIC_COOKIE, attribute, attributes, fingerprint};
use crate::bytes::Reader;
use std::net::SocketAddr;

/// RFC 8489 §5
pub type TransactionId = [u8; 12];

/// What kind of message it is (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// The role that the sender of a check claims, with its tie-breaker (RFC 8445 §7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Role {
    Controlling(u64),
    Controlled(u64),
}

/// A binding message. Its integrity is not checked before [`Self::is_authentic`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Request, response or indication.
    pub class: Class,
    /// Which request, or the answer to which.
    pub transaction: TransactionId,
    /// USERNAME
    pub username: Option<&'a [u8]>,
    /// PRIORITY
    pub priority: Option<u32>,
    /// USE-CANDIDATE
    pub use_candidate: bool,
    /// ICE-CONTROLLING or ICE-CONTROLLED
    pub role: Option<Role>,
    /// XOR-MAPPED-ADDRESS
    pub mapped: Option<SocketAddr>,
    /// ERROR-CODE, 300..=699.
    pub error: Option<u16>,
    /// Attributes that must be understood, and are not known here.
    pub unknown: UnknownAttributes,
    /// A known attribute has a value that it cannot have.
    pub malformed: bool,
    integrity: Option<Integrity<'a>>,
}

/// MESSAGE-INTEGRITY
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Integrity<'a> {
    /// The header, with the length that it would have if the message ended with the attribute.
    header: [u8; HEADER_LEN],
    /// The attributes in front of it.
    covered: &'a [u8],
    tag: &'a [u8; INTEGRITY_LEN],
}

impl<'a> Message<'a> {
    /// Reads a binding message. `None`: it is none, an attribute runs past its end, or its FINGERPRINT
    /// is wrong. Attributes behind MESSAGE-INTEGRITY are passed over (RFC 8489 §14.5).
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let body = attributes(data)?;
        let [t0, t1, _, _, _, _, _, _, transaction @ ..] = *data.first_chunk::<HEADER_LEN>()?;
        let class = match [t0, t1] {
            [0x00, 0x01] => Class::Request,
            [0x00, 0x11] => Class::Indication,
            [0x01, 0x01] => Class::Success,
            [0x01, 0x11] => Class::Error,
            _ => return None,
        };
        let mut message = Self {
            class,
            transaction,
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            mapped: None,
            error: None,
            unknown: UnknownAttributes::default(),
            malformed: false,
            integrity: None,
        };
        let mut reader = Reader(body);
        while !reader.0.is_empty() {
            let start = body.len() - reader.0.len();
            let kind = reader.u16()?;
            let len = usize::from(reader.u16()?);
            let value = reader.take(len)?;
            reader.take(len.next_multiple_of(4) - len)?;
            if kind == attribute::FINGERPRINT {
                let covered = data.get(..HEADER_LEN + start)?;
                let is_last = reader.0.is_empty();
                (is_last && *value == fingerprint::of(covered).to_be_bytes()).then_some(())?;
            } else if message.integrity.is_none() {
                message.take_attribute(kind, value);
                if kind == attribute::MESSAGE_INTEGRITY {
                    message.integrity = Some(Integrity::new(data, start, value.try_into().ok()?)?);
                }
            }
        }
        Some(message)
    }

    fn take_attribute(&mut self, kind: u16, value: &'a [u8]) {
        let fits = match kind {
            attribute::USERNAME => {
                self.username.get_or_insert(value);
                true
            }
            attribute::PRIORITY => number(value, &mut self.priority),
            attribute::USE_CANDIDATE => {
                self.use_candidate = true;
                true
            }
            attribute::ICE_CONTROLLING | attribute::ICE_CONTROLLED => {
                let tie_breaker = value.try_into().map(u64::from_be_bytes);
                let role = tie_breaker.map(|tie_breaker| match kind {
                    attribute::ICE_CONTROLLING => Role::Controlling(tie_breaker),
                    _ => Role::Controlled(tie_breaker),
                });
                role.map(|role| self.role.get_or_insert(role)).is_ok()
            }
            attribute::XOR_MAPPED_ADDRESS => {
                let address = read_xor_address(value, &self.transaction);
                address
                    .map(|address| self.mapped.get_or_insert(address))
                    .is_some()
            }
            attribute::ERROR_CODE => {
                let code = read_error(value);
                code.map(|code| self.error.get_or_insert(code)).is_some()
            }
            attribute::MAPPED_ADDRESS
            | attribute::MESSAGE_INTEGRITY
            | attribute::UNKNOWN_ATTRIBUTES
            | attribute::REALM
            | attribute::NONCE
            | attribute::MESSAGE_INTEGRITY_SHA256
            | attribute::PASSWORD_ALGORITHM
            | attribute::USERHASH
            | attribute::OPTIONAL_FROM.. => true,
            _ => {
                self.unknown.push(kind);
                true
            }
        };
        self.malformed |= !fits;
    }

    /// Whether the message has a MESSAGE-INTEGRITY that `verify` finds right. It is given the bytes
    /// that the HMAC goes over, in order, and the tag; it must compare in constant time.
    pub fn is_authentic(&self, verify: impl FnOnce(&[&[u8]], &[u8; INTEGRITY_LEN]) -> bool) -> bool {
        let integrity = self.integrity.as_ref();
        integrity.is_some_and(|of| verify(&[&of.header[..], of.covered], of.tag))
    }

    /// The user name's two halves: the receiver's fragment, then the sender's (RFC 8445 §7.2.2).
    #[must_use]
    pub fn fragments(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|&byte| byte == b':')?;
        Some((username.get(..colon)?, username.get(colon + 1..)?))
    }
}

impl<'a> Integrity<'a> {
    fn new(data: &'a [u8], start: usize, tag: &'a [u8; INTEGRITY_LEN]) -> Option<Self> {
        let mut header = *data.first_chunk::<HEADER_LEN>()?;
        let len = u16::try_from(start + 4 + INTEGRITY_LEN).ok()?;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        let covered = data.get(HEADER_LEN..HEADER_LEN + start)?;
        Some(Self { header, covered, tag })
    }
}

fn number(value: &[u8], into: &mut Option<u32>) -> bool {
    let number = value.try_into().map(u32::from_be_bytes);
    number.map(|number| into.get_or_insert(number)).is_ok()
}

/// RFC 8489 §14.8: class and number of the code, then a reason that nobody reads.
fn read_error(value: &[u8]) -> Option<u16> {
    let [_, _, class, number, ..] = *value else {
        return None;
    };
    let class = u16::from(class & 7);
    ((3..=6).contains(&class) && number < 100).then_some(class * 100 + u16::from(number))
}

/// RFC 8489 §14.2
fn read_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let mut reader = Reader(value);
    let _reserved = reader.u8()?;
    let family = reader.u8()?;
    let [p0, p1] = reader.array()?;
    let port = u16::from_be_bytes([p0 ^ MAGIC_COOKIE[0], p1 ^ MAGIC_COOKIE[1]]);
    let address = match (family, reader.0.len()) {
        (1, 4) => SocketAddr::from((xor(reader.array::<4>()?, transaction), port)),
        (2, 16) => SocketAddr::from((xor(reader.array::<16>()?, transaction), port)),
        _ => return None,
    };
    Some(address)
}

/// An address, or what stands for it in the attribute.
pub(super) fn xor<const N: usize>(mut address: [u8; N], transaction: &TransactionId) -> [u8; N] {
    let mask = MAGIC_COOKIE.iter().chain(transaction);
    address
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    address
}

/// Attributes of a request that is answered with 420 (RFC 8489 §6.3.1).
pub const UNKNOWN_MAX: usize = 8;

/// The first [`UNKNOWN_MAX`] types of attributes that are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnknownAttributes {
    types: [u16; UNKNOWN_MAX],
    len: usize,
}

impl UnknownAttributes {
    fn push(&mut self, kind: u16) {
        if let Some(free) = self.types.get_mut(self.len) {
            *free = kind;
            self.len += 1;
        }
    }

    /// Their types.
    #[must_use]
    pub fn types(&self) -> &[u16] {
        self.types.get(..self.len).unwrap_or_default()
    }
}
