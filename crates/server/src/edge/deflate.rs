//! `permessage-deflate` without context takeover (RFC 7692): its negotiation, and one message at a
//! time through the compressor.
//!
//! Without takeover no state lives from one message to the next, so a thread's connections share
//! one compressor (about 300 KiB) instead of owning one each.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::cell::RefCell;

/// The response header of an accepted offer.
pub(super) const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a flush leaves at the end and both sides leave out (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// How much room is made at a time.
const STEP: usize = 4096;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Is there an offer in the header `Sec-WebSocket-Extensions` that can be accepted?
///
/// An offer that asks us for a smaller window than deflate's own has to be declined (§7.1.2.1).
pub(super) fn is_offered(header: &str) -> bool {
    header.split(',').any(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        parts.next() == Some("permessage-deflate")
            && parts.all(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                match name.trim() {
                    "server_max_window_bits" => value.trim().trim_matches('"') == "15",
                    "client_max_window_bits"
                    | "server_no_context_takeover"
                    | "client_no_context_takeover" => true,
                    _ => false,
                }
            })
    })
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is longer than the limit.
    TooLong,
    /// It is no deflate stream.
    Broken,
}

/// Compresses a message.
pub(super) fn deflate(data: &[u8]) -> Vec<u8> {
    COMPRESS.with_borrow_mut(|compress| {
        compress.reset();
        let mut out = Vec::with_capacity(data.len() / 2 + 64);
        let mut rest = data;
        loop {
            let before = compress.total_in();
            let status = compress
                .compress_vec(rest, &mut out, FlushCompress::Sync)
                .expect("deflate takes any bytes");
            let taken = usize::try_from(compress.total_in() - before).expect("at most what was given");
            rest = rest.get(taken..).unwrap_or_default();
            // A flush is complete when it leaves room in the output.
            if rest.is_empty() && out.len() < out.capacity() && status != Status::BufError {
                break;
            }
            if rest.is_empty() && status == Status::BufError {
                break;
            }
            out.reserve(STEP);
        }
        if out.ends_with(&TAIL) {
            out.truncate(out.len() - TAIL.len());
        }
        out
    })
}

/// Expands a message to at most `limit` bytes.
///
/// # Errors
/// It is longer, or broken.
pub(super) fn inflate(data: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    DECOMPRESS.with_borrow_mut(|decompress| {
        decompress.reset(false);
        let mut out = Vec::with_capacity(limit.min(data.len().saturating_mul(3).max(STEP)));
        for part in [data, &TAIL] {
            let mut rest = part;
            loop {
                let (before_in, before_out) = (decompress.total_in(), out.len());
                let status = decompress
                    .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                    .map_err(|_| InflateError::Broken)?;
                let taken = usize::try_from(decompress.total_in() - before_in).unwrap_or(0);
                rest = rest.get(taken..).unwrap_or_default();
                if out.len() > limit {
                    return Err(InflateError::TooLong);
                }
                if status == Status::StreamEnd {
                    return Ok(out);
                }
                if out.len() == out.capacity() {
                    out.reserve(STEP);
                    continue;
                }
                if rest.is_empty() {
                    break;
                }
                if taken == 0 && out.len() == before_out {
                    return Err(InflateError::Broken);
                }
            }
        }
        Ok(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_of_browsers_are_accepted_and_smaller_windows_declined() {
        assert!(is_offered("permessage-deflate; client_max_window_bits"));
        assert!(is_offered("x-unknown, permessage-deflate"));
        assert!(is_offered("permessage-deflate; server_max_window_bits=15"));
        assert!(is_offered(
            "permessage-deflate; server_max_window_bits=10, permessage-deflate"
        ));
        assert!(!is_offered("permessage-deflate; server_max_window_bits=10"));
        assert!(!is_offered("permessage-deflate; surprise"));
        assert!(!is_offered("x-webkit-deflate-frame"));
        assert!(!is_offered(""));
    }

    #[test]
    fn messages_of_every_size_come_back() {
        let mut noise = 1_u32;
        for size in [0, 1, 2, 100, 4095, 4096, 4097, 70_000, 1 << 20] {
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
                assert_eq!(inflate(&packed, size).as_deref(), Ok(&data[..]), "{size}");
            }
        }
    }

    #[test]
    fn what_expands_beyond_the_limit_is_refused_early() {
        let bomb = deflate(&vec![0; 50 << 20]);
        assert!(bomb.len() < 1 << 20);
        assert_eq!(inflate(&bomb, 2 << 20), Err(InflateError::TooLong));
        assert_eq!(inflate(&deflate(&[7; 101]), 100), Err(InflateError::TooLong));
        assert_eq!(inflate(&deflate(&[7; 100]), 100), Ok(vec![7; 100]));
    }

    #[test]
    fn broken_streams_are_refused() {
        assert_eq!(inflate(&[0xFF; 20], 1000), Err(InflateError::Broken));
        assert_eq!(inflate(&[0x07], 1000), Err(InflateError::Broken));
    }
}
