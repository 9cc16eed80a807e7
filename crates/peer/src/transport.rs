//! ICE, DTLS and SCTP of one peer, stacked: datagrams at the bottom, SRTP keys and data channels
//! at the top.
//!
//! Owns the order in which the three come up and what is waiting to be sent between them. Must
//! not know: RTP.

use crate::config::{Candidate, ChannelSpec, DtlsRole, IceCredentials, PeerInit, Remote, SctpRemote, Shared};
use crate::dtls::{Dtls, DtlsOutput};
use crate::ice::{Ice, earliest};
use crate::outbox::Outbox;
use crate::peer::PeerEvent;
use crate::received::{Received, Refusal};
use crate::sctp::Sctp;
use ::dtls::{Failure, KeyingMaterial, SrtpProfile};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use wire::sdp::Fingerprint;

/// Encrypted datagrams that may wait for a pair or for the outbox. A handshake flight is 2 to 5;
/// SCTP is asked for more only when none wait.
const PENDING_MAX: usize = 64;
/// Large enough for every record in a datagram of usual size; longer ones go through the heap.
const RECORD_LEN: usize = 2048;

/// What a peer's transport passed over, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportStats {
    /// STUN messages and candidates that were malformed, not ours, or beyond a limit.
    pub ice_dropped: u64,
    /// DTLS datagrams from addresses that sent no valid check, or with no session.
    pub dtls_dropped: u64,
    /// Data channel messages and channels refused.
    pub channel_dropped: u64,
    /// RTP packets that were to be sent before the connection was up, or after it failed.
    pub rtp_unsent: u64,
}

/// Keying material for SRTP, once.
pub(crate) struct Keys {
    pub(crate) profile: SrtpProfile,
    pub(crate) material: KeyingMaterial,
    pub(crate) role: DtlsRole,
}

/// See the file's head.
pub(crate) struct Transport {
    shared: Arc<Shared>,
    ice: Ice,
    session: Option<Session>,
    dtls: Option<Box<Dtls>>,
    sctp: Option<Box<Sctp>>,
    remote_sctp: Option<SctpRemote>,
    keys: Option<Keys>,
    pending: VecDeque<Vec<u8>>,
    events: VecDeque<PeerEvent>,
    state: State,
    dtls_dropped: u64,
    rtp_unsent: u64,
}

/// What the first remote description settled.
#[derive(Clone, Copy, Debug)]
struct Session {
    role: DtlsRole,
    fingerprint: Fingerprint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Connected,
    Failed,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("state", &self.state)
            .field("selected", &self.ice.selected())
            .finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(shared: Arc<Shared>, init: &PeerInit, now: Instant) -> Self {
        Self {
            shared,
            ice: Ice::new(init, now),
            session: None,
            dtls: None,
            sctp: None,
            remote_sctp: None,
            keys: None,
            pending: VecDeque::new(),
            events: VecDeque::new(),
            state: State::Connecting,
            dtls_dropped: 0,
            rtp_unsent: 0,
        }
    }

    // ---- outside world -------------------------------------------------------------------

    pub(crate) fn handle_stun(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        let received = self.ice.handle_stun(now, from, local, data);
        self.start_dtls(now);
        received
    }

    pub(crate) fn handle_dtls(&mut self, now: Instant, from: SocketAddr, local: u8, data: &[u8]) -> Received {
        let Some(dtls) = self.dtls.as_mut().filter(|_| self.ice.is_source(from)) else {
            self.dtls_dropped += 1;
            return Received::Refused(Refusal::Stranger);
        };
        self.ice.select_provisionally(from, local);
        dtls.handle_packet(now, data);
        self.pump(now);
        Received::Taken
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        self.start_dtls(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        self.pump(now);
    }

    // ---- verbs ---------------------------------------------------------------------------

    pub(crate) fn set_remote(&mut self, now: Instant, remote: &Remote) {
        if !self.ice.set_remote(now, &remote.ice, remote.ice_lite) {
            self.fail(None);
            return;
        }
        self.session.get_or_insert(Session {
            role: remote.dtls_role,
            fingerprint: remote.fingerprint,
        });
        self.remote_sctp = remote.sctp;
        self.start_dtls(now);
        self.start_sctp(now);
    }

    pub(crate) fn add_remote_candidate(&mut self, candidate: Candidate) {
        self.ice.add_remote_candidate(&candidate);
    }

    pub(crate) fn restart_ice(&mut self, local: &IceCredentials) {
        self.ice.restart(local);
    }

    pub(crate) fn open_channel(&mut self, spec: ChannelSpec) {
        self.sctp.get_or_insert_default().open(spec);
    }

    pub(crate) fn close_channel(&mut self, id: u16) {
        if let Some(sctp) = &mut self.sctp {
            sctp.close(id);
        }
    }

    pub(crate) fn send_message(&mut self, _now: Instant, id: u16, binary: bool, data: &[u8]) -> bool {
        let sctp = self.sctp.as_mut();
        sctp.is_some_and(|sctp| sctp.send(id, binary, data))
    }

    pub(crate) fn close(&mut self) {
        if let Some(sctp) = &mut self.sctp {
            sctp.lose_transport();
        }
        let mut buffer = [0; RECORD_LEN];
        let Some(dtls) = &mut self.dtls else { return };
        dtls.close();
        loop {
            match dtls.poll(&mut buffer) {
                DtlsOutput::Packet(packet) => self.pending.push_back(packet),
                DtlsOutput::Idle | DtlsOutput::BufferTooSmall(_) => return,
                DtlsOutput::Open(_) | DtlsOutput::Data(_) | DtlsOutput::Closed | DtlsOutput::Failed(_) => {}
            }
        }
    }

    pub(crate) fn send_record_unchecked(&mut self, now: Instant, data: &[u8]) -> bool {
        let sent = self.dtls.as_mut().is_some_and(|dtls| dtls.send(data));
        self.pump(now);
        sent
    }

    pub(crate) fn count_unsent(&mut self) {
        self.rtp_unsent += 1;
    }

    // ---- outputs -------------------------------------------------------------------------

    pub(crate) fn poll_event(&mut self) -> Option<PeerEvent> {
        self.ice.poll_event().or_else(|| self.events.pop_front())
    }

    /// What data channels have to say.
    pub(crate) fn poll_data_event(&mut self) -> Option<PeerEvent> {
        self.sctp.as_mut()?.poll_event()
    }

    /// Keys that were not taken yet.
    pub(crate) fn take_keys(&mut self) -> Option<Keys> {
        self.keys.take()
    }

    /// STUN, then what DTLS has waiting, then SCTP. False: the outbox is full.
    pub(crate) fn poll_transmit(&mut self, now: Instant, outbox: &mut Outbox) -> bool {
        loop {
            if outbox.slot().is_none() {
                return false;
            }
            let Some((to, local, data)) = self.ice.poll_transmit() else {
                break;
            };
            outbox.push(to, local, &data);
        }
        let Some((to, local)) = self.ice.selected() else {
            return true;
        };
        loop {
            while let Some(packet) = self.pending.front() {
                if outbox.slot().is_none() {
                    return false;
                }
                outbox.push(to, local, packet);
                self.pending.pop_front();
            }
            if !self.encrypt_next(now) {
                return true;
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.poll_timeout());
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.poll_timeout());
        earliest(self.ice.poll_timeout(), earliest(dtls, sctp))
    }

    // ---- getters -------------------------------------------------------------------------

    pub(crate) fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    pub(crate) fn destination(&self) -> Option<(SocketAddr, u8)> {
        self.ice.selected()
    }

    /// Where RTP may go, once it may.
    pub(crate) fn media_destination(&self) -> Option<(SocketAddr, u8)> {
        match self.state {
            State::Connected => self.ice.selected(),
            State::Connecting | State::Failed => None,
        }
    }

    pub(crate) fn rtt_us(&self) -> Option<u32> {
        let rtt = self.ice.rtt()?;
        u32::try_from(rtt.as_micros()).ok()
    }

    pub(crate) fn buffered_amount(&self, id: u16) -> usize {
        self.sctp.as_ref().map_or(0, |sctp| sctp.buffered(id))
    }

    pub(crate) fn stats(&self) -> TransportStats {
        TransportStats {
            ice_dropped: self.ice.dropped(),
            dtls_dropped: self.dtls_dropped,
            channel_dropped: self.sctp.as_ref().map_or(0, |sctp| sctp.dropped()),
            rtp_unsent: self.rtp_unsent,
        }
    }

    // ---- inside --------------------------------------------------------------------------

    /// A server listens from the description on; a client speaks when there is a path.
    fn start_dtls(&mut self, now: Instant) {
        let Some(session) = self.session else { return };
        let ready = session.role == DtlsRole::Server || self.ice.selected().is_some();
        if self.dtls.is_none() && self.state == State::Connecting && ready {
            let dtls = Dtls::new(&self.shared, session.role, session.fingerprint, now);
            self.dtls = Some(Box::new(dtls));
            self.pump(now);
        }
        if let Some(dtls) = &mut self.dtls
            && self.ice.selected().is_some()
        {
            dtls.expect_handshake(now);
        }
    }

    fn start_sctp(&mut self, now: Instant) {
        let Some(remote) = self.remote_sctp else { return };
        if let Some(session) = self.session
            && self.dtls.as_ref().is_some_and(|dtls| dtls.is_open())
        {
            let sctp = self.sctp.get_or_insert_default();
            sctp.start(now, session.role, remote);
        }
    }

    /// Takes what DTLS produced: packets to send, data for SCTP, the end of the handshake.
    fn pump(&mut self, now: Instant) {
        let mut stack = [0; RECORD_LEN];
        let mut heap = Vec::new();
        loop {
            let buffer = if heap.is_empty() {
                &mut stack[..]
            } else {
                &mut heap[..]
            };
            let Some(dtls) = &mut self.dtls else { return };
            match dtls.poll(buffer) {
                DtlsOutput::Packet(packet) => {
                    if self.pending.len() == PENDING_MAX {
                        self.pending.pop_front();
                    }
                    self.pending.push_back(packet);
                }
                DtlsOutput::Data(data) => {
                    if let Some(sctp) = &mut self.sctp {
                        sctp.handle_packet(now, data);
                    }
                }
                DtlsOutput::Open(keys) => self.open(now, keys),
                DtlsOutput::Closed => {
                    // LiveKit keeps media and ICE going; only what runs over DTLS ends.
                    if let Some(sctp) = &mut self.sctp {
                        sctp.lose_transport();
                    }
                }
                DtlsOutput::Failed(failure) => {
                    self.fail(Some(failure));
                    return;
                }
                DtlsOutput::BufferTooSmall(len) => heap.resize(len, 0),
                DtlsOutput::Idle => return,
            }
        }
    }

    fn open(&mut self, now: Instant, keys: Option<(KeyingMaterial, SrtpProfile)>) {
        let Some(session) = self.session else { return };
        self.keys = keys.map(|(material, profile)| Keys {
            profile,
            material,
            role: session.role,
        });
        self.state = State::Connected;
        self.events.push_back(PeerEvent::Connected);
        self.start_sctp(now);
    }

    /// What waits to be sent still is: an alert that tells the remote side.
    fn fail(&mut self, failure: Option<Failure>) {
        if self.state != State::Failed {
            let connecting = self.state == State::Connecting;
            self.state = State::Failed;
            self.dtls = None;
            if let Some(sctp) = &mut self.sctp {
                sctp.lose_transport();
            }
            let handshake = failure.filter(|_| connecting);
            self.events.extend(handshake.map(PeerEvent::HandshakeFailed));
            self.events.push_back(PeerEvent::Failed);
        }
    }

    /// Moves one packet from SCTP through DTLS to `pending`. False: there is none.
    fn encrypt_next(&mut self, now: Instant) -> bool {
        let (Some(sctp), Some(dtls)) = (&mut self.sctp, &mut self.dtls) else {
            return false;
        };
        let Some(packet) = dtls.is_open().then(|| sctp.poll_packet(now)).flatten() else {
            return false;
        };
        dtls.send(&packet);
        self.pump(now);
        true
    }
}
