//! One client of a recorded call: says what was recorded, with a real connection and media, and waits
//! for what it was answered.

use crate::player::Call;
use crate::recorded::{Phase, last_told, phases_of, track_ids, without_chance};
use crate::replay::peer::read;
use crate::replay::socket::{Frame, Socket, opcode};
use crate::replay::{connect, first_key, text_of};
use crate::rtc::Connection;
use prost::Message as _;
use protocol::proto;
use serde_json::{Value, json};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(12);

/// How far the clocks of two recorded clients may lie apart between two marks.
const LEAVING_MS: u64 = 150;

/// An answer that others follow before the next mark.
pub(crate) const EARLY_ANSWER: &str = "early answer";

/// What the server says in answer to a client's step: waited for where it was recorded.
const IN_PLACE: [&str; 5] = ["join", "reconnect", "answer", "trackPublished", "leave"];

pub(crate) struct Client<'a> {
    call: &'a Call<'a>,
    name: String,
    pub(crate) phases: Vec<Phase>,
    mark: String,
    socket: Option<Socket>,
    arrived: VecDeque<Value>,
    connections: BTreeMap<u64, Connection>,
    /// The connection that it offers, and in dual mode the one that the server offers.
    publisher: u64,
    subscriber: u64,
    dual: bool,
    /// Its last offer, with keys of its own.
    offered: String,
    /// The server's last offer.
    offer: Value,
    /// What the recorded client answered so far.
    answers: Vec<String>,
    /// Participants as they were told last.
    told: BTreeMap<String, Value>,
    /// Offers that were not recorded.
    offers_again: u32,
    /// What follows is the last answer before the next mark.
    last_answer: bool,
    /// It said goodbye.
    leaving: bool,
    sessions: usize,
    /// Somebody began a new session.
    began_anew: bool,
    /// How the last update differed from what is waited for.
    waits_for: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(call: &'a Call<'a>, name: &str, peer: &Value) -> Self {
        let frames = peer["frames"].as_array().map_or(&[][..], Vec::as_slice);
        for (placeholder, id) in track_ids(call.recording, frames) {
            call.learnt.borrow_mut().learn(&placeholder, &id);
        }
        let phases = phases_of(frames);
        Self {
            call,
            name: name.to_owned(),
            phases,
            mark: String::new(),
            socket: None,
            arrived: VecDeque::new(),
            connections: BTreeMap::new(),
            publisher: 1,
            subscriber: 2,
            dual: false,
            offered: String::new(),
            offer: Value::Null,
            answers: Vec::new(),
            told: BTreeMap::new(),
            offers_again: 0,
            last_answer: false,
            leaving: false,
            sessions: 0,
            began_anew: false,
            waits_for: String::new(),
        }
    }

    /// How long after its last mark the client leaves, in ms.
    pub(crate) fn leaves_after(&self) -> Option<u64> {
        let phase = self.phases.last()?;
        let leave = phase
            .frames
            .iter()
            .find(|frame| frame["dir"] == "c" && frame["msg"]["leave"].is_object())?;
        Some(leave["ms"].as_u64()?.saturating_sub(phase.ms))
    }

    /// Somebody leaves then: what comes from there on waits until all others are that far. What
    /// they are told of it may have been recorded a moment earlier, by other clocks.
    pub(crate) fn split_last_phase(&mut self, left: u64) {
        let Some(phase) = self.phases.last_mut() else {
            return;
        };
        let begins = phase.ms.saturating_add(left).saturating_sub(LEAVING_MS);
        let late = |frame: &Value| frame["ms"].as_u64().is_some_and(|ms| ms >= begins);
        let at = phase.frames.iter().position(late).unwrap_or(phase.frames.len());
        let frames = phase.frames.split_off(at);
        self.phases.push(Phase {
            mark: "leaving".to_owned(),
            ms: begins,
            frames,
        });
    }

    pub(crate) async fn act(&mut self, phase: usize) -> Result<(), String> {
        let Some(phase) = self.phases.get_mut(phase) else {
            return Ok(());
        };
        let frames = std::mem::take(&mut phase.frames);
        self.mark = phase.mark.clone();
        self.began_anew |= self.mark.ends_with("full reconnect");
        let of = |kind: &'static str, dir: &'static str| {
            move |frame: &&Value| frame["dir"] == dir && frame["msg"][kind].is_object()
        };
        let sdp = |frame: &Value| self.call.recording.unpacked(&frame["msg"]["answer"]["sdp"]);
        self.answers
            .extend(frames.iter().filter(of("answer", "c")).map(sdp));
        let last_offer = frames.iter().rposition(|frame| of("offer", "s")(&frame));
        let last_answered = frames.iter().rposition(|frame| of("answer", "s")(&frame));
        for (index, frame) in frames.iter().enumerate() {
            // Offers are answered when they come; the last one says it all.
            if of("answer", "c")(&frame) || of("offer", "s")(&frame) && Some(index) != last_offer {
                continue;
            }
            let frame = &if frame["msg"]["update"].is_object() {
                last_told(frame, &frames[index + 1..])
            } else {
                frame.clone()
            };
            self.last_answer = Some(index) == last_answered;
            let result = timeout(PATIENCE, self.step(frame)).await;
            let result = result.unwrap_or_else(|_| {
                let kinds: Vec<_> = self.arrived.iter().map(first_key).collect();
                let kind = first_key(&frame["msg"]);
                Err(format!(
                    "{kind} did not come as recorded: {}; arrived: {kinds:?}",
                    self.waits_for
                ))
            });
            result.map_err(|problem| format!("{} at {} ms: {problem}", self.name, frame["ms"]))?;
        }
        Ok(())
    }

    async fn step(&mut self, frame: &Value) -> Result<(), String> {
        if frame["connect"].is_string() {
            return self.connect(frame).await;
        }
        match (frame["dir"].as_str(), frame["ev"].as_str(), frame["pc"].as_u64()) {
            (Some("c"), ..) => self.send(&frame["msg"]).await,
            (Some(_), ..) => self.expect(&frame["msg"]).await,
            (None, Some("new"), Some(pc)) => {
                self.connection(pc).await;
                Ok(())
            }
            (None, Some("close"), _) if frame["ws"].is_number() => {
                // Who said goodbye stays until that is heard; else the client cut it.
                while std::mem::take(&mut self.leaving) && self.receive("close").await.is_ok() {
                    self.leaving = true;
                }
                self.socket = None;
                self.arrived.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn connection(&mut self, pc: u64) -> &mut Connection {
        match self.connections.entry(pc) {
            Entry::Occupied(entry) => entry.into_mut(),
            // The server offers on the second one of a dual client.
            Entry::Vacant(entry) => {
                let offers = !self.dual || pc % 2 == 1;
                entry.insert(Connection::new(offers).await)
            }
        }
    }

    async fn connect(&mut self, frame: &Value) -> Result<(), String> {
        let call = self.call;
        self.dual = !frame["join_request"].is_object();
        let newest = self.connections.keys().next_back().copied().unwrap_or(0);
        self.publisher = if self.dual { newest + 1 } else { newest };
        self.subscriber = newest + 2;
        let again = |frame: &Value| {
            frame["query"]["reconnect"].is_string() || frame["join_request"]["reconnect"] == true
        };
        self.sessions += usize::from(!again(frame));
        if again(frame) {
            self.publisher = if self.dual { newest - 1 } else { newest };
            self.subscriber = newest;
        }
        let mut request = None;
        if frame["join_request"].is_object() {
            let mut recorded = frame["join_request"].clone();
            if recorded["publisherOffer"]["sdp"] != Value::Null {
                let sdp = call.recording.unpacked(&recorded["publisherOffer"]["sdp"]);
                self.offered = self.connection(self.publisher).await.own(&sdp);
                recorded["publisherOffer"]["sdp"] = json!(self.offered);
            }
            request = Some(self.filled(&recorded));
        }
        let path = connect::path(call.case, frame, &call.learnt.borrow(), request)?;
        self.socket = Some(Socket::connect(call.address, &path, &[]).await?);
        Ok(())
    }

    /// A recorded message with its descriptions unpacked and this run's ids.
    fn filled(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| {
                    let value = if name == "sdp" {
                        let sdp = self.call.recording.unpacked(value);
                        json!(self.call.learnt.borrow().fill(&sdp))
                    } else {
                        self.filled(value)
                    };
                    (name.clone(), value)
                })
                .collect(),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.call.learnt.borrow().fill_all(value)
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), String> {
        let kind = first_key(message);
        self.leaving = kind == "leave";
        let mut message = message.clone();
        match kind.as_str() {
            "offer" => {
                let sdp = self.call.recording.unpacked(&message[&kind]["sdp"]);
                let sdp = self.call.learnt.borrow().fill(&sdp);
                self.offered = self.connection(self.publisher).await.own(&sdp);
                message[&kind]["sdp"] = json!(self.offered);
            }
            "trickle" => {
                let subscriber = self.dual && message[&kind]["target"] == "SUBSCRIBER";
                let pc = if subscriber {
                    self.subscriber
                } else {
                    self.publisher
                };
                message[&kind]["candidateInit"] = json!(self.connection(pc).await.candidate_init());
            }
            _ => message = self.filled(&message),
        }
        self.request(message).await
    }

    async fn request(&mut self, message: Value) -> Result<(), String> {
        let request: proto::SignalRequest =
            serde_json::from_value(message).map_err(|error| error.to_string())?;
        let socket = self.socket.as_mut().ok_or("not connected")?;
        socket.send(opcode("bin"), &request.encode_to_vec(), true).await;
        Ok(())
    }

    /// Waits for what the server was recorded to say, and compares it.
    async fn expect(&mut self, recorded: &Value) -> Result<(), String> {
        let kind = first_key(recorded);
        match kind.as_str() {
            "offer" => return self.expect_offer(recorded).await,
            "update" => return self.expect_update(recorded).await,
            _ => {}
        }
        if !IN_PLACE.contains(&kind.as_str()) {
            return Ok(());
        }
        let mut found = self.wait(&kind).await?;
        let tracks = |answer: &Value| {
            answer["answer"]["midToTrackId"]
                .as_object()
                .map_or(0, |tracks| tracks.len())
        };
        // A track that came or went later than recorded is asked for once more, as by any client.
        while kind == "answer" && self.last_answer && tracks(&found) != tracks(recorded) {
            self.wait("mediaSectionsRequirement").await?;
            self.offers_again += 1;
            let offer = json!({"type": "offer", "sdp": self.offered, "id": 1000 + self.offers_again});
            self.request(json!({"offer": offer})).await?;
            found = self.wait("answer").await?;
        }
        // Which answer tells of a track first is chance as well; the last one tells of all.
        let early = kind == "answer" && !self.last_answer;
        if kind == "answer" && self.reuses_sections() {
            return Ok(());
        }
        if !early {
            self.compare(&kind, recorded, &found);
        }
        if kind == "answer" {
            let recorded = self.call.recording.unpacked(&recorded["answer"]["sdp"]);
            let found = text_of(&found["answer"]["sdp"]);
            self.described(if early { EARLY_ANSWER } else { &kind }, recorded, found);
        }
        Ok(())
    }

    /// The server may need several offers until one says everything that the recorded one says.
    async fn expect_offer(&mut self, recorded: &Value) -> Result<(), String> {
        let recorded_sdp = self.call.recording.unpacked(&recorded["offer"]["sdp"]);
        let shape = |sdp: &str| {
            let sent = sdp.matches("a=sendrecv").count() + sdp.matches("a=sendonly").count();
            (sdp.matches("m=").count(), sent)
        };
        loop {
            let sdp = text_of(&self.offer["offer"]["sdp"]);
            let reuses = self.reuses_sections();
            if reuses && shape(&sdp).1 == shape(&recorded_sdp).1 {
                return Ok(());
            }
            if !reuses && shape(&sdp) == shape(&recorded_sdp) {
                let found = self.offer.clone();
                self.compare("offer", recorded, &found);
                self.described("offer", recorded_sdp, sdp);
                return Ok(());
            }
            self.receive("offer").await?;
        }
    }

    /// Answers as the recorded client did, if its answer has as many sections, else like it.
    async fn take_offer(&mut self, offer: Value) -> Result<(), String> {
        let sdp = text_of(&offer["offer"]["sdp"]);
        let sections = |sdp: &str| sdp.matches("m=").count();
        let recorded = self
            .answers
            .iter()
            .rfind(|answer| sections(answer) == sections(&sdp));
        let recorded = recorded.map(|answer| self.call.learnt.borrow().fill(answer));
        let connection = self.connection(self.subscriber).await;
        connection.remote(&sdp, false).await;
        let answer = match recorded {
            Some(recorded) => connection.own(&recorded),
            None => connection.answer_to(&sdp),
        };
        let id = offer["offer"]["id"].clone();
        self.offer = offer;
        self.request(json!({"answer": {"type": "answer", "sdp": answer, "id": id}}))
            .await
    }

    /// Sections of somebody's session that ended serve the next one at once; the reference begins new
    /// ones (docs/differences.md).
    fn reuses_sections(&self) -> bool {
        self.began_anew && self.sessions == 1
    }

    fn described(&self, kind: &str, recorded: String, found: String) {
        let at = format!("{}, {}, {kind}", self.mark, self.name);
        self.call.descriptions.borrow_mut().push((at, recorded, found));
    }

    fn compare(&self, kind: &str, recorded: &Value, found: &Value) {
        let (recorded, found) = (without_chance(recorded), without_chance(found));
        let result = self.call.learnt.borrow_mut().compare(&recorded, &found);
        if let Err(problem) = result {
            self.note(kind, vec![problem]);
        }
    }

    fn note(&self, kind: &str, differences: Vec<String>) {
        let mut all = self.call.differences.borrow_mut();
        for difference in differences {
            all.push(format!("{}, {}, {kind}: {difference}", self.mark, self.name));
        }
    }

    /// The first message of a kind.
    async fn wait(&mut self, kind: &str) -> Result<Value, String> {
        loop {
            if let Some(at) = self.arrived.iter().position(|found| first_key(found) == kind) {
                return self.arrived.remove(at).ok_or_else(|| "lost".to_owned());
            }
            self.receive(kind).await?;
        }
    }

    async fn receive(&mut self, kind: &str) -> Result<(), String> {
        let socket = self.socket.as_mut().ok_or("not connected")?;
        let frame = socket.next().await;
        if matches!(frame, Frame::Eof | Frame::Close(..)) {
            return Err(format!("the connection ended before {kind}"));
        }
        if !matches!(frame, Frame::Binary(_)) {
            return Ok(());
        }
        let message = read(frame)?.message;
        match &*first_key(&message) {
            "trickle" => {
                let trickle = &message["trickle"];
                let subscriber = self.dual && trickle["target"] == "SUBSCRIBER";
                let pc = if subscriber {
                    self.subscriber
                } else {
                    self.publisher
                };
                let init = text_of(&trickle["candidateInit"]);
                self.connection(pc).await.candidate(&init).await;
            }
            "offer" => self.take_offer(message).await?,
            "answer" => {
                let sdp = text_of(&message["answer"]["sdp"]);
                let offered = self.offered.clone();
                let connection = self.connection(self.publisher).await;
                connection.remote(&sdp, true).await;
                connection.publish_all(&offered, &sdp).await;
                self.arrived.push_back(message);
            }
            "update" => {
                for participant in message["update"]["participants"].as_array().into_iter().flatten() {
                    self.told
                        .insert(text_of(&participant["identity"]), participant.clone());
                }
            }
            _ => self.arrived.push_back(message),
        }
        Ok(())
    }

    /// Waits until participants were told to be what was recorded.
    async fn expect_update(&mut self, recorded: &Value) -> Result<(), String> {
        for participant in recorded["update"]["participants"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let identity = text_of(&participant["identity"]);
            let mut wanted = without_chance(participant);
            // The reference goes on naming a codec that was announced and is not sent; we name the
            // one that is (docs/differences.md).
            let unsent = wanted.pointer("/tracks/0/codecs/0/mimeType") == Some(&json!("video/h265"));
            let compared = |participant: &mut Value| {
                if let Some(Value::Object(track)) = participant.pointer_mut("/tracks/0").filter(|_| unsent) {
                    track.remove("codecs");
                    track.remove("mid");
                }
            };
            compared(&mut wanted);
            loop {
                let mut told = without_chance(self.told.get(&identity).unwrap_or(&Value::Null));
                compared(&mut told);
                let mut learnt = self.call.learnt.borrow().clone();
                match learnt.compare(&wanted, &told) {
                    Ok(()) => {
                        *self.call.learnt.borrow_mut() = learnt;
                        break;
                    }
                    Err(problem) => self.waits_for = problem,
                }
                self.receive(&format!("update of {identity}")).await?;
            }
        }
        Ok(())
    }
}
