//! One tokio task per room: waits for one input, applies it, carries the effects out.
//!
//! The task itself never waits for anybody: connection queues are bounded and a connection whose
//! queue is full is cut; commands to media threads never block. So a full mailbox slows the senders
//! down and nothing can deadlock. However much waits, the task goes to the end of its worker's queue
//! after a few milliseconds: other rooms and HTTP share that worker.

use crate::clock;
use crate::counters::Counters;
use crate::media_pool::{self as pool, Line, MediaPool};
use crate::rooms::RoomExit;
use crate::shell::backlog::{Backlog, Pressure};
use crate::shell::mailbox::{Inbox, Taken};
use crate::shell::outgoing::{Outgoing, OutgoingSender, Queued, SendError};
use crate::shell::signal_message::SignalMessage;
use crate::shell::waiting_joins::WaitingJoins;
use media::api::{Command, EventKind, PeerKey, ThreadId};
use protocol::grants::Claims;
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::signal;
use protocol::token::{self, Keys};
use room::{Action, ApiCall, ApiError, ApiReply, ConnectionId, Effect, Join, ReplyId, Room};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a room works before it lets others have the worker. Shorter costs more switches, longer
/// adds to what every other room and request waits when several rooms are busy.
const TURN: Duration = Duration::from_millis(5);

/// An input that takes longer is counted and logged: bounded inputs take a few milliseconds at most.
const SLOW: Duration = Duration::from_millis(50);

/// A room logs no more than one slow input in this time.
const SLOW_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// An input of a room's task.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "mailbox slots are recycled; boxing would allocate per message"
)]
pub enum Input {
    /// A connection wants in.
    Join {
        /// What it wants.
        join: Box<Join>,
        /// Where its messages go.
        outgoing: OutgoingSender,
    },
    /// Everything that needs no way back.
    Action(Action),
    /// A server API call.
    Api {
        /// What is asked.
        call: ApiCall,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<ApiReply, ApiError>>,
    },
}

impl Input {
    /// What it is, for logs.
    fn kind(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Api { .. } => "api",
            Self::Action(Action::Signal { request, .. }) => signal::kind(request),
            Self::Action(Action::SignalClosed { .. }) => "signal_closed",
            Self::Action(Action::Media(_) | Action::PeerOverran { .. }) => "media",
            Self::Action(Action::Join(_) | Action::Api { .. } | Action::Timeout | Action::Shutdown) => {
                "other"
            }
        }
    }
}

/// What a room's task is made of.
#[derive(Debug)]
pub(crate) struct RoomTask {
    pub(crate) room: Room,
    pub(crate) inbox: Inbox,
    pub(crate) pool: Arc<MediaPool>,
    pub(crate) keys: Keys,
    pub(crate) counters: Arc<Counters>,
    /// Told when the room's listing changes, and dropped when the room ends however it ends.
    pub(crate) exit: RoomExit,
}

/// Runs a room until it closes.
pub(crate) async fn run(mut task: RoomTask) {
    let mut state = State {
        connections: BTreeMap::new(),
        replies: BTreeMap::new(),
        next_reply: 0,
        slow_logged: None,
        backlog: Arc::new(Backlog::of_room(&task.counters.signal_backlog)),
        waiting: WaitingJoins::default(),
        peers: Peers {
            keys: BTreeSet::new(),
            pool: Arc::clone(&task.pool),
            line: task.pool.line(),
        },
    };
    if state.carry_out(&mut task) {
        return;
    }
    loop {
        if state.admit_waiting(&mut task) {
            return;
        }
        let deadline = task.room.poll_timeout();
        let deadline = deadline.into_iter().chain(state.waiting.next_look()).min();
        let first = tokio::select! {
            biased;
            () = sleep_until(deadline) => None,
            taken = task.inbox.next() => match taken {
                Some(taken) => Some(taken),
                // The directory is gone: the process ends.
                None => return,
            },
        };
        if state.turn(&mut task, first).await {
            return;
        }
        // What still waits is found after the others had their turn.
        tokio::task::yield_now().await;
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The task's own bookkeeping; the room knows only numbers.
struct State {
    connections: BTreeMap<ConnectionId, OutgoingSender>,
    replies: BTreeMap<ReplyId, oneshot::Sender<Result<ApiReply, ApiError>>>,
    next_reply: u64,
    slow_logged: Option<Instant>,
    /// What waits for all connections together.
    backlog: Arc<Backlog>,
    /// Joins that wait until less does.
    waiting: WaitingJoins,
    peers: Peers,
}

/// The room's peers on the media plane. When the task ends without having closed them (a panic),
/// dropping this does it.
struct Peers {
    keys: BTreeSet<PeerKey>,
    pool: Arc<MediaPool>,
    /// What of the room may wait for the threads.
    line: Line,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in &self.keys {
            // A full queue loses the command; the peer then ends by its consent timeout.
            let command = Command::ClosePeer { peer: *peer };
            let _ = self.pool.send_of(&self.line, peer.thread(), command);
        }
    }
}

/// What of the media plane whoever runs the server should read.
fn log_media(room: &Room, event: &EventKind) {
    if let EventKind::HandshakeFailed { peer, failure } = event {
        tracing::info!(
            room = room.sid(),
            peer = peer.0,
            reason = failure.label(),
            "DTLS handshake failed: {failure}"
        );
    }
}

impl State {
    /// Deals with an input, or the deadline, and with what waits behind it, until nothing does or the
    /// time is up. True: the room is over.
    async fn turn(&mut self, task: &mut RoomTask, first: Option<Taken>) -> bool {
        let began = Instant::now();
        let mut last = began;
        let mut next = first;
        loop {
            let kind = next.as_ref().map_or("timeout", |taken| taken.input.kind());
            let (action, seat) = match next {
                Some(taken) => {
                    let (input, seat) = taken.split();
                    (self.action(task, input), Some(seat))
                }
                None => (Some(Action::Timeout), None),
            };
            if let Some(action) = action {
                self.apply(task, action);
            }
            let over = self.carry_out(task);
            let now = Instant::now();
            let took = now - last;
            last = now;
            if let Some(seat) = seat {
                task.inbox.done(seat, took);
            }
            if took > SLOW {
                self.note_slow(task, kind, took);
            }
            if over {
                return true;
            }
            if now - began >= TURN || task.room.poll_timeout().is_some_and(|deadline| deadline <= now) {
                return false;
            }
            let ready = std::future::poll_fn(|cx| Poll::Ready(task.inbox.poll_next(cx)));
            match ready.await {
                Poll::Ready(Some(taken)) => next = Some(taken),
                Poll::Ready(None) | Poll::Pending => return false,
            }
        }
    }

    fn note_slow(&mut self, task: &RoomTask, kind: &'static str, took: Duration) {
        task.counters.room_inputs_slow.add();
        let now = Instant::now();
        if self.slow_logged.is_none_or(|at| now - at >= SLOW_LOG_INTERVAL) {
            self.slow_logged = Some(now);
            let ms = took.as_millis();
            tracing::warn!(room = task.room.sid(), kind, ms, "an input kept a room busy");
        }
    }

    /// What an input means to the room; `None` when it waits.
    fn action(&mut self, task: &mut RoomTask, input: Input) -> Option<Action> {
        Some(match input {
            Input::Join { join, outgoing } => {
                // Who joins is sent all of the room's state.
                if self.backlog.pressure() == Pressure::Full || !self.waiting.is_empty() {
                    self.waiting.push(join, outgoing, &self.backlog, &task.counters);
                    return None;
                }
                self.connections.insert(join.connection, outgoing);
                Action::Join(join)
            }
            Input::Action(action) => {
                if let Action::SignalClosed { connection } = &action {
                    self.disconnect(task, *connection);
                    self.waiting.forget(*connection);
                }
                if let Action::Media(event) = &action {
                    log_media(&task.room, &event.kind);
                }
                action
            }
            Input::Api { call, reply } => {
                let id = ReplyId(self.next_reply);
                self.next_reply += 1;
                self.replies.insert(id, reply);
                Action::Api { reply: id, call }
            }
        })
    }

    fn apply(&self, task: &mut RoomTask, action: Action) {
        if let Action::Join(join) = &action
            && join.resume.is_some()
            && let Some(open) = task.room.connection_of(&join.claims.identity)
        {
            self.note_unread(task, open);
        }
        let before = task.room.stats();
        task.room.handle_pressure(self.backlog.pressure());
        task.room.apply(clock::now(), action);
        task.counters.add_room(task.room.stats().since(before));
    }

    /// True: the room is over.
    fn admit_waiting(&mut self, task: &mut RoomTask) -> bool {
        self.waiting.expire(&self.backlog, &task.counters);
        while self.backlog.pressure() < Pressure::Full {
            let Some((join, outgoing)) = self.waiting.pop() else {
                break;
            };
            self.connections.insert(join.connection, outgoing);
            self.apply(task, Action::Join(join));
            if self.carry_out(task) {
                return true;
            }
        }
        false
    }

    /// Drains the room's effects. True: the room is over.
    fn carry_out(&mut self, task: &mut RoomTask) -> bool {
        let mut over = false;
        while let Some(effect) = task.room.poll_effect() {
            match effect {
                Effect::Signal { connection, response } => {
                    self.send_response(task, [connection], &response);
                }
                Effect::Broadcast {
                    connections,
                    response,
                } => self.send_response(task, connections, &response),
                Effect::RefreshToken {
                    connection,
                    claims,
                    valid_s,
                } => self.refresh(task, connection, &claims, valid_s),
                Effect::RefuseJoin { connection, text } => {
                    task.counters.joins_refused.add();
                    self.send(task, connection, Outgoing::Refuse(text));
                    self.connections.remove(&connection);
                }
                Effect::CloseSignal { connection } => {
                    self.send(task, connection, Outgoing::Close);
                    self.disconnect(task, connection);
                }
                Effect::Media { thread, command } => {
                    let controls = command.message().is_none();
                    if self.peers.send(thread, command).is_err() && controls {
                        task.counters.media_commands_lost.add();
                    }
                }
                Effect::Reply { reply, result } => {
                    if let Some(reply) = self.replies.remove(&reply) {
                        // The caller may have given up.
                        let _ = reply.send(result);
                    }
                }
                Effect::Listed { room } => task.exit.list(*room),
                Effect::Closed => {
                    task.exit.closed();
                    // What follows is the answer to who closed it.
                    over = true;
                }
            }
        }
        over
    }

    /// A connection ends: nothing more is sent on it.
    fn disconnect(&mut self, task: &mut RoomTask, connection: ConnectionId) {
        self.note_unread(task, connection);
        self.connections.remove(&connection);
    }

    /// Who comes back is told again of what may not have reached it.
    fn note_unread(&self, task: &mut RoomTask, connection: ConnectionId) {
        let queue = self.connections.get(&connection);
        if let Some(since) = queue.and_then(OutgoingSender::unread_since) {
            task.room.handle_unread(connection, since.into_std());
        }
    }

    /// Encodes a response once for all who get it.
    fn send_response(
        &mut self,
        task: &mut RoomTask,
        connections: impl IntoIterator<Item = ConnectionId>,
        response: &proto::SignalResponse,
    ) {
        let message = SignalMessage::new(response, &self.backlog);
        for connection in connections {
            self.send(task, connection, Outgoing::Message(Arc::clone(&message)));
        }
    }

    fn send(&mut self, task: &mut RoomTask, connection: ConnectionId, outgoing: Outgoing) {
        let Some(queue) = self.connections.get(&connection) else {
            return;
        };
        match queue.send(outgoing, &self.backlog) {
            Ok(Queued::New) => {}
            Ok(Queued::Replaced) => task.counters.signal_replaced.add(),
            Err(error) => {
                if error == SendError::Full {
                    task.counters.signal_slow.add();
                }
                // Dropping the queue ends the connection; it then reports `SignalClosed`.
                self.disconnect(task, connection);
            }
        }
    }

    fn refresh(&mut self, task: &mut RoomTask, connection: ConnectionId, claims: &Claims, valid_s: u64) {
        let Some(token) = token::sign(&task.keys, claims, clock::now().unix_s(), valid_s) else {
            return;
        };
        let response = proto::SignalResponse {
            message: Some(Message::RefreshToken(token)),
        };
        self.send_response(task, [connection], &response);
    }
}

impl Peers {
    fn send(&mut self, thread: ThreadId, command: Command) -> Result<(), pool::SendError> {
        self.note(&command);
        self.pool.send_of(&self.line, thread, command)
    }

    fn note(&mut self, command: &Command) {
        if let Command::AddPeer { peer, .. } = command {
            self.keys.insert(*peer);
        } else if let Command::ClosePeer { peer } = command {
            self.keys.remove(peer);
        }
    }
}
