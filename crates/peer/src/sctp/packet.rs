//! The outside of SCTP packets (RFC 9260 §3): a common header and chunks, and a checksum.
//!
//! Must not know: what any chunk means.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! |          source port          |       destination port        |
//! |                       verification tag                        |
//! |                           checksum                            |
//! |     type      |     flags     |            length             | ┐ each chunk, filled up to
//! |                              value                            | ┘ a multiple of four bytes
//! ```

pub(super) const COMMON_HEADER_LEN: usize = 12;

// RFC 9260 §3.2, RFC 6525 §3.1, RFC 3758 §3.2, RFC 8260 §2.3.1
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const INIT_ACK: u8 = 2;
pub(super) const SACK: u8 = 3;
pub(super) const HEARTBEAT: u8 = 4;
pub(super) const ABORT: u8 = 6;
pub(super) const SHUTDOWN: u8 = 7;
pub(super) const SHUTDOWN_ACK: u8 = 8;
pub(super) const ERROR: u8 = 9;
pub(super) const COOKIE_ECHO: u8 = 10;
pub(super) const COOKIE_ACK: u8 = 11;
pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
pub(super) const RE_CONFIG: u8 = 130;
pub(super) const FORWARD_TSN: u8 = 192;
pub(super) const I_FORWARD_TSN: u8 = 194;

/// The chunks of a packet with their padding, none shorter than a chunk header.
pub(super) fn chunks(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data.get(COMMON_HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [_, _, high, low, ..] = rest else { return None };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (chunk, after) = rest.split_at(len.max(4).next_multiple_of(4).min(rest.len()));
        rest = after;
        Some(chunk)
    })
}

pub(super) fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

pub(super) fn short(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Puts the checksum in place.
pub(crate) fn sign(packet: &mut [u8]) {
    let checksum = checksum(packet);
    packet[8..COMMON_HEADER_LEN].copy_from_slice(&checksum);
}

/// Whether a packet has a whole header and the checksum that it should.
pub(super) fn is_signed(packet: &[u8]) -> bool {
    let found = packet.get(8..COMMON_HEADER_LEN);
    found.is_some_and(|found| found == checksum(packet))
}

/// CRC32c as if its own place were zero (RFC 9260 appendix A), of a packet with a whole header.
fn checksum(packet: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    let bytes = packet[..8]
        .iter()
        .chain(&[0; 4])
        .chain(&packet[COMMON_HEADER_LEN..]);
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    (!crc).to_le_bytes()
}
