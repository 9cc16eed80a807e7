//! Active speakers.

use crate::world::{Client, World, microphone, wish};
use media::api::{EventKind, TrackKey};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;

fn levels(world: &mut World, levels: &[(TrackKey, f32)]) {
    let levels = levels
        .iter()
        .map(|(track, level)| (*track, *level, *level > 0.0))
        .collect();
    world.media(EventKind::AudioLevels { levels });
}

fn told(world: &mut World, client: &Client) -> Vec<proto::SpeakerInfo> {
    world
        .take(client)
        .into_iter()
        .flat_map(|message| match message {
            Response::SpeakersChanged(changed) => changed.speakers,
            other => panic!("unexpected {other:?}"),
        })
        .collect()
}

#[test]
fn differences_are_told_to_subscribers_and_the_speaker() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let mut join = wish("deaf");
    join.settings.auto_subscribe = false;
    let deaf = world.enter(join);
    world.pass_ms(1_000);
    world.publish(&alice, microphone("mic"));
    let (track, _) = world.published_track();
    let sid = world.info("alice").sid;
    world.pass_ms(200);
    world.forget();

    levels(&mut world, &[(track, 0.2)]);
    for client in [&alice, &bob] {
        let speakers = told(&mut world, client);
        assert_eq!(speakers.len(), 1);
        assert_eq!(
            (speakers[0].sid.as_str(), speakers[0].level, speakers[0].active),
            (sid.as_str(), 0.25, true)
        );
    }
    assert!(told(&mut world, &deaf).is_empty());
    levels(&mut world, &[(track, 0.21)]);
    assert!(told(&mut world, &bob).is_empty(), "the same eighth");
    levels(&mut world, &[(track, 0.0)]);
    let speakers = told(&mut world, &bob);
    assert_eq!((speakers[0].level, speakers[0].active), (0.0, false));
    levels(&mut world, &[(track, 0.0)]);
    assert!(told(&mut world, &bob).is_empty());
}

#[test]
fn the_loudest_comes_first_and_each_thread_speaks_for_itself() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let mut tracks = Vec::new();
    for (identity, thread) in [("alice", 1), ("carol", 2)] {
        let mut join = wish(identity);
        join.placement.thread = media::api::ThreadId(thread);
        let client = world.enter(join);
        world.publish(&client, microphone(identity));
        tracks.push(world.published_track().0);
    }
    let carol_sid = world.info("carol").sid;
    world.forget();
    levels(&mut world, &[(tracks[0], 0.3)]);
    world.forget();
    levels(&mut world, &[(tracks[1], 0.9)]);
    let speakers = told(&mut world, &bob);
    assert_eq!(speakers.len(), 1, "alice still speaks: {speakers:?}");
    assert_eq!(speakers[0].sid, carol_sid);
    world.forget();
    levels(&mut world, &[(tracks[0], 0.6)]);
    levels(&mut world, &[(tracks[1], 0.0)]);
    let speakers = told(&mut world, &bob);
    assert_eq!(
        speakers.iter().map(|speaker| speaker.active).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn a_new_subscriber_learns_who_speaks_and_loses_it_with_the_last_track() {
    use protocol::proto::signal_request::Message as Request;
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut join = wish("bob");
    join.settings.auto_subscribe = false;
    let bob = world.enter(join);
    let sid = world.publish(&alice, microphone("mic"));
    let (track, _) = world.published_track();
    levels(&mut world, &[(track, 0.5)]);
    world.take(&bob);
    let mut subscribe = |subscribe| {
        world.request(
            &bob,
            Request::Subscription(proto::UpdateSubscription {
                track_sids: vec![sid.clone()],
                subscribe,
                ..Default::default()
            }),
        );
        world.take(&bob).into_iter().find_map(|message| match message {
            Response::SpeakersChanged(changed) => Some(changed.speakers[0].active),
            _ => None,
        })
    };
    assert_eq!(subscribe(true), Some(true));
    assert_eq!(subscribe(false), Some(false));
}
