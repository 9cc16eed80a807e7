//! RTCP: compound and reduced-size packets (RFC 3550 §6, RFC 5506), read in place and written in
//! place.
//!
//! Owns: reports, SDES, BYE (RFC 3550), NACK and PLI (RFC 4585), FIR (RFC 5104), REMB
//! (draft-alvestrand-rmcat-remb-03), transport-wide feedback
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01), receiver reference time and DLRR (RFC 3611).
//! Must not know: SRTCP, streams, time.

mod feedback;
mod report;
mod transport_cc;
mod writer;
mod xr;

pub use feedback::{FirEntries, Lost, Ssrcs};
pub use report::{ReportBlock, Reports, Sdes, SdesItem};
pub use transport_cc::{Statuses, TransportCcHead};
pub use writer::Writer;
pub use xr::{DlrrReport, DlrrReports, XrBlock, XrBlocks};

use crate::bytes::Reader;

const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const RTPFB: u8 = 205;
const PSFB: u8 = 206;
const XR: u8 = 207;

const FMT_NACK: u8 = 1;
const FMT_TRANSPORT_CC: u8 = 15;
const FMT_PLI: u8 = 1;
const FMT_FIR: u8 = 4;
const FMT_AFB: u8 = 15;

/// SDES item type of the canonical name (RFC 3550 §6.5.1).
pub const SDES_CNAME: u8 = 1;
/// SDES item type of the media section id (RFC 9143 §15.1).
pub const SDES_MID: u8 = 15;

/// One RTCP packet. The lists inside are iterators that borrow from the datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RFC 3550 §6.4.1.
    SenderReport {
        /// The reporting sender.
        ssrc: u32,
        /// NTP time, 32.32 seconds.
        ntp: u64,
        /// RTP timestamp of the same instant.
        rtp: u32,
        /// Packets sent since the start.
        packets: u32,
        /// Payload bytes sent since the start.
        octets: u32,
        /// What the sender itself receives.
        reports: Reports<'a>,
    },
    /// RFC 3550 §6.4.2.
    ReceiverReport {
        /// The reporting receiver.
        ssrc: u32,
        /// What it receives.
        reports: Reports<'a>,
    },
    /// Source descriptions, RFC 3550 §6.5.
    Sdes(Sdes<'a>),
    /// RFC 3550 §6.6.
    Bye {
        /// Sources that leave.
        ssrcs: Ssrcs<'a>,
    },
    /// Generic NACK, RFC 4585 §6.2.1.
    Nack {
        /// Who asks.
        sender: u32,
        /// For which source.
        media: u32,
        /// Sequence numbers that are missed.
        lost: Lost<'a>,
    },
    /// Picture loss indication, RFC 4585 §6.3.1.
    Pli {
        /// Who asks.
        sender: u32,
        /// For which source.
        media: u32,
    },
    /// Full intra request, RFC 5104 §4.3.1.
    Fir {
        /// Who asks.
        sender: u32,
        /// Pairs of source and command sequence number.
        entries: FirEntries<'a>,
    },
    /// Receiver estimated maximum bitrate.
    Remb {
        /// Who estimates.
        sender: u32,
        /// Bits per second, saturated.
        bitrate_bps: u64,
        /// Sources that share this bitrate.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control feedback.
    TransportCc {
        /// Who reports.
        sender: u32,
        /// Any source of the transport.
        media: u32,
        /// Transport-wide sequence number of the first status.
        base_sequence: u16,
        /// 24-bit time in units of 64 ms, relative to an unknown epoch; wraps.
        reference_time: u32,
        /// Counts feedback packets; wraps.
        feedback_count: u8,
        /// Status of each packet from `base_sequence` on.
        statuses: Statuses<'a>,
    },
    /// Extended report, RFC 3611.
    ExtendedReport {
        /// Who reports.
        ssrc: u32,
        /// Report blocks.
        blocks: XrBlocks<'a>,
    },
    /// Anything else that is well-formed on the outside.
    Unknown {
        /// Packet type.
        packet_type: u8,
        /// The five bits behind the padding bit: a count or a feedback message type.
        format: u8,
    },
}

/// Iterator over the packets of one RTCP datagram, see [`parse`].
#[derive(Clone, Debug)]
pub struct Packets<'a>(Reader<'a>);

/// Reads a compound or reduced-size RTCP datagram. The first broken packet ends it; what came
/// before stands.
#[must_use]
pub const fn parse(data: &[u8]) -> Packets<'_> {
    Packets(Reader(data))
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let packet = next_packet(&mut self.0);
        if packet.is_none() {
            self.0 = Reader(&[]);
        }
        packet
    }
}

fn next_packet<'a>(rest: &mut Reader<'a>) -> Option<Packet<'a>> {
    let [first, packet_type, l0, l1] = rest.array()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut body = rest.take(usize::from(u16::from_be_bytes([l0, l1])) * 4)?;
    if first & 0x20 != 0 {
        // RFC 3550 §6.4.1: the last octet counts the padding, itself included. Only the last packet
        // of a compound should have it, yet transport-wide feedback has it anywhere.
        let padding = usize::from(*body.last()?);
        if padding == 0 {
            return None;
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    let format = first & 0x1F;
    let mut body = Reader(body);
    match (packet_type, format) {
        (SR, count) => report::sender_report(&mut body, count),
        (RR, count) => report::receiver_report(&mut body, count),
        (SDES, count) => Sdes::parse(body, count).map(Packet::Sdes),
        (BYE, count) => Some(Packet::Bye {
            ssrcs: Ssrcs(body.take(usize::from(count) * 4)?),
        }),
        (RTPFB, FMT_NACK) => feedback::nack(&mut body),
        (RTPFB, FMT_TRANSPORT_CC) => transport_cc::parse(&mut body),
        (PSFB, FMT_PLI) => Some(Packet::Pli {
            sender: body.u32()?,
            media: body.u32()?,
        }),
        (PSFB, FMT_FIR) => feedback::fir(&mut body),
        (PSFB, FMT_AFB) => feedback::application(&mut body),
        (XR, _) => Some(Packet::ExtendedReport {
            ssrc: body.u32()?,
            blocks: XrBlocks(body),
        }),
        _ => Some(Packet::Unknown { packet_type, format }),
    }
}

#[cfg(test)]
mod tests;
