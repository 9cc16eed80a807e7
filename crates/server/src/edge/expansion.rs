//! One compressed message (RFC 7692 §7.2.2), expanded a step at a time.
//!
//! What a message costs is not bounded by its length: 2 KiB may be 2 MiB, and 2 MiB may be 200,000
//! tables that say nothing. So a step is bounded on both sides, and whoever takes the steps decides
//! when.

use super::deflate::TAIL;
use flate2::{Decompress, FlushDecompress, Status};
use std::cell::RefCell;

/// What a step reads at most, in bytes: some 400 tables, which take half a millisecond.
const INPUT: usize = 512;

/// What is expanded in one step when its output fits, in bytes.
const SHORT_MAX: usize = 2048;

/// What a step writes at most, in bytes.
pub(super) const PIECE: usize = 8192;

thread_local! {
    /// For messages of one step, which nearly all are.
    static SHORT: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// It is no deflate stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes read.
    pub(super) read: usize,
    /// Bytes written.
    pub(super) written: usize,
    /// The message is complete.
    pub(super) is_last: bool,
}

/// A message that is being expanded.
pub(super) struct Expansion {
    packed: Vec<u8>,
    /// How much of it, and of what both sides leave out behind it, has been read.
    at: usize,
    state: Decompress,
}

/// Expands a message that takes one step; `None` when it takes more, or is broken.
pub(super) fn in_one_step(packed: &[u8], out: &mut [u8; PIECE]) -> Option<usize> {
    if packed.len() > SHORT_MAX {
        return None;
    }
    SHORT.with_borrow_mut(|state| {
        state.reset(false);
        let mut at = 0;
        let first = step(state, packed, &mut at, SHORT_MAX, out).ok()?;
        let rest = out.get_mut(first.written..)?;
        if first.is_last {
            return Some(first.written);
        }
        // Behind it comes what both sides leave out.
        let second = step(state, packed, &mut at, SHORT_MAX, rest).ok()?;
        second.is_last.then_some(first.written + second.written)
    })
}

impl Expansion {
    pub(super) fn new(packed: Vec<u8>) -> Self {
        Self {
            packed,
            at: 0,
            state: Decompress::new(false),
        }
    }

    /// Goes on with it.
    ///
    /// # Errors
    /// It is broken.
    pub(super) fn step(&mut self, out: &mut [u8; PIECE]) -> Result<Step, Broken> {
        step(&mut self.state, &self.packed, &mut self.at, INPUT, out)
    }
}

fn step(
    state: &mut Decompress,
    packed: &[u8],
    at: &mut usize,
    at_once: usize,
    out: &mut [u8],
) -> Result<Step, Broken> {
    let input = match packed.get(*at..) {
        Some(rest) if !rest.is_empty() => rest.get(..at_once).unwrap_or(rest),
        _ => TAIL.get(*at - packed.len()..).unwrap_or_default(),
    };
    let before = (state.total_in(), state.total_out());
    let status = state
        .decompress(input, out, FlushDecompress::Sync)
        .map_err(|_| Broken)?;
    let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
    let read = count(state.total_in(), before.0);
    let written = count(state.total_out(), before.1);
    *at += read;
    let all_read = *at == packed.len() + TAIL.len();
    let is_last = status == Status::StreamEnd || (all_read && written < out.len());
    if !is_last && read == 0 && written == 0 {
        return Err(Broken);
    }
    Ok(Step {
        read,
        written,
        is_last,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::deflate::deflate;
    use super::*;

    /// All of it.
    pub(in super::super) fn expand(packed: &[u8]) -> Result<Vec<u8>, Broken> {
        let mut expansion = Expansion::new(packed.to_vec());
        let (mut all, mut piece) = (Vec::new(), [0; PIECE]);
        loop {
            let step = expansion.step(&mut piece)?;
            assert!(step.read <= INPUT);
            all.extend_from_slice(&piece[..step.written]);
            if step.is_last {
                return Ok(all);
            }
        }
    }

    #[test]
    fn messages_of_every_size_come_back() {
        let mut noise = 1_u32;
        for size in [0, 1, 2, 100, 4095, 4096, 4097, 8191, 8192, 8193, 70_000, 1 << 20] {
            let text: Vec<u8> = (0..size).map(|at| b"signal"[at % 6]).collect();
            let random: Vec<u8> = (0..size)
                .map(|_| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (noise >> 24) as u8
                })
                .collect();
            for data in [text, random] {
                let packed = deflate(&data);
                assert!(!packed.ends_with(&TAIL));
                assert_eq!(expand(&packed).as_deref(), Ok(&data[..]), "{size}");
                let mut piece = [0; PIECE];
                let short = in_one_step(&packed, &mut piece);
                if let Some(length) = short {
                    assert_eq!(piece[..length], data);
                }
                assert_eq!(
                    short.is_some(),
                    packed.len() <= SHORT_MAX && size < PIECE,
                    "{size}"
                );
            }
        }
    }

    #[test]
    fn broken_streams_are_refused() {
        for packed in [&[0xFF; 20][..], &[0x07]] {
            assert_eq!(expand(packed), Err(Broken));
            assert_eq!(in_one_step(packed, &mut [0; PIECE]), None);
        }
    }

    /// Blocks with the fixed tables and nothing in them, of 10 bits each (RFC 1951 §3.2.6).
    pub(in super::super) fn says_nothing(length: usize) -> Vec<u8> {
        // Not the last one, type 1, end of block; bits from the lowest on.
        let bit = |at: usize| u8::from(at % 10 == 1);
        let byte = |at: usize| (0..8).map(|shift| bit(at * 8 + shift) << shift).sum();
        (0..length).map(byte).collect()
    }

    #[test]
    fn a_stream_that_says_nothing_is_an_empty_message() {
        assert_eq!(expand(&says_nothing(50_000)), Ok(Vec::new()));
    }
}
