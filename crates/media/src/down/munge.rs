//! Numbering of one outgoing stream: sequence numbers without holes of our making, timestamps that
//! go on across layers, and the numbers inside codec descriptors.
//!
//! Owns: the offsets in force and their [`History`]. Must not know: why a packet is forwarded.
//!
//! Holes that the publisher's network made are kept as holes, so that a packet which arrives late
//! (retransmitted) still has its place. A hole beside dropped packets is kept when it may belong to
//! a forwarded frame, and closed when it surely belongs to the dropped one.

use super::history::{History, Run};
use super::inject::BlankVp8;
use crate::frame::{Frame, Vp8Numbers};
use std::time::Instant;
use wire::seq::newer_32;

/// Furthest that a timestamp derived from sender reports may lie from the one derived from arrival
/// times, in seconds: reports that say more are taken for broken.
const REPORT_TRUST_S: u32 = 2;

/// A sender report of a source layer: the same instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderReport {
    /// NTP time of the publisher, 32.32.
    pub(crate) ntp: u64,
    /// RTP timestamp.
    pub(crate) rtp: u32,
    /// When it arrived.
    pub(crate) at: Instant,
}

/// One source packet as the numbering sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    /// Source layer.
    pub(crate) layer: u8,
    /// Extended sequence number.
    pub(crate) sequence: u64,
    /// RTP timestamp.
    pub(crate) timestamp: u32,
    /// Clock rate in Hz.
    pub(crate) clock_rate: u32,
    /// Digest.
    pub(crate) frame: &'a Frame,
    /// When it arrived.
    pub(crate) at: Instant,
}

/// The latest source packet that was decided about.
#[derive(Clone, Copy, Debug)]
struct Latest {
    sequence: u64,
    forwarded: bool,
    end: bool,
}

/// The latest outgoing numbers, from which a new run goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    source_timestamp: u32,
    timestamp: u32,
    picture: u16,
    tl0: u8,
    keyidx: u8,
    frame: u16,
    /// The numbers that the stream's VP8 descriptors carry.
    vp8: Option<Vp8Numbers>,
}

/// Numbers of an injected packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Injected {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) vp8: BlankVp8,
}

/// Numbering of one down track.
#[derive(Debug)]
pub(crate) struct Munger {
    history: History,
    latest: Option<Latest>,
    sent: Option<(Sent, Instant)>,
    /// Outgoing sequence number of the next run.
    next_out: u64,
    /// Pictures dropped since the last forwarded packet.
    dropped_picture: Option<u16>,
    dropped_pictures: u16,
}

impl Munger {
    /// `first` is the first outgoing sequence number, below 2^16; `runs_max` bounds the history.
    pub(crate) fn new(first: u16, runs_max: usize) -> Self {
        Self {
            history: History::new(runs_max),
            latest: None,
            sent: None,
            // One cycle up, so that arithmetic near zero needs no care.
            next_out: u64::from(first),
            dropped_picture: None,
            dropped_pictures: 0,
        }
    }

    /// Reads what the next packet needs; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.next_out as usize
            ^ self.sent.map_or(0, |(sent, _)| sent.timestamp as usize)
            ^ self.latest.map_or(0, |latest| latest.sequence as usize)
    }

    /// As [`Self::warm`], for what lies behind a pointer.
    pub(crate) fn warm_history(&self) -> usize {
        self.history.warm()
    }

    /// Whether a packet of the running layer is older than one that was decided about.
    pub(crate) fn is_late(&self, sequence: u64) -> bool {
        self.latest.is_some_and(|latest| sequence <= latest.sequence)
    }

    /// Numbers of a packet that comes after newer ones, if its place was kept.
    pub(crate) fn late(&self, layer: u8, sequence: u64) -> Option<&Run> {
        self.history.by_source(layer, sequence)
    }

    /// Numbers of a packet that was sent, by its outgoing sequence number.
    pub(crate) fn sent(&self, out: u16) -> Option<(&Run, u64)> {
        self.history.by_out(out)
    }

    /// The next packet of the running layer is not for this subscriber.
    pub(crate) fn drop_packet(&mut self, sequence: u64, frame: &Frame) {
        if let Some(latest) = self.latest {
            if sequence <= latest.sequence {
                return;
            }
            let gap = sequence - latest.sequence - 1;
            let belongs_here = !frame.start && (latest.end || !latest.forwarded);
            let all_dropped = !latest.forwarded && !latest.end;
            if gap > 0 && !belongs_here && !all_dropped {
                self.keep_hole(latest, gap);
            }
        }
        if let Some((picture, _)) = frame.vp8.and_then(|numbers| numbers.picture)
            && self.dropped_picture != Some(picture)
        {
            self.dropped_picture = Some(picture);
            self.dropped_pictures = self.dropped_pictures.wrapping_add(1);
        }
        self.latest = Some(Latest {
            sequence,
            forwarded: false,
            end: frame.end,
        });
    }

    /// The next packet of the running layer is padding, which nobody gets. Holes beside it stay: a frame
    /// may have been lost there.
    pub(crate) fn skip_padding(&mut self, sequence: u64) {
        let Some(latest) = self.latest.filter(|latest| sequence > latest.sequence) else {
            return;
        };
        let gap = sequence - latest.sequence - 1;
        if gap > 0 && (latest.forwarded || latest.end) {
            self.keep_hole(latest, gap);
        }
        self.latest = Some(Latest {
            sequence,
            forwarded: false,
            end: true,
        });
    }

    /// Keeps room for `gap` lost packets behind `latest`.
    fn keep_hole(&mut self, latest: Latest, gap: u64) {
        let Some(current) = self.history.current() else {
            return;
        };
        if latest.forwarded {
            current.last += gap;
            self.next_out = current.out_end();
        } else {
            let run = Run {
                first: latest.sequence + 1,
                last: latest.sequence + gap,
                out_first: self.next_out,
                ..*current
            };
            self.next_out = run.out_end();
            self.history.push(run);
        }
    }

    /// The next packet of the running layer is forwarded. `within` are the highest spatial and
    /// temporal layers in force.
    pub(crate) fn forward(&mut self, source: &Source<'_>, within: (u8, u8)) -> Option<&Run> {
        let latest = self.latest?;
        let next_out = self.next_out;
        let extends = latest.forwarded;
        let (pictures, frame) = (self.dropped_pictures, source.frame);
        let run = self.history.current()?;
        if extends && (run.spatial_max, run.temporal_max) == within {
            run.last = source.sequence;
        } else {
            let gap = source.sequence - latest.sequence - 1;
            // The hole is the dropped frame's tail when this packet starts the next frame.
            let close = !latest.forwarded && frame.start && !latest.end;
            let first = if close {
                source.sequence
            } else {
                source.sequence - gap
            };
            let fresh = Run {
                first,
                last: source.sequence,
                out_first: next_out,
                picture_offset: run.picture_offset.wrapping_sub(pictures),
                spatial_max: within.0,
                temporal_max: within.1,
                ..*run
            };
            self.history.push(fresh);
        }
        Some(self.advance(source))
    }

    /// The first packet of a layer, or the first one after a pause. `reports`: the sender reports
    /// of the layer that flowed before and of this one.
    pub(crate) fn switch(
        &mut self,
        source: &Source<'_>,
        within: (u8, u8),
        reports: (Option<SenderReport>, Option<SenderReport>),
    ) -> &Run {
        let vp8 = source.frame.vp8.unwrap_or_default();
        let number = source.frame.dependency.map_or(0, |dependency| dependency.number);
        let mut run = Run {
            first: source.sequence,
            last: source.sequence,
            out_first: self.next_out,
            timestamp_offset: 0,
            picture_offset: 0,
            frame_offset: 0,
            tl0_offset: 0,
            keyidx_offset: 0,
            layer: source.layer,
            spatial_max: within.0,
            temporal_max: within.1,
        };
        if let Some((sent, at)) = self.sent {
            let before = self.history.current().copied();
            run.timestamp_offset = timestamp_offset(source, before.as_ref(), sent, at, reports);
            let after = |last: u16| last.wrapping_add(1);
            run.picture_offset = after(sent.picture).wrapping_sub(vp8.picture.map_or(0, |p| p.0));
            run.tl0_offset = sent.tl0.wrapping_add(1).wrapping_sub(vp8.tl0.unwrap_or(0));
            run.keyidx_offset = sent.keyidx.wrapping_add(1).wrapping_sub(vp8.keyidx.unwrap_or(0));
            run.frame_offset = after(sent.frame).wrapping_sub(number);
        }
        self.history.push(run);
        self.advance(source)
    }

    /// Numbers of a packet that no publisher sent, while nothing flows: behind everything that left,
    /// and a whole number of frames of `rate` per second later.
    pub(crate) fn inject(&mut self, now: Instant, clock_rate: u32, rate: u32) -> Injected {
        let (mut sent, at) = self.sent.unwrap_or((Sent::default(), now));
        let elapsed = now.saturating_duration_since(at);
        let frames = (elapsed.as_micros() * u128::from(rate) + 500_000) / 1_000_000;
        let ticks = (frames.max(1) * u128::from(clock_rate / rate)) as u32;
        sent.timestamp = sent.timestamp.wrapping_add(ticks);
        sent.picture = sent.picture.wrapping_add(1);
        sent.tl0 = sent.tl0.wrapping_add(1);
        sent.keyidx = sent.keyidx.wrapping_add(1);
        self.sent = Some((sent, now));
        let sequence = self.next_out;
        self.next_out += 1;
        let vp8 = sent.vp8.unwrap_or_default();
        Injected {
            sequence,
            timestamp: sent.timestamp,
            vp8: BlankVp8 {
                picture: vp8.picture.map(|(_, wide)| (sent.picture, wide)),
                tl0: vp8.tl0.map(|_| sent.tl0),
                keyidx: vp8.keyidx.map(|_| sent.keyidx),
            },
        }
    }

    /// The source of this layer began anew with other numbers: what was sent cannot be found any more.
    pub(crate) fn source_restarted(&mut self) {
        self.history.clear();
        self.latest = None;
    }

    /// Notes what a forwarded packet looks like outside, and returns its run.
    fn advance(&mut self, source: &Source<'_>) -> &Run {
        self.latest = Some(Latest {
            sequence: source.sequence,
            forwarded: true,
            end: source.frame.end,
        });
        self.dropped_pictures = 0;
        self.dropped_picture = None;
        let run = self.history.current().expect("the caller extended or pushed it");
        self.next_out = run.out_end();
        let mut sent = self.sent.map_or(Sent::default(), |(sent, _)| sent);
        sent.source_timestamp = source.timestamp;
        sent.timestamp = source.timestamp.wrapping_add(run.timestamp_offset);
        sent.vp8 = source.frame.vp8;
        if let Some(vp8) = source.frame.vp8 {
            if let Some((picture, _)) = vp8.picture {
                sent.picture = picture.wrapping_add(run.picture_offset);
            }
            if let Some(tl0) = vp8.tl0 {
                sent.tl0 = tl0.wrapping_add(run.tl0_offset);
            }
            if let Some(keyidx) = vp8.keyidx {
                sent.keyidx = keyidx.wrapping_add(run.keyidx_offset);
            }
        }
        if let Some(dependency) = source.frame.dependency {
            sent.frame = dependency.number.wrapping_add(run.frame_offset);
        }
        self.sent = Some((sent, source.at));
        run
    }

    /// The offset that maps the running layer's timestamps to outgoing ones, and that layer.
    pub(crate) fn running(&mut self) -> Option<(u8, u32)> {
        self.history
            .current()
            .map(|run| (run.layer, run.timestamp_offset))
    }
}

/// The offset that continues the outgoing timestamps at a switch. Always moves forward.
fn timestamp_offset(
    source: &Source<'_>,
    before: Option<&Run>,
    sent: Sent,
    sent_at: Instant,
    reports: (Option<SenderReport>, Option<SenderReport>),
) -> u32 {
    let elapsed = source.at.saturating_duration_since(sent_at);
    let ticks = (elapsed.as_micros() * u128::from(source.clock_rate) / 1_000_000) as u32;
    let by_arrival = sent.timestamp.wrapping_add(ticks);
    let exact = match (before, reports) {
        // The same clock goes on.
        (Some(run), _) if run.layer == source.layer => {
            Some(source.timestamp.wrapping_add(run.timestamp_offset))
        }
        (Some(run), (Some(old), Some(new))) => {
            // When was this packet captured on the old layer's clock?
            let apart = new.ntp.wrapping_sub(old.ntp) as i64;
            let apart_ticks = (i128::from(apart) * i128::from(source.clock_rate)) >> 32;
            let since_report = source.timestamp.wrapping_sub(new.rtp);
            let on_old_clock = old
                .rtp
                .wrapping_add(apart_ticks as u32)
                .wrapping_add(since_report);
            Some(on_old_clock.wrapping_add(run.timestamp_offset))
        }
        _ => None,
    };
    let trust = source.clock_rate * REPORT_TRUST_S;
    let wanted = exact
        .filter(|exact| {
            let apart = exact.wrapping_sub(by_arrival) as i32;
            apart.unsigned_abs() <= trust
        })
        .unwrap_or(by_arrival);
    let out = if newer_32(wanted, sent.timestamp) {
        wanted
    } else {
        sent.timestamp.wrapping_add(1)
    };
    out.wrapping_sub(source.timestamp)
}

#[cfg(test)]
mod tests;
