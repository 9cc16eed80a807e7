//! Selection of streams, spatial and temporal layers.

use super::*;

const DELTA: Frame = Frame {
    start: true,
    end: true,
    key: false,
    spatial: 0,
    temporal: 0,
    sync: None,
    independent: false,
    vp8: None,
    dependency: None,
};
const KEY: Frame = Frame {
    key: true,
    independent: true,
    ..DELTA
};

fn wish(spatial: u8, temporal: u8) -> LayerWish {
    LayerWish {
        spatial,
        temporal,
        enabled: true,
    }
}

fn decide(select: &mut Select, stream: u8, frame: Frame) -> Verdict {
    select.decide(stream, 0b111, &frame, &DecodeTargets::NONE)
}

#[test]
fn nothing_flows_before_a_key_frame() {
    let mut select = Select::new(wish(2, 3));
    assert_eq!(decide(&mut select, 2, DELTA), Verdict::Drop);
    assert_eq!(select.waits_for(0b111, 0, &DecodeTargets::NONE), Some(2));
    assert_eq!(decide(&mut select, 2, KEY), Verdict::Switch);
    assert_eq!(decide(&mut select, 2, DELTA), Verdict::Forward);
    assert_eq!(select.waits_for(0b111, 0, &DecodeTargets::NONE), None);
}

#[test]
fn a_lower_stream_fills_in_until_the_wanted_one_has_a_key_frame() {
    let mut select = Select::new(wish(2, 3));
    assert_eq!(decide(&mut select, 0, KEY), Verdict::Switch);
    assert_eq!(select.waits_for(0b111, 0, &DecodeTargets::NONE), Some(2));
    assert_eq!(decide(&mut select, 2, DELTA), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, DELTA), Verdict::Forward);
    assert_eq!(decide(&mut select, 1, KEY), Verdict::Drop, "not the wanted one");
    assert_eq!(decide(&mut select, 2, KEY), Verdict::Switch);
    assert_eq!(decide(&mut select, 0, DELTA), Verdict::Drop);
}

#[test]
fn the_old_stream_flows_until_the_lower_one_has_a_key_frame() {
    let mut select = Select::new(wish(2, 3));
    decide(&mut select, 2, KEY);
    select.set_wish(wish(0, 3));
    assert_eq!(decide(&mut select, 2, DELTA), Verdict::Forward);
    assert_eq!(decide(&mut select, 2, KEY), Verdict::Forward);
    assert_eq!(decide(&mut select, 0, KEY), Verdict::Switch);
    assert_eq!(decide(&mut select, 2, KEY), Verdict::Drop);
}

#[test]
fn missing_streams_fall_back_to_lower_then_higher() {
    let select = Select::new(wish(1, 3));
    assert_eq!(select.wanted_stream(0b111), Some(1));
    assert_eq!(select.wanted_stream(0b101), Some(0));
    assert_eq!(select.wanted_stream(0b100), Some(2));
    assert_eq!(select.wanted_stream(0), None);
}

#[test]
fn disabled_forwards_nothing_and_resumes_at_a_key_frame() {
    let mut select = Select::new(wish(0, 3));
    decide(&mut select, 0, KEY);
    select.set_wish(LayerWish {
        enabled: false,
        ..wish(0, 3)
    });
    assert_eq!(decide(&mut select, 0, KEY), Verdict::Drop);
    assert_eq!(select.waits_for(0b1, 0, &DecodeTargets::NONE), None);
    select.set_wish(wish(0, 3));
    assert_eq!(decide(&mut select, 0, DELTA), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, KEY), Verdict::Switch);
}

#[test]
fn temporal_layers_go_down_at_once_and_up_at_a_layer_sync() {
    let t = |temporal, sync| Frame {
        temporal,
        sync,
        ..DELTA
    };
    let mut select = Select::new(wish(0, 2));
    decide(&mut select, 0, KEY);
    assert_eq!(decide(&mut select, 0, t(2, None)), Verdict::Forward);
    select.set_wish(wish(0, 0));
    assert_eq!(decide(&mut select, 0, t(1, None)), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, t(0, None)), Verdict::Forward);
    select.set_wish(wish(0, 2));
    assert_eq!(decide(&mut select, 0, t(1, None)), Verdict::Drop, "no sync yet");
    assert_eq!(decide(&mut select, 0, t(1, Some(0))), Verdict::Forward);
    assert_eq!(decide(&mut select, 0, t(2, None)), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, t(2, Some(0))), Verdict::Forward);
}

#[test]
fn temporal_layers_go_up_one_by_one_where_a_frame_needs_the_next_lower_layer() {
    let switching = |temporal: u8| Frame {
        temporal,
        sync: Some(temporal - 1),
        ..DELTA
    };
    let mut select = Select::new(wish(0, 0));
    decide(&mut select, 0, KEY);
    select.set_wish(wish(0, 2));
    assert_eq!(decide(&mut select, 0, switching(2)), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, switching(1)), Verdict::Forward);
    assert_eq!(decide(&mut select, 0, switching(2)), Verdict::Forward);
}

#[test]
fn the_rest_of_a_dropped_frame_is_dropped_although_it_has_the_sync_bit() {
    let mut select = Select::new(wish(0, 0));
    decide(&mut select, 0, KEY);
    let first = Frame {
        temporal: 1,
        sync: Some(0),
        end: false,
        ..DELTA
    };
    assert_eq!(decide(&mut select, 0, first), Verdict::Drop);
    select.set_wish(wish(0, 2));
    let rest = Frame {
        start: false,
        end: true,
        ..first
    };
    assert_eq!(decide(&mut select, 0, rest), Verdict::Drop);
}

#[test]
fn spatial_layers_of_a_scalable_stream_go_up_at_an_independent_frame() {
    let s = |spatial, independent| Frame {
        spatial,
        independent,
        ..DELTA
    };
    let mut select = Select::new(wish(0, 3));
    decide(&mut select, 0, KEY);
    assert_eq!(decide(&mut select, 0, s(1, true)), Verdict::Drop);
    select.set_wish(wish(2, 3));
    assert_eq!(select.waits_for(0b1, 2, &DecodeTargets::NONE), Some(0));
    assert_eq!(decide(&mut select, 0, s(1, false)), Verdict::Drop);
    assert_eq!(decide(&mut select, 0, KEY), Verdict::Forward);
    assert_eq!(decide(&mut select, 0, s(2, true)), Verdict::Forward);
    select.set_wish(wish(1, 3));
    assert_eq!(
        decide(&mut select, 0, s(2, false)),
        Verdict::Forward,
        "the picture stays whole"
    );
    assert_eq!(decide(&mut select, 0, s(0, false)), Verdict::Forward);
    assert_eq!(decide(&mut select, 0, s(2, false)), Verdict::Drop);
}

/// L2T1: target 0 is the lower layer, target 1 the upper one.
fn two_targets(nested: bool) -> DecodeTargets {
    let mut targets = DecodeTargets::NONE;
    targets.count = 2;
    targets.layers[1] = (1, 0);
    targets.nested = nested;
    targets
}

fn with_targets(spatial: u8, present: u32, switch: u32) -> Frame {
    Frame {
        spatial,
        dependency: Some(Dependency {
            number: 0,
            present,
            switch,
        }),
        ..DELTA
    }
}

fn key_with_targets() -> Frame {
    Frame {
        key: true,
        independent: true,
        ..with_targets(0, 0b11, 0b11)
    }
}

#[test]
fn decode_targets_choose_by_wish_and_switch_where_the_stream_allows() {
    let targets = two_targets(true);
    let mut select = Select::new(wish(0, 0));
    let decide = |select: &mut Select, frame: Frame| select.decide(0, 1, &frame, &targets);
    assert_eq!(decide(&mut select, key_with_targets()), Verdict::Switch);
    assert_eq!(select.target(), Some(0));
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0)), Verdict::Drop);
    select.set_wish(wish(2, 3));
    assert_eq!(select.waits_for(1, 1, &targets), Some(0));
    assert_eq!(decide(&mut select, with_targets(0, 0b11, 0b01)), Verdict::Forward);
    // It promises what follows to those who have what it refers to.
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0b10)), Verdict::Drop);
    assert_eq!(decide(&mut select, key_with_targets()), Verdict::Forward);
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0b10)), Verdict::Forward);
    select.set_wish(wish(0, 3));
    assert_eq!(select.waits_for(1, 1, &targets), None);
    assert_eq!(decide(&mut select, with_targets(0, 0b11, 0b01)), Verdict::Forward);
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0b10)), Verdict::Drop);
}

#[test]
fn a_lower_target_whose_frames_were_not_sent_waits_for_a_key_frame() {
    let targets = two_targets(false);
    let mut select = Select::new(wish(2, 3));
    let decide = |select: &mut Select, frame: Frame| select.decide(0, 1, &frame, &targets);
    assert_eq!(decide(&mut select, key_with_targets()), Verdict::Switch);
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0b10)), Verdict::Forward);
    assert_eq!(decide(&mut select, with_targets(0, 0b01, 0b01)), Verdict::Drop);
    select.set_wish(wish(0, 3));
    assert_eq!(select.waits_for(1, 1, &targets), Some(0));
    assert_eq!(decide(&mut select, with_targets(0, 0b01, 0b01)), Verdict::Drop);
    assert_eq!(
        decide(&mut select, with_targets(1, 0b10, 0b10)),
        Verdict::Forward,
        "no freeze"
    );
    assert_eq!(decide(&mut select, key_with_targets()), Verdict::Forward);
    assert_eq!(select.waits_for(1, 1, &targets), None);
    assert_eq!(decide(&mut select, with_targets(0, 0b01, 0b01)), Verdict::Forward);
    assert_eq!(decide(&mut select, with_targets(1, 0b10, 0b10)), Verdict::Drop);
}

#[test]
fn a_target_that_the_publisher_turned_off_is_not_waited_for() {
    let mut targets = two_targets(true);
    let mut select = Select::new(wish(2, 3));
    assert_eq!(
        select.decide(0, 1, &key_with_targets(), &targets),
        Verdict::Switch
    );
    assert_eq!(select.target(), Some(1));
    targets.active = 0b01;
    assert_eq!(
        select.decide(0, 1, &with_targets(0, 0b11, 0b01), &targets),
        Verdict::Forward
    );
    assert_eq!(
        (select.target(), select.waits_for(1, 1, &targets)),
        (Some(0), None)
    );
    targets.active = 0b11;
    assert_eq!(select.waits_for(1, 1, &targets), Some(0));
}
