//! DTLS 1.2 for WebRTC (RFC 5764, RFC 8827 §6.5), sans-IO: datagrams and `now` go in; datagrams, a
//! deadline, application data and SRTP keys come out.
//!
//! Owns: what we offer and accept in a handshake, our certificate, the check of the remote one
//! against its fingerprint, and the calls into AWS-LC's libssl. Must not know: ICE, SRTP packets,
//! what application data means, how long a handshake may take.
//!
//! One of the few crates that may hold `unsafe`: `ffi` declares the C functions, `context` and
//! `session` call them.
//!
//! # What is accepted
//! Whoever connects to LiveKit's server: keys of ECDSA (P-256, P-384, P-521), RSA (PKCS#1 and PSS)
//! and Ed25519, any ECDHE suite with AES-GCM, ChaCha20-Poly1305 or AES-CBC, and handshakes without
//! the extended master secret (RFC 7627). What RFC 7627 §5.4 warns of when the extension is absent
//! needs either resumption or a certificate that is not checked. We resume no session and give out
//! no tickets; neither side renegotiates; and both sides' certificates are bound to the session by
//! the fingerprints in the descriptions. Somebody in the middle who synchronises two sessions'
//! master secrets would still have to show each side the other one's certificate, and sign with its key.
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

mod context;
mod failure;
mod ffi;
mod session;
mod srtp;

pub use context::{Context, ContextError, Identity};
pub use failure::Failure;
pub use session::{Received, Role, Session};
pub use srtp::{KeyingMaterial, SrtpProfile};
