//! Packet trailers: what a publisher appends to the last packet of a frame, for clients that know it.
//!
//! Owns: finding the trailer. Must not know: what stands in it, who knows it.
//!
//! ```text
//! | payload … | fields … | length of the trailer ^ 0xFF: 1 | "LKTS" |
//! ```

const MAGIC: [u8; 4] = *b"LKTS";
/// Length byte and magic.
const ENVELOPE: usize = 5;

/// The payload of a frame's last packet without its trailer, if it has one.
pub(super) fn cut(payload: &[u8]) -> &[u8] {
    let Some((rest, &[length, m0, m1, m2, m3])) = payload.split_last_chunk::<ENVELOPE>() else {
        return payload;
    };
    let length = usize::from(length ^ 0xFF);
    if [m0, m1, m2, m3] != MAGIC || length < ENVELOPE {
        return payload;
    }
    let kept = (rest.len() + ENVELOPE).checked_sub(length);
    kept.and_then(|kept| payload.get(..kept)).unwrap_or(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_trailer(fields: &[u8]) -> Vec<u8> {
        let length = (fields.len() + ENVELOPE) as u8 ^ 0xFF;
        [b"frame", fields, &[length], b"LKTS"].concat()
    }

    #[test]
    fn a_trailer_is_cut_off_with_its_fields() {
        assert_eq!(cut(&with_trailer(&[1, 2, 3])), b"frame");
        assert_eq!(cut(&with_trailer(&[])), b"frame");
    }

    #[test]
    fn what_is_no_trailer_stays() {
        let longer = [&b"x"[..], &[0xFF ^ 7], b"LKTS"].concat();
        let shorter = [&b"frame"[..], &[0xFF ^ 4], b"LKTS"].concat();
        for payload in [&b""[..], b"LKTS", b"frame without one", &longer, &shorter] {
            assert_eq!(cut(payload), payload);
        }
    }
}
