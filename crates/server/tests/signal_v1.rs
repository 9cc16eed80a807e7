//! Joining by `/rtc/v1`, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn recorded_joins_by_join_request() {
    let recording = Recording::new(include_str!("vectors/signal/v1.json"));
    recording
        .replay(
            &[],
            |_| common::config(),
            |case| {
                let mut script = Script::default();
                if case["note"] == "removed by the API at the end" {
                    let body = json!({"identity": "alice"});
                    script.calls.push((600, "RemoveParticipant", body, ""));
                }
                script
            },
        )
        .await;
}
