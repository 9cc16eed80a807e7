//! What of a packet reaches `sctp-proto`, which believes its remote side in what it should not.
//!
//! Owns where the remote side's TSNs are. Must not know: streams, messages.

use bytes::Bytes;

/// Stream ids above this are nobody's: browsers count up from 0, LiveKit's own are 100 to 102.
/// `sctp-proto` makes a stream for any id.
pub(super) const STREAMS_MAX: u16 = 1024;
/// How far a DATA chunk may be ahead of what we acknowledged. `sctp-proto` keeps every chunk behind a
/// gap, with its whole datagram and read or not, and sorts them per chunk: the receive window bounds
/// none of it. This many messages of 16 bytes are a receive window, and LiveKit's are longer; of full
/// chunks it is 75 windows. More is lost on the way for the sender, and comes again.
const AHEAD_MAX: i32 = 16_384;
/// What is further away is no TSN of this association: serial numbers (RFC 1982) compare within
/// 2³¹, and this half of it holds wherever a FORWARD TSN leads.
const FAR: i32 = 1 << 30;
const COMMON_HEADER_LEN: usize = 12;

// RFC 9260 §3.2, RFC 3758 §3.2, RFC 8260 §2.3.1
const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const FORWARD_TSN: u8 = 192;
const I_FORWARD_TSN: u8 = 194;

#[derive(Debug)]
pub(super) struct Admission {
    initiates: bool,
    /// Initiate tag and initial TSN of the remote side.
    beginning: Option<(u32, u32)>,
    /// The cumulative TSN of our last SACK, or the one before the first.
    acknowledged: u32,
    /// DATA chunks let through.
    admitted: u64,
    /// Packets that came too far ahead, in whole or in part.
    ahead: u64,
}

impl Admission {
    pub(super) fn new(initiates: bool) -> Self {
        Self {
            initiates,
            beginning: None,
            acknowledged: 0,
            admitted: 0,
            ahead: 0,
        }
    }

    /// What may be taken of a packet.
    pub(super) fn admit(&mut self, up: bool, data: &[u8]) -> Option<Bytes> {
        if matches!(data.get(COMMON_HEADER_LEN), Some(&(INIT | INIT_ACK))) {
            let admitted = !up && self.admits_beginning(data);
            return admitted.then(|| Bytes::copy_from_slice(data));
        }
        let (mut count, mut ahead) = (0, 0);
        for chunk in chunks(data) {
            match chunk[0] {
                DATA => {
                    if stream_id(chunk)? >= STREAMS_MAX {
                        return None;
                    }
                    count += 1;
                    ahead += u64::from(!self.is_within(chunk, AHEAD_MAX));
                }
                // Alone in a packet, if at all.
                INIT | INIT_ACK => return None,
                FORWARD_TSN | I_FORWARD_TSN if !self.is_within(chunk, FAR) => return None,
                _ => {}
            }
        }
        self.admitted += count - ahead;
        if ahead == 0 {
            return Some(Bytes::copy_from_slice(data));
        }
        // The rest of the packet counts: retransmitted chunks share it with new ones.
        self.ahead += 1;
        let mut kept = data[..COMMON_HEADER_LEN].to_vec();
        let near = |chunk: &&[u8]| chunk[0] != DATA || self.is_within(chunk, AHEAD_MAX);
        chunks(data)
            .filter(near)
            .for_each(|chunk| kept.extend_from_slice(chunk));
        sign(&mut kept);
        (kept.len() > COMMON_HEADER_LEN).then(|| kept.into())
    }

    /// Takes note of a packet of ours.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        if packet.get(COMMON_HEADER_LEN) == Some(&SACK)
            && let Some(cumulative) = number(packet, COMMON_HEADER_LEN + 4)
        {
            self.acknowledged = cumulative;
        }
    }

    /// Whether so many DATA chunks can have come of what was admitted. `sctp-proto` steps by the
    /// length of what it understood of a chunk, so that one chunk can hide others.
    pub(super) fn explains(&self, data_chunks: u64) -> bool {
        data_chunks <= self.admitted
    }

    pub(super) fn ahead(&self) -> u64 {
        self.ahead
    }

    /// INITs are for the beginning only: a duplicate would end an established association in
    /// `sctp-proto`, and each new tag would make it remember one more association. The first says
    /// where TSNs begin, another TSN would hold what came before it for ever.
    fn admits_beginning(&mut self, data: &[u8]) -> bool {
        let expected = if self.initiates { INIT_ACK } else { INIT };
        let mut chunks = chunks(data);
        let (Some(chunk), None) = (chunks.next(), chunks.next()) else {
            return false;
        };
        let (Some(tag), Some(initial)) = (number(chunk, 4), number(chunk, 16)) else {
            return false;
        };
        if chunk[0] != expected {
            return false;
        }
        if self.beginning.is_none() {
            self.beginning = Some((tag, initial));
            self.acknowledged = initial.wrapping_sub(1);
        }
        self.beginning == Some((tag, initial))
    }

    /// Whether a chunk's TSN, all of which begin with it, is at most so far ahead.
    fn is_within(&self, chunk: &[u8], ahead: i32) -> bool {
        let distance = |tsn: u32| tsn.wrapping_sub(self.acknowledged).cast_signed();
        let tsn = number(chunk, 4).filter(|_| self.beginning.is_some());
        tsn.is_some_and(|tsn| (-FAR..=ahead).contains(&distance(tsn)))
    }
}

/// The chunks of a packet with their padding, none shorter than a chunk header.
fn chunks(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data.get(COMMON_HEADER_LEN..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [_, _, high, low, ..] = rest else { return None };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (chunk, after) = rest.split_at(len.max(4).next_multiple_of(4).min(rest.len()));
        rest = after;
        Some(chunk)
    })
}

/// Of a DATA chunk (RFC 9260 §3.3.1).
fn stream_id(chunk: &[u8]) -> Option<u16> {
    let id = chunk.get(8..10)?;
    Some(u16::from_be_bytes(id.try_into().ok()?))
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Puts the checksum in place (RFC 9260 appendix A).
pub(super) fn sign(packet: &mut [u8]) {
    packet[8..COMMON_HEADER_LEN].fill(0);
    let mut crc = !0u32;
    for byte in &*packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    packet[8..COMMON_HEADER_LEN].copy_from_slice(&(!crc).to_le_bytes());
}
