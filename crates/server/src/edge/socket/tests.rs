//! The patience with clients that read slowly, in virtual time.

use super::*;
use crate::edge::Sockets;
use crate::shell::event_queue::event_queue;
use crate::shell::mailbox::{Inbox, Mailbox};
use crate::shell::outgoing::{OutgoingSender, SendError, outgoing};
use crate::shell::room_task::Input;
use prost::Message as _;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::Action;
use std::sync::Arc;
use tokio::io::DuplexStream;

/// A message is longer than what lies between server and client: who does not read it, blocks it.
const MESSAGE_BYTES: usize = 4096;
const BETWEEN_BYTES: usize = 1024;

/// Between two messages that a trickling client reads: less than the patience with one message.
const TRICKLE: Duration = Duration::from_secs(4);

/// A served connection, seen from both its ends.
struct Served {
    /// The room's way to it.
    sender: OutgoingSender,
    /// The room hears of its end here.
    room: Inbox,
    _mailbox: Mailbox,
    client: WebSocketStream<DuplexStream>,
    counters: Arc<Counters>,
}

impl Served {
    async fn start() -> Self {
        let (ours, theirs) = tokio::io::duplex(BETWEEN_BYTES);
        let (sender, outgoing) = outgoing();
        let (_events, arrived) = event_queue();
        let (mailbox, room) = Mailbox::new(arrived);
        let mut line = mailbox.line(room::ConnectionId(1));
        line.answered();
        let session = Session {
            line,
            outgoing,
            first: Box::new(message(1)),
            open: Sockets::default().open(),
        };
        let agreed = Agreed {
            deflate: false,
            limit: 1 << 20,
        };
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        tokio::spawn(async move { serve(&counted, session, ours, agreed).await });
        Self {
            sender,
            room,
            _mailbox: mailbox,
            client: WebSocketStream::from_raw_socket(theirs, Role::Client, None).await,
            counters,
        }
    }

    /// What is queued until the queue is full; the room then gives the connection up.
    fn overflow(&self) {
        loop {
            match self
                .sender
                .send(Outgoing::Message(Box::new(message(MESSAGE_BYTES))))
            {
                Ok(()) => {}
                Err(error) => return assert_eq!(error, SendError::Full),
            }
        }
    }

    fn queue(&self, count: usize) {
        for _ in 0..count {
            let message = Box::new(message(MESSAGE_BYTES));
            self.sender
                .send(Outgoing::Message(message))
                .expect("there is room");
        }
    }
}

fn message(bytes: usize) -> proto::SignalResponse {
    proto::SignalResponse {
        message: Some(Response::RefreshToken("x".repeat(bytes))),
    }
}

/// A client that reads a message now and then, for ever.
fn trickle(mut client: WebSocketStream<DuplexStream>) {
    tokio::spawn(async move {
        while let Some(Ok(message)) = client.next().await {
            if message.is_binary() {
                tokio::time::sleep(TRICKLE).await;
            }
        }
    });
}

/// How long it takes until the room hears that the connection is closed.
async fn until_closed(room: &mut Inbox) -> Duration {
    let began = Instant::now();
    let told = room.next().await.expect("the mailbox is held").input;
    assert!(
        matches!(told, Input::Action(Action::SignalClosed { .. })),
        "the room was told {told:?}"
    );
    began.elapsed()
}

fn subscription(sids: usize) -> Message {
    let request = proto::SignalRequest {
        message: Some(Request::Subscription(proto::UpdateSubscription {
            track_sids: vec![String::new(); sids],
            ..Default::default()
        })),
    };
    Message::binary(request.encode_to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_when_decoded_closes_the_connection_and_never_reaches_the_room() {
    let mut served = Served::start().await;
    served.client.send(subscription(100_000)).await.expect("sends");
    let mut close = None;
    while let Some(Ok(message)) = served.client.next().await {
        if let Message::Close(frame) = message {
            close = frame;
        }
    }
    let close = close.expect("a close frame");
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Size, OVERSIZED));
    assert_eq!(until_closed(&mut served.room).await, Duration::ZERO);
    assert_eq!(served.counters.signal_oversized.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_faster_than_its_room_takes_is_not_read_and_still_served() {
    let mut served = Served::start().await;
    let first = served.client.next().await.expect("open").expect("readable");
    assert!(first.is_binary());
    let (mut to_server, mut from_server) = served.client.split();
    let flood = tokio::spawn(async move {
        for sent in 0.. {
            // What is not read fills what lies between, and then nothing more can be sent.
            let sending = to_server.send(subscription(1_000));
            if timeout(Duration::from_secs(1), sending).await.is_err() {
                return (sent, to_server);
            }
        }
        unreachable!("a flood has no end")
    });
    let (sent, _to_server) = flood.await.expect("it stops");
    assert!(sent < 8, "{sent} messages were taken");
    // The other direction goes on.
    let answer = Outgoing::Message(Box::new(message(10)));
    served.sender.send(answer).expect("there is room");
    let told = from_server.next().await.expect("open").expect("readable");
    assert!(told.is_binary());
    // As the room takes them, more are read.
    for _ in 0..sent {
        let taken = served.room.next().await.expect("open");
        assert!(matches!(taken.input, Input::Action(Action::Signal { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_queue_is_full_ends_at_once_though_its_client_trickles() {
    let mut served = Served::start().await;
    served.overflow();
    drop(served.sender);
    trickle(served.client);
    assert_eq!(until_closed(&mut served.room).await, Duration::ZERO);
    // The room counts it.
    assert_eq!(served.counters.signal_slow.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_when_the_room_gives_up_gets_one_patience_in_all() {
    let mut served = Served::start().await;
    served.queue(1_000);
    served.sender.send(Outgoing::Close).expect("there is room");
    drop(served.sender);
    trickle(served.client);
    assert_eq!(until_closed(&mut served.room).await, FLUSH_PATIENCE);
    assert_eq!(served.counters.signal_slow.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_when_a_client_errs_gets_one_patience_in_all() {
    let mut served = Served::start().await;
    served.queue(1_000);
    let broken = Message::binary(vec![0xFF, 0xFF, 0xFF]);
    served.client.send(broken).await.expect("sends");
    trickle(served.client);
    // What the client sends is read between two messages; either may come first each time.
    let waited = until_closed(&mut served.room).await;
    assert!(waited <= 40 * TRICKLE + FLUSH_PATIENCE, "{waited:?}");
    assert_eq!(served.counters.signal_slow.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_gets_all_that_was_queued_and_a_close() {
    let mut served = Served::start().await;
    served.queue(1_000);
    served.sender.send(Outgoing::Close).expect("there is room");
    drop(served.sender);
    let mut messages = 0;
    let mut close = None;
    while let Some(Ok(message)) = served.client.next().await {
        if let Message::Close(frame) = message {
            close = frame;
        } else {
            messages += 1;
        }
    }
    assert_eq!(
        (messages, close.map(|close| close.code)),
        (1_001, Some(CloseCode::Normal))
    );
    assert_eq!(until_closed(&mut served.room).await, Duration::ZERO);
    assert_eq!(served.counters.signal_slow.get(), 0);
}
