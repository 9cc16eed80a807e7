//! Checks written by hand: what each is answered with, and what it changes.

use crate::ours::{
    self, CONTROLLED, CONTROLLING, LITE, MS, Ours, PWD, Setup, THEIR_PWD, THEIR_UFRAG, UFRAG, epoch, host,
};
use aws_lc_rs::hmac;
use peer::{PeerEvent, Received, Refusal};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::stun::{Class, Message, Role, Writer};

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn tag(pwd: &str, bytes: &[u8]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, pwd.as_bytes());
    hmac::sign(&key, bytes).as_ref().try_into().unwrap()
}

fn sign(message: Writer, pwd: &str) -> Vec<u8> {
    message.sign(|bytes| tag(pwd, bytes))
}

/// A check as a client writes it.
fn check(id: u8) -> Writer {
    Writer::new(Class::Request, [id; 12])
        .username(UFRAG, THEIR_UFRAG)
        .priority(1_845_501_695)
}

fn authentic(message: &Message<'_>, pwd: &str) -> bool {
    message.is_authentic(|parts, expected| tag(pwd, &parts.concat()) == *expected)
}

/// Our side, described to itself, with one request that was received.
struct Asked {
    ours: Ours,
    now: Instant,
}

impl Asked {
    fn new(setup: Setup) -> Self {
        let now = epoch();
        let mut ours = Ours::new(setup, now);
        ours.describe(now, ours::credentials(THEIR_UFRAG, THEIR_PWD));
        assert_eq!(ours.drain(now), []);
        Self { ours, now }
    }

    fn receive(&mut self, port: u16, data: &[u8]) -> (Received, Vec<ours::Sent>) {
        let received = self.ours.receive(self.now, client(port), 0, data);
        (received, self.ours.drain(self.now))
    }

    /// The requests among what leaves now.
    fn checks(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let sent = self.ours.drain(self.now).into_iter();
        sent.filter(|(_, _, data)| wire::stun::is_binding_request(data))
            .map(|(to, _, data)| (to, data))
            .collect()
    }

    /// The other side answers one of our checks.
    fn answer(&mut self, port: u16, request: &[u8]) -> Received {
        let id = Message::parse(request).unwrap().transaction;
        let answer = Writer::new(Class::Success, id).mapped(ours::address(0));
        self.receive(port, &sign(answer, THEIR_PWD)).0
    }
}

#[test]
fn a_check_is_answered_and_asked_back_at_once() {
    for setup in [CONTROLLED, LITE] {
        let mut asked = Asked::new(setup);
        let request = sign(check(1).role(Role::Controlling(5)), PWD);
        let (received, sent) = asked.receive(7, &request);
        assert!(matches!(received, Received::Check));
        assert!(sent.iter().all(|(to, local, _)| *to == client(7) && *local == 0));
        let answer = Message::parse(&sent[0].2).unwrap();
        assert_eq!((answer.class, answer.transaction), (Class::Success, [1; 12]));
        assert_eq!(answer.mapped, Some(client(7)));
        assert!(authentic(&answer, PWD));
        assert_eq!(sent.len(), if setup.lite { 1 } else { 2 });
        if let Some((_, _, data)) = sent.get(1) {
            let ours = Message::parse(data).unwrap();
            assert_eq!(ours.fragments(), Some((THEIR_UFRAG.as_bytes(), UFRAG.as_bytes())));
            assert_eq!(ours.role, Some(Role::Controlled(CONTROLLED.seed)));
            // Of a peer-reflexive candidate.
            assert_eq!(ours.priority.map(|priority| priority >> 24), Some(110));
            assert!(authentic(&ours, THEIR_PWD) && !ours.use_candidate);
        }
    }
}

#[test]
fn strangers_get_no_answer_at_all() {
    let mut asked = Asked::new(CONTROLLED);
    let role = Role::Controlling(5);
    let mut forged = sign(check(3).role(role), PWD);
    // The priority: the integrity is another one then, and there is no fingerprint that tells first.
    let end = forged.len() - 8;
    forged.truncate(end);
    forged[3] -= 8;
    forged[36] ^= 1;
    let named = |name: &str, by: &str| {
        Writer::new(Class::Request, [4; 12])
            .username(name, by)
            .priority(1)
    };
    for (what, data) in [
        ("another password", sign(check(1).role(role), "another password")),
        ("no integrity", check(2).role(role).finish()),
        ("changed on the way", forged),
        (
            "no user name",
            sign(Writer::new(Class::Request, [5; 12]).priority(1), PWD),
        ),
        ("another fragment of ours", sign(named("ourt", THEIR_UFRAG), PWD)),
        ("another fragment of theirs", sign(named(UFRAG, "they"), PWD)),
        ("the beginning of theirs", sign(named(UFRAG, "the"), PWD)),
        ("unknown attributes", check(6).attribute(0x7777, b"?").finish()),
        (
            "an answer to nothing",
            sign(Writer::new(Class::Success, [7; 12]), THEIR_PWD),
        ),
        ("an indication", Writer::new(Class::Indication, [8; 12]).finish()),
    ] {
        let dropped = asked.ours.dropped();
        let (received, sent) = asked.receive(9, &data);
        assert!(
            matches!(received, Received::Refused(Refusal::Unauthenticated)),
            "{what}: {received:?}"
        );
        assert_eq!(sent, [], "{what}");
        assert_eq!(asked.ours.dropped(), dropped + 1, "{what}");
    }
    assert_eq!(asked.ours.peer.destination(), None);
}

#[test]
fn what_cannot_be_understood_is_refused_by_its_code() {
    let mut asked = Asked::new(CONTROLLED);
    for (request, code) in [
        (check(1).attribute(0x7777, b"?"), 420),
        (check(2).attribute(0x802A, b"short"), 400),
        (check(3).role(Role::Controlled(u64::MAX)), 487),
    ] {
        let (_, sent) = asked.receive(9, &sign(request, PWD));
        let answer = Message::parse(&sent[0].2).unwrap();
        assert_eq!((answer.class, answer.error), (Class::Error, Some(code)));
        assert!(authentic(&answer, PWD));
        assert_eq!(sent.len(), 1, "nothing follows from it");
    }
    // A lite agent never controls, whatever the tie-breakers say.
    let mut asked = Asked::new(LITE);
    let (_, sent) = asked.receive(9, &sign(check(1).role(Role::Controlled(0)), PWD));
    assert_eq!(Message::parse(&sent[0].2).unwrap().error, Some(487));
}

#[test]
fn a_role_conflict_that_we_lose_turns_us_round() {
    let mut asked = Asked::new(CONTROLLING);
    let (_, sent) = asked.receive(9, &sign(check(1).role(Role::Controlling(u64::MAX)), PWD));
    assert_eq!(Message::parse(&sent[0].2).unwrap().class, Class::Success);
    let ours = Message::parse(&sent[1].2).unwrap();
    assert_eq!(ours.role, Some(Role::Controlled(CONTROLLING.seed)));
    // The other way round it is told to us: with another tie-breaker from then on.
    let mut asked = Asked::new(CONTROLLING);
    let (_, sent) = asked.receive(9, &sign(check(1), PWD));
    let id = Message::parse(&sent[1].2).unwrap().transaction;
    let refusal = Writer::new(Class::Error, id).error(487, "Role Conflict");
    asked.now += MS * 10;
    let (_, sent) = asked.receive(9, &sign(refusal, THEIR_PWD));
    let Some(Role::Controlled(tie_breaker)) = Message::parse(&sent[0].2).unwrap().role else {
        panic!("{sent:?}");
    };
    assert_ne!(tie_breaker, CONTROLLING.seed);
}

#[test]
fn aggressive_and_regular_nomination_select() {
    for (first, second) in [(true, true), (false, true)] {
        let mut asked = Asked::new(CONTROLLED);
        let nominating = |id, nominates: bool| {
            let request = check(id).role(Role::Controlling(5));
            let request = if nominates {
                request.use_candidate()
            } else {
                request
            };
            sign(request, PWD)
        };
        let (_, sent) = asked.receive(9, &nominating(1, first));
        assert_eq!(asked.ours.peer.destination(), None, "not before our own check");
        asked.now += MS * 10;
        asked.answer(9, &sent[1].2);
        assert_eq!(asked.ours.peer.destination().is_some(), first);
        let (_, sent) = asked.receive(9, &nominating(2, second));
        assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
        assert!(asked.ours.has(&PeerEvent::IceConnected));
        assert_eq!(sent.len(), 1, "the pair is known to work: {sent:?}");
    }
}

#[test]
fn our_nomination_is_repeated_until_it_is_answered() {
    let mut asked = Asked::new(CONTROLLING);
    asked.ours.peer.add_remote_candidate(host(client(9)));
    let first = asked.checks();
    assert!(!Message::parse(&first[0].1).unwrap().use_candidate);
    asked.now += MS * 10;
    let id = Message::parse(&first[0].1).unwrap().transaction;
    let answer = sign(
        Writer::new(Class::Success, id).mapped(ours::address(0)),
        THEIR_PWD,
    );
    let (_, sent) = asked.receive(9, &answer);
    assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
    let nominates = |data: &[u8]| Message::parse(data).unwrap().use_candidate;
    assert!(sent.len() == 1 && nominates(&sent[0].2));
    asked.now += MS * 50;
    let again = asked.checks();
    assert!(again.len() == 1 && nominates(&again[0].1), "lost: sent again");
    asked.answer(9, &again[0].1);
    asked.now += MS * 1900;
    assert_eq!(asked.checks(), [], "from now on the keepalive");
    asked.now += MS * 100;
    assert_eq!(asked.checks().len(), 1);
}

#[test]
fn an_answer_from_elsewhere_proves_nothing() {
    let mut asked = Asked::new(CONTROLLED);
    let (_, sent) = asked.receive(9, &sign(check(1).role(Role::Controlling(5)).use_candidate(), PWD));
    asked.now += MS;
    let refused = asked.answer(10, &sent[1].2);
    assert!(matches!(refused, Received::Refused(Refusal::Unauthenticated)));
    assert_eq!(asked.ours.peer.destination(), None);
    assert!(matches!(asked.answer(9, &sent[1].2), Received::Check));
    assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
}

#[test]
fn a_request_sent_again_from_elsewhere_is_refused() {
    let mut asked = Asked::new(LITE);
    let request = sign(check(1).role(Role::Controlling(5)).use_candidate(), PWD);
    asked.receive(9, &request);
    let (received, sent) = asked.receive(10, &request);
    assert!(matches!(received, Received::Refused(Refusal::Unauthenticated)));
    assert_eq!(sent, []);
    assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
}

#[test]
fn the_selected_pair_outlives_a_flood_of_others() {
    for setup in [CONTROLLED, LITE] {
        let mut asked = Asked::new(setup);
        let nominate = |id| sign(check(id).role(Role::Controlling(5)).use_candidate(), PWD);
        let (_, sent) = asked.receive(9, &nominate(1));
        if let Some((_, _, ours)) = sent.get(1) {
            asked.answer(9, ours);
        }
        let mut checks = 0;
        for port in 100..400u16 {
            asked.now += MS;
            let id = u8::try_from(port % 250).unwrap();
            let request = check(id).role(Role::Controlling(5)).use_candidate();
            let request = request.attribute(0xC000, &port.to_be_bytes());
            let (_, sent) = asked.receive(port, &sign(request, PWD));
            checks += sent
                .iter()
                .filter(|sent| wire::stun::is_binding_request(&sent.2))
                .count();
        }
        assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
        assert_eq!(checks, 0, "no better than the selected pair");
        // Most came from more addresses than are ever taken.
        assert!(asked.ours.dropped() >= 200, "{}", asked.ours.dropped());
        asked.now += MS * 50;
        let (_, sent) = asked.receive(9, &nominate(2));
        assert_eq!(sent.len(), 1, "still answered");
    }
}

#[test]
fn candidates_of_no_use_are_counted_and_many_are_bounded() {
    let mut asked = Asked::new(CONTROLLED);
    for useless in ["192.0.2.1:0", "0.0.0.0:7", "224.0.0.1:7"] {
        asked
            .ours
            .peer
            .add_remote_candidate(host(useless.parse().unwrap()));
    }
    assert_eq!(asked.ours.dropped(), 3);
    for port in 1..=100 {
        asked.ours.peer.add_remote_candidate(host(client(port)));
    }
    assert_eq!(asked.ours.dropped(), 3 + 68);
    // First checks keep to a pace of 20 ms.
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.extend(asked.checks());
        assert_eq!(asked.checks(), []);
        asked.now += MS * 20;
    }
    let mut first: Vec<_> = sent.iter().map(|(to, _)| *to).collect();
    first.sort();
    first.dedup();
    assert!(first.len() >= 20, "{}", first.len());
    // All are given up in the end, and then nothing is left to do but to fail.
    let end = asked.now + Duration::from_secs(20);
    while let Some(due) = asked.ours.peer.poll_timeout().filter(|due| *due <= end) {
        asked.now = due;
        asked.ours.drain(due);
    }
    assert!(asked.ours.has(&PeerEvent::IceFailed));
    assert_eq!(asked.ours.peer.poll_timeout(), None);
}

#[test]
fn fragments_of_256_characters_connect_and_longer_ones_are_refused() {
    let long = "u".repeat(256);
    let now = epoch();
    let mut ours = Ours::new(CONTROLLED, now);
    ours.describe(now, ours::credentials(&long, &"p".repeat(256)));
    let request = Writer::new(Class::Request, [1; 12])
        .username(UFRAG, &long)
        .role(Role::Controlling(5))
        .use_candidate();
    let received = ours.receive(now, client(9), 0, &sign(request, PWD));
    assert!(matches!(received, Received::Check));
    let sent = ours.drain(now);
    let check = Message::parse(&sent[1].2).unwrap();
    assert_eq!(check.fragments(), Some((long.as_bytes(), UFRAG.as_bytes())));
    let mut asked = Asked { ours, now };
    let answer = Writer::new(Class::Success, check.transaction).mapped(ours::address(0));
    asked.receive(9, &sign(answer, &"p".repeat(256)));
    assert_eq!(asked.ours.peer.destination(), Some((client(9), 0)));
    for (ufrag, pwd) in [
        ("u".repeat(257), "p".repeat(22)),
        ("u".repeat(4), "p".repeat(257)),
    ] {
        let mut ours = Ours::new(CONTROLLED, now);
        ours.describe(now, ours::credentials(&ufrag, &pwd));
        ours.drain(now);
        assert!(ours.has(&PeerEvent::Failed));
    }
}
