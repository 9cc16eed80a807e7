//! What goes back to the sender: reports, key frame requests, NACK, transport-wide feedback.
//!
//! The writing half of [`Receiving`]; its fields stay with it. RFC 3550 §6.4, RFC 3611 §4.4,
//! RFC 4585 §6.2.1 and §6.3.1.

use super::stream::Stream;
use super::{Receiving, arm, nack};
use crate::streams::clock::{Clock, RoundTrip, middle};
use crate::streams::{RTCP_LEN_MAX, StreamStats};
use std::time::Instant;
use wire::rtcp::{ReportBlock, Writer};

/// The most blocks in one report: 5 bits count them.
const BLOCKS_MAX: usize = 31;
const BLOCK_LEN: usize = 24;
/// The longest NACK that one stream can ask with.
const NACK_LEN_MAX: usize = 12 + nack::due_buffer().len() * 4;

impl Receiving {
    /// Writes what is due. False: no room, more waits.
    pub(crate) fn write(
        &mut self,
        (now, clock, round_trip): (Instant, Clock, RoundTrip),
        sender: u32,
        writer: &mut Writer<'_>,
        stats: &mut StreamStats,
    ) -> bool {
        if !self.due {
            return true;
        }
        let all = self.write_reports(now, clock, sender, writer)
            && self.write_key_frames(sender, writer)
            && self.write_nacks(now, round_trip, sender, writer, stats)
            && self.arrivals.write(now, sender, writer);
        if all {
            self.due = false;
            self.deadline = None;
            arm(&mut self.deadline, self.report_at);
            arm(&mut self.deadline, self.arrivals.due_at());
            for primary in self.streams.iter().flatten().filter_map(Stream::primary) {
                arm(&mut self.deadline, primary.missing.next_at());
            }
        }
        all
    }

    /// Receiver reports of all streams that got packets, then our reference time. While nothing
    /// arrives, nothing is reported.
    fn write_reports(&mut self, now: Instant, clock: Clock, sender: u32, writer: &mut Writer<'_>) -> bool {
        if self.report_at.is_none_or(|at| at > now) {
            return true;
        }
        let mut fresh = self
            .streams
            .iter_mut()
            .flatten()
            .filter_map(|stream| {
                let ssrc = stream.ssrc;
                Some((ssrc, stream.primary_mut()?))
            })
            .filter(|(_, primary)| primary.reception.is_fresh())
            .peekable();
        let mut any = false;
        while fresh.peek().is_some() {
            let room = RTCP_LEN_MAX.saturating_sub(writer.len() + 8) / BLOCK_LEN;
            if room == 0 {
                return false;
            }
            let mut blocks = [ReportBlock::default(); BLOCKS_MAX];
            let mut count = 0;
            for (slot, (ssrc, primary)) in blocks.iter_mut().take(room).zip(&mut fresh) {
                *slot = primary.reception.block(now, ssrc);
                count += 1;
            }
            any |= writer.rr(sender, &blocks[..count]);
        }
        self.report_at = None;
        if any {
            // RFC 3611 §4.4. Lost when there is no room; the next report brings another.
            let ntp = clock.ntp(now);
            if writer.xr_rrtr(sender, ntp) {
                self.reference_times.sent(middle(ntp), now);
            }
        }
        true
    }

    fn write_key_frames(&mut self, sender: u32, writer: &mut Writer<'_>) -> bool {
        while let Some(&ssrc) = self.key_frames.last() {
            if !writer.pli(sender, ssrc) {
                return false;
            }
            self.key_frames.pop();
        }
        true
    }

    fn write_nacks(
        &mut self,
        now: Instant,
        round_trip: RoundTrip,
        sender: u32,
        writer: &mut Writer<'_>,
        stats: &mut StreamStats,
    ) -> bool {
        for stream in self.streams.iter_mut().flatten() {
            let ssrc = stream.ssrc;
            let Some(primary) = stream.primary_mut() else {
                continue;
            };
            if primary.missing.next_at().is_none_or(|at| at > now) {
                continue;
            }
            if writer.len() + NACK_LEN_MAX > RTCP_LEN_MAX {
                return false;
            }
            let mut due = nack::due_buffer();
            let count = primary.missing.take_due(now, round_trip.duration(), &mut due);
            if writer.nack(sender, ssrc, &due[..count]) {
                stats.nacks_sent += count as u64;
            }
        }
        true
    }
}
