//! How an association begins, and ends, with a remote side of which every byte is forged.

use super::*;
use crate::sctp::handshake::Init;
use crate::sctp::packet::{
    ABORT, COOKIE_ACK, COOKIE_ECHO, ERROR, INIT, INIT_ACK, chunks, is_signed, number, short,
};

/// A remote side of which every byte is forged.
struct Stranger {
    sctp: Sctp,
    now: Instant,
    ours: Init,
    port: u16,
}

const TAG: u32 = 0x1111_2222;

impl Stranger {
    fn new() -> Self {
        Self::at(SctpRemote::PORT)
    }

    fn at(port: std::num::NonZeroU16) -> Self {
        let now = crate::test_epoch();
        let mut sctp = Sctp::default();
        sctp.start(now, DtlsRole::Client, SctpRemote { port, ..REMOTE });
        let init = sctp.poll_packet(now).expect("it begins");
        assert!(is_signed(&init) && number(&init, 4) == Some(0));
        assert_eq!((short(&init, 0), short(&init, 2)), (Some(5000), Some(port.get())));
        let (ours, cookie) = Init::parse(&init[12..]).expect("an INIT");
        assert!(init[12] == INIT && cookie.is_none() && ours.forward_tsn);
        assert!(sctp.poll_packet(now).is_none());
        Self {
            sctp,
            now,
            ours,
            port: port.get(),
        }
    }

    /// Sends a packet with these chunks, and takes the answers: their tag, and their first chunk.
    fn say(&mut self, tag: u32, chunks_of_it: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut packet = self.port.to_be_bytes().to_vec();
        packet.extend(5000u16.to_be_bytes());
        packet.extend(tag.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(chunks_of_it);
        sign(&mut packet);
        self.sctp.handle_packet(self.now, &packet);
        let answers = std::iter::from_fn(|| self.sctp.poll_packet(self.now));
        let parts = answers.map(|packet| {
            assert!(is_signed(&packet));
            let tag = number(&packet, 4).expect("a header");
            (tag, chunks(&packet).next().expect("a chunk").to_vec())
        });
        parts.collect()
    }

    fn init(&mut self, init: &[u8]) -> Option<(u32, Init, Vec<u8>)> {
        let answers = self.say(0, init);
        let (tag, chunk) = answers.into_iter().find(|(_, chunk)| chunk[0] == INIT_ACK)?;
        let (init, cookie) = Init::parse(&chunk)?;
        Some((tag, init, echo(cookie?)))
    }

    /// Associates, with this INIT.
    fn associated(init: &[u8]) -> Self {
        let mut stranger = Self::new();
        let (.., echo) = stranger.init(init).expect("an answer");
        let answers = stranger.say(stranger.ours.tag, &echo);
        assert_eq!(
            answers,
            [(number(init, 4).expect("a tag"), vec![COOKIE_ACK, 0, 0, 4])]
        );
        assert!(stranger.is_up());
        stranger
    }

    fn is_up(&self) -> bool {
        self.sctp.link.as_ref().is_some_and(Link::is_up)
    }

    /// Sends chunks and waits for the delayed SACK: its cumulative TSN.
    fn acknowledged(&mut self, chunks_of_it: &[u8]) -> Option<u32> {
        let mut answers = self.say(self.ours.tag, chunks_of_it);
        self.now += Duration::from_millis(300);
        self.sctp.handle_timeout(self.now);
        answers.extend(self.say(1, &[]));
        let sack = answers.iter().rev().find(|(_, chunk)| chunk[0] == 3);
        sack.and_then(|(_, chunk)| number(chunk, 4))
    }
}

fn echo(cookie: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + cookie.len()).expect("short").to_be_bytes();
    [&[COOKIE_ECHO, 0, len[0], len[1]], cookie].concat()
}

fn init(tag: u32, window: u32, (outbound, inbound): (u16, u16), tsn: u32, parameters: &[u8]) -> Vec<u8> {
    let mut chunk = vec![INIT, 0];
    chunk.extend(u16::try_from(20 + parameters.len()).expect("short").to_be_bytes());
    chunk.extend(tag.to_be_bytes());
    chunk.extend(window.to_be_bytes());
    chunk.extend(outbound.to_be_bytes());
    chunk.extend(inbound.to_be_bytes());
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(parameters);
    chunk
}

fn usual(tag: u32) -> Vec<u8> {
    init(tag, 131_072, (65_535, 65_535), 77, &[])
}

/// The same as an INIT ACK, with a cookie of four bytes.
fn init_ack() -> Vec<u8> {
    let mut chunk = init(TAG, 131_072, (65_535, 65_535), 77, &[0, 7, 0, 8, 1, 2, 3, 4]);
    chunk[0] = INIT_ACK;
    chunk
}

/// A message of one byte without a meaning.
fn data(tsn: u32) -> Vec<u8> {
    let mut chunk = vec![0, 7, 0, 17];
    chunk.extend(tsn.to_be_bytes());
    chunk.extend([0, 7, 0, 0]);
    chunk.extend(PPID_OF_NOBODY.to_be_bytes());
    chunk.extend([b'x', 0, 0, 0]);
    chunk
}

#[test]
fn a_crossing_init_is_answered_with_the_numbers_of_ours() {
    let mut stranger = Stranger::new();
    let ours = stranger.ours;
    let (tag, theirs, _) = stranger.init(&usual(TAG)).expect("an answer");
    assert_eq!((tag, theirs), (TAG, ours));
    // Not only before our INIT is answered, but also after.
    let ack = init_ack();
    let echoed = stranger.say(ours.tag, &ack);
    assert_eq!(echoed, [(TAG, vec![COOKIE_ECHO, 0, 0, 8, 1, 2, 3, 4])]);
    assert_eq!(
        stranger.init(&usual(TAG)).map(|(tag, init, _)| (tag, init)),
        Some((TAG, ours))
    );
    // A second INIT ACK is that of a duplicate.
    assert!(stranger.say(ours.tag, &ack).is_empty() && !stranger.is_up());
    assert!(stranger.say(ours.tag, &[COOKIE_ACK, 0, 0, 4]).is_empty() && stranger.is_up());
}

#[test]
fn a_stale_cookie_begins_nothing() {
    let mut stranger = Stranger::new();
    let tag = stranger.ours.tag;
    let (.., old) = stranger.init(&usual(TAG)).expect("an answer");
    let (.., new) = stranger.init(&usual(TAG + 1)).expect("an answer");
    assert!(stranger.say(tag, &old).is_empty() && !stranger.is_up());
    assert!(stranger.say(tag, &echo(&[7; 16])).is_empty() && !stranger.is_up());
    assert!(stranger.say(tag.wrapping_add(1), &new).is_empty() && !stranger.is_up());
    assert_eq!(stranger.sctp.dropped(), 3);
    assert_eq!(stranger.say(tag, &new), [(TAG + 1, vec![COOKIE_ACK, 0, 0, 4])]);
    assert!(stranger.is_up());
    // Once more, because the COOKIE ACK was lost.
    assert_eq!(stranger.say(tag, &new), [(TAG + 1, vec![COOKIE_ACK, 0, 0, 4])]);
    assert!(stranger.say(tag, &old).is_empty());
}

#[test]
fn a_remote_side_with_another_tag_than_it_answered_with_is_known_by_its_last() {
    let mut stranger = Stranger::new();
    let tag = stranger.ours.tag;
    let ack = init_ack();
    stranger.say(tag, &ack);
    let (.., echo) = stranger.init(&usual(TAG + 1)).expect("an answer");
    assert_eq!(stranger.say(tag, &echo), [(TAG + 1, vec![COOKIE_ACK, 0, 0, 4])]);
    assert!(stranger.is_up());
}

#[test]
fn an_init_of_another_beginning_changes_nothing_once_it_is_up() {
    let mut stranger = Stranger::associated(&usual(TAG));
    assert!(stranger.say(0, &usual(TAG + 1)).is_empty());
    assert!(stranger.say(0, &init(TAG, 131_072, (16, 16), 78, &[])).is_empty());
    assert_eq!(stranger.sctp.dropped(), 2);
    // Its own comes late, and it may still wait for the answer.
    assert_eq!(
        stranger.init(&usual(TAG)).map(|(tag, init, _)| (tag, init)),
        Some((TAG, stranger.ours))
    );
    assert_eq!(stranger.acknowledged(&data(77)), Some(77));
    assert!(stranger.is_up());
}

#[test]
fn what_is_no_init_gets_no_answer() {
    let good = usual(TAG);
    let bad = [
        init(0, 131_072, (1, 1), 1, &[]),
        init(TAG, 1499, (1, 1), 1, &[]),
        init(TAG, 131_072, (0, 1), 1, &[]),
        init(TAG, 131_072, (1, 0), 1, &[]),
        init(TAG, 131_072, (1, 1), 1, &[0, 9, 0, 3]),
        init(TAG, 131_072, (1, 1), 1, &[0, 9, 0, 9, 0, 0, 0, 0]),
        good[..16].to_vec(),
        [&good[..], &data(77)].concat(),
        init(TAG, 131_072, (1, 1), 1, &[0x80; 1480]),
    ];
    for chunk in bad {
        let mut stranger = Stranger::new();
        assert!(stranger.say(0, &chunk).is_empty(), "{chunk:?}");
        assert_eq!(stranger.sctp.dropped(), 1, "{chunk:?}");
        assert!(stranger.init(&good).is_some());
    }
    let mut stranger = Stranger::new();
    assert!(
        stranger.say(stranger.ours.tag, &good).is_empty(),
        "an INIT has no tag"
    );
    stranger.port = 5001;
    assert!(
        stranger.say(0, &good).is_empty(),
        "another port is another association"
    );
}

#[test]
fn parameters_of_others_are_passed_over() {
    // An IPv4 address, a host name, supported address types, ECN, zero checksum, and two of nobody.
    let parameters = [
        &[0, 5, 0, 8, 192, 0, 2, 1][..],
        &[0, 11, 0, 7, b'm', b'e', 0, 0],
        &[0, 12, 0, 6, 0, 5, 0, 0],
        &[0x80, 0, 0, 4],
        &[0x80, 1, 0, 8, 0, 0, 0, 1],
        &[0x3F, 1, 0, 4],
        &[0x7F, 1, 0, 4],
        &[0xC0, 0, 0, 4],
    ];
    let mut stranger = Stranger::associated(&init(TAG, 1500, (10, 10), 5, &parameters.concat()));
    assert_eq!(stranger.acknowledged(&data(5)), Some(5));
    let remote = stranger
        .sctp
        .link
        .as_ref()
        .and_then(|link| link.remote().copied());
    assert!(remote.is_some_and(|remote| remote.forward_tsn));
}

#[test]
fn any_number_may_be_the_first() {
    for tsn in [0, 1, u32::MAX] {
        let mut stranger = Stranger::associated(&init(TAG, 131_072, (16, 16), tsn, &[]));
        assert_eq!(stranger.acknowledged(&data(tsn)), Some(tsn));
    }
    // Also its tag may be ours.
    let mut stranger = Stranger::new();
    let (.., echo) = stranger.init(&usual(stranger.ours.tag)).expect("an answer");
    stranger.say(stranger.ours.tag, &echo);
    assert_eq!(stranger.acknowledged(&data(77)), Some(77));
}

#[test]
fn the_port_of_the_description_is_where_packets_go_and_come_from() {
    let port = std::num::NonZeroU16::new(6000).expect("not 0");
    let mut stranger = Stranger::at(port);
    let (.., echo) = stranger.init(&usual(TAG)).expect("an answer");
    stranger.say(stranger.ours.tag, &echo);
    assert_eq!(stranger.acknowledged(&data(77)), Some(77));
    stranger.sctp.open(negotiated());
    assert!(stranger.sctp.send(0, true, b"to there"));
    let packet = stranger.sctp.poll_packet(stranger.now).expect("DATA");
    assert_eq!((short(&packet, 0), short(&packet, 2)), (Some(5000), Some(6000)));
}

#[test]
fn data_that_shares_a_packet_with_a_cookie_counts() {
    let mut stranger = Stranger::new();
    let (.., echo) = stranger.init(&usual(TAG)).expect("an answer");
    let both = [&echo[..], &data(77)].concat();
    assert_eq!(stranger.acknowledged(&both), Some(77));
}

#[test]
fn channels_keep_to_the_streams_that_the_remote_side_has() {
    let mut stranger = Stranger::new();
    let (_, answer, echo) = stranger
        .init(&init(TAG, 131_072, (9, 3), 77, &[]))
        .expect("an answer");
    assert_eq!((answer.outbound, answer.inbound), (3, 1024));
    stranger.say(stranger.ours.tag, &echo);
    for negotiated in [None, None, None, Some(2), Some(100)] {
        stranger.sctp.open(ChannelSpec {
            label: String::new(),
            ordered: true,
            max_retransmits: None,
            negotiated,
        });
    }
    let ids: Vec<_> = stranger.sctp.channels.keys().copied().collect();
    assert_eq!(ids, [0, 2]);
    assert_eq!(stranger.sctp.dropped(), 3);
}

#[test]
fn an_abort_before_the_beginning_means_not_now() {
    let mut stranger = Stranger::new();
    let tag = stranger.ours.tag;
    assert!(stranger.say(tag, &[ABORT, 0, 0, 4]).is_empty());
    stranger.now += Duration::from_millis(100);
    stranger.sctp.handle_timeout(stranger.now);
    let again = stranger.say(1, &[]);
    assert_eq!(again.len(), 1);
    assert_eq!(
        Init::parse(&again[0].1).map(|(init, _)| init),
        Some(stranger.ours)
    );
    // A stale cookie is told by an ERROR: then it begins anew.
    let ack = init_ack();
    for end in [&[ERROR, 0, 0, 12, 0, 3, 0, 8, 0, 0, 0, 0][..], &[ABORT, 0, 0, 4]] {
        assert_eq!(stranger.say(tag, &ack).len(), 1);
        assert!(stranger.say(tag, end).is_empty());
        assert!(stranger.say(tag, &[COOKIE_ACK, 0, 0, 4]).is_empty() && !stranger.is_up());
        stranger.now += Duration::from_secs(3);
        stranger.sctp.handle_timeout(stranger.now);
        assert_eq!(stranger.say(1, &[])[0].1[0], INIT);
    }
    let (.., echo) = stranger.init(&usual(TAG)).expect("an answer");
    stranger.say(tag, &echo);
    assert!(stranger.is_up());
}

#[test]
fn an_error_ends_nothing_and_unknown_chunks_do_not_take_others_with_them() {
    let mut stranger = Stranger::associated(&usual(TAG));
    let unrecognized = [ERROR, 0, 0, 12, 0, 8, 0, 8, 0xC0, 0, 0, 4];
    let padding = [0x84, 0, 0, 8, 0, 0, 0, 0];
    let packet = [&unrecognized[..], &padding, &[5, 0, 0, 4], &data(77)].concat();
    assert_eq!(stranger.acknowledged(&packet), Some(77));
    // RFC 9260 §3.2: behind this one nothing counts.
    let packet = [&data(78)[..], &[0x40, 0, 0, 4], &data(79)].concat();
    assert_eq!(stranger.acknowledged(&packet), Some(78));
    assert!(stranger.is_up());
}

/// Complaints of dependencies, of each thread.
struct Complaints;

thread_local! {
    static COMPLAINTS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl log::Log for Complaints {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            COMPLAINTS.with_borrow_mut(|all| all.push(record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

/// That a client leaves is no error, whatever its library calls it.
#[test]
fn an_abort_is_nothing_to_complain_of() {
    log::set_logger(&Complaints).expect("no other test has one");
    log::set_max_level(log::LevelFilter::Warn);
    let causes = [
        &[ABORT, 0, 0, 4][..],
        &[ABORT, 0, 0, 12, 0, 12, 0, 8, b'b', b'y', b'e', b'!'],
        &[ABORT, 0, 0, 8, 0, 4, 0, 4],
    ];
    for cause in causes {
        let extensions = [0x80, 8, 0, 6, 130, 192];
        let mut stranger = Stranger::associated(&init(TAG, 131_072, (16, 16), 77, &extensions));
        stranger.acknowledged(&data(77));
        stranger.say(stranger.ours.tag, cause);
        assert!(!stranger.is_up());
        // What was on its way when it left.
        stranger.say(stranger.ours.tag, &data(78));
        stranger.say(stranger.ours.tag, cause);
    }
    COMPLAINTS.with_borrow(|all| assert!(all.is_empty(), "{all:?}"));
}

#[test]
fn an_abort_ends_it_and_only_with_one_of_its_tags() {
    let causes = [
        &[ABORT, 0, 0, 4][..],
        // User-initiated, out of resource, a protocol violation.
        &[ABORT, 0, 0, 12, 0, 12, 0, 8, b'b', b'y', b'e', b'!'],
        &[ABORT, 0, 0, 8, 0, 4, 0, 4],
        &[ABORT, 0, 0, 8, 0, 13, 0, 4],
    ];
    for cause in causes {
        for reflects in [false, true] {
            let mut stranger = Stranger::associated(&usual(TAG));
            stranger.sctp.open(negotiated());
            let mut chunk = cause.to_vec();
            chunk[1] = u8::from(reflects);
            let (right, wrong) = if reflects {
                (TAG, stranger.ours.tag)
            } else {
                (stranger.ours.tag, TAG)
            };
            stranger.say(wrong, &chunk);
            assert!(stranger.is_up());
            stranger.say(right, &chunk);
            assert!(!stranger.is_up());
            let events: Vec<_> = std::iter::from_fn(|| stranger.sctp.poll_event()).collect();
            assert!(
                matches!(events.last(), Some(PeerEvent::ChannelClosed { .. })),
                "{events:?}"
            );
            assert!(!events.contains(&PeerEvent::Failed));
        }
    }
}
