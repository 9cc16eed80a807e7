//! One signal WebSocket: frames to actions, messages to frames (RFC 6455).
//!
//! Owns: framing, pings, close codes, the patience with slow clients. It reads nothing into the
//! messages except both kinds of ping, which it answers and passes on.

use super::Edge;
use super::deflate::deflate;
use super::inflating::Inflating;
use super::signal::Session;
use crate::clock;
use crate::counters::Counters;
use crate::shell::http_server::Permit;
use crate::shell::mailbox::{Line, Over};
use crate::shell::outgoing::{Ending, Outgoing, OutgoingReceiver, Taken};
use crate::shell::signal_message::{Form, SignalMessage};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use protocol::decoded::DecodeError;
use protocol::proto;
use protocol::signal::{self, Framing, Received};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

/// WebSocket pings go out this often; they keep middleboxes from forgetting the connection.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// A client that does not take a control frame, or the switch, for this long is cut. The reference
/// gives control frames 2 s and a close 5 s.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A client that takes nothing of a message for this long is cut: clients themselves give a connection
/// up that is silent for so long. The kernel takes more only when a third of its buffer, a megabyte or
/// so, is free again: on a slow link less would cut clients that do read.
const STALL_PATIENCE: Duration = Duration::from_secs(15);

/// A message must have been taken as a whole so long after it was queued. Longer holds memory for
/// clients that only seem to read; shorter cuts those that catch up with a large room on a slow link:
/// 16 MiB in a minute is 2 Mbps.
const AGE_MAX: Duration = Duration::from_secs(60);

/// How much of a message is put behind its header to go out with it. The rest is written from where
/// all its receivers share it.
const FIRST_WRITE_BYTES: usize = 16 << 10;

/// Once nothing more comes, what is queued gets this long in all, the close frame included: much
/// longer than who reads at all needs, and no longer than a stopping server waits.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// Room for reading, per connection. The library's own is 128 KiB, much more than all the rest of an
/// idle participant; most messages are shorter than this.
const READ_BUFFER_BYTES: usize = 4096;

/// How long a closing handshake may take, whoever began it.
const CLOSE_PATIENCE: Duration = Duration::from_millis(250);

/// The reason given with 1009 for a message that is within its limit of bytes but would be too large
/// when decoded, or has a list that is too long. The reference gives none with what is over the bytes.
const OVERSIZED: &str = "message too large when decoded";

/// The reason given with 1008 to who sends more than is read, for longer than any client would.
const TOO_FAST: &str = "too many bytes sent";

/// How a connection ends.
enum End {
    /// The client closed or is gone; its close frame was answered.
    Gone,
    /// We are to close, with a code and a reason.
    Close(CloseCode, String),
    /// Our close frame is out.
    Closed,
    /// The client does not read.
    Slow,
}

type Socket<S> = WebSocketStream<Inflating<S>>;

/// What the handshake settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// `permessage-deflate`: the client may compress, and we do.
    pub(super) deflate: bool,
    /// Of a message in bytes, compressed and expanded.
    pub(super) limit: usize,
}

/// Takes over a connection once its switch to WebSocket is through, and serves it until it ends.
pub(super) async fn run(
    edge: Edge,
    session: Session,
    upgrade: OnUpgrade,
    agreed: Agreed,
    permit: Option<Permit>,
) {
    // Dropping the session tells the room.
    let upgraded = match timeout(WRITE_PATIENCE, upgrade).await {
        Ok(Ok(upgraded)) => upgraded,
        // The client is gone before.
        Ok(Err(_)) => return,
        // It does not read even the switch.
        Err(_) => return edge.counters.signal_slow.add(),
    };
    let stream: TokioIo<Upgraded> = TokioIo::new(upgraded);
    serve(&edge.counters, session, stream, agreed).await;
    drop(permit);
}

/// Serves a connection until it ends; dropping its line tells the room.
async fn serve<S>(counters: &Counters, session: Session, stream: S, agreed: Agreed)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = Inflating::new(stream, agreed.deflate, agreed.limit);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(agreed.limit))
        .max_frame_size(Some(agreed.limit));
    let websocket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
    let Session {
        line,
        outgoing,
        first,
        open: _open,
    } = session;
    let ending = outgoing.ending();
    let mut pump = Pump {
        line,
        sending: None,
        outgoing,
        websocket,
        framing: Framing::Binary,
        deflate: agreed.deflate,
    };
    let end = tokio::select! {
        biased;
        () = out_of_patience(&ending) => End::Slow,
        end = pump.run(&first, counters) => end,
    };
    match end {
        End::Gone | End::Close(..) => {}
        // The room counted it.
        End::Slow if ending.is_cut() => {}
        End::Slow => counters.signal_slow.add(),
        End::Closed => pump.finish().await,
    }
}

/// Until a client that still does not have all, or never will, is left alone.
async fn out_of_patience(ending: &Ending) {
    ending.over().await;
    if !ending.is_cut() {
        tokio::time::sleep(FLUSH_PATIENCE).await;
    }
}

struct Pump<S> {
    line: Line,
    /// A request on its way to the room. Until it is there nothing more is read from the client: what
    /// it sends faster than its room takes waits on the wire.
    sending: Option<BoxFuture<'static, Result<(), Over>>>,
    outgoing: OutgoingReceiver,
    websocket: Socket<S>,
    framing: Framing,
    deflate: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pump<S> {
    async fn run(&mut self, first: &SignalMessage, counters: &Counters) -> End {
        let end = match self.send(first, Instant::now()).await {
            Ok(()) => self.serve().await,
            Err(end) => end,
        };
        let End::Close(code, reason) = end else { return end };
        if code == CloseCode::Size && reason == OVERSIZED {
            counters.signal_oversized.add();
        } else if code != CloseCode::Normal {
            counters.signal_broken.add();
        }
        match self.close(code, reason).await {
            Ok(()) => End::Closed,
            Err(end) => end,
        }
    }

    async fn serve(&mut self) -> End {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                message = self.outgoing.recv() => self.handle_outgoing(message).await,
                sent = arrival(&mut self.sending) => {
                    self.sending = None;
                    sent.map_err(|Over| End::Close(CloseCode::Normal, String::new()))
                }
                message = self.websocket.next(), if self.sending.is_none() => {
                    self.handle_incoming(message).await
                }
                _ = pings.tick() => self.write(Message::Ping(Vec::new().into())).await,
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn handle_outgoing(&mut self, taken: Option<Taken>) -> Result<(), End> {
        let Some(Taken { outgoing, since }) = taken else {
            return Err(End::Close(CloseCode::Normal, String::new()));
        };
        match outgoing {
            Outgoing::Message(message) => self.send(&message, since).await,
            Outgoing::Refuse(_) | Outgoing::Busy | Outgoing::Close => {
                Err(End::Close(CloseCode::Normal, String::new()))
            }
        }
    }

    async fn handle_incoming(&mut self, message: Option<Result<Message, WebSocketError>>) -> Result<(), End> {
        let message = match message {
            None => return Err(End::Gone),
            Some(Err(error)) => return Err(end_of_error(&error)),
            Some(Ok(message)) => message,
        };
        let request = match message {
            Message::Binary(data) => {
                self.framing = Framing::Binary;
                signal::decode_binary(&data)
            }
            Message::Text(text) => {
                self.framing = Framing::Text;
                signal::decode_text(&text)
            }
            Message::Close(_) => {
                self.finish().await;
                return Err(End::Gone);
            }
            // Raw frames are never read.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        let request = request.map_err(|error| match error {
            DecodeError::Malformed => End::Close(CloseCode::Normal, String::new()),
            DecodeError::TooLarge => End::Close(CloseCode::Size, OVERSIZED.to_owned()),
        })?;
        self.handle_request(request).await
    }

    async fn handle_request(&mut self, received: Received) -> Result<(), End> {
        let Received { request, bytes } = received;
        if request.message.is_none() {
            return Ok(());
        }
        if let Some(answer) = signal::answer_ping(&request, clock::now().unix_ms()) {
            self.answer(&answer).await?;
        }
        self.sending = Some(Box::pin(self.line.send(request, bytes)));
        Ok(())
    }

    /// What the edge says by itself.
    async fn answer(&mut self, response: &proto::SignalResponse) -> Result<(), End> {
        let message = match self.framing {
            Framing::Binary if self.deflate => compressed(Data::Binary, &signal::encode_binary(response)),
            Framing::Binary => Message::Binary(signal::encode_binary(response).into()),
            Framing::Text if self.deflate => compressed(Data::Text, signal::encode_text(response).as_bytes()),
            Framing::Text => Message::Text(signal::encode_text(response).into()),
        };
        self.write(message).await
    }

    /// Sends a message that has waited since then, past the library: that would copy all of it.
    async fn send(&mut self, message: &SignalMessage, since: Instant) -> Result<(), End> {
        let (kind, form) = match (self.framing, self.deflate) {
            (Framing::Binary, false) => (Data::Binary, Form::Binary),
            (Framing::Binary, true) => (Data::Binary, Form::PackedBinary),
            (Framing::Text, false) => (Data::Text, Form::Text),
            (Framing::Text, true) => (Data::Text, Form::PackedText),
        };
        let payload = message.form(form, deflate);
        let mut start = Vec::with_capacity(payload.len().min(FIRST_WRITE_BYTES) + 16);
        let format = header(kind, self.deflate).format(payload.len() as u64, &mut start);
        format.map_err(|_| End::Gone)?;
        let (first, rest) = payload.split_at(payload.len().min(FIRST_WRITE_BYTES));
        start.extend_from_slice(first);
        // Control frames that the library still holds come first.
        match timeout(STALL_PATIENCE, self.websocket.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(End::Gone),
            Err(_) => return Err(End::Slow),
        }
        let deadline = since + AGE_MAX;
        self.write_raw(&start, deadline).await?;
        self.write_raw(rest, deadline).await
    }

    async fn write_raw(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), End> {
        let stream = self.websocket.get_mut();
        while !bytes.is_empty() {
            let patience = deadline.min(Instant::now() + STALL_PATIENCE);
            match timeout_at(patience, stream.write(bytes)).await {
                Ok(Ok(taken)) if taken > 0 => bytes = bytes.get(taken..).unwrap_or_default(),
                Ok(_) => return Err(End::Gone),
                Err(_) => return Err(End::Slow),
            }
        }
        timeout(STALL_PATIENCE, stream.flush())
            .await
            .map_err(|_| End::Slow)?
            .map_err(|_| End::Gone)
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        match timeout(WRITE_PATIENCE, self.websocket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Flushes what the room still queued and closes.
    async fn close(&mut self, code: CloseCode, reason: String) -> Result<(), End> {
        self.outgoing.close();
        while let Some(Taken {
            outgoing: Outgoing::Message(message),
            since,
        }) = self.outgoing.try_recv()
        {
            self.send(&message, since).await?;
        }
        let frame = CloseFrame {
            code,
            reason: reason.into(),
        };
        self.write(Message::Close(Some(frame))).await
    }

    /// Gives the client a moment to do the same: reads until the stream ends. The library answers a
    /// client's close while it is read from, and only then: a message written in between would fail,
    /// and the answer be lost.
    async fn finish(&mut self) {
        self.websocket.get_mut().expand_no_more();
        let ended = async { while let Some(Ok(_)) = self.websocket.next().await {} };
        // Either way the connection is dropped now.
        let _ = timeout(CLOSE_PATIENCE, ended).await;
    }
}

/// Until the request is with the room; for ever when there is none.
async fn arrival(sending: &mut Option<BoxFuture<'static, Result<(), Over>>>) -> Result<(), Over> {
    match sending {
        Some(sending) => sending.await,
        None => std::future::pending().await,
    }
}

/// A whole message in one compressed frame (RFC 7692 §7.2.1).
fn compressed(kind: Data, message: &[u8]) -> Message {
    Message::Frame(Frame::from_payload(
        header(kind, true),
        Bytes::from(deflate(message)),
    ))
}

/// Of a whole message in one frame.
fn header(kind: Data, packed: bool) -> FrameHeader {
    FrameHeader {
        is_final: true,
        rsv1: packed,
        opcode: OpCode::Data(kind),
        ..FrameHeader::default()
    }
}

/// Close codes of what a client did wrong, with the reference's reasons.
fn end_of_error(error: &WebSocketError) -> End {
    match error {
        WebSocketError::Capacity(_) => End::Close(CloseCode::Size, String::new()),
        WebSocketError::Utf8(_) => End::Close(CloseCode::Normal, String::new()),
        WebSocketError::Io(problem) if problem.kind() == std::io::ErrorKind::QuotaExceeded => {
            End::Close(CloseCode::Policy, TOO_FAST.to_owned())
        }
        // A compressed message that cannot be expanded is as undecodable as any other.
        WebSocketError::Io(problem) if problem.kind() == std::io::ErrorKind::InvalidData => {
            End::Close(CloseCode::Normal, String::new())
        }
        WebSocketError::Protocol(problem) => match reason_of(problem) {
            Some(reason) => End::Close(CloseCode::Protocol, reason),
            None => End::Gone,
        },
        WebSocketError::ConnectionClosed
        | WebSocketError::AlreadyClosed
        | WebSocketError::Io(_)
        | WebSocketError::Tls(_)
        | WebSocketError::WriteBufferFull(_)
        | WebSocketError::AttackAttempt
        | WebSocketError::Url(_)
        | WebSocketError::Http(_)
        | WebSocketError::HttpFormat(_) => End::Gone,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest is one case: no reason worth telling"
)]
fn reason_of(problem: &ProtocolError) -> Option<String> {
    match problem {
        // The other end is gone or already closed: nobody reads a reason.
        ProtocolError::ResetWithoutClosingHandshake
        | ProtocolError::SendAfterClosing
        | ProtocolError::ReceivedAfterClosing => None,
        ProtocolError::UnmaskedFrameFromClient => Some("bad MASK".to_owned()),
        ProtocolError::UnknownControlFrameType(code) | ProtocolError::UnknownDataFrameType(code) => {
            Some(format!("bad opcode {code}"))
        }
        ProtocolError::InvalidOpcode(code) => Some(format!("bad opcode {code}")),
        ProtocolError::UnexpectedContinueFrame => Some("continuation after FIN".to_owned()),
        _ => Some(String::new()),
    }
}

#[cfg(test)]
mod tests;
