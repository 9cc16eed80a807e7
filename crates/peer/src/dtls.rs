//! The DTLS session of one peer: the crate `dtls` below, which checks the certificate's fingerprint
//! (RFC 5763, RFC 8842), and the time that a handshake may take.
//!
//! Must not know: ICE, where packets go, what the application data means.

use crate::config::{DTLS_HANDSHAKE_TIMEOUT, DtlsRole, Shared};
use crate::ice::earliest;
use ::dtls::{Failure, KeyingMaterial, Received, Role, Session, SrtpProfile};
use std::time::Instant;
use wire::sdp::Fingerprint;

/// A session from ClientHello to close_notify.
#[derive(Debug)]
pub(crate) struct Dtls {
    /// None: the library had no memory for one.
    session: Option<Session>,
    state: State,
    failure_told: bool,
    /// Bytes of the latest datagram; no record in it holds more.
    datagram_len: usize,
    now: Instant,
    /// The handshake is given up then.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Handshake,
    /// Handshake finished, not yet told.
    Finished,
    Open,
    Closed,
    Failed(Failure),
}

/// What [`Dtls::poll`] found.
#[derive(Debug)]
pub(crate) enum DtlsOutput<'a> {
    /// Send this.
    Packet(Vec<u8>),
    /// The handshake is done with the right certificate. Without keys when the remote side does
    /// not do SRTP (a peer with data channels only).
    Open(Option<(KeyingMaterial, SrtpProfile)>),
    /// Decrypted application data.
    Data(&'a [u8]),
    /// The remote side sent close_notify.
    Closed,
    /// The handshake failed, or the certificate is another one.
    Failed(Failure),
    /// Call again with a buffer of this many bytes.
    BufferTooSmall(usize),
    /// Nothing more.
    Idle,
}

impl Dtls {
    pub(crate) fn new(shared: &Shared, role: DtlsRole, fingerprint: Fingerprint, now: Instant) -> Self {
        let role = match role {
            DtlsRole::Client => Role::Client,
            DtlsRole::Server => Role::Server,
        };
        let (session, state) = match Session::new(&shared.dtls, role, fingerprint, now) {
            Ok(session) => (Some(session), State::Handshake),
            Err(failure) => (None, State::Failed(failure)),
        };
        Self {
            session,
            state,
            failure_told: false,
            datagram_len: 0,
            now,
            deadline: None,
        }
    }

    /// Takes one datagram; what follows from it is found by [`Self::poll`].
    pub(crate) fn handle_packet(&mut self, now: Instant, data: &[u8]) {
        self.now = now;
        if let Some(session) = self.session.as_mut().filter(|_| !self.state.is_over()) {
            self.datagram_len = data.len();
            let result = session.handle_packet(now, data);
            self.check(result);
        }
    }

    /// There is a path: from now on the remote side has [`DTLS_HANDSHAKE_TIMEOUT`]. The session's own
    /// clock does not run for a server before the first ClientHello.
    pub(crate) fn expect_handshake(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + DTLS_HANDSHAKE_TIMEOUT);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.handshake_deadline().is_some_and(|deadline| now >= deadline) {
            self.state = State::Failed(Failure::TimedOut);
        }
        if let Some(session) = self.session.as_mut().filter(|_| !self.state.is_over()) {
            let result = session.handle_timeout(now);
            self.check(result);
        }
    }

    /// Encrypts application data. False: the session is not open.
    pub(crate) fn send(&mut self, data: &[u8]) -> bool {
        if let Some(session) = self.session.as_mut().filter(|_| self.state == State::Open) {
            let result = session.send(data);
            self.check(result);
        }
        self.state == State::Open
    }

    /// Queues close_notify.
    pub(crate) fn close(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|_| !self.state.is_over()) {
            session.close();
            self.state = State::Closed;
        }
    }

    /// Call until [`DtlsOutput::Idle`] after every other call. A failure comes behind the packets that
    /// tell the remote side of it.
    pub(crate) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(packet) = self.session.as_mut().and_then(Session::poll_packet) {
            return DtlsOutput::Packet(packet);
        }
        match self.state {
            State::Failed(failure) => {
                if std::mem::replace(&mut self.failure_told, true) {
                    DtlsOutput::Idle
                } else {
                    DtlsOutput::Failed(failure)
                }
            }
            State::Finished => {
                self.state = State::Open;
                let keys = self.session.as_ref().and_then(Session::srtp);
                DtlsOutput::Open(keys.map(|(profile, material)| (material, profile)))
            }
            State::Open => self.receive(buffer),
            State::Handshake | State::Closed => DtlsOutput::Idle,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.state.is_over() {
            return None;
        }
        let session = self.session.as_ref().and_then(Session::poll_timeout);
        earliest(session, self.handshake_deadline())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let Some(session) = &mut self.session else {
            return DtlsOutput::Idle;
        };
        if buffer.len() < self.datagram_len {
            return DtlsOutput::BufferTooSmall(self.datagram_len);
        }
        match session.receive(self.now, buffer) {
            Ok(Received::Data(len)) => DtlsOutput::Data(&buffer[..len]),
            // Reading may have an answer: a Finished that comes again says that our last flight got lost,
            // and the remote side waits for it.
            Ok(Received::Nothing) => match session.poll_packet() {
                Some(packet) => DtlsOutput::Packet(packet),
                None => DtlsOutput::Idle,
            },
            Ok(Received::Closed) => {
                self.state = State::Closed;
                DtlsOutput::Closed
            }
            Err(failure) => {
                self.state = State::Failed(failure);
                self.failure_told = true;
                DtlsOutput::Failed(failure)
            }
        }
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.state == State::Handshake)
    }

    fn check(&mut self, result: Result<(), Failure>) {
        let established = self.session.as_ref().is_some_and(Session::is_established);
        match result {
            Ok(()) if self.state == State::Handshake && established => self.state = State::Finished,
            Ok(()) => {}
            Err(failure) => self.state = State::Failed(failure),
        }
    }
}

impl State {
    const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::Failed(_))
    }
}
