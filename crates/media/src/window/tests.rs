//! Windows of layers and copies, and frame rates.

use super::*;
use crate::api::{RoomKey, ThreadId};

fn second() -> Duration {
    Duration::from_secs(1)
}

fn window() -> UpWindow {
    UpWindow {
        track: TrackKey::new(ThreadId(0), RoomKey(1), 1),
        expected: 0,
        lost: 0,
        reported: false,
        top: None,
        top_ever: 0,
        rates: [[0.0; TEMPORALS]; 3],
    }
}

#[test]
fn a_layer_tells_what_was_lost_since_the_last_look_and_not_repaired() {
    let now = crate::testing::epoch();
    let mut layer = LayerWindow::default();
    let mut totals = ReceiveTotals {
        ssrc: 1,
        expected: 100,
        received: 90,
        repaired: 6,
        reported_at: Some(now),
    };
    let mut first = window();
    layer.close(now + second(), 2, totals, None, &mut first);
    assert_eq!((first.expected, first.lost, first.reported), (100, 4, true));
    assert_eq!((first.top, first.top_ever), (Some(2), 2));

    // A late repair of the window before counts for this one.
    (totals.expected, totals.received, totals.repaired) = (150, 135, 12);
    let mut second_look = window();
    layer.close(now + 2 * second(), 2, totals, None, &mut second_look);
    assert_eq!((second_look.expected, second_look.lost), (50, 0));
    assert!(!second_look.reported, "the report was before the last look");

    // Nothing came; then the source began anew with other numbers.
    let mut dry = window();
    layer.close(now + 3 * second(), 2, totals, None, &mut dry);
    assert_eq!((dry.expected, dry.top, dry.top_ever), (0, None, 2));
    (totals.ssrc, totals.expected, totals.received, totals.repaired) = (2, 10, 9, 0);
    let mut anew = window();
    layer.close(now + 4 * second(), 2, totals, None, &mut anew);
    assert_eq!((anew.expected, anew.lost), (10, 1));
}

#[test]
fn frame_rates_add_up_over_temporal_layers() {
    let now = crate::testing::epoch();
    let mut frames = FrameCounter::default();
    // 24 fps in the usual pattern 0 2 1 2.
    let at = |frame: u32| now + second() * frame / 24;
    for frame in 0..=48 {
        frames.frame(at(frame), [0, 2, 1, 2][frame as usize % 4]);
    }
    let rates = frames.take(at(48), Some(at(48)));
    for (rate, expected) in rates.iter().zip([6.0, 12.0, 24.0, 24.0]) {
        assert!((rate - expected).abs() < 0.1, "{rates:?}");
    }
}

#[test]
fn frame_rates_of_a_short_or_broken_flow_are_not_told() {
    let now = crate::testing::epoch();
    let mut frames = FrameCounter::default();
    for n in 0..20 {
        frames.frame(now + second() * n / 30, 0);
    }
    assert_eq!(
        frames.take(now + second() * 2 / 3, Some(now + second() * 2 / 3)),
        [0.0; TEMPORALS]
    );
    for n in 20..40 {
        frames.frame(now + second() * n / 30, 0);
    }
    let last = now + second() * 39 / 30;
    let rates = frames.take(last, Some(last));
    assert!(
        (rates[0] - 30.0).abs() < 0.1,
        "the short look took nothing away: {rates:?}"
    );
    for n in 0..60 {
        frames.frame(now + second() * n / 30, 0);
    }
    assert_eq!(
        frames.take(now + 4 * second(), Some(now + 2 * second())),
        [0.0; TEMPORALS]
    );
}

fn report(at: Instant, highest: u32, lost: i32, packets: u32) -> SendTotals {
    SendTotals {
        packets,
        report: Some(SendReport {
            at,
            highest,
            lost,
            packets,
            skipped: 0,
        }),
    }
}

#[test]
fn copies_tell_loss_and_the_recovery_behind_it() {
    let now = crate::testing::epoch();
    let mut copy = CopyWindow::default();
    let at = |n: u32| now + 5 * second() * n;
    assert_eq!(copy.close(at(0), SendTotals::default()), None);
    assert_eq!(
        copy.close(at(1), report(at(1), 1_250, 0, 250)),
        None,
        "nothing was lost"
    );
    let lossy = copy.close(at(2), report(at(2), 1_500, 25, 500));
    assert_eq!(
        lossy,
        Some(DownReception::Reported {
            expected: 250,
            lost: 25
        })
    );
    let told = (3..40)
        .filter(|n| {
            copy.close(at(*n), report(at(*n), 1_000 + n * 250, 25, n * 250))
                .is_some()
        })
        .count();
    assert_eq!(told, usize::from(TOLD_AFTER_LOSS) - 1);
}

#[test]
fn what_the_publisher_lost_is_not_the_subscribers_loss() {
    let now = crate::testing::epoch();
    let before = report(now, 1_000, 5, 1_000).report;
    let mut after = report(now + second(), 1_100, 25, 1_085)
        .report
        .expect("made above");
    after.skipped = 15;
    assert_eq!(difference(before, after), (100, 5));
}

#[test]
fn a_receiver_that_reports_nothing_for_half_a_minute_is_silent() {
    let now = crate::testing::epoch();
    let mut copy = CopyWindow::default();
    let at = |n: u32| now + 5 * second() * n;
    let sent = |n: u32| SendTotals {
        packets: n * 250,
        report: None,
    };
    for n in 1..=7 {
        assert_eq!(copy.close(at(n), sent(n)), None, "{n}");
    }
    assert_eq!(copy.close(at(8), sent(8)), Some(DownReception::Silent));
    // When nothing is sent nothing can be reported.
    assert_eq!(copy.close(at(9), sent(8)), None);
    assert_eq!(copy.close(at(10), sent(10)), None, "sending began anew");
}
