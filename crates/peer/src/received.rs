//! What became of a datagram, for whoever has to know where a peer's datagrams come from.
//!
//! Owns: nothing but the answer. Must not know: who asks.

use crate::peer::ReceivedRtp;

/// What became of a datagram.
#[derive(Clone, Debug)]
pub enum Received {
    /// A packet of RTP, decrypted.
    Rtp(ReceivedRtp),
    /// A STUN message that only the remote side can have written: its source may be taken for one of
    /// the peer's. (Its path may carry it again from elsewhere; only an answer proves an address.)
    Check,
    /// Anything else that the peer took.
    Taken,
    /// Nothing changed by it.
    Refused(Refusal),
}

/// Why a datagram was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// STUN without the integrity that our password gives, for other credentials, or repeated from
    /// another address.
    Unauthenticated,
    /// DTLS from an address from which no check came.
    Stranger,
    /// It cannot be read.
    Malformed,
    /// As much of it was taken as is ever taken.
    TooMany,
}

impl Received {
    /// The decrypted packet, if it is one.
    #[must_use]
    pub fn rtp(self) -> Option<ReceivedRtp> {
        match self {
            Self::Rtp(rtp) => Some(rtp),
            Self::Check | Self::Taken | Self::Refused(_) => None,
        }
    }
}
