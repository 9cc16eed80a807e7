//! HMAC-SHA1 for STUN's MESSAGE-INTEGRITY (RFC 8489 §14.5), by the crypto library of the rest.

use aws_lc_rs::hmac;

/// The provider that the ICE agent calls.
#[derive(Debug)]
pub(super) struct AwsLc;

impl is::Sha1HmacProvider for AwsLc {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        for payload in payloads {
            context.update(payload);
        }
        let tag = context.sign();
        tag.as_ref().try_into().expect("HMAC-SHA1 yields 20 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::AwsLc;
    use is::Sha1HmacProvider;

    #[test]
    fn hmac_sha1_matches_rfc_2202_case_2() {
        let tag = AwsLc.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(tag[..4], [0xef, 0xfc, 0xdf, 0x6a]);
        assert_eq!(tag[16..], [0x25, 0x9a, 0x7c, 0x79]);
    }
}
