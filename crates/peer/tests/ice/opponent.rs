//! Against the crate `is`: every role, loss, restarts, a NAT that chooses another port.

use crate::ours::{
    self, CONTROLLED, CONTROLLING, LITE, MS, Ours, PWD, Setup, THEIR_PWD, THEIR_UFRAG, UFRAG, epoch, host,
};
use aws_lc_rs::hmac;
use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds, Protocol};
use peer::PeerEvent;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const LATENCY: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct AwsLc;

impl is::Sha1HmacProvider for AwsLc {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        payloads.iter().for_each(|payload| context.update(payload));
        context.sign().as_ref().try_into().unwrap()
    }
}

/// Both sides and the link between them.
struct Match {
    ours: Ours,
    theirs: IceAgent,
    /// What the other agent believes its address to be.
    base: SocketAddr,
    /// What its NAT makes of it.
    seen: SocketAddr,
    /// Where it sends to, once that is settled.
    destination: Option<SocketAddr>,
    now: Instant,
    start: Instant,
    loss: u64,
    rng: u64,
    order: u64,
    to_ours: BTreeMap<(Instant, u64), (SocketAddr, u8, Vec<u8>)>,
    to_theirs: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    /// Of us.
    sent: usize,
}

fn creds(ufrag: &str, pwd: &str) -> IceCreds {
    IceCreds {
        ufrag: ufrag.to_owned(),
        pass: pwd.to_owned(),
    }
}

impl Match {
    fn new(setup: Setup, they_control: bool, loss: u64, seed: u64) -> Self {
        let start = epoch();
        let base: SocketAddr = "192.0.2.1:1000".parse().unwrap();
        let mut theirs = IceAgent::with_hmac(creds(THEIR_UFRAG, THEIR_PWD), &AwsLc);
        theirs.set_controlling(they_control);
        theirs.set_control_tie_breaker(1 << 30);
        let candidate = is::Candidate::builder().udp().host(base).build().unwrap();
        theirs.add_local_candidate(candidate);
        Self {
            ours: Ours::new(setup, start),
            theirs,
            base,
            seen: base,
            destination: None,
            now: start,
            start,
            loss,
            rng: 0x9e37_79b9_7f4a_7c15 ^ (seed << 17),
            order: 0,
            to_ours: BTreeMap::new(),
            to_theirs: BTreeMap::new(),
            sent: 0,
        }
    }

    /// Both know each other.
    fn describe(&mut self, our_ufrag: &str, their_ufrag: &str) {
        let now = self.now;
        self.ours.describe(now, ours::credentials(their_ufrag, THEIR_PWD));
        self.ours.peer.add_remote_candidate(host(self.base));
        self.theirs.set_remote_credentials(creds(our_ufrag, PWD));
        let address = ours::address(0);
        let ours = is::Candidate::builder().udp().host(address).build().unwrap();
        self.theirs.add_remote_candidate(ours);
        self.theirs.handle_timeout(now);
    }

    fn is_lost(&mut self) -> bool {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % 100 < self.loss
    }

    fn drain(&mut self) {
        let now = self.now;
        for (to, local, data) in self.ours.drain(now) {
            self.sent += 1;
            if to != self.seen || self.is_lost() {
                continue;
            }
            self.order += 1;
            let arrival = (now + LATENCY, self.order);
            self.to_theirs.insert(arrival, (ours::address(local), data));
        }
        loop {
            while let Some(event) = self.theirs.poll_event() {
                if let IceAgentEvent::NominatedSend { destination, .. } = event {
                    self.destination = Some(destination);
                }
            }
            let Some(transmit) = self.theirs.poll_transmit() else {
                break;
            };
            if transmit.destination != ours::address(0) || self.is_lost() {
                continue;
            }
            self.order += 1;
            let data = transmit.contents.to_vec();
            self.to_ours
                .insert((now + LATENCY, self.order), (self.seen, 0, data));
        }
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let arrivals = [
                self.to_ours.keys().next().map(|(at, _)| *at),
                self.to_theirs.keys().next().map(|(at, _)| *at),
                self.ours.peer.poll_timeout(),
                self.theirs.poll_timeout(),
            ];
            let next = arrivals.into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= deadline) else {
                self.now = deadline;
                return false;
            };
            self.now = self.now.max(next);
            let now = self.now;
            while let Some(entry) = self.to_ours.first_entry().filter(|e| e.key().0 <= now) {
                let (from, local, data) = entry.remove();
                self.ours.receive(now, from, local, &data);
                self.drain();
            }
            while let Some(entry) = self.to_theirs.first_entry().filter(|e| e.key().0 <= now) {
                let (source, data) = entry.remove();
                if let Ok(message) = StunMessage::parse(&data) {
                    let packet = StunPacket {
                        proto: Protocol::Udp,
                        source,
                        destination: self.base,
                        message,
                    };
                    self.theirs.handle_packet(now, packet);
                }
                self.drain();
            }
            if self.theirs.poll_timeout().is_some_and(|due| due <= now) {
                self.theirs.handle_timeout(now);
            }
        }
    }

    fn is_settled(&self) -> bool {
        let here = self.ours.peer.destination() == Some((self.seen, 0));
        here && self.ours.has(&PeerEvent::IceConnected) && self.destination == Some(ours::address(0))
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }
}

#[test]
fn every_role_connects_with_loss_too() {
    for (setup, they_control) in [
        (CONTROLLED, true),
        (CONTROLLING, false),
        (LITE, true),
        // Conflicts: the tie-breakers say who is right, in both orders.
        (CONTROLLED, false),
        (CONTROLLING, true),
        (
            Setup {
                seed: 1,
                ..CONTROLLED
            },
            false,
        ),
        (
            Setup {
                seed: 1,
                ..CONTROLLING
            },
            true,
        ),
        (LITE, false),
    ] {
        for (loss, limit) in [(0, 1), (5, 3), (20, 10)] {
            for seed in 1..=20 {
                let mut game = Match::new(setup, they_control, loss, seed);
                game.describe(UFRAG, THEIR_UFRAG);
                let settled = game.run_until(Duration::from_secs(limit), Match::is_settled);
                assert!(
                    settled,
                    "{setup:?} {they_control} {loss} %, seed {seed}: {:?}",
                    game.ours.events
                );
                game.loss = 0;
                game.run_until(Duration::from_secs(30), |_| false);
                assert!(game.is_settled() && !game.ours.has(&PeerEvent::IceDisconnected));
            }
        }
    }
}

#[test]
fn candidates_learned_from_checks_are_enough() {
    for setup in [CONTROLLED, LITE] {
        let mut game = Match::new(setup, true, 0, 1);
        game.theirs.set_remote_credentials(creds(UFRAG, PWD));
        let ours = is::Candidate::builder().udp().host(ours::address(0));
        game.theirs.add_remote_candidate(ours.build().unwrap());
        game.theirs.handle_timeout(game.now);
        // Checks are there before the description that they belong to.
        game.run_until(MS * 15, |_| false);
        assert!(!game.ours.has(&PeerEvent::IceConnected));
        let now = game.now;
        game.ours.describe(now, ours::credentials(THEIR_UFRAG, THEIR_PWD));
        assert!(game.run_until(Duration::from_secs(2), Match::is_settled));
    }
}

#[test]
fn a_restart_while_checks_run_connects() {
    for (setup, they_control) in [(CONTROLLED, true), (CONTROLLING, false), (LITE, true)] {
        for after in [0, 5, 10, 15, 20, 25, 30, 60] {
            let mut game = Match::new(setup, they_control, 0, 1);
            game.describe(UFRAG, THEIR_UFRAG);
            game.run_until(MS * after, |_| false);
            game.ours.peer.restart_ice(ours::credentials("new1", PWD));
            game.theirs.ice_restart(creds("new2", THEIR_PWD), true);
            game.destination = None;
            let before = game.ours.events.len();
            game.describe("new1", "new2");
            let again = |game: &Match| {
                let events = game.ours.events.get(before..).unwrap_or_default();
                game.is_settled() && events.contains(&PeerEvent::IceConnected)
            };
            assert!(
                game.run_until(Duration::from_secs(2), again),
                "{setup:?} after {after} ms"
            );
            game.run_until(Duration::from_secs(30), |_| false);
            assert!(!game.ours.has(&PeerEvent::IceDisconnected));
        }
    }
}

#[test]
fn a_nat_that_chooses_another_port_is_followed() {
    for setup in [CONTROLLED, LITE] {
        let mut game = Match::new(setup, true, 0, 1);
        game.describe(UFRAG, THEIR_UFRAG);
        assert!(game.run_until(Duration::from_secs(2), Match::is_settled));
        game.run_until(Duration::from_secs(5), |_| false);
        game.seen = "192.0.2.1:1001".parse().unwrap();
        assert!(
            game.run_until(Duration::from_secs(10), Match::is_settled),
            "{setup:?}"
        );
        game.run_until(Duration::from_secs(30), |_| false);
        assert!(game.is_settled());
    }
}

#[test]
fn an_idle_peer_wakes_for_its_keepalive_alone() {
    let mut game = Match::new(CONTROLLED, true, 0, 1);
    game.describe(UFRAG, THEIR_UFRAG);
    // Nothing is there: their pairs are given up.
    for port in 1..30 {
        let nowhere = SocketAddr::from(([203, 0, 113, 9], port));
        game.ours.peer.add_remote_candidate(host(nowhere));
    }
    assert!(game.run_until(Duration::from_secs(2), Match::is_settled));
    game.run_until(Duration::from_secs(20), |_| false);
    let (sent, from) = (game.sent, game.elapsed());
    let mut wakes = 0;
    while game.elapsed() - from < Duration::from_secs(20) {
        let due = game.ours.peer.poll_timeout().unwrap();
        game.run_until(due - game.now, |_| false);
        wakes += 1;
    }
    // One check each 2 s; the other side asks each 3 s and is answered.
    assert!((9..=11).contains(&wakes), "{wakes}");
    assert!((15..=19).contains(&(game.sent - sent)), "{}", game.sent - sent);
}
