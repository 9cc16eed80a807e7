//! Replays recorded signal connections against a real server over real WebSockets: sends what the
//! recorded clients sent, and compares what the server sends with what was recorded.
//!
//! Driven by messages, not by time: a client's frame goes out when everything recorded before it
//! has arrived. What is not compared, because it differs between runs of the reference as well:
//! * where refresh tokens and changes of the room stand among other messages;
//! * periodic room updates (counts) and connection qualities;
//! * the order of participants, and everything about participants of neighbouring cases: some
//!   recordings share a room, here every case has a server of its own;
//! * content of descriptions but for ICE-lite, DTLS roles and mixed header extensions (another test's business).
//!
//! ICE over TCP is not built: recorded TCP candidates are left out.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::unwrap_in_result,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

pub mod compare;
pub mod connect;
pub mod peer;
pub mod socket;

use crate::common::{KEY, SECRET, Server, admin_token, sign, twirp, unix_s};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use compare::Learnt;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use futures_util::stream;
use peer::Peer;
use prost::Message as _;
use protocol::proto;
use serde_json::{Map, Value, json};
use server::config::Config;
use socket::{Socket, opcode};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Longer than anything recorded: pings come every 10 s.
const PATIENCE: Duration = Duration::from_secs(12);

/// Servers at a time.
const PARALLEL: usize = 24;

/// What a case needs beside its recording.
#[derive(Default)]
pub struct Script {
    /// When each peer connected, milliseconds since the case began; others: 0, `resume…`: when the
    /// connection before ended.
    pub starts: Vec<(&'static str, u64)>,
    /// Calls of the API: when, method, body, name of the recorded answer.
    pub calls: Vec<(u64, &'static str, Value, &'static str)>,
    /// Versions may be below the recorded ones: the reference counted a change that nobody saw.
    pub loose_versions: bool,
    /// Participants that were there but not recorded: when, query, claims.
    pub extras: Vec<(u64, String, Value)>,
}

/// A recorded file.
pub struct Recording {
    pub cases: Vec<Value>,
    texts: Vec<Value>,
}

impl Recording {
    pub fn new(text: &str) -> Self {
        let file: Value = serde_json::from_str(text).expect("a recording");
        let list = |name: &str| file[name].as_array().cloned().unwrap_or_default();
        Self {
            cases: list("cases"),
            texts: list("texts"),
        }
    }

    /// Joins the pieces of a packed description.
    pub fn unpacked(&self, value: &Value) -> String {
        match value {
            Value::Array(items) => items.iter().map(|item| self.unpacked(item)).collect(),
            Value::String(text) => match text.strip_prefix('@').map(str::parse::<usize>) {
                Some(Ok(index)) => self.unpacked(&self.texts[index]),
                _ => text.clone(),
            },
            other => panic!("{other} in a description"),
        }
    }

    /// Replays all cases but those in `skipped` (names with reasons), which must all exist.
    ///
    /// # Panics
    /// With everything that differs.
    pub async fn replay(
        &self,
        skipped: &[(&str, &str)],
        config: impl Fn(&str) -> Config,
        script: impl Fn(&Value) -> Script,
    ) {
        let names: BTreeSet<_> = self.cases.iter().map(|case| text_of(&case["name"])).collect();
        for (name, reason) in skipped {
            assert!(names.contains(*name), "no case {name} to skip");
            assert!(!reason.is_empty(), "{name} is skipped without a reason");
        }
        let only = std::env::var("REPLAY_ONLY").unwrap_or_default();
        let runs = self.cases.iter().filter_map(|case| {
            let name = text_of(&case["name"]);
            if skipped.iter().any(|(skip, _)| *skip == name) || !name.contains(&only) {
                return None;
            }
            let (mut config, script) = (config(&name), script(case));
            // One candidate, as recorded.
            config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
            Some(async move {
                let result = self.run(case, config, script).await;
                result.map_err(|problem| format!("{name}: {problem}"))
            })
        });
        let results: Vec<_> = stream::iter(runs).buffer_unordered(PARALLEL).collect().await;
        let replayed = results.len();
        let problems: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        assert!(
            problems.is_empty(),
            "{} of {replayed} cases differ:\n{}",
            problems.len(),
            problems.join("\n")
        );
        assert!(
            !only.is_empty() || replayed + skipped.len() == self.cases.len(),
            "cases were lost"
        );
    }

    async fn run(&self, case: &Value, config: Config, script: Script) -> Result<(), String> {
        let mut run = Run::new(self, case, config, script)?;
        let result = run.play().await;
        run.server.running.shutdown().await;
        result
    }
}

enum Step {
    Connect(usize),
    Extra(usize),
    Call(usize),
    Frame(usize, Value),
}

struct Run<'a> {
    recording: &'a Recording,
    case: &'a Value,
    server: Server,
    script: Script,
    peers: Vec<Peer>,
    extras: Vec<Socket>,
    steps: Vec<Step>,
    learnt: Learnt,
    room: String,
}

impl<'a> Run<'a> {
    fn new(
        recording: &'a Recording,
        case: &'a Value,
        config: Config,
        script: Script,
    ) -> Result<Self, String> {
        let recorded = case["peers"].as_object().ok_or("no peers")?;
        let mut run = Run {
            recording,
            case,
            server: Server::start(config),
            script,
            peers: Vec::new(),
            extras: Vec::new(),
            steps: Vec::new(),
            learnt: Learnt::new(case["tokens"].as_object().cloned().unwrap_or_default()),
            room: String::new(),
        };
        run.learnt.loose_versions = run.script.loose_versions;
        let present = run.present(recorded);
        let mut timeline: BTreeMap<(u64, usize), Step> = BTreeMap::new();
        let mut count = 0;
        let mut add = |at: u64, step: Step| {
            count += 1;
            timeline.insert((at, count), step);
        };
        for (index, (at, ..)) in run.script.extras.iter().enumerate() {
            add(*at, Step::Extra(index));
        }
        for (index, (at, ..)) in run.script.calls.iter().enumerate() {
            add(*at, Step::Call(index));
        }
        let mut previous = 0;
        for (index, (name, peer)) in recorded.iter().enumerate() {
            let given = run.script.starts.iter().find(|(who, _)| who == name);
            let start = match given {
                Some((_, start)) => *start,
                None if name.starts_with("resume") => previous,
                None => 0,
            };
            add(start, Step::Connect(index));
            let frames = expected(peer, &present);
            for (at, frame) in &frames {
                add(start + at, Step::Frame(index, frame.clone()));
            }
            previous = start + end_of(peer);
            let room = &peer["connect"]["claims"]["video"]["room"];
            if let Some(room) = room.as_str() {
                run.room = room.to_owned();
            }
            run.peers.push(Peer {
                name: name.clone(),
                connect: peer["connect"].clone(),
                socket: None,
                arrived: VecDeque::new(),
                closed: false,
                ended: false,
                unsettled: false,
            });
        }
        run.steps = timeline.into_values().collect();
        Ok(run)
    }

    /// Identities that take part here; recordings of one room mention those of other cases.
    fn present(&self, peers: &Map<String, Value>) -> BTreeSet<String> {
        let mut present: BTreeSet<_> = self
            .script
            .extras
            .iter()
            .map(|(_, _, claims)| text_of(&claims["sub"]))
            .collect();
        for peer in peers.values() {
            present.insert(text_of(&peer["connect"]["claims"]["sub"]));
            for frame in peer["frames"].as_array().into_iter().flatten() {
                present.insert(text_of(&frame["msg"]["join"]["participant"]["identity"]));
            }
        }
        present
    }

    async fn play(&mut self) -> Result<(), String> {
        for step in std::mem::take(&mut self.steps) {
            self.settle(&step).await?;
            match step {
                Step::Connect(peer) => self.connect(peer).await?,
                Step::Extra(extra) => self.connect_extra(extra).await?,
                Step::Call(call) => self.call(call).await?,
                Step::Frame(peer, frame) if frame["dir"] == "c" => self.send(peer, &frame).await,
                Step::Frame(peer, frame) => {
                    let name = self.peers[peer].name.clone();
                    self.expect(peer, &frame)
                        .await
                        .map_err(|problem| format!("{name} at {} ms: {problem}", frame["ms"]))?;
                }
            }
        }
        for peer in 0..self.peers.len() {
            self.nothing_more(peer).await?;
        }
        Ok(())
    }

    /// What one peer sent was recorded before what another one does next, but two connections have
    /// no order between them: each sender's requests are in the room before the next step of another.
    async fn settle(&mut self, next: &Step) -> Result<(), String> {
        let acting = match next {
            Step::Frame(_, frame) if frame["dir"] != "c" => return Ok(()),
            Step::Frame(peer, _) => Some(*peer),
            Step::Connect(_) | Step::Extra(_) | Step::Call(_) => None,
        };
        for (index, peer) in self.peers.iter_mut().enumerate() {
            if peer.unsettled && acting != Some(index) {
                peer.settle().await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, index: usize) -> Result<(), String> {
        let connect = self.learnt.fill_all(&self.peers[index].connect);
        let mut path = format!("{}?", text_of(&connect["path"]));
        for (name, value) in connect["query"].as_object().into_iter().flatten() {
            let value = value.as_str().map_or_else(|| value.to_string(), percent);
            path.push_str(&format!("{name}={value}&"));
        }
        if connect["join_request"].is_object() {
            let request = self.join_request(&connect)?;
            path.push_str(&format!("join_request={}&", percent(&request)));
        }
        let mut claims = connect["claims"].clone();
        if claims["video"].is_null() {
            claims["video"] = self.learnt.tokens["<jwt:1>"]["video"].clone();
        }
        path.push_str(&format!("access_token={}", mint(claims)));
        let headers: Vec<_> = connect["headers"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text_of(value)))
            .collect();
        let name = &self.peers[index].name;
        let socket = Socket::connect(self.server.address, &path, &headers)
            .await
            .map_err(|refused| format!("{name} cannot connect: {refused}"))?;
        let compressed = socket
            .headers
            .iter()
            .find(|(name, _)| name == "sec-websocket-extensions");
        let recorded = connect["response_headers"]["Sec-WebSocket-Extensions"].as_str();
        if compressed.map(|(_, value)| value.as_str()) != recorded {
            return Err(format!("extensions {compressed:?}, recorded {recorded:?}"));
        }
        self.peers[index].socket = Some(socket);
        Ok(())
    }

    fn join_request(&self, connect: &Value) -> Result<String, String> {
        let request = self.resolved(&connect["join_request"]);
        let request: proto::JoinRequest =
            serde_json::from_value(request).map_err(|error| format!("join_request: {error}"))?;
        Ok(wrapped(&request, connect["compression"] == "GZIP"))
    }

    async fn connect_extra(&mut self, index: usize) -> Result<(), String> {
        let (_, query, claims) = &self.script.extras[index];
        let path = format!("/rtc?{query}&access_token={}", mint(claims.clone()));
        let socket = Socket::connect(self.server.address, &path, &[]).await?;
        self.extras.push(socket);
        Ok(())
    }

    async fn call(&mut self, index: usize) -> Result<(), String> {
        let (_, method, body, recorded) = self.script.calls[index].clone();
        let mut body = body;
        if body["room"].is_null() && method != "ListRooms" {
            body["room"] = json!(self.room);
        }
        let reply = twirp(self.server.address, method, &admin_token(&self.room), &body).await;
        if reply.status != 200 {
            return Err(format!("{method}: {} {}", reply.status, reply.text()));
        }
        if recorded.is_empty() {
            return Ok(());
        }
        let wanted = self.case["api"][recorded][1].clone();
        if wanted.is_null() {
            return Err(format!("no answer recorded for {recorded}"));
        }
        self.learnt
            .compare(&wanted, &reply.json())
            .map_err(|problem| format!("{recorded} {problem}"))
    }

    /// Joins the pieces of packed descriptions.
    fn resolved(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| {
                    let value = if name == "sdp" {
                        Value::String(self.learnt.fill(&self.unpacked(value)))
                    } else {
                        self.resolved(value)
                    };
                    (name.clone(), value)
                })
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.resolved(item)).collect(),
            other => self.learnt.fill_all(other),
        }
    }

    fn unpacked(&self, value: &Value) -> String {
        self.recording.unpacked(value)
    }

    async fn send(&mut self, peer: usize, frame: &Value) {
        let name = text_of(&frame["frame"]);
        let payload = if let Some(bytes) = frame["base64"].as_str() {
            STANDARD.decode(bytes).expect("base64")
        } else if let Some(length) = frame["length"].as_u64() {
            long_request(usize::try_from(length).expect("fits"))
        } else {
            let message = self.resolved(&frame["msg"]);
            if name == "text" {
                message.to_string().into_bytes()
            } else {
                let request: proto::SignalRequest = serde_json::from_value(message).expect("a request");
                request.encode_to_vec()
            }
        };
        let masked = frame["note"] != "unmasked frame";
        let peer = &mut self.peers[peer];
        if let Some(socket) = &mut peer.socket {
            peer.closed |= name == "close";
            peer.unsettled |= name == "bin" && frame["msg"].is_object();
            socket.send(opcode(&name), &payload, masked).await;
        }
    }

    /// Waits for a recorded frame of the server and compares it.
    async fn expect(&mut self, index: usize, frame: &Value) -> Result<(), String> {
        let kind = kind_of(frame);
        let peer = &mut self.peers[index];
        if kind == "cut" {
            peer.ended = true;
            peer.socket.as_mut().ok_or("not connected")?.cut().await;
            return Ok(());
        }
        let found = peer.wait(&kind).await?;
        let recorded_frame = text_of(&frame["frame"]);
        if found.frame != recorded_frame {
            return Err(format!("{kind} as {}, recorded {recorded_frame}", found.frame));
        }
        match kind.as_str() {
            "close" => {
                if frame["code"] != found.message["code"] || frame["reason"] != found.message["reason"] {
                    return Err(format!("{}, recorded {frame}", found.message));
                }
                if !std::mem::replace(&mut peer.closed, true) {
                    let socket = peer.socket.as_mut().ok_or("not connected")?;
                    socket.send_close(1000).await;
                }
                Ok(())
            }
            "pong frame" if frame["base64"] != found.message => {
                Err(format!("pong {}, recorded {frame}", found.message))
            }
            "eof" | "ping frame" | "pong frame" => Ok(()),
            _ => {
                self.learnt
                    .compare(&frame["msg"], &found.message)
                    .map_err(|problem| {
                        format!(
                            "{problem}\n      in {}\n      then {:?}",
                            found.message, peer.arrived
                        )
                    })?;
                for kind in ["offer", "answer"] {
                    let recorded = &frame["msg"][kind]["sdp"];
                    if !recorded.is_null() {
                        let found = text_of(&found.message[kind]["sdp"]);
                        same_roles(&self.unpacked(recorded), &found)?;
                    }
                }
                match frame["text"].as_str() {
                    Some(text) => self.learnt.text(text, &found.text),
                    None => Ok(()),
                }
            }
        }
    }

    /// After what was recorded, nothing else may have come before the answer to a last ping.
    async fn nothing_more(&mut self, index: usize) -> Result<(), String> {
        let peer = &mut self.peers[index];
        if peer.ended || peer.closed {
            return Ok(());
        }
        let ping = proto::SignalRequest {
            message: Some(proto::signal_request::Message::Ping(1)),
        };
        let socket = peer.socket.as_mut().ok_or("not connected")?;
        socket.send(opcode("bin"), &ping.encode_to_vec(), true).await;
        let name = peer.name.clone();
        let pong = peer.wait("pong").await;
        pong.map_err(|problem| format!("{name} at the end: {problem}"))?;
        let more = peer
            .arrived
            .iter()
            .find(|found| found.kind != "roomUpdate" && found.kind != "ping frame");
        match more {
            Some(found) => Err(format!("{name}: not recorded: {} {}", found.kind, found.message)),
            None => Ok(()),
        }
    }
}

/// The value of the query's `join_request`.
pub fn wrapped(request: &proto::JoinRequest, gzip: bool) -> String {
    let bytes = request.encode_to_vec();
    let join_request = if gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&bytes).expect("writes to memory");
        encoder.finish().expect("writes to memory")
    } else {
        bytes
    };
    let wrapped = proto::WrappedJoinRequest {
        compression: i32::from(gzip),
        join_request,
    };
    URL_SAFE.encode(wrapped.encode_to_vec())
}

fn kind_of(frame: &Value) -> String {
    match frame["frame"].as_str().unwrap_or_default() {
        "bin" | "text" => first_key(&frame["msg"]),
        "ping" => "ping frame".to_owned(),
        "pong" => "pong frame".to_owned(),
        other => other.to_owned(),
    }
}

/// The frames to replay: without what is not compared.
fn expected(peer: &Value, present: &BTreeSet<String>) -> Vec<(u64, Value)> {
    let resumed = peer["connect"]["query"]["reconnect"].is_number()
        || peer["connect"]["join_request"]["reconnect"].is_boolean();
    let mut out: Vec<(u64, Value)> = Vec::new();
    let mut closed = false;
    for frame in peer["frames"].as_array().into_iter().flatten() {
        let mut frame = frame.clone();
        let at = frame["ms"].as_u64().unwrap_or_default();
        if frame["dir"] == "c" {
            out.push((at, frame));
            continue;
        }
        let kind = kind_of(&frame);
        match kind.as_str() {
            "close" => closed = true,
            // Nobody closed: the client was cut off.
            "eof" if !closed => frame["frame"] = json!("cut"),
            "connectionQuality" => continue,
            "roomUpdate" => {
                let room = &frame["msg"]["roomUpdate"]["room"];
                let periodic = room["metadata"].is_null() && room["activeRecording"].is_null();
                if periodic && !(resumed && at < 100) {
                    continue;
                }
            }
            "update" => {
                let list = frame["msg"]["update"]["participants"].as_array_mut();
                let list = list.expect("participants");
                list.retain(|participant| present.contains(&text_of(&participant["identity"])));
                if list.is_empty() {
                    continue;
                }
            }
            "join" => {
                let join = frame["msg"]["join"].as_object_mut().expect("a join");
                if let Some(Value::Array(list)) = join.get_mut("otherParticipants") {
                    list.retain(|participant| present.contains(&text_of(&participant["identity"])));
                    if list.is_empty() {
                        join.remove("otherParticipants");
                    }
                }
            }
            "trickle" => {
                let init = text_of(&frame["msg"]["trickle"]["candidateInit"]);
                if init.contains(" tcp ") {
                    let last = out.last_mut().filter(|(_, last)| kind_of(last) == "trickle");
                    if frame["msg"]["trickle"]["final"] == true
                        && let Some((_, last)) = last
                    {
                        last["msg"]["trickle"]["final"] = json!(true);
                    }
                    continue;
                }
                // The port is the kernel's choice.
                let init = init.replace(" 27882 ", " <priority> ");
                frame["msg"]["trickle"]["candidateInit"] = json!(init);
            }
            _ => {}
        }
        out.push((at, frame));
    }
    out
}

/// Of descriptions only who acts how is compared: ICE-lite, DTLS roles, mixed header extensions.
pub fn same_roles(recorded: &str, found: &str) -> Result<(), String> {
    let roles = |sdp: &str| -> BTreeSet<String> {
        let lines = sdp.lines().map(str::trim);
        let facts = ["a=ice-lite", "a=extmap-allow-mixed"];
        let roles = lines.filter(|line| facts.contains(line) || line.starts_with("a=setup:"));
        roles.map(str::to_owned).collect()
    };
    let (recorded, found) = (roles(recorded), roles(found));
    if recorded == found {
        Ok(())
    } else {
        Err(format!("roles {found:?}, recorded {recorded:?}"))
    }
}

/// When the next connection of the same client began.
fn end_of(peer: &Value) -> u64 {
    let mut end = 0;
    for frame in peer["frames"].as_array().into_iter().flatten() {
        let at = frame["ms"].as_u64().unwrap_or_default();
        match frame["frame"].as_str() {
            // Its own next connection made the server close this one.
            Some("close") => return at.saturating_sub(2).max(end),
            Some("eof") => return at + 1,
            _ => end = at,
        }
    }
    end
}

/// A request of exactly so many bytes.
fn long_request(length: usize) -> Vec<u8> {
    let request = |metadata: usize| proto::SignalRequest {
        message: Some(proto::signal_request::Message::UpdateMetadata(
            proto::UpdateParticipantMetadata {
                metadata: "x".repeat(metadata),
                request_id: 1,
                ..Default::default()
            },
        )),
    };
    // Lengths are varints: a first guess with too long ones may be too short.
    let guess = length - (request(length).encoded_len() - length);
    let bytes = request(guess + length - request(guess).encoded_len()).encode_to_vec();
    assert_eq!(bytes.len(), length, "the size asked for");
    bytes
}

pub fn mint(mut claims: Value) -> String {
    claims["iss"] = json!(KEY);
    claims["exp"] = json!(unix_s() + 600);
    sign(&json!({"alg": "HS256", "typ": "JWT"}), &claims, SECRET)
}

pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

pub fn first_key(message: &Value) -> String {
    let key = message.as_object().and_then(|fields| fields.keys().next());
    key.cloned().unwrap_or_default()
}

pub fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
