//! The DTLS session of one peer: a thin owner of `dimpl::Dtls` that checks the fingerprint
//! (RFC 5763, RFC 8842) and hands out SRTP keying material (RFC 5764).
//!
//! Must not know: ICE, where packets go, what the application data means.

use crate::config::{DTLS_HANDSHAKE_TIMEOUT, DtlsRole, Shared};
use crate::ice::earliest;
use aws_lc_rs::digest;
use dimpl::{Error, KeyingMaterial, SrtpProfile, UnexpectedMessageError};
use std::time::Instant;

/// A session from ClientHello to close_notify.
#[derive(Debug)]
pub(crate) struct Dtls {
    session: dimpl::Dtls,
    fingerprint: [u8; 32],
    state: State,
    failure_told: bool,
    next: Option<Instant>,
    /// The handshake is given up then.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No certificate seen.
    Handshake,
    /// The certificate has the fingerprint of the description.
    Verified,
    /// Handshake finished, not yet told.
    Finished,
    Open,
    Closed,
    Failed,
}

/// What [`Dtls::poll`] found.
#[derive(Debug)]
pub(crate) enum DtlsOutput<'a> {
    /// Send this.
    Packet(&'a [u8]),
    /// The handshake is done with the right certificate. Without keys when the remote side does
    /// not do SRTP (a peer with data channels only).
    Open(Option<(KeyingMaterial, SrtpProfile)>),
    /// Decrypted application data.
    Data(&'a [u8]),
    /// The remote side sent close_notify.
    Closed,
    /// The handshake failed, or the certificate is another one.
    Failed,
    /// Call again with a buffer of this many bytes.
    BufferTooSmall(usize),
    /// Nothing to do here, more may follow.
    Again,
    /// Nothing more.
    Idle,
}

impl Dtls {
    pub(crate) fn new(shared: &Shared, role: DtlsRole, fingerprint: [u8; 32], now: Instant) -> Self {
        let (config, certificate) = (shared.dtls.clone(), shared.certificate.clone());
        let mut session = if config.dtls13_cipher_suites().next().is_some() {
            dimpl::Dtls::new_auto(config, certificate, now)
        } else {
            dimpl::Dtls::new_12(config, certificate, now)
        };
        session.set_active(role == DtlsRole::Client);
        let mut dtls = Self {
            session,
            fingerprint,
            state: State::Handshake,
            failure_told: false,
            next: Some(now),
            deadline: None,
        };
        dtls.handle_timeout(now);
        dtls
    }

    /// Takes one datagram; what follows from it is found by [`Self::poll`].
    pub(crate) fn handle_packet(&mut self, now: Instant, data: &[u8]) {
        if self.is_over() {
            return;
        }
        let result = self.session.handle_timeout(now);
        let result = result.and_then(|()| self.session.handle_packet(data));
        self.check(result);
    }

    /// There is a path: from now on the remote side has [`DTLS_HANDSHAKE_TIMEOUT`]. The session's own
    /// clock does not run for a server before the first ClientHello.
    pub(crate) fn expect_handshake(&mut self, now: Instant) {
        self.deadline.get_or_insert(now + DTLS_HANDSHAKE_TIMEOUT);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.handshake_deadline().is_some_and(|deadline| now >= deadline) {
            self.state = State::Failed;
        }
        if self.is_over() || self.next.is_none_or(|next| now < next) {
            return;
        }
        let result = self.session.handle_timeout(now);
        self.check(result);
    }

    /// Encrypts application data. False: the session is not open.
    pub(crate) fn send(&mut self, data: &[u8]) -> bool {
        if self.state != State::Open {
            return false;
        }
        let result = self.session.send_application_data(data).map(|_| ());
        self.check(result);
        self.state == State::Open
    }

    /// Queues close_notify.
    pub(crate) fn close(&mut self) {
        if !self.is_over() {
            // An error means that there is no session to close.
            let _ = self.session.close();
            self.state = State::Closed;
        }
    }

    /// Call until [`DtlsOutput::Idle`] after every other call.
    pub(crate) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if self.state == State::Failed {
            let told = std::mem::replace(&mut self.failure_told, true);
            return if told {
                DtlsOutput::Idle
            } else {
                DtlsOutput::Failed
            };
        }
        match self.session.poll_output(buffer) {
            dimpl::Output::Packet(packet) => DtlsOutput::Packet(packet),
            dimpl::Output::BufferTooSmall { needed } => DtlsOutput::BufferTooSmall(needed),
            dimpl::Output::PeerCert(certificate) => {
                let actual = digest::digest(&digest::SHA256, certificate);
                if actual.as_ref() != self.fingerprint {
                    self.state = State::Failed;
                } else if self.state == State::Handshake {
                    self.state = State::Verified;
                }
                DtlsOutput::Again
            }
            dimpl::Output::Connected => {
                // A server whose client shows no certificate never gets here: it is required.
                self.state = if self.state == State::Verified {
                    State::Finished
                } else {
                    State::Failed
                };
                DtlsOutput::Again
            }
            dimpl::Output::KeyingMaterial(material, profile) if self.state == State::Finished => {
                self.state = State::Open;
                DtlsOutput::Open(Some((material, profile)))
            }
            dimpl::Output::ApplicationData(data) if self.state == State::Open => DtlsOutput::Data(data),
            dimpl::Output::CloseNotify => {
                self.state = State::Closed;
                DtlsOutput::Closed
            }
            dimpl::Output::Timeout(_) if self.state == State::Finished => {
                self.state = State::Open;
                DtlsOutput::Open(None)
            }
            dimpl::Output::Timeout(next) => {
                self.next = Some(next);
                DtlsOutput::Idle
            }
            dimpl::Output::KeyingMaterial(..) | dimpl::Output::ApplicationData(_) | _ => DtlsOutput::Again,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_over() {
            None
        } else {
            earliest(self.next, self.handshake_deadline())
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    fn handshake_deadline(&self) -> Option<Instant> {
        let pending = matches!(self.state, State::Handshake | State::Verified);
        self.deadline.filter(|_| pending)
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed)
    }

    fn check(&mut self, result: Result<(), Error>) {
        match result {
            Ok(()) => {}
            // A stray datagram before the ServerHello; the session is still what it was.
            Err(Error::UnexpectedMessage(UnexpectedMessageError::UnrecognizedAutoServerResponse)) => {}
            Err(_) => self.state = State::Failed,
        }
    }
}
