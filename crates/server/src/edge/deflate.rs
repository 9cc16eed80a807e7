//! `permessage-deflate` without context takeover (RFC 7692): its negotiation, and one message at a
//! time through the compressor. The way back is in `expansion.rs`.
//!
//! Without takeover no state lives from one message to the next, so a thread's connections share
//! one compressor (about 300 KiB) instead of owning one each.

use flate2::{Compress, Compression, FlushCompress, Status};
use std::cell::RefCell;

/// The response header of an accepted offer.
pub(super) const ACCEPTED: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What a flush leaves at the end and both sides leave out (RFC 7692 §7.2.1).
pub(super) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// How much room is made at a time.
const STEP: usize = 4096;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
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
}
