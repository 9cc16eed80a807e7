//! Recorded calls of a stock browser client, for what the server's descriptions say. Clients with
//! real WebRTC connections send what the recorded ones sent, on the sections that were described;
//! each answer and offer of the server is compared with the recorded one, line by line.
#![allow(missing_docs, reason = "tests")]

mod client;
#[path = "../common/mod.rs"]
mod common;
mod facts;
mod player;
mod recorded;
#[path = "../replay/mod.rs"]
mod replay;
#[path = "../rtc/mod.rs"]
mod rtc;

use replay::Recording;

#[tokio::test(flavor = "multi_thread")]
async fn recorded_descriptions_for_late_joiners() {
    player::replay(&[
        Recording::new(include_str!("../vectors/sdp/late_dual.json")),
        Recording::new(include_str!("../vectors/sdp/late_single.json")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_descriptions_of_every_codec() {
    player::replay(&[
        Recording::new(include_str!("../vectors/sdp/codecs_dual.json")),
        Recording::new(include_str!("../vectors/sdp/codecs_single.json")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_descriptions_while_permissions_change() {
    player::replay(&[
        Recording::new(include_str!("../vectors/sdp/admin_dual.json")),
        Recording::new(include_str!("../vectors/sdp/admin_single.json")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_descriptions_of_a_whole_call() {
    player::replay(&[
        Recording::new(include_str!("../vectors/sdp/call_dual.json")),
        Recording::new(include_str!("../vectors/sdp/call_single.json")),
    ])
    .await;
}
