//! One SSRC that we send, with its RTX companion.

use super::delivery::Reports;
use super::history::{History, Resends, Sent};
use super::playout_delay::PlayoutDelay;
use crate::config::{Codec, Kind, SendSpec, Tag};
use crate::peer::RtpWrite;
use crate::srtp::{OutgoingIndex, RTP_OVERHEAD_MAX, Srtp, Use};
use crate::streams::clock::{Echoes, RoundTrip, middle};
use crate::totals::{Delivery, SendReport, SendTotals};
use std::time::{Duration, Instant};
use wire::ext::{self, ExtensionIds};
use wire::rtcp::ReportBlock;
use wire::rtp::HEADER_LEN;

/// The largest datagram: an Ethernet frame less IPv6 and UDP headers.
const DATAGRAM_MAX: usize = 1500 - 40 - 8;
const CODECS: usize = Codec::Av1 as usize + 1;
/// RTX packets begin with the original sequence number (RFC 4588 §4).
const OSN_LEN: usize = 2;

/// Why a packet was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its codec has no payload type here.
    NoFormat,
    /// Its index was used, and not for these bytes.
    IndexUsed,
    TooLong,
}

#[derive(Debug)]
pub(super) struct SendStream {
    pub(super) tag: Tag,
    pub(super) mid: String,
    pub(super) cname: String,
    kind: Kind,
    extensions: ExtensionIds,
    formats: [Format; CODECS],
    index: OutgoingIndex,
    rtx: Option<Rtx>,
    /// The MID is sent until the first report about the stream shows that the remote side knows it.
    mid_known: bool,
    packets: u32,
    octets: u32,
    history: History,
    resends: Resends,
    echoes: Echoes,
    fir: Option<u8>,
    /// Boxed: few rooms delay playout.
    playout_delay: Option<Box<PlayoutDelay>>,
    report: Option<SendReport>,
    reports: Reports,
}

/// Payload types of one codec; `None`: not negotiated.
#[derive(Clone, Copy, Debug, Default)]
struct Format {
    pt: Option<u8>,
    rtx_pt: Option<u8>,
}

#[derive(Debug)]
struct Rtx {
    index: OutgoingIndex,
    /// Its next sequence number.
    next: u64,
}

/// A header that is about to be written.
struct Head {
    pt: u8,
    sequence: u16,
    ssrc: u32,
    /// What varies between two writings of the same packet.
    sent: Sent,
    original: Option<u16>,
    playout_delay: Option<[u8; 3]>,
}

impl SendStream {
    pub(super) fn new(
        spec: &SendSpec,
        index: OutgoingIndex,
        rtx: Option<OutgoingIndex>,
        random: u16,
    ) -> Self {
        let mut stream = Self {
            tag: spec.tag,
            mid: String::new(),
            cname: String::new(),
            kind: spec.kind,
            extensions: spec.extensions,
            formats: [Format::default(); CODECS],
            index,
            rtx: rtx.map(|index| Rtx {
                index,
                // The lower half leaves room to wrap before receivers could guess a rollover.
                next: u64::from(random & 0x7FFF),
            }),
            mid_known: false,
            packets: 0,
            octets: 0,
            history: History::default(),
            resends: Resends::default(),
            echoes: Echoes::default(),
            fir: None,
            playout_delay: None,
            report: None,
            reports: Reports::default(),
        };
        stream.describe(spec);
        stream
    }

    /// Takes over a changed description. False when its SSRCs are others: it is another stream.
    pub(super) fn update(&mut self, spec: &SendSpec) -> bool {
        let rtx_ssrc = self.rtx.as_ref().map(|rtx| rtx.index.ssrc());
        if (self.ssrc(), rtx_ssrc) != (spec.ssrc, spec.rtx_ssrc) {
            return false;
        }
        self.describe(spec);
        true
    }

    fn describe(&mut self, spec: &SendSpec) {
        self.mid_known &= self.mid == spec.mid;
        self.mid.clone_from(&spec.mid);
        self.cname.clone_from(&spec.cname);
        self.kind = spec.kind;
        self.extensions = spec.extensions;
        self.describe_delay(spec);
        self.formats = [Format::default(); CODECS];
        for payload in &spec.payloads {
            // The first one of a codec is the preferred one.
            let format = &mut self.formats[payload.codec as usize];
            if format.pt.is_none() {
                *format = Format {
                    pt: Some(payload.pt & 0x7F),
                    rtx_pt: payload.rtx_pt.map(|pt| pt & 0x7F),
                };
            }
        }
    }

    fn describe_delay(&mut self, spec: &SendSpec) {
        let wanted = spec
            .playout_delay
            .filter(|_| spec.kind == Kind::Video && spec.extensions.playout_delay != 0);
        let fixed = self.rtx.is_none();
        let known = self.playout_delay.take();
        self.playout_delay = wanted.map(|bounds| {
            let known = known.filter(|delay| delay.is(bounds, fixed));
            known.unwrap_or_else(|| Box::new(PlayoutDelay::new(bounds, fixed)))
        });
    }

    pub(super) const fn ssrc(&self) -> u32 {
        self.index.ssrc()
    }

    pub(super) fn into_indices(self) -> impl Iterator<Item = OutgoingIndex> {
        [Some(self.index), self.rtx.map(|rtx| rtx.index)]
            .into_iter()
            .flatten()
    }

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) const fn wants_send_time(&self) -> bool {
        self.extensions.abs_send_time != 0
    }

    /// Reads a word of each part that writing a packet needs; the value means nothing.
    pub(super) fn warm(&self) -> usize {
        self.mid.len()
            ^ usize::from(self.extensions.mid)
            ^ self.formats[0].pt.map_or(0, usize::from)
            ^ self.index.warm()
            ^ self.octets as usize
            ^ usize::from(self.playout_delay.is_some())
    }

    /// As [`Self::warm`], for the place of the next packet in the history.
    pub(super) fn warm_history(&self) -> usize {
        self.history.warm(self.index.span())
    }

    // ---- packets -------------------------------------------------------------------------

    /// Writes and protects one packet; returns its length in `slot`. `stamps` are the transport-wide
    /// sequence number and abs-send-time that it gets where negotiated.
    #[inline]
    pub(super) fn write(
        &mut self,
        srtp: &Srtp,
        packet: &RtpWrite<'_>,
        (transport_cc, abs_send_time): (u16, u32),
        slot: &mut [u8],
    ) -> Result<usize, Refused> {
        let format = self.formats[packet.codec as usize];
        let pt = format.pt.ok_or(Refused::NoFormat)?;
        let [_, abs_send_time @ ..] = abs_send_time.to_be_bytes();
        let sent = Sent {
            transport_cc,
            abs_send_time,
            with_mid: !self.mid_known,
            ..Sent::default()
        };
        let rtx_pt = format.rtx_pt.filter(|_| self.rtx.is_some());
        if packet.retransmission
            && let Some(pt) = rtx_pt
        {
            return self.write_rtx(srtp, packet, sent, pt, slot);
        }
        let index = match self.index.claim(packet.sequence) {
            Use::First(index) => index,
            Use::Again(index) if packet.retransmission => return self.repeat(srtp, packet, pt, index, slot),
            Use::Again(_) | Use::Never => return Err(Refused::IndexUsed),
        };
        let playout_delay = match &mut self.playout_delay {
            Some(delay) => delay.stamp(index as u16),
            None => None,
        };
        let head = Head {
            pt,
            sequence: index as u16,
            ssrc: self.ssrc(),
            sent,
            original: None,
            playout_delay,
        };
        let len = self.seal(srtp, packet, &head, index, slot)?;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self
            .octets
            .wrapping_add((packet.prefix.len() + packet.payload.len()) as u32);
        if rtx_pt.is_none() {
            let tag = tag_of(slot, len);
            self.history.put(index, Sent { tag, ..sent }, self.history_len());
        }
        Ok(len)
    }

    /// RFC 4588: a packet of its own, that carries the original sequence number and payload.
    fn write_rtx(
        &mut self,
        srtp: &Srtp,
        packet: &RtpWrite<'_>,
        sent: Sent,
        pt: u8,
        slot: &mut [u8],
    ) -> Result<usize, Refused> {
        let original = self.index.on_wire(packet.sequence).ok_or(Refused::IndexUsed)?;
        let rtx = self.rtx.as_mut().ok_or(Refused::NoFormat)?;
        let Use::First(index) = rtx.index.claim(rtx.next) else {
            return Err(Refused::IndexUsed);
        };
        rtx.next += 1;
        let head = Head {
            pt,
            sequence: index as u16,
            ssrc: rtx.index.ssrc(),
            sent,
            original: Some(original),
            playout_delay: None,
        };
        self.seal(srtp, packet, &head, index, slot)
    }

    /// Without RTX a packet is sent again as it was. Other bytes under the same index would repeat a
    /// GCM nonce, so they are made in the slot, compared by their tag, and wiped if they differ.
    #[cold]
    fn repeat(
        &self,
        srtp: &Srtp,
        packet: &RtpWrite<'_>,
        pt: u8,
        index: u64,
        slot: &mut [u8],
    ) -> Result<usize, Refused> {
        let sent = self.history.get(index).ok_or(Refused::IndexUsed)?;
        let head = Head {
            pt,
            sequence: index as u16,
            ssrc: self.ssrc(),
            sent,
            original: None,
            playout_delay: self.playout_delay.as_ref().map(|delay| delay.value()),
        };
        let len = self.seal(srtp, packet, &head, index, slot)?;
        if tag_of(slot, len) != sent.tag {
            slot.fill(0);
            return Err(Refused::IndexUsed);
        }
        Ok(len)
    }

    #[inline]
    fn seal(
        &self,
        srtp: &Srtp,
        packet: &RtpWrite<'_>,
        head: &Head,
        index: u64,
        slot: &mut [u8],
    ) -> Result<usize, Refused> {
        let slot = slot.get_mut(..DATAGRAM_MAX).ok_or(Refused::TooLong)?;
        let room = DATAGRAM_MAX - RTP_OVERHEAD_MAX;
        let (header_len, len) = self
            .put(packet, head, slot.get_mut(..room).ok_or(Refused::TooLong)?)
            .ok_or(Refused::TooLong)?;
        srtp.seal_rtp(head.ssrc, index, slot, header_len, len)
            .ok_or(Refused::TooLong)
    }

    /// Writes the plain packet; returns the lengths of header and packet. `None`: no room.
    #[inline]
    fn put(&self, packet: &RtpWrite<'_>, head: &Head, out: &mut [u8]) -> Option<(usize, usize)> {
        let (fixed, rest) = out.split_first_chunk_mut::<HEADER_LEN>()?;
        let ids = &self.extensions;
        let mid_id = if head.sent.with_mid { ids.mid } else { 0 };
        let optional = |id: u8, value: &[u8]| if value.is_empty() { 0 } else { id };
        let playout_delay = head.playout_delay.as_ref().map_or(&[][..], |value| value);
        let extension_len = ext::write(
            rest,
            &[
                (ids.transport_cc, &head.sent.transport_cc.to_be_bytes()),
                (ids.abs_send_time, &head.sent.abs_send_time),
                (optional(mid_id, self.mid.as_bytes()), self.mid.as_bytes()),
                (
                    optional(ids.dependency_descriptor, packet.dependency_descriptor),
                    packet.dependency_descriptor,
                ),
                (
                    optional(ids.abs_capture_time, packet.abs_capture_time),
                    packet.abs_capture_time,
                ),
                (optional(ids.playout_delay, playout_delay), playout_delay),
            ],
        )?;
        let first = 0x80 | u8::from(extension_len != 0) << 4 | u8::from(packet.padding != 0) << 5;
        let [s0, s1] = head.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = packet.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = head.ssrc.to_be_bytes();
        let second = u8::from(packet.marker) << 7 | head.pt;
        *fixed = [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3];

        let header_len = HEADER_LEN + extension_len;
        let mut at = header_len;
        if let Some(original) = head.original {
            out.get_mut(at..at + OSN_LEN)?
                .copy_from_slice(&original.to_be_bytes());
            at += OSN_LEN;
        }
        for part in [packet.prefix, packet.payload] {
            out.get_mut(at..at + part.len())?.copy_from_slice(part);
            at += part.len();
        }
        if packet.padding != 0 {
            let padding = out.get_mut(at..at + usize::from(packet.padding))?;
            padding.fill(0);
            *padding.last_mut()? = packet.padding;
            at += padding.len();
        }
        Some((header_len, at))
    }

    // ---- feedback and reports --------------------------------------------------------------

    /// The caller's sequence number of a packet that the remote side misses, if it may be sent again, and
    /// how often it was missed.
    pub(super) fn wanted(
        &mut self,
        now: Duration,
        round_trip: RoundTrip,
        sequence: u16,
    ) -> Option<(u16, u8)> {
        let history = match self.kind {
            // 2.4 s of packets of 20 ms: older ones come too late to be heard, and each place costs
            // 24 bytes per subscriber.
            Kind::Audio => 120,
            Kind::Video => 500,
        };
        let (index, sequence) = self.index.find(sequence, history)?;
        let times = self
            .resends
            .allow(now, round_trip.duration(), index, self.history_len())?;
        Some((sequence as u16, times))
    }

    /// Places in rings by packet index; powers of two above the history.
    const fn history_len(&self) -> usize {
        match self.kind {
            Kind::Audio => 128,
            Kind::Video => 512,
        }
    }

    /// RFC 5104 §4.3.1.2: a repeated request has the same number.
    pub(super) fn is_new_fir(&mut self, sequence: u8) -> bool {
        self.fir.replace(sequence) != Some(sequence)
    }

    /// Learns from a report; returns the round trip in microseconds, and what arrived.
    pub(super) fn report_block(
        &mut self,
        now: Instant,
        block: &ReportBlock,
    ) -> (Option<u32>, Option<Delivery>) {
        self.mid_known = true;
        if let Some(delay) = &mut self.playout_delay {
            // Video clocks run at 90 kHz (RFC 7741 §4.1 and the like).
            delay.report(now, block.jitter / 90, block.highest_sequence as u16);
        }
        self.report = Some(SendReport {
            at: now,
            highest: block.highest_sequence,
            lost: block.cumulative_lost,
            packets: self.packets,
            skipped: (self.index.span() as u32).wrapping_sub(self.packets),
        });
        let delivery = self
            .reports
            .learn(block, self.index.span(), (self.packets, self.octets));
        let round_trip_us = match block.last_sr {
            0 => None,
            last_sr => self.echoes.round_trip_us(now, last_sr, block.delay_since_sr),
        };
        (round_trip_us, delivery)
    }

    /// Packets and payload bytes, as sender reports count them (RFC 3550 §6.4.1).
    pub(super) const fn sent_counts(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// Packets sent and the last report about them.
    pub(super) const fn totals(&self) -> SendTotals {
        SendTotals {
            packets: self.packets,
            report: self.report,
        }
    }

    /// A sender report with this NTP time left now.
    pub(super) const fn reported(&mut self, now: Instant, ntp: u64) {
        self.echoes.sent(middle(ntp), now);
    }
}

/// The first bytes of the tag at the end of a protected packet: both kinds of tag are longer.
#[inline]
fn tag_of(slot: &[u8], len: usize) -> [u8; 8] {
    let end = slot.get(..len).and_then(<[u8]>::last_chunk::<8>);
    *end.expect("a protected packet is longer than its tag")
}
