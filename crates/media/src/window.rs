//! What passed on a track between two looks: the values by which its quality is scored.
//!
//! Owns: the values that cross the wall, and what each track keeps from one look to the next. Must
//! not know: scores. Everything here is read and written once per window, never per packet, but for
//! [`FrameCounter::frame`] (once per frame).

use crate::api::{DownKey, TrackKey};
use peer::{Codec, ReceiveTotals, SendReport, SendTotals};
use std::time::{Duration, Instant};

/// Temporal layers that are told apart.
pub(crate) const TEMPORALS: usize = 4;
/// Frame rates are not measured over less than this: one frame more or less would show.
const RATE_OVER_MIN: Duration = Duration::from_secs(1);
/// A stream that sent no frame for this long is not measured: it paused within the window.
const RATE_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A receiver that was sent to for this long without one report is taken for gone.
const SILENT_AFTER: Duration = Duration::from_secs(30);
/// Windows that follow one with loss and are told too, so that a score can recover: falling to a
/// hundredth takes nine at the rate at which scores rise.
const TOLD_AFTER_LOSS: u8 = 12;

/// One window of an up track, all its layers together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpWindow {
    /// Track.
    pub track: TrackKey,
    /// Packets that should have arrived.
    pub expected: u32,
    /// Those that did not, nor were repaired.
    pub lost: u32,
    /// The publisher sent a report.
    pub reported: bool,
    /// Highest spatial layer that sent anything in the window.
    pub top: Option<u8>,
    /// Highest spatial layer that ever sent anything.
    pub top_ever: u8,
    /// Frames per second up to each temporal layer, by layer; 0 when not known.
    pub rates: [[f32; TEMPORALS]; 3],
}

/// One window of a down track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DownWindow {
    /// Down track.
    pub down: DownKey,
    /// As what it is sent.
    pub codec: Codec,
    /// What is known of it.
    pub reception: DownReception,
}

/// What the receiver of a down track says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReception {
    /// From its last report but one to its last one.
    Reported {
        /// Packets that should have arrived.
        expected: u32,
        /// Those that did not. What the publisher's side had lost is not counted.
        lost: u32,
    },
    /// Nothing for a long time, although we are sending.
    Silent,
}

/// Frames of one layer since the last look, by temporal layer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCounter {
    since: Option<Instant>,
    frames: [u32; TEMPORALS],
}

impl FrameCounter {
    /// A frame began.
    pub(crate) fn frame(&mut self, now: Instant, temporal: u8) {
        if self.since.is_none() {
            // The first one opens the interval that the others are counted in.
            self.since = Some(now);
        } else if let Some(count) = self.frames.get_mut(usize::from(temporal)) {
            *count += 1;
        }
    }

    /// Frames per second up to each temporal layer; zeros when that cannot be told. Begins anew,
    /// unless it has counted for too short a time.
    fn take(&mut self, now: Instant, last_at: Option<Instant>) -> [f32; TEMPORALS] {
        let since = match self.since {
            Some(since) if now.saturating_duration_since(since) < RATE_OVER_MIN => {
                return [0.0; TEMPORALS];
            }
            since => since,
        };
        let frames = std::mem::take(self).frames;
        let pausing = last_at.is_none_or(|at| now.saturating_duration_since(at) > RATE_PAUSE_MAX);
        let Some(since) = since.filter(|_| !pausing) else {
            return [0.0; TEMPORALS];
        };
        let seconds = now.saturating_duration_since(since).as_secs_f32();
        let mut sum = 0;
        frames.map(|count| {
            sum += count;
            sum as f32 / seconds
        })
    }
}

/// What one layer keeps from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LayerWindow {
    pub(crate) frames: FrameCounter,
    before: ReceiveTotals,
    looked_at: Option<Instant>,
}

impl LayerWindow {
    /// Closes the window: adds it to that of the track.
    pub(crate) fn close(
        &mut self,
        now: Instant,
        layer: u8,
        totals: ReceiveTotals,
        last_at: Option<Instant>,
        track: &mut UpWindow,
    ) {
        let before = if self.before.ssrc == totals.ssrc {
            self.before
        } else {
            ReceiveTotals::default()
        };
        let expected = totals.expected.saturating_sub(before.expected);
        let arrived = |totals: &ReceiveTotals| totals.received + totals.repaired;
        let lost = expected.saturating_sub(arrived(&totals).saturating_sub(arrived(&before)));
        track.expected = track.expected.saturating_add(saturated(expected));
        track.lost = track.lost.saturating_add(saturated(lost));
        track.reported |= match (totals.reported_at, self.looked_at) {
            (Some(at), Some(looked)) => at > looked,
            (at, _) => at.is_some(),
        };
        if expected > 0 {
            track.top = track.top.max(Some(layer));
        }
        track.top_ever = track.top_ever.max(layer);
        if let Some(rates) = track.rates.get_mut(usize::from(layer)) {
            *rates = self.frames.take(now, last_at);
        }
        self.before = totals;
        self.looked_at = Some(now);
    }
}

/// What one down track keeps from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CopyWindow {
    packets: u32,
    streaming_since: Option<Instant>,
    report: Option<SendReport>,
    tell: u8,
}

impl CopyWindow {
    /// Closes the window; `Some` when there is something to tell.
    pub(crate) fn close(&mut self, now: Instant, totals: SendTotals) -> Option<DownReception> {
        let sent = totals.packets != self.packets;
        self.packets = totals.packets;
        if !sent {
            self.streaming_since = None;
            return None;
        }
        let since = *self.streaming_since.get_or_insert(now);
        let before = self.report;
        self.report = totals.report;
        let Some(report) = totals
            .report
            .filter(|report| Some(report.at) != before.map(|b| b.at))
        else {
            let marker = totals.report.map_or(since, |report| report.at.max(since));
            return (now.saturating_duration_since(marker) > SILENT_AFTER).then_some(DownReception::Silent);
        };
        if report.at < since && before.is_some() {
            // It is about what was sent before a pause.
            return None;
        }
        let (expected, lost) = difference(before, report);
        if lost > 0 {
            self.tell = TOLD_AFTER_LOSS;
        }
        self.tell = self.tell.checked_sub(1)?;
        Some(DownReception::Reported { expected, lost })
    }
}

/// Packets expected and lost between two reports.
fn difference(before: Option<SendReport>, report: SendReport) -> (u32, u32) {
    // A stream that began anew has no report before.
    let before = before.filter(|before| {
        before.highest <= report.highest && report.packets.wrapping_sub(before.packets) <= u32::MAX / 2
    });
    let Some(before) = before else {
        let lost = u32::try_from(report.lost).unwrap_or(0);
        return (report.packets, lost.min(report.packets));
    };
    let expected = report.highest - before.highest;
    let lost = i64::from(report.lost) - i64::from(before.lost);
    let skipped = i64::from(report.skipped.wrapping_sub(before.skipped) as i32);
    let lost = (lost - skipped.max(0)).clamp(0, i64::from(expected));
    (expected, u32::try_from(lost).expect("clamped"))
}

fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
