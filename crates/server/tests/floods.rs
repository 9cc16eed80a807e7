//! One participant sends as much as it can, or what is dearest: it alone feels it.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::socket::{Got, Socket, refused};
use common::{Server, admin_token, config, http, join_token, twirp};
use futures_util::{SinkExt, StreamExt};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// What others may wait: unoptimised, and with other tests on the machine.
const PATIENCE: Duration = Duration::from_secs(3);

fn subscription(sids: usize) -> Request {
    Request::Subscription(proto::UpdateSubscription {
        track_sids: vec![String::new(); sids],
        subscribe: true,
        ..Default::default()
    })
}

fn binary(request: Request) -> Message {
    let request = proto::SignalRequest {
        message: Some(request),
    };
    Message::binary(request.encode_to_vec())
}

async fn enter(server: &Server, identity: &str, room: &str) -> Socket {
    let token = join_token(identity, room);
    let mut socket = Socket::connect(server.address, "/rtc?protocol=16", &token).await;
    socket.join().await;
    socket
}

/// Sends the longest list that is allowed, again and again, and reads what comes.
fn flood(socket: Socket, stop: &Arc<AtomicBool>) -> JoinHandle<()> {
    let (mut to_server, mut from_server) = socket.0.split();
    tokio::spawn(async move { while let Some(Ok(_)) = from_server.next().await {} });
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let message = binary(subscription(8_192));
        while !stop.load(Ordering::Relaxed) && to_server.send(message.clone()).await.is_ok() {}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_room_full_of_requests_answers_calls_and_joins_and_delays_no_other_room() {
    let server = Server::start(config());
    let stop = Arc::default();
    let mut floods = Vec::new();
    for number in 0..8 {
        let socket = enter(&server, &format!("flooder{number}"), "busy").await;
        floods.push(flood(socket, &stop));
    }
    let token = admin_token("busy");
    let mut rounds = 0;
    while rounds < 10 {
        let began = Instant::now();
        let body = json!({"room": "busy"});
        let listed = twirp(server.address, "ListParticipants", &token, &body).await;
        assert_eq!(listed.status, 200);
        let _joined = enter(&server, &format!("newcomer{rounds}"), "busy").await;
        let _elsewhere = enter(&server, &format!("guest{rounds}"), "quiet").await;
        let page = http(server.address, "GET", "/", &[], None).await;
        assert_eq!(page.status, 200);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
        rounds += 1;
    }
    // The flood went on all the time: who waits is not cut.
    assert!(floods.iter().all(|flood| !flood.is_finished()));
    stop.store(true, Ordering::Relaxed);
}

#[tokio::test]
async fn messages_that_are_too_large_when_decoded_close_their_connection_alone() {
    let server = Server::start(config());
    let mut other = enter(&server, "other", "r").await;
    let text = format!(
        "{{\"subscription\":{{\"trackSids\":[{}\"\"]}}}}",
        "\"\",".repeat(20_000)
    );
    let deep = format!("{}1{}", "{\"offer\":".repeat(60), "}".repeat(60));
    let layers = Request::AddTrack(proto::AddTrackRequest {
        simulcast_codecs: vec![proto::SimulcastCodec::default(); 9_000],
        ..Default::default()
    });
    for (name, message) in [
        ("list", binary(subscription(8_193))),
        ("codecs", binary(layers)),
        ("text", Message::text(text)),
        ("depth", Message::text(deep)),
    ] {
        let mut socket = enter(&server, "attacker", "r").await;
        socket.raw(message).await;
        let frame = socket.closed().await.expect("a reason");
        assert_eq!(
            (frame.code, frame.reason.as_str()),
            (CloseCode::Size, "message too large when decoded"),
            "{name}"
        );
    }
    // The longest list is within.
    let mut socket = enter(&server, "reader", "r").await;
    for socket in [&mut socket, &mut other] {
        socket.send(subscription(8_192)).await;
        socket.send(Request::Ping(1)).await;
        while !matches!(
            socket.next().await,
            Got::Binary(proto::signal_response::Message::Pong(_))
        ) {}
    }
}

#[tokio::test]
async fn bodies_of_calls_are_bounded_by_what_they_decode_to() {
    let server = Server::start(config());
    let headers = |content_type: &str| {
        [
            ("Authorization", format!("Bearer {}", admin_token("r"))),
            ("Content-Type", content_type.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    };
    let path = "/twirp/livekit.RoomService/SendData";
    let list = [0x22, 0].repeat(1_000_000);
    let json = format!("{{\"destination_sids\":[{}\"\"]}}", "\"\",".repeat(1_000_000));
    let nested = format!("{{\"x\":[{}[]]}}", "[],".repeat(1_000_000));
    for (content_type, body) in [
        ("application/protobuf", &list[..]),
        ("application/json", json.as_bytes()),
        ("application/json", nested.as_bytes()),
    ] {
        let reply = http(server.address, "POST", path, &headers(content_type), Some(body)).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert_eq!(reply.json()["code"], "malformed");
    }
}

#[tokio::test]
async fn a_token_has_a_bounded_number_of_sessions_and_identities_a_bounded_length() {
    let server = Server::start(config());
    let token = join_token("alice", "r");
    let mut sessions = Vec::new();
    for number in 0..16 {
        let path = format!("/rtc?protocol=16&publish={number}");
        sessions.push(Socket::connect(server.address, &path, &token).await);
    }
    let (status, text) = refused(server.address, "/rtc?protocol=16&publish=16", &token).await;
    assert_eq!(
        (status, text.as_str()),
        (500, "too many sessions of one participant: at most 16 beside it")
    );
    let long = format!("/rtc?protocol=16&publish={}", "x".repeat(60_000));
    let (status, text) = refused(server.address, &long, &token).await;
    assert_eq!(
        (status, text.as_str()),
        (400, "publish suffix length exceeds limits: max length 64")
    );
    let near = join_token(&"n".repeat(250), "r");
    let (status, text) = refused(server.address, "/rtc?protocol=16&publish=1234567", &near).await;
    assert_eq!(
        (status, text.as_str()),
        (400, "participant identity length exceeds limits: max length 256")
    );
}
