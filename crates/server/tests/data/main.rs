//! Recorded calls with data: packets, streams, calls between clients and from the API, data tracks.
//! Clients with real WebRTC connections do what the recorded ones did; what the server sends them
//! is compared with what was recorded.
#![allow(missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod negotiated;
mod player;
#[path = "../replay/mod.rs"]
mod replay;
#[path = "../rtc/mod.rs"]
mod rtc;

use player::replay;
use replay::Recording;

/// Two peer connections, as with protocol 17 by default.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_data_of_dual_connections() {
    let recording = Recording::new(include_str!("../vectors/data/data_dual.json"));
    replay(&recording).await.expect("as recorded");
}

/// One peer connection for both directions.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_data_of_single_connections() {
    let recording = Recording::new(include_str!("../vectors/data/data_single.json"));
    replay(&recording).await.expect("as recorded");
}
