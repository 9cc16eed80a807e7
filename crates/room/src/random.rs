//! The randomness of a room and of its negotiations: ChaCha20 (RFC 8439) over 256 bits that the shell
//! draws from the operating system.
//!
//! Owns: two streams of one key. What participants are shown (SIDs, SSRCs, session ids) comes from the
//! one, what must stay secret (ICE passwords, trailers, further keys) from the other, and neither can be
//! computed from the other without the key.

use media::api::{IceCredentials, ThreadId, make_ufrag};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a generator begins with. Everything secret comes from it, so that it shows itself to nobody.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Of 256 bits that nobody can guess.
    #[must_use]
    pub const fn new(bits: [u8; 32]) -> Self {
        Self(bits)
    }
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Which of the two streams.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
enum Stream {
    Secrets = 0,
    Ids = 1,
}

/// A pseudo-random generator. It keeps a key and two positions instead of blocks drawn ahead: every peer
/// has one, and draws rarely.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    key: Seed,
    /// Words of 32 bits drawn from each stream.
    drawn: [u64; 2],
}

impl Random {
    pub(crate) const fn new(key: Seed) -> Self {
        Self { key, drawn: [0; 2] }
    }

    fn fill(&mut self, stream: Stream, out: &mut [u8]) {
        let mut rng = ChaCha20Rng::from_seed(self.key.0);
        rng.set_stream(stream as u64);
        let drawn = &mut self.drawn[stream as usize];
        rng.set_word_pos(u128::from(*drawn));
        rng.fill_bytes(out);
        *drawn += out.len().div_ceil(4) as u64;
    }

    /// A number that may be shown.
    pub(crate) fn id(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(Stream::Ids, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A longer number that may be shown.
    pub(crate) fn long_id(&mut self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(Stream::Ids, &mut bytes);
        u128::from_le_bytes(bytes)
    }

    /// A SID with `prefix`.
    pub(crate) fn sid(&mut self, prefix: &str) -> String {
        protocol::ids::sid(prefix, self.long_id())
    }

    /// The seed of something that has secrets of its own.
    pub(crate) fn seed(&mut self) -> Seed {
        let mut bits = [0; 32];
        self.fill(Stream::Secrets, &mut bits);
        Seed(bits)
    }

    /// The same for what takes a shorter one.
    pub(crate) fn short_seed(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(Stream::Secrets, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// `length` secret letters and digits, of 5.95 bits each: valid in ICE (RFC 8839 §5.4) and base62.
    pub(crate) fn secret(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut bytes = vec![0; length * 4];
        self.fill(Stream::Secrets, &mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        let letter = |word: &[u8; 4]| char::from(ALPHABET[(u32::from_le_bytes(*word) % 62) as usize]);
        words.iter().map(letter).collect()
    }

    /// What a peer on a media thread is known by and proves itself with: 83 and 190 bits, where
    /// RFC 8445 §5.3 asks for 24 and 128.
    pub(crate) fn ice_credentials(&mut self, thread: ThreadId) -> IceCredentials {
        IceCredentials {
            ufrag: make_ufrag(thread, &self.secret(14)),
            pwd: self.secret(32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_same_key_gives_the_same_and_another_one_other_numbers() {
        let draw = |key| {
            let mut random = Random::new(Seed([key; 32]));
            (random.id(), random.secret(8), random.sid("PA_"))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn secrets_do_not_depend_on_what_was_shown() {
        let mut shown = Random::new(Seed([7; 32]));
        for _ in 0..100 {
            shown.id();
        }
        let mut other = Random::new(Seed([7; 32]));
        assert_eq!(shown.secret(32), other.secret(32));
        assert_eq!(shown.seed().0, other.seed().0);
        assert_ne!(shown.id(), other.id());
    }

    #[test]
    fn nothing_is_drawn_twice() {
        let mut random = Random::new(Seed([7; 32]));
        let seeds: BTreeSet<[u8; 32]> = (0..1_000).map(|_| random.seed().0).collect();
        assert_eq!(seeds.len(), 1_000);
        let ids: BTreeSet<u64> = (0..1_000).map(|_| random.id()).collect();
        assert_eq!(ids.len(), 1_000);
        // The streams are not one behind the other, either.
        let mut bytes = [0; 8];
        random.drawn = [0; 2];
        random.fill(Stream::Secrets, &mut bytes);
        assert!(!ids.contains(&u64::from_le_bytes(bytes)));
    }

    #[test]
    fn debug_output_has_no_key() {
        assert_eq!(
            format!("{:?}", Random::new(Seed([7; 32]))),
            "Random { key: Seed(..), drawn: [0, 0] }"
        );
    }

    /// RFC 8439 §2.4.2 has a nonce that this layout has not; Appendix A.1, test vector 1, has none.
    #[test]
    fn the_generator_is_chacha20() {
        let mut random = Random::new(Seed([0; 32]));
        let mut bytes = [0; 8];
        random.fill(Stream::Secrets, &mut bytes);
        assert_eq!(bytes, [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
    }
}
