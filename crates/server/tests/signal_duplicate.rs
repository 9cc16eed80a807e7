//! A second connection of an identity, and the end of a room by the API, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn recorded_duplicate_identities() {
    let recording = Recording::new(include_str!("vectors/signal/duplicate_identity.json"));
    recording
        .replay(
            &[],
            |_| common::config(),
            |_| Script {
                starts: vec![("watcher", 0), ("alice", 527), ("alice_again", 4220)],
                calls: vec![(7900, "DeleteRoom", json!({}), "DeleteRoom")],
                ..Script::default()
            },
        )
        .await;
}
