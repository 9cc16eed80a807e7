//! Requests and their errors, metadata, leaving, kinds and client configurations, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod replay;

use replay::{Recording, Script};
use serde_json::{Value, json};

const SKIPPED: &[(&str, &str)] = &[(
    "room_full",
    "has no frames: `a_full_room_refuses_the_upgrade` replays it",
)];

const QUERY: &str = "protocol=18&auto_subscribe=1&sdk=js&version=2.23.0";

fn script(case: &Value) -> Script {
    let name = case["name"].as_str().unwrap_or_default();
    let mut script = Script::default();
    if name == "metadata" {
        let alice = json!({
            "identity": "alice", "name": "byapi", "metadata": "apimeta", "attributes": {"c": "", "d": "4"}
        });
        let permission = json!({"canSubscribe": true, "canPublishData": true});
        script.starts = vec![("alice", 0), ("bob", 4)];
        script.calls = vec![
            (4000, "UpdateParticipant", alice, "1 UpdateParticipant"),
            (
                4500,
                "UpdateParticipant",
                json!({"identity": "alice", "permission": permission}),
                "2 UpdateParticipant permission",
            ),
            (
                5490,
                "UpdateRoomMetadata",
                json!({"metadata": "roommeta"}),
                "3 UpdateRoomMetadata",
            ),
            (6000, "ListParticipants", json!({}), "4 ListParticipants"),
            (6001, "ListRooms", json!({}), "5 ListRooms"),
        ];
    } else if name.starts_with("leave_") {
        script.starts = vec![("bob", 0), ("alice", 6)];
    } else if name == "hidden_and_kinds" {
        script.starts = vec![("alice", 0), ("ghost", 5), ("rec", 8), ("caller", 10)];
        script.calls = vec![
            (4000, "ListParticipants", json!({}), "ListParticipants"),
            (4001, "ListRooms", json!({}), "ListRooms"),
        ];
    } else if name == "room_full_agent_still_joins" {
        let claims = json!({"sub": "alice", "video": {"roomJoin": true, "room": "g-full"}});
        script.extras = vec![(0, QUERY.to_owned(), claims)];
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_requests() {
    let recording = Recording::new(include_str!("vectors/signal/requests.json"));
    let config = |name: &str| {
        let mut config = common::config();
        if name.starts_with("room_full") {
            config.room.max_participants = 1;
        }
        config
    };
    recording.replay(SKIPPED, config, script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_refuses_the_upgrade() {
    let mut config = common::config();
    config.room.max_participants = 1;
    let server = common::Server::start(config);
    let path = format!("/rtc?{QUERY}");
    let token = common::join_token("alice", "g-full");
    let _alice = common::socket::Socket::connect(server.address, &path, &token).await;
    let token = common::join_token("bob", "g-full");
    let refused = common::socket::refused(server.address, &path, &token).await;
    assert_eq!(refused, (500, "connection closed by media".to_owned()));
}
