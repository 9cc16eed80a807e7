//! Connectivity of one peer: an ICE agent with host candidates of our own sockets, full or lite
//! (RFC 8445, RFC 8838, consent as in RFC 7675).
//!
//! Owns which addresses have proven to be the remote side's, which pair carries traffic, and
//! whether the remote side is still heard.
//! Must not know: what travels over the pair, SDP, sockets (it speaks of their indices).
//!
//! A full agent checks the pairs of its candidates and of those it is told or learns. Before a pair is
//! selected all are checked; after that only what would be better than it, and what the remote side
//! uses while the selected one is silent. So an idle peer has one pair and one timer. A lite agent
//! only answers.

mod alive;
mod checklist;
mod checks;
mod early;
mod integrity;
mod pair;
mod requests;
mod seen;

use crate::config::{Candidate, IceCredentials, PeerInit};
use crate::peer::PeerEvent;
use crate::received::{Received, Refusal};
use alive::Alive;
use checklist::Checklist;
use early::Early;
use integrity::Transactions;
use pair::{Pair, Path, Priorities};
use seen::Seen;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::stun::{Class, Message};

/// Remote candidates taken per ICE generation.
const REMOTE_CANDIDATES_MAX: usize = 32;
/// Addresses that may send valid checks per ICE generation; a client that roams beyond it must
/// restart ICE, as all do on a network change.
const SOURCES_MAX: usize = 64;
/// Silence of the selected pair, in favour of another on which valid checks come, after which the
/// other takes its place: the remote NAT chose a new port. Two keepalives of browsers; shorter risks
/// leaving a good path for a loss of two checks, longer leaves media without a path.
const REBOUND_AFTER: Duration = Duration::from_secs(5);
/// Messages that wait to be sent: many times what one datagram or timer brings about. More are lost,
/// as on any network.
const OUTGOING_MAX: usize = 64;
/// RFC 8839 §5.4 limits both credentials to 256 characters. With our own fragment a user name then
/// stays below the 509 bytes of RFC 8489 §14.3.
const CREDENTIAL_LEN_MAX: usize = 256;
/// Type preference of peer-reflexive candidates, in its place within a priority (RFC 8445 §5.1.2.1).
const PEER_REFLEXIVE: u32 = 110 << 24;
/// A learned candidate's priority when its check names none: one network, one component.
const LEARNED_PRIORITY: u32 = PEER_REFLEXIVE | 0x00FF_FFFF;

/// The ICE side of one peer.
#[derive(Debug)]
pub(crate) struct Ice {
    locals: Vec<Local>,
    local: IceCredentials,
    remote: Option<IceCredentials>,
    lite: bool,
    controlling: bool,
    tie_breaker: u64,
    transactions: Transactions,
    checklist: Checklist,
    /// Signalled addresses with their priorities.
    candidates: Vec<(SocketAddr, u32)>,
    early: Early,
    /// Requests that were accepted, so that nobody repeats them from elsewhere.
    seen: Seen,
    /// Addresses from which valid messages came.
    sources: Vec<SocketAddr>,
    selected: Option<Selected>,
    rtt: Option<Duration>,
    alive: Alive,
    /// The next selection is told.
    announce: bool,
    events: VecDeque<PeerEvent>,
    outgoing: VecDeque<(Path, Vec<u8>)>,
    last_now: Instant,
    next: Option<Instant>,
    dropped: u64,
}

/// A local socket. One address per socket and family is enough: a socket's further addresses
/// (NAT 1:1) are advertised, but datagrams to them arrive on the same socket.
#[derive(Clone, Copy, Debug)]
struct Local {
    index: u8,
    is_ipv4: bool,
    /// Of its host candidate.
    priority: u32,
}

/// The path that carries traffic.
#[derive(Clone, Copy, Debug)]
struct Selected {
    path: Path,
    priorities: Priorities,
    /// Arrival of the last valid message on it.
    heard: Instant,
    /// Any nominated pair replaces it: it is where DTLS came from first, or of the ICE generation
    /// before.
    tentative: bool,
}

impl Selected {
    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= REBOUND_AFTER
    }
}

impl Ice {
    pub(crate) fn new(init: &PeerInit, now: Instant) -> Self {
        let mut locals: Vec<Local> = Vec::new();
        for (index, candidate) in &init.local {
            let is_ipv4 = candidate.address.is_ipv4();
            if !locals.iter().any(|l| l.index == *index && l.is_ipv4 == is_ipv4) {
                locals.push(Local {
                    index: *index,
                    is_ipv4,
                    priority: candidate.priority,
                });
            }
        }
        Self {
            locals,
            local: init.ice.clone(),
            remote: None,
            lite: init.ice_lite,
            controlling: init.ice_controlling && !init.ice_lite,
            tie_breaker: init.seed,
            transactions: Transactions::new(init.seed),
            checklist: Checklist::default(),
            candidates: Vec::new(),
            early: Early::default(),
            seen: Seen::default(),
            sources: Vec::new(),
            selected: None,
            rtt: None,
            alive: Alive::Idle,
            announce: true,
            events: VecDeque::new(),
            outgoing: VecDeque::new(),
            last_now: now,
            next: None,
            dropped: 0,
        }
    }

    // ---- outside world -------------------------------------------------------------------

    /// Takes a STUN message. Without remote credentials, checks that carry ours are kept and
    /// answered by [`Self::set_remote`].
    pub(crate) fn handle_stun(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        self.last_now = now;
        let path = Path { remote: from, local };
        let taken = self.take_stun(now, path, data);
        match taken {
            Received::Refused(_) => self.dropped += 1,
            Received::Rtp(_) | Received::Check | Received::Taken => self.settle(now),
        }
        taken
    }

    fn take_stun(&mut self, now: Instant, path: Path, data: &[u8]) -> Received {
        let Some(message) = Message::parse(data) else {
            return Received::Refused(Refusal::Malformed);
        };
        if self.local_priority(path).is_none() {
            return Received::Refused(Refusal::Unauthenticated);
        }
        match message.class {
            // It keeps a NAT's binding alive, and says nothing (RFC 8445 §11).
            Class::Indication if self.is_source(path.remote) => Received::Taken,
            Class::Indication => Received::Refused(Refusal::Unauthenticated),
            Class::Request => self.take_request(now, path, data, &message),
            Class::Success | Class::Error => self.take_response(now, path, &message),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.last_now = now;
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        if let Some(event) = self.alive.handle_timeout(now) {
            if event == PeerEvent::IceFailed {
                self.checklist.clear();
                self.announce = true;
            }
            self.events.push_back(event);
        }
        self.settle(now);
    }

    // ---- verbs ---------------------------------------------------------------------------

    /// Remote credentials; changed ones mean that the remote side restarted. False: they are not
    /// usable.
    pub(crate) fn set_remote(&mut self, now: Instant, remote: &IceCredentials, lite: bool) -> bool {
        self.last_now = now;
        let usable = |text: &str| !text.is_empty() && text.len() <= CREDENTIAL_LEN_MAX;
        if !usable(&remote.ufrag) || !usable(&remote.pwd) {
            return false;
        }
        if self.remote.as_ref() == Some(remote) {
            return true;
        }
        if self.remote.is_some() {
            self.begin_generation();
        }
        if lite && !self.lite {
            // RFC 8445 §6.1.1: the full agent controls.
            self.controlling = true;
        }
        self.remote = Some(remote.clone());
        self.alive.start(now);
        for request in self.early.take(now) {
            self.handle_stun(now, request.from, request.local, &request.data);
        }
        self.settle(now);
        true
    }

    pub(crate) fn add_remote_candidate(&mut self, candidate: &Candidate) {
        let address = candidate.address;
        let unusable = address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast();
        if unusable || self.candidates.len() >= REMOTE_CANDIDATES_MAX {
            self.dropped += 1;
            return;
        }
        self.candidates.push((address, candidate.priority));
        let now = self.last_now;
        for at in 0..self.locals.len() {
            let Some(local) = self.locals.get(at) else { break };
            if local.is_ipv4 != address.is_ipv4() {
                continue;
            }
            let path = Path {
                remote: address,
                local: local.index,
            };
            self.pair_signalled(now, path, candidate.priority);
        }
        if self.remote.is_some() {
            // The check leaves with the timer, which is due at once.
            self.next = Some(now);
        }
    }

    /// New local credentials. The selected pair stays until another one is nominated.
    pub(crate) fn restart(&mut self, local: &IceCredentials) {
        self.early = Early::default();
        self.begin_generation();
        self.local = local.clone();
        self.settle(self.last_now);
    }

    /// Moves traffic to where DTLS came from while no pair is nominated yet.
    pub(crate) fn select_provisionally(&mut self, from: SocketAddr, local: u8) {
        if self.selected.is_none() {
            let path = Path { remote: from, local };
            self.selected = Some(Selected {
                path,
                priorities: self.priorities(path, None),
                heard: self.last_now,
                tentative: true,
            });
        }
    }

    // ---- outputs -------------------------------------------------------------------------

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// The next STUN message with its destination and local socket.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, u8, Vec<u8>)> {
        let (path, data) = self.outgoing.pop_front()?;
        Some((path.remote, path.local, data))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    // ---- getters -------------------------------------------------------------------------

    /// Remote address and local socket of the pair in use.
    pub(crate) fn selected(&self) -> Option<(SocketAddr, u8)> {
        let selected = self.selected.as_ref()?;
        Some((selected.path.remote, selected.path.local))
    }

    /// Whether a valid STUN message came from this address in this ICE generation.
    pub(crate) fn is_source(&self, from: SocketAddr) -> bool {
        self.sources.contains(&from)
    }

    /// Round trip of the last check on the pair in use.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Messages and candidates passed over.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    // ---- selection -----------------------------------------------------------------------

    /// The path was found to work, and was nominated or takes the place of a silent one.
    fn consider(&mut self, now: Instant, path: Path, priorities: Priorities) {
        if let Some(selected) = self.selected
            && !selected.tentative
        {
            let is_other = selected.path != path;
            if is_other && !self.is_better(now, &selected, priorities) {
                return;
            }
            if !is_other && self.alive.is_connected() {
                return;
            }
            if is_other {
                // What it was found and nominated by is of the past: it takes a check to come back.
                self.checklist.retain(|pair| pair.path != selected.path);
            }
        }
        self.selected = Some(Selected {
            path,
            priorities,
            heard: now,
            tentative: false,
        });
        self.alive.connect(now);
        if std::mem::take(&mut self.announce) {
            self.events.push_back(PeerEvent::IceConnected);
        }
        self.keep_selected(now, path);
    }

    /// Whether a path with these priorities is to replace the selected one.
    fn is_better(&self, now: Instant, selected: &Selected, priorities: Priorities) -> bool {
        let of_pair = |priorities: Priorities| priorities.of_pair(self.controlling);
        selected.tentative || selected.is_silent(now) || of_pair(priorities) > of_pair(selected.priorities)
    }

    /// Whether checks of a path with these priorities can lead to anything.
    fn is_worth_checking(&self, now: Instant, priorities: Priorities) -> bool {
        let selected = self.selected.as_ref();
        !self.lite && selected.is_none_or(|selected| self.is_better(now, selected, priorities))
    }

    /// A valid message came on this path.
    fn heard(&mut self, now: Instant, path: Path) {
        if !self.is_source(path.remote) {
            self.sources.push(path.remote);
        }
        if let Some(selected) = &mut self.selected
            && selected.path == path
        {
            selected.heard = now;
        }
        if self.alive.heard(now) && !self.alive.is_restarting() {
            self.events.push_back(PeerEvent::IceConnected);
        }
    }

    // ---- inside --------------------------------------------------------------------------

    /// Forgets what belongs to the ICE generation before. Roles stay (RFC 8445 §9).
    fn begin_generation(&mut self) {
        self.remote = None;
        self.checklist.clear();
        self.outgoing.clear();
        self.candidates.clear();
        // What DTLS may come from stays what it was, so that a handshake survives the restart.
        let kept = self.selected.map(|selected| selected.path.remote);
        self.sources.retain(|source| kept == Some(*source));
        if let Some(selected) = &mut self.selected {
            selected.tentative = true;
        }
        self.announce = true;
        self.alive.restart(self.last_now);
    }

    /// Sends what is due, and works out when that is the case again.
    fn settle(&mut self, now: Instant) {
        let checks = if self.remote.is_some() {
            self.give_up(now);
            self.send_checks(now);
            self.checklist.poll_timeout()
        } else {
            None
        };
        self.next = earliest(checks, self.alive.poll_timeout());
    }

    /// A candidate of the remote side was signalled (RFC 8838 §11).
    fn pair_signalled(&mut self, now: Instant, path: Path, priority: u32) {
        let priorities = self.priorities(path, Some(priority));
        if let Some(selected) = &mut self.selected
            && selected.path == path
        {
            selected.priorities = priorities;
        }
        if let Some(pair) = self.checklist.get_mut(path) {
            pair.priorities = priorities;
        } else if self.is_worth_checking(now, priorities) && !self.alive.is_failed() {
            self.form_pair(now, path, priorities);
        }
    }

    fn form_pair(&mut self, now: Instant, path: Path, priorities: Priorities) {
        let keep = self.selected.map(|selected| selected.path);
        let pair = Pair::new(path, priorities, now);
        let overflow = self.checklist.insert(pair, self.controlling, keep);
        self.dropped += u64::from(overflow);
    }

    fn send(&mut self, path: Path, data: Vec<u8>) {
        if self.outgoing.len() < OUTGOING_MAX {
            self.outgoing.push_back((path, data));
        } else {
            self.dropped += 1;
        }
    }

    /// Priority of the host candidate on whose socket a path is; `None` without one.
    fn local_priority(&self, path: Path) -> Option<u32> {
        let is_ipv4 = path.remote.is_ipv4();
        let local = |l: &&Local| l.index == path.local && l.is_ipv4 == is_ipv4;
        self.locals.iter().find(local).map(|l| l.priority)
    }

    /// `learned` is the priority that a check from there names (RFC 8445 §7.3.1.3).
    fn priorities(&self, path: Path, learned: Option<u32>) -> Priorities {
        let signalled = self
            .candidates
            .iter()
            .find(|(address, _)| *address == path.remote);
        let remote = signalled.map(|(_, priority)| *priority).or(learned);
        Priorities {
            local: self.local_priority(path).unwrap_or_default(),
            remote: remote.unwrap_or(LEARNED_PRIORITY),
        }
    }
}

/// The earlier of two deadlines.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
