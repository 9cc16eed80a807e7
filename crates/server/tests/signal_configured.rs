//! What clients see of the configuration: servers to try, codecs, presets, regions, as recorded.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::wildcard_enum_match_arm, reason = "other messages are passed over")]

mod common;
mod replay;

use common::socket::Socket;
use common::{Server, admin_token, join_token, twirp};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use replay::{Recording, Script};
use serde_json::json;
use server::config::Config;

const TURN: &str = "TURN servers are not built";

const SKIPPED: &[(&str, &str)] = &[
    ("turn_servers_v0", TURN),
    ("turn_servers_v1", TURN),
    ("turn_servers_formula", TURN),
    ("embedded_turn_v0", TURN),
    ("embedded_turn_v1", TURN),
    ("data_blob_enabled", "data blobs are not built"),
    ("room_preset_api", "has no frames"),
];

fn config(name: &str) -> Config {
    let mut config = common::config();
    if name.starts_with("stun_servers") {
        config.rtc.stun_servers = vec!["stun.example.com:3478".to_owned()];
    } else if name.starts_with("enabled_codecs") {
        let codec = |mime: &str| proto::Codec {
            mime: mime.to_owned(),
            fmtp_line: String::new(),
        };
        config.room.enabled_codecs = vec![codec("audio/opus"), codec("video/VP8")];
    } else if name.starts_with("room_preset") {
        let preset = proto::RoomConfiguration {
            empty_timeout: 11,
            departure_timeout: 12,
            max_participants: 3,
            metadata: "preset".to_owned(),
            ..Default::default()
        };
        config.room.presets.insert("p".to_owned(), preset);
    } else if name.starts_with("ice_lite") {
        config.rtc.use_ice_lite = true;
    } else if name.starts_with("region") {
        config.region = "eu".to_owned();
        config.data_tracks = false;
    } else if name.starts_with("dev_mode") {
        config.development = true;
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_configurations() {
    let recording = Recording::new(include_str!("vectors/signal/configured.json"));
    recording.replay(SKIPPED, config, |_| Script::default()).await;
}

/// Whether an unmute is refused otherwise: `the_api_mutes_and_refuses_to_unmute`.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_allows_it_unmutes_for_the_api() {
    let mut config = common::config();
    config.room.enable_remote_unmute = true;
    let server = Server::start(config);
    let mut alice = Socket::connect(server.address, "/rtc?protocol=16", &join_token("alice", "r")).await;
    alice.join().await;
    alice
        .send(Request::AddTrack(proto::AddTrackRequest {
            cid: "c1".to_owned(),
            muted: true,
            ..Default::default()
        }))
        .await;
    let track = alice.wait(|response| match response {
        Response::TrackPublished(published) => published.track.clone(),
        _ => None,
    });
    let sid = track.await.sid;
    let body = json!({"room": "r", "identity": "alice", "track_sid": sid, "muted": false});
    let reply = twirp(server.address, "MutePublishedTrack", &admin_token("r"), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["track"]["muted"], false);
    let told = alice.wait(|response| match response {
        Response::Mute(mute) => Some(mute.clone()),
        _ => None,
    });
    assert_eq!(told.await, proto::MuteTrackRequest { sid, muted: false });
}
