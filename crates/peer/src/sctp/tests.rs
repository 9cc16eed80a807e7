//! Channels without DTLS: two ends, packets handed over directly, some of them forged by a remote
//! side that has the keys.

use super::*;
use std::time::Duration;

struct Ends {
    a: Sctp,
    b: Sctp,
    now: Instant,
    rng: u64,
}

impl Ends {
    fn connected() -> Self {
        let mut ends = Self {
            a: Sctp::default(),
            b: Sctp::default(),
            now: crate::test_epoch(),
            rng: 0x1234_5678_9abc_def1,
        };
        ends.a.start(DtlsRole::Client, 0);
        ends.b.start(DtlsRole::Server, 0);
        ends.a.open(ChannelSpec {
            label: "x".to_owned(),
            ordered: true,
            max_retransmits: None,
            negotiated: None,
        });
        ends.exchange();
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
fn a_second_init_does_not_end_the_association() {
    let mut ends = Ends::connected();
    let mut again = Sctp::default();
    again.start(DtlsRole::Client, 0);
    let init = again.poll_packet(ends.now).expect("the client initiates");
    assert_eq!(init[12], 1);
    ends.b.handle_packet(ends.now, &init);
    ends.a.handle_packet(ends.now, &init);
    assert!(ends.is_open());
    assert!(ends.a.send(0, true, b"still here"));
    ends.exchange();
    let arrived = std::iter::from_fn(|| ends.b.poll_event()).any(|e| matches!(e, PeerEvent::Message { .. }));
    assert!(arrived);
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

/// Puts the checksum in place (RFC 9260 appendix A).
fn sign(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let mut crc = !0u32;
    for byte in &*packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    packet[8..12].copy_from_slice(&(!crc).to_le_bytes());
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
