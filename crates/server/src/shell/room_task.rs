//! One tokio task per room: waits for one input, applies it, carries the effects out.
//!
//! The task itself never waits for anybody: connection queues are bounded and a connection whose
//! queue is full is cut; commands to media threads never block. So a full mailbox slows the senders
//! down and nothing can deadlock.

use crate::clock;
use crate::counters::Counters;
use crate::media_pool::MediaPool;
use crate::rooms::RoomExit;
use crate::shell::backlog::{Backlog, Pressure};
use crate::shell::outgoing::{Outgoing, OutgoingSender, Queued, SendError};
use crate::shell::signal_message::SignalMessage;
use crate::shell::waiting_joins::WaitingJoins;
use media::api::{Command, PeerKey};
use protocol::grants::Claims;
use protocol::proto;
use protocol::proto::signal_response::Message;
use protocol::token::{self, Keys};
use room::{Action, ApiCall, ApiError, ApiReply, ConnectionId, Effect, Join, ReplyId, Room};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// What may wait in a room's mailbox. Full: senders wait. Larger tolerates longer bursts and costs
/// memory only when used.
pub const MAILBOX_MAX: usize = 1024;

/// Messages taken from the mailbox per turn before the deadline is looked at again.
const TURN_MAX: usize = 64;

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

/// What a room's task is made of.
#[derive(Debug)]
pub(crate) struct RoomTask {
    pub(crate) room: Room,
    pub(crate) mailbox: mpsc::Receiver<Input>,
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
        backlog: Arc::new(Backlog::of_room(&task.counters.signal_backlog)),
        waiting: WaitingJoins::default(),
        peers: Peers {
            keys: BTreeSet::new(),
            pool: Arc::clone(&task.pool),
        },
    };
    loop {
        if state.carry_out(&mut task) {
            return;
        }
        if state.admit_waiting(&mut task) {
            return;
        }
        let deadline = task.room.poll_timeout();
        let deadline = deadline.into_iter().chain(state.waiting.next_look()).min();
        let input = tokio::select! {
            biased;
            () = sleep_until(deadline) => None,
            input = task.mailbox.recv() => match input {
                Some(input) => Some(input),
                // The directory is gone: the process ends.
                None => return,
            },
        };
        let Some(input) = input else {
            state.apply(&mut task, Action::Timeout);
            continue;
        };
        state.take(&mut task, input);
        for _ in 1..TURN_MAX {
            if state.carry_out(&mut task) {
                return;
            }
            let Ok(input) = task.mailbox.try_recv() else { break };
            state.take(&mut task, input);
        }
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
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in &self.keys {
            // A full queue loses the command; the peer then ends by its consent timeout.
            let _ = self.pool.send(peer.thread(), Command::ClosePeer { peer: *peer });
        }
    }
}

impl State {
    fn take(&mut self, task: &mut RoomTask, input: Input) {
        let action = match input {
            Input::Join { join, outgoing } => {
                // Who joins is sent all of the room's state.
                if self.backlog.pressure() == Pressure::Full || !self.waiting.is_empty() {
                    self.waiting.push(join, outgoing, &self.backlog, &task.counters);
                    return;
                }
                self.connections.insert(join.connection, outgoing);
                Action::Join(join)
            }
            Input::Action(action) => {
                if let Action::SignalClosed { connection } = &action {
                    self.connections.remove(connection);
                    self.waiting.forget(*connection);
                }
                action
            }
            Input::Api { call, reply } => {
                let id = ReplyId(self.next_reply);
                self.next_reply += 1;
                self.replies.insert(id, reply);
                Action::Api { reply: id, call }
            }
        };
        self.apply(task, action);
    }

    fn apply(&self, task: &mut RoomTask, action: Action) {
        let before = task.room.stats();
        task.room.handle_pressure(self.backlog.pressure());
        task.room.apply(clock::now(), action);
        let stats = task.room.stats();
        let delayed = stats.changes_delayed - before.changes_delayed;
        task.counters.changes_delayed.add_all(delayed);
        let refused = stats.changes_refused - before.changes_refused;
        task.counters.changes_refused.add_all(refused);
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
                    self.connections.remove(&connection);
                }
                Effect::Media { thread, command } => {
                    self.peers.note(&command);
                    let controls = command.message().is_none();
                    if task.pool.send(thread, command).is_err() && controls {
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
                // The enum may grow: what is new there needs an arm here.
                _ => tracing::error!("effect without an arm"),
            }
        }
        over
    }

    /// Encodes a response once for all who get it.
    fn send_response(
        &mut self,
        task: &RoomTask,
        connections: impl IntoIterator<Item = ConnectionId>,
        response: &proto::SignalResponse,
    ) {
        let message = SignalMessage::new(response, &self.backlog);
        for connection in connections {
            self.send(task, connection, Outgoing::Message(Arc::clone(&message)));
        }
    }

    fn send(&mut self, task: &RoomTask, connection: ConnectionId, outgoing: Outgoing) {
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
                self.connections.remove(&connection);
            }
        }
    }

    fn refresh(&mut self, task: &RoomTask, connection: ConnectionId, claims: &Claims, valid_s: u64) {
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
    fn note(&mut self, command: &Command) {
        if let Command::AddPeer { peer, .. } = command {
            self.keys.insert(*peer);
        } else if let Command::ClosePeer { peer } = command {
            self.keys.remove(peer);
        }
    }
}
