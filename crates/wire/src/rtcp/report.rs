//! Sender and receiver reports and source descriptions (RFC 3550 §6.4, §6.5).

use super::Packet;
use crate::bytes::Reader;

/// Length of one report block in bytes.
pub(super) const BLOCK_LEN: usize = 24;

/// What a receiver says about one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: u32,
    /// Packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; 24 bits signed, duplicates make it negative.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of cycles in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in clock-rate units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, 0 for none.
    pub last_sr: u32,
    /// Time since that sender report in 1/65536 s, 0 for none.
    pub delay_since_sr: u32,
}

impl ReportBlock {
    /// The range of [`Self::cumulative_lost`] on the wire.
    const LOST_MAX: i32 = 0x7F_FFFF;

    fn parse(reader: &mut Reader<'_>) -> Option<Self> {
        let ssrc = reader.u32()?;
        let [fraction_lost, a, b, c] = reader.array()?;
        Some(Self {
            ssrc,
            fraction_lost,
            // Sign extension: into the upper three bytes, then back with the arithmetic shift.
            cumulative_lost: i32::from_be_bytes([a, b, c, 0]) >> 8,
            highest_sequence: reader.u32()?,
            jitter: reader.u32()?,
            last_sr: reader.u32()?,
            delay_since_sr: reader.u32()?,
        })
    }

    pub(super) fn to_bytes(self) -> [u8; BLOCK_LEN] {
        let lost = self.cumulative_lost.clamp(-Self::LOST_MAX - 1, Self::LOST_MAX);
        let loss = (u32::from(self.fraction_lost) << 24) | (lost as u32 & 0xFF_FFFF);
        let words = [
            self.ssrc,
            loss,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_sr,
        ];
        let mut bytes = [0; BLOCK_LEN];
        for (target, word) in bytes.chunks_exact_mut(4).zip(words) {
            target.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// Iterator over report blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reports<'a>(Reader<'a>);

impl Iterator for Reports<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        ReportBlock::parse(&mut self.0)
    }
}

pub(super) fn sender_report<'a>(body: &mut Reader<'a>, count: u8) -> Option<Packet<'a>> {
    Some(Packet::SenderReport {
        ssrc: body.u32()?,
        ntp: body.u64()?,
        rtp: body.u32()?,
        packets: body.u32()?,
        octets: body.u32()?,
        reports: reports(body, count)?,
    })
}

pub(super) fn receiver_report<'a>(body: &mut Reader<'a>, count: u8) -> Option<Packet<'a>> {
    Some(Packet::ReceiverReport {
        ssrc: body.u32()?,
        reports: reports(body, count)?,
    })
}

/// The blocks; profile-specific extensions may follow them and are passed over.
fn reports<'a>(body: &mut Reader<'a>, count: u8) -> Option<Reports<'a>> {
    let blocks = body.take(usize::from(count) * BLOCK_LEN)?;
    Some(Reports(Reader(blocks)))
}

/// One item of a source description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesItem<'a> {
    /// The source.
    pub ssrc: u32,
    /// Item type, see [`super::SDES_CNAME`].
    pub kind: u8,
    /// Text, UTF-8 by the specification but not checked.
    pub text: &'a [u8],
}

/// Iterator over the items of all chunks of an SDES packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdes<'a> {
    rest: Reader<'a>,
    /// Chunks that have not begun.
    chunks: u8,
    /// The source of the chunk that has begun.
    ssrc: Option<u32>,
    /// Length of `rest` when the chunk began; items are padded relative to it.
    chunk_len: usize,
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(rest: Reader<'a>, chunks: u8) -> Option<Self> {
        // A chunk is at least its source and one terminating word.
        (rest.0.len() >= usize::from(chunks) * 8).then_some(Self {
            rest,
            chunks,
            ssrc: None,
            chunk_len: 0,
        })
    }

    fn item(&mut self) -> Option<SdesItem<'a>> {
        loop {
            let Some(ssrc) = self.ssrc else {
                self.chunks = self.chunks.checked_sub(1)?;
                self.chunk_len = self.rest.0.len();
                self.ssrc = Some(self.rest.u32()?);
                continue;
            };
            let kind = self.rest.u8()?;
            if kind != 0 {
                let len = usize::from(self.rest.u8()?);
                let text = self.rest.take(len)?;
                return Some(SdesItem { ssrc, kind, text });
            }
            let used = self.chunk_len - self.rest.0.len();
            self.rest.take(used.next_multiple_of(4) - used)?;
            self.ssrc = None;
        }
    }
}

impl<'a> Iterator for Sdes<'a> {
    type Item = SdesItem<'a>;

    fn next(&mut self) -> Option<SdesItem<'a>> {
        let item = self.item();
        if item.is_none() {
            self.rest = Reader(&[]);
            self.chunks = 0;
        }
        item
    }
}
