//! Channels without DTLS: two ends, packets handed over directly, some of them forged by a remote
//! side that has the keys.

mod line;
mod stranger;

use super::*;
use std::time::Duration;

const REMOTE: SctpRemote = SctpRemote {
    port: SctpRemote::PORT,
    message_len_max: 0,
};

fn negotiated() -> ChannelSpec {
    ChannelSpec {
        label: "x".to_owned(),
        ordered: true,
        max_retransmits: None,
        negotiated: Some(0),
    }
}

struct Ends {
    a: Sctp,
    b: Sctp,
    now: Instant,
    rng: u64,
    /// What was exchanged to connect, with its receiver (true for B).
    seen: Vec<(bool, Bytes)>,
}

impl Ends {
    fn connected() -> Self {
        let mut ends = Self {
            a: Sctp::default(),
            b: Sctp::default(),
            now: crate::test_epoch(),
            rng: 0x1234_5678_9abc_def1,
            seen: Vec::new(),
        };
        ends.a.start(ends.now, DtlsRole::Client, REMOTE);
        ends.b.start(ends.now, DtlsRole::Server, REMOTE);
        ends.a.open(ChannelSpec {
            label: "x".to_owned(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        });
        ends.seen = ends.exchange();
        assert!(ends.is_open());
        ends
    }

    fn is_open(&self) -> bool {
        let open = |sctp: &Sctp| sctp.channels.get(&0).is_some_and(|c| c.state == State::Open);
        open(&self.a) && open(&self.b)
    }

    /// Lets packets flow until there are none; returns them with their receiver (true for B).
    fn exchange(&mut self) -> Vec<(bool, Bytes)> {
        let mut seen = Vec::new();
        for _ in 0..1000 {
            let from_a = self.a.poll_packet(self.now);
            if let Some(packet) = &from_a {
                self.b.handle_packet(self.now, packet);
                seen.push((true, packet.clone()));
            }
            let from_b = self.b.poll_packet(self.now);
            if let Some(packet) = &from_b {
                self.a.handle_packet(self.now, packet);
                seen.push((false, packet.clone()));
            }
            if from_a.is_none() && from_b.is_none() {
                self.now += Duration::from_millis(250);
                self.a.handle_timeout(self.now);
                self.b.handle_timeout(self.now);
                if seen.len() > 40 {
                    break;
                }
            }
        }
        seen
    }

    fn random(&mut self) -> usize {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        usize::try_from(self.rng >> 33).expect("31 bits")
    }
}

#[test]
fn data_on_streams_of_nobody_is_refused() {
    let mut ends = Ends::connected();
    for id in [7, STREAM_BEYOND] {
        let link = ends.a.link.as_mut().expect("connected");
        assert!(link.configure(id, true, Reliability::Reliable));
        assert!(link.write(id, Ppid::Binary, b"who am I"));
        ends.exchange();
    }
    assert_eq!(ends.b.dropped(), 1);
    let has = |id| ends.b.link.as_ref().is_some_and(|link| link.has_stream(id));
    assert!(!has(7) && !has(STREAM_BEYOND));
    let said = std::iter::from_fn(|| ends.b.poll_event()).any(|e| matches!(e, PeerEvent::Message { .. }));
    assert!(!said);
}

/// Beyond what we grant in our INIT.
const STREAM_BEYOND: u16 = 2000;

#[test]
fn channels_are_bounded() {
    let mut ends = Ends::connected();
    for i in 0..100 {
        ends.a.open(ChannelSpec {
            label: i.to_string(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        });
    }
    ends.exchange();
    assert_eq!(ends.a.channels.len(), CHANNELS_MAX);
    assert_eq!(ends.b.channels.len(), CHANNELS_MAX);
    assert_eq!(ends.a.dropped(), 69);
}

#[test]
fn forged_packets_cannot_panic() {
    for round in 0..5 {
        let mut ends = Ends::connected();
        ends.rng ^= round;
        for size in [10, 3000, 60_000] {
            ends.a.send(0, true, &vec![1; size]);
            ends.b.send(0, false, &vec![2; size]);
        }
        ends.a.open(ChannelSpec {
            label: "y".to_owned(),
            ordered: false,
            max_retransmits: Some(0),
            negotiated: None,
        });
        let mut seen = ends.exchange();
        ends.a.close(0);
        seen.extend(ends.exchange());
        for i in 0..seen.len() * 20 {
            let (to_b, packet) = &seen[i % seen.len()];
            let mut forged = packet.to_vec();
            for _ in 0..=ends.random() % 3 {
                let at = 12 + ends.random() % (forged.len() - 12);
                forged[at] = ends.random().to_le_bytes()[0];
            }
            if ends.random().is_multiple_of(4) {
                let len = 12 + ends.random() % (forged.len() - 12);
                forged.truncate(len);
            }
            sign(&mut forged);
            let to = if *to_b { &mut ends.b } else { &mut ends.a };
            to.handle_packet(ends.now, &forged);
            while to.poll_event().is_some() {}
            if i % 16 == 0 {
                ends.exchange();
            }
        }
    }
}

/// Bytes of messages that wait to be taken.
fn waiting(sctp: &Sctp) -> usize {
    let bytes = sctp.events.iter().map(|event| {
        if let PeerEvent::Message { data, .. } = event {
            data.len()
        } else {
            0
        }
    });
    bytes.sum()
}

#[test]
fn who_does_not_take_messages_slows_their_sender_down_and_gets_them_all() {
    let mut ends = Ends::connected();
    let message = |number: u32| [&number.to_be_bytes()[..], &[7; 10_000]].concat();
    let mut sent = 0;
    for _ in 0..300 {
        while sent < 500 && ends.a.send(0, true, &message(sent)) {
            sent += 1;
        }
        ends.exchange();
    }
    assert!(sent < 150, "{sent} messages of 10 kB were taken");
    assert!(waiting(&ends.b) < 300_000, "{} bytes wait", waiting(&ends.b));
    let mut got = Vec::new();
    for _ in 0..300 {
        while let Some(event) = ends.b.poll_event() {
            if let PeerEvent::Message { data, .. } = event {
                got.push(u32::from_be_bytes(data[..4].try_into().expect("a number")));
            }
        }
        while sent < 500 && ends.a.send(0, true, &message(sent)) {
            sent += 1;
        }
        ends.exchange();
    }
    assert_eq!(got, (0..500).collect::<Vec<_>>());
}

#[test]
fn what_was_sent_before_the_end_is_read_before_it() {
    let mut ends = Ends::connected();
    let mut sent = 0;
    for _ in 0..20 {
        while ends.a.send(0, true, &[3; 10_000]) {
            sent += 1;
        }
        ends.exchange();
    }
    ends.b.lose_transport();
    let events: Vec<_> = std::iter::from_fn(|| ends.b.poll_event()).collect();
    let messages = events
        .iter()
        .filter(|event| matches!(event, PeerEvent::Message { .. }));
    let arrived = messages.count();
    assert!(arrived * 10_000 > 300_000, "{arrived} of {sent}");
    assert!(matches!(events.last(), Some(PeerEvent::ChannelClosed { .. })));
}

/// Plays A's part towards B from where A was when connected, and acknowledges nothing.
struct Forger {
    b: Sctp,
    now: Instant,
    header: [u8; 12],
    /// The TSN of A's first DATA chunk, and of its next.
    initial: u32,
    next: u32,
    /// A's last SACK.
    sack: Vec<u8>,
}

impl Forger {
    fn connected() -> Self {
        let ends = Ends::connected();
        let of_data = |(to_b, packet): &&(bool, Bytes)| *to_b && packet[12] == 0;
        let data = ends.seen.iter().filter(of_data).map(|(_, packet)| packet);
        let tsn = |packet: &Bytes| u32::from_be_bytes(packet[16..20].try_into().expect("a TSN"));
        let first = data.clone().next().expect("A opened a channel");
        let initial = tsn(first);
        let last = data.map(tsn).max().expect("one");
        let mut sacks = ends.seen.iter().rev();
        let sack = sacks.find(|(to_b, packet)| *to_b && packet[12] == 3);
        Self {
            sack: sack.expect("B answered").1[12..].to_vec(),
            header: first[..12].try_into().expect("a header"),
            initial,
            next: last.wrapping_add(1),
            b: ends.b,
            now: ends.now,
        }
    }

    /// Whole and unordered, with its TSN counted from the next.
    fn data(&self, offset: u32, stream: u16, ppid: u32, message: &[u8]) -> Vec<u8> {
        let len = u16::try_from(16 + message.len()).expect("short");
        let mut chunk = vec![0, 7];
        chunk.extend(len.to_be_bytes());
        chunk.extend(self.next.wrapping_add(offset).to_be_bytes());
        chunk.extend(stream.to_be_bytes());
        chunk.extend([0, 0]);
        chunk.extend(ppid.to_be_bytes());
        chunk.extend(message);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        chunk
    }

    /// A's reset of a stream (RFC 6525 §4.1) after a number of others, when so much DATA is sent.
    fn reset(&self, number: u32, stream: u16, sent: u32) -> Vec<u8> {
        let mut chunk = vec![130, 0, 0, 22, 0, 13, 0, 18];
        chunk.extend(self.initial.wrapping_add(number).to_be_bytes());
        chunk.extend([0; 4]);
        chunk.extend(self.next.wrapping_add(sent).wrapping_sub(1).to_be_bytes());
        chunk.extend(stream.to_be_bytes());
        chunk.extend([0, 0]);
        chunk
    }

    /// Gives B a packet of chunks, and takes its answers: the cumulative TSN, counted from the next,
    /// and the end of the last gap block of a SACK.
    fn packet(&mut self, chunks: &[Vec<u8>]) -> Option<(u32, u32)> {
        let mut packet = [&self.header[..], &chunks.concat()].concat();
        sign(&mut packet);
        self.b.handle_packet(self.now, &packet);
        self.answers()
    }

    /// The same of what B says after a while, with which it delays its SACKs.
    fn later(&mut self) -> Option<(u32, u32)> {
        self.now += Duration::from_millis(300);
        self.b.handle_timeout(self.now);
        self.answers()
    }

    fn answers(&mut self) -> Option<(u32, u32)> {
        let mut said = None;
        while let Some(packet) = self.b.poll_packet(self.now) {
            if packet[12] == 3 {
                let number =
                    |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four bytes"));
                let blocks = usize::try_from(number(24) >> 16).expect("16 bits");
                let end = blocks
                    .checked_sub(1)
                    .map_or(0, |last| number(28 + 4 * last) & 0xffff);
                said = Some((number(16).wrapping_sub(self.next), end));
            }
        }
        said
    }
}

/// Under this identifier a message is nothing.
const PPID_OF_NOBODY: u32 = 99;

#[test]
fn who_withholds_a_packet_is_taken_only_so_far_ahead_and_can_go_on() {
    let mut forger = Forger::connected();
    let mut held = 0;
    let many = |forger: &Forger, from: u32, to: u32| -> Vec<Vec<u8>> {
        let chunk = |offset| forger.data(offset, 7, PPID_OF_NOBODY, b"x");
        (from..to).map(chunk).collect()
    };
    for batch in 0..40 {
        let chunks = many(&forger, 1 + batch * 50, 51 + batch * 50);
        if let Some((_, end)) = forger.packet(&chunks) {
            held = end;
        }
    }
    assert_eq!(
        held, 513,
        "512 chunks behind the gap, counted from what is acknowledged"
    );
    let refused = forger.b.dropped();
    // What was missing comes in one packet with what is too far ahead.
    let (missing, beyond) = (
        forger.data(0, 7, PPID_OF_NOBODY, b"x"),
        forger.data(3000, 7, PPID_OF_NOBODY, b"x"),
    );
    forger.packet(&[missing, beyond]);
    assert_eq!(forger.later(), Some((512, 0)));
    assert_eq!(
        forger.b.dropped(),
        refused + 2,
        "a packet cut, a message of nobody"
    );
    let chunks = many(&forger, 513, 563);
    forger.packet(&chunks);
    assert_eq!(forger.later(), Some((562, 0)));
    assert!(forger.b.channels.contains_key(&0));
}

#[test]
fn beginnings_without_end_are_held_up_to_a_number() {
    let mut forger = Forger::connected();
    let mut taken = 0;
    for batch in 0..40 {
        let chunks: Vec<_> = (0..50)
            .map(|offset| {
                let mut chunk = forger.data(batch * 50 + offset, 0, 51, b"x");
                chunk[1] = 6; // unordered, the first of several
                chunk
            })
            .collect();
        taken = forger.packet(&chunks).map_or(taken, |(cumulative, _)| cumulative);
    }
    taken = forger.later().map_or(taken, |(cumulative, _)| cumulative);
    assert!((500..=512).contains(&(taken + 1)), "{taken}");
    assert!(forger.b.dropped() > 0);
}

#[test]
fn a_sack_of_many_gaps_fits_a_datagram() {
    let mut forger = Forger::connected();
    for batch in 0..20 {
        let chunks: Vec<_> = (0..50)
            .map(|i| forger.data(1 + 2 * (batch * 50 + i), 7, PPID_OF_NOBODY, b"x"))
            .collect();
        let mut packet = [&forger.header[..], &chunks.concat()].concat();
        sign(&mut packet);
        forger.b.handle_packet(forger.now, &packet);
        while let Some(answer) = forger.b.poll_packet(forger.now) {
            assert!(answer.len() <= 1152, "{} bytes", answer.len());
            let blocks = u16::from_be_bytes([answer[24], answer[25]]);
            assert_eq!(answer.len(), 28 + 4 * usize::from(blocks));
        }
    }
}

#[test]
fn a_window_of_small_messages_survives_a_loss() {
    let mut ends = Ends::connected();
    let mut sent = 0u32;
    while ends
        .a
        .send(0, true, &[&sent.to_be_bytes()[..], &[5; 12]].concat())
    {
        sent += 1;
    }
    let (mut packets, mut got) = (0, Vec::new());
    for _ in 0..2000 {
        while let Some(packet) = ends.a.poll_packet(ends.now) {
            packets += 1;
            if packets != 40 {
                ends.b.handle_packet(ends.now, &packet);
            }
        }
        while let Some(event) = ends.b.poll_event() {
            if let PeerEvent::Message { data, .. } = event {
                got.push(u32::from_be_bytes(data[..4].try_into().expect("a number")));
            }
        }
        while let Some(packet) = ends.b.poll_packet(ends.now) {
            ends.a.handle_packet(ends.now, &packet);
        }
        ends.now += Duration::from_millis(20);
        ends.a.handle_timeout(ends.now);
        ends.b.handle_timeout(ends.now);
    }
    assert_eq!(sent, 16_384);
    assert!(got.iter().copied().eq(0..sent), "{} of {sent}", got.len());
    let again = packets - sent / 60;
    assert!(again < 400, "{packets} packets");
}

#[test]
fn data_hidden_in_another_chunk_ends_the_association() {
    let mut forger = Forger::connected();
    let hidden = forger.data(1, STREAM_BEYOND, PPID_OF_NOBODY, b"x");
    let mut sack = forger.sack.clone();
    let len = sack.len() + hidden.len();
    sack[2..4].copy_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
    sack.extend(hidden);
    forger.packet(&[sack]);
    assert!(forger.b.channels.is_empty());
    let events: Vec<_> = std::iter::from_fn(|| forger.b.poll_event()).collect();
    assert!(matches!(events.last(), Some(PeerEvent::ChannelClosed { .. })));
}

#[test]
fn a_channel_opened_again_and_again_is_answered_and_announced_once() {
    let mut forger = Forger::connected();
    let mut open = [0; OPEN_LEN_MAX];
    let message = dcep::Open {
        ordered: true,
        reliability: Reliability::Reliable,
        priority: 0,
        label: "x",
        protocol: "",
    };
    let len = message.write(&mut open).expect("short");
    for round in 0..300 {
        let of = |offset, stream| forger.data(offset, stream, 50, &open[..len]);
        let chunks = [of(2 * round, 0), of(2 * round + 1, 2)];
        forger.packet(&chunks);
    }
    let announced = |id: u16| move |event: &PeerEvent| matches!(event, PeerEvent::ChannelOpen { id: of, .. } if *of == id);
    let events: Vec<_> = std::iter::from_fn(|| forger.b.poll_event()).collect();
    for id in [0, 2] {
        assert_eq!(events.iter().filter(|event| announced(id)(event)).count(), 1);
        assert!(
            forger.b.buffered(id) <= dcep::ACK.len(),
            "{} bytes wait",
            forger.b.buffered(id)
        );
    }
}

#[test]
fn who_resets_streams_and_acknowledges_no_reset_is_ended() {
    let mut forger = Forger::connected();
    let mut rounds = 0;
    while !forger.b.channels.is_empty() && rounds < 1000 {
        let data = forger.data(rounds, 7, PPID_OF_NOBODY, b"x");
        forger.packet(&[data]);
        let reset = forger.reset(rounds, 7, rounds + 1);
        forger.packet(&[reset]);
        rounds += 1;
    }
    assert_eq!(rounds, 129);
}

#[test]
fn channels_come_and_go_without_end() {
    let mut ends = Ends::connected();
    for round in 0..300 {
        let closer = if round % 2 == 0 { &mut ends.a } else { &mut ends.b };
        closer.close(0);
        ends.exchange();
        ends.a.open(ChannelSpec {
            label: round.to_string(),
            ordered: true,
            max_retransmits: None,
            negotiated: Some(0),
        });
        ends.b.open(ChannelSpec {
            label: round.to_string(),
            ordered: true,
            max_retransmits: None,
            negotiated: Some(0),
        });
        ends.exchange();
        assert!(ends.is_open(), "round {round}");
    }
}
