//! Signal connections against a running server: joins, framing, pings, close codes, ends.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::wildcard_enum_match_arm, reason = "other messages are passed over")]

mod common;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use common::socket::{Got, Socket, issuer, refused};
use common::{Server, admin_token, config, join_token, token, twirp};
use prost::Message as _;
use protocol::proto;
use protocol::proto::DisconnectReason;
use protocol::proto::leave_request::Action;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const V0: &str = "/rtc?protocol=16&sdk=js&version=2.23.0&auto_subscribe=1";

fn v1(request: &proto::JoinRequest, gzip: bool) -> String {
    let inner = request.encode_to_vec();
    let wrapped = proto::WrappedJoinRequest {
        compression: i32::from(gzip),
        join_request: if gzip { stored_gzip(&inner) } else { inner },
    };
    format!(
        "/rtc/v1?join_request={}",
        URL_SAFE.encode(wrapped.encode_to_vec())
    )
}

/// gzip (RFC 1952) around one stored block, so that no compressor is needed here.
fn stored_gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short");
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF, 1];
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(data);
    let mut crc = u32::MAX;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
        }
    }
    out.extend_from_slice(&(!crc).to_le_bytes());
    out.extend_from_slice(&u32::from(length).to_le_bytes());
    out
}

fn request(protocol: i32) -> proto::JoinRequest {
    proto::JoinRequest {
        client_info: Some(proto::ClientInfo {
            sdk: proto::client_info::Sdk::Js.into(),
            protocol,
            ..Default::default()
        }),
        connection_settings: Some(proto::ConnectionSettings {
            auto_subscribe: true,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_is_join() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    let join = socket.join().await;
    assert_eq!(join.room.expect("room").name, "r");
    let me = join.participant.expect("participant");
    assert_eq!((me.identity.as_str(), me.sid.starts_with("PA_")), ("alice", true));
    let info = join.server_info.expect("server info");
    assert_eq!((info.version.as_str(), info.protocol), ("1.13.11", 18));
    let fresh = socket.wait(|response| match response {
        Response::RefreshToken(token) => Some(token.clone()),
        _ => None,
    });
    assert!(issuer(&fresh.await));
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_joins_with_plain_and_gzip_requests() {
    let server = Server::start(config());
    for (gzip, identity) in [(false, "plain"), (true, "gzip")] {
        let mut add = request(17);
        add.add_track_requests = vec![proto::AddTrackRequest {
            cid: "c1".to_owned(),
            ..Default::default()
        }];
        let path = v1(&add, gzip);
        let mut socket = Socket::connect(server.address, &path, &join_token(identity, "r")).await;
        let join = socket.join().await;
        assert!(!join.subscriber_primary);
        assert_eq!(join.participant.expect("participant").identity, identity);
        let published = socket.wait(|response| match response {
            Response::TrackPublished(track) => Some(track.cid.clone()),
            _ => None,
        });
        assert_eq!(published.await, "c1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_room_is_an_http_error_without_upgrade() {
    let mut config = config();
    config.room.max_participants = 1;
    let server = Server::start(config);
    let mut first = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    first.join().await;
    let (status, text) = refused(server.address, V0, &join_token("bob", "r")).await;
    assert_eq!((status, text.as_str()), (500, "connection closed by media"));
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_without_or_with_broken_join_request_is_refused() {
    let server = Server::start(config());
    let token = join_token("alice", "r");
    let cases = [
        ("/rtc/v1", "join_request is required"),
        (
            "/rtc/v1?join_request=%25",
            "cannot base64 decode wrapped join request",
        ),
        (
            "/rtc/v1?join_request=____",
            "cannot unmarshal wrapped join request",
        ),
    ];
    for (path, expected) in cases {
        let (status, text) = refused(server.address, path, &token).await;
        assert_eq!((status, text.as_str()), (400, expected), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_mirror_the_framing_of_the_last_frame() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    socket.raw(Message::text("{\"ping\":\"5\"}")).await;
    loop {
        if let Got::Text(text) = socket.next().await {
            assert!(text.starts_with("{\"pong\":\""), "{text}");
            break;
        }
    }
    let text = "{\"add_track\":{\"cid\":\"c2\",\"type\":\"VIDEO\",\"nonsense\":1},\"other\":2}";
    socket.raw(Message::text(text)).await;
    loop {
        if let Got::Text(text) = socket.next().await
            && text.starts_with("{\"trackPublished\":{\"cid\":\"c2\",\"track\":{")
        {
            break;
        }
    }
    socket.send(Request::Ping(6)).await;
    assert!(matches!(socket.next().await, Got::Binary(Response::Pong(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_ping_are_answered() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    let before = common::unix_s() * 1000;
    socket.send(Request::Ping(5)).await;
    let pong = socket.wait(|response| match response {
        Response::Pong(at) => Some(*at),
        _ => None,
    });
    let at = pong.await;
    assert!(at >= before && at < before + 60_000, "{at}");
    socket
        .send(Request::PingReq(proto::Ping {
            timestamp: 42,
            rtt: 7,
        }))
        .await;
    let pong = socket.wait(|response| match response {
        Response::PongResp(pong) => Some(*pong),
        _ => None,
    });
    let pong = pong.await;
    assert_eq!(pong.last_ping_timestamp, 42);
    assert!(pong.timestamp >= before);
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_frames_close_with_1000_and_empty_ones_are_ignored() {
    let server = Server::start(config());
    let broken = [
        Message::binary(vec![0xFF, 0xFF, 0xFF]),
        Message::text(""),
        Message::text("null"),
        Message::text("{not json"),
    ];
    for (index, frame) in broken.into_iter().enumerate() {
        let identity = format!("a{index}");
        let mut socket = Socket::connect(server.address, V0, &join_token(&identity, "r")).await;
        socket.join().await;
        socket.raw(frame).await;
        let close = socket.closed().await.expect("a close frame");
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1000, ""));
    }
    let mut socket = Socket::connect(server.address, V0, &join_token("b", "r")).await;
    socket.join().await;
    socket.raw(Message::binary(Vec::new())).await;
    socket.raw(Message::binary(vec![0xFA, 0x0F, 0x01, 0x78])).await;
    socket.send(Request::Ping(1)).await;
    socket
        .wait(|response| matches!(response, Response::Pong(_)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_over_the_limit_close_with_1009() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("a", "r")).await;
    socket.join().await;
    socket.raw(Message::binary(vec![0; 2 * 1024 * 1024 - 64])).await;
    let close = socket.closed().await.expect("undecodable, not too large");
    assert_eq!(u16::from(close.code), 1000);

    let mut socket = Socket::connect(server.address, V0, &join_token("b", "r")).await;
    socket.join().await;
    // Only the head of a frame that is one byte too long.
    let head = [0x82, 0xFF, 0, 0, 0, 0, 0, 0x20, 0, 1, 0, 0, 0, 0];
    socket.0.get_mut().write_all(&head).await.expect("sends");
    let close = socket.closed().await.expect("a close frame");
    assert_eq!((u16::from(close.code), close.reason.as_str()), (1009, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_violations_close_with_1002() {
    let server = Server::start(config());
    let cases: [(&[u8], &str); 3] = [
        (&[0x82, 0x02, 0x70, 0x01], "bad MASK"),
        (&[0x83, 0x81, 0, 0, 0, 0, 0x78], "bad opcode 3"),
        (&[0x80, 0x81, 0, 0, 0, 0, 0x78], "continuation after FIN"),
    ];
    for (bytes, reason) in cases {
        let mut socket = Socket::connect(server.address, V0, &join_token("a", reason)).await;
        socket.join().await;
        socket.0.get_mut().write_all(bytes).await.expect("sends");
        let close = socket.closed().await.expect("a close frame");
        assert_eq!((u16::from(close.code), close.reason.as_str()), (1002, reason));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_close_code_is_echoed() {
    let server = Server::start(config());
    // Often enough that the close meets what a room sends right after a join.
    for round in 0..60 {
        let code = [1000_u16, 1001, 4000][round % 3];
        let identity = format!("a{round}");
        let mut socket = Socket::connect(server.address, V0, &join_token(&identity, "r")).await;
        socket.join().await;
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: "".into(),
        };
        socket.raw(Message::Close(Some(frame))).await;
        let close = socket.closed().await.expect("a close frame");
        assert_eq!((u16::from(close.code), close.reason.as_str()), (code, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_is_answered_and_closes_with_1000() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    socket.send(Request::Leave(proto::LeaveRequest::default())).await;
    let leave = socket.leave().await;
    assert_eq!(leave.reason(), DisconnectReason::ClientInitiated);
    assert_eq!(
        u16::from(socket.closed().await.expect("a close frame").code),
        1000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_sees_and_removes_participants() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    let sid = socket.join().await.participant.expect("participant").sid;
    let admin = admin_token("r");
    let who = json!({"room": "r", "identity": "alice"});
    let list = twirp(server.address, "ListParticipants", &admin, &json!({"room": "r"}))
        .await
        .json();
    assert_eq!(list["participants"][0]["sid"], sid);
    let one = twirp(server.address, "GetParticipant", &admin, &who).await.json();
    assert_eq!(one["identity"], "alice");
    let update =
        json!({"room": "r", "identity": "alice", "name": "Al", "metadata": "m", "attributes": {"a": "1"}});
    let updated = twirp(server.address, "UpdateParticipant", &admin, &update)
        .await
        .json();
    assert_eq!(
        (&updated["name"], &updated["attributes"]["a"]),
        (&json!("Al"), &json!("1"))
    );
    let removed = twirp(server.address, "RemoveParticipant", &admin, &who).await;
    assert_eq!((removed.status, removed.text().as_str()), (200, "{}"));
    let leave = socket.leave().await;
    assert_eq!(
        (leave.reason(), leave.action()),
        (DisconnectReason::ParticipantRemoved, Action::Disconnect)
    );
    assert_eq!(
        u16::from(socket.closed().await.expect("a close frame").code),
        1000
    );
    assert_eq!(
        twirp(server.address, "GetParticipant", &admin, &who).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_mutes_and_refuses_to_unmute() {
    let server = Server::start(config());
    let path = v1(
        &proto::JoinRequest {
            add_track_requests: vec![proto::AddTrackRequest {
                cid: "c1".to_owned(),
                ..Default::default()
            }],
            ..request(17)
        },
        false,
    );
    let mut socket = Socket::connect(server.address, &path, &join_token("alice", "r")).await;
    socket.join().await;
    let track = socket.wait(|response| match response {
        Response::TrackPublished(track) => track.track.clone(),
        _ => None,
    });
    let sid = track.await.sid;
    let admin = admin_token("r");
    let unmute = json!({"room": "r", "identity": "alice", "track_sid": sid, "muted": false});
    let refused = twirp(server.address, "MutePublishedTrack", &admin, &unmute).await;
    assert_eq!(
        (refused.status, &refused.json()["msg"]),
        (412, &json!("remote unmute not enabled"))
    );
    let unknown = json!({"room": "r", "identity": "alice", "track_sid": "TR_none", "muted": true});
    let nothing = twirp(server.address, "MutePublishedTrack", &admin, &unknown).await;
    assert_eq!(nothing.text(), "{\"track\":null}");
    let subscribe = json!({"room": "r", "identity": "alice", "track_sids": ["TR_none"], "subscribe": true});
    assert_eq!(
        twirp(server.address, "UpdateSubscriptions", &admin, &subscribe)
            .await
            .text(),
        "{}"
    );
    let data = json!({"room": "r", "data": "aGk=", "kind": "RELIABLE"});
    assert_eq!(
        twirp(server.address, "SendData", &admin, &data).await.text(),
        "{}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_room_ends_its_sessions() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    let admin = admin_token("r");
    let room = json!({"room": "r"});
    let changed = json!({"room": "r", "metadata": "news"});
    let updated = twirp(server.address, "UpdateRoomMetadata", &admin, &changed)
        .await
        .json();
    assert_eq!(updated["metadata"], "news");
    let told = socket.wait(|response| match response {
        Response::RoomUpdate(update) => update.room.clone(),
        _ => None,
    });
    assert_eq!(told.await.metadata, "news");
    assert_eq!(
        twirp(server.address, "DeleteRoom", &admin, &room).await.status,
        200
    );
    assert_eq!(socket.leave().await.reason(), DisconnectReason::RoomDeleted);
    assert_eq!(
        u16::from(socket.closed().await.expect("a close frame").code),
        1000
    );
    assert_eq!(
        twirp(server.address, "DeleteRoom", &admin, &room).await.status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_of_an_identity_ends_the_first() {
    let server = Server::start(config());
    let mut first = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    let old = first.join().await.participant.expect("participant").sid;
    let mut second = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    let new = second.join().await.participant.expect("participant").sid;
    assert_ne!(old, new);
    assert_eq!(first.leave().await.reason(), DisconnectReason::DuplicateIdentity);
    assert_eq!(u16::from(first.closed().await.expect("a close frame").code), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_tells_everybody() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    let stop = tokio::spawn(server.running.shutdown());
    assert_eq!(socket.leave().await.reason(), DisconnectReason::ServerShutdown);
    assert_eq!(
        u16::from(socket.closed().await.expect("a close frame").code),
        1000
    );
    drop(socket);
    stop.await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_connection_holds_its_place_among_the_open_ones_until_it_ends() {
    let mut config = config();
    config.connections_max = 1;
    let server = Server::start(config);
    let mut socket = Socket::connect(server.address, V0, &join_token("alice", "r")).await;
    socket.join().await;
    let address = server.address;
    let waiting = tokio::spawn(async move { common::http(address, "GET", "/", &[], None).await });
    // Many times what a request takes that need not wait.
    for round in 0..200 {
        socket.send(Request::Ping(round)).await;
        socket
            .wait(|response| matches!(response, Response::Pong(_)).then_some(()))
            .await;
    }
    assert!(!waiting.is_finished());
    socket.raw(Message::Close(None)).await;
    socket.closed().await;
    drop(socket);
    assert_eq!(waiting.await.expect("an answer").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn room_settings_of_the_token_shape_a_new_room() {
    let server = Server::start(config());
    let video = json!({"roomJoin": true, "room": "r"});
    let settings = json!({"emptyTimeout": 7, "maxParticipants": 3, "metadata": "m"});
    let token = token(json!({"sub": "a", "video": video, "roomConfig": settings}));
    let mut socket = Socket::connect(server.address, V0, &token).await;
    let room = socket.join().await.room.expect("room");
    assert_eq!(
        (room.empty_timeout, room.max_participants, room.metadata.as_str()),
        (7, 3, "m")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_shape_new_rooms_and_unknown_ones_are_refused() {
    let mut config = config();
    let preset = proto::RoomConfiguration {
        empty_timeout: 5,
        max_participants: 9,
        ..Default::default()
    };
    config.room.presets.insert("small".to_owned(), preset);
    let server = Server::start(config);
    let create = json!({"name": "made", "room_preset": "small", "empty_timeout": 8});
    let made = twirp(server.address, "CreateRoom", &admin_token("made"), &create)
        .await
        .json();
    assert_eq!(
        (&made["empty_timeout"], &made["max_participants"]),
        (&json!(8), &json!(9))
    );
    let video = json!({"roomJoin": true, "room": "joined"});
    let small = token(json!({"sub": "a", "video": video, "roomPreset": "small"}));
    let mut socket = Socket::connect(server.address, V0, &small).await;
    assert_eq!(socket.join().await.room.expect("room").empty_timeout, 5);
    let video = json!({"roomJoin": true, "room": "other"});
    let unknown = token(json!({"sub": "a", "video": video, "roomPreset": "nope"}));
    let (status, text) = refused(server.address, V0, &unknown).await;
    assert_eq!((status, text.as_str()), (500, "connection closed by media"));
}

/// xorshift64*: the same bytes in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % bound.max(1)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// Changes, cuts or doubles parts of a valid text.
    fn spoil(&mut self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = self.next().to_be_bytes()[0],
                2 => bytes.insert(at, self.next().to_be_bytes()[0]),
                _ => {
                    let tail = bytes[at..].to_vec();
                    bytes.extend_from_slice(&tail[..tail.len().min(64)]);
                }
            }
        }
        bytes
    }
}

fn valid_requests() -> Vec<Request> {
    let offer = proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp: "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
            .to_owned(),
        ..Default::default()
    };
    let candidate = "{\"candidate\":\"candidate:1 1 udp 1 127.0.0.1 9 typ host\",\"sdpMid\":\"0\"}";
    vec![
        Request::Offer(offer.clone()),
        Request::Answer(offer),
        Request::Trickle(proto::TrickleRequest {
            candidate_init: candidate.to_owned(),
            ..Default::default()
        }),
        Request::AddTrack(proto::AddTrackRequest {
            cid: "c".to_owned(),
            layers: vec![proto::VideoLayer::default(); 3],
            ..Default::default()
        }),
        Request::Subscription(proto::UpdateSubscription {
            track_sids: vec!["TR_x".to_owned()],
            subscribe: true,
            ..Default::default()
        }),
        Request::SyncState(proto::SyncState::default()),
        Request::Ping(1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_bytes_on_http_end_no_other_connection() {
    let server = Server::start(config());
    let mut calm = Socket::connect(server.address, V0, &join_token("calm", "r")).await;
    calm.join().await;
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let token = admin_token("r");
    let body = "{\"names\":[\"r\"]}";
    let valid = [
        format!(
            "POST /twirp/livekit.RoomService/ListRooms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        format!(
            "GET {V0}&access_token={} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            join_token("spoilt", "r")
        ),
    ];
    for round in 0..300 {
        let bytes = match round % 3 {
            0 => noise.bytes(200),
            pick => noise.spoil(valid[pick - 1].as_bytes()),
        };
        let mut raw = tokio::net::TcpStream::connect(server.address)
            .await
            .expect("connects");
        // The server may close while we still write.
        let _ = raw.write_all(&bytes).await;
        let _ = raw.shutdown().await;
        let mut rest = Vec::new();
        let _ = raw.read_to_end(&mut rest).await;
    }
    calm.send(Request::Ping(1)).await;
    calm.wait(|response| matches!(response, Response::Pong(_)).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_no_other_connection() {
    let server = Server::start(config());
    let mut calm = Socket::connect(server.address, V0, &join_token("calm", "r")).await;
    calm.join().await;
    let mut noise = Noise(7);
    for round in 0..60 {
        let path = if round % 2 == 0 {
            V0.to_owned()
        } else {
            v1(&request(17), false)
        };
        let identity = format!("wild{round}");
        let mut wild = Socket::connect(server.address, &path, &join_token(&identity, "r")).await;
        wild.join().await;
        for valid in valid_requests() {
            let message = proto::SignalRequest { message: Some(valid) };
            let frame = if round % 3 == 0 {
                let text = serde_json::to_string(&message).expect("JSON");
                let spoilt = noise.spoil(text.as_bytes());
                Message::text(String::from_utf8_lossy(&spoilt).into_owned())
            } else {
                Message::binary(noise.spoil(&message.encode_to_vec()))
            };
            // An undecodable frame closes this connection: that is its answer.
            if futures_util::SinkExt::send(&mut wild.0, frame).await.is_err() {
                break;
            }
        }
        // No frame at all.
        let garbage = noise.bytes(64);
        let _ = wild.0.get_mut().write_all(&garbage).await;
    }
    calm.send(Request::Ping(1)).await;
    calm.wait(|response| matches!(response, Response::Pong(_)).then_some(()))
        .await;
    assert_eq!(server.running.counters.rooms_failed.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_and_counted() {
    let server = Server::start(config());
    let mut calm = Socket::connect(server.address, V0, &join_token("calm", "r")).await;
    calm.join().await;
    let video = json!({"roomJoin": true, "room": "r", "canUpdateOwnMetadata": true});
    let slow_token = token(json!({"sub": "slow", "video": video}));
    let mut slow = Socket::connect(server.address, V0, &slow_token).await;
    slow.join().await;
    // Each change comes back as an update, a token and a response: soon more than sockets buffer.
    for round in 0..200_u32 {
        let metadata = char::from(b'a' + u8::try_from(round % 26).expect("small"))
            .to_string()
            .repeat(400_000);
        let change = proto::UpdateParticipantMetadata {
            metadata: metadata.clone(),
            ..Default::default()
        };
        let message = proto::SignalRequest {
            message: Some(Request::UpdateMetadata(change)),
        };
        let frame = Message::binary(message.encode_to_vec());
        // The server stops reading from whom it cannot write to.
        let sent = futures_util::SinkExt::send(&mut slow.0, frame);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(8), sent).await;
        let gone = calm.wait(|response| match response {
            Response::Update(update) => update.participants.iter().find_map(|other| {
                let gone = other.state() == proto::participant_info::State::Disconnected;
                (gone || other.metadata == metadata).then_some(gone)
            }),
            _ => None,
        });
        if gone.await {
            assert_eq!(server.running.counters.signal_slow.get(), 1);
            return;
        }
    }
    panic!("it was never cut");
}
