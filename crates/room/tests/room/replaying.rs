//! A recorded call of a stock browser client with the reference server, replayed: its messages go
//! in, and what the room says must come in the recorded order and name the same tracks.
//!
//! `recorded/late_3_tracks_*.json`: alice publishes three tracks, then bob joins. A step is a
//! client's message, or what the server said (`server`: its kind; `mids`: the tracks it sends).

use crate::world::{Client, World, name, wish};
use media::api::{Command, TrackKey};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const DUAL: &str = include_str!("recorded/late_3_tracks_dual.json");
const SINGLE: &str = include_str!("recorded/late_3_tracks_single.json");

/// Kinds that have the same order in every run, for each direction of negotiation. The two
/// directions of a dual client are independent of each other.
const ORDERED: [&[&str]; 2] = [&["join", "offer"], &["join", "answer", "track_published"]];

/// Kinds that only their number is compared of.
const COUNTED: [&str; 3] = ["refresh_token", "permission:true", "track_subscribed"];

#[test]
fn a_dual_browser_call_goes_as_recorded() {
    Replay::run(DUAL);
}

#[test]
fn a_single_browser_call_goes_as_recorded() {
    Replay::run(SINGLE);
}

struct Replay {
    world: World,
    /// Recorded name of a track → its SID here.
    sids: BTreeMap<String, String>,
    started: BTreeSet<TrackKey>,
}

impl Replay {
    fn run(text: &str) {
        let recorded: Value = serde_json::from_str(text).unwrap();
        let mut replay = Self {
            world: World::new(),
            sids: BTreeMap::new(),
            started: BTreeSet::new(),
        };
        let steps = |who: &str| recorded[who].as_array().unwrap().clone();
        let (alice_steps, bob_steps) = (steps("alice"), steps("bob"));
        let (alice, mut alice_said) = replay.play("alice", &alice_steps);
        replay.world.pass_ms(1_000);
        let (_, bob_said) = replay.play("bob", &bob_steps);
        alice_said.extend(replay.world.take(&alice));
        replay.compare(&alice_steps, &alice_said);
        replay.compare(&bob_steps, &bob_said);
        let mimes: Vec<_> = replay
            .world
            .info("alice")
            .tracks
            .into_iter()
            .map(|track| track.mime_type)
            .collect();
        assert_eq!(mimes, ["audio/red", "video/VP8", "video/VP8"]);
    }

    /// Plays one client's side; returns everything it was told.
    fn play(&mut self, identity: &str, steps: &[Value]) -> (Client, Vec<Response>) {
        let client = self.join(identity, steps);
        let mut said = self.world.take(&client);
        let mut connected = false;
        for step in steps {
            if let Some(track) = step["sid"].as_str() {
                let sid = said.iter().rev().find_map(|message| match message {
                    Response::TrackPublished(published) => Some(published.track.as_ref()?.sid.clone()),
                    _ => None,
                });
                self.sids
                    .insert(track.to_owned(), sid.expect("a track was published"));
            }
            let Some(message) = step.get("client") else {
                continue;
            };
            let request = self.request(message, &said);
            // Browsers say so when they are connected.
            if matches!(request, Request::SubscriptionPermission(_)) && !connected {
                connected = true;
                self.world.connect(&client);
            }
            self.world.request(&client, request);
            self.start_tracks();
            said.extend(self.world.take(&client));
        }
        self.world.pass_ms(2_500);
        said.extend(self.world.take(&client));
        (client, said)
    }

    fn join(&mut self, identity: &str, steps: &[Value]) -> Client {
        let mut join = wish(identity);
        if let Some(request) = steps.first().and_then(|step| step.get("join_request")) {
            let request: proto::JoinRequest = serde_json::from_value(request.clone()).unwrap();
            join.single_peer_connection = true;
            join.publisher_offer = request.publisher_offer;
            join.client = request.client_info.unwrap();
        }
        self.world.join(join)
    }

    /// A recorded message with this run's SIDs and offer ids.
    fn request(&self, message: &Value, said: &[Response]) -> Request {
        let mut text = message.to_string();
        for (recorded, sid) in &self.sids {
            text = text.replace(recorded, sid);
        }
        let request: proto::SignalRequest = serde_json::from_str(&text).unwrap();
        let mut request = request.message.unwrap();
        if let Request::Answer(answer) = &mut request {
            let offer = said.iter().rev().find_map(|message| match message {
                Response::Offer(offer) => Some(offer.id),
                _ => None,
            });
            answer.id = offer.expect("an offer to answer");
        }
        request
    }

    /// Media of every newly negotiated track arrives.
    fn start_tracks(&mut self) {
        let tracks: Vec<_> = self
            .world
            .commands
            .iter()
            .filter_map(|(_, command)| match command {
                Command::Publish { track, .. } => Some(*track),
                _ => None,
            })
            .collect();
        for track in tracks {
            if self.started.insert(track) {
                self.world.start_layer(track, 0);
            }
        }
    }

    fn compare(&self, steps: &[Value], said: &[Response]) {
        let recorded: Vec<_> = steps.iter().filter_map(|step| step["server"].as_str()).collect();
        let names: Vec<_> = said.iter().map(name).collect();
        for kinds in ORDERED {
            let here = names
                .iter()
                .map(String::as_str)
                .filter(|name| kinds.contains(name));
            let there = recorded.iter().copied().filter(|name| kinds.contains(name));
            assert_eq!(here.collect::<Vec<_>>(), there.collect::<Vec<_>>());
        }
        for kind in COUNTED {
            let here = names.iter().filter(|name| *name == kind).count();
            let there = recorded.iter().filter(|name| **name == kind).count();
            assert_eq!(here, there, "{kind} in {names:?}");
        }
        let mids: Vec<BTreeMap<String, String>> = said
            .iter()
            .filter_map(|message| match message {
                Response::Offer(description) | Response::Answer(description) => {
                    Some(description.mid_to_track_id.clone().into_iter().collect())
                }
                _ => None,
            })
            .filter(|mids: &BTreeMap<_, _>| !mids.is_empty())
            .collect();
        let recorded_mids: Vec<BTreeMap<String, String>> = steps
            .iter()
            .filter_map(|step| step["mids"].as_object())
            .map(|mids| {
                mids.iter()
                    .map(|(mid, track)| (mid.clone(), self.sids[track.as_str().unwrap()].clone()))
                    .collect()
            })
            .collect();
        assert_eq!(mids, recorded_mids);
    }
}
