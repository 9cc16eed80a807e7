//! SRTP and SRTCP: RFC 3711 (AES-CM with HMAC-SHA1-80) and RFC 7714 (AES-GCM), keyed by DTLS
//! (RFC 5764 §4.2).
//!
//! Owns key derivation, the cached key schedules, packet protection in place, and the indices of
//! outgoing packets: an index that was used is never used again for other bytes, because a repeated
//! GCM nonce gives the authentication key away. Must not know: streams, time.
//!
//! Incoming packets are authenticated, but old ones are let through: bandwidth probes send them
//! again on purpose. Duplicates are found per stream, above.

mod cipher;
mod index;
mod kdf;
#[cfg(test)]
mod tests;

use aws_lc_rs::error::Unspecified;
use cipher::Cipher;
pub(crate) use index::{IncomingIndex, OutgoingIndex, OutgoingSsrcs, Use};
use kdf::Derivation;
use wire::rtp::Header;

/// The most that protection adds to an RTP packet, in bytes.
pub(crate) const RTP_OVERHEAD_MAX: usize = cipher::GCM_TAG_LEN;
/// The most that protection adds to an RTCP packet, in bytes: a tag and the index word.
pub(crate) const RTCP_OVERHEAD_MAX: usize = cipher::GCM_TAG_LEN + INDEX_WORD_LEN;

const INDEX_WORD_LEN: usize = 4;
/// The encryption flag of the SRTCP index word (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;
/// The part of an RTCP packet that stays readable: the first header and the sender's SSRC.
const RTCP_HEADER_LEN: usize = 8;

/// Both directions of one DTLS association.
#[derive(Debug)]
pub(crate) struct Srtp {
    outgoing: Keys,
    incoming: Keys,
    /// Index of the next outgoing SRTCP packet. One for all SSRCs: unique per SSRC follows.
    rtcp_index: u32,
}

/// Session keys of one direction. RTP and RTCP keys differ (RFC 3711 §4.3).
#[derive(Debug)]
struct Keys {
    rtp: Cipher,
    rtcp: Cipher,
}

impl Srtp {
    /// Derives all keys from DTLS keying material (RFC 5764 §4.2: client key, server key, client
    /// salt, server salt). `None` when the material is too short.
    pub(crate) fn new(profile: ::dtls::SrtpProfile, material: &[u8], client: bool) -> Option<Self> {
        let (key_len, salt_len) = cipher::master_lengths(profile);
        let (client_key, rest) = material.split_at_checked(key_len)?;
        let (server_key, rest) = rest.split_at_checked(key_len)?;
        let (client_salt, rest) = rest.split_at_checked(salt_len)?;
        let server_salt = rest.get(..salt_len)?;
        let client_keys = Keys::new(profile, client_key, client_salt).ok()?;
        let server_keys = Keys::new(profile, server_key, server_salt).ok()?;
        let (outgoing, incoming) = if client {
            (client_keys, server_keys)
        } else {
            (server_keys, client_keys)
        };
        Some(Self {
            outgoing,
            incoming,
            rtcp_index: 0,
        })
    }

    /// Protects one RTP packet in place: `buffer` holds `plain_len` bytes of packet, of which the
    /// first `header_len` are header, and room for the tag. Returns the protected length.
    ///
    /// `index` comes from [`OutgoingIndex::claim`]: that is where uniqueness is guarded.
    pub(crate) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        plain_len: usize,
    ) -> Option<usize> {
        self.outgoing
            .rtp
            .seal_rtp(ssrc, index, buffer, header_len, plain_len)
    }

    /// Reads what sealing a packet needs; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.outgoing.rtp.warm()
    }

    /// Authenticates and decrypts one RTP packet in place; returns the length of header and
    /// payload. On `None` the bytes behind the header are garbage.
    pub(crate) fn open_rtp(&self, header: &Header, index: u64, data: &mut [u8]) -> Option<usize> {
        self.incoming
            .rtp
            .open_rtp(header.ssrc, index, data, usize::from(header.payload_start))
    }

    /// Protects one (compound) RTCP packet in place, with the next SRTCP index. `None` when it is
    /// not an RTCP packet, the buffer lacks room, or the 2³¹ packets of one key are used up.
    pub(crate) fn seal_rtcp(&mut self, buffer: &mut [u8], plain_len: usize) -> Option<usize> {
        let index = self.rtcp_index;
        if index >= ENCRYPTED {
            return None;
        }
        self.rtcp_index += 1;
        self.outgoing.rtcp.seal_rtcp(index, buffer, plain_len)
    }

    /// Authenticates and decrypts one RTCP packet in place; returns the length of the plain packet.
    pub(crate) fn open_rtcp(&self, data: &mut [u8]) -> Option<usize> {
        self.incoming.rtcp.open_rtcp(data)
    }
}

impl Keys {
    fn new(profile: ::dtls::SrtpProfile, master_key: &[u8], master_salt: &[u8]) -> Result<Self, Unspecified> {
        let derivation = Derivation::new(master_key, master_salt)?;
        Ok(Self {
            rtp: Cipher::new(profile, &derivation, kdf::RTP)?,
            rtcp: Cipher::new(profile, &derivation, kdf::RTCP)?,
        })
    }
}
