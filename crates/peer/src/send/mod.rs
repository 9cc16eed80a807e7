//! What we send: streams with their RTX companions, sender reports, and the feedback about them.
//!
//! Owns headers, sequence numbers on the wire, retransmission limits and RTCP about our streams.
//! Must not know: where packets come from, which of them are worth sending, pacing.
//! RFC 3550, RFC 4585, RFC 4588, RFC 5104.

mod delivery;
mod history;
mod playout_delay;
mod stream;

use crate::config::{Kind, SendSpec, Tag};
use crate::outbox::Outbox;
use crate::peer::{PeerEvent, RtpWrite};
use crate::srtp::{OutgoingSsrcs, Srtp};
use crate::streams::clock::{Clock, RoundTrip, fixed_16_16, middle};
use crate::streams::{Events, RTCP_LEN_MAX, StreamStats};
use crate::totals::{MediaSent, SendTotals};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use stream::{Refused, SendStream};
use wire::rtcp::{DlrrReport, ReportBlock, SDES_CNAME, SDES_MID, Writer};

/// Streams of one peer.
const STREAMS_MAX: usize = 4096;
/// A sender report without blocks, and the longest description that goes with it: two texts.
const SR_LEN: usize = 28;
const SDES_LEN_MAX: usize = 8 + 2 * (2 + 255) + 4;
/// Packets that a peer may ask for within [`NACKS_TIME`]; what it asks for beyond is not looked at. Twice
/// what browsers keep in their lists, so that only lists that cannot be meant are cut short.
const NACKS_MAX: u32 = 2000;
const NACKS_TIME: Duration = Duration::from_millis(100);
/// Reference times of receivers that wait for an answer.
const REFERENCE_TIMES_MAX: usize = 8;

/// The sending half of a peer.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    streams: Vec<Option<SendStream>>,
    /// Primary SSRC → place in `streams`, sorted: one datagram asks about more than a hundred.
    by_ssrc: Vec<(u32, u32)>,
    ssrcs: OutgoingSsrcs,
    /// The next transport-wide sequence number.
    transport_cc: u16,
    /// What was sent of sound and of pictures.
    sent: [MediaSent; 2],
    /// Packets asked for in the running [`NACKS_TIME`], which this is the number of.
    nacks: (u128, u32),
    reports: Vec<Report>,
    reference_times: Vec<ReferenceTime>,
}

/// A sender report that waits to be written.
#[derive(Clone, Copy, Debug)]
struct Report {
    index: u32,
    ntp: u64,
    rtp: u32,
}

/// RFC 3611 §4.4, as received.
#[derive(Clone, Copy, Debug)]
struct ReferenceTime {
    ssrc: u32,
    last_rr: u32,
    at: Instant,
}

impl Sending {
    /// Adds a stream, or updates the one with this tag. False: an SSRC is in use, or there are too
    /// many streams.
    pub(crate) fn add(&mut self, spec: SendSpec, random: u16) -> bool {
        if let Some(index) = self.index(spec.tag) {
            let stream = self.stream_mut(index).expect("just found");
            if stream.update(&spec) {
                return true;
            }
            self.remove(spec.tag);
        }
        let free = self.streams.iter().position(Option::is_none);
        if free.is_none() && self.streams.len() >= STREAMS_MAX {
            return false;
        }
        let Some(primary) = self.ssrcs.take(spec.ssrc) else {
            return false;
        };
        let rtx = match spec.rtx_ssrc.map(|ssrc| self.ssrcs.take(ssrc)) {
            None => None,
            Some(Some(index)) => Some(index),
            Some(None) => {
                self.ssrcs.put_back(primary);
                return false;
            }
        };
        let stream = Some(SendStream::new(&spec, primary, rtx, random));
        let place = free.unwrap_or(self.streams.len());
        match free {
            Some(free) => self.streams[free] = stream,
            None => self.streams.push(stream),
        }
        let at = self.by_ssrc.partition_point(|&(known, _)| known < spec.ssrc);
        let place = u32::try_from(place).expect("at most STREAMS_MAX");
        self.by_ssrc.insert(at, (spec.ssrc, place));
        true
    }

    pub(crate) fn remove(&mut self, tag: Tag) {
        let Some(index) = self.index(tag) else { return };
        self.reports.retain(|report| report.index != index);
        self.by_ssrc.retain(|&(_, place)| place != index);
        let stream = self.streams.get_mut(index as usize).and_then(Option::take);
        for index in stream.into_iter().flat_map(SendStream::into_indices) {
            self.ssrcs.put_back(index);
        }
    }

    pub(crate) fn index(&self, tag: Tag) -> Option<u32> {
        let at = self
            .streams
            .iter()
            .position(|stream| stream.as_ref().is_some_and(|stream| stream.tag == tag))?;
        u32::try_from(at).ok()
    }

    pub(crate) fn totals(&self, index: u32) -> Option<SendTotals> {
        Some(self.streams.get(index as usize)?.as_ref()?.totals())
    }

    /// Writes, encrypts and queues one packet. False: the outbox is full.
    #[inline]
    pub(crate) fn write(
        &mut self,
        (now, clock): (Instant, Clock),
        srtp: &Srtp,
        (index, packet): (u32, &RtpWrite<'_>),
        (to, local, outbox): (SocketAddr, u8, &mut Outbox),
        stats: &mut StreamStats,
    ) -> bool {
        let Some(Some(stream)) = self.streams.get_mut(index as usize) else {
            stats.rtp_unsent += 1;
            return true;
        };
        let Some(slot) = outbox.slot() else {
            return false;
        };
        let abs_send_time = if stream.wants_send_time() {
            clock.abs_send_time(now)
        } else {
            0
        };
        match stream.write(srtp, packet, (self.transport_cc, abs_send_time), slot) {
            Ok(len) => {
                outbox.commit(to, local, len, !packet.retransmission);
                self.transport_cc = self.transport_cc.wrapping_add(1);
                stats.rtp_sent += 1;
                stats.rtp_sent_bytes += len as u64;
                stats.retransmissions_sent += u64::from(packet.retransmission);
                if !packet.retransmission {
                    let sent = &mut self.sent[stream.kind() as usize];
                    sent.packets += 1;
                    sent.bytes += len as u64;
                }
            }
            Err(Refused::NoFormat) => stats.rtp_unsent += 1,
            Err(Refused::IndexUsed) => stats.indices_refused += 1,
            Err(Refused::TooLong) => stats.oversized += 1,
        }
        true
    }

    pub(crate) const fn sent(&self, kind: Kind) -> MediaSent {
        self.sent[kind as usize]
    }

    /// See [`crate::Peer::warm`].
    pub(crate) fn warm(&self) -> usize {
        self.streams.len() ^ usize::from(self.transport_cc)
    }

    pub(crate) fn warm_stream(&self, index: u32) -> usize {
        let stream = self.streams.get(index as usize).and_then(Option::as_ref);
        stream.map_or(0, SendStream::warm)
    }

    pub(crate) fn warm_history(&self, index: u32) -> usize {
        let stream = self.streams.get(index as usize).and_then(Option::as_ref);
        stream.map_or(0, SendStream::warm_history)
    }

    // ---- feedback ------------------------------------------------------------------------

    pub(crate) fn nack(
        &mut self,
        (now, clock, round_trip): (Instant, Clock, RoundTrip),
        media: u32,
        lost: impl Iterator<Item = u16>,
        stats: &mut StreamStats,
        events: &mut Events,
    ) {
        let now = clock.since_epoch(now);
        let period = now.as_millis() / NACKS_TIME.as_millis();
        let mut asked = if self.nacks.0 == period { self.nacks.1 } else { 0 };
        let Some(stream) = self.by_ssrc(media) else { return };
        let (tag, kind, mut missed) = (stream.tag, stream.kind(), 0);
        for sequence in lost {
            stats.nacks_received += 1;
            if asked == NACKS_MAX {
                stats.nacks_ignored += 1;
                break;
            }
            asked += 1;
            match stream.wanted(now, round_trip, sequence) {
                Some((sequence, times)) => {
                    missed += u64::from(times == 1);
                    events.push(PeerEvent::Nack { tag, sequence });
                }
                None => stats.nacks_ignored += 1,
            }
        }
        self.nacks = (period, asked);
        self.sent[kind as usize].missed += missed;
    }

    pub(crate) fn pli(&mut self, media: u32, events: &mut Events) {
        if let Some(stream) = self.by_ssrc(media) {
            events.push(PeerEvent::KeyFrameWanted { tag: stream.tag });
        }
    }

    pub(crate) fn fir(&mut self, media: u32, sequence: u8, events: &mut Events) {
        if let Some(stream) = self.by_ssrc(media)
            && stream.is_new_fir(sequence)
        {
            events.push(PeerEvent::KeyFrameWanted { tag: stream.tag });
        }
    }

    /// A report block about one of our streams; returns the round trip that it tells.
    pub(crate) fn report_block(
        &mut self,
        now: Instant,
        block: &ReportBlock,
        events: &mut Events,
    ) -> Option<u32> {
        let stream = self.by_ssrc(block.ssrc)?;
        let (rtt_us, delivery) = stream.report_block(now, block);
        events.push(PeerEvent::ReceiverReport {
            tag: stream.tag,
            fraction_lost: block.fraction_lost,
            jitter: block.jitter,
            rtt_us,
            delivery,
        });
        rtt_us
    }

    /// A receiver asks when we got this (RFC 3611 §4.4).
    pub(crate) fn reference_time(&mut self, now: Instant, ssrc: u32, ntp: u64) {
        self.reference_times.retain(|time| time.ssrc != ssrc);
        if self.reference_times.len() < REFERENCE_TIMES_MAX {
            self.reference_times.push(ReferenceTime {
                ssrc,
                last_rr: middle(ntp),
                at: now,
            });
        }
    }

    // ---- reports -------------------------------------------------------------------------

    /// Queues a sender report; one that still waits is replaced.
    pub(crate) fn report(&mut self, tag: Tag, ntp: u64, rtp: u32) {
        let Some(index) = self.index(tag) else { return };
        self.reports.retain(|report| report.index != index);
        self.reports.push(Report { index, ntp, rtp });
    }

    pub(crate) const fn is_due(&self) -> bool {
        !self.reports.is_empty() || !self.reference_times.is_empty()
    }

    /// Writes sender reports with descriptions, and answers. False: no room, more waits.
    pub(crate) fn write_reports(&mut self, now: Instant, sender: u32, writer: &mut Writer<'_>) -> bool {
        while let Some(&Report { index, ntp, rtp }) = self.reports.last() {
            if let Some(Some(stream)) = self.streams.get_mut(index as usize) {
                let ssrc = stream.ssrc();
                if RTCP_LEN_MAX.saturating_sub(writer.len()) < SR_LEN + SDES_LEN_MAX {
                    return false;
                }
                let items = [
                    (SDES_CNAME, stream.cname.as_bytes()),
                    (SDES_MID, stream.mid.as_bytes()),
                ];
                let count = 2 - usize::from(stream.mid.is_empty());
                let (packets, octets) = stream.sent_counts();
                let written = writer.sr(ssrc, ntp, rtp, packets, octets, &[])
                    && writer.sdes_items(ssrc, items.get(..count).unwrap_or(&items));
                debug_assert!(written, "there is room for the longest names");
                stream.reported(now, ntp);
            }
            self.reports.pop();
        }
        while let Some(time) = self.reference_times.last() {
            let answer = DlrrReport {
                ssrc: time.ssrc,
                last_rr: time.last_rr,
                delay: fixed_16_16(now.saturating_duration_since(time.at)),
            };
            if !writer.xr_dlrr(sender, &[answer]) {
                return false;
            }
            self.reference_times.pop();
        }
        true
    }

    fn stream_mut(&mut self, index: u32) -> Option<&mut SendStream> {
        self.streams.get_mut(index as usize)?.as_mut()
    }

    /// By primary SSRC: nobody asks for retransmissions of retransmissions.
    fn by_ssrc(&mut self, ssrc: u32) -> Option<&mut SendStream> {
        let at = self
            .by_ssrc
            .binary_search_by_key(&ssrc, |&(known, _)| known)
            .ok()?;
        let &(_, place) = self.by_ssrc.get(at)?;
        let stream = self.stream_mut(place)?;
        debug_assert_eq!(stream.ssrc(), ssrc, "the table knows each stream");
        Some(stream)
    }
}
