//! What all sessions of a process share: our certificate and what we offer and accept.

use crate::ffi;
use crate::session::Io;
use aws_lc_rs::digest;
use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::fmt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};
use wire::sdp::Fingerprint;

/// In the order in which we prefer them. Our own key takes the ECDSA ones when we are the server; a
/// server with an RSA key takes the others when we are the client. AES-CBC is for old devices.
const CIPHERS: &CStr = c"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:\
    ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:\
    ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
    ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA";
/// LiveKit's three, and the curve of P-521 certificates, which must be on the list to be accepted.
const GROUPS: &CStr = c"X25519:P-384:P-256:P-521";
/// As [`crate::SrtpProfile`], best first.
const SRTP_PROFILES: &CStr = c"SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80";
/// Signatures that we verify. None with SHA-1: LiveKit's server refuses it too.
const SIGNATURES: [u16; 10] = [
    ffi::SSL_SIGN_ECDSA_SECP256R1_SHA256,
    ffi::SSL_SIGN_ECDSA_SECP384R1_SHA384,
    ffi::SSL_SIGN_ECDSA_SECP521R1_SHA512,
    ffi::SSL_SIGN_ED25519,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA256,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA384,
    ffi::SSL_SIGN_RSA_PSS_RSAE_SHA512,
    ffi::SSL_SIGN_RSA_PKCS1_SHA256,
    ffi::SSL_SIGN_RSA_PKCS1_SHA384,
    ffi::SSL_SIGN_RSA_PKCS1_SHA512,
];
/// Longest handshake message taken, in bytes. A certificate of an 8,192-bit RSA key has 2.4 KB; the
/// library sets memory aside for up to seven messages as soon as a fragment names their length.
const MESSAGE_LEN_MAX: usize = 16_384;

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// Why a [`Context`] could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ContextError {
    /// No certificate could be generated.
    Certificate(rcgen::Error),
    /// The library refused a setting, the certificate or the key.
    Refused(&'static str),
}

impl fmt::Display for ContextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(_) => f.write_str("generate the DTLS certificate"),
            Self::Refused(what) => write!(f, "configure DTLS: {what}"),
        }
    }
}

impl std::error::Error for ContextError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Certificate(source) => Some(source),
            Self::Refused(_) => None,
        }
    }
}

impl Identity {
    /// A fresh P-256 key with a self-signed certificate. Draws randomness.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn generate() -> Result<Self, ContextError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(ContextError::Certificate)?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "WebRTC");
        // Nobody looks at the dates, the fingerprint is what counts; still valid, for those who do.
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        // Firefox takes two certificates with the same issuer and number for one.
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| ContextError::Refused("randomness"))?;
        serial[0] &= 0x7f;
        params.serial_number = Some(serial.to_vec().into());
        let certificate = params.self_signed(&key).map_err(ContextError::Certificate)?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
        })
    }

    /// A certificate (X.509) and its private key (PKCS#8), both in DER.
    #[must_use]
    pub const fn from_der(certificate: Vec<u8>, key: Vec<u8>) -> Self {
        Self { certificate, key }
    }

    /// SHA-256 of the certificate.
    ///
    /// # Panics
    /// Never: a SHA-256 digest has 32 bytes.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, &self.certificate);
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Settings of all sessions. The same for the server, its tests and its benchmarks.
pub struct Context {
    ctx: NonNull<ffi::SSL_CTX>,
    fingerprint: [u8; 32],
    /// What the library's clock counts from.
    epoch: Instant,
}

// SAFETY: an SSL_CTX is counted and may be used from several threads once it is configured
// (openssl/ssl.h, "SSL contexts"); nothing changes it after `new`.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Settings with this certificate. `epoch` is any moment before the first session.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn new(identity: &Identity, epoch: Instant) -> Result<Self, ContextError> {
        // SAFETY: the method is static; the result is owned by us, or null.
        let ctx = unsafe { ffi::SSL_CTX_new(ffi::DTLS_with_buffers_method()) };
        let context = Self {
            ctx: NonNull::new(ctx).ok_or(ContextError::Refused("no memory"))?,
            fingerprint: identity.fingerprint(),
            epoch,
        };
        context.configure()?;
        context.set_identity(identity)?;
        Ok(context)
    }

    /// SHA-256 of our certificate, for `a=fingerprint`.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    pub(crate) const fn as_ptr(&self) -> *mut ffi::SSL_CTX {
        self.ctx.as_ptr()
    }

    pub(crate) const fn epoch(&self) -> Instant {
        self.epoch
    }

    fn configure(&self) -> Result<(), ContextError> {
        let ctx = self.ctx.as_ptr();
        // SAFETY: `ctx` is live and no other thread has it yet; the strings end with a zero, the list
        // has the length given, and all are copied; the callbacks are static functions that do not unwind.
        let results = unsafe {
            ffi::SSL_CTX_set_options(ctx, ffi::SSL_OP_NO_TICKET | ffi::SSL_OP_NO_QUERY_MTU);
            ffi::SSL_CTX_set_session_cache_mode(ctx, ffi::SSL_SESS_CACHE_OFF);
            ffi::SSL_CTX_set_max_cert_list(ctx, MESSAGE_LEN_MAX);
            let mode = ffi::SSL_VERIFY_PEER | ffi::SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
            ffi::SSL_CTX_set_custom_verify(ctx, mode, Some(verify));
            ffi::SSL_CTX_set_current_time_cb(ctx, Some(current_time));
            [
                (
                    "version",
                    ffi::SSL_CTX_set_min_proto_version(ctx, ffi::DTLS1_2_VERSION),
                ),
                (
                    "version",
                    ffi::SSL_CTX_set_max_proto_version(ctx, ffi::DTLS1_2_VERSION),
                ),
                (
                    "cipher suites",
                    ffi::SSL_CTX_set_strict_cipher_list(ctx, CIPHERS.as_ptr()),
                ),
                ("curves", ffi::SSL_CTX_set1_groups_list(ctx, GROUPS.as_ptr())),
                (
                    "signature algorithms",
                    ffi::SSL_CTX_set_verify_algorithm_prefs(ctx, SIGNATURES.as_ptr(), SIGNATURES.len()),
                ),
                (
                    "SRTP profiles",
                    ffi::SSL_CTX_set_srtp_profiles(ctx, SRTP_PROFILES.as_ptr()),
                ),
            ]
        };
        match results.into_iter().find(|(_, result)| *result != 1) {
            Some((what, _)) => Err(ContextError::Refused(what)),
            None => Ok(()),
        }
    }

    fn set_identity(&self, identity: &Identity) -> Result<(), ContextError> {
        let mut key = ffi::CBS {
            data: identity.key.as_ptr(),
            len: identity.key.len(),
        };
        let certificate = &identity.certificate;
        // SAFETY: both functions copy the bytes of the length given and return null when they cannot;
        // the context takes references of its own, so that ours are given back in any case.
        let result = unsafe {
            let key = ffi::EVP_parse_private_key(&raw mut key);
            let certificate =
                ffi::CRYPTO_BUFFER_new(certificate.as_ptr(), certificate.len(), std::ptr::null_mut());
            let result = if key.is_null() || certificate.is_null() {
                0
            } else {
                let none = std::ptr::null();
                ffi::SSL_CTX_set_chain_and_key(self.ctx.as_ptr(), &raw const certificate, 1, key, none)
            };
            // Both accept null.
            ffi::CRYPTO_BUFFER_free(certificate);
            ffi::EVP_PKEY_free(key);
            result
        };
        if result == 1 {
            Ok(())
        } else {
            Err(ContextError::Refused("certificate or key"))
        }
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        // SAFETY: `ctx` is live; the count makes it live as long as the copy.
        unsafe { ffi::SSL_CTX_up_ref(self.ctx.as_ptr()) };
        Self { ..*self }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: this reference is ours; sessions hold references of their own.
        unsafe { ffi::SSL_CTX_free(self.ctx.as_ptr()) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

thread_local! {
    /// Time since the epoch of the context whose session is called at the moment.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Sets the time that the library reads during the calls that follow on this thread.
pub(crate) fn set_clock(since_epoch: Duration) {
    NOW.set(since_epoch);
}

/// The library's clock. It counts from an arbitrary second, for zero means "no timer" to the library.
unsafe extern "C" fn current_time(_: *const ffi::SSL, out: *mut libc::timeval) {
    const START_SECONDS: u64 = 1_000_000_000;
    let now = NOW.get();
    let seconds = i64::try_from(START_SECONDS.saturating_add(now.as_secs())).unwrap_or(i64::MAX);
    let time = libc::timeval {
        tv_sec: seconds,
        tv_usec: i64::from(now.subsec_micros()),
    };
    // SAFETY: the library passes a place for the result.
    unsafe { out.write(time) };
}

/// Whether the certificate is the one of the description.
unsafe extern "C" fn verify(ssl: *mut ffi::SSL, alert: *mut u8) -> c_int {
    // SAFETY: every session sets an `Io` that lives as long as `ssl`, and holds no reference to it
    // while it calls the library.
    let expected = unsafe { ffi::SSL_get_ex_data(ssl, ffi::APP_DATA).cast::<Io>().as_ref() };
    // SAFETY: `ssl` is live during the callback; the stack and what is on it belong to it.
    let certificate = unsafe { leaf(ssl) };
    if let (Some(io), Some(certificate)) = (expected, certificate)
        && matches(&io.expected, certificate)
    {
        return ffi::SSL_VERIFY_OK;
    }
    // SAFETY: the library passes a place for the alert.
    unsafe { alert.write(ffi::SSL_AD_BAD_CERTIFICATE) };
    ffi::SSL_VERIFY_INVALID
}

/// The remote side's own certificate, in DER.
///
/// # Safety
/// `ssl` must outlive the result and not be called meanwhile.
unsafe fn leaf<'a>(ssl: *const ffi::SSL) -> Option<&'a [u8]> {
    // SAFETY: null, or a stack of buffers that `ssl` owns; an index below its length is on it.
    unsafe {
        let stack = ffi::SSL_get0_peer_certificates(ssl);
        if stack.is_null() || ffi::OPENSSL_sk_num(stack) == 0 {
            return None;
        }
        let buffer = ffi::OPENSSL_sk_value(stack, 0).cast::<ffi::CRYPTO_BUFFER>();
        let (data, len) = (ffi::CRYPTO_BUFFER_data(buffer), ffi::CRYPTO_BUFFER_len(buffer));
        (!data.is_null()).then(|| std::slice::from_raw_parts(data, len))
    }
}

fn matches(expected: &Fingerprint, certificate: &[u8]) -> bool {
    let algorithm = match expected {
        Fingerprint::Sha1(_) => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        Fingerprint::Sha224(_) => &digest::SHA224,
        Fingerprint::Sha256(_) => &digest::SHA256,
        Fingerprint::Sha384(_) => &digest::SHA384,
        Fingerprint::Sha512(_) => &digest::SHA512,
    };
    digest::digest(algorithm, certificate).as_ref() == expected.bytes()
}
