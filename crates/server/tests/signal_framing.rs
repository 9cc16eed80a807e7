//! Frames, broken frames, sizes, close codes and pings of signal connections, as recorded.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::wildcard_enum_match_arm, reason = "other messages fail the test")]

mod common;
mod replay;

use common::socket::Socket;
use common::{Server, config, join_token};
use futures_util::StreamExt as _;
use protocol::proto::signal_request::Message as Request;
use replay::{Recording, Script};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const SKIPPED: &[(&str, &str)] = &[(
    "permessage_deflate",
    "the replay does not speak compression; `signal_deflate.rs` does",
)];

#[tokio::test(flavor = "multi_thread")]
async fn recorded_frames_and_close_codes() {
    let recording = Recording::new(include_str!("vectors/signal/framing.json"));
    recording
        .replay(SKIPPED, |_| config(), |_| Script::default())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_frame_comes_every_ten_seconds() {
    let server = Server::start(config());
    let path = "/rtc?protocol=16&sdk=js&version=2.23.0";
    let mut socket = Socket::connect(server.address, path, &join_token("alice", "r")).await;
    let began = Instant::now();
    socket.join().await;
    for count in 1..=2 {
        let ping = async {
            loop {
                match socket.0.next().await.expect("open").expect("a frame") {
                    Message::Ping(_) => return,
                    Message::Binary(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(Duration::from_secs(30), ping).await.expect("a ping");
        // The server's clock began a little before ours.
        let due = Duration::from_millis(count * 10_000 - 500);
        assert!(began.elapsed() > due, "{:?}", began.elapsed());
        // Whoever says nothing for fifteen seconds is given up.
        socket.send(Request::Ping(5)).await;
    }
}
