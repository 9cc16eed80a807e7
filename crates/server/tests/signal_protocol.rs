//! The same session with every client protocol, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};
use serde_json::{Value, json};

/// Bob joined every room; he was recorded once.
fn script(case: &Value) -> Script {
    let alice = &case["peers"]["alice"]["connect"]["claims"]["video"]["room"];
    let mut script = Script {
        calls: vec![(
            5500,
            "RemoveParticipant",
            json!({"identity": "alice"}),
            "RemoveParticipant alice",
        )],
        ..Script::default()
    };
    if case["peers"]["bob"].is_object() {
        script.starts = vec![("bob", 1534)];
        script.loose_versions = true;
    } else {
        let claims = json!({"sub": "bob", "video": {"roomJoin": true, "room": alice}});
        let query = "protocol=17&auto_subscribe=1&sdk=js&version=2.23.0";
        script.extras = vec![(1534, query.to_owned(), claims)];
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_sessions_of_every_protocol() {
    let recording = Recording::new(include_str!("vectors/signal/protocol_matrix.json"));
    recording.replay(&[], |_| common::config(), script).await;
}
