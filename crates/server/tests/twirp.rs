//! Recorded calls of the room API, replayed against a running server.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::socket::Socket;
use common::{Server, admin_token, config, http, join_token, replay_all, twirp};
use prost::Message;
use protocol::proto;
use serde_json::json;

const TRANSPORT: &str = include_str!("vectors/transport.json");
const ROOMS: &str = include_str!("vectors/rooms.json");
const NO_REDIS: &str = include_str!("vectors/no_redis.json");
const PROBES: [(&str, &[(&str, &str)]); 5] = [
    (
        include_str!("vectors/probe_RoomService.json"),
        &[(
            "unknown_json_field #3",
            "the reference's room was still going down; ours is gone at once",
        )],
    ),
    (include_str!("vectors/probe_AgentDispatchService.json"), &[]),
    (include_str!("vectors/probe_Egress.json"), &[]),
    (
        include_str!("vectors/probe_Ingress.json"),
        &[
            ("empty_json_all_grants #2", PANIC),
            ("empty_protobuf_all_grants #2", PANIC),
            ("unknown_json_field #2", PANIC),
        ],
    ),
    (include_str!("vectors/probe_SIP.json"), &[]),
];

const AGENTS: &str = "agents are not built";
const ROOMS_SKIPPED: &[(&str, &str)] = &[
    ("dispatch_create", AGENTS),
    ("dispatch_create_no_agent_name", AGENTS),
    ("dispatch_create_unknown_room", AGENTS),
    ("dispatch_list", AGENTS),
    ("dispatch_list_by_id", AGENTS),
    ("dispatch_list_unknown_id", AGENTS),
    ("dispatch_list_unknown_room", AGENTS),
    ("dispatch_delete", AGENTS),
    ("dispatch_delete_again", AGENTS),
];

const PANIC: &str = "the reference panics; ours says that Redis is required";
const NO_REDIS_SKIPPED: &[(&str, &str)] =
    &[("Ingress UpdateIngress", PANIC), ("Ingress DeleteIngress", PANIC)];

#[tokio::test(flavor = "multi_thread")]
async fn routes_content_types_and_json_are_as_recorded() {
    let server = Server::start(config());
    replay_all(server.address, TRANSPORT, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_probes_as_recorded() {
    for (text, skipped) in PROBES {
        let server = Server::start(config());
        replay_all(server.address, text, skipped).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_unknown_rooms_answer_as_recorded() {
    let server = Server::start(config());
    replay_all(server.address, ROOMS, ROOMS_SKIPPED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_without_target_is_unavailable_after_three_seconds() {
    let server = Server::start(config());
    let start = std::time::Instant::now();
    let body = json!({"room": "nobody", "identity": "x", "track_sid": "TR_x", "muted": true});
    let reply = twirp(
        server.address,
        "MutePublishedTrack",
        &admin_token("nobody"),
        &body,
    )
    .await;
    assert_eq!(reply.status, 503);
    assert_eq!(
        reply.text(),
        "{\"code\":\"unavailable\",\"msg\":\"no response from servers\"}"
    );
    assert!(start.elapsed().as_secs() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_no_longer_than_its_caller_waits() {
    let server = Server::start(config());
    let _bob = Socket::connect(server.address, "/rtc?protocol=16", &join_token("bob", "r")).await;
    let call = async |identity: &str, timeout_ms: &str| {
        let headers = [
            ("Authorization".to_owned(), format!("Bearer {}", admin_token("r"))),
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("X-Twirp-Timeout-Ms".to_owned(), timeout_ms.to_owned()),
        ];
        let body = json!({"room": "r", "destinationIdentity": identity, "method": "m"}).to_string();
        let path = "/twirp/livekit.RoomService/PerformRpc";
        let start = std::time::Instant::now();
        let body = Some(body.as_bytes());
        let reply = http(server.address, "POST", path, &headers, body).await;
        (reply.status, reply.text(), start.elapsed())
    };
    // Bob never acknowledges: left alone, that takes 7 s.
    let (status, text, took) = call("bob", "200").await;
    let late = r#"{"code":"deadline_exceeded","msg":"request timed out"}"#;
    assert_eq!((status, text.as_str()), (408, late));
    assert!((200..7_000).contains(&took.as_millis()), "{took:?}");
    // Without a target: 3 s.
    let (status, _, took) = call("nobody", "200").await;
    assert_eq!(status, 503);
    assert!((200..3_000).contains(&took.as_millis()), "{took:?}");
    for no_limit in ["", "soon"] {
        let (status, _, took) = call("nobody", no_limit).await;
        assert_eq!(status, 503);
        assert!(took.as_secs() >= 3, "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_calls_get_protobuf_answers() {
    let server = Server::start(config());
    let headers = [
        ("Authorization".to_owned(), format!("Bearer {}", admin_token("r"))),
        ("Content-Type".to_owned(), "application/protobuf".to_owned()),
    ];
    let request = proto::CreateRoomRequest {
        name: "pb".to_owned(),
        empty_timeout: 44,
        ..Default::default()
    };
    let path = "/twirp/livekit.RoomService/CreateRoom";
    let reply = http(
        server.address,
        "POST",
        path,
        &headers,
        Some(&request.encode_to_vec()),
    )
    .await;
    assert_eq!(reply.header("Content-Type"), Some("application/protobuf"));
    let room = proto::Room::decode(reply.body.as_slice()).expect("a room");
    assert_eq!(
        (room.name.as_str(), room.empty_timeout, room.departure_timeout),
        ("pb", 44, 20)
    );
    assert!(room.sid.starts_with("RM_") && room.enabled_codecs.len() == 10);
    let path = "/twirp/livekit.RoomService/ListRooms";
    let reply = http(server.address, "POST", path, &headers, Some(&[])).await;
    let rooms = proto::ListRoomsResponse::decode(reply.body.as_slice()).expect("rooms");
    assert_eq!(rooms.rooms.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_behind_redis_say_that_it_is_missing() {
    let server = Server::start(config());
    replay_all(server.address, NO_REDIS, NO_REDIS_SKIPPED).await;
}
