//! The room API acting on a participant that publishes, as recorded.
#![allow(missing_docs, reason = "tests")]

mod common;
mod publisher;
mod replay;
mod rtc;

use common::{Server, config, http, token};
use prost::Message as _;
use protocol::proto;
use publisher::Publisher;
use replay::compare::Learnt;
use replay::peer::{Arrived, read};
use replay::socket::Socket;
use replay::{Recording, first_key, mint, same_roles, text_of};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

const ROOM: &str = "g-live";
const PATIENCE: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_publishing_participant_answer_as_recorded() {
    let recording = Recording::new(include_str!("vectors/twirp_live.json"));
    let mut config = config();
    // One candidate, as recorded.
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    let server = Server::start(config);
    let address = server.address;
    let (signal, calls) = recording.cases.split_last().expect("cases");
    let mut frames = expected(signal);

    let claims = json!({
        "sub": "bob", "video": {"roomJoin": true, "room": ROOM, "canUpdateOwnMetadata": true}
    });
    let path = format!(
        "/rtc?protocol=18&auto_subscribe=1&sdk=js&version=2.23.0&access_token={}",
        mint(claims)
    );
    let socket = Socket::connect(address, &path, &[]).await.expect("bob joins");
    let mut bob = Watcher { socket, own: None };
    let mut alice = Publisher::join(address, "alice", ROOM).await;
    alice.publish_mic().await;
    alice.publish_cam().await;
    let mut learnt = Learnt::default();
    learnt.loose_versions = true;
    // What was recorded before the first call.
    let joined = frames
        .iter()
        .position(|frame| frame["msg"]["update"]["participants"][0]["identity"] == "bob")
        .expect("bob was told of himself");
    for frame in frames.drain(..=joined).collect::<Vec<_>>() {
        expect(&mut bob, &mut learnt, &recording, &frame).await;
    }

    let mut problems = Vec::new();
    for case in calls {
        // Alice's departure was told before the end of the room.
        if case["name"] == "delete_room" {
            let leave = frames.iter().position(|frame| frame["msg"]["leave"].is_object());
            for frame in frames.drain(..leave.expect("the room ended")).collect::<Vec<_>>() {
                expect(&mut bob, &mut learnt, &recording, &frame).await;
            }
        }
        let call = call(address, &mut learnt, case);
        let reply = if case["name"] == "perform_rpc_unregistered_method" {
            tokio::join!(call, alice.refuse_call()).0
        } else {
            call.await
        };
        if let Err(problem) = reply {
            problems.push(format!("{}: {problem}", case["name"]));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    for frame in frames {
        expect(&mut bob, &mut learnt, &recording, &frame).await;
    }
    server.running.shutdown().await;
}

/// Makes a recorded call and compares the answer.
async fn call(address: SocketAddr, learnt: &mut Learnt, case: &Value) -> Result<(), String> {
    let request = &case["request"];
    let body = learnt.fill(&text_of(&request["body"]));
    let authorization = text_of(&request["headers"]["Authorization"]);
    let placeholder = authorization.strip_prefix("Bearer ").ok_or("no token")?;
    let token = token(case["tokens"][placeholder].clone());
    let headers = [
        ("Authorization".to_owned(), format!("Bearer {token}")),
        (
            "Content-Type".to_owned(),
            text_of(&request["headers"]["Content-Type"]),
        ),
    ];
    let path = text_of(&request["path"]);
    let reply = http(address, "POST", &path, &headers, Some(body.as_bytes())).await;
    let recorded = &case["response"];
    if recorded["status"] != reply.status {
        return Err(format!("{} {}", reply.status, reply.text()));
    }
    if recorded["headers"]["Content-Type"] != reply.header("Content-Type").unwrap_or_default() {
        return Err(format!("{:?}", reply.headers));
    }
    learnt
        .compare(&recorded["body"]["json"], &reply.json())
        .map_err(|problem| format!("{problem}\n      in {}", reply.text()))
}

impl Publisher {
    /// Acknowledges the next call and says that there is no such method.
    async fn refuse_call(&mut self) {
        use proto::data_packet::Value as Content;
        let (id, caller) = loop {
            let message = self.connection.message("_reliable").await.expect("a call");
            let packet = proto::DataPacket::decode(message.as_slice()).expect("a packet");
            if let Some(Content::RpcRequest(request)) = packet.value {
                break (request.id, packet.participant_identity);
            }
        };
        let error = proto::RpcError {
            code: 1400,
            message: "Method not supported at destination".to_owned(),
            data: String::new(),
        };
        let answers = [
            Content::RpcAck(proto::RpcAck {
                request_id: id.clone(),
            }),
            Content::RpcResponse(proto::RpcResponse {
                request_id: id,
                value: Some(proto::rpc_response::Value::Error(error)),
            }),
        ];
        for value in answers {
            let packet = proto::DataPacket {
                destination_identities: vec![caller.clone()],
                value: Some(value),
                ..Default::default()
            };
            self.connection.send("_reliable", packet.encode_to_vec()).await;
        }
    }
}

/// The frames to compare: without what has no fixed place, what is told again, and ICE over TCP,
/// which is not built.
fn expected(signal: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for frame in signal["frames"].as_array().into_iter().flatten() {
        let mut frame = frame.clone();
        let init = text_of(&frame["msg"]["trickle"]["candidateInit"]);
        if init.contains(" tcp ") {
            let last = out.last_mut().expect("the UDP candidate comes first");
            last["msg"]["trickle"]["final"] = json!(true);
            continue;
        }
        if !init.is_empty() {
            frame["msg"]["trickle"]["candidateInit"] = json!(init.replace(" 27882 ", " <priority> "));
        }
        // The reference tells of a first track twice; the other updates count one version more there.
        let participant = &frame["msg"]["update"]["participants"][0];
        let again = out.last().is_some_and(|last| {
            let mut last = last["msg"]["update"]["participants"][0].clone();
            last["version"] = participant["version"].clone();
            participant.is_object() && last == *participant
        });
        if again && participant["isPublisher"] == true {
            continue;
        }
        // The reference tells one by one of the tracks that a revoked permission takes away.
        let may_publish = participant["permission"]["canPublish"] == true;
        if participant.is_object() && !may_publish && participant["tracks"].is_array() {
            continue;
        }
        if frame["frame"] != "ping" && !floats(&first_key(&frame["msg"])) {
            out.push(frame);
        }
    }
    out
}

/// Claims of the tokens were not recorded here. That bob may have the tracks is told here when they
/// are published, by the reference when bob's connection is up, which it never was.
fn floats(kind: &str) -> bool {
    matches!(
        kind,
        "refreshToken" | "roomUpdate" | "connectionQuality" | "ping frame" | "subscriptionPermissionUpdate"
    )
}

/// A client that only looks.
struct Watcher {
    socket: Socket,
    /// That it joined, as told by a batch, until it is asked for.
    own: Option<Arrived>,
}

impl Watcher {
    /// The next message, but for what batches tell about joining: that has no fixed place.
    async fn receive(&mut self) -> Option<Arrived> {
        let frame = timeout(PATIENCE, self.socket.next()).await;
        let mut found = read(frame.expect("bob gets something")).expect("a message");
        if floats(&found.kind) {
            return None;
        }
        let list = found.message.pointer_mut("/update/participants");
        let Some(list) = list.and_then(Value::as_array_mut) else {
            return Some(found);
        };
        list.retain(|participant| {
            let early = participant["identity"] == "alice" && participant["isPublisher"].is_null();
            !early || participant["state"] == "DISCONNECTED" || participant["version"].as_u64() > Some(2)
        });
        match &list[..] {
            [] => None,
            [own] if own["identity"] == "bob" && own["version"] == 1 => {
                self.own = Some(found);
                None
            }
            _ => Some(found),
        }
    }

    async fn next(&mut self) -> Arrived {
        loop {
            if let Some(found) = self.receive().await {
                return found;
            }
        }
    }

    /// The batch that told it joined.
    async fn joined(&mut self) -> Arrived {
        loop {
            if let Some(own) = self.own.take() {
                return own;
            }
            if let Some(other) = self.receive().await {
                panic!("not recorded: {}", other.message);
            }
        }
    }
}

/// Waits for bob's next frame and compares it.
async fn expect(bob: &mut Watcher, learnt: &mut Learnt, recording: &Recording, recorded: &Value) {
    let at = &recorded["ms"];
    let participant = &recorded["msg"]["update"]["participants"][0];
    let found = if participant["identity"] == "bob" && participant["version"] == 1 {
        bob.joined().await
    } else {
        bob.next().await
    };
    match recorded["frame"].as_str() {
        Some("close") => assert_eq!(found.message["code"], recorded["code"], "bob at {at} ms"),
        Some("eof") => assert_eq!(found.kind, "eof", "bob at {at} ms"),
        _ => {
            let result = learnt.compare(&recorded["msg"], &found.message);
            result.unwrap_or_else(|problem| panic!("bob at {at} ms: {problem}\n  in {}", found.message));
            let offer = &recorded["msg"]["offer"]["sdp"];
            if !offer.is_null() {
                let sdp = text_of(&found.message["offer"]["sdp"]);
                same_roles(&recording.unpacked(offer), &sdp).expect("roles");
            }
        }
    }
}
