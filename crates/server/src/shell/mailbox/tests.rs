//! Without a runtime: what cannot be had at once is not waited for, and no task's budget interferes.

use super::super::event_queue::{EventSender, event_queue};
use super::*;
use futures_util::FutureExt;
use media::api::{Event, EventKind, PeerKey, RoomKey, ThreadId};
use protocol::proto;
use room::ApiCall;
use tokio::sync::oneshot;

fn open() -> (EventSender, Mailbox, Inbox) {
    let (events, arrived) = event_queue();
    let (mailbox, inbox) = Mailbox::new(arrived);
    (events, mailbox, inbox)
}

/// How many requests of that size a line hands in before it has to wait.
fn flood(line: &Line, bytes: usize) -> usize {
    (0..100_000)
        .take_while(|_| {
            let sent = line.send(proto::SignalRequest::default(), bytes).now_or_never();
            sent == Some(Ok(()))
        })
        .count()
}

fn call() -> Input {
    let (reply, _) = oneshot::channel();
    Input::Api {
        call: ApiCall::ListParticipants,
        reply,
    }
}

fn take(inbox: &mut Inbox) -> Option<Taken> {
    inbox.next().now_or_never().flatten()
}

#[test]
fn a_connection_has_a_few_requests_in_flight_and_a_mebibyte() {
    let (_events, mailbox, mut inbox) = open();
    let small = mailbox.line(ConnectionId(1));
    assert_eq!(flood(&small, 100), CONNECTION_REQUESTS_MAX);
    let large = mailbox.line(ConnectionId(2));
    assert_eq!(flood(&large, 400 << 10), 2);
    let larger = mailbox.line(ConnectionId(3));
    assert_eq!(flood(&larger, 50 << 20), 1);
    // What the room has dealt with is given back, and not before.
    let first = take(&mut inbox).expect("waits");
    assert_eq!(flood(&small, 100), 0);
    drop(first);
    assert_eq!(flood(&small, 100), 1);
}

#[test]
fn all_connections_together_have_the_rooms_share_in_bytes() {
    let (_events, mailbox, mut inbox) = open();
    let lines: Vec<_> = (0..100).map(|at| mailbox.line(ConnectionId(at))).collect();
    let sent: usize = lines.iter().map(|line| flood(line, (1 << 20) - 1)).sum();
    assert_eq!(sent, 32);
    while let Some(taken) = take(&mut inbox) {
        drop(taken);
    }
    assert_eq!(flood(&lines[99], 100), CONNECTION_REQUESTS_MAX);
}

#[test]
fn calls_joins_and_events_pass_a_room_full_of_requests() {
    let (events, mailbox, mut inbox) = open();
    let lines: Vec<_> = (0..500).map(|at| mailbox.line(ConnectionId(at))).collect();
    let sent: usize = lines.iter().map(|line| flood(line, 100)).sum();
    assert_eq!(sent, REQUESTS_MAX);
    mailbox
        .call(call())
        .now_or_never()
        .expect("a place")
        .expect("open");
    let peer = PeerKey::new(ThreadId(0), RoomKey(1), 1);
    events.push(Event {
        room: RoomKey(1),
        kind: EventKind::PeerConnected { peer },
    });
    // The requests have had the room's time for a second.
    let (_, seat) = take(&mut inbox).expect("waits").split();
    let lane = seat.lane;
    inbox.done(seat, Duration::from_secs(1));
    let next: Vec<_> = (0..3).filter_map(|_| take(&mut inbox)).collect();
    assert!(lane == CALLS || next.iter().take(2).any(|taken| taken.seat.lane == CALLS));
    assert!(lane == EVENTS || next.iter().take(2).any(|taken| taken.seat.lane == EVENTS));
}

#[test]
fn busy_lanes_share_the_rooms_time_and_an_idle_one_saves_up_no_more_than_a_moment() {
    let (_events, mailbox, mut inbox) = open();
    let lines: Vec<_> = (0..200).map(|at| mailbox.line(ConnectionId(at))).collect();
    for line in &lines {
        flood(line, 100);
    }
    let request = Duration::from_millis(2);
    // Nothing but requests for a long time.
    for _ in 0..300 {
        let (_, seat) = take(&mut inbox).expect("waits").split();
        inbox.done(seat, request);
    }
    for _ in 0..CALLS_MAX {
        mailbox
            .call(call())
            .now_or_never()
            .expect("a place")
            .expect("open");
    }
    let mut lanes = Vec::new();
    for _ in 0..100 {
        let (_, seat) = take(&mut inbox).expect("waits").split();
        lanes.push(seat.lane);
        inbox.done(seat, request);
    }
    let calls = lanes.iter().filter(|lane| **lane == CALLS).count();
    assert_eq!(lanes[0], CALLS, "who had nothing comes first");
    assert!((50..=56).contains(&calls), "{calls} of 100 turns");
}

#[test]
fn a_connections_end_comes_after_its_requests_or_its_join() {
    let (_events, mailbox, mut inbox) = open();
    let mut line = mailbox.line(ConnectionId(1));
    line.answered();
    assert_eq!(flood(&line, 400 << 10), 2);
    drop(line);
    let order: Vec<_> = std::iter::from_fn(|| take(&mut inbox))
        .map(|taken| matches!(taken.input, Input::Action(Action::SignalClosed { .. })))
        .collect();
    assert_eq!(order, [false, false, true]);
    // Whose join waits, ends in the same lane.
    mailbox
        .call(call())
        .now_or_never()
        .expect("a place")
        .expect("open");
    drop(mailbox.line(ConnectionId(2)));
    let order: Vec<_> = std::iter::from_fn(|| take(&mut inbox))
        .map(|taken| matches!(taken.input, Input::Action(Action::SignalClosed { .. })))
        .collect();
    assert_eq!(order, [false, true]);
}
