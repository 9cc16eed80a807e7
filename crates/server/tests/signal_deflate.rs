//! `permessage-deflate` on a signal connection, spoken by hand: RFC 7692.
#![allow(missing_docs, reason = "tests")]

mod common;

use common::{Server, config, join_token};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OFFER: &str = "permessage-deflate; client_max_window_bits";

struct Raw(TcpStream);

impl Raw {
    /// Connects with an offer of extensions; the response's headers in lower case come back too.
    async fn connect(server: &Server, identity: &str, offer: Option<&str>) -> (Self, String) {
        let mut stream = TcpStream::connect(server.address).await.expect("connects");
        let token = join_token(identity, "r");
        let offer = offer.map_or(String::new(), |offer| {
            format!("Sec-WebSocket-Extensions: {offer}\r\n")
        });
        let request = format!(
            "GET /rtc?protocol=16&access_token={token} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        (Self(stream), head.to_lowercase())
    }

    /// The first byte of a frame and its payload.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.expect("a frame");
        let length = match self.0.read_u8().await.expect("a length") {
            126 => u64::from(self.0.read_u16().await.expect("a length")),
            127 => self.0.read_u64().await.expect("a length"),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).expect("fits")];
        self.0.read_exact(&mut payload).await.expect("a payload");
        (first, payload)
    }

    /// The next message, which has to be compressed.
    async fn message(&mut self) -> Response {
        let (first, payload) = self.frame().await;
        assert_eq!(first, 0xC2, "a whole compressed binary message");
        let message = proto::SignalResponse::decode(&*unpack(&payload)).expect("a response");
        message.message.expect("a message")
    }

    /// Code of the close frame, whatever comes before it.
    async fn closed(&mut self) -> u16 {
        loop {
            if let (0x88, payload) = self.frame().await {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        let mut frame = vec![first, 0xFF];
        frame.extend((payload.len() as u64).to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame).await.expect("sends");
    }
}

fn pack(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 1024);
    Compress::new(Compression::best(), false)
        .compress_vec(data, &mut out, FlushCompress::Sync)
        .expect("compresses");
    assert_eq!(out.split_off(out.len() - 4), [0, 0, 0xFF, 0xFF]);
    out
}

fn unpack(data: &[u8]) -> Vec<u8> {
    let data = [data, &[0, 0, 0xFF, 0xFF]].concat();
    let mut out = Vec::with_capacity(1 << 20);
    Decompress::new(false)
        .decompress_vec(&data, &mut out, FlushDecompress::Sync)
        .expect("expands");
    out
}

fn ping(timestamp: i64) -> Vec<u8> {
    let ping = Request::PingReq(proto::Ping { timestamp, rtt: 0 });
    proto::SignalRequest { message: Some(ping) }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_compressed_both_ways_when_offered() {
    let server = Server::start(config());
    let (mut alice, head) = Raw::connect(&server, "alice", Some(OFFER)).await;
    let accepted = "\r\nsec-websocket-extensions: \
                    permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    assert!(head.contains(accepted), "{head}");
    assert!(matches!(alice.message().await, Response::Join(_)));
    alice.send(0xC2, &pack(&ping(7))).await;
    // A client may leave single messages as they are.
    alice.send(0x82, &ping(8)).await;
    let mut pongs = Vec::new();
    while pongs.len() < 2 {
        if let Response::PongResp(pong) = alice.message().await {
            pongs.push(pong.last_ping_timestamp);
        }
    }
    assert_eq!(pongs, [7, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_offer_nothing_is_compressed() {
    let server = Server::start(config());
    let (mut alice, head) = Raw::connect(&server, "alice", None).await;
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    assert_eq!(alice.frame().await.0, 0x82);
    alice.send(0xC2, &pack(&ping(7))).await;
    assert_eq!(alice.closed().await, 1002);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_bombs_and_broken_messages_end_only_their_connection() {
    let server = Server::start(config());
    let (mut witness, _) = Raw::connect(&server, "witness", Some(OFFER)).await;
    for (identity, payload, code) in [
        ("bomb", pack(&vec![0; 64 << 20]), 1009),
        ("broken", vec![0xFF; 64], 1000),
    ] {
        let (mut guest, _) = Raw::connect(&server, identity, Some(OFFER)).await;
        guest.send(0xC2, &payload).await;
        assert_eq!(guest.closed().await, code, "{identity}");
    }
    witness.send(0xC2, &pack(&ping(9))).await;
    loop {
        if let Response::PongResp(pong) = witness.message().await {
            assert_eq!(pong.last_ping_timestamp, 9);
            return;
        }
    }
}
