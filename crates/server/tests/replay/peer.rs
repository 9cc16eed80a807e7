//! One side of a replayed connection: what it sent, what arrived, and how it waits.

use super::socket::{Frame, Socket, opcode};
use super::{PATIENCE, first_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use protocol::proto;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::time::timeout;

pub struct Peer {
    pub name: String,
    pub connect: Value,
    pub socket: Option<Socket>,
    /// Arrived, not yet compared.
    pub arrived: VecDeque<Arrived>,
    pub closed: bool,
    pub ended: bool,
    /// It sent a request that the room may not have got yet.
    pub unsettled: bool,
}

#[derive(Clone, Debug)]
pub struct Arrived {
    pub kind: String,
    pub frame: &'static str,
    pub message: Value,
    pub text: String,
}

/// Marks the ping that asks whether everything before it is through; no recording holds it.
const SETTLING: i64 = 4_815_162_342;

impl Peer {
    /// Waits until what was sent is in the room: the connection handles frames in order, so its
    /// answer to a ping comes after it handed over all requests before.
    pub async fn settle(&mut self) -> Result<(), String> {
        self.unsettled = false;
        let ping = proto::SignalRequest {
            message: Some(proto::signal_request::Message::PingReq(proto::Ping {
                timestamp: SETTLING,
                rtt: 0,
            })),
        };
        let Some(socket) = self.socket.as_mut().filter(|_| !self.closed && !self.ended) else {
            return Ok(());
        };
        socket.send(opcode("bin"), &ping.encode_to_vec(), true).await;
        loop {
            let frame = timeout(PATIENCE, socket.next())
                .await
                .map_err(|_| format!("{} is not settled", self.name))?;
            self.ended = matches!(frame, Frame::Eof);
            let arrived = read(frame)?;
            if arrived.message["pongResp"]["lastPingTimestamp"] == json!(SETTLING.to_string()) {
                return Ok(());
            }
            let over = self.ended || arrived.kind == "close";
            if arrived.kind != "connectionQuality" {
                self.arrived.push_back(arrived);
            }
            if over {
                return Ok(());
            }
        }
    }

    /// The first message of a kind; messages that have no fixed place may stand before it.
    pub async fn wait(&mut self, kind: &str) -> Result<Arrived, String> {
        let mut seen = 0;
        loop {
            while let Some(found) = self.arrived.get(seen) {
                if found.kind == kind {
                    let found = self.arrived.remove(seen);
                    return found.ok_or_else(|| "lost".to_owned());
                }
                if !floats(kind) && !floats(&found.kind) && !unordered(kind, &found.kind) {
                    return Err(format!(
                        "{} instead of the recorded {kind}: {}",
                        found.kind, found.message
                    ));
                }
                seen += 1;
            }
            if self.ended {
                return Err(format!("the connection ended before {kind}"));
            }
            let socket = self.socket.as_mut().ok_or("not connected")?;
            let frame = timeout(PATIENCE, socket.next())
                .await
                .map_err(|_| format!("no {kind}; waiting: {:?}", self.arrived))?;
            self.ended = matches!(frame, Frame::Eof);
            let arrived = read(frame)?;
            if arrived.kind != "connectionQuality" {
                self.arrived.push_back(arrived);
            }
        }
    }
}

/// Messages whose place among others differs between runs.
pub fn floats(kind: &str) -> bool {
    matches!(kind, "refreshToken" | "roomUpdate" | "ping frame")
}

/// An update of a batch may stand before or after the first offer: recorded both ways.
fn unordered(kind: &str, other: &str) -> bool {
    let offers = |kind: &str| matches!(kind, "offer" | "trickle");
    offers(kind) && other == "update" || kind == "update" && offers(other)
}

pub fn read(frame: Frame) -> Result<Arrived, String> {
    let (frame, kind, message, text) = match frame {
        Frame::Binary(bytes) => {
            let response =
                proto::SignalResponse::decode(bytes.as_slice()).map_err(|error| error.to_string())?;
            // By text: otherwise 32-bit floats get digits they do not have.
            let text = serde_json::to_string(&response).map_err(|error| error.to_string())?;
            let message: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            ("bin", None, message, text)
        }
        Frame::Text(text) => {
            let message = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            ("text", None, message, text)
        }
        Frame::Ping => ("ping", Some("ping frame"), Value::Null, String::new()),
        Frame::Pong(bytes) => {
            let message = json!(STANDARD.encode(bytes));
            ("pong", Some("pong frame"), message, String::new())
        }
        Frame::Close(code, reason) => {
            let message = json!({"code": code, "reason": reason});
            ("close", Some("close"), message, String::new())
        }
        Frame::Eof => ("eof", Some("eof"), Value::Null, String::new()),
    };
    let kind = match kind {
        Some(kind) => kind.to_owned(),
        None => first_key(&message),
    };
    Ok(Arrived {
        kind,
        frame,
        message,
        text,
    })
}
