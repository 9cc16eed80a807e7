//! Batches through the kernel, on the loopback interface.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;
use udp::{EventFd, Options, Outgoing, PollSet, RecvBatch, Sender, Socket};

const PLAIN: Options = Options {
    reuse_port: false,
    recv_buffer_bytes: 1 << 20,
    send_buffer_bytes: 1 << 20,
    gro: false,
};
const JOINING: Options = Options { gro: true, ..PLAIN };

fn socket(options: Options) -> Socket {
    Socket::bind("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

/// Datagrams of the given lengths, side by side; each is filled with its index.
fn datagrams(lengths: &[usize], to: impl Fn(usize) -> SocketAddr) -> (Vec<u8>, Vec<Outgoing>) {
    let mut bytes = Vec::new();
    let mut list = Vec::new();
    for (index, &len) in lengths.iter().enumerate() {
        let start = bytes.len();
        bytes.resize(start + len, u8::try_from(index % 256).unwrap());
        list.push(Outgoing {
            to: to(index),
            start,
            len,
            trainable: true,
        });
    }
    (bytes, list)
}

/// Receives until `count` datagrams are there: (first byte, length) each.
fn receive(socket: Socket, count: usize) -> Vec<(u8, usize)> {
    let sockets = [socket];
    let wake = EventFd::new().unwrap();
    let mut set = PollSet::new(&wake, &sockets);
    let mut batch = RecvBatch::new(8, RecvBatch::GRO_BUFFER);
    let mut found = Vec::new();
    while found.len() < count {
        assert!(
            set.wait(Some(std::time::Duration::from_secs(5))).unwrap(),
            "only {found:?}"
        );
        sockets[0].recv_batch(&mut batch).unwrap();
        for (_, bytes) in batch.datagrams() {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            found.push((bytes[0], bytes.len()));
        }
    }
    assert_eq!(batch.stats().datagrams, count as u64);
    found
}

#[test]
fn a_run_of_equal_datagrams_leaves_as_one_train() {
    let receiver = socket(PLAIN);
    let to = receiver.local_address();
    let (bytes, list) = datagrams(&[1000, 1000, 1000, 400], |_| to);
    let mut sender = Sender::new(true);
    sender.send(&socket(PLAIN), &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().trains), (1, 1));
    assert_eq!(sender.stats().datagrams, 4);
    assert_eq!(receive(receiver, 4), [(0, 1000), (1, 1000), (2, 1000), (3, 400)]);
}

#[test]
fn a_train_ends_at_a_shorter_a_longer_or_an_untrainable_datagram() {
    let receiver = socket(PLAIN);
    let to = receiver.local_address();
    // 100 100 90 | 100 | 110 110 | 110 (not trainable) | 110
    let lengths = [100, 100, 90, 100, 110, 110, 110, 110];
    let (bytes, mut list) = datagrams(&lengths, |_| to);
    list[6].trainable = false;
    let mut sender = Sender::new(true);
    sender.send(&socket(PLAIN), &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().trains), (5, 2));
    let found = receive(receiver, lengths.len());
    assert!(
        found
            .iter()
            .zip(lengths)
            .enumerate()
            .all(|(i, (&(byte, len), want))| { usize::from(byte) == i && len == want })
    );
}

#[test]
fn a_train_has_one_destination() {
    let receivers = [socket(PLAIN), socket(PLAIN)];
    let to = [receivers[0].local_address(), receivers[1].local_address()];
    let (bytes, list) = datagrams(&[200; 6], |index| to[index / 3]);
    let mut sender = Sender::new(true);
    sender.send(&socket(PLAIN), &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().trains), (2, 2));
    let [first, second] = receivers;
    assert_eq!(receive(first, 3).len() + receive(second, 3).len(), 6);
}

#[test]
fn a_train_keeps_the_limits_of_the_kernel() {
    let receiver = socket(PLAIN);
    let to = receiver.local_address();
    let (bytes, list) = datagrams(&[50; 130], |_| to);
    let mut sender = Sender::new(true);
    let from = socket(PLAIN);
    sender.send(&from, &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().datagrams), (3, 130));
    // 54 × 1200 bytes are the most below 65,000.
    let (bytes, list) = datagrams(&[1200; 60], |_| to);
    sender.send(&from, &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().datagrams), (5, 190));
    assert_eq!(receive(receiver, 190).len(), 190);
}

#[test]
fn more_messages_than_one_call_takes_all_leave() {
    let receiver = socket(PLAIN);
    let to = receiver.local_address();
    let (bytes, list) = datagrams(&[60; 150], |_| to);
    let mut sender = Sender::new(false);
    sender.send(&socket(PLAIN), &bytes, list);
    assert_eq!((sender.stats().messages, sender.stats().calls), (150, 3));
    let found = receive(receiver, 150);
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(i, &(byte, _))| usize::from(byte) == i)
    );
}

#[test]
fn joined_datagrams_are_split_again() {
    let receiver = socket(JOINING);
    let to = receiver.local_address();
    let (bytes, list) = datagrams(&[700, 700, 700, 700, 31], |_| to);
    let mut sender = Sender::new(true);
    sender.send(&socket(PLAIN), &bytes, list);
    assert_eq!(
        receive(receiver, 5),
        [(0, 700), (1, 700), (2, 700), (3, 700), (4, 31)]
    );
}

#[test]
fn a_refused_train_is_sent_one_by_one_and_what_cannot_leave_is_counted() {
    let receiver = socket(PLAIN);
    let to = receiver.local_address();
    let elsewhere: SocketAddr = "[::1]:9".parse().unwrap();
    // An IPv4 socket cannot send to IPv6: the train and its datagrams are refused, the rest leaves.
    let (bytes, list) = datagrams(&[80; 5], |index| if index < 3 { elsewhere } else { to });
    let mut sender = Sender::new(true);
    sender.send(&socket(PLAIN), &bytes, list);
    let stats = sender.stats();
    assert_eq!(
        (stats.trains_refused, stats.dropped_refused, stats.datagrams),
        (1, 3, 2)
    );
    assert_eq!(receive(receiver, 2), [(3, 80), (4, 80)]);
}

#[test]
fn a_datagram_longer_than_its_buffer_is_dropped_and_counted() {
    let receiver = socket(PLAIN);
    let from = socket(PLAIN);
    from.send_to(&[7; 300], receiver.local_address()).unwrap();
    from.send_to(&[8; 100], receiver.local_address()).unwrap();
    let mut batch = RecvBatch::new(4, 200);
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 2);
    let found: Vec<usize> = batch.datagrams().map(|(_, bytes)| bytes.len()).collect();
    assert_eq!((found, batch.stats().dropped), (vec![100], 1));
    assert_eq!(receiver.recv_batch(&mut batch).unwrap(), 0);
    assert_eq!(batch.datagrams().count(), 0);
}

#[test]
fn ipv6_batches_carry_the_senders_address() {
    let bind = |_| Socket::bind("[::1]:0".parse().unwrap(), PLAIN);
    let (Ok(receiver), Ok(from)) = (bind(0), bind(1)) else {
        // A machine without IPv6 has nothing to show here.
        return;
    };
    let to = receiver.local_address();
    let (bytes, list) = datagrams(&[90; 3], |_| to);
    Sender::new(true).send(&from, &bytes, list);
    let mut batch = RecvBatch::new(4, 2048);
    let mut seen = 0;
    while seen < 3 {
        receiver.recv_batch(&mut batch).unwrap();
        seen += batch
            .datagrams()
            .filter(|(address, _)| *address == from.local_address())
            .count();
    }
}
