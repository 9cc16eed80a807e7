//! Numbering: holes, drops, switches.

use super::*;
use crate::frame::Vp8Numbers;
use std::time::Duration;

const WITHIN: (u8, u8) = (2, 3);

fn frame(start: bool, end: bool, picture: u16) -> Frame {
    Frame {
        start,
        end,
        key: false,
        sync: None,
        independent: false,
        vp8: Some(Vp8Numbers {
            header_len: 6,
            picture: Some((picture, true)),
            tl0: Some(picture as u8),
            keyidx: Some(3),
        }),
        ..Frame::PLAIN
    }
}

struct Feed {
    munger: Munger,
    at: Instant,
}

impl Feed {
    fn new() -> Self {
        Self {
            munger: Munger::new(0xFFF0, 64),
            at: crate::testing::epoch(),
        }
    }

    fn source<'a>(&self, layer: u8, sequence: u64, timestamp: u32, frame: &'a Frame) -> Source<'a> {
        Source {
            layer,
            sequence,
            timestamp,
            clock_rate: 90_000,
            frame,
            at: self.at,
        }
    }

    fn switch(&mut self, layer: u8, sequence: u64, timestamp: u32, frame: &Frame) -> (u64, Run) {
        let source = self.source(layer, sequence, timestamp, frame);
        let run = *self.munger.switch(&source, WITHIN, (None, None));
        (run.out(sequence), run)
    }

    fn forward(&mut self, layer: u8, sequence: u64, timestamp: u32, frame: &Frame) -> (u64, Run) {
        let source = self.source(layer, sequence, timestamp, frame);
        let run = *self.munger.forward(&source, WITHIN).expect("a run flows");
        (run.out(sequence), run)
    }
}

#[test]
fn dropped_packets_leave_no_hole_and_lost_ones_do() {
    let mut feed = Feed::new();
    let whole = |picture| frame(true, true, picture);
    assert_eq!(feed.switch(0, 1000, 0, &whole(1)).0, 0xFFF0);
    assert_eq!(feed.forward(0, 1001, 1, &whole(2)).0, 0xFFF1);
    feed.munger.drop_packet(1002, &whole(3));
    let (out, run) = feed.forward(0, 1003, 3, &whole(4));
    assert_eq!(out, 0xFFF2);
    assert_eq!(
        run.picture_offset,
        0u16.wrapping_sub(1),
        "the dropped picture leaves no hole"
    );
    // 1004 and 1005 are lost on the way in: their places stay.
    assert_eq!(feed.forward(0, 1006, 4, &whole(7)).0, 0xFFF5);
    assert!(feed.munger.is_late(1004));
    assert_eq!(feed.munger.late(0, 1004).map(|run| run.out(1004)), Some(0xFFF3));
    assert_eq!(feed.munger.late(0, 1002), None, "it was dropped");
    assert_eq!(feed.munger.sent(0xFFF5).map(|(_, sequence)| sequence), Some(1006));
}

#[test]
fn holes_beside_dropped_frames_are_kept_only_when_they_may_be_ours() {
    let mut feed = Feed::new();
    feed.switch(0, 10, 0, &frame(true, true, 1));
    // A dropped frame of 3 packets whose middle and end are lost.
    feed.munger.drop_packet(11, &frame(true, false, 2));
    assert_eq!(
        feed.forward(0, 14, 3, &frame(true, true, 3)).0,
        0xFFF1,
        "its tail closes"
    );
    // A lost head of a dropped frame behind a whole forwarded one.
    feed.munger.drop_packet(16, &frame(false, true, 4));
    assert_eq!(feed.forward(0, 17, 5, &frame(true, false, 5)).0, 0xFFF2);
    // The tail of a forwarded frame is lost, then a frame is dropped.
    feed.munger.drop_packet(19, &frame(true, true, 6));
    assert_eq!(feed.forward(0, 20, 7, &frame(true, true, 7)).0, 0xFFF4);
    assert_eq!(feed.munger.late(0, 18).map(|run| run.out(18)), Some(0xFFF3));
    // A whole frame is lost between a dropped one and a forwarded one.
    feed.munger.drop_packet(21, &frame(true, true, 8));
    assert_eq!(feed.forward(0, 23, 9, &frame(true, true, 10)).0, 0xFFF6);
    assert_eq!(feed.munger.late(0, 22).map(|run| run.out(22)), Some(0xFFF5));
}

#[test]
fn a_switch_goes_on_with_all_numbers() {
    let mut feed = Feed::new();
    let (_, run) = feed.switch(0, 500, 90_000, &frame(true, true, 100));
    assert_eq!(run.timestamp_offset, 0);
    feed.at += Duration::from_millis(100);
    let other = frame(true, true, 20_000);
    let (out, run) = feed.switch(2, 7, 5, &other);
    assert_eq!(out, 0xFFF1);
    assert_eq!(
        5u32.wrapping_add(run.timestamp_offset),
        99_000,
        "100 ms by arrival"
    );
    assert_eq!(20_000u16.wrapping_add(run.picture_offset), 101);
    assert_eq!((20_000u16 as u8).wrapping_add(run.tl0_offset), 101);
    assert_eq!(3u8.wrapping_add(run.keyidx_offset), 4);
    let (out, run) = feed.forward(2, 8, 3005, &frame(true, true, 20_001));
    assert_eq!((out, 20_001u16.wrapping_add(run.picture_offset)), (0xFFF2, 102));
    assert_eq!(feed.munger.late(0, 500).map(|run| run.layer), Some(0));
}

#[test]
fn sender_reports_make_a_switch_exact() {
    let mut feed = Feed::new();
    feed.switch(0, 1, 90_000, &frame(true, true, 1));
    let report = |ntp: u64, rtp| {
        Some(SenderReport {
            ntp,
            rtp,
            at: feed.at,
        })
    };
    // Layer 0 shows 90,000 at t = 10 s, layer 1 shows 1,000 at t = 10.5 s.
    let reports = (report(10 << 32, 90_000), report((10 << 32) + (1 << 31), 1_000));
    feed.at += Duration::from_millis(40);
    let key = frame(true, true, 1);
    // Captured at t = 10.033 s, so 2,970 ticks after 90,000.
    let source = feed.source(1, 1, 1_000u32.wrapping_sub(45_000 - 2_970), &key);
    let run = *feed.munger.switch(&source, WITHIN, reports);
    assert_eq!(source.timestamp.wrapping_add(run.timestamp_offset), 92_970);
}

#[test]
fn timestamps_never_go_back_at_a_switch() {
    let mut feed = Feed::new();
    feed.switch(0, 1, 90_000, &frame(true, true, 1));
    let report = |rtp| {
        Some(SenderReport {
            ntp: 1 << 32,
            rtp,
            at: feed.at,
        })
    };
    // The new layer's packet was captured before the last one that was sent.
    let reports = (report(90_000), report(3_000));
    let key = frame(true, true, 1);
    let source = feed.source(1, 1, 1_000, &key);
    let run = *feed.munger.switch(&source, WITHIN, reports);
    assert_eq!(source.timestamp.wrapping_add(run.timestamp_offset), 90_001);
}

#[test]
fn broken_sender_reports_are_not_trusted() {
    let mut feed = Feed::new();
    feed.switch(0, 1, 90_000, &frame(true, true, 1));
    let reports = (
        Some(SenderReport {
            ntp: 1 << 32,
            rtp: 90_000,
            at: feed.at,
        }),
        Some(SenderReport {
            ntp: 900 << 32,
            rtp: 0,
            at: feed.at,
        }),
    );
    feed.at += Duration::from_millis(33);
    let key = frame(true, true, 1);
    let source = feed.source(1, 1, 0, &key);
    let run = *feed.munger.switch(&source, WITHIN, reports);
    assert_eq!(run.timestamp_offset, 92_970);
}

#[test]
fn a_pause_of_one_layer_keeps_its_clock() {
    let mut feed = Feed::new();
    feed.switch(0, 1, 1_000, &frame(true, true, 1));
    feed.at += Duration::from_secs(3);
    let (out, run) = feed.switch(0, 90, 1_000 + 269_000, &frame(true, true, 90));
    assert_eq!((out, run.timestamp_offset), (0xFFF1, 0));
}

#[test]
fn padding_leaves_no_hole_and_what_is_lost_beside_it_does() {
    let mut feed = Feed::new();
    let whole = |picture| frame(true, true, picture);
    assert_eq!(feed.switch(0, 1000, 0, &whole(1)).0, 0xFFF0);
    for sequence in 1001..1010 {
        feed.munger.skip_padding(sequence);
    }
    let (out, run) = feed.forward(0, 1010, 1, &whole(2));
    assert_eq!(out, 0xFFF1);
    assert_eq!(run.picture_offset, 0, "no picture was dropped");
    // 1011 is lost in front of padding, 1014 behind it.
    feed.munger.skip_padding(1012);
    feed.munger.skip_padding(1013);
    assert_eq!(feed.forward(0, 1015, 2, &whole(4)).0, 0xFFF4);
    assert_eq!(feed.munger.late(0, 1011).map(|run| run.out(1011)), Some(0xFFF2));
    assert_eq!(feed.munger.late(0, 1014).map(|run| run.out(1014)), Some(0xFFF3));
    for padding in [1012, 1013] {
        assert_eq!(feed.munger.late(0, padding), None);
        feed.munger.skip_padding(padding);
    }
    assert_eq!(feed.forward(0, 1016, 2, &whole(5)).0, 0xFFF5);
}

#[test]
fn padding_beside_dropped_frames_hides_nothing() {
    let mut feed = Feed::new();
    let whole = |picture| frame(true, true, picture);
    assert_eq!(feed.switch(0, 1000, 0, &whole(1)).0, 0xFFF0);
    feed.munger.drop_packet(1001, &frame(true, false, 2));
    // 1002 is the tail of the dropped frame.
    feed.munger.skip_padding(1003);
    assert_eq!(feed.forward(0, 1004, 2, &whole(3)).0, 0xFFF1);
    feed.munger.drop_packet(1005, &whole(4));
    // 1006 may be a frame that is wanted.
    feed.munger.skip_padding(1007);
    assert_eq!(feed.forward(0, 1008, 4, &whole(6)).0, 0xFFF3);
}
