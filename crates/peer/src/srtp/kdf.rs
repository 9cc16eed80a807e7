//! Session keys from a master key (RFC 3711 §4.3; RFC 6188 §3 for 256-bit keys; RFC 7714 §11).

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;

/// The three labels of one kind of packet (RFC 3711 §4.3.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Labels {
    pub(super) encryption: u8,
    pub(super) authentication: u8,
    pub(super) salt: u8,
}

pub(super) const RTP: Labels = Labels {
    encryption: 0,
    authentication: 1,
    salt: 2,
};
pub(super) const RTCP: Labels = Labels {
    encryption: 3,
    authentication: 4,
    salt: 5,
};

/// The pseudo-random function of RFC 3711 §4.3.3 with its key; the key derivation rate is 0.
pub(super) struct Derivation {
    key: EncryptingKey,
    /// The master salt times 2¹⁶: a counter block whose label is still to be mixed in. The 96-bit
    /// salts of RFC 7714 are padded with zeros on the right.
    salt: [u8; 16],
}

impl Derivation {
    pub(super) fn new(master_key: &[u8], master_salt: &[u8]) -> Result<Self, Unspecified> {
        let mut salt = [0; 16];
        salt.get_mut(..master_salt.len())
            .ok_or(Unspecified)?
            .copy_from_slice(master_salt);
        Ok(Self {
            key: counter_mode(master_key)?,
            salt,
        })
    }

    /// Derives `N` bytes for a label.
    pub(super) fn derive<const N: usize>(&self, label: u8) -> Result<[u8; N], Unspecified> {
        let mut block = self.salt;
        block[7] ^= label;
        let mut output = [0; N];
        self.key
            .less_safe_encrypt(&mut output, EncryptionContext::Iv128(FixedLength::from(block)))?;
        Ok(output)
    }
}

/// AES in counter mode with its key schedule, by the length of the key.
pub(super) fn counter_mode(key: &[u8]) -> Result<EncryptingKey, Unspecified> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key)?)
}
