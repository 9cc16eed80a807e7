//! Feedback messages: NACK, FIR and REMB bodies (RFC 4585, RFC 5104, draft-alvestrand-rmcat-remb).

use super::Packet;
use crate::bytes::Reader;

/// Iterator over lost sequence numbers, in the order of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    rest: Reader<'a>,
    /// The number that the lowest bit of `mask` stands for.
    next: u16,
    /// What is left of the current entry: its first number and its bit mask of 16 followers.
    mask: u32,
}

impl Iterator for Lost<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            self.next = self.rest.u16()?;
            self.mask = (u32::from(self.rest.u16()?) << 1) | 1;
        }
        let skipped = self.mask.trailing_zeros();
        let lost = self.next.wrapping_add(skipped as u16);
        self.next = lost.wrapping_add(1);
        self.mask >>= skipped + 1;
        Some(lost)
    }
}

/// Iterator over a list of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(pub(super) &'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut rest = Reader(self.0);
        let ssrc = rest.u32()?;
        self.0 = rest.0;
        Some(ssrc)
    }
}

/// Iterator over the entries of a full intra request: source and command sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirEntries<'a>(Reader<'a>);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let ssrc = self.0.u32()?;
        let [sequence, _, _, _] = self.0.array()?;
        Some((ssrc, sequence))
    }
}

pub(super) fn nack<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    Some(Packet::Nack {
        sender: body.u32()?,
        media: body.u32()?,
        lost: Lost {
            rest: *body,
            next: 0,
            mask: 0,
        },
    })
}

pub(super) fn fir<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    let sender = body.u32()?;
    // RFC 5104 §4.3.1.2: the media source of the common header is unused.
    body.u32()?;
    Some(Packet::Fir {
        sender,
        entries: FirEntries(*body),
    })
}

/// Application layer feedback: REMB, or something that we do not know.
///
/// ```text
/// | 'R' 'E' 'M' 'B' | count: 8 | exponent: 6 | mantissa: 18 | ssrc: 32 … |
/// ```
pub(super) fn application<'a>(body: &mut Reader<'a>) -> Option<Packet<'a>> {
    let sender = body.u32()?;
    body.u32()?;
    if body.array() != Some(*b"REMB") {
        return Some(Packet::Unknown {
            packet_type: super::PSFB,
            format: super::FMT_AFB,
        });
    }
    let count = usize::from(body.u8()?);
    let word = body.u24()?;
    let bitrate = u128::from(word & 0x3_FFFF) << (word >> 18);
    Some(Packet::Remb {
        sender,
        bitrate_bps: u64::try_from(bitrate).unwrap_or(u64::MAX),
        ssrcs: Ssrcs(body.take(count * 4)?),
    })
}
