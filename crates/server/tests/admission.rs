//! A server whose media threads are busy refuses newcomers, and nobody else.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::socket::{Socket, refused};
use common::{Server, config, http, join_token};
use protocol::proto::signal_response::Message as Response;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

const V0: &str = "/rtc?protocol=16&sdk=js&version=2.23.0&auto_subscribe=1";

/// Gives the only media thread something to do until it has noticed.
async fn make_busy(server: &Server) {
    let target = server.running.pool().threads()[0].sockets[0].address;
    let socket = UdpSocket::bind((target.ip(), 0)).expect("a socket");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !server.running.rooms.is_full() {
        for _ in 0..500 {
            // Nobody's datagrams: looked at and dropped. A full socket is as good.
            let _full = socket.send_to(&[0x80; 200], target);
        }
        assert!(
            Instant::now() < deadline,
            "{:?}",
            server.running.pool().stats()[0].load
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_are_refused_with_a_reason_and_who_is_here_may_come_back() {
    let mut config = config();
    // A thousandth of the thread's time: strangers' datagrams take that much.
    config.cpu_load_limit = 0.001;
    let server = Server::start(config);
    let mut alice = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    alice.join().await;
    let before = server.running.counters.joins_refused.get();

    make_busy(&server).await;
    for room in ["r", "another"] {
        make_busy(&server).await;
        let (status, text) = refused(server.address, V0, &join_token("bob", room)).await;
        assert_eq!(
            (status, text.as_str()),
            (503, "node has exceeded its configured limit"),
            "{room}"
        );
    }
    assert_eq!(server.running.counters.joins_refused.get(), before + 2);
    assert!(
        !server.running.rooms.exists("another"),
        "nothing is made for nobody"
    );

    // Clients that did not get in ask why. Nobody is counted or made for it.
    let refused_before = server.running.counters.joins_refused.get();
    for (identity, room, expected) in [
        ("bob", "r", (503, "node has exceeded its configured limit")),
        ("bob", "another", (503, "node has exceeded its configured limit")),
        ("alice", "r", (200, "success")),
    ] {
        make_busy(&server).await;
        assert_eq!(
            validated(&server, identity, room).await,
            (expected.0, expected.1.to_owned()),
            "{identity} in {room}"
        );
    }
    assert_eq!(server.running.counters.joins_refused.get(), refused_before);
    assert!(!server.running.rooms.exists("another"));

    make_busy(&server).await;
    let mut again = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    let sid = again.join().await.participant.expect("participant").sid;

    make_busy(&server).await;
    let resumed = format!("{V0}&reconnect=1&sid={sid}");
    let mut resumed = Socket::connect(server.address, &resumed, &join_token("alice", "r")).await;
    let answer = resumed.wait(|response| matches!(response, Response::Reconnect(_)).then_some(()));
    answer.await;
}

/// What is answered to who asks before it joins.
async fn validated(server: &Server, identity: &str, room: &str) -> (u16, String) {
    let path = format!("/rtc/validate?access_token={}", join_token(identity, room));
    let reply = http(server.address, "GET", &path, &[], None).await;
    (reply.status, reply.text())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_room_more_than_there_may_be_is_told_before_it_is_joined() {
    let mut config = config();
    config.plenum.rooms_max = 1;
    let server = Server::start(config);
    assert_eq!(validated(&server, "a", "r").await.0, 200);
    let mut alice = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    alice.join().await;
    assert_eq!(validated(&server, "bob", "r").await.0, 200);
    let expected = (503, "too many rooms".to_owned());
    assert_eq!(validated(&server, "bob", "another").await, expected);
    assert_eq!(
        refused(server.address, V0, &join_token("bob", "another")).await,
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_everybody_may_join() {
    let mut config = config();
    config.cpu_load_limit = 0.0;
    let server = Server::start(config);
    assert!(!server.running.rooms.is_full());
    let mut alice = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    alice.join().await;
}
