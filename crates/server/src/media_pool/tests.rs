//! Placement, and what becomes of threads that fail; threads that serve are tested in
//! `tests/media_pool.rs`.

use super::*;
use crate::shell::media_thread::Fault;
use std::net::Ipv4Addr;

#[test]
fn a_room_stays_at_home_until_home_is_full() {
    assert_eq!(choose(&[9, 0, 3], Some(0), 10), 0);
    assert_eq!(choose(&[10, 4, 3], Some(0), 10), 2);
}

#[test]
fn a_new_room_goes_to_the_least_loaded_thread() {
    assert_eq!(choose(&[5, 2, 2], None, 10), 1);
    assert_eq!(choose(&[10, 10], None, 10), 0, "full everywhere is still placed");
}

fn pool(threads: usize, spread: bool) -> (MediaPool, mpsc::Receiver<Event>) {
    let (events, arrived) = mpsc::channel(64);
    let config = MediaPoolConfig {
        threads,
        sockets: SocketPlan::Single(0),
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        spread,
        ..MediaPoolConfig::default()
    };
    (MediaPool::start(config, events).expect("it starts"), arrived)
}

/// How long a thread may take until its fault is seen.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_thread_that_panics_where_none_is_caught_is_told_and_gets_no_more_peers() {
    for spread in [false, true] {
        let (pool, _arrived) = pool(2, spread);
        assert_eq!(pool.vitals().problem(), None);
        pool.inject(0, Fault::Panic);
        tokio::time::timeout(PATIENCE, pool.vitals().ended())
            .await
            .expect("it is told");
        assert_eq!(
            pool.vitals().problem().as_deref(),
            Some("media thread 0 has ended")
        );
        for home in [None, Some(ThreadId(0)), Some(ThreadId(1)), None] {
            assert_eq!(pool.place(home).thread, ThreadId(1), "{home:?}");
        }
    }
}

#[tokio::test]
async fn a_thread_that_hangs_is_told_until_it_goes_on() {
    let (pool, _arrived) = pool(2, false);
    let (go_on, hang) = sync_channel(0);
    pool.inject(1, Fault::Hang(hang));
    let watch = tokio::spawn(pool.vitals().clone().watch());
    let hung = pool.vitals().wait(|vitals| vitals.problem().is_some());
    tokio::time::timeout(PATIENCE, hung).await.expect("it is noticed");
    assert_eq!(pool.vitals().problem().as_deref(), Some("media thread 1 hangs"));
    assert_eq!(pool.place(Some(ThreadId(1))).thread, ThreadId(0));
    drop(go_on);
    let on = pool.vitals().wait(|vitals| vitals.problem().is_none());
    tokio::time::timeout(PATIENCE, on).await.expect("it is noticed");
    watch.abort();
}

#[tokio::test]
async fn threads_that_are_told_to_end_are_no_failure() {
    let (pool, _arrived) = pool(2, false);
    let vitals = pool.vitals().clone();
    pool.shutdown();
    assert_eq!(vitals.problem(), None);
}

#[test]
fn a_busy_thread_takes_only_whom_no_other_can_take() {
    let busy = handicap(950, 900);
    assert_eq!(choose(&[3 + busy, 40], Some(0), 4000), 1, "home is busy");
    assert_eq!(choose(&[3 + busy, 40 + busy], Some(0), 4000), 0, "all are");
    assert_eq!(
        choose(&[3 + busy, 40], None, 10),
        1,
        "even beyond its usual number"
    );
}

#[test]
fn the_limit_of_load_is_a_part_of_the_thread_or_none() {
    assert_eq!(handicap(899, 900), 0);
    assert!(handicap(900, 900) > 0);
    assert_eq!(handicap(1000, 0), 0, "no limit");
    assert!(
        handicap(1000, 5000) > 0,
        "an overloaded thread is full, whatever the limit"
    );
}

#[test]
fn a_room_that_floods_a_thread_takes_no_place_of_another_rooms_commands() {
    use media::api::{ChannelLabel, PeerKey, RoomKey};
    let (pool, _arrived) = pool(1, false);
    let (go_on, hang) = sync_channel(0);
    pool.inject(0, Fault::Hang(hang));
    let (flooding, calm) = (pool.line(), pool.line());
    let message = |room, label| Command::SendMessage {
        peers: vec![PeerKey::new(ThreadId(0), RoomKey(room), 1)],
        label,
        data: [1][..].into(),
    };
    let close = |room| Command::CloseRoom { room: RoomKey(room) };
    let mut refused = [0, 0, 0];
    for _ in 0..10_000 {
        let commands = [
            close(1),
            message(1, ChannelLabel::Reliable),
            message(1, ChannelLabel::Lossy),
        ];
        for (command, refused) in commands.into_iter().zip(&mut refused) {
            *refused += u64::from(pool.send_of(&flooding, ThreadId(0), command).is_err());
        }
    }
    assert!(refused.iter().all(|refused| *refused > 0), "{refused:?}");
    for _ in 0..1000 {
        for label in [ChannelLabel::Reliable, ChannelLabel::Lossy] {
            assert_eq!(pool.send_of(&calm, ThreadId(0), message(2, label)), Ok(()));
        }
        assert_eq!(pool.send_of(&calm, ThreadId(0), close(2)), Ok(()));
    }
    let stats = &pool.stats()[0];
    let lost = stats.media.drops.messages;
    assert_eq!([stats.commands_refused, lost.reliable, lost.lossy], refused);
    drop(go_on);
}
