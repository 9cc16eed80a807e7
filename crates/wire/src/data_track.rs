//! Packets of data tracks, as far as a server reads them: the handle that says which track it is,
//! as LiveKit's clients write it.
//!
//! ```text
//!  0                   1                   2                   3
//! |ver  |S|F|X|   |   reserved    |            handle             |
//! |        sequence number        |         frame number          |
//! |                       timestamp (90 kHz)                      |
//! ```

/// The header without extensions.
const HEADER_BYTES: usize = 12;
const HANDLE_AT: std::ops::Range<usize> = 2..4;

/// The handle of a packet; `None` when it has no whole header.
#[must_use]
pub fn handle(packet: &[u8]) -> Option<u16> {
    match packet.get(HANDLE_AT) {
        Some(&[high, low]) if packet.len() >= HEADER_BYTES => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// Writes another handle into a packet. One without a whole header is left as it is.
pub fn set_handle(packet: &mut [u8], handle: u16) {
    if packet.len() >= HEADER_BYTES
        && let Some(bytes) = packet.get_mut(HANDLE_AT)
    {
        bytes.copy_from_slice(&handle.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handle_is_read_and_written_and_nothing_else_changes() {
        let mut packet: Vec<u8> = (0..20).collect();
        assert_eq!(handle(&packet), Some(0x0203));
        set_handle(&mut packet, 0xABCD);
        assert_eq!(handle(&packet), Some(0xABCD));
        assert_eq!((&packet[..2], &packet[4..6]), (&[0, 1][..], &[4, 5][..]));
    }

    #[test]
    fn what_is_too_short_for_a_header_has_no_handle() {
        for len in 0..HEADER_BYTES {
            let mut packet = vec![9; len];
            assert_eq!(handle(&packet), None);
            set_handle(&mut packet, 1);
            assert_eq!(packet, vec![9; len]);
        }
        assert_eq!(handle(&[9; HEADER_BYTES]), Some(0x0909));
    }
}
