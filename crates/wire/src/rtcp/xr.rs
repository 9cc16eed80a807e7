//! Extended reports (RFC 3611): receiver reference time and its answer, by which a receiver that
//! sends no media measures the round trip. Other blocks are passed over.

use crate::bytes::Reader;

pub(super) const BLOCK_RRTR: u8 = 4;
pub(super) const BLOCK_DLRR: u8 = 5;

/// One block of an extended report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XrBlock<'a> {
    /// Receiver reference time, RFC 3611 §4.4.
    ReferenceTime {
        /// NTP time of the receiver, 32.32 seconds.
        ntp: u64,
    },
    /// Delay since the last receiver report, RFC 3611 §4.5.
    Dlrr(DlrrReports<'a>),
    /// Another block type.
    Unknown {
        /// Its type.
        block_type: u8,
    },
}

/// The answer to one receiver's reference time (RFC 3611 §4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DlrrReport {
    /// The receiver.
    pub ssrc: u32,
    /// Middle 32 bits of the NTP time that it sent last.
    pub last_rr: u32,
    /// Time since that arrived, in 1/65536 s.
    pub delay: u32,
}

/// Iterator over the reports of a DLRR block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DlrrReports<'a>(Reader<'a>);

impl Iterator for DlrrReports<'_> {
    type Item = DlrrReport;

    fn next(&mut self) -> Option<DlrrReport> {
        Some(DlrrReport {
            ssrc: self.0.u32()?,
            last_rr: self.0.u32()?,
            delay: self.0.u32()?,
        })
    }
}

/// Iterator over the blocks of an extended report; a broken block ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XrBlocks<'a>(pub(super) Reader<'a>);

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        let [block_type, _, l0, l1] = self.0.array()?;
        let mut body = Reader(self.0.take(usize::from(u16::from_be_bytes([l0, l1])) * 4)?);
        Some(match block_type {
            BLOCK_RRTR => XrBlock::ReferenceTime { ntp: body.u64()? },
            BLOCK_DLRR => XrBlock::Dlrr(DlrrReports(body)),
            _ => XrBlock::Unknown { block_type },
        })
    }
}
