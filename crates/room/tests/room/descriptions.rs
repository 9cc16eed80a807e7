//! What descriptions show while subscriptions come and go faster than clients answer. Every description
//! of every test is checked (`World::check_description`); here are the histories that are hard on it.

use crate::crowd::Crowd;
use crate::sdp;
use crate::world::{Client, World, camera, microphone, wish, wish_single};
use media::api::Command;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeSet;

fn subscribe(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(proto::UpdateSubscription {
        track_sids: vec![sid.to_owned()],
        subscribe,
        ..Default::default()
    })
}

/// How often the last of some descriptions names a track.
fn shown(messages: &[Response], sid: &str) -> Option<usize> {
    let sdp = messages.iter().rev().find_map(|message| match message {
        Response::Offer(description) | Response::Answer(description) => Some(&description.sdp),
        _ => None,
    })?;
    let line = format!("{sid}\r\n");
    Some(
        sdp.split_inclusive('\n')
            .filter(|text| text.starts_with("a=msid:") && text.ends_with(&line))
            .count(),
    )
}

/// Lets everything settle; the client answers what it is offered. Returns how often its last
/// description shows the track.
fn settle(world: &mut World, client: &Client, sid: &str) -> Option<usize> {
    let mut last = None;
    for _ in 0..20 {
        world.pass_ms(100);
        world.answer(client);
        let messages = world.take(client);
        last = shown(&messages, sid).or(last);
    }
    last
}

#[test]
fn off_and_on_again_at_once_shows_the_track_once_and_brings_it_back() {
    for request in [microphone("m"), camera("c")] {
        for pause_ms in [0, 1, 9, 11, 160, 290, 310, 500] {
            let mut world = World::new();
            let alice = world.enter(wish("alice"));
            let bob = world.enter(wish("bob"));
            world.pass_ms(1_000);
            let sid = world.publish(&alice, request.clone());
            assert_eq!(settle(&mut world, &bob, &sid), Some(1));
            for _ in 0..3 {
                world.request(&bob, subscribe(&sid, false));
                world.pass_ms(pause_ms);
                world.request(&bob, subscribe(&sid, true));
            }
            assert_eq!(settle(&mut world, &bob, &sid), Some(1), "{pause_ms} ms");
        }
    }
}

#[test]
fn off_and_on_again_at_once_asks_a_single_client_for_one_section() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish_single("bob", 2, 2));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, camera("c"));
    world.pass_ms(200);
    let offers = |world: &mut World, id: &mut u32| {
        let mut last = None;
        for _ in 0..20 {
            world.pass_ms(100);
            let messages = world.take(&bob);
            last = shown(&messages, &sid).or(last);
            let asked = messages
                .iter()
                .any(|message| matches!(message, Response::MediaSectionsRequirement(_)));
            if asked {
                *id += 1;
                world.request(&bob, Request::Offer(sdp::offer(*id, &sdp::receiving(2, 2))));
            }
        }
        last
    };
    let mut id = 1;
    assert_eq!(offers(&mut world, &mut id), Some(1));
    world.request(&bob, subscribe(&sid, false));
    world.request(&bob, subscribe(&sid, true));
    // An offer of the client's own comes in between.
    id += 1;
    world.request(&bob, Request::Offer(sdp::offer(id, &sdp::receiving(2, 2))));
    assert_eq!(offers(&mut world, &mut id), Some(1));
    let before = id;
    assert_eq!(offers(&mut world, &mut id), None, "nothing is left to be told");
    assert_eq!(id, before, "and nothing is asked for any more");
}

/// One step of a random history of subscriptions and everything that ends or moves them.
fn step(crowd: &mut Crowd) {
    use proto::TrackSource::{Camera, Microphone};
    let source = [Camera, Microphone][crowd.roll(2)];
    let Some(index) = crowd.pick() else {
        let join = crowd.wish(6);
        return crowd.join(join, true);
    };
    match crowd.roll(20) {
        0 | 1 if crowd.actors.len() < 6 => {
            let join = crowd.wish(6);
            crowd.join(join, true);
        }
        2..=4 => {
            crowd.announce(index, source);
            crowd.offer(index);
            start_tracks(crowd);
        }
        5 => crowd.offer(index),
        6 => permit(crowd, index),
        7 => allow(crowd, index),
        8 => {
            let actor = crowd.actors.remove(index);
            crowd
                .world
                .request(&actor.client, Request::Leave(proto::LeaveRequest::default()));
        }
        9 => {
            let join = crowd.wish(1);
            let client = crowd.actors[index].client.clone();
            let mut join = room::Join {
                single_peer_connection: join.single_peer_connection && client.subscriber.is_none(),
                publisher_offer: None,
                ..join
            };
            join.claims.identity.clone_from(&crowd.actors[index].identity);
            join.single_peer_connection = client.subscriber.is_none();
            crowd.actors[index].client = crowd.world.resume(&client, join);
        }
        10..=15 => toggle(crowd, index),
        _ => {
            let ms = u64::try_from(crowd.roll(400)).unwrap();
            crowd.world.pass_ms(ms);
        }
    }
    crowd.listen(|_| ());
}

/// Media comes for every track that stands on a section.
fn start_tracks(crowd: &mut Crowd) {
    let mut tracks = BTreeSet::new();
    for (_, command) in &crowd.world.commands {
        match command {
            Command::Publish { track, .. } => {
                tracks.insert(*track);
            }
            Command::Unpublish { track } => {
                tracks.remove(track);
            }
            _ => {}
        }
    }
    for track in tracks {
        crowd.world.start_layer(track, 0);
    }
}

fn toggle(crowd: &mut Crowd, index: usize) {
    let infos = crowd.infos();
    let sids: Vec<_> = infos
        .iter()
        .flat_map(|info| &info.tracks)
        .map(|track| track.sid.clone())
        .collect();
    let count = u64::try_from(sids.len()).unwrap();
    if count == 0 {
        return;
    }
    let sid = sids[crowd.roll(count)].clone();
    for flip in 0..=crowd.roll(4) {
        crowd.request(index, subscribe(&sid, flip % 2 == 1));
        if crowd.chance(20) {
            crowd.world.pass_ms(20);
        }
    }
}

fn permit(crowd: &mut Crowd, index: usize) {
    for can_subscribe in [crowd.chance(50), true] {
        let request = proto::UpdateParticipantRequest {
            identity: crowd.actors[index].identity.clone(),
            permission: Some(proto::ParticipantPermission {
                can_subscribe,
                can_publish: true,
                can_publish_data: true,
                ..Default::default()
            }),
            ..Default::default()
        };
        let _ = crowd
            .world
            .api(room::ApiCall::UpdateParticipant(Box::new(request)));
    }
}

fn allow(crowd: &mut Crowd, index: usize) {
    for all_participants in [crowd.chance(50), true] {
        let rule = proto::SubscriptionPermission {
            all_participants,
            track_permissions: Vec::new(),
        };
        crowd.request(index, Request::SubscriptionPermission(rule));
    }
}

/// Calls whose descriptions are kept for browsers to read (`interop/tests/descriptions.test.mjs`).
const HISTORIES_MAX: u64 = 60;

/// A line of JSON for each connection: our offers, or our answers with what they answer, in order.
fn write_histories(lines: &mut String, seed: u64, world: &World) {
    for ((_, kind), told) in &world.told {
        let steps: Vec<_> = told
            .iter()
            .map(|told| serde_json::json!({ "offer": told.offer, "sdp": told.sdp }))
            .collect();
        *lines += &serde_json::json!({ "seed": seed, "kind": kind, "steps": steps }).to_string();
        lines.push('\n');
    }
}

/// Seeds of a usual run. `DESCRIPTION_SEEDS=1000 cargo test …` builds it with more.
const SEEDS: u64 = 12;

#[test]
#[expect(clippy::print_stdout, reason = "a long run says how far it came")]
fn random_histories_of_subscriptions_show_every_track_once() {
    let wanted = option_env!("DESCRIPTION_SEEDS");
    let seeds = wanted.and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let mut checked = 0;
    let mut histories = String::new();
    for seed in 0..seeds {
        let mut crowd = Crowd::new(seed);
        for _ in 0..300 {
            step(&mut crowd);
            if crowd.world.over {
                break;
            }
        }
        checked += crowd.world.descriptions_checked();
        if seed < HISTORIES_MAX {
            write_histories(&mut histories, seed, &crowd.world);
        }
    }
    let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/descriptions.jsonl");
    std::fs::write(path, histories).expect("the build's folder can be written to");
    println!("{checked} descriptions of {seeds} histories");
    assert!(checked > seeds * 50, "only {checked} descriptions");
}
