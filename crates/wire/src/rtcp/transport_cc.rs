//! Transport-wide congestion control feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//!
//! ```text
//! | sender: 32 | media: 32 | base sequence: 16 | status count: 16 |
//! | reference time: 24 | feedback count: 8 | chunks: 16 each … | deltas: 8 or 16 each … | padding |
//! run length chunk:      | 0 | symbol: 2 | length: 13 |
//! status vector chunk:   | 1 | 0 | 14 symbols of 1 bit |   or   | 1 | 1 | 7 symbols of 2 bits |
//! ```

use super::writer::Cursor;
use super::{FMT_TRANSPORT_CC, Packet, RTPFB};
use crate::bytes::Reader;

/// Ticks of 250 µs in one unit of 64 ms of the reference time.
const TICKS_PER_REFERENCE: u64 = 256;
/// The longest run of one run length chunk.
const RUN_MAX: usize = 0x1FFF;

/// What comes before the statuses of a feedback packet that is to be written. The reference time
/// follows from the first arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportCcHead {
    /// Who reports.
    pub sender: u32,
    /// Any source of the transport.
    pub media: u32,
    /// Sequence number of the first status.
    pub base_sequence: u16,
    /// Counts feedback packets; wraps.
    pub feedback_count: u8,
}

/// Iterator over packet statuses: the transport-wide sequence number, and the time since the
/// packet received before it (for the first one: since the reference time) in ticks of 250 µs,
/// `None` for not received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses<'a> {
    symbols: Symbols<'a>,
    deltas: Reader<'a>,
    sequence: u16,
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Option<i16>);

    fn next(&mut self) -> Option<(u16, Option<i16>)> {
        let delta = match self.symbols.next()? {
            Symbol::Small => Some(i16::from(self.deltas.u8()?)),
            Symbol::Large => Some(self.deltas.u16()? as i16),
            Symbol::Missing => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, delta))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Missing,
    Small,
    Large,
}

impl Symbol {
    /// The reserved fourth symbol carries no delta, so it counts as not received.
    const fn from_bits(bits: u16) -> Self {
        match bits & 3 {
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Missing,
        }
    }

    const fn bits(self) -> u16 {
        match self {
            Self::Missing => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }

    const fn delta_len(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }
}

/// Iterator over the symbols of the chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbols<'a> {
    chunks: Reader<'a>,
    chunk: u16,
    /// Symbols of `chunk` that are left.
    in_chunk: u16,
    /// Statuses that are left in the whole packet.
    count: u16,
}

impl Iterator for Symbols<'_> {
    type Item = Symbol;

    fn next(&mut self) -> Option<Symbol> {
        self.count = self.count.checked_sub(1)?;
        while self.in_chunk == 0 {
            self.chunk = self.chunks.u16()?;
            self.in_chunk = match self.chunk >> 14 {
                0 | 1 => self.chunk & RUN_MAX as u16,
                2 => 14,
                _ => 7,
            };
        }
        self.in_chunk -= 1;
        Some(Symbol::from_bits(match self.chunk >> 14 {
            0 | 1 => self.chunk >> 13,
            2 => (self.chunk >> self.in_chunk) & 1,
            _ => self.chunk >> (self.in_chunk * 2),
        }))
    }
}

/// Reads a feedback body. `None` unless chunks and deltas are there for all statuses.
pub(super) fn parse<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    let sender = body.u32()?;
    let media = body.u32()?;
    let base_sequence = body.u16()?;
    let count = body.u16()?;
    let reference_time = body.u24()?;
    let feedback_count = body.u8()?;
    let symbols = Symbols {
        chunks: *body,
        chunk: 0,
        in_chunk: 0,
        count,
    };
    let mut walk = symbols.clone();
    let mut delta_len = 0;
    let mut walked = 0;
    for symbol in &mut walk {
        delta_len += symbol.delta_len();
        walked += 1;
    }
    if walked != count || walk.chunks.0.len() < delta_len {
        return None;
    }
    Some(Packet::TransportCc {
        sender,
        media,
        base_sequence,
        reference_time,
        feedback_count,
        statuses: Statuses {
            symbols,
            deltas: walk.chunks,
            sequence: base_sequence,
        },
    })
}

/// Writes one feedback packet, see [`super::Writer::transport_cc`]: statuses said and bytes written.
pub(super) fn write(
    room: &mut [u8],
    head: &TransportCcHead,
    arrivals: &[Option<u64>],
) -> Option<(usize, usize)> {
    const FIXED_LEN: usize = 20;
    let arrivals = arrivals.get(..usize::from(u16::MAX)).unwrap_or(arrivals);
    let first = arrivals.iter().flatten().next().copied().unwrap_or(0);
    let reference = first / TICKS_PER_REFERENCE;
    let start = Plan {
        arrivals,
        last: reference * TICKS_PER_REFERENCE,
    };

    // How much fits: chunks come before all deltas, so count first.
    let mut plan = start.clone();
    let (mut said, mut chunk_len, mut delta_len) = (0, 0, 0);
    while let Some(chunk) = plan.next_chunk() {
        let longer = FIXED_LEN + chunk_len + 2 + delta_len + chunk.delta_len;
        if longer.next_multiple_of(4) > room.len() {
            break;
        }
        chunk_len += 2;
        delta_len += chunk.delta_len;
        said += chunk.statuses;
    }
    if said == 0 {
        return None;
    }

    let padding = (chunk_len + delta_len).next_multiple_of(4) - (chunk_len + delta_len);
    let mut out = Cursor { buffer: room, len: 0 };
    let flags = if padding == 0 { 0x80 } else { 0xA0 };
    out.put(&[flags | FMT_TRANSPORT_CC, RTPFB, 0, 0])?;
    out.u32(head.sender)?;
    out.u32(head.media)?;
    out.u16(head.base_sequence)?;
    out.u16(said as u16)?;
    out.u32((reference as u32) << 8 | u32::from(head.feedback_count))?;
    let mut plan = start.clone();
    for _ in 0..chunk_len / 2 {
        out.u16(plan.next_chunk()?.bits)?;
    }
    for (symbol, delta) in start.take(said) {
        match symbol {
            Symbol::Missing => {}
            Symbol::Small => out.u8(delta as u8)?,
            Symbol::Large => out.u16(delta as u16)?,
        }
    }
    for left in (1..=padding).rev() {
        // Only the last byte is a count; the others are zero.
        out.u8(if left == 1 { padding as u8 } else { 0 })?;
    }
    Some((said, out.finish()?))
}

struct Chunk {
    bits: u16,
    statuses: usize,
    delta_len: usize,
}

/// Iterator over symbols and deltas of what is still to be said. Ends before a delta that 16 bits
/// cannot hold.
#[derive(Clone)]
struct Plan<'a> {
    arrivals: &'a [Option<u64>],
    /// The arrival before, or the reference time.
    last: u64,
}

impl Iterator for Plan<'_> {
    type Item = (Symbol, i16);

    fn next(&mut self) -> Option<(Symbol, i16)> {
        let (&arrival, rest) = self.arrivals.split_first()?;
        let Some(at) = arrival else {
            self.arrivals = rest;
            return Some((Symbol::Missing, 0));
        };
        let delta = i16::try_from(at.wrapping_sub(self.last) as i64).ok()?;
        self.arrivals = rest;
        self.last = at;
        let small = (0..=255).contains(&delta);
        Some((if small { Symbol::Small } else { Symbol::Large }, delta))
    }
}

impl Plan<'_> {
    /// Takes as many symbols as one chunk says best: a run when it says more than a vector could.
    fn next_chunk(&mut self) -> Option<Chunk> {
        let (first, _) = self.clone().next()?;
        let run = self
            .clone()
            .take(RUN_MAX)
            .take_while(|&(symbol, _)| symbol == first)
            .count();
        let two_bits = self.clone().take(14).any(|(symbol, _)| symbol == Symbol::Large);
        let capacity = if two_bits { 7 } else { 14 };
        if run >= capacity || self.clone().take(capacity).count() == run {
            for _ in 0..run {
                self.next();
            }
            return Some(Chunk {
                bits: (first.bits() << 13) | run as u16,
                statuses: run,
                delta_len: run * first.delta_len(),
            });
        }
        let (width, mut chunk) = if two_bits { (2, 0b11) } else { (1, 0b10) };
        let (mut statuses, mut delta_len) = (0, 0);
        for _ in 0..capacity {
            chunk <<= width;
            if let Some((symbol, _)) = self.next() {
                chunk |= symbol.bits();
                statuses += 1;
                delta_len += symbol.delta_len();
            }
        }
        Some(Chunk {
            bits: chunk,
            statuses,
            delta_len,
        })
    }
}
