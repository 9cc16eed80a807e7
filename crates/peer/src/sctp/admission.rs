//! What of a packet reaches `sctp-proto`, which believes its remote side in what it should not.
//!
//! Owns where the remote side's TSNs are, and how many of its chunks are held. Must not know: streams, messages.

use super::packet::{
    COMMON_HEADER_LEN, DATA, FORWARD_TSN, HEARTBEAT, I_FORWARD_TSN, RE_CONFIG, SACK, SHUTDOWN, SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE, chunks, number, short, sign,
};
use bytes::Bytes;

/// Stream ids above this are nobody's: browsers count up from 0, LiveKit's own are 100 to 102.
/// `sctp-proto` makes a stream for any id.
pub(super) const STREAMS_MAX: u16 = 1024;
/// How far a DATA chunk may be ahead of what we acknowledged. More is lost on the way for the sender,
/// and comes again.
const AHEAD_MAX: i32 = 2048;
/// Chunks behind a gap above which no further is taken, and chunks not read above which no short one
/// is. `sctp-proto` keeps each with its whole datagram, counts only bytes against the receive window,
/// and those of what was read no more, and sorts all chunks for each that comes: a window of single
/// bytes would be 262,144 of them. A higher number holds more
/// of a burst of short messages behind a loss, and costs 1.5 KiB of each hostile peer.
const HELD_MAX: usize = 512;
/// Of DATA chunks with so much data the receive window has room for 512, which `sctp-proto` fills beyond
/// its end with what came later than something further ahead: twice as many are taken.
const SHORT: usize = 512;
/// Longest packet taken. Those of WebRTC's implementations fit an Ethernet frame, and every chunk
/// that waits holds its packet.
const PACKET_LEN_MAX: usize = 1500;
/// Longest packet sent: `sctp-proto` writes a SACK with every gap and every duplicate there is.
const SACK_PACKET_LEN_MAX: usize = 1152;
/// What is further away is no TSN of this association: serial numbers (RFC 1982) compare within
/// 2³¹, and this half of it holds wherever a FORWARD TSN leads.
const FAR: i32 = 1 << 30;
const DATA_HEADER_LEN: usize = 16;
const SACK_HEADER_LEN: usize = 16;

#[derive(Debug)]
pub(super) struct Admission {
    /// The cumulative TSN of our last SACK, or the one before the remote side's first.
    acknowledged: u32,
    /// DATA chunks let through.
    admitted: u64,
    /// Packets that came too far ahead, or while too much was held, in whole or in part.
    refused: u64,
    /// All TSNs up to here were let through.
    cumulative: u32,
    /// What was let through of those behind it, a bit each, and how many they are.
    seen: [u64; AHEAD_MAX as usize / 64],
    ahead: usize,
    /// Chunks let through, each once, and not read.
    held: usize,
}

impl Admission {
    /// Of a remote side whose first DATA chunk has this TSN.
    pub(super) fn new(initial: u32) -> Self {
        let cumulative = initial.wrapping_sub(1);
        Self {
            acknowledged: cumulative,
            admitted: 0,
            refused: 0,
            cumulative,
            seen: [0; AHEAD_MAX as usize / 64],
            ahead: 0,
            held: 0,
        }
    }

    /// What may be taken of a packet.
    pub(super) fn admit(&mut self, data: &[u8]) -> Option<Bytes> {
        if data.len() > PACKET_LEN_MAX {
            self.refused += 1;
            return None;
        }
        for chunk in chunks(data) {
            match chunk[0] {
                DATA if short(chunk, 8)? >= STREAMS_MAX => return None,
                // No byte is nothing that the receive window could count (RFC 9260 §3.3.1 forbids it).
                DATA if chunk.len() <= DATA_HEADER_LEN => return None,
                FORWARD_TSN | I_FORWARD_TSN if !self.is_within(chunk, FAR) => return None,
                _ => {}
            }
        }
        let mut kept = Vec::new();
        let (mut refuses, mut whole) = (false, true);
        for chunk in chunks(data) {
            let known = is_known(chunk[0]);
            if known && (chunk[0] != DATA || self.admits_data(chunk)) {
                kept.push(chunk);
                continue;
            }
            whole = false;
            refuses |= known;
            // RFC 9260 §3.2: of a type that nobody knows, the upper bit says whether what follows counts.
            if chunk[0] > SHUTDOWN_COMPLETE && chunk[0] & 0x80 == 0 {
                break;
            }
        }
        if whole {
            return Some(Bytes::copy_from_slice(data));
        }
        // The rest of the packet counts: retransmitted chunks share it with new ones.
        self.refused += u64::from(refuses);
        if kept.is_empty() {
            return None;
        }
        let mut packet = data[..COMMON_HEADER_LEN].to_vec();
        kept.iter().for_each(|chunk| packet.extend_from_slice(chunk));
        sign(&mut packet);
        Some(packet.into())
    }

    /// Whether a DATA chunk may be taken, which is then noted.
    fn admits_data(&mut self, chunk: &[u8]) -> bool {
        let Some(tsn) = number(chunk, 4).filter(|_| self.is_within(chunk, AHEAD_MAX)) else {
            return false;
        };
        if tsn.wrapping_sub(self.cumulative).cast_signed() > 0 && !self.is_seen(tsn) {
            let short = chunk.len() < DATA_HEADER_LEN + SHORT;
            // What is missing is taken with less room: those behind it cannot go before.
            let missing = tsn == self.cumulative.wrapping_add(1) && self.ahead > 0;
            let most = if short && !missing { HELD_MAX } else { 2 * HELD_MAX };
            if self.held >= most || (self.ahead >= HELD_MAX && !missing) {
                return false;
            }
            self.mark(tsn, true);
            self.ahead += 1;
            self.held += 1;
            self.advance();
        }
        self.admitted += 1;
        true
    }

    /// Takes what has no gap before it any more off what is ahead.
    fn advance(&mut self) {
        while self.ahead > 0 && self.is_seen(self.cumulative.wrapping_add(1)) {
            self.cumulative = self.cumulative.wrapping_add(1);
            self.mark(self.cumulative, false);
            self.ahead -= 1;
        }
    }

    fn is_seen(&self, tsn: u32) -> bool {
        let (word, bit) = place(tsn);
        self.seen[word] & bit != 0
    }

    fn mark(&mut self, tsn: u32, seen: bool) {
        let (word, bit) = place(tsn);
        if seen {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }

    /// Messages of so many chunks were read.
    pub(super) fn released(&mut self, chunks: usize) {
        self.held = self.held.saturating_sub(chunks);
    }

    /// Takes note of a packet of ours as soon as it is written, and cuts a SACK to what fits a datagram.
    pub(super) fn sent(&mut self, packet: Bytes, window: u32) -> Bytes {
        if packet.get(COMMON_HEADER_LEN) != Some(&SACK) {
            return packet;
        }
        let at = |offset| number(&packet, COMMON_HEADER_LEN + offset);
        let (Some(cumulative), Some(free), Some(counts)) = (at(4), at(8), at(12)) else {
            return packet;
        };
        let gaps = counts >> 16;
        self.acknowledge(cumulative, (0..gaps as usize).map_while(|gap| at(16 + 4 * gap)));
        // Each that is held has a byte at least. What a FORWARD TSN or a reset dropped unread, which
        // nothing else tells, is noticed here.
        self.held = self.held.min(window.saturating_sub(free) as usize);
        if packet.len() > SACK_PACKET_LEN_MAX {
            return cut_sack(&packet, gaps);
        }
        packet
    }

    /// `sctp-proto` says what it took of what was let through: less when its window was full.
    fn acknowledge(&mut self, cumulative: u32, gaps: impl Iterator<Item = u32>) {
        let step = cumulative.wrapping_sub(self.cumulative).cast_signed();
        for beyond in 1..=step.min(AHEAD_MAX) {
            let tsn = self.cumulative.wrapping_add_signed(beyond);
            self.ahead -= usize::from(self.is_seen(tsn));
        }
        let let_through = (-step).max(0).unsigned_abs() as usize + self.ahead;
        self.acknowledged = cumulative;
        self.cumulative = cumulative;
        self.seen = [0; AHEAD_MAX as usize / 64];
        self.ahead = 0;
        for gap in gaps {
            for offset in (gap >> 16..=gap & 0xffff).take(AHEAD_MAX as usize) {
                self.mark(cumulative.wrapping_add(offset), true);
                self.ahead += 1;
            }
        }
        self.held -= let_through.saturating_sub(self.ahead).min(self.held);
    }

    /// Whether so many DATA chunks can have come of what was admitted. `sctp-proto` steps by the
    /// length of what it understood of a chunk, so that one chunk can hide others.
    pub(super) fn explains(&self, data_chunks: u64) -> bool {
        data_chunks <= self.admitted
    }

    /// Packets that came too far ahead, or while too much was held, in whole or in part.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether a chunk's TSN, all of which begin with it, is at most so far ahead.
    fn is_within(&self, chunk: &[u8], ahead: i32) -> bool {
        let distance = |tsn: u32| tsn.wrapping_sub(self.acknowledged).cast_signed();
        number(chunk, 4).is_some_and(|tsn| (-FAR..=ahead).contains(&distance(tsn)))
    }
}

/// Whether `sctp-proto` is to have a chunk. It drops a whole packet for one that it does not know, and
/// ends the association for an ERROR, which only tells (RFC 9260 §3.3.10).
fn is_known(kind: u8) -> bool {
    let known = [
        DATA,
        SACK,
        HEARTBEAT,
        SHUTDOWN,
        SHUTDOWN_ACK,
        SHUTDOWN_COMPLETE,
        RE_CONFIG,
        FORWARD_TSN,
        I_FORWARD_TSN,
    ];
    known.contains(&kind)
}

/// Where the bit of a TSN is, and the bit.
fn place(tsn: u32) -> (usize, u64) {
    let index = tsn % AHEAD_MAX.cast_unsigned();
    ((index / 64) as usize, 1 << (index % 64))
}

/// A SACK with as many of its gaps as fit, and without the duplicates (RFC 9260 §3.3.4 leaves both to
/// the receiver). Nothing stands behind a SACK so long.
fn cut_sack(packet: &[u8], gaps: u32) -> Bytes {
    let room = (SACK_PACKET_LEN_MAX - COMMON_HEADER_LEN - SACK_HEADER_LEN) / 4;
    let gaps = (gaps as usize).min(room);
    let len = SACK_HEADER_LEN + 4 * gaps;
    let mut cut = packet[..(COMMON_HEADER_LEN + len).min(packet.len())].to_vec();
    cut[COMMON_HEADER_LEN + 2..COMMON_HEADER_LEN + 4].copy_from_slice(&(len as u16).to_be_bytes());
    cut[COMMON_HEADER_LEN + 12..COMMON_HEADER_LEN + 14].copy_from_slice(&(gaps as u16).to_be_bytes());
    cut[COMMON_HEADER_LEN + 14..COMMON_HEADER_LEN + 16].fill(0);
    sign(&mut cut);
    cut.into()
}
