//! The room's only randomness: SplitMix64 (Steele, Lea, Flood 2014), seeded by the shell. Good
//! enough for names, keys and SSRCs; ICE passwords and trailers get their strength from the seed
//! that the shell draws and from never being shown beside each other's neighbours.

/// A pseudo-random stream.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 2],
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            state: [seed, seed.rotate_left(32) ^ 0xA076_1D64_78BD_642F],
        }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let [a, b] = &mut self.state;
        *a = a.wrapping_add(0x9E37_79B9_7F4A_7C15);
        *b = b.wrapping_add(0xE703_7ED1_A0B4_28DB | 1);
        mix(*a) ^ mix(*b).rotate_left(23)
    }

    pub(crate) fn next_u128(&mut self) -> u128 {
        (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64())
    }

    /// `length` letters and digits: valid ICE characters (RFC 8445 §5.3) and base62.
    pub(crate) fn text(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..length)
            .map(|_| {
                let index = usize::try_from(self.next_u64() % 62).expect("below 62");
                char::from(ALPHABET[index])
            })
            .collect()
    }

    /// A SID with `prefix`.
    pub(crate) fn sid(&mut self, prefix: &str) -> String {
        protocol::ids::sid(prefix, self.next_u128())
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_stream_and_other_seed_another() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            (random.next_u64(), random.text(8), random.sid("PA_"))
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
