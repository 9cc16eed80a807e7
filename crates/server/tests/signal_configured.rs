//! What clients see of the configuration: servers to try, codecs, presets, regions, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use protocol::proto;
use replay::{Recording, Script};
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
