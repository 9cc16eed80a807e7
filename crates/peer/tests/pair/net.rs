//! Two peers, a link between them, and virtual time.

use peer::{
    Candidate, CandidateKind, DtlsRole, IceCredentials, Identity, Outbox, Peer, PeerEvent, PeerInit,
    ReceivedRtp, Remote, RtpWrite, SctpRemote, Shared,
};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wire::sdp::Fingerprint;

/// Which end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// How one end is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) lite: bool,
    pub(crate) controlling: bool,
    pub(crate) dtls: DtlsRole,
    pub(crate) sctp: Option<u32>,
    /// Index of the socket that the other end can reach; those below lead nowhere.
    pub(crate) socket: u8,
    /// Its certificate has an RSA key.
    pub(crate) rsa: bool,
}

/// A client: full, controlling, DTLS client.
pub(crate) const CLIENT: Setup = Setup {
    lite: false,
    controlling: true,
    dtls: DtlsRole::Client,
    sctp: Some(65_535),
    socket: 0,
    rsa: false,
};
/// A server as Plenum is by default: full, controlled, DTLS server.
pub(crate) const SERVER: Setup = Setup {
    lite: false,
    controlling: false,
    dtls: DtlsRole::Server,
    sctp: Some(65_535),
    socket: 0,
    rsa: false,
};

/// One end and what came out of it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) peer: Peer,
    pub(crate) events: Vec<(Duration, PeerEvent)>,
    pub(crate) rtp: Vec<(ReceivedRtp, Vec<u8>)>,
    pub(crate) ice: IceCredentials,
    pub(crate) setup: Setup,
    pub(crate) address: SocketAddr,
    pub(crate) fingerprint: Fingerprint,
}

impl End {
    pub(crate) fn has(&self, event: &PeerEvent) -> bool {
        self.events.iter().any(|(_, e)| e == event)
    }

    pub(crate) fn at(&self, event: &PeerEvent) -> Option<Duration> {
        let found = self.events.iter().rev().find(|(_, e)| e == event);
        found.map(|(at, _)| *at)
    }

    pub(crate) fn channel(&self, label: &str) -> Option<u16> {
        self.events.iter().rev().find_map(|(_, e)| match e {
            PeerEvent::ChannelOpen { id, label: l } if l == label => Some(*id),
            _ => None,
        })
    }

    pub(crate) fn messages(&self) -> Vec<(u16, bool, Vec<u8>)> {
        let messages = self.events.iter().filter_map(|(_, e)| match e {
            PeerEvent::Message { id, binary, data } => Some((*id, *binary, data.clone())),
            _ => None,
        });
        messages.collect()
    }
}

/// Two ends and the link.
pub(crate) struct Pair {
    pub(crate) a: End,
    pub(crate) b: End,
    pub(crate) now: Instant,
    pub(crate) latency: Duration,
    /// How much longer a datagram may take, so that others overtake it.
    pub(crate) jitter: Duration,
    /// Datagrams lost, in percent.
    pub(crate) loss: u64,
    /// Nothing passes.
    pub(crate) cut: bool,
    /// DTLS does not pass; all else does.
    pub(crate) no_dtls: bool,
    /// DTLS that is sent at this moment gets lost.
    pub(crate) lose_dtls_at: Option<Duration>,
    /// When whose DTLS datagrams were sent.
    pub(crate) dtls: Vec<(Side, Duration)>,
    /// Datagrams sent by both.
    pub(crate) sent: u64,
    /// Those of them that were sent to where the other end is not.
    pub(crate) sent_nowhere: u64,
    /// Every datagram that arrives is kept here.
    pub(crate) record: Option<Vec<(Side, Vec<u8>)>>,
    start: Instant,
    rng: u64,
    order: u64,
    flying: BTreeMap<(Instant, u64), (Side, Vec<u8>)>,
    outbox: Outbox,
}

impl Pair {
    /// Both ends know each other's description and candidates.
    pub(crate) fn new(a: Setup, b: Setup) -> Self {
        let mut pair = Self::strangers(a, b);
        pair.describe(Side::A);
        pair.describe(Side::B);
        pair.trickle(Side::A);
        pair.trickle(Side::B);
        pair
    }

    /// Both ends exist and know nothing of each other.
    pub(crate) fn strangers(a: Setup, b: Setup) -> Self {
        let start = epoch();
        Self {
            a: end(a, "192.0.2.1:1000", "aaaa", 1, start),
            b: end(b, "198.51.100.1:2000", "bbbb", 2, start),
            now: start,
            latency: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss: 0,
            cut: false,
            no_dtls: false,
            lose_dtls_at: None,
            dtls: Vec::new(),
            sent: 0,
            sent_nowhere: 0,
            record: None,
            start,
            rng: 0x9e37_79b9_7f4a_7c15,
            order: 0,
            flying: BTreeMap::new(),
            outbox: Outbox::new(64, 64 * 1500),
        }
    }

    pub(crate) fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The NAT in front of `side` gives it another address, of which nobody is told.
    pub(crate) fn rebind(&mut self, side: Side, address: &str) {
        self.end(side).address = address.parse().unwrap();
    }

    /// What `side` is told about the other end.
    pub(crate) fn remote_of(&mut self, side: Side) -> Remote {
        let dtls_role = self.end(side).setup.dtls;
        let sctp = self.end(side).setup.sctp;
        let other = self.end(side.other());
        Remote {
            ice: other.ice.clone(),
            fingerprint: other.fingerprint,
            dtls_role,
            ice_lite: other.setup.lite,
            sctp: sctp.map(|message_len_max| SctpRemote {
                port: SctpRemote::PORT,
                message_len_max,
            }),
        }
    }

    /// Gives `side` the other end's description.
    pub(crate) fn describe(&mut self, side: Side) {
        let remote = self.remote_of(side);
        let now = self.now;
        self.end(side).peer.set_remote(now, remote);
        self.drain();
    }

    /// Gives `side` the other end's candidate.
    pub(crate) fn trickle(&mut self, side: Side) {
        let address = self.end(side.other()).address;
        self.end(side).peer.add_remote_candidate(host(address));
        self.drain();
    }

    /// Lets time pass until `done`, at most for `limit`. Whether it came to it.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let arrival = self.flying.keys().next().map(|(at, _)| *at);
            let timeouts = [self.a.peer.poll_timeout(), self.b.peer.poll_timeout()];
            let next = timeouts.into_iter().flatten().chain(arrival).min();
            let Some(next) = next.filter(|next| *next <= deadline) else {
                self.now = deadline;
                return false;
            };
            self.now = self.now.max(next);
            self.deliver();
            let now = self.now;
            for side in [Side::A, Side::B] {
                let peer = &mut self.end(side).peer;
                if peer.poll_timeout().is_some_and(|due| due <= now) {
                    peer.handle_timeout(now);
                    self.drain();
                }
            }
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until both are connected.
    pub(crate) fn connect(&mut self) {
        let both = |p: &Self| p.a.peer.is_connected() && p.b.peer.is_connected();
        assert!(
            self.run_until(Duration::from_secs(10), both),
            "a: {:?}\nb: {:?}",
            self.a.events,
            self.b.events
        );
    }

    /// A datagram that nobody sent arrives at `to` from the other end's address.
    pub(crate) fn inject(&mut self, to: Side, mut data: Vec<u8>) {
        let from = self.end(to.other()).address;
        let now = self.now;
        let socket = self.end(to).setup.socket;
        let got = self
            .end(to)
            .peer
            .handle_datagram(now, from, socket, &mut data)
            .rtp();
        assert!(got.is_none(), "garbage became media");
        self.drain();
    }

    /// `from` sends one RTP packet.
    pub(crate) fn write(&mut self, from: Side, index: u32, packet: &RtpWrite<'_>) {
        let mut outbox = std::mem::replace(&mut self.outbox, Outbox::new(0, 0));
        let now = self.now;
        assert!(self.end(from).peer.write_rtp(now, index, packet, &mut outbox));
        self.launch(from, &outbox);
        outbox.clear();
        self.outbox = outbox;
        self.drain();
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, mut data) = entry.remove();
            if let Some(record) = &mut self.record {
                record.push((to, data.clone()));
            }
            let from = self.end(to.other()).address;
            let now = self.now;
            let end = self.end(to);
            let socket = end.setup.socket;
            if let Some(packet) = end.peer.handle_datagram(now, from, socket, &mut data).rtp() {
                end.rtp.push((packet, data));
            }
            self.drain();
        }
    }

    /// Events, then datagrams, of both ends.
    pub(crate) fn drain(&mut self) {
        let elapsed = self.elapsed();
        for side in [Side::A, Side::B] {
            loop {
                let end = self.end(side);
                while let Some(event) = end.peer.poll_event() {
                    end.events.push((elapsed, event));
                }
                let mut outbox = std::mem::replace(&mut self.outbox, Outbox::new(0, 0));
                let now = self.now;
                let done = self.end(side).peer.poll_transmit(now, &mut outbox);
                self.launch(side, &outbox);
                outbox.clear();
                self.outbox = outbox;
                if done {
                    break;
                }
            }
        }
    }

    /// Puts what `from` wrote on the link.
    fn launch(&mut self, from: Side, outbox: &Outbox) {
        for datagram in outbox.datagrams() {
            assert!(datagram.len > 0);
            self.sent += 1;
            let data = outbox.datagram_bytes(datagram).to_vec();
            // RFC 7983 §7.
            let is_dtls = (20..=63).contains(&data[0]);
            if is_dtls {
                self.dtls.push((from, self.elapsed()));
            }
            let leads_nowhere = datagram.to != self.end(from.other()).address
                || datagram.local != self.end(from).setup.socket;
            self.sent_nowhere += u64::from(leads_nowhere);
            let dtls_lost = self.no_dtls || self.lose_dtls_at == Some(self.elapsed());
            let stopped = self.cut || (is_dtls && dtls_lost);
            if leads_nowhere || stopped || self.random() % 100 < self.loss {
                continue;
            }
            self.order += 1;
            let more = self.random() % 1000;
            let more = self.jitter * u32::try_from(more).unwrap() / 1000;
            let at = self.now + self.latency + more;
            self.flying.insert((at, self.order), (from.other(), data));
        }
    }
}

pub(crate) fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-24-chars"),
    }
}

pub(crate) fn host(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".to_owned(),
        kind: CandidateKind::Host,
    }
}

fn end(setup: Setup, address: &str, ufrag: &str, seed: u64, now: Instant) -> End {
    let shared = shared(seed, setup);
    let address: SocketAddr = address.parse().unwrap();
    let mut local: Vec<_> = (0..setup.socket)
        .map(|i| (i, host(SocketAddr::from(([203, 0, 113, i], 3000)))))
        .collect();
    local.push((setup.socket, host(address)));
    let init = PeerInit {
        ice: credentials(ufrag),
        ice_lite: setup.lite,
        ice_controlling: setup.controlling,
        local,
        seed,
    };
    End {
        fingerprint: shared.fingerprint().into(),
        peer: Peer::new(shared, init, now),
        events: Vec::new(),
        rtp: Vec::new(),
        ice: credentials(ufrag),
        setup,
        address,
    }
}

/// One certificate of each kind per end, for all tests.
fn shared(seed: u64, setup: Setup) -> Arc<Shared> {
    static SHARED: [OnceLock<Arc<Shared>>; 4] = [const { OnceLock::new() }; 4];
    let cell = usize::from(seed == 2) + 2 * usize::from(setup.rsa);
    let make = || {
        let epoch = (epoch(), 0xe000_0000_0000_0000);
        let shared = if setup.rsa {
            let certificate = include_bytes!("../../../dtls/tests/identities/rsa-2048.crt.der");
            let key = include_bytes!("../../../dtls/tests/identities/rsa-2048.key.der");
            Shared::with_identity(&Identity::from_der(certificate.to_vec(), key.to_vec()), epoch)
        } else {
            Shared::new(epoch)
        };
        Arc::new(shared.unwrap())
    };
    SHARED[cell].get_or_init(make).clone()
}

/// Some instant to count from.
#[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub(crate) fn epoch() -> Instant {
    thread_local! {
        static EPOCH: OnceCell<Instant> = const { OnceCell::new() };
    }
    EPOCH.with(|epoch| *epoch.get_or_init(Instant::now))
}
