//! A process that may open few files, and strangers that hold as many sockets as they can.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::process::{Running, plenum_with_files};
use common::socket::Socket;
use common::{KEY, SECRET, http, join_token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Files that the server may open; strangers come with many more sockets.
const FILES: usize = 128;
const STRANGERS: usize = 400;

/// How long a health check and a join take.
async fn served(address: SocketAddr, identity: &str) -> (Duration, Duration) {
    let begun = Instant::now();
    let reply = http(address, "GET", "/", &[], None).await;
    assert_eq!(reply.status, 200);
    let health = begun.elapsed();
    let begun = Instant::now();
    let mut socket = Socket::connect(address, "/rtc?protocol=16", &join_token(identity, "r")).await;
    socket.join().await;
    (health, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sockets_shut_nobody_out() {
    let body = "port: 0\nbind_addresses: [127.0.0.1]\nrtc: {udp_port: 50000-60000, node_ip: 127.0.0.1}\n\
        plenum: {media: {threads: 1}}\n";
    let keys = format!("{KEY}: {SECRET}");
    let environment = [("LIVEKIT_CONFIG", body), ("LIVEKIT_KEYS", &keys)];
    let server = Running::start(plenum_with_files(FILES, &environment));
    let mut insider = Socket::connect(server.address, "/rtc?protocol=16", &join_token("insider", "r")).await;
    insider.join().await;
    let mut held = Vec::new();
    for number in 0..STRANGERS {
        let Ok(Ok(mut stream)) = timeout(Duration::from_secs(5), TcpStream::connect(server.address)).await
        else {
            panic!("stranger {number} is not let in");
        };
        // Silent ones, and some that begin to ask.
        let start = ["", "G", "GET / HTTP/1.1\r\nHost: x\r\n"][number % 3];
        let _ = stream.write_all(start.as_bytes()).await;
        held.push(stream);
    }
    for round in 0..5 {
        let (health, join) = timeout(
            Duration::from_secs(20),
            served(server.address, &format!("p{round}")),
        )
        .await
        .expect("served");
        assert!(health < Duration::from_secs(1), "{health:?}");
        assert!(join < Duration::from_secs(2), "{join:?}");
    }
    // Who was in a session before is still.
    let ping = protocol::proto::signal_request::Message::Ping(1);
    insider.send(ping).await;
    insider
        .wait(|response| matches!(response, protocol::proto::signal_response::Message::Pong(_)).then_some(()))
        .await;
}
