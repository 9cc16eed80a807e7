//! Our side: a peer of which only ICE is used, and virtual time.

use peer::{
    Candidate, CandidateKind, DtlsRole, IceCredentials, Outbox, Peer, PeerEvent, PeerInit, Received, Remote,
    Shared,
};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use wire::sdp::Fingerprint;

pub(crate) const UFRAG: &str = "ours";
pub(crate) const PWD: &str = "the-password-of-our-side";
pub(crate) const THEIR_UFRAG: &str = "them";
pub(crate) const THEIR_PWD: &str = "the-password-of-their-side";

/// How our side is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) lite: bool,
    pub(crate) controlling: bool,
    /// Also the tie-breaker.
    pub(crate) seed: u64,
    pub(crate) sockets: u8,
}

pub(crate) const CONTROLLED: Setup = Setup {
    lite: false,
    controlling: false,
    seed: 1 << 40,
    sockets: 1,
};
pub(crate) const CONTROLLING: Setup = Setup {
    controlling: true,
    ..CONTROLLED
};
pub(crate) const LITE: Setup = Setup {
    lite: true,
    ..CONTROLLED
};

/// See the file's head.
pub(crate) struct Ours {
    pub(crate) peer: Peer,
    pub(crate) events: Vec<PeerEvent>,
    outbox: Outbox,
}

/// A datagram of ours: destination, local socket, bytes.
pub(crate) type Sent = (SocketAddr, u8, Vec<u8>);

pub(crate) fn address(socket: u8) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 2000 + u16::from(socket)))
}

pub(crate) fn host(address: SocketAddr) -> Candidate {
    Candidate {
        address,
        priority: 2_130_706_431,
        foundation: "1".to_owned(),
        kind: CandidateKind::Host,
    }
}

pub(crate) fn credentials(ufrag: &str, pwd: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: pwd.to_owned(),
    }
}

impl Ours {
    pub(crate) fn new(setup: Setup, now: Instant) -> Self {
        static SHARED: OnceLock<Arc<Shared>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Arc::new(Shared::new((now, 0)).unwrap()));
        let init = PeerInit {
            ice: credentials(UFRAG, PWD),
            ice_lite: setup.lite,
            ice_controlling: setup.controlling,
            local: (0..setup.sockets).map(|i| (i, host(address(i)))).collect(),
            seed: setup.seed,
        };
        Self {
            peer: Peer::new(shared.clone(), init, now),
            events: Vec::new(),
            outbox: Outbox::new(256, 256 * 1500),
        }
    }

    pub(crate) fn describe(&mut self, now: Instant, ice: IceCredentials) {
        let remote = Remote {
            ice,
            fingerprint: Fingerprint::Sha256([0; 32]),
            dtls_role: DtlsRole::Server,
            ice_lite: false,
            sctp: None,
        };
        self.peer.set_remote(now, remote);
    }

    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        self.peer.handle_datagram(now, from, local, &mut data.to_vec())
    }

    /// Runs timers that are due; all that leaves.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<Sent> {
        if self.peer.poll_timeout().is_some_and(|due| due <= now) {
            self.peer.handle_timeout(now);
        }
        while let Some(event) = self.peer.poll_event() {
            self.events.push(event);
        }
        self.outbox.clear();
        assert!(self.peer.poll_transmit(now, &mut self.outbox));
        let datagrams = self.outbox.datagrams().iter();
        datagrams
            .map(|d| (d.to, d.local, self.outbox.datagram_bytes(d).to_vec()))
            .collect()
    }

    pub(crate) fn has(&self, event: &PeerEvent) -> bool {
        self.events.contains(event)
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.peer.transport_stats().ice_dropped
    }
}

pub(crate) const MS: Duration = Duration::from_millis(1);

/// Some instant to count from.
#[expect(clippy::disallowed_methods, reason = "virtual time has to start somewhere")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
