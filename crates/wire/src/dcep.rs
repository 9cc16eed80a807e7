//! Data channel establishment protocol (RFC 8832 §5) and the payload protocol identifiers of data
//! channels (RFC 8831 §8).
//!
//! ```text
//! open: | 3 | channel type: 8 | priority: 16 | reliability: 32 |
//!       | label length: 16 | protocol length: 16 | label … | protocol … |
//! ack:  | 2 |
//! ```

use crate::bytes::Reader;

/// Payload protocol identifier of these messages.
pub const PPID_DCEP: u32 = 50;
/// Payload protocol identifier of text.
pub const PPID_STRING: u32 = 51;
/// Payload protocol identifier of bytes.
pub const PPID_BINARY: u32 = 53;
/// Payload protocol identifier of empty text, sent as one zero byte.
pub const PPID_STRING_EMPTY: u32 = 56;
/// Payload protocol identifier of no bytes, sent as one zero byte.
pub const PPID_BINARY_EMPTY: u32 = 57;

/// The whole acknowledgement.
pub const ACK: [u8; 1] = [2];

const TYPE_ACK: u8 = 2;
const TYPE_OPEN: u8 = 3;
const UNORDERED: u8 = 0x80;
const HEADER_LEN: usize = 12;

/// How long delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Until it succeeds.
    Reliable,
    /// At most so many retransmissions.
    Retransmits(u32),
    /// At most so many milliseconds.
    LifetimeMs(u32),
}

/// Request to open a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// In-order delivery.
    pub ordered: bool,
    /// Reliability.
    pub reliability: Reliability,
    /// Priority (RFC 8831 §6.4); browsers send 256 for normal.
    pub priority: u16,
    /// Label.
    pub label: &'a str,
    /// Subprotocol.
    pub protocol: &'a str,
}

/// A message of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The channel may be used.
    Ack,
    /// A channel is opened on the stream on which this came.
    Open(Open<'a>),
}

impl<'a> Message<'a> {
    /// Reads a message. `None` when it is cut off, of an unknown type or channel type, or its texts
    /// are not UTF-8.
    #[must_use]
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(data);
        match reader.u8()? {
            TYPE_ACK => Some(Self::Ack),
            TYPE_OPEN => Open::parse(&mut reader).map(Self::Open),
            _ => None,
        }
    }
}

impl<'a> Open<'a> {
    fn parse(reader: &mut Reader<'a>) -> Option<Self> {
        let kind = reader.u8()?;
        let priority = reader.u16()?;
        let parameter = reader.u32()?;
        let label_len = usize::from(reader.u16()?);
        let protocol_len = usize::from(reader.u16()?);
        let reliability = match kind & !UNORDERED {
            0 => Reliability::Reliable,
            1 => Reliability::Retransmits(parameter),
            2 => Reliability::LifetimeMs(parameter),
            _ => return None,
        };
        Some(Self {
            ordered: kind & UNORDERED == 0,
            reliability,
            priority,
            label: core::str::from_utf8(reader.take(label_len)?).ok()?,
            protocol: core::str::from_utf8(reader.take(protocol_len)?).ok()?,
        })
    }

    /// Length when written, in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        HEADER_LEN + self.label.len() + self.protocol.len()
    }

    /// Always false: there is a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes it to the beginning of `out`; returns its length. `None` when it does not fit, or a
    /// text is longer than 65,535 bytes.
    #[must_use]
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::Retransmits(count) => (1, count),
            Reliability::LifetimeMs(time) => (2, time),
        };
        let order = if self.ordered { 0 } else { UNORDERED };
        let [p0, p1] = self.priority.to_be_bytes();
        let [r0, r1, r2, r3] = parameter.to_be_bytes();
        let [l0, l1] = u16::try_from(self.label.len()).ok()?.to_be_bytes();
        let [s0, s1] = u16::try_from(self.protocol.len()).ok()?.to_be_bytes();
        let header: [u8; HEADER_LEN] = [TYPE_OPEN, kind | order, p0, p1, r0, r1, r2, r3, l0, l1, s0, s1];
        let out = out.get_mut(..self.len())?;
        let (head, texts) = out.split_first_chunk_mut::<HEADER_LEN>()?;
        let (label, protocol) = texts.split_at_mut_checked(self.label.len())?;
        *head = header;
        label.copy_from_slice(self.label.as_bytes());
        protocol.copy_from_slice(self.protocol.as_bytes());
        Some(self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lossy_channel_has_its_known_bytes() {
        let open = Open {
            ordered: false,
            reliability: Reliability::Retransmits(0),
            priority: 0,
            label: "_lossy",
            protocol: "",
        };
        let mut out = [0xFF; 32];
        let len = open.write(&mut out).expect("fits");
        assert_eq!(out[..len], *b"\x03\x81\0\0\0\0\0\0\0\x06\0\0_lossy");
        assert_eq!(Message::parse(&out[..len]), Some(Message::Open(open)));
        assert_eq!(open.write(&mut out[..len - 1]), None);
    }

    #[test]
    fn acknowledgement() {
        assert_eq!(Message::parse(&ACK), Some(Message::Ack));
    }

    #[test]
    fn broken_messages_are_refused() {
        assert_eq!(Message::parse(&[]), None);
        assert_eq!(Message::parse(&[9]), None);
        assert_eq!(
            Message::parse(b"\x03\0\0\0\0\0\0\0\0\x02\0\0a"),
            None,
            "cut label"
        );
        assert_eq!(
            Message::parse(b"\x03\x03\0\0\0\0\0\0\0\0\0\0"),
            None,
            "unknown type"
        );
        assert_eq!(
            Message::parse(b"\x03\0\0\0\0\0\0\0\0\x01\0\0\xFF"),
            None,
            "label is not UTF-8"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            ordered: bool,
            priority: u16,
            kind in 0..3,
            parameter: u32,
            label in "\\PC{0,20}",
            protocol in "\\PC{0,20}",
        ) {
            let reliability = match kind {
                0 => Reliability::Reliable,
                1 => Reliability::Retransmits(parameter),
                _ => Reliability::LifetimeMs(parameter),
            };
            let open = Open { ordered, reliability, priority, label: &label, protocol: &protocol };
            let mut out = [0; 256];
            let len = open.write(&mut out).expect("fits");
            prop_assert_eq!(len, open.len());
            prop_assert_eq!(Message::parse(&out[..len]), Some(Message::Open(open)));
        }
    }
}
