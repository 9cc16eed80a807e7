//! The rings, and what waits while they are full.

use super::control::{BACKLOG_MAX, NEWS_MAX};
use super::*;
use crate::api::RoomKey;
use crate::down::munge::SenderReport;
use std::time::Instant;

const A: ThreadId = ThreadId(0);
const B: ThreadId = ThreadId(1);

fn track() -> TrackKey {
    TrackKey::new(A, RoomKey(1), 1)
}

fn arrival(sequence: u64) -> Arrival<'static> {
    Arrival {
        sequence,
        timestamp: 7,
        marker: true,
        codec: Codec::Vp8,
        payload: b"payload",
        dependency_descriptor: b"dd",
        abs_capture_time: b"captured",
    }
}

fn pair(capacity: usize) -> (Mesh, Mesh) {
    let mut meshes = mesh(2, capacity);
    let b = meshes.pop().expect("two were made");
    (meshes.pop().expect("two were made"), b)
}

#[test]
fn packets_cross_in_order_and_whole() {
    let (mut a, mut b) = pair(8);
    assert!(a.send_packet(B, track(), 2, &arrival(5)));
    let source = (SocketAddr::from(([127, 0, 0, 1], 9)), 1);
    assert!(a.send_datagram(B, source, true, b"stun"));
    let first = b.receive(A).expect("crossed");
    let packet = first.arrival().expect("a packet");
    assert_eq!(
        (packet.sequence, packet.payload, packet.dependency_descriptor),
        (5, &b"payload"[..], &b"dd"[..])
    );
    assert_eq!(packet.abs_capture_time, b"captured");
    let mut second = b.receive(A).expect("crossed");
    assert_eq!(second.datagram_mut(), b"stun");
    assert!(b.receive(A).is_none());
}

#[test]
fn a_full_ring_drops_and_recycled_buffers_are_used_again() {
    let (mut a, mut b) = pair(2);
    assert!(a.send_packet(B, track(), 0, &arrival(1)));
    assert!(a.send_packet(B, track(), 0, &arrival(2)));
    assert!(!a.send_packet(B, track(), 0, &arrival(3)), "full");
    for round in 0..100 {
        let crossing = b.receive(A).expect("one waits");
        assert!(!a.send_packet(B, track(), 0, &arrival(round)), "no buffer yet");
        b.recycle(A, crossing);
        assert!(a.send_packet(B, track(), 0, &arrival(round)));
    }
    assert_eq!(a.links[1].as_ref().expect("linked").made, 2);
}

fn serial(number: usize) -> TrackKey {
    TrackKey::new(A, RoomKey(1), number as u32)
}

fn report(at: Instant, rtp: u32) -> Control {
    Control::Report {
        track: track(),
        layer: 1,
        report: SenderReport { ntp: 1, rtp, at },
    }
}

fn started(ssrc: u32) -> Control {
    Control::Started {
        track: track(),
        layer: 1,
        codec: Codec::Vp8,
        ssrc,
    }
}

/// All that waits for B, which wakes up.
fn drain(a: &mut Mesh, b: &mut Mesh) -> Vec<Control> {
    let mut got = Vec::new();
    loop {
        let before = got.len();
        got.extend(std::iter::from_fn(|| b.receive_control(A)));
        a.flush();
        if got.len() == before {
            return got;
        }
    }
}

#[test]
fn control_items_wait_while_the_other_thread_stalls() {
    let (mut a, mut b) = pair(2);
    let items: Vec<_> = (0..CONTROL_CAPACITY + 500)
        .map(|number| Control::Want {
            track: serial(number),
        })
        .collect();
    assert!(items.iter().all(|item| a.send_control(B, *item)));
    assert_eq!(drain(&mut a, &mut b), items);
}

#[test]
fn a_storm_of_what_remote_sides_cause_takes_no_place_of_what_happened_once() {
    let (mut a, mut b) = pair(2);
    let at = crate::testing::epoch();
    for number in 0..200_000 {
        assert!(a.send_control(B, report(at, number)), "the latest of it waits");
        let source = SocketAddr::from(([10, 0, 0, 1], 9));
        assert!(a.send_control(B, Control::Learned { source }));
        assert!(a.send_control(B, started(number)));
    }
    // Of as many tracks as there may be: what loses its worth leaves half of the places.
    let news = (0..2 * BACKLOG_MAX).filter(|number| {
        let (track, fraction) = (serial(*number), 9);
        a.send_control(B, Control::Loss { track, fraction })
    });
    assert!(news.count() < NEWS_MAX);
    let ended = Control::Ended { track: track() };
    assert!(a.send_control(B, ended));
    assert!(a.send_control(B, started(1_000_000)));
    assert!(a.send_control(B, started(1_000_001)));
    let got = drain(&mut a, &mut b);
    let last = |item| got.iter().rposition(|got| *got == item);
    assert!(last(report(at, 199_999)).is_some());
    assert!(last(started(199_999)) < last(ended));
    assert!(last(ended) < last(started(1_000_001)));
    assert_eq!(last(started(1_000_000)), None);
    assert!(a.links[1].as_ref().expect("linked").backlog.at.is_empty());
}

#[test]
fn strangers_leave_room_for_those_that_are_known_and_these_for_packets() {
    let (mut a, _b) = pair(100);
    let source = (SocketAddr::from(([127, 0, 0, 1], 9)), 0);
    let count = |a: &mut Mesh, familiar| {
        (0..1000)
            .filter(|_| a.send_datagram(B, source, familiar, b"x"))
            .count()
    };
    assert_eq!(count(&mut a, false), 25);
    assert_eq!(count(&mut a, true), 50);
    assert_eq!(
        (0..1000)
            .filter(|i| a.send_packet(B, track(), 0, &arrival(*i)))
            .count(),
        25
    );
}

#[test]
fn each_thread_is_woken_once_for_what_it_got() {
    let (mut a, _b) = pair(4);
    assert_eq!(a.poll_wake(), None);
    a.send_packet(B, track(), 0, &arrival(1));
    a.send_packet(B, track(), 0, &arrival(2));
    assert_eq!((a.poll_wake(), a.poll_wake()), (Some(B), None));
}
