//! Bytes to values and back for every format that Plenum speaks on the media path.
//!
//! Owns: RTP, RTCP, header extensions, STUN, SDP, codec payload descriptors, the AV1
//! dependency descriptor, DCEP framing, data-track handles and serial-number arithmetic.
//! Must not know: state, time, or what a packet means to anybody.
//! Every function takes untrusted bytes: no panic, no unbounded memory.
#![forbid(unsafe_code)]

mod bits;
mod bytes;
pub mod codec;
pub mod data_track;
pub mod dcep;
pub mod demux;
pub mod dependency_descriptor;
pub mod ext;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod seq;
pub mod stun;
