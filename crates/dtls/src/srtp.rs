//! What a handshake settles for SRTP (RFC 5764 §4.1.2, RFC 7714 §14.2).
//!
//! Must not know: how packets are protected.

use std::fmt;

/// A protection profile that Plenum speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    non_camel_case_types,
    missing_docs,
    reason = "the names are the specifications'"
)]
pub enum SrtpProfile {
    AES128_CM_SHA1_80,
    AEAD_AES_128_GCM,
    AEAD_AES_256_GCM,
}

impl SrtpProfile {
    pub(crate) const fn from_id(id: u64) -> Option<Self> {
        match id {
            0x0001 => Some(Self::AES128_CM_SHA1_80),
            0x0007 => Some(Self::AEAD_AES_128_GCM),
            0x0008 => Some(Self::AEAD_AES_256_GCM),
            _ => None,
        }
    }

    /// Bytes of keys and salts of both sides.
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        match self {
            Self::AES128_CM_SHA1_80 => 2 * (16 + 14),
            Self::AEAD_AES_128_GCM => 2 * (16 + 12),
            Self::AEAD_AES_256_GCM => 2 * (32 + 12),
        }
    }
}

/// Client key, server key, client salt, server salt (RFC 5764 §4.2).
pub struct KeyingMaterial(pub(crate) Vec<u8>);

impl std::ops::Deref for KeyingMaterial {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyingMaterial").finish_non_exhaustive()
    }
}
