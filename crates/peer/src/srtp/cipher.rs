//! Packet protection with session keys: in place, schedules cached, no allocation.
//!
//! ```text
//! SRTP:        | header (clear) | payload (encrypted) | tag |
//! SRTCP, GCM:  | 8 bytes clear  | rest (encrypted)    | tag 16 | E + index 4 |
//! SRTCP, CM:   | 8 bytes clear  | rest (encrypted)    | E + index 4 | tag 10 |
//! ```

use super::kdf::{Derivation, Labels, counter_mode};
use super::{ENCRYPTED, INDEX_WORD_LEN, RTCP_HEADER_LEN};
use ::dtls::SrtpProfile;
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};

pub(super) const GCM_TAG_LEN: usize = 16;
/// HMAC-SHA1 truncated to 80 bits (RFC 3711 §4.2.1).
const HMAC_TAG_LEN: usize = 10;

/// Lengths of master key and master salt (RFC 5764 §4.1.2, RFC 7714 §12).
pub(super) const fn master_lengths(profile: SrtpProfile) -> (usize, usize) {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => (16, 14),
        SrtpProfile::AEAD_AES_128_GCM => (16, 12),
        SrtpProfile::AEAD_AES_256_GCM => (32, 12),
    }
}

/// Session keys for one kind of packet in one direction.
#[derive(Debug)]
pub(super) enum Cipher {
    Gcm(Gcm),
    /// Boxed: its schedules are larger, and it is the one that is hardly negotiated.
    CounterMode(Box<CounterMode>),
}

#[derive(Debug)]
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; 12],
}

#[derive(Debug)]
pub(super) struct CounterMode {
    key: EncryptingKey,
    /// The session salt times 2¹⁶.
    salt: [u8; 16],
    authentication: hmac::Key,
}

impl Cipher {
    pub(super) fn new(
        profile: SrtpProfile,
        derivation: &Derivation,
        labels: Labels,
    ) -> Result<Self, Unspecified> {
        match profile {
            SrtpProfile::AES128_CM_SHA1_80 => Self::counter_mode(
                &derivation.derive(labels.encryption)?,
                &derivation.derive(labels.salt)?,
                &derivation.derive(labels.authentication)?,
            ),
            SrtpProfile::AEAD_AES_128_GCM => Self::gcm(
                &derivation.derive::<16>(labels.encryption)?,
                derivation.derive(labels.salt)?,
            ),
            SrtpProfile::AEAD_AES_256_GCM => Self::gcm(
                &derivation.derive::<32>(labels.encryption)?,
                derivation.derive(labels.salt)?,
            ),
        }
    }

    /// The key's length says which AES.
    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Result<Self, Unspecified> {
        let algorithm = if key.len() == 32 {
            &AES_256_GCM
        } else {
            &AES_128_GCM
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key)?);
        Ok(Self::Gcm(Gcm { key, salt }))
    }

    pub(super) fn counter_mode(
        key: &[u8; 16],
        session_salt: &[u8; 14],
        authentication: &[u8; 20],
    ) -> Result<Self, Unspecified> {
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(session_salt);
        Ok(Self::CounterMode(Box::new(CounterMode {
            key: counter_mode(key)?,
            salt,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication),
        })))
    }

    /// Reads what is at hand of the key; the value means nothing.
    pub(super) fn warm(&self) -> usize {
        match self {
            Self::Gcm(gcm) => usize::from(gcm.salt[0]),
            Self::CounterMode(cm) => usize::from(cm.salt[0]),
        }
    }

    #[inline]
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        buffer: &mut [u8],
        header_len: usize,
        plain_len: usize,
    ) -> Option<usize> {
        let (plain, room) = buffer.split_at_mut_checked(plain_len)?;
        match self {
            Self::Gcm(gcm) => {
                let tag_room = room.get_mut(..GCM_TAG_LEN)?;
                let (header, payload) = plain.split_at_mut_checked(header_len)?;
                gcm.key
                    .seal_in_place_scatter(
                        gcm.rtp_nonce(ssrc, index),
                        Aad::from(&*header),
                        payload,
                        &[],
                        tag_room,
                    )
                    .ok()?;
                Some(plain_len + GCM_TAG_LEN)
            }
            Self::CounterMode(cm) => {
                let tag_room = room.get_mut(..HMAC_TAG_LEN)?;
                cm.apply(cm.rtp_iv(ssrc, index), plain.get_mut(header_len..)?)?;
                tag_room.copy_from_slice(&cm.tag(plain, &rollover_bytes(index)));
                Some(plain_len + HMAC_TAG_LEN)
            }
        }
    }

    #[inline]
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        data: &mut [u8],
        header_len: usize,
    ) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => {
                let plain_len = data.len().checked_sub(GCM_TAG_LEN)?;
                let (header, payload) = data.split_at_mut_checked(header_len)?;
                gcm.key
                    .open_in_place(gcm.rtp_nonce(ssrc, index), Aad::from(&*header), payload)
                    .ok()?;
                Some(plain_len)
            }
            Self::CounterMode(cm) => {
                let plain_len = data.len().checked_sub(HMAC_TAG_LEN)?;
                let (packet, tag) = data.split_at_mut(plain_len);
                cm.verify(packet, &rollover_bytes(index), tag)?;
                cm.apply(cm.rtp_iv(ssrc, index), packet.get_mut(header_len..)?)?;
                Some(plain_len)
            }
        }
    }

    pub(super) fn seal_rtcp(&self, index: u32, buffer: &mut [u8], plain_len: usize) -> Option<usize> {
        let word = (ENCRYPTED | index).to_be_bytes();
        let (plain, room) = buffer.split_at_mut_checked(plain_len)?;
        let (header, body) = plain.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
        let ssrc = rtcp_ssrc(header);
        match self {
            Self::Gcm(gcm) => {
                let room = room.get_mut(..GCM_TAG_LEN + INDEX_WORD_LEN)?;
                let (tag_room, word_room) = room.split_at_mut(GCM_TAG_LEN);
                let (nonce, aad) = (gcm.rtcp_nonce(ssrc, index), rtcp_aad(header, word));
                gcm.key
                    .seal_in_place_scatter(nonce, Aad::from(aad), body, &[], tag_room)
                    .ok()?;
                word_room.copy_from_slice(&word);
                Some(plain_len + GCM_TAG_LEN + INDEX_WORD_LEN)
            }
            Self::CounterMode(cm) => {
                let room = room.get_mut(..INDEX_WORD_LEN + HMAC_TAG_LEN)?;
                let (word_room, tag_room) = room.split_at_mut(INDEX_WORD_LEN);
                cm.apply(cm.rtp_iv(ssrc, u64::from(index)), body)?;
                word_room.copy_from_slice(&word);
                tag_room.copy_from_slice(&cm.tag(plain, &word));
                Some(plain_len + INDEX_WORD_LEN + HMAC_TAG_LEN)
            }
        }
    }

    /// Refuses packets that are not encrypted (RFC 3711 §3.4 would allow them; nobody sends them).
    pub(super) fn open_rtcp(&self, data: &mut [u8]) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => {
                let (packet, &mut word) = data.split_last_chunk_mut::<INDEX_WORD_LEN>()?;
                let index = encrypted_index(word)?;
                let plain_len = packet.len().checked_sub(GCM_TAG_LEN)?;
                let (header, body) = packet.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
                let nonce = gcm.rtcp_nonce(rtcp_ssrc(header), index);
                gcm.key
                    .open_in_place(nonce, Aad::from(rtcp_aad(header, word)), body)
                    .ok()?;
                Some(plain_len)
            }
            Self::CounterMode(cm) => {
                let (packet, &mut tag) = data.split_last_chunk_mut::<HMAC_TAG_LEN>()?;
                let (plain, &mut word) = packet.split_last_chunk_mut::<INDEX_WORD_LEN>()?;
                let index = encrypted_index(word)?;
                cm.verify(plain, &word, &tag)?;
                let (header, body) = plain.split_first_chunk_mut::<RTCP_HEADER_LEN>()?;
                cm.apply(cm.rtp_iv(rtcp_ssrc(header), u64::from(index)), body)?;
                Some(RTCP_HEADER_LEN + body.len())
            }
        }
    }
}

impl Gcm {
    /// RFC 7714 §8.1.
    #[inline]
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        // 16 zero bits, then SSRC, rollover counter and sequence number.
        let block = (u128::from(ssrc) << 48) | u128::from(index & 0xFFFF_FFFF_FFFF);
        self.nonce(block)
    }

    /// RFC 7714 §9.1.
    fn rtcp_nonce(&self, ssrc: u32, index: u32) -> Nonce {
        self.nonce((u128::from(ssrc) << 48) | u128::from(index))
    }

    #[inline]
    fn nonce(&self, block: u128) -> Nonce {
        let mut nonce = self.salt;
        let [_, _, _, _, block @ ..] = block.to_be_bytes();
        for (byte, other) in nonce.iter_mut().zip(block) {
            *byte ^= other;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl CounterMode {
    /// RFC 3711 §4.1.1; for SRTCP the index has 31 bits (§3.4).
    #[inline]
    fn rtp_iv(&self, ssrc: u32, index: u64) -> EncryptionContext {
        let block = (u128::from(ssrc) << 64) | (u128::from(index & 0xFFFF_FFFF_FFFF) << 16);
        let iv = (u128::from_be_bytes(self.salt) ^ block).to_be_bytes();
        EncryptionContext::Iv128(FixedLength::from(iv))
    }

    /// Encrypts or decrypts: the same in counter mode.
    #[inline]
    fn apply(&self, iv: EncryptionContext, data: &mut [u8]) -> Option<()> {
        self.key.less_safe_encrypt(data, iv).ok().map(|_| ())
    }

    #[inline]
    fn tag(&self, packet: &[u8], suffix: &[u8; 4]) -> [u8; HMAC_TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.authentication);
        context.update(packet);
        context.update(suffix);
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("SHA-1 gives 20 bytes")
    }

    #[inline]
    fn verify(&self, packet: &[u8], suffix: &[u8; 4], tag: &[u8]) -> Option<()> {
        constant_time::verify_slices_are_equal(&self.tag(packet, suffix), tag).ok()
    }
}

fn rollover_bytes(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn rtcp_ssrc(header: &[u8; RTCP_HEADER_LEN]) -> u32 {
    let [_, _, _, _, ssrc @ ..] = *header;
    u32::from_be_bytes(ssrc)
}

/// RFC 7714 §9.2: the clear header and the index word.
fn rtcp_aad(header: &[u8; RTCP_HEADER_LEN], word: [u8; INDEX_WORD_LEN]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&word);
    aad
}

fn encrypted_index(word: [u8; INDEX_WORD_LEN]) -> Option<u32> {
    let word = u32::from_be_bytes(word);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}
