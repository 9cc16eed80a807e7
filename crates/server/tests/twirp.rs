//! Recorded calls of the room API, replayed against a running server.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::socket::Socket;
use common::{Server, admin_token, config, http, join_token, protobuf_difference, replay_all, token, twirp};
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

#[test]
fn protobuf_answers_are_compared_but_for_what_is_their_own() {
    let path = "/twirp/livekit.RoomService/CreateRoom";
    let room = |sid: &str, creation_time: i64| proto::Room {
        sid: sid.to_owned(),
        name: "r".to_owned(),
        departure_timeout: 20,
        creation_time,
        creation_time_ms: creation_time * 1_000 + 7,
        turn_password: sid.to_owned(),
        ..Default::default()
    };
    let recorded = room("RM_aaaaaaaaaaaa", 1_700_000_001).encode_to_vec();
    let same = room("RM_bbbbbbbbbbbb", 1_800_000_000);
    assert_eq!(protobuf_difference(path, &recorded, &same.encode_to_vec()), None);
    let other = proto::Room {
        departure_timeout: 21,
        ..same.clone()
    };
    let no_sid = proto::Room {
        sid: String::new(),
        ..same.clone()
    };
    // A field of a number that rooms do not have.
    let unknown = [same.encode_to_vec(), vec![0xF8, 0x3F, 1]].concat();
    for bytes in [
        other.encode_to_vec(),
        no_sid.encode_to_vec(),
        unknown,
        b"{}".to_vec(),
        Vec::new(),
    ] {
        assert!(
            protobuf_difference(path, &recorded, &bytes).is_some(),
            "{bytes:?}"
        );
    }
}

/// A token that may join the room and nothing else.
fn guest_token(room: &str) -> String {
    token(json!({"sub": "guest", "video": {"roomJoin": true, "room": room}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_a_new_room_are_held_to_the_limits() {
    let mut config = config();
    (config.limit.max_metadata_size, config.limit.max_attributes_size) = (100, 100);
    let server = Server::start(config);
    let create = async |agent: serde_json::Value, token: &str| {
        let body = json!({"name": "r", "agents": [{"agentName": "ok"}, agent]});
        let reply = twirp(server.address, "CreateRoom", token, &body).await;
        (reply.status, reply.json())
    };
    let error = |what: &str| {
        let meta = json!({"argument": what});
        json!({"code": "invalid_argument", "msg": format!("{what} 100"), "meta": meta})
    };
    let (name, value) = ("n".repeat(50), "v".repeat(50));
    let long_value = format!("{value}v");
    let admin = admin_token("r");
    for (agent, what) in [
        (
            json!({"metadata": "m".repeat(101)}),
            "metadata size exceeds limits",
        ),
        (
            json!({"attributes": {name.as_str(): long_value}}),
            "attribute size exceeds limits",
        ),
    ] {
        assert_eq!(create(agent.clone(), &admin).await, (400, error(what)));
        // Here the grant comes first.
        assert_eq!(create(agent, &guest_token("r")).await.0, 401);
        let rooms = twirp(server.address, "ListRooms", &admin, &json!({})).await;
        assert_eq!(rooms.json()["rooms"], json!([]), "no room is made");
    }
    let agent = json!({"metadata": "m".repeat(100), "attributes": {name: value}});
    assert_eq!(create(agent, &admin).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_said_before_what_is_not_granted() {
    let mut config = config();
    config.limit.max_metadata_size = 100;
    config.limit.max_attributes_size = 100;
    config.limit.max_participant_name_length = 10;
    let server = Server::start(config);
    let guest = guest_token("r");
    let long = "x".repeat(101);
    for (method, too_large, argument) in [
        (
            "UpdateParticipant",
            json!({"room": "r", "identity": "a", "name": long}),
            "name length exceeds limits",
        ),
        (
            "UpdateParticipant",
            json!({"room": "r", "identity": "a", "metadata": long}),
            "metadata size exceeds limits",
        ),
        (
            "UpdateParticipant",
            json!({"room": "r", "identity": "a", "attributes": {"x": long}}),
            "attribute size exceeds limits",
        ),
        (
            "UpdateRoomMetadata",
            json!({"room": "r", "metadata": long}),
            "metadata size exceeds limits",
        ),
    ] {
        let reply = twirp(server.address, method, &guest, &too_large).await;
        let found = reply.json();
        assert_eq!(
            (reply.status, &found["code"], &found["meta"]["argument"]),
            (400, &json!("invalid_argument"), &json!(argument)),
            "{method}"
        );
        let fitting = json!({"room": "r", "identity": "a", "metadata": "m"});
        let reply = twirp(server.address, method, &guest, &fitting).await;
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (401, &json!("unauthenticated")),
            "{method}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_participant_may_come_back_with_its_token() {
    let server = Server::start(config());
    let token = join_token("alice", "r");
    let mut sids = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::connect(server.address, "/rtc?protocol=16", &token).await;
        sids.push(socket.join().await.participant.expect("a participant").sid);
        let who = json!({"room": "r", "identity": "alice"});
        let removed = twirp(server.address, "RemoveParticipant", &admin_token("r"), &who).await;
        assert_eq!(removed.status, 200);
        socket.leave().await;
        socket.closed().await;
    }
    assert_ne!(sids[0], sids[1]);
}
