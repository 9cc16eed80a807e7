//! Places without sockets.

use super::*;
use std::future::Future as _;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const LIMITS: PlaceLimits = PlaceLimits {
    connections: 3,
    unswitched: 3,
    switched: 2,
    per_address: 0,
    head_bytes: 100,
};

fn places(limits: PlaceLimits) -> (Places, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Places::new(limits, Arc::clone(&counters)), counters)
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// A place that is free.
fn take(places: &Places, last: u8) -> Arc<Place> {
    places
        .shared
        .try_take(address(last))
        .expect("not crowded")
        .expect("a place")
}

/// None is free; one may be closed for it.
fn none_free(places: &Places, last: u8) {
    assert!(
        places
            .shared
            .try_take(address(last))
            .expect("not crowded")
            .is_none()
    );
}

fn is_evicted(place: &Place) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    pin!(place.evicted()).poll(&mut cx).is_ready()
}

#[test]
fn who_has_been_idle_for_longest_makes_room() {
    let (places, counters) = places(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|last| take(&places, last));
    // The first has a request and is idle again, later than the others.
    first.work();
    first.rest();
    none_free(&places, 4);
    // One is enough.
    none_free(&places, 4);
    assert!(is_evicted(&second) && !is_evicted(&first) && !is_evicted(&third));
    assert_eq!(counters.connections_evicted.get(), 1);
    drop(second);
    take(&places, 4);
}

#[test]
fn requests_that_are_answered_are_left_alone() {
    let (places, counters) = places(LIMITS);
    let all = [1, 2, 3].map(|last| take(&places, last));
    all.iter().for_each(|place| place.work());
    none_free(&places, 4);
    assert!(!all.iter().any(|place| is_evicted(place)));
    assert_eq!(counters.connections_evicted.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_open_for_seconds_gives_way_when_none_is_idle() {
    let (places, _) = places(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|last| take(&places, last));
    first.work();
    tokio::time::advance(BUSY_AT_LEAST).await;
    second.work();
    third.work();
    let mut waiting = pin!(places.take(address(4)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(is_evicted(&first) && !is_evicted(&second));
    drop(first);
    assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn a_request_whose_rest_does_not_come_is_idle_and_keeps_its_head() {
    let (places, _) = places(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|last| take(&places, last));
    assert!(first.charge(60));
    for place in [&first, &second, &third] {
        place.work();
    }
    first.wait();
    assert_eq!(places.shared.lock().head_bytes, 60);
    none_free(&places, 4);
    assert!(is_evicted(&first));
    assert_eq!(places.shared.lock().head_bytes, 0);
    assert!(!is_evicted(&second) && !is_evicted(&third));
}

#[tokio::test]
async fn who_waits_for_a_place_gets_that_of_a_request_that_ends() {
    let (places, _) = places(LIMITS);
    let all = [1, 2, 3].map(|last| take(&places, last));
    all.iter().for_each(|place| place.work());
    let mut waiting = pin!(places.take(address(4)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    let [first, ..] = all;
    first.rest();
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    assert!(is_evicted(&first));
    drop(first);
    assert!(matches!(waiting.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
}

#[test]
fn websockets_leave_places_for_requests_and_are_never_closed_for_others() {
    let (places, counters) = places(LIMITS);
    let all = [1, 2, 3].map(|last| take(&places, last));
    all.iter().for_each(|place| place.work());
    assert!(all[0].switch() && all[1].switch());
    assert!(!all[2].switch(), "the last one is for requests");
    all.iter().for_each(|place| place.rest());
    none_free(&places, 4);
    assert!(!is_evicted(&all[0]) && !is_evicted(&all[1]) && is_evicted(&all[2]));
    assert_eq!(counters.connections_evicted.get(), 1);
    drop(all);
    assert_eq!(places.open(), 0);
    assert_eq!(places.shared.lock().switched, 0);
}

#[test]
fn an_address_has_a_bound_of_its_own_if_one_is_set() {
    let limits = PlaceLimits {
        per_address: 1,
        ..LIMITS
    };
    let (places, _) = places(limits);
    let first = take(&places, 1);
    let other = take(&places, 2);
    none_free(&places, 1);
    assert!(is_evicted(&first) && !is_evicted(&other), "its own oldest one");
    none_free(&places, 1);
    drop(first);
    let busy = take(&places, 1);
    busy.work();
    assert!(matches!(places.shared.try_take(address(1)), Err(Crowded)));
    drop(busy);
    drop(other);
    assert!(places.shared.lock().addresses.is_empty());
}

#[test]
fn an_ipv6_site_is_one_address() {
    let parse = |text: &str| site(text.parse().expect("an address"));
    assert_eq!(parse("2001:db8:1:2::1"), parse("2001:db8:1:2:ffff::9"));
    assert_ne!(parse("2001:db8:1:2::1"), parse("2001:db8:1:3::1"));
    assert_eq!(parse("::ffff:192.0.2.1"), parse("192.0.2.1"));
    assert_ne!(parse("192.0.2.1"), parse("192.0.2.2"));
}

#[test]
fn the_oldest_unfinished_head_makes_room_for_others() {
    let (places, counters) = places(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|last| take(&places, last));
    assert!(first.charge(40) && second.charge(60));
    assert!(third.charge(20));
    assert!(is_evicted(&first) && !is_evicted(&second));
    assert!(!first.charge(50), "it is given up");
    assert!(second.charge(60), "no more than before");
    assert!(!third.charge(101), "more than all may have");
    assert_eq!(counters.connections_evicted.get(), 2);
}

#[test]
fn heads_of_requests_that_are_answered_are_left_alone() {
    let (places, _) = places(LIMITS);
    let [first, second] = [1, 2].map(|last| take(&places, last));
    assert!(first.charge(90));
    first.work();
    assert!(!second.charge(20) && !is_evicted(&first));
    first.rest();
    assert!(second.charge(20));
    drop((first, second));
    assert_eq!(places.shared.lock().head_bytes, 0);
}

#[test]
fn an_eighth_of_all_places_is_for_requests() {
    for (connections, switched) in [(0, 0), (1, 1), (10, 5), (64, 56), (1000, 875), (65_536, 57_344)] {
        assert_eq!(
            PlaceLimits::of(connections, 0).switched,
            switched,
            "{connections}"
        );
    }
}
