//! JSON as people's own writers make it: half an emoji, names in both spellings, fields that nobody knows. Wherever
//! the server takes JSON, by real requests.
#![allow(missing_docs, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use common::socket::{Got, Socket};
use common::{Reply, Server, admin_token, config, join_token, token};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_tungstenite::tungstenite::Message;

/// `"😀"` cut in the middle, as JavaScript's `JSON.stringify` writes it.
const HALF: &str = r"\ud83d";

async fn call(address: SocketAddr, method: &str, token: &str, body: &[u8]) -> Reply {
    let headers = [
        ("Authorization".to_owned(), format!("Bearer {token}")),
        ("Content-Type".to_owned(), "application/json".to_owned()),
    ];
    let path = format!("/twirp/livekit.RoomService/{method}");
    common::http(address, "POST", &path, &headers, Some(body)).await
}

fn creator() -> String {
    token(json!({"sub": "api", "video": {"roomCreate": true, "roomList": true}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_emoji_in_a_call_of_the_api_becomes_the_replacement_character() {
    let server = Server::start(config());
    let address = server.address;
    let body = format!(r#"{{"name": "r", "metadata": "cut {HALF}", "nobody_knows": "{HALF}"}}"#);
    let room = call(address, "CreateRoom", &creator(), body.as_bytes()).await;
    assert_eq!(
        (room.status, &room.json()["metadata"]),
        (200, &json!("cut \u{fffd}")),
        "{}",
        room.text()
    );

    let mut socket = Socket::connect(address, "/rtc?protocol=16&sdk=js", &join_token("ann", "r")).await;
    socket.join().await;
    let body = format!(
        r#"{{"room": "r", "identity": "ann", "metadata": "{HALF}", "name": "x{HALF}", "attributes": {{"k{HALF}": "v{HALF}\ud83d\ude00"}}}}"#
    );
    let admin = admin_token("r");
    let ann = call(address, "UpdateParticipant", &admin, body.as_bytes()).await;
    assert_eq!(ann.status, 200, "{}", ann.text());
    let told = ann.json();
    assert_eq!(
        (&told["metadata"], &told["name"]),
        (&json!("\u{fffd}"), &json!("x\u{fffd}"))
    );
    assert_eq!(told["attributes"], json!({"k\u{fffd}": "v\u{fffd}\u{1f600}"}));

    let body = format!(r#"{{"room": "r", "metadata": "\"\\{HALF} \\ud83d"}}"#);
    let room = call(address, "UpdateRoomMetadata", &admin, body.as_bytes()).await;
    // A backslash that is escaped itself begins no escape.
    assert_eq!(
        room.json()["metadata"],
        json!("\"\\\u{fffd} \\ud83d"),
        "{}",
        room.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_have_both_spellings_and_unknown_ones_are_passed_over() {
    let server = Server::start(config());
    let create = |body: Value| async move {
        let reply = call(
            server.address,
            "CreateRoom",
            &creator(),
            body.to_string().as_bytes(),
        )
        .await;
        let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        (
            reply.status,
            told["empty_timeout"].clone(),
            told["max_participants"].clone(),
        )
    };
    let full = (200, json!(7), json!(5));
    let snake = json!({"name": "a", "empty_timeout": 7, "max_participants": 5});
    let camel = json!({"name": "b", "emptyTimeout": 7, "maxParticipants": 5});
    let both = json!({"name": "c", "emptyTimeout": "7", "max_participants": 5, "nobodyKnows": {"x": [1]}});
    for body in [snake, camel, both] {
        assert_eq!(create(body).await, full);
    }
    // Names have one case in protobuf's JSON: another one is a name that nobody knows.
    let shouted = json!({"name": "d", "EmptyTimeout": 7});
    assert_eq!(create(shouted).await, (200, json!(300), json!(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_emoji_in_a_signal_message_becomes_the_replacement_character() {
    let server = Server::start(config());
    let claims = json!({
        "sub": "ann", "video": {"roomJoin": true, "room": "r", "canUpdateOwnMetadata": true}
    });
    let mut socket = Socket::connect(server.address, "/rtc?protocol=16&sdk=js", &token(claims)).await;
    socket.join().await;
    let text = format!(
        r#"{{"updateMetadata": {{"metadata": "cut {HALF}", "name": "{HALF}", "attributes": {{"k": "{HALF}"}}, "request_id": 3}}}}"#
    );
    socket.raw(Message::Text(text.into())).await;
    // Answers to text frames are text.
    let own = loop {
        let Got::Text(text) = socket.next().await else {
            continue;
        };
        let told: Value = serde_json::from_str(&text).expect("JSON");
        assert!(told["requestResponse"]["reason"].is_null(), "{told}");
        let own = &told["update"]["participants"][0];
        if own["metadata"].is_string() && own["attributes"]["k"].is_string() {
            break own.clone();
        }
    };
    assert_eq!(
        (&own["metadata"], &own["name"]),
        (&json!("cut \u{fffd}"), &json!("\u{fffd}"))
    );
    assert_eq!(own["attributes"]["k"], "\u{fffd}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_in_a_url_are_mended_too() {
    let server = Server::start(config());
    let claims = || {
        token(json!({
            "sub": "ann", "video": {"roomJoin": true, "room": "r", "canUpdateOwnMetadata": true}
        }))
    };
    let half = format!(r#"{{"k": "{HALF}"}}"#);
    for attributes in [half.as_bytes(), b"{\"k\": \"\xfc\"}"] {
        let path = format!(
            "/rtc?protocol=16&sdk=js&attributes={}",
            URL_SAFE.encode(attributes).replace('=', "%3D")
        );
        let mut socket = Socket::connect(server.address, &path, &claims()).await;
        let own = socket.join().await.participant.expect("itself");
        assert_eq!(own.attributes["k"], "\u{fffd}");
    }
}
