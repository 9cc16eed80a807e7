//! SIDs: a prefix and 12 characters of the 57-character short-UUID alphabet.

/// Alphabet of the random part: no `0`, `1`, `I`, `O`, `l`.
pub const ALPHABET: &[u8; 57] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// Makes a SID from randomness that the caller provides (cores draw none themselves):
/// `sid("PA_", random)`.
#[must_use]
pub fn sid(prefix: &str, random: u128) -> String {
    let mut rest = random;
    let mut text = String::with_capacity(prefix.len() + 12);
    text.push_str(prefix);
    for _ in 0..12 {
        let index = usize::try_from(rest % 57).expect("below 57");
        text.push(char::from(ALPHABET[index]));
        rest /= 57;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sid_has_prefix_and_twelve_characters() {
        let text = sid("PA_", u128::MAX / 3);
        assert_eq!(text.len(), 15);
        assert!(text.starts_with("PA_"));
        assert!(text.bytes().skip(3).all(|b| ALPHABET.contains(&b)));
        assert_ne!(sid("PA_", 1), sid("PA_", 2));
    }
}
