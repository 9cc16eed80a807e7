//! `a=fingerprint`: the digest of a certificate (RFC 8122 §5).
//!
//! Must not know: certificates.

use std::fmt;

/// A digest of a certificate and the hash function it was made with. MD5 and MD2 are left out:
/// RFC 8122 §5 forbids them. SHA-1 stays, because a certificate that has a given digest of SHA-1 is
/// as far out of reach as ever (only two of the same digest can be made), and old devices know no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Fingerprint {
    Sha1([u8; 20]),
    Sha224([u8; 28]),
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:…`, in either case. `None` when the hash function is another one, or the
    /// digest has the wrong length.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let hash = words.next()?.to_ascii_lowercase();
        let hex = words.next()?;
        match hash.as_str() {
            "sha-1" => digest(hex).map(Self::Sha1),
            "sha-224" => digest(hex).map(Self::Sha224),
            "sha-256" => digest(hex).map(Self::Sha256),
            "sha-384" => digest(hex).map(Self::Sha384),
            "sha-512" => digest(hex).map(Self::Sha512),
            _ => None,
        }
    }

    /// The digest.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha224(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// Whether its hash function is a stronger one than the other's.
    pub(super) const fn is_stronger_than(&self, other: &Self) -> bool {
        self.bytes().len() > other.bytes().len()
    }

    const fn hash(&self) -> &'static str {
        match self {
            Self::Sha1(_) => "sha-1",
            Self::Sha224(_) => "sha-224",
            Self::Sha256(_) => "sha-256",
            Self::Sha384(_) => "sha-384",
            Self::Sha512(_) => "sha-512",
        }
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(sha256: [u8; 32]) -> Self {
        Self::Sha256(sha256)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash())?;
        for (index, byte) in self.bytes().iter().enumerate() {
            f.write_str(if index == 0 { " " } else { ":" })?;
            write!(f, "{byte:02X}")?;
        }
        Ok(())
    }
}

/// `AB:CD:…` with exactly as many bytes.
fn digest<const LEN: usize>(hex: &str) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let mut parts = hex.split(':');
    for byte in &mut bytes {
        let two_digits = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        let part = parts.next().filter(two_digits)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}
