//! The targets. Each checks more than "it does not panic" where there is more to check.

mod codec;
mod decoded;
mod forward;
mod hostile_rtcp;
mod hostile_sctp;
mod join_request;
mod packet;
mod peer;
mod room;
mod rtcp;
mod text;

pub(crate) use decoded::reader as decoded_reader;
pub(crate) use join_request::{gzip, wrap};
pub(crate) use packet::IDS;
pub(crate) use peer::record_checks;
#[cfg(test)]
pub(crate) use {
    decoded::take as decoded_taken, forward::forward_counts, hostile_rtcp::reach as rtcp_reach,
    hostile_sctp::reach as sctp_reach, join_request::join_wish, peer::media_counts, room::room_counts,
};

/// One reader of network bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line and of its corpus folder.
    pub name: &'static str,
    /// Reads one input; panics when something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "rtp",
        run: packet::rtp,
    },
    Target {
        name: "stun",
        run: packet::stun,
    },
    Target {
        name: "dcep",
        run: packet::dcep,
    },
    Target {
        name: "rtcp",
        run: rtcp::rtcp,
    },
    Target {
        name: "transport_cc",
        run: rtcp::transport_cc,
    },
    Target {
        name: "vp8",
        run: codec::vp8,
    },
    Target {
        name: "vp9",
        run: codec::vp9,
    },
    Target {
        name: "h264",
        run: codec::h264,
    },
    Target {
        name: "h265",
        run: codec::h265,
    },
    Target {
        name: "av1",
        run: codec::av1,
    },
    Target {
        name: "opus",
        run: codec::opus,
    },
    Target {
        name: "red",
        run: codec::red,
    },
    Target {
        name: "dependency_descriptor",
        run: codec::dependency_descriptor,
    },
    Target {
        name: "sdp",
        run: text::sdp,
    },
    Target {
        name: "candidate",
        run: text::candidate,
    },
    Target {
        name: "signal",
        run: text::signal,
    },
    Target {
        name: "join_request",
        run: join_request::join_request,
    },
    Target {
        name: "decoded",
        run: decoded::decoded,
    },
    Target {
        name: "room",
        run: room::room,
    },
    Target {
        name: "peer",
        run: peer::stranger,
    },
    Target {
        name: "peer_connected",
        run: peer::connected,
    },
    Target {
        name: "peer_media",
        run: peer::media,
    },
    Target {
        name: "hostile_sctp",
        run: hostile_sctp::hostile_sctp,
    },
    Target {
        name: "hostile_rtcp",
        run: hostile_rtcp::hostile_rtcp,
    },
    Target {
        name: "forward",
        run: forward::forward,
    },
];

/// Splits an input that stands for several datagrams: each is behind its length in two bytes; a
/// length beyond the end takes what is left.
pub(crate) fn chunks(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<2>()?;
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (chunk, rest) = rest.split_at(len);
        data = rest;
        Some(chunk)
    })
}

/// The reverse of [`chunks`].
pub(crate) fn join<T: AsRef<[u8]>>(chunks: &[T]) -> Vec<u8> {
    let mut joined = Vec::new();
    for chunk in chunks {
        let bytes = chunk.as_ref();
        joined.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        joined.extend_from_slice(bytes);
    }
    joined
}
