//! The Data Channel Establishment Protocol (RFC 8832 §5): two messages.

use crate::config::ChannelSpec;
use sctp_proto::ReliabilityType;

const ACK: u8 = 0x02;
const OPEN: u8 = 0x03;
const UNORDERED: u8 = 0x80;
/// Bytes before label and protocol.
const OPEN_LEN_MIN: usize = 12;
/// Longest label taken; LiveKit's are below 12 bytes.
const LABEL_LEN_MAX: usize = 1024;

/// The two messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dcep {
    Open(Open),
    Ack,
}

/// DATA_CHANNEL_OPEN without priority and protocol, which nothing here reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) label: String,
    pub(super) ordered: bool,
    pub(super) limit: Limit,
}

/// How long delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Reliable,
    Retransmits(u32),
    LifetimeMs(u32),
}

impl Limit {
    pub(super) fn of(spec: &ChannelSpec) -> Self {
        spec.max_retransmits
            .map_or(Self::Reliable, |n| Self::Retransmits(u32::from(n)))
    }

    /// As SCTP's partial reliability wants it (RFC 3758, RFC 7496).
    pub(super) fn sctp(self) -> (ReliabilityType, u32) {
        match self {
            Self::Reliable => (ReliabilityType::Reliable, 0),
            Self::Retransmits(n) => (ReliabilityType::Rexmit, n),
            Self::LifetimeMs(ms) => (ReliabilityType::Timed, ms),
        }
    }
}

/// Reads a message; `None` when it is malformed or unknown.
pub(super) fn parse(data: &[u8]) -> Option<Dcep> {
    match *data.first()? {
        ACK => Some(Dcep::Ack),
        OPEN => {
            let value = u32::from_be_bytes(data.get(4..8)?.try_into().ok()?);
            let label_len = usize::from(u16::from_be_bytes(data.get(8..10)?.try_into().ok()?));
            let label = data.get(OPEN_LEN_MIN..OPEN_LEN_MIN + label_len)?;
            if label_len > LABEL_LEN_MAX {
                return None;
            }
            let channel_type = *data.get(1)?;
            let limit = match channel_type & !UNORDERED {
                0x00 => Limit::Reliable,
                0x01 => Limit::Retransmits(value),
                0x02 => Limit::LifetimeMs(value),
                _ => return None,
            };
            Some(Dcep::Open(Open {
                label: std::str::from_utf8(label).ok()?.to_owned(),
                ordered: channel_type & UNORDERED == 0,
                limit,
            }))
        }
        _ => None,
    }
}

/// DATA_CHANNEL_ACK.
pub(super) const fn ack() -> [u8; 1] {
    [ACK]
}

/// DATA_CHANNEL_OPEN.
pub(super) fn open(label: &str, ordered: bool, limit: Limit) -> Vec<u8> {
    let (kind, value) = match limit {
        Limit::Reliable => (0x00, 0),
        Limit::Retransmits(n) => (0x01, n),
        Limit::LifetimeMs(ms) => (0x02, ms),
    };
    let label_len = u16::try_from(label.len()).expect("labels are our own and short");
    let mut out = Vec::with_capacity(OPEN_LEN_MIN + label.len());
    out.extend([OPEN, if ordered { kind } else { kind | UNORDERED }]);
    out.extend([0, 0]);
    out.extend(value.to_be_bytes());
    out.extend(label_len.to_be_bytes());
    out.extend([0, 0]);
    out.extend(label.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_is_read_back_as_written() {
        let written = open("_lossy", false, Limit::Retransmits(0));
        assert_eq!(written[..2], [3, 0x81]);
        let expected = Open {
            label: "_lossy".to_owned(),
            ordered: false,
            limit: Limit::Retransmits(0),
        };
        assert_eq!(parse(&written), Some(Dcep::Open(expected)));
        assert_eq!(parse(&ack()), Some(Dcep::Ack));
    }

    #[test]
    fn truncated_and_unknown_messages_are_refused() {
        let written = open("_reliable", true, Limit::Reliable);
        for len in 0..written.len() {
            assert_eq!(parse(&written[..len]), None);
        }
        assert_eq!(parse(&[9]), None);
    }
}
