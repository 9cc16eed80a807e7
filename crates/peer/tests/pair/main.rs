//! Two peers over a virtual link: what one promises, the other sees.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected fails"
)]

mod channels;
mod connect;
mod joins;
mod media;
mod net;
mod robust;
