//! Connectivity of one peer: a thin owner of `is::IceAgent`.
//!
//! Owns which addresses have proven to be the remote side's, which pair carries traffic, and
//! whether the remote side is still heard (RFC 8445, RFC 8838, RFC 7675).
//! Must not know: what travels over the pair, SDP, sockets (it speaks of their indices).

mod alive;
mod early;
mod hmac;
mod seen;

use crate::config::{Candidate, CandidateKind, IceCredentials, PeerInit};
use crate::peer::PeerEvent;
use crate::received::{Received, Refusal};
use alive::Alive;
use early::Early;
use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds, Protocol};
use seen::Seen;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Pace of our own checks (Ta of RFC 8445 §14). Lower joins faster with many candidates and sends
/// more datagrams at once; the RFC's floor is 5 ms.
const CHECK_PACE: Duration = Duration::from_millis(20);
/// Longest interval between checks of a working pair: the keepalive. LiveKit uses 2 s; a larger
/// value saves datagrams and notices a dead path later.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// First retransmission of a check.
const CHECK_RTO: Duration = Duration::from_millis(250);
/// Unanswered checks before a pair is given up: about 14 s with the two values above.
const CHECK_RETRANSMITS: usize = 9;
/// Pairs per peer: each costs about 1.5 KiB.
const PAIRS_MAX: usize = 32;
/// Remote candidates taken per ICE generation.
const REMOTE_CANDIDATES_MAX: usize = 32;
/// Addresses that may send valid checks per ICE generation; a client that roams beyond it must
/// restart ICE, as all do on a network change.
const SOURCES_MAX: usize = 64;
/// Silence of the selected address, in favour of another that sends valid checks, after which the
/// pair is given up: the remote NAT chose a new port. Two keepalives of browsers; shorter risks
/// leaving a good path for a loss of two checks, longer leaves media without a path.
const REBOUND_AFTER: Duration = Duration::from_secs(5);
/// Addresses kept of those that were left; the oldest is forgotten, and then answered no more before
/// a restart. A client has two or three networks to go back and forth between.
const LEFT_MAX: usize = 8;
/// The foundation that the agent gives to candidates that it learns from a check: it knows them by it.
const LEARNED_FOUNDATION: &str = "tmp_prflx";
/// Message type of an indication (RFC 8489 §5).
const BINDING_INDICATION: [u8; 2] = [0x00, 0x11];
/// RFC 8839 §5.4 limits both credentials to 256 characters.
const CREDENTIAL_LEN_MAX: usize = 256;

/// The ICE side of one peer.
#[derive(Debug)]
pub(crate) struct Ice {
    agent: IceAgent,
    locals: Vec<Local>,
    lite: bool,
    early: Early,
    /// Requests that were accepted, so that nobody repeats them from elsewhere.
    seen: Seen,
    sources: Vec<SocketAddr>,
    /// Addresses of rebound pairs, oldest first: the agent ignores checks from them.
    left: VecDeque<SocketAddr>,
    remote_candidates: usize,
    selected: Option<(SocketAddr, u8)>,
    selected_heard: Instant,
    alive: Alive,
    announce: bool,
    events: VecDeque<PeerEvent>,
    last_now: Instant,
    next: Option<Instant>,
    dropped: u64,
}

/// A local socket as the agent sees it. One address per socket and family is enough: a socket's
/// further addresses (NAT 1:1) are advertised, but datagrams to them arrive on the same socket.
#[derive(Clone, Copy, Debug)]
struct Local {
    index: u8,
    address: SocketAddr,
}

impl Ice {
    pub(crate) fn new(init: &PeerInit, now: Instant) -> Self {
        let mut agent = IceAgent::with_hmac(credentials(&init.ice), &hmac::AwsLc);
        agent.set_ice_lite(init.ice_lite);
        agent.set_controlling(init.ice_controlling && !init.ice_lite);
        agent.set_control_tie_breaker(init.seed);
        agent.set_timing_advance(CHECK_PACE);
        agent.set_initial_stun_rto(CHECK_RTO);
        agent.set_max_stun_rto(KEEPALIVE);
        agent.set_max_stun_retransmits(CHECK_RETRANSMITS);
        agent.set_max_candidate_pairs(PAIRS_MAX);
        let mut locals: Vec<Local> = Vec::new();
        for (index, candidate) in &init.local {
            let address = candidate.address;
            let known = |l: &Local| l.index == *index && l.address.is_ipv4() == address.is_ipv4();
            if locals.iter().any(known) {
                continue;
            }
            if let Ok(host) = is::Candidate::builder().udp().host(address).build()
                && agent.add_local_candidate(host).is_some()
            {
                locals.push(Local {
                    index: *index,
                    address,
                });
            }
        }
        let mut ice = Self {
            agent,
            locals,
            lite: init.ice_lite,
            early: Early::default(),
            seen: Seen::default(),
            sources: Vec::new(),
            left: VecDeque::new(),
            remote_candidates: 0,
            selected: None,
            selected_heard: now,
            alive: Alive::Idle,
            announce: true,
            events: VecDeque::new(),
            last_now: now,
            next: None,
            dropped: 0,
        };
        ice.agent.handle_timeout(now);
        ice.settle(now);
        ice
    }

    // ---- outside world -------------------------------------------------------------------

    /// Takes a STUN message. Without remote credentials, checks that carry ours are kept and
    /// answered by [`Self::set_remote`].
    pub(crate) fn handle_stun(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        self.last_now = now;
        let taken = self.take_stun(now, from, local, data);
        self.dropped += u64::from(matches!(taken, Received::Refused(_)));
        taken
    }

    fn take_stun(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        let destination = self.local_address(local, from);
        if data.starts_with(&BINDING_INDICATION) && self.is_source(from) {
            // Keeps a NAT's binding alive, and says nothing (RFC 8445 §11).
            return Received::Taken;
        }
        let (Ok(message), Some(destination)) = (StunMessage::parse(data), destination) else {
            // A message without integrity is not even parsed.
            let whole = wire::stun::is_stun(data);
            let refusal = if whole {
                Refusal::Unauthenticated
            } else {
                Refusal::Malformed
            };
            return Received::Refused(refusal);
        };
        let is_request = message.is_binding_request();
        if is_request && self.seen.elsewhere(data, from) {
            return Received::Refused(Refusal::Unauthenticated);
        }
        if self.agent.remote_credentials().is_none() {
            if !is_request || !self.agent.accepts_message(&message) {
                return Received::Refused(Refusal::Unauthenticated);
            }
            self.seen.note(data, from);
            if !self.early.push(now, from, local, data) {
                return Received::Refused(Refusal::TooMany);
            }
            return Received::Check;
        }
        if self.sources.len() >= SOURCES_MAX && !self.is_source(from) {
            return Received::Refused(Refusal::TooMany);
        }
        self.welcome_back(from, &message);
        let packet = StunPacket {
            proto: Protocol::Udp,
            source: from,
            destination,
            message,
        };
        if self.agent.handle_packet(now, packet) {
            if is_request {
                self.seen.note(data, from);
            }
            if self.alive.heard(now) {
                self.announce = true;
            }
            self.leave_rebound_pair(now, from);
            // Without this a lite agent reports the nomination only with its next 3 s timer.
            self.agent.handle_timeout(now);
            self.settle(now);
            Received::Check
        } else {
            Received::Refused(Refusal::Unauthenticated)
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.last_now = now;
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.agent.handle_timeout(now);
        if let Some(event) = self.alive.handle_timeout(now) {
            self.events.push_back(event);
        }
        self.settle(now);
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// Remote credentials; changed ones mean that the remote side restarted. False: they are not
    /// usable.
    pub(crate) fn set_remote(&mut self, now: Instant, remote: &IceCredentials, lite: bool) -> bool {
        self.last_now = now;
        if remote.ufrag.len() > CREDENTIAL_LEN_MAX || remote.pwd.len() > CREDENTIAL_LEN_MAX {
            return false;
        }
        let remote = credentials(remote);
        if self.agent.remote_credentials() == Some(&remote) {
            return true;
        }
        if self.agent.remote_credentials().is_some() {
            let local = self.agent.local_credentials().clone();
            self.restart_agent(local);
        }
        if lite && !self.lite {
            // RFC 8445 §6.1.1: the full agent controls.
            self.agent.set_controlling(true);
        }
        self.agent.set_remote_credentials(remote);
        self.alive.start(now);
        for request in self.early.take(now) {
            self.handle_stun(now, request.from, request.local, &request.data);
        }
        self.agent.handle_timeout(now);
        self.settle(now);
        true
    }

    pub(crate) fn add_remote_candidate(&mut self, candidate: Candidate) {
        let address = candidate.address;
        let unusable = address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast();
        if unusable || self.remote_candidates >= REMOTE_CANDIDATES_MAX {
            self.dropped += 1;
            return;
        }
        self.remote_candidates += 1;
        self.agent.add_remote_candidate(is::Candidate::from_parts(
            candidate.foundation,
            1,
            Protocol::Udp,
            candidate.priority,
            address,
            kind(candidate.kind),
            None,
            None,
            None,
        ));
        if self.agent.remote_credentials().is_some() {
            // The check leaves with the timer, which is due at once.
            self.next = Some(self.last_now);
        }
    }

    /// New local credentials. The selected pair stays until another one is nominated.
    pub(crate) fn restart(&mut self, local: &IceCredentials) {
        self.early = Early::default();
        self.restart_agent(credentials(local));
        self.settle(self.last_now);
    }

    /// Moves traffic to where DTLS came from while no pair is nominated yet.
    pub(crate) fn select_provisionally(&mut self, from: SocketAddr, local: u8) {
        self.selected.get_or_insert((from, local));
    }

    // ---- outputs -------------------------------------------------------------------------

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// The next STUN message with its destination and local socket.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, u8, Vec<u8>)> {
        while let Some(transmit) = self.agent.poll_transmit() {
            if let Some(local) = self.local_index(transmit.source) {
                return Some((transmit.destination, local, transmit.contents.into()));
            }
        }
        None
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    // ---- getters -------------------------------------------------------------------------

    /// Remote address and local socket of the pair in use.
    pub(crate) fn selected(&self) -> Option<(SocketAddr, u8)> {
        self.selected
    }

    /// Whether a valid STUN message came from this address in this ICE generation.
    pub(crate) fn is_source(&self, from: SocketAddr) -> bool {
        self.sources.contains(&from)
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.agent.nominated_pair_rtt()
    }

    /// Messages and candidates passed over.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    // ---- inside --------------------------------------------------------------------------

    fn restart_agent(&mut self, local: IceCreds) {
        // What DTLS may come from stays what it was, so that a handshake survives the restart.
        self.sources
            .retain(|source| self.selected.is_some_and(|(to, _)| to == *source));
        self.left.clear();
        self.remote_candidates = 0;
        self.announce = true;
        self.alive.restart(self.last_now);
        self.agent.ice_restart(local, true);
    }

    /// The agent keeps to a nominated pair of higher priority until it times out. When a NAT
    /// rebinds, that is long after the remote side speaks from elsewhere.
    fn leave_rebound_pair(&mut self, now: Instant, from: SocketAddr) {
        let Some((selected, _)) = self.selected else {
            return;
        };
        if selected == from {
            self.selected_heard = now;
        } else if now.saturating_duration_since(self.selected_heard) >= REBOUND_AFTER {
            let gone = self.agent.remote_candidates().find(|c| c.addr() == selected);
            if let Some(gone) = gone
                && self.agent.invalidate_candidate(&gone)
                && !self.left.contains(&selected)
            {
                if self.left.len() == LEFT_MAX {
                    self.left.pop_front();
                }
                self.left.push_back(selected);
            }
        }
    }

    /// A valid check from an address that was left makes it a candidate again: the remote side came
    /// back to a network that it had before.
    fn welcome_back(&mut self, from: SocketAddr, message: &StunMessage<'_>) {
        let Some(at) = self.left.iter().position(|left| *left == from) else {
            return;
        };
        if !message.is_binding_request() || !self.agent.accepts_message(message) {
            return;
        }
        let Some(priority) = message.prio() else { return };
        self.left.remove(at);
        self.agent.add_remote_candidate(is::Candidate::from_parts(
            LEARNED_FOUNDATION.to_owned(),
            1,
            Protocol::Udp,
            priority,
            from,
            is::CandidateKind::PeerReflexive,
            None,
            None,
            None,
        ));
    }

    /// Takes what the agent has to say, and works out when it wants to be woken.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.agent.poll_event() {
            match event {
                IceAgentEvent::NominatedSend {
                    source, destination, ..
                } => {
                    if let Some(local) = self.local_index(source) {
                        self.selected = Some((destination, local));
                        self.selected_heard = now;
                        self.alive.connect(now);
                        if std::mem::take(&mut self.announce) {
                            self.events.push_back(PeerEvent::IceConnected);
                        }
                    }
                }
                IceAgentEvent::DiscoveredRecv { source, .. } => {
                    if !self.is_source(source) {
                        self.sources.push(source);
                    }
                }
                IceAgentEvent::IceRestart(_) | IceAgentEvent::IceConnectionStateChange(_) => {}
            }
        }
        if self.announce
            && self.alive.is_connected()
            && self.selected.is_some()
            && !self.alive.is_restarting()
        {
            self.announce = false;
            self.events.push_back(PeerEvent::IceConnected);
        }
        let agent = if self.agent.remote_credentials().is_some() {
            self.agent.poll_timeout()
        } else {
            None
        };
        self.next = earliest(agent, self.alive.poll_timeout());
    }

    fn local_address(&self, index: u8, from: SocketAddr) -> Option<SocketAddr> {
        let same = |l: &&Local| l.index == index && l.address.is_ipv4() == from.is_ipv4();
        self.locals.iter().find(same).map(|l| l.address)
    }

    fn local_index(&self, address: SocketAddr) -> Option<u8> {
        let local = self.locals.iter().find(|l| l.address == address);
        local.map(|l| l.index)
    }
}

/// The earlier of two deadlines.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn credentials(ice: &IceCredentials) -> IceCreds {
    IceCreds {
        ufrag: ice.ufrag.clone(),
        pass: ice.pwd.clone(),
    }
}

fn kind(kind: CandidateKind) -> is::CandidateKind {
    match kind {
        CandidateKind::Host => is::CandidateKind::Host,
        CandidateKind::ServerReflexive => is::CandidateKind::ServerReflexive,
        CandidateKind::PeerReflexive => is::CandidateKind::PeerReflexive,
        CandidateKind::Relayed => is::CandidateKind::Relayed,
    }
}
