//! Writes RTCP packets one behind the other into a caller's buffer. A packet that does not fit, or
//! cannot be said (too many blocks), is not written at all. Nothing here allocates or panics.

use super::report::ReportBlock;
use super::transport_cc::{self, TransportCcHead};
use super::xr::{BLOCK_DLRR, BLOCK_RRTR, DlrrReport};
use super::{BYE, FMT_AFB, FMT_FIR, FMT_NACK, FMT_PLI, PSFB, RR, RTPFB, SDES, SDES_CNAME, SR, XR};

/// The most blocks that the five-bit count of a header can say.
const COUNT_MAX: usize = 31;

/// A compound packet being written.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// Starts an empty compound at the beginning of `buffer`.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What was written so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    /// Sender report (RFC 3550 §6.4.1): `ntp` and `rtp` are the same instant.
    pub fn sr(
        &mut self,
        ssrc: u32,
        ntp: u64,
        rtp: u32,
        packets: u32,
        octets: u32,
        reports: &[ReportBlock],
    ) -> bool {
        self.packet(SR, count(reports.len()), |out| {
            out.u32(ssrc)?;
            out.put(&ntp.to_be_bytes())?;
            out.u32(rtp)?;
            out.u32(packets)?;
            out.u32(octets)?;
            reports.iter().try_for_each(|report| out.put(&report.to_bytes()))
        })
    }

    /// Receiver report (RFC 3550 §6.4.2).
    pub fn rr(&mut self, ssrc: u32, reports: &[ReportBlock]) -> bool {
        self.packet(RR, count(reports.len()), |out| {
            out.u32(ssrc)?;
            reports.iter().try_for_each(|report| out.put(&report.to_bytes()))
        })
    }

    /// Source description with the canonical name of one source (RFC 3550 §6.5).
    pub fn sdes(&mut self, ssrc: u32, cname: &[u8]) -> bool {
        self.sdes_items(ssrc, &[(SDES_CNAME, cname)])
    }

    /// Source description of one source: pairs of item type and text of at most 255 bytes.
    pub fn sdes_items(&mut self, ssrc: u32, items: &[(u8, &[u8])]) -> bool {
        self.packet(SDES, Some(1), |out| {
            out.u32(ssrc)?;
            for &(kind, text) in items {
                let len = u8::try_from(text.len()).ok()?;
                out.put(&[kind, len])?;
                out.put(text)?;
            }
            // RFC 3550 §6.5: at least one null octet ends the chunk, then up to the next word.
            out.u8(0)?;
            out.pad_to_word()
        })
    }

    /// Goodbye of some sources (RFC 3550 §6.6).
    pub fn bye(&mut self, ssrcs: &[u32]) -> bool {
        self.packet(BYE, count(ssrcs.len()), |out| {
            ssrcs.iter().try_for_each(|&ssrc| out.u32(ssrc))
        })
    }

    /// Generic NACK (RFC 4585 §6.2.1). `lost` is in serial order, oldest first; any other order is
    /// still said correctly, but takes more space. False when it is empty.
    pub fn nack(&mut self, sender: u32, media: u32, lost: &[u16]) -> bool {
        let Some((&first, rest)) = lost.split_first() else {
            return false;
        };
        self.packet(RTPFB, Some(FMT_NACK), |out| {
            out.u32(sender)?;
            out.u32(media)?;
            let (mut base, mut mask) = (first, 0u16);
            for &sequence in rest {
                match sequence.wrapping_sub(base) {
                    0 => {}
                    ahead @ 1..=16 => mask |= 1 << (ahead - 1),
                    _ => {
                        out.u16(base)?;
                        out.u16(mask)?;
                        (base, mask) = (sequence, 0);
                    }
                }
            }
            out.u16(base)?;
            out.u16(mask)
        })
    }

    /// Picture loss indication (RFC 4585 §6.3.1).
    pub fn pli(&mut self, sender: u32, media: u32) -> bool {
        self.packet(PSFB, Some(FMT_PLI), |out| {
            out.u32(sender)?;
            out.u32(media)
        })
    }

    /// Full intra request (RFC 5104 §4.3.1). `sequence` grows by one for each new request.
    pub fn fir(&mut self, sender: u32, media: u32, sequence: u8) -> bool {
        self.packet(PSFB, Some(FMT_FIR), |out| {
            out.u32(sender)?;
            out.u32(0)?;
            out.u32(media)?;
            out.put(&[sequence, 0, 0, 0])
        })
    }

    /// Receiver estimated maximum bitrate, rounded down to 18 significant bits.
    pub fn remb(&mut self, sender: u32, bitrate_bps: u64, ssrcs: &[u32]) -> bool {
        self.packet(PSFB, Some(FMT_AFB), |out| {
            let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
            let mantissa = (bitrate_bps >> exponent) as u32;
            out.u32(sender)?;
            out.u32(0)?;
            out.put(b"REMB")?;
            let count = u8::try_from(ssrcs.len()).ok()?;
            out.u32((u32::from(count) << 24) | (exponent << 18) | mantissa)?;
            ssrcs.iter().try_for_each(|&ssrc| out.u32(ssrc))
        })
    }

    /// Transport-wide feedback. `arrivals` are the packets from `head.base_sequence` on: arrival
    /// time in ticks of 250 µs since any epoch that stays the same between calls, `None` for not
    /// received.
    ///
    /// Says as many of them as one packet can: a gap between arrivals above 8 s, 65,535 packets or
    /// the end of the buffer ends it early. Returns how many were said; the caller goes on with
    /// another packet (`feedback_count + 1`) from there. `None`: not even one fits.
    pub fn transport_cc(&mut self, head: &TransportCcHead, arrivals: &[Option<u64>]) -> Option<usize> {
        let room = self.buffer.get_mut(self.len..)?;
        let (said, len) = transport_cc::write(room, head, arrivals)?;
        self.len += len;
        Some(said)
    }

    /// Extended report with our reference time (RFC 3611 §4.4).
    pub fn xr_rrtr(&mut self, ssrc: u32, ntp: u64) -> bool {
        self.packet(XR, Some(0), |out| {
            out.u32(ssrc)?;
            out.put(&[BLOCK_RRTR, 0, 0, 2])?;
            out.put(&ntp.to_be_bytes())
        })
    }

    /// Extended report that answers reference times (RFC 3611 §4.5). False when there are none.
    pub fn xr_dlrr(&mut self, ssrc: u32, reports: &[DlrrReport]) -> bool {
        if reports.is_empty() {
            return false;
        }
        self.packet(XR, Some(0), |out| {
            out.u32(ssrc)?;
            out.put(&[BLOCK_DLRR, 0])?;
            out.u16(u16::try_from(reports.len().checked_mul(3)?).ok()?)?;
            for report in reports {
                out.u32(report.ssrc)?;
                out.u32(report.last_rr)?;
                out.u32(report.delay)?;
            }
            Some(())
        })
    }

    /// Writes a header, lets `body` write the rest, then fills in the length; all or nothing.
    fn packet(
        &mut self,
        packet_type: u8,
        format: Option<u8>,
        body: impl FnOnce(&mut Cursor<'_>) -> Option<()>,
    ) -> bool {
        let written = (|| {
            let mut out = Cursor {
                buffer: self.buffer.get_mut(self.len..)?,
                len: 0,
            };
            out.put(&[0x80 | format?, packet_type, 0, 0])?;
            body(&mut out)?;
            out.finish()
        })();
        self.len += written.unwrap_or(0);
        written.is_some()
    }
}

fn count(len: usize) -> Option<u8> {
    (len <= COUNT_MAX).then_some(len as u8)
}

/// A bounded cursor; a write that does not fit returns `None`.
pub(super) struct Cursor<'b> {
    pub(super) buffer: &'b mut [u8],
    pub(super) len: usize,
}

impl Cursor<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buffer.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    fn pad_to_word(&mut self) -> Option<()> {
        let padding = self.len.next_multiple_of(4) - self.len;
        self.put([0; 3].get(..padding)?)
    }

    /// Fills in the header's length field; returns the packet's length in bytes.
    pub(super) fn finish(self) -> Option<usize> {
        debug_assert!(self.len.is_multiple_of(4), "RTCP packets are whole words");
        let words = u16::try_from((self.len / 4).checked_sub(1)?).ok()?;
        self.buffer.get_mut(2..4)?.copy_from_slice(&words.to_be_bytes());
        Some(self.len)
    }
}
