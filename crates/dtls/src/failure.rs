//! Why a handshake or a session ended.
//!
//! Must not know: who is told.

use crate::ffi;
use std::ffi::CStr;
use std::fmt;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The handshake took too long.
    TimedOut,
    /// The certificate is not the one whose fingerprint the description has.
    Fingerprint,
    /// The remote side showed no certificate.
    NoCertificate,
    /// Nothing in common: version, cipher suite, curve or signature algorithm. The library's code.
    Incompatible(u32),
    /// The remote side gave up, with this alert (RFC 5246 §7.2).
    Alert(u8),
    /// The remote side broke the protocol, or its proof is wrong. The library's code.
    Protocol(u32),
}

impl Failure {
    /// Every [`Self::label`], in the order of [`Self::index`].
    pub const LABELS: [&str; 6] = [
        "timed_out",
        "fingerprint",
        "no_certificate",
        "incompatible",
        "alert",
        "protocol",
    ];

    /// Position of its kind in [`Self::LABELS`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::TimedOut => 0,
            Self::Fingerprint => 1,
            Self::NoCertificate => 2,
            Self::Incompatible(_) => 3,
            Self::Alert(_) => 4,
            Self::Protocol(_) => 5,
        }
    }

    /// Its kind in one word, for counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// From the first error that the library queued on this thread; empties the queue.
    pub(crate) fn take() -> Self {
        // SAFETY: both take no arguments and touch this thread's queue only.
        let code = unsafe {
            let code = ffi::ERR_get_error();
            ffi::ERR_clear_error();
            code
        };
        Self::from_code(code)
    }

    fn from_code(code: u32) -> Self {
        let (library, reason) = (code >> 24 & 0xff, code & 0xfff);
        if library != ffi::ERR_LIB_SSL {
            return Self::Protocol(code);
        }
        match reason {
            ffi::SSL_R_CERTIFICATE_VERIFY_FAILED => Self::Fingerprint,
            ffi::SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE => Self::NoCertificate,
            ffi::SSL_R_NO_SHARED_CIPHER
            | ffi::SSL_R_NO_SHARED_GROUP
            | ffi::SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS
            | ffi::SSL_R_UNSUPPORTED_PROTOCOL
            | ffi::SSL_R_UNKNOWN_CERTIFICATE_TYPE
            | ffi::SSL_R_WRONG_SIGNATURE_TYPE
            | ffi::SSL_R_WRONG_CURVE
            | ffi::SSL_R_BAD_ECC_CERT => Self::Incompatible(code),
            _ => match reason.checked_sub(ffi::SSL_AD_REASON_OFFSET) {
                Some(alert) => Self::Alert(u8::try_from(alert).unwrap_or(u8::MAX)),
                None => Self::Protocol(code),
            },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TimedOut => f.write_str("the handshake took too long"),
            Self::Fingerprint => f.write_str("the certificate does not match the fingerprint"),
            Self::NoCertificate => f.write_str("no certificate"),
            Self::Incompatible(code) => write!(f, "nothing in common: {}", text(code)),
            Self::Alert(alert) => write!(f, "the remote side sent alert {alert}"),
            Self::Protocol(code) => write!(f, "protocol: {}", text(code)),
        }
    }
}

/// The library's name for an error.
fn text(code: u32) -> &'static str {
    // SAFETY: takes any number; returns null or a static string that ends with a zero.
    let reason = unsafe { ffi::ERR_reason_error_string(code) };
    if reason.is_null() {
        return "unknown";
    }
    // SAFETY: not null, and static as above.
    let reason = unsafe { CStr::from_ptr(reason) };
    reason.to_str().unwrap_or("unknown")
}
