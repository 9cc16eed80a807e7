//! The score of one track in one direction: 0 to 100 inside, a mean opinion score
//! of 1 to 4.5 outside.
//!
//! Owns: the formula. Must not know: tracks. Facts as in livekit-server 1.13,
//! `pkg/sfu/connectionquality`.

use media::api::Codec;
use proto::ConnectionQuality;
use protocol::proto;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const MAX: f64 = 100.0;
/// Loss and missing layers alone do not push a score below this: it would take too long to recover.
const MIN: f64 = 30.0;
/// Scores up to these are at most GOOD, POOR and LOST.
const GOOD: f64 = 80.0;
const POOR: f64 = 40.0;
const LOST: f64 = 20.0;
/// Share of the newest window when it is worse, and when it is better. More follows faster, and
/// flickers more; falling is told sooner than recovery.
const FALLING: f64 = 0.8;
const RISING: f64 = 0.4;
/// One missing spatial layer costs about one quality.
const LAYER: f64 = 35.0;

/// Packet rates are told apart in steps of so many packets per second, and all above the last step
/// are one.
const RATE_STEP: f64 = 2.0;
const RATE_STEPS: u8 = 249;
/// A track's usual rate is known after more windows than this, and looked up anew this much later.
const RATE_WINDOWS: u32 = 10;
const RATE_INTERVAL: Duration = Duration::from_secs(120);

/// How many packets per second a track had in each window. Loss counts less in windows that have few:
/// with discontinuous transmission they are silence, and of a shared screen they are a still picture.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// Windows by the step of their rate.
    windows: BTreeMap<u8, u32>,
    total: u32,
    usual: u8,
    looked_at: Option<Instant>,
}

impl Rates {
    /// Takes a window in; the share of its weight that loss in it has.
    pub(super) fn take(&mut self, now: Instant, expected: u32, time: Duration) -> f64 {
        if time.is_zero() {
            return 1.0;
        }
        let rate = f64::from(expected) / time.as_secs_f64();
        let step = (rate / RATE_STEP + 0.5).min(f64::from(RATE_STEPS)) as u8;
        *self.windows.entry(step).or_default() += 1;
        self.total += 1;
        let due = |at| now.saturating_duration_since(at) > RATE_INTERVAL;
        if self.total > RATE_WINDOWS && self.looked_at.is_none_or(due) {
            self.looked_at = Some(now);
            self.usual = self.find_usual();
        }
        if self.usual == 0 || self.usual == RATE_STEPS {
            return 1.0;
        }
        (rate / (f64::from(self.usual) * RATE_STEP)).min(1.0).sqrt()
    }

    /// Not the most frequent step: as in the reference, a step counts when it was seen more often than
    /// the number of the one found below it. So the rate of speech is the usual one of somebody who is
    /// silent most of the time, too.
    fn find_usual(&self) -> u8 {
        self.windows.iter().fold(
            0,
            |usual, (&step, &count)| {
                if count > u32::from(usual) { step } else { usual }
            },
        )
    }
}

/// What passed in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Packets that should have arrived.
    pub(super) expected: u32,
    /// Those that did not.
    pub(super) lost: u32,
    /// The sender reported although no packet came.
    pub(super) reported: bool,
    /// Spatial layers that are wanted and did not come.
    pub(super) missing_layers: u8,
    /// Score that one percent of loss costs.
    pub(super) loss_weight: f64,
}

/// Score that one percent of loss costs. All clients negotiate in-band FEC for Opus; RED counts as
/// having it, too.
pub(super) fn loss_weight(codec: Codec) -> f64 {
    const FEC: f64 = 1.5;
    match codec {
        Codec::Opus => 8.0 / FEC,
        Codec::Red => 4.0 / FEC,
        Codec::Pcmu | Codec::Pcma => 0.0,
        Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::H265 | Codec::Av1 => 10.0,
    }
}

/// A score.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) struct Score(f64);

impl Default for Score {
    fn default() -> Self {
        Self(MAX)
    }
}

impl Score {
    /// Takes a window in.
    pub(super) fn update(&mut self, window: &Window) {
        if window.expected == 0 {
            // Packets were due and none came.
            self.0 = if window.reported { POOR } else { LOST };
            return;
        }
        let loss = f64::from(window.lost) * 100.0 / f64::from(window.expected);
        let by_loss = MAX - loss * window.loss_weight;
        let by_layers = MAX - f64::from(window.missing_layers) * LAYER;
        let score = by_loss.min(by_layers).max(0.0);
        let factor = if score < self.0 { FALLING } else { RISING };
        self.0 = (factor * score + (1.0 - factor) * self.0).max(MIN);
    }

    /// Nothing is to be sent: all is well, unless the connection was lost before.
    pub(super) fn rest(&mut self) {
        if self.0 > LOST {
            self.0 = MAX;
        }
    }

    /// The worse of two.
    pub(super) fn worse(self, other: Self) -> Self {
        if other < self { other } else { self }
    }

    pub(super) fn quality(self) -> ConnectionQuality {
        match self.0 {
            score if score > GOOD => ConnectionQuality::Excellent,
            score if score > POOR => ConnectionQuality::Good,
            score if score > LOST => ConnectionQuality::Poor,
            _ => ConnectionQuality::Lost,
        }
    }

    /// The mean opinion score of the E-model (ITU-T G.107, annex B).
    pub(super) fn mos(self) -> f32 {
        let score = self.0;
        if score >= MAX {
            return 4.5;
        }
        if score <= 0.0 {
            return 1.0;
        }
        (1.0 + 0.035 * score + 0.000_007 * score * (score - 60.0) * (100.0 - score)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lossy(percent: u32, codec: Codec) -> Window {
        Window {
            expected: 1_000,
            lost: percent * 10,
            reported: true,
            missing_layers: 0,
            loss_weight: loss_weight(codec),
        }
    }

    fn after(windows: &[Window]) -> Score {
        let mut score = Score::default();
        windows.iter().for_each(|window| score.update(window));
        score
    }

    #[test]
    fn loss_falls_to_good_and_poor_by_the_codec() {
        use ConnectionQuality::{Excellent, Good, Poor};
        for (codec, percents) in [
            (
                Codec::Vp8,
                [(2, Excellent), (3, Good), (7, Good), (8, Poor), (100, Poor)],
            ),
            (
                Codec::Opus,
                [(4, Excellent), (5, Good), (14, Good), (15, Poor), (100, Poor)],
            ),
            (
                Codec::Red,
                [(9, Excellent), (10, Good), (28, Good), (29, Poor), (100, Poor)],
            ),
            (Codec::Pcmu, [(9, Excellent); 5]),
        ] {
            for (percent, quality) in percents {
                let score = after(&[lossy(percent, codec)]);
                assert_eq!(score.quality(), quality, "{codec:?} {percent} %");
            }
        }
    }

    /// The share after so many windows of 5 s with these packets each.
    fn share(windows: &[(u32, u32)]) -> f64 {
        let (mut rates, mut now, mut share) = (Rates::default(), crate::tests_support::origin(), 1.0);
        for &(count, packets) in windows {
            for _ in 0..count {
                now += Duration::from_secs(5);
                share = rates.take(now, packets, Duration::from_secs(5));
            }
        }
        share
    }

    #[test]
    fn loss_counts_less_in_windows_with_fewer_packets_than_usual() {
        let twentieth = (1.0_f64 / 20.0).sqrt();
        for (windows, expected, why) in [
            (&[(9, 250), (1, 12)][..], 1.0, "what is usual is not known"),
            (&[(11, 240), (1, 12)], twentieth, "silence"),
            (&[(11, 250), (1, 500)], 1.0, "more than usual"),
            (
                &[(7, 10), (4, 240), (1, 12)],
                twentieth,
                "silent most of the time",
            ),
            (&[(10, 10), (1, 240), (1, 12)], 1.0, "hardly ever spoken"),
            (&[(12, 0), (1, 12)], 1.0, "nothing is usual"),
            (&[(12, 10_000), (1, 12)], 1.0, "beyond the steps"),
            (&[(12, 10), (8, 240), (1, 12)], 1.0, "looked up lately"),
            (&[(12, 10), (30, 240), (1, 12)], twentieth, "looked up anew"),
        ] {
            let got = share(windows);
            assert!((got - expected).abs() < 0.01, "{why}: {got}");
        }
    }

    #[test]
    fn scores_rise_half_as_fast_as_they_fall() {
        let fallen = after(&[lossy(10, Codec::Vp8)]);
        assert_eq!(fallen, Score(30.0), "not below the floor");
        let mut score = fallen;
        let mut windows = 0;
        while score.quality() != ConnectionQuality::Excellent {
            score.update(&lossy(0, Codec::Vp8));
            windows += 1;
        }
        assert_eq!(windows, 3, "58, 74.8, 84.9");
    }

    #[test]
    fn a_missing_layer_costs_a_quality() {
        let layers = |missing_layers| Window {
            missing_layers,
            ..lossy(0, Codec::Vp8)
        };
        assert_eq!(after(&[layers(1)]).quality(), ConnectionQuality::Good);
        assert_eq!(after(&[layers(2); 3]).quality(), ConnectionQuality::Poor);
    }

    #[test]
    fn no_packets_are_poor_with_reports_and_lost_without() {
        let dry = |reported| Window {
            expected: 0,
            lost: 0,
            reported,
            ..lossy(0, Codec::Vp8)
        };
        assert_eq!(after(&[dry(true)]).quality(), ConnectionQuality::Poor);
        let mut lost = after(&[dry(false)]);
        assert_eq!(lost.quality(), ConnectionQuality::Lost);
        lost.rest();
        assert_eq!(
            lost.quality(),
            ConnectionQuality::Lost,
            "muting does not repair it"
        );
        let mut poor = after(&[dry(true)]);
        poor.rest();
        assert_eq!(poor, Score::default());
    }

    #[test]
    fn the_wire_score_is_an_opinion_score() {
        for (score, mos) in [
            (100.0, 4.5),
            (80.0, 4.024),
            (50.0, 2.575),
            (20.0, 1.252),
            (0.0, 1.0),
        ] {
            let got = Score(score).mos();
            assert!((got - mos).abs() < 0.001, "{score}: {got}");
        }
    }

    #[test]
    fn the_worse_of_two_counts() {
        assert_eq!(Score(40.0).worse(Score(41.0)), Score(40.0));
        assert_eq!(Score(41.0).worse(Score(40.0)), Score(40.0));
    }
}
