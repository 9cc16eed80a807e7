//! RTP fixed header (RFC 3550 §5.1), read in place and written in place.

use core::ops::Range;

/// Length of the fixed header without CSRCs, in bytes.
pub const HEADER_LEN: usize = 12;

/// A parsed RTP header. Ranges index the datagram that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit; its meaning is the payload format's.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media timestamp in clock-rate units.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Whether the padding bit is set. Padding is inside the SRTP-encrypted part: its length is
    /// known only after decryption, see [`payload`].
    pub padding: bool,
    /// RFC 8285 profile word (`0xBEDE` one-byte, `0x100x` two-byte), 0 when there is no extension.
    pub extension_profile: u16,
    /// First byte of the extension elements (behind the 4-byte extension header).
    pub extension_start: u16,
    /// Length of the extension elements in bytes.
    pub extension_len: u16,
    /// First byte behind the header, CSRCs and extensions.
    pub payload_start: u16,
}

impl Header {
    /// Parses the header of one datagram. `None` when it is not a whole RTP header of version 2.
    #[must_use]
    #[inline]
    pub fn parse(data: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER_LEN] = data.first_chunk()?;
        let [b0, b1, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3] = *fixed;
        if b0 >> 6 != 2 || data.len() > usize::from(u16::MAX) {
            return None;
        }
        let mut at = HEADER_LEN + usize::from(b0 & 0x0F) * 4;
        let (mut profile, mut start, mut len) = (0, 0, 0);
        if b0 & 0x10 != 0 {
            let [p0, p1, l0, l1] = *data.get(at..)?.first_chunk::<4>()?;
            profile = u16::from_be_bytes([p0, p1]);
            start = at + 4;
            len = usize::from(u16::from_be_bytes([l0, l1])) * 4;
            at = start + len;
        }
        if at > data.len() {
            return None;
        }
        Some(Self {
            marker: b1 & 0x80 != 0,
            payload_type: b1 & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([r0, r1, r2, r3]),
            padding: b0 & 0x20 != 0,
            extension_profile: profile,
            extension_start: start as u16,
            extension_len: len as u16,
            payload_start: at as u16,
        })
    }

    /// The extension elements' bytes within `data`, the datagram that was parsed.
    #[must_use]
    pub fn extension_bytes<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.extension_start);
        data.get(start..start + usize::from(self.extension_len))
            .unwrap_or(&[])
    }
}

/// The payload's range within `plain`, a decrypted packet (no authentication tag), without padding.
/// `None` when the padding length is zero or larger than the payload (RFC 3550 §5.1).
#[must_use]
pub fn payload(header: &Header, plain: &[u8]) -> Option<Range<usize>> {
    let start = usize::from(header.payload_start);
    let mut end = plain.len();
    if header.padding {
        let count = usize::from(*plain.last()?);
        if count == 0 || count > end.checked_sub(start)? {
            return None;
        }
        end -= count;
    }
    (start <= end).then_some(start..end)
}

/// Whether a datagram is RTCP rather than RTP (RFC 5761 §4): second byte 192..=223.
#[must_use]
pub fn is_rtcp(data: &[u8]) -> bool {
    matches!(data.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_extensions_and_padding() {
        let mut packet = vec![0xB0, 0xE0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7];
        packet.extend([0xBE, 0xDE, 0, 1, 0x10, 0x7F, 0, 0]);
        packet.extend([1, 2, 3, 0, 2]);
        let header = Header::parse(&packet).expect("whole header");
        assert!(header.marker && header.padding);
        assert_eq!(
            (header.payload_type, header.sequence, header.ssrc),
            (0x60, 0x1234, 7)
        );
        assert_eq!(header.extension_bytes(&packet), [0x10, 0x7F, 0, 0]);
        assert_eq!(payload(&header, &packet), Some(20..23));
    }

    #[test]
    fn refuses_short_and_overlong() {
        assert_eq!(Header::parse(&[0x80; 11]), None);
        assert_eq!(Header::parse(&[0x8F; 40]), None);
        let mut padded = [0u8; 13];
        padded[0] = 0xA0;
        padded[12] = 9;
        let header = Header::parse(&padded).expect("whole header");
        assert_eq!(payload(&header, &padded), None);
    }
}
