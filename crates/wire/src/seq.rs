//! Serial-number arithmetic (RFC 1982) for 16-bit RTP sequence numbers and 32-bit timestamps.

/// Extends a wrapping 16-bit number to the 64-bit value nearest to `reference`.
///
/// `reference` is the highest extended number seen so far. The first number of a stream is
/// extended against itself plus one cycle, so that an early reordering cannot go below zero:
/// start with `u64::from(seq) + 0x1_0000`.
#[must_use]
pub const fn extend_16(reference: u64, seq: u16) -> u64 {
    let low = reference as u16;
    let ahead = seq.wrapping_sub(low);
    if ahead < 0x8000 {
        reference.wrapping_add(ahead as u64)
    } else {
        reference.wrapping_sub(low.wrapping_sub(seq) as u64)
    }
}

/// Extends a wrapping 32-bit number to the 64-bit value nearest to `reference`.
#[must_use]
pub const fn extend_32(reference: u64, value: u32) -> u64 {
    let low = reference as u32;
    let ahead = value.wrapping_sub(low);
    if ahead < 0x8000_0000 {
        reference.wrapping_add(ahead as u64)
    } else {
        reference.wrapping_sub(low.wrapping_sub(value) as u64)
    }
}

/// Whether `a` comes after `b` in 16-bit serial order (RFC 1982 §3.2).
#[must_use]
pub const fn newer_16(a: u16, b: u16) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000
}

/// Whether `a` comes after `b` in 32-bit serial order (RFC 1982 §3.2).
#[must_use]
pub const fn newer_32(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 0x8000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_follows_the_nearest_cycle() {
        assert_eq!(extend_16(0x1_FFFF, 0), 0x2_0000);
        assert_eq!(extend_16(0x2_0000, 0xFFFF), 0x1_FFFF);
        assert_eq!(extend_16(0x1_0005, 9), 0x1_0009);
        assert_eq!(extend_32(0x1_FFFF_FFFF, 3), 0x2_0000_0003);
    }

    #[test]
    fn newer_wraps() {
        assert!(newer_16(0, 0xFFFF));
        assert!(!newer_16(0xFFFF, 0));
        assert!(!newer_16(7, 7));
        assert!(newer_32(5, 0xFFFF_FFF0));
    }
}
