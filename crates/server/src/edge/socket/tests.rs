//! The patience with clients that read slowly, in virtual time.

use super::*;
use crate::edge::Sockets;
use crate::shell::backlog::Backlog;
use crate::shell::event_queue::event_queue;
use crate::shell::mailbox::{Inbox, Mailbox};
use crate::shell::outgoing::{OutgoingSender, Queued, SendError, outgoing};
use crate::shell::room_task::Input;
use prost::Message as _;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::Action;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, DuplexStream};

/// A message is longer than what lies between server and client: who does not read it, blocks it.
const MESSAGE_BYTES: usize = 4096;
const BETWEEN_BYTES: usize = 1024;

/// Between two messages that a trickling client reads: less than the patience with one message.
const TRICKLE: Duration = Duration::from_secs(4);

/// A served connection, seen from both its ends.
struct Served {
    /// The room's way to it.
    sender: OutgoingSender,
    backlog: Arc<Backlog>,
    /// The room hears of its end here.
    room: Inbox,
    _mailbox: Mailbox,
    client: WebSocketStream<DuplexStream>,
    counters: Arc<Counters>,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(false).await
    }

    async fn start_with(deflate: bool) -> Self {
        let (ours, theirs) = tokio::io::duplex(BETWEEN_BYTES);
        let (sender, outgoing) = outgoing();
        let (_events, arrived) = event_queue();
        let (mailbox, room) = Mailbox::new(arrived);
        let mut line = mailbox.line(room::ConnectionId(1));
        line.answered();
        let backlog = Arc::new(Backlog::default());
        let session = Session {
            line,
            outgoing,
            first: shared(1, &backlog),
            open: Sockets::default().open(),
        };
        let agreed = Agreed {
            deflate,
            limit: 1 << 20,
        };
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        tokio::spawn(async move { serve(&counted, session, ours, agreed).await });
        Self {
            sender,
            backlog,
            room,
            _mailbox: mailbox,
            client: WebSocketStream::from_raw_socket(theirs, Role::Client, None).await,
            counters,
        }
    }

    /// What is queued until the queue is full; the room then gives the connection up.
    fn overflow(&self) {
        loop {
            match self.send(MESSAGE_BYTES) {
                Ok(_) => {}
                Err(error) => return assert_eq!(error, SendError::Full),
            }
        }
    }

    fn queue(&self, count: usize) {
        for _ in 0..count {
            self.send(MESSAGE_BYTES).expect("there is room");
        }
    }

    fn send(&self, bytes: usize) -> Result<Queued, SendError> {
        let message = shared(bytes, &self.backlog);
        self.sender.send(Outgoing::Message(message), &self.backlog)
    }

    fn close(&self) {
        let queued = self.sender.send(Outgoing::Close, &self.backlog);
        assert_eq!(queued, Ok(Queued::New));
    }
}

fn message(bytes: usize) -> proto::SignalResponse {
    proto::SignalResponse {
        message: Some(Response::Offer(proto::SessionDescription {
            sdp: "x".repeat(bytes),
            ..Default::default()
        })),
    }
}

fn shared(bytes: usize, backlog: &Arc<Backlog>) -> Arc<SignalMessage> {
    SignalMessage::new(&message(bytes), backlog)
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
    let answer = Outgoing::Message(shared(10, &served.backlog));
    let queued = served.sender.send(answer, &served.backlog);
    queued.expect("there is room");
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
    served.close();
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
    served.close();
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

/// Reads raw bytes, so many at a time, after each pause, until the end of the stream.
async fn read_slowly(client: WebSocketStream<DuplexStream>, bytes: usize, pause: Duration) -> Vec<u8> {
    let mut stream = client.into_inner();
    let (mut all, mut part) = (Vec::new(), vec![0; bytes]);
    loop {
        tokio::time::sleep(pause).await;
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return all,
            Ok(read) => all.extend_from_slice(&part[..read]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_long_message_in_small_parts_gets_all_of_it() {
    let served = Served::start().await;
    // 40 s at one KiB a second: longer than the patience with a client that takes nothing.
    served.send(40 << 10).expect("there is room");
    served.close();
    let Served { client, counters, .. } = served;
    let all = read_slowly(client, 1 << 10, Duration::from_secs(1)).await;
    assert!(all.len() > 40 << 10, "{}", all.len());
    assert_eq!(counters.signal_slow.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_seems_to_read_is_cut_when_a_message_gets_too_old() {
    let mut served = Served::start().await;
    served.send(1 << 20).expect("there is room");
    let (client, counters) = (served.client, served.counters);
    let began = Instant::now();
    let reading = tokio::spawn(read_slowly(client, 1 << 10, Duration::from_secs(1)));
    until_closed(&mut served.room).await;
    assert_eq!(began.elapsed(), AGE_MAX);
    reading.await.expect("it ends");
    assert_eq!(counters.signal_slow.get(), 1);
    assert_eq!(served.backlog.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn long_messages_arrive_whole_in_every_form_and_between_pings() {
    for deflate in [false, true] {
        let mut served = Served::start_with(deflate).await;
        for _ in 0..3 {
            served.send(FIRST_WRITE_BYTES * 3).expect("there is room");
            served
                .client
                .send(Message::Ping("p".into()))
                .await
                .expect("sends");
        }
        served.close();
        let bytes = read_slowly(served.client, 1 << 10, Duration::ZERO).await;
        let mut frames = frames(&bytes);
        let expected = signal::encode_binary(&message(FIRST_WRITE_BYTES * 3));
        frames.retain(|(first, _)| first & 0x0F == 2);
        assert_eq!(frames.len(), 4, "the first answer and three messages");
        for (first, payload) in &frames[1..] {
            assert_eq!(first & 0x40 != 0, deflate);
            let plain = if deflate {
                crate::edge::expansion::tests::expand(payload).expect("it was packed")
            } else {
                payload.clone()
            };
            assert!(plain == expected);
        }
    }
}

/// First bytes and payloads of unmasked frames.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, length, ..] = *bytes {
        let (start, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            127 => {
                let length: [u8; 8] = bytes[2..10].try_into().expect("8 bytes");
                (10, usize::try_from(u64::from_be_bytes(length)).expect("fits"))
            }
            length => (2, usize::from(length)),
        };
        frames.push((first, bytes[start..start + length].to_vec()));
        bytes = &bytes[start + length..];
    }
    frames
}
