//! One session, from ClientHello to close_notify.

use crate::context::{Context, set_clock};
use crate::failure::Failure;
use crate::ffi;
use crate::srtp::{KeyingMaterial, SrtpProfile};
use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::fmt;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use wire::sdp::Fingerprint;

/// Largest handshake datagram in bytes: fits every path that carries WebRTC.
const MTU: c_uint = 1200;
/// First retransmission of a flight in milliseconds, as LiveKit has it; it doubles each time. Lower
/// joins faster on lossy links and repeats flights in vain when the round trip is longer.
const FIRST_RETRANSMISSION_MS: c_uint = 100;
/// Datagrams that may wait to be taken. A flight has 2 to 5; more are dropped as a network would.
const OUTGOING_MAX: usize = 64;
/// Label of the exporter (RFC 5764 §4.2).
const LABEL: &[u8] = b"EXTRACTOR-dtls_srtp";

/// Which side of the handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We send the ClientHello.
    Client,
    /// We wait for it.
    Server,
}

/// What [`Session::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes of application data.
    Data(usize),
    /// The remote side sent close_notify.
    Closed,
    /// Nothing more in what has arrived.
    Nothing,
}

/// A session of one peer. After every other call take what [`Self::poll_packet`] has, and ask
/// [`Self::poll_timeout`] again; `now` never goes back.
pub struct Session {
    ssl: NonNull<ffi::SSL>,
    /// Owned; reached through this address only, because the library's callbacks have it as well.
    io: NonNull<Io>,
    epoch: Instant,
    next: Option<Instant>,
    established: bool,
}

/// What the library's callbacks reach.
pub(crate) struct Io {
    /// A datagram that the library has not read yet; empty when there is none.
    incoming: Vec<u8>,
    outgoing: VecDeque<Vec<u8>>,
    pub(crate) expected: Fingerprint,
}

// SAFETY: an SSL belongs to no thread, it must only not be used by two at once; `&mut self` sees to
// that. `Io` is owned and plain data.
unsafe impl Send for Session {}

impl Session {
    /// A session that expects a certificate with this fingerprint. As the client it has a ClientHello
    /// to send at once.
    ///
    /// # Errors
    /// When the library has no memory.
    pub fn new(context: &Context, role: Role, expected: Fingerprint, now: Instant) -> Result<Self, Failure> {
        // SAFETY: the context is live; the result is owned by us, or null.
        let ssl = NonNull::new(unsafe { ffi::SSL_new(context.as_ptr()) }).ok_or_else(Failure::take)?;
        let io = Box::new(Io {
            incoming: Vec::new(),
            outgoing: VecDeque::new(),
            expected,
        });
        let mut session = Self {
            ssl,
            io: NonNull::from(Box::leak(io)),
            epoch: context.epoch(),
            next: None,
            established: false,
        };
        let (ssl, io) = (session.ssl.as_ptr(), session.io.as_ptr().cast::<c_void>());
        // SAFETY: `ssl` is live and ours. `io` outlives it (`drop` frees `ssl` first). The BIO is new,
        // and `SSL_set_bio` takes one reference of a BIO that is given for both directions.
        unsafe {
            let bio = ffi::BIO_new(method()?);
            if bio.is_null() || ffi::SSL_set_ex_data(ssl, ffi::APP_DATA, io) != 1 {
                return Err(Failure::take());
            }
            ffi::BIO_set_data(bio, io);
            ffi::BIO_set_init(bio, 1);
            ffi::SSL_set_bio(ssl, bio, bio);
            ffi::SSL_set_mtu(ssl, MTU);
            ffi::DTLSv1_set_initial_timeout_duration(ssl, FIRST_RETRANSMISSION_MS);
            ffi::SSL_set_shed_handshake_config(ssl, 1);
            match role {
                Role::Client => ffi::SSL_set_connect_state(ssl),
                Role::Server => ffi::SSL_set_accept_state(ssl),
            }
        }
        if role == Role::Client {
            session.advance(now)?;
        }
        Ok(session)
    }

    /// Takes one datagram. While the session is not established this takes the handshake further;
    /// afterwards call [`Self::receive`] until it finds nothing.
    ///
    /// # Errors
    /// When the handshake fails; there may be an alert to send.
    pub fn handle_packet(&mut self, now: Instant, data: &[u8]) -> Result<(), Failure> {
        self.io().incoming = data.to_vec();
        if self.established {
            return Ok(());
        }
        // One call reads as many records of the datagram as the handshake takes.
        self.advance(now)
    }

    /// Sends a flight again when its time has come.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Failure> {
        if self.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        self.set_clock(now);
        // SAFETY: `ssl` is live.
        let result = unsafe {
            ffi::ERR_clear_error();
            ffi::DTLSv1_handle_timeout(self.ssl.as_ptr())
        };
        self.find_timeout(now);
        if result < 0 { Err(Failure::take()) } else { Ok(()) }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// The next datagram to send.
    pub fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.io().outgoing.pop_front()
    }

    /// The handshake is done, the certificate is the expected one.
    #[must_use]
    pub const fn is_established(&self) -> bool {
        self.established
    }

    /// Decrypts the next record of application data into `buffer`, which should hold
    /// 16,384 bytes: of a longer record the rest is lost.
    ///
    /// # Errors
    /// When the session ends by a fatal alert.
    pub fn receive(&mut self, now: Instant, buffer: &mut [u8]) -> Result<Received, Failure> {
        if !self.established {
            return Ok(Received::Nothing);
        }
        self.set_clock(now);
        let len = c_int::try_from(buffer.len()).unwrap_or(c_int::MAX);
        // SAFETY: `ssl` is live; `buffer` has room for `len` bytes.
        let (result, error) = unsafe {
            ffi::ERR_clear_error();
            let result = ffi::SSL_read(self.ssl.as_ptr(), buffer.as_mut_ptr().cast(), len);
            (result, ffi::SSL_get_error(self.ssl.as_ptr(), result))
        };
        match (usize::try_from(result), error) {
            (Ok(read), _) if read > 0 => Ok(Received::Data(read)),
            (_, ffi::SSL_ERROR_WANT_READ) => Ok(Received::Nothing),
            (_, ffi::SSL_ERROR_ZERO_RETURN) => Ok(Received::Closed),
            _ => Err(Failure::take()),
        }
    }

    /// Encrypts application data of at most 16,384 bytes into one datagram.
    ///
    /// # Errors
    /// When there is no session any more.
    pub fn send(&mut self, data: &[u8]) -> Result<(), Failure> {
        let len = c_int::try_from(data.len()).unwrap_or(c_int::MAX);
        // SAFETY: `ssl` is live; `data` has `len` bytes.
        let result = unsafe {
            ffi::ERR_clear_error();
            ffi::SSL_write(self.ssl.as_ptr(), data.as_ptr().cast(), len)
        };
        if result > 0 { Ok(()) } else { Err(Failure::take()) }
    }

    /// Queues close_notify. Nothing comes after it.
    pub fn close(&mut self) {
        if self.established {
            // SAFETY: `ssl` is live. An error means that there is nothing left to close.
            unsafe {
                ffi::ERR_clear_error();
                ffi::SSL_shutdown(self.ssl.as_ptr());
                ffi::ERR_clear_error();
            }
        }
        self.next = None;
    }

    /// Keys for SRTP, if both sides want it.
    #[must_use]
    pub fn srtp(&self) -> Option<(SrtpProfile, KeyingMaterial)> {
        if !self.established {
            return None;
        }
        // SAFETY: `ssl` is live; the result is null or static.
        let profile = unsafe { ffi::SSL_get_selected_srtp_profile(self.ssl.as_ptr()).as_ref() }?;
        let profile = SrtpProfile::from_id(profile.id)?;
        let mut material = vec![0; profile.keying_material_len()];
        // SAFETY: `ssl` is live and established; both lengths are those of the buffers.
        let result = unsafe {
            ffi::SSL_export_keying_material(
                self.ssl.as_ptr(),
                material.as_mut_ptr(),
                material.len(),
                LABEL.as_ptr().cast(),
                LABEL.len(),
                std::ptr::null(),
                0,
                0,
            )
        };
        (result == 1).then_some((profile, KeyingMaterial(material)))
    }

    /// Takes the handshake as far as what has arrived allows.
    fn advance(&mut self, now: Instant) -> Result<(), Failure> {
        self.set_clock(now);
        // SAFETY: `ssl` is live.
        let (result, error) = unsafe {
            ffi::ERR_clear_error();
            let result = ffi::SSL_do_handshake(self.ssl.as_ptr());
            (result, ffi::SSL_get_error(self.ssl.as_ptr(), result))
        };
        self.find_timeout(now);
        if result == 1 {
            self.established = true;
            return Ok(());
        }
        match error {
            ffi::SSL_ERROR_WANT_READ => Ok(()),
            ffi::SSL_ERROR_ZERO_RETURN => Err(Failure::Alert(0)),
            _ => Err(Failure::take()),
        }
    }

    fn find_timeout(&mut self, now: Instant) {
        let mut left = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        // SAFETY: `ssl` is live; `left` is a place for the result.
        let running = unsafe { ffi::DTLSv1_get_timeout(self.ssl.as_ptr(), &raw mut left) };
        let seconds = Duration::from_secs(left.tv_sec.unsigned_abs());
        let left = seconds + Duration::from_micros(left.tv_usec.unsigned_abs());
        self.next = (running == 1).then(|| now + left);
    }

    fn set_clock(&self, now: Instant) {
        set_clock(now.saturating_duration_since(self.epoch));
    }

    /// Never kept across a call of the library.
    const fn io(&mut self) -> &mut Io {
        // SAFETY: owned and live; the library's callbacks, which reach it as well, run only within
        // calls that are made when no such reference is held.
        unsafe { self.io.as_mut() }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: both are ours. The library's object goes first, and its BIO with it.
        unsafe {
            ffi::SSL_free(self.ssl.as_ptr());
            drop(Box::from_raw(self.io.as_ptr()));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

/// How the library reads and writes datagrams, for all sessions.
fn method() -> Result<*const ffi::BIO_METHOD, Failure> {
    struct Method(NonNull<ffi::BIO_METHOD>);
    // SAFETY: nothing changes it after it was made.
    unsafe impl Send for Method {}
    // SAFETY: as above.
    unsafe impl Sync for Method {}
    static METHOD: OnceLock<Option<Method>> = OnceLock::new();
    let method = METHOD.get_or_init(|| {
        // SAFETY: the name is static; the functions are, and do not unwind.
        unsafe {
            let method = NonNull::new(ffi::BIO_meth_new(
                ffi::BIO_TYPE_SOURCE_SINK,
                c"datagrams".as_ptr(),
            ))?;
            ffi::BIO_meth_set_read(method.as_ptr(), Some(read));
            ffi::BIO_meth_set_write(method.as_ptr(), Some(write));
            ffi::BIO_meth_set_ctrl(method.as_ptr(), Some(ctrl));
            Some(Method(method))
        }
    });
    method
        .as_ref()
        .map(|method| method.0.as_ptr().cast_const())
        .ok_or_else(Failure::take)
}

/// Gives the library the datagram that has arrived, once.
unsafe extern "C" fn read(bio: *mut ffi::BIO, buffer: *mut c_char, len: c_int) -> c_int {
    // SAFETY: `new` gave this BIO its `Io`, which outlives it; no other reference is held meanwhile.
    let io = unsafe {
        ffi::BIO_clear_retry_flags(bio);
        ffi::BIO_get_data(bio).cast::<Io>().as_mut()
    };
    let datagram = io.map(|io| std::mem::take(&mut io.incoming)).unwrap_or_default();
    let read = datagram.len().min(usize::try_from(len).unwrap_or(0));
    if read == 0 {
        // SAFETY: `bio` is live.
        unsafe { ffi::BIO_set_retry_read(bio) };
        return -1;
    }
    // SAFETY: `buffer` has room for `len` bytes, and `read` is no more than that or than the datagram.
    unsafe { std::ptr::copy_nonoverlapping(datagram.as_ptr(), buffer.cast(), read) };
    c_int::try_from(read).unwrap_or(-1)
}

/// Queues a datagram of the library's.
unsafe extern "C" fn write(bio: *mut ffi::BIO, data: *const c_char, len: c_int) -> c_int {
    // SAFETY: as in `read`.
    let io = unsafe {
        ffi::BIO_clear_retry_flags(bio);
        ffi::BIO_get_data(bio).cast::<Io>().as_mut()
    };
    let (Some(io), Ok(size)) = (io, usize::try_from(len)) else {
        return -1;
    };
    if io.outgoing.len() < OUTGOING_MAX {
        // SAFETY: `data` has `len` bytes.
        let datagram = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size) };
        io.outgoing.push_back(datagram.to_vec());
    }
    len
}

unsafe extern "C" fn ctrl(_: *mut ffi::BIO, command: c_int, _: c_long, _: *mut c_void) -> c_long {
    c_long::from(command == ffi::BIO_CTRL_FLUSH)
}
