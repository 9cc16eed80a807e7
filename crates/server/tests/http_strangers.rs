//! What strangers can make the HTTP listener hold, and for how long.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, admin_token, config, http, join_token, token, twirp};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any answer takes on a busy machine, shorter than every deadline of the server.
const AT_ONCE: Duration = Duration::from_secs(4);

const LIST_ROOMS: &str = "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\n\
    Content-Type: application/protobuf\r\n";

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("connects")
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end, too, and what came before it counts.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Until this much was answered, at once.
async fn answered(stream: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let read = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains(wanted) {
                return text;
            }
            match stream.read(&mut chunk).await {
                Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
                end => panic!("{end:?} after {text:?}"),
            }
        }
    };
    timeout(AT_ONCE, read).await.expect("it answers at once")
}

async fn closed(stream: &mut TcpStream, patience: Duration) -> String {
    timeout(patience, rest(stream)).await.expect("it closes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_token_allows_is_refused_before_its_body_comes() {
    let server = Server::start(config());
    let join = join_token("a", "r");
    for authorization in ["".to_owned(), format!("Authorization: Bearer {join}\r\n")] {
        for framing in [
            "Content-Length: 10000000\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 10000000\r\nExpect: 100-continue\r\n",
        ] {
            let mut stream = connect(server.address).await;
            let head = format!("{LIST_ROOMS}{authorization}{framing}\r\n");
            stream.write_all(head.as_bytes()).await.expect("writes");
            let answer = answered(&mut stream, "permissions denied").await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{framing}: {answer}");
            assert!(answer.contains("\"unauthenticated\""), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_client_that_still_sends_its_body_sees_the_answer() {
    let server = Server::start(config());
    for path in [
        "/twirp/livekit.RoomService/ListRooms",
        "/twirp/livekit.RoomService/SendData",
        "/twirp/livekit.Egress/ListEgress",
        "/twirp/livekit.Ingress/CreateIngress",
        "/twirp/livekit.SIP/CreateSIPTrunk",
        "/twirp/livekit.AgentDispatchService/CreateDispatch",
    ] {
        let json = [("Content-Type".to_owned(), "application/json".to_owned())];
        let reply = http(server.address, "POST", path, &json, Some(&vec![b' '; 10 << 20])).await;
        assert_eq!(reply.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_asks_for_its_own_grant_before_the_body() {
    let server = Server::start(config());
    let with = |video: serde_json::Value| token(json!({"sub": "api", "video": video}));
    let lister = with(json!({"roomList": true}));
    let creator = with(json!({"roomCreate": true}));
    let admin = with(json!({"roomAdmin": true, "room": "r"}));
    for (method, allowed, others) in [
        ("ListRooms", &lister, [&creator, &admin]),
        ("CreateRoom", &creator, [&lister, &admin]),
        ("DeleteRoom", &creator, [&lister, &admin]),
        ("ListParticipants", &admin, [&lister, &creator]),
        ("UpdateSubscriptions", &admin, [&lister, &creator]),
        ("SendData", &admin, [&lister, &creator]),
    ] {
        let head = |token: &str| {
            format!(
                "POST /twirp/livekit.RoomService/{method} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Authorization: Bearer {token}\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
            )
        };
        let mut stream = connect(server.address).await;
        stream.write_all(head(allowed).as_bytes()).await.expect("writes");
        answered(&mut stream, "HTTP/1.1 100 ").await;
        for other in others {
            let mut stream = connect(server.address).await;
            stream.write_all(head(other).as_bytes()).await.expect("writes");
            answered(&mut stream, "permissions denied").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_one_after_the_other_share_a_connection() {
    let server = Server::start(config());
    let mut stream = connect(server.address).await;
    let request = |token: &str| {
        format!(
            "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             {token}Content-Length: 2\r\n\r\n{{}}"
        )
    };
    let token = format!("Authorization: Bearer {}\r\n", admin_token("r"));
    // All at once, the refused one in their middle: its body is short enough to be passed over.
    let all = [request(&token), request(""), request(&token)].concat();
    stream.write_all(all.as_bytes()).await.expect("writes");
    let answer = answered(&mut stream, "permissions denied").await;
    let answer = match answer.matches("{\"rooms\":[]}").count() {
        2 => answer,
        _ => answer + &answered(&mut stream, "{\"rooms\":[]}").await,
    };
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_head_that_does_not_come_is_given_up_after_ten_seconds() {
    let server = Server::start(config());
    let mut streams = Vec::new();
    for start in ["", "G", "GET / HTTP/1.1\r\nHost: x\r\nA: "] {
        let mut stream = connect(server.address).await;
        stream.write_all(start.as_bytes()).await.expect("writes");
        streams.push(stream);
    }
    // One that was idle between requests may wait, but not in the middle of its next head.
    let mut next = connect(server.address).await;
    next.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("writes");
    answered(&mut next, "OK").await;
    let mut idle = connect(server.address).await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("writes");
    answered(&mut idle, "OK").await;
    next.write_all(b"GET / HTTP/1.1\r\n").await.expect("writes");
    let begun = Instant::now();
    for stream in streams.iter_mut().chain([&mut next]) {
        assert_eq!(closed(stream, Duration::from_secs(20)).await, "");
    }
    let took = begun.elapsed();
    assert!((8..15).contains(&took.as_secs()), "{took:?}");
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("writes");
    answered(&mut idle, "OK").await;
    assert_eq!(server.running.counters.http_late.get(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drop_now_and_then_keeps_no_head_alive() {
    let server = Server::start(config());
    let mut stream = connect(server.address).await;
    let (mut reader, mut writer) = stream.split();
    let begun = Instant::now();
    let drip = async {
        while writer.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    tokio::select! {
        () = drip => {}
        _ = reader.read_to_end(&mut bytes) => {}
    }
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_are_possible_and_those_that_never_end_keep_none_out() {
    let server = Server::start(config());
    let filler = "a".repeat(1_000_000);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {filler}\r\n");
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = connect(server.address).await;
        // Given up while it is sent: that is what is wanted of most.
        let _ = timeout(AT_ONCE, stream.write_all(head.as_bytes())).await;
        held.push(stream);
    }
    assert!(server.running.counters.connections_evicted.get() > 50);
    // A large token with metadata still gets in, whole.
    let claims =
        json!({"sub": "a", "metadata": "m".repeat(300_000), "video": {"roomJoin": true, "room": "r"}});
    let authorization = [("Authorization".to_owned(), format!("Bearer {}", token(claims)))];
    let reply = http(server.address, "GET", "/rtc/validate", &authorization, None).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_asked_for_no_more() {
    let server = Server::start(config());
    let mut stream = connect(server.address).await;
    // Each is answered with much more than it is: a redirect names its target twice.
    let request = format!("GET ///{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(50_000));
    let mut sent = 0;
    while timeout(Duration::from_secs(1), stream.write_all(request.as_bytes()))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        sent += 1;
        // Buffers of both systems take some megabytes, the server next to nothing.
        assert!(sent < 1000, "it reads on and on");
    }
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_stand_still_are_given_up() {
    let server = Server::start(config());
    let mut stream = connect(server.address).await;
    let head = format!(
        "{LIST_ROOMS}Authorization: Bearer {}\r\nContent-Length: 1000\r\n\r\nabc",
        admin_token("r")
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let begun = Instant::now();
    let answer = closed(&mut stream, Duration::from_secs(30)).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!((8..20).contains(&begun.elapsed().as_secs()));
    assert_eq!(server.running.counters.http_late.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_may_be_bounded() {
    let mut config = config();
    config.plenum.connections_per_address = 3;
    let server = Server::start(config);
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(server.address).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("writes");
        answered(&mut stream, "OK").await;
        streams.push(stream);
    }
    assert_eq!(closed(&mut streams[0], AT_ONCE).await, "", "the oldest made room");
    assert_eq!(server.running.counters.connections_evicted.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_and_their_metadata_have_a_bound() {
    let mut config = config();
    config.plenum.rooms_max = 2;
    let server = Server::start(config);
    let token = admin_token("r");
    for (name, status) in [("a", 200), ("b", 200), ("a", 200), ("c", 429)] {
        let reply = twirp(server.address, "CreateRoom", &token, &json!({"name": name})).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
    }
    let reply = twirp(server.address, "DeleteRoom", &token, &json!({"room": "a"})).await;
    assert_eq!(reply.status, 200);
    let reply = twirp(server.address, "CreateRoom", &token, &json!({"name": "c"})).await;
    assert_eq!(reply.status, 200);

    let server = Server::start(common::config());
    let metadata = "m".repeat(512 * 1024);
    let mut refused = 0;
    for number in 0..130 {
        let room = json!({"name": format!("r{number}"), "metadata": metadata});
        refused += u32::from(twirp(server.address, "CreateRoom", &token, &room).await.status == 429);
    }
    assert_eq!(refused, 2, "64 MiB in all");
    let reply = twirp(server.address, "CreateRoom", &token, &json!({"name": "r"})).await;
    assert_eq!(reply.status, 200, "without any there is room");
    let update = json!({"room": "r", "metadata": metadata});
    let reply = twirp(server.address, "UpdateRoomMetadata", &token, &update).await;
    assert_eq!(reply.status, 429);
    assert_eq!(
        twirp(server.address, "DeleteRoom", &token, &json!({"room": "r0"}))
            .await
            .status,
        200
    );
    let reply = twirp(server.address, "UpdateRoomMetadata", &token, &update).await;
    assert_eq!(reply.status, 200);
}
