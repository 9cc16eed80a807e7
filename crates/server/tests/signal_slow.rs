//! Clients that read slowly while somebody else changes as fast as it can: they keep their connections,
//! and what they read in the end is the newest state, in every form in which messages travel.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, config, token};
use flate2::{Decompress, FlushDecompress};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How many times the metadata changes, and how long it is: together much more than may wait for a
/// connection, and than the kernel holds for it.
const CHANGES: usize = 120;
/// Who change it in turns: one alone would be cut for all that it sends.
const CHANGERS: usize = 6;
const METADATA_BYTES: usize = 400_000;

/// Little room on the way, so that what is not read waits at the server.
const RECEIVE_BYTES: u32 = 64 << 10;

struct Raw {
    stream: TcpStream,
    /// Bytes read.
    read: usize,
}

impl Raw {
    async fn connect(server: &Server, identity: &str, headers: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BYTES).expect("is set");
        let mut stream = socket.connect(server.address).await.expect("connects");
        let video = json!({"roomJoin": true, "room": "r", "canUpdateOwnMetadata": true});
        let token = token(json!({"sub": identity, "video": video}));
        let request = format!(
            "GET /rtc?protocol=16&access_token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a response"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "));
        Self { stream, read: 0 }
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0xFF];
        frame.extend((payload.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.expect("sends");
    }

    async fn request(&mut self, message: Request) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        self.send(0x82, &request.encode_to_vec()).await;
    }

    /// The next message, however it travels.
    async fn message(&mut self) -> Response {
        loop {
            let first = self.stream.read_u8().await.expect("it is not cut");
            let length = match self.stream.read_u8().await.expect("a length") {
                126 => u64::from(self.stream.read_u16().await.expect("a length")),
                127 => self.stream.read_u64().await.expect("a length"),
                short => u64::from(short),
            };
            let mut payload = vec![0; usize::try_from(length).expect("fits")];
            self.stream.read_exact(&mut payload).await.expect("a payload");
            self.read += payload.len();
            let plain = if first & 0x40 == 0 {
                payload
            } else {
                unpack(&payload)
            };
            let response = match first & 0x0F {
                1 => serde_json::from_slice(&plain).expect("JSON"),
                2 => proto::SignalResponse::decode(&*plain).expect("protobuf"),
                8 => panic!("the connection is closed"),
                _ => continue,
            };
            return response.message.expect("a message");
        }
    }

    /// Reads until somebody's metadata begins like that.
    async fn until_metadata(&mut self, start: &str) {
        loop {
            if let Response::Update(update) = self.message().await
                && update
                    .participants
                    .iter()
                    .any(|info| info.metadata.starts_with(start))
            {
                return;
            }
        }
    }
}

fn unpack(data: &[u8]) -> Vec<u8> {
    let data = [data, &[0, 0, 0xFF, 0xFF]].concat();
    let mut out = Vec::with_capacity(2 << 20);
    Decompress::new(false)
        .decompress_vec(&data, &mut out, FlushDecompress::Sync)
        .expect("expands");
    out
}

/// Metadata that nothing compresses well.
fn metadata() -> String {
    let mut noise = 1_u32;
    let letters = (0..METADATA_BYTES).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b' ' + 2 + u8::try_from(noise >> 26).expect("6 bits"))
    });
    letters.filter(|letter| *letter != '\\').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_cut_for_what_another_one_changes_and_all_learn_the_last_value() {
    let long = metadata();
    let server = Server::start(config());
    let deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let mut victims = Vec::new();
    for (identity, headers, text) in [
        ("plain", "", false),
        ("text", "", true),
        ("packed", deflate, false),
        ("packed text", deflate, true),
    ] {
        let mut victim = Raw::connect(&server, identity, headers).await;
        if text {
            // Answers come as the last request did.
            victim.send(0x81, br#"{"ping":"1"}"#).await;
            while !matches!(victim.message().await, Response::Pong(_)) {}
        }
        victims.push(victim);
    }
    let mut changers = Vec::new();
    for number in 0..CHANGERS {
        changers.push(Raw::connect(&server, &format!("mallory{number}"), "").await);
    }
    for round in 1..=CHANGES {
        let change = proto::UpdateParticipantMetadata {
            metadata: format!("{round:03}{long}"),
            request_id: u32::try_from(round).expect("small"),
            ..Default::default()
        };
        let mallory = &mut changers[round % CHANGERS];
        mallory.request(Request::UpdateMetadata(change)).await;
        // The room has applied it.
        loop {
            if let Response::RequestResponse(response) = mallory.message().await {
                assert_eq!(response.reason(), proto::request_response::Reason::Ok);
                break;
            }
        }
    }
    let backlog = server.running.counters.signal_backlog.bytes();
    assert!(backlog < 64 << 20, "{backlog} bytes wait");
    for victim in &mut victims {
        victim.until_metadata(&format!("{CHANGES:03}")).await;
        assert!(victim.read < 16 << 20, "{} bytes were read", victim.read);
    }
    assert_eq!(server.running.counters.signal_slow.get(), 0);
}
