//! FINGERPRINT (RFC 8489 §14.7): CRC-32 of a message, by which it is told from other protocols.

const POLYNOMIAL: u32 = 0xEDB8_8320;
const XOR: u32 = 0x5354_554E;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The value of the attribute for a message whose bytes before the attribute are these.
pub(super) fn of(message: &[u8]) -> u32 {
    let crc = message.iter().fold(u32::MAX, |crc, byte| {
        let index = (crc.to_le_bytes()[0] ^ byte) as usize;
        TABLE[index] ^ (crc >> 8)
    });
    !crc ^ XOR
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_crc_32_comes_out() {
        assert_eq!(super::of(b"123456789") ^ super::XOR, 0xCBF4_3926);
    }
}
