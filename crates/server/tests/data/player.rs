//! Plays the clients of a recorded call. Driven by what arrives, not by time:
//! * a client's step follows when everything recorded before it at that client has arrived;
//! * between two marks all clients act side by side; a mark is a barrier, as it was for the recorder.
//!
//! Not compared, because it differs between runs of the reference as well: where refresh tokens,
//! changes of the room and connection qualities stand; which participants share a batch of updates
//! about joining; data tracks' handles, which begin at random.

use crate::common::{admin_token, twirp};
use crate::replay::compare::Learnt;
use crate::replay::connect;
use crate::replay::peer::{Arrived, floats, read};
use crate::replay::socket::{Frame, Socket, opcode};
use crate::replay::{Recording, first_key, same_roles, text_of};
use crate::rtc::Connection;
use futures_util::future::try_join_all;
use prost::Message as _;
use protocol::proto;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(12);

/// What the clients of a call share.
struct Call<'a> {
    recording: &'a Recording,
    case: &'a Value,
    address: SocketAddr,
    room: String,
    learnt: RefCell<Learnt>,
    /// Recorded handle → ours.
    handles: RefCell<BTreeMap<u16, u16>>,
}

/// Replays a recording's only case.
///
/// # Errors
/// With the first difference.
pub(crate) async fn replay(recording: &Recording) -> Result<(), String> {
    let [case] = &recording.cases[..] else {
        return Err("one case is expected".to_owned());
    };
    let server = connect::server();
    let tokens = case["tokens"].as_object().cloned().unwrap_or_default();
    let call = Call {
        recording,
        case,
        address: server.address,
        room: text_of(&tokens["<jwt:1>"]["video"]["room"]),
        learnt: RefCell::new(Learnt::new(tokens)),
        handles: RefCell::default(),
    };
    let mut clients: Vec<_> = case["peers"]
        .as_object()
        .ok_or("no peers")?
        .iter()
        .map(|(name, peer)| Client::new(&call, name, peer))
        .collect();
    let result = play(&call, &mut clients).await;
    drop(clients);
    server.running.shutdown().await;
    result
}

async fn play(call: &Call<'_>, clients: &mut [Client<'_>]) -> Result<(), String> {
    // They joined one after the other.
    for client in clients.iter_mut() {
        client.act(0).await?;
    }
    let marks = clients[0].phases.len();
    let mut pending = None;
    for phase in 1..marks {
        let mark = clients[0].phases[phase].mark.clone();
        if clients.iter().any(|client| client.phases[phase].mark != mark) {
            return Err(format!("not everybody has the mark {mark}"));
        }
        let within = |problem: String| format!("{mark}: {problem}");
        if let Some(request) = mark.strip_prefix("API ")
            && !request.starts_with("answer")
        {
            let (method, body) = request.split_once(' ').ok_or("a call without a body")?;
            let body = call.learnt.borrow().fill(body);
            let mut body: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            body["room"] = json!(call.room);
            let (method, address, token) = (method.to_owned(), call.address, admin_token(&call.room));
            pending = Some(tokio::spawn(async move {
                twirp(address, &method, &token, &body).await
            }));
        }
        if mark == "end" {
            for client in clients.iter_mut() {
                client.nothing_more().await.map_err(within)?;
            }
        }
        try_join_all(clients.iter_mut().map(|client| client.act(phase)))
            .await
            .map_err(within)?;
        if let Some(answer) = mark.strip_prefix("API answer ") {
            let reply = pending.take().ok_or("an answer without a call")?.await;
            let reply = reply.map_err(|error| error.to_string())?;
            let found = format!("{} {}", reply.status, reply.text());
            if found != answer {
                return Err(within(format!("found {found}")));
            }
        }
    }
    Ok(())
}

/// What a client did and got between two marks.
struct Phase {
    mark: String,
    frames: Vec<Value>,
}

struct Client<'a> {
    call: &'a Call<'a>,
    name: String,
    phases: Vec<Phase>,
    socket: Option<Socket>,
    arrived: VecDeque<Arrived>,
    connections: BTreeMap<u64, Connection>,
    /// Participants that its join response showed.
    shown: Vec<Value>,
    /// Id of the server's last offer.
    offer: Value,
}

impl<'a> Client<'a> {
    fn new(call: &'a Call<'a>, name: &str, peer: &Value) -> Self {
        let mut phases = vec![Phase {
            mark: String::new(),
            frames: Vec::new(),
        }];
        for frame in expected(peer) {
            match frame["mark"].as_str() {
                // What the caller's page said of a failed call.
                Some(mark) if mark.starts_with("error: ") => {}
                Some(mark) => phases.push(Phase {
                    mark: mark.to_owned(),
                    frames: Vec::new(),
                }),
                None => {
                    if let Some(phase) = phases.last_mut() {
                        phase.frames.push(frame);
                    }
                }
            }
        }
        Self {
            call,
            name: name.to_owned(),
            phases,
            socket: None,
            arrived: VecDeque::new(),
            connections: BTreeMap::new(),
            shown: Vec::new(),
            offer: Value::Null,
        }
    }

    async fn act(&mut self, phase: usize) -> Result<(), String> {
        for frame in std::mem::take(&mut self.phases[phase].frames) {
            let result = self.step(&frame).await;
            result.map_err(|problem| format!("{} at {} ms: {problem}", self.name, frame["ms"]))?;
        }
        Ok(())
    }

    async fn step(&mut self, frame: &Value) -> Result<(), String> {
        let pc = frame["pc"].as_u64().unwrap_or_default();
        if frame["connect"].is_string() {
            return self.connect(frame).await;
        }
        match (frame["dc"].as_str(), frame["dir"].as_str(), frame["ev"].as_str()) {
            (None, Some("c"), _) => self.send(&frame["msg"]).await,
            (None, Some(_), _) => self.expect(&frame["msg"]).await,
            (None, None, Some("new")) => {
                // The server offers on the second one.
                self.connections.insert(pc, Connection::new(pc == 1).await);
                Ok(())
            }
            (None, None, Some("connectionstatechange")) if frame["state"] == "connected" => {
                self.connection(pc)?.connected().await
            }
            (None, None, Some("close")) => self.closed(frame).await,
            (None, None, _) | (Some("incoming" | "close"), ..) => Ok(()),
            (Some(what), ..) => self.channel(what, pc, frame).await,
        }
    }

    async fn channel(&mut self, what: &str, pc: u64, frame: &Value) -> Result<(), String> {
        let label = text_of(&frame["label"]);
        let call = self.call;
        let connection = self.connection(pc)?;
        match what {
            "created" => {
                let reliable = frame["maxRetransmits"].is_null();
                connection.create(&label, reliable, None).await;
            }
            "open" => {
                let id = connection.opened(&label).await?;
                if frame["id"] != id {
                    return Err(format!("channel {label} is {id}, recorded {frame}"));
                }
            }
            "send" => connection.send(&label, call.bytes(frame)?).await,
            "recv" => {
                let found = connection.message(&label).await?;
                call.compare_message(frame, &found)?;
            }
            other => return Err(format!("{other} of a channel")),
        }
        Ok(())
    }

    fn connection(&mut self, pc: u64) -> Result<&mut Connection, String> {
        let connection = self.connections.get_mut(&pc);
        connection.ok_or_else(|| format!("no peer connection {pc}"))
    }

    async fn connect(&mut self, frame: &Value) -> Result<(), String> {
        let call = self.call;
        let mut request = None;
        if frame["join_request"].is_object() {
            let mut recorded = frame["join_request"].clone();
            let sdp = call.recording.unpacked(&recorded["publisherOffer"]["sdp"]);
            recorded["publisherOffer"]["sdp"] = json!(self.connection(1)?.own(&sdp));
            request = Some(recorded);
        }
        let path = connect::path(call.case, frame, &call.learnt.borrow(), request)?;
        self.socket = Some(Socket::connect(call.address, &path, &[]).await?);
        Ok(())
    }

    /// Sends a request, with descriptions and candidates of our own.
    async fn send(&mut self, message: &Value) -> Result<(), String> {
        let kind = first_key(message);
        let mut message = message.clone();
        let second = self.connections.len() == 2;
        match kind.as_str() {
            "offer" | "answer" => {
                let pc = if kind == "answer" { 2 } else { 1 };
                let sdp = self.call.recording.unpacked(&message[&kind]["sdp"]);
                message[&kind]["sdp"] = json!(self.connection(pc)?.own(&sdp));
                // The recorded offer had a random id.
                if kind == "answer" {
                    message[&kind]["id"] = json!(self.offer);
                }
            }
            "trickle" => {
                let pc = if second && message[&kind]["target"] == "SUBSCRIBER" {
                    2
                } else {
                    1
                };
                message[&kind]["candidateInit"] = json!(self.connection(pc)?.candidate_init());
            }
            _ => message = self.call.learnt.borrow().fill_all(&message),
        }
        let request: proto::SignalRequest =
            serde_json::from_value(message).map_err(|error| error.to_string())?;
        let socket = self.socket.as_mut().ok_or("not connected")?;
        socket.send(opcode("bin"), &request.encode_to_vec(), true).await;
        Ok(())
    }

    /// Waits for a recorded message of the server, compares it and acts on it.
    async fn expect(&mut self, recorded: &Value) -> Result<(), String> {
        let kind = first_key(recorded);
        if kind == "update" {
            let participants = recorded["update"]["participants"].as_array();
            for participant in participants.into_iter().flatten() {
                self.expect_state(participant).await?;
            }
            return Ok(());
        }
        let found = self.wait(&kind, false).await?.message;
        let (recorded, found_compared) = self.without_random(&kind, recorded, &found);
        self.call
            .learnt
            .borrow_mut()
            .compare(&recorded, &found_compared)
            .map_err(|problem| format!("{problem}\n      in {found}\n      then {:?}", self.arrived))?;
        if kind == "join" {
            let others = found["join"]["otherParticipants"].as_array();
            self.shown = others.cloned().unwrap_or_default();
        }
        self.act_on(&kind, &recorded, &found).await
    }

    /// Lets ids that begin at random be what they are.
    fn without_random(&self, kind: &str, recorded: &Value, found: &Value) -> (Value, Value) {
        let (mut recorded, mut found) = (recorded.clone(), found.clone());
        if kind == "dataTrackSubscriberHandles" {
            let take = |message: &mut Value| {
                let handles = message[kind]["subHandles"].take();
                let handles: Map<String, Value> = handles.as_object().cloned().unwrap_or_default();
                message[kind]["subHandles"] = handles.values().cloned().collect();
                handles
                    .keys()
                    .map(|key| key.parse::<u16>().unwrap_or_default())
                    .collect::<Vec<_>>()
            };
            let pairs = take(&mut recorded).into_iter().zip(take(&mut found));
            self.call.handles.borrow_mut().extend(pairs);
        }
        (recorded, found)
    }

    async fn act_on(&mut self, kind: &str, recorded: &Value, found: &Value) -> Result<(), String> {
        match kind {
            "offer" | "answer" => {
                let sdp = text_of(&found[kind]["sdp"]);
                same_roles(&self.call.recording.unpacked(&recorded[kind]["sdp"]), &sdp)?;
                if kind == "offer" {
                    self.offer = found[kind]["id"].clone();
                }
                let pc = if kind == "offer" { 2 } else { 1 };
                self.connection(pc)?.remote(&sdp, kind == "answer").await;
            }
            "trickle" => {
                let second = found[kind]["target"] == "SUBSCRIBER";
                let init = text_of(&found[kind]["candidateInit"]);
                self.connection(if second { 2 } else { 1 })?
                    .candidate(&init)
                    .await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits for a participant's state.
    async fn expect_state(&mut self, recorded: &Value) -> Result<(), String> {
        let kind = format!("update of {}", text_of(&recorded["identity"]));
        let early = early(recorded);
        let known = self
            .shown
            .iter()
            .any(|shown| shown["identity"] == recorded["identity"] && shown["state"] == recorded["state"]);
        // A batch before the join, which showed the participant as it is, may have told it.
        if early && known && !self.arrived.iter().any(|found| found.kind == kind) {
            return Ok(());
        }
        loop {
            let found = self.wait(&kind, early).await?.message;
            // A batch told that it joins, the next one that it is there.
            if early && found["state"] != recorded["state"] {
                continue;
            }
            return self
                .call
                .learnt
                .borrow_mut()
                .compare(recorded, &found)
                .map_err(|problem| format!("{problem}\n      in {found}"));
        }
    }

    /// The first message of a kind; messages that have no fixed place may stand before it.
    async fn wait(&mut self, kind: &str, anywhere: bool) -> Result<Arrived, String> {
        let anywhere = anywhere || floats(kind);
        let mut seen = 0;
        loop {
            while let Some(found) = self.arrived.get(seen) {
                if found.kind == kind {
                    return self.arrived.remove(seen).ok_or_else(|| "lost".to_owned());
                }
                if !anywhere && !floats(&found.kind) && !early(&found.message) {
                    return Err(format!(
                        "{} instead of the recorded {kind}: {}",
                        found.kind, found.message
                    ));
                }
                seen += 1;
            }
            self.receive(kind).await?;
        }
    }

    async fn receive(&mut self, kind: &str) -> Result<(), String> {
        let socket = self.socket.as_mut().ok_or("not connected")?;
        let frame = timeout(PATIENCE, socket.next())
            .await
            .map_err(|_| format!("no {kind}; waiting: {:?}", self.arrived))?;
        if matches!(frame, Frame::Eof) {
            return Err(format!("the connection ended before {kind}"));
        }
        let arrived = read(frame)?;
        match arrived.kind.as_str() {
            "connectionQuality" | "roomUpdate" => {}
            // One message for each participant: which ones share a batch differs.
            "update" => {
                let participants = arrived.message["update"]["participants"].as_array();
                for participant in participants.into_iter().flatten() {
                    self.arrived.push_back(Arrived {
                        kind: format!("update of {}", text_of(&participant["identity"])),
                        message: participant.clone(),
                        ..arrived.clone()
                    });
                }
            }
            _ => self.arrived.push_back(arrived),
        }
        Ok(())
    }

    /// Nothing that was not recorded has come before the answer to a ping.
    async fn nothing_more(&mut self) -> Result<(), String> {
        self.send(&json!({"ping": "1"})).await?;
        self.wait("pong", false).await?;
        let more = self.arrived.iter();
        let more: Vec<_> = more
            .filter(|found| !floats(&found.kind) && !early(&found.message))
            .collect();
        let unread: Vec<_> = self
            .connections
            .values_mut()
            .flat_map(Connection::unread)
            .collect();
        if more.is_empty() && unread.is_empty() {
            Ok(())
        } else {
            Err(format!("{} got, not recorded: {more:?} {unread:?}", self.name))
        }
    }

    /// The server ends the connection as it was recorded.
    async fn closed(&mut self, frame: &Value) -> Result<(), String> {
        let socket = self.socket.as_mut().ok_or("not connected")?;
        loop {
            match timeout(PATIENCE, socket.next()).await.map_err(|_| "not closed")? {
                Frame::Close(code, _) if frame["code"] == code => return Ok(()),
                Frame::Close(code, reason) => return Err(format!("closed with {code} {reason}")),
                Frame::Eof => return Err("ended without a close frame".to_owned()),
                Frame::Binary(_) | Frame::Text(_) | Frame::Ping | Frame::Pong(_) => {}
            }
        }
    }
}

impl Call<'_> {
    /// What a recorded client sent on a channel.
    fn bytes(&self, frame: &Value) -> Result<Vec<u8>, String> {
        if let Some(hex) = frame["hex"].as_str() {
            return bytes_of(hex);
        }
        let mut learnt = self.learnt.borrow_mut();
        let packet = learnt.fill_all(&frame["packet"]);
        // Whoever gets it compares it with this.
        learnt.compare(&frame["packet"], &packet)?;
        let packet: proto::DataPacket = serde_json::from_value(packet).map_err(|error| error.to_string())?;
        Ok(packet.encode_to_vec())
    }

    fn compare_message(&self, frame: &Value, found: &[u8]) -> Result<(), String> {
        if let Some(hex) = frame["hex"].as_str() {
            let mut recorded = bytes_of(hex)?;
            let handle = u16::from_be_bytes([recorded[2], recorded[3]]);
            let handle = self.handles.borrow().get(&handle).copied();
            let handle = handle.ok_or("a packet under a handle that was not told")?;
            recorded[2..4].copy_from_slice(&handle.to_be_bytes());
            if recorded != found {
                return Err(format!("{} bytes {found:.40?}, recorded {hex}", found.len()));
            }
            return Ok(());
        }
        let packet = proto::DataPacket::decode(found).map_err(|error| error.to_string())?;
        let text = serde_json::to_string(&packet).map_err(|error| error.to_string())?;
        let packet = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        self.learnt
            .borrow_mut()
            .compare(&frame["packet"], &packet)
            .map_err(|problem| format!("{problem}\n      in {text}"))
    }
}

/// `0105… 16000 bytes` stands for so many bytes, of which the last one written repeats.
fn bytes_of(hex: &str) -> Result<Vec<u8>, String> {
    let (head, length) = hex.split_once('…').unwrap_or((hex, ""));
    let bytes: Result<Vec<u8>, _> = (0..head.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&head[at..at + 2], 16))
        .collect();
    let mut bytes = bytes.map_err(|error| format!("{hex}: {error}"))?;
    if let Some(length) = length.trim().strip_suffix(" bytes") {
        let length = length.parse().map_err(|error| format!("{hex}: {error}"))?;
        let last = bytes.last().copied().unwrap_or_default();
        bytes.resize(length, last);
    }
    Ok(bytes)
}

/// A state of somebody who joins: it comes with a batch.
fn early(participant: &Value) -> bool {
    participant["identity"].is_string()
        && participant["version"].as_u64().unwrap_or_default() <= 2
        && participant["isPublisher"].is_null()
}

/// The frames to replay: without what is not compared.
fn expected(peer: &Value) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for frame in peer["frames"].as_array().into_iter().flatten() {
        let mut frame = frame.clone();
        let kind = if frame["dir"] == "s" {
            first_key(&frame["msg"])
        } else {
            String::new()
        };
        let init = text_of(&frame["msg"]["trickle"]["candidateInit"]);
        match kind.as_str() {
            "connectionQuality" | "roomUpdate" => continue,
            // ICE over TCP is not built.
            "trickle" if init.contains(" tcp ") => {
                let last = out
                    .iter_mut()
                    .rev()
                    .find(|last| last["msg"]["trickle"].is_object());
                if let Some(last) = last {
                    last["msg"]["trickle"]["final"] = json!(true);
                }
                continue;
            }
            // The port is the kernel's choice.
            "trickle" => {
                let init = init.replace(" 27882 ", " <priority> ");
                frame["msg"]["trickle"]["candidateInit"] = json!(init);
            }
            _ => {}
        }
        out.push(frame);
    }
    out
}
