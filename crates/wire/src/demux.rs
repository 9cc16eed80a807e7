//! Which protocol a datagram belongs to, by its first bytes (RFC 7983 §7, RFC 5761 §4).

/// The protocols that share one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// First byte 0..=3.
    Stun,
    /// First byte 20..=63.
    Dtls,
    /// First byte 64..=79.
    TurnChannel,
    /// First byte 128..=191 and second byte outside of 192..=223.
    Rtp,
    /// First byte 128..=191 and second byte within 192..=223.
    Rtcp,
    /// Anything else, ZRTP among it: to be dropped.
    Unknown,
}

/// Classifies a datagram. Nothing behind the second byte is looked at.
#[must_use]
#[inline]
pub fn classify(data: &[u8]) -> Class {
    match data {
        [128..=191, 192..=223, ..] => Class::Rtcp,
        [128..=191, ..] => Class::Rtp,
        [0..=3, ..] => Class::Stun,
        [20..=63, ..] => Class::Dtls,
        [64..=79, ..] => Class::TurnChannel,
        _ => Class::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_follow_rfc_7983() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Dtls,
                64..=79 => Class::TurnChannel,
                128..=191 => Class::Rtp,
                _ => Class::Unknown,
            };
            assert_eq!(classify(&[first, 96]), expected, "{first}");
        }
        assert_eq!(classify(&[]), Class::Unknown);
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        assert_eq!(classify(&[0x80, 200]), Class::Rtcp);
        assert_eq!(classify(&[0x80, 191]), Class::Rtp);
        // Payload type 96 with the marker bit.
        assert_eq!(classify(&[0x80, 0xE0]), Class::Rtp);
        assert_eq!(classify(&[0x16, 200]), Class::Dtls);
    }
}
