//! How source packets became outgoing ones, kept as runs: enough to place a late packet and to
//! rebuild any recent one for retransmission.
//!
//! Owns: runs of one down track. Must not know: packets' bytes (they stay in the layer's ring).
//!
//! A run is a row of source packets of one layer that were all numbered by the same offsets. An
//! audio track is one run for as long as it flows, so nothing is written per packet; a filtered
//! video track makes one run per few frames. This replaces a map of sequence numbers.

use std::collections::VecDeque;
use wire::seq::extend_16;

/// Runs kept for audio: a run ends only at a mute or a change of source.
pub(crate) const RUNS_AUDIO: usize = 16;
/// Runs kept for video: at most one per forwarded frame when every other one is dropped, so four
/// seconds at 30 frames per second, more than 500 packets.
pub(crate) const RUNS_VIDEO: usize = 128;

/// A row of packets numbered alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// First source sequence number.
    pub(crate) first: u64,
    /// Last source sequence number so far.
    pub(crate) last: u64,
    /// Outgoing sequence number of `first`.
    pub(crate) out_first: u64,
    /// Added to timestamps.
    pub(crate) timestamp_offset: u32,
    /// Added to VP8 picture ids.
    pub(crate) picture_offset: u16,
    /// Added to dependency descriptors' frame numbers.
    pub(crate) frame_offset: u16,
    /// Added to TL0PICIDX.
    pub(crate) tl0_offset: u8,
    /// Added to KEYIDX.
    pub(crate) keyidx_offset: u8,
    /// Source layer.
    pub(crate) layer: u8,
    /// Highest spatial layer forwarded from a scalable stream at that time.
    pub(crate) spatial_max: u8,
    /// Highest temporal layer forwarded at that time.
    pub(crate) temporal_max: u8,
}

impl Run {
    /// The outgoing number of a source packet of this run.
    pub(crate) fn out(&self, sequence: u64) -> u64 {
        self.out_first + (sequence - self.first)
    }

    /// The outgoing number behind the run.
    pub(crate) fn out_end(&self) -> u64 {
        self.out(self.last) + 1
    }
}

/// The recent runs, oldest first. Both number spaces rise from run to run.
#[derive(Debug)]
pub(crate) struct History {
    runs: VecDeque<Run>,
    runs_max: usize,
}

impl History {
    /// An empty history.
    pub(crate) fn new(runs_max: usize) -> Self {
        Self {
            runs: VecDeque::new(),
            runs_max,
        }
    }

    /// Begins a run; the oldest one falls out when there are too many.
    pub(crate) fn push(&mut self, run: Run) {
        if self.runs.len() == self.runs_max {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }

    /// Reads the run that is being extended; the value means nothing.
    pub(crate) fn warm(&self) -> usize {
        self.runs
            .back()
            .map_or(0, |run| run.last as usize ^ run.out_first as usize)
    }

    /// The run that is being extended.
    pub(crate) fn current(&mut self) -> Option<&mut Run> {
        self.runs.back_mut()
    }

    /// The run that holds a source packet.
    pub(crate) fn by_source(&self, layer: u8, sequence: u64) -> Option<&Run> {
        self.runs
            .iter()
            .rev()
            .find(|run| run.layer == layer && (run.first..=run.last).contains(&sequence))
    }

    /// The run and source sequence number behind an outgoing number.
    pub(crate) fn by_out(&self, out: u16) -> Option<(&Run, u64)> {
        let newest = self.runs.back()?.out_end() - 1;
        let out = extend_16(newest, out);
        let after = self.runs.partition_point(|run| run.out_first <= out);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let sequence = run.first + (out - run.out_first);
        (sequence <= run.last).then_some((run, sequence))
    }

    /// The source's numbers began anew: late packets can no longer be placed.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, last: u64, out_first: u64, layer: u8) -> Run {
        Run {
            first,
            last,
            out_first,
            timestamp_offset: 0,
            picture_offset: 0,
            frame_offset: 0,
            tl0_offset: 0,
            keyidx_offset: 0,
            layer,
            spatial_max: 0,
            temporal_max: 0,
        }
    }

    #[test]
    fn finds_both_ways_across_layers_and_cycles() {
        let mut history = History::new(8);
        assert!(history.by_out(3).is_none());
        history.push(run(1000, 1009, 0x1_FFFA, 0));
        history.push(run(500, 503, 0x2_0004, 1));
        assert_eq!(history.by_out(0xFFFA).map(|(r, s)| (r.layer, s)), Some((0, 1000)));
        assert_eq!(history.by_out(3).map(|(r, s)| (r.layer, s)), Some((0, 1009)));
        assert_eq!(history.by_out(4).map(|(r, s)| (r.layer, s)), Some((1, 500)));
        assert_eq!(history.by_out(8), None, "not sent yet");
        assert_eq!(history.by_out(0xFFF9), None, "before the first");
        assert_eq!(history.by_source(1, 502).map(|r| r.out(502)), Some(0x2_0006));
        assert_eq!(history.by_source(0, 502), None);
    }

    #[test]
    fn forgets_the_oldest_run() {
        let mut history = History::new(2);
        for i in 0..3 {
            history.push(run(i * 10, i * 10 + 1, 100 + i * 2, 0));
        }
        assert_eq!(history.by_out(100), None);
        assert_eq!(history.by_out(102).map(|(_, s)| s), Some(10));
    }
}
