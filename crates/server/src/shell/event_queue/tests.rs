//! Who loses what when a room lags behind its events.

use super::*;
use media::api::{RoomKey, ThreadId, TrackKey};
use std::task::{Context, Waker};

const ROOM: RoomKey = RoomKey(1);

fn peer(serial: u32) -> PeerKey {
    PeerKey::new(ThreadId(0), ROOM, serial)
}

fn event(kind: EventKind) -> Event {
    Event { room: ROOM, kind }
}

fn message(serial: u32, label: ChannelLabel, bytes: usize) -> Event {
    event(EventKind::Message {
        peer: peer(serial),
        label,
        data: vec![0; bytes],
    })
}

fn drain(receiver: &EventReceiver) -> Vec<Action> {
    let cx = Context::from_waker(Waker::noop());
    let mut actions = Vec::new();
    while let Poll::Ready(action) = receiver.poll_next(&cx) {
        actions.push(action);
    }
    actions
}

/// Of which peers the messages are, and who overran.
fn summary(actions: &[Action]) -> (BTreeMap<PeerKey, usize>, Vec<PeerKey>) {
    let mut messages = BTreeMap::new();
    let mut overran = Vec::new();
    for action in actions {
        if let Action::PeerOverran { peer } = action {
            overran.push(*peer);
        } else if let Action::Media(Event {
            kind: EventKind::Message { peer, .. },
            ..
        }) = action
        {
            *messages.entry(*peer).or_default() += 1;
        }
    }
    (messages, overran)
}

#[test]
fn a_peer_that_fills_its_share_with_what_must_not_be_lost_is_cut_and_nobody_else() {
    let (sender, receiver) = event_queue();
    assert_eq!(sender.push(message(2, ChannelLabel::Reliable, 100)), Fate::Queued);
    let cut = (0..10_000)
        .map(|_| sender.push(message(1, ChannelLabel::Reliable, 1_000)))
        .position(|fate| fate == Fate::PeerCut);
    assert_eq!(cut, Some(PEER_MESSAGES_MAX));
    assert_eq!(sender.push(message(2, ChannelLabel::Reliable, 100)), Fate::Queued);
    let (messages, overran) = summary(&drain(&receiver));
    assert_eq!(overran, [peer(1)]);
    assert_eq!(messages, [(peer(2), 2)].into());
    // Once it is cut nothing of it is taken any more.
    assert_eq!(sender.push(message(1, ChannelLabel::Reliable, 1)), Fate::Dropped);
}

#[test]
fn bytes_count_as_well() {
    let (sender, receiver) = event_queue();
    let fates: Vec<_> = (0..65)
        .map(|_| sender.push(message(1, ChannelLabel::Unlabelled, 65_536)))
        .collect();
    assert_eq!(fates.iter().filter(|fate| **fate == Fate::Queued).count(), 64);
    assert_eq!(fates[64], Fate::PeerCut);
    assert_eq!(summary(&drain(&receiver)).1, [peer(1)]);
}

#[test]
fn of_many_who_fill_the_queue_together_the_largest_loses() {
    let (sender, receiver) = event_queue();
    for _ in 0..50 {
        sender.push(message(7, ChannelLabel::Reliable, 65_536));
    }
    let mut cut = 0;
    for round in 0..40 {
        for other in 100..120 {
            let fate = sender.push(message(other, ChannelLabel::Reliable, 65_536));
            cut += usize::from(fate == Fate::PeerCut);
        }
        if cut > 0 {
            assert!(round > 10, "{round}");
            break;
        }
    }
    assert_eq!(cut, 1);
    assert_eq!(summary(&drain(&receiver)).1, [peer(7)]);
}

#[test]
fn what_is_late_is_dropped_before_anybody_is_cut_and_connections_are_always_told() {
    let (sender, receiver) = event_queue();
    let fates: Vec<_> = (0..20_000)
        .map(|_| sender.push(message(1, ChannelLabel::Lossy, 10)))
        .collect();
    let queued = fates.iter().filter(|fate| **fate == Fate::Queued).count();
    assert_eq!(queued, PEER_MESSAGES_MAX / 2);
    assert!(!fates.contains(&Fate::PeerCut));
    for serial in 2..12 {
        while sender.push(message(serial, ChannelLabel::DataTrack, 10)) == Fate::Queued {}
    }
    let levels = EventKind::AudioLevels {
        levels: vec![(TrackKey::new(ThreadId(0), ROOM, 1), 0.5, true)],
    };
    assert_eq!(sender.push(event(levels)), Fate::Dropped);
    assert_eq!(
        sender.push(event(EventKind::PeerConnected { peer: peer(1) })),
        Fate::Queued
    );
    assert_eq!(
        sender.push(event(EventKind::PeerFailed { peer: peer(1) })),
        Fate::Queued
    );
    let actions = drain(&receiver);
    let (messages, overran) = summary(&actions);
    assert_eq!(messages.values().sum::<usize>(), EVENTS_MAX / 2);
    assert_eq!(overran, []);
    let last = &actions[actions.len() - 2..];
    assert!(matches!(last, [Action::Media(a), Action::Media(b)]
        if matches!(a.kind, EventKind::PeerConnected { .. }) && matches!(b.kind, EventKind::PeerFailed { .. })));
    // Once it is read there is room again.
    assert_eq!(sender.push(message(1, ChannelLabel::Lossy, 10)), Fate::Queued);
}

#[test]
fn a_room_that_is_over_keeps_nothing() {
    let (sender, receiver) = event_queue();
    sender.push(message(1, ChannelLabel::Reliable, 10));
    drop(receiver);
    assert_eq!(sender.push(message(1, ChannelLabel::Reliable, 10)), Fate::Stray);
    assert_eq!(lock(&sender.0).total.messages, 0);
}
