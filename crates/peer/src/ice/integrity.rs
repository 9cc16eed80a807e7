//! What needs a password or a secret: MESSAGE-INTEGRITY (RFC 8489 §14.5) and transaction ids, both by
//! HMAC-SHA1 of the crypto library.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use wire::stun::{Message, TransactionId, Writer};

/// No message begins so: the first two bits of a STUN header are zero.
const TRANSACTION_LABEL: &[u8] = b"transaction";

/// Whether whoever wrote the message knew the password.
pub(super) fn is_authentic(message: &Message<'_>, password: &str) -> bool {
    message.is_authentic(|parts, tag| verify_slices_are_equal(&hmac_sha1(password, parts), tag).is_ok())
}

/// The finished message.
pub(super) fn sign(message: Writer, password: &str) -> Vec<u8> {
    message.sign(|bytes| hmac_sha1(password, &[bytes]))
}

/// Transaction ids that nobody can foresee who does not know our password (RFC 8489 §5), and that are
/// the same with the same seed.
#[derive(Debug)]
pub(super) struct Transactions {
    seed: u64,
    next: u64,
}

impl Transactions {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, next: 0 }
    }

    pub(super) fn draw(&mut self, password: &str) -> TransactionId {
        let (seed, number) = (self.seed.to_be_bytes(), self.next.to_be_bytes());
        self.next += 1;
        let tag = hmac_sha1(password, &[TRANSACTION_LABEL, &seed, &number]);
        *tag.first_chunk().expect("20 bytes are more than 12")
    }
}

fn hmac_sha1(password: &str, parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    let tag = context.sign();
    tag.as_ref().try_into().expect("HMAC-SHA1 yields 20 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_sha1_matches_rfc_2202_case_2() {
        let tag = hmac_sha1("Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(tag[16..], [0x25, 0x9a, 0x7c, 0x79]);
    }

    #[test]
    fn transaction_ids_follow_from_the_seed_and_differ() {
        let draw = |seed| {
            let mut transactions = Transactions::new(seed);
            [transactions.draw("password"), transactions.draw("password")]
        };
        assert_eq!(draw(1), draw(1));
        let [first, second] = draw(1);
        assert_ne!(first, second);
        assert_ne!(first, draw(2)[0]);
    }
}
