//! Resuming, syncing state and simulated scenarios, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};
use serde_json::{Value, json};

fn script(case: &Value) -> Script {
    let name = case["name"].as_str().unwrap_or_default();
    let mut script = Script::default();
    if name.starts_with("resume_old_socket_open") {
        script.starts = vec![("first", 0), ("bob", 10)];
    } else if name == "socket_cut_before_ice" {
        script.starts = vec![("bob", 0), ("alice", 6)];
        script.loose_versions = true;
    } else if name == "resume_without_sid" {
        // Goes on where the case before ended.
        let claims = json!({"sub": "alice", "video": {"roomJoin": true, "room": "g-ressid"}});
        let query = "protocol=18&auto_subscribe=1&sdk=js&version=2.23.0";
        script.extras = vec![(0, query.to_owned(), claims)];
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_resumes() {
    let recording = Recording::new(include_str!("vectors/signal/resume.json"));
    recording.replay(&[], |_| common::config(), script).await;
}
