//! What a [`crate::Peer`] is told: plain data, no SDP text.

use ::dtls::{Context, ContextError, Identity};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::{Duration, Instant};
use wire::ext::ExtensionIds;
use wire::sdp::Fingerprint;

/// Media kind of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// A payload format that Plenum forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are the specifications'")]
pub enum Codec {
    Opus,
    Red,
    Pcmu,
    Pcma,
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl Codec {
    /// RTP clock rate in Hz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus | Self::Red => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => 90_000,
        }
    }

    /// Audio or video.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Opus | Self::Red | Self::Pcmu | Self::Pcma => Kind::Audio,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 | Self::Av1 => Kind::Video,
        }
    }
}

/// One negotiated payload type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Codec.
    pub codec: Codec,
    /// Payload type, 0..=127.
    pub pt: u8,
    /// Payload type of its retransmissions (RFC 4588), when negotiated.
    pub rtx_pt: Option<u8>,
    /// Generic NACK negotiated (RFC 4585 §6.2.1).
    pub nack: bool,
}

/// ICE user name fragment and password of one side (RFC 8445 §5.3), as they stand in SDP.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// Which side of the DTLS handshake we are (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello (`a=setup:active`).
    Client,
    /// We wait for it (`a=setup:passive`).
    Server,
}

/// What is known of the remote side after an offer/answer exchange.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Remote ICE credentials. Changed credentials mean that the remote side restarted ICE.
    pub ice: IceCredentials,
    /// Digest of the remote DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Our DTLS role.
    pub dtls_role: DtlsRole,
    /// The remote side is ICE-lite.
    pub ice_lite: bool,
    /// An application section was negotiated: start SCTP when DTLS is up.
    pub sctp: Option<SctpRemote>,
}

/// What is known of the remote side's SCTP (RFC 8841 §5, §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SctpRemote {
    /// `a=sctp-port`
    pub port: NonZeroU16,
    /// `a=max-message-size` in bytes (0 = no limit).
    pub message_len_max: u32,
}

impl SctpRemote {
    /// Where SCTP over DTLS listens unless a description says otherwise.
    pub const PORT: NonZeroU16 = NonZeroU16::new(5000).expect("not 0");
}

/// An ICE candidate with the fields that connectivity needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Transport address.
    pub address: SocketAddr,
    /// Priority as in the candidate line (RFC 8445 §5.1.2).
    pub priority: u32,
    /// Foundation as in the candidate line.
    pub foundation: String,
    /// Candidate type.
    pub kind: CandidateKind,
}

/// Candidate type (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum CandidateKind {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

/// How a peer starts.
#[derive(Clone, Debug)]
pub struct PeerInit {
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// We are ICE-lite (RFC 8445 §2.5).
    pub ice_lite: bool,
    /// We are the controlling agent (we offered, and are not lite).
    pub ice_controlling: bool,
    /// Our candidates with the local socket each belongs to.
    pub local: Vec<(u8, Candidate)>,
    /// Seed for everything random in this peer (SSRCs of RTCP, SCTP tags, DTLS stays with its
    /// provider).
    pub seed: u64,
}

/// What all peers of a process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Certificate and DTLS settings.
    pub(crate) dtls: Context,
    /// A moment as both clocks showed it: monotonic, and NTP (RFC 5905 §6, 32.32 fixed point).
    pub epoch: (Instant, u64),
}

impl Shared {
    /// With a fresh certificate. Draws randomness: call it once per process. `epoch` as in the field.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn new(epoch: (Instant, u64)) -> Result<Self, ContextError> {
        Self::with_identity(&Identity::generate()?, epoch)
    }

    /// With this certificate.
    ///
    /// # Errors
    /// When the crypto library refuses it.
    pub fn with_identity(identity: &Identity, epoch: (Instant, u64)) -> Result<Self, ContextError> {
        let dtls = Context::new(identity, epoch.0)?;
        Ok(Self { dtls, epoch })
    }

    /// SHA-256 of our certificate, for `a=fingerprint`.
    #[must_use]
    pub const fn fingerprint(&self) -> [u8; 32] {
        self.dtls.fingerprint()
    }
}

/// A handshake that takes longer fails, as with LiveKit. Longer keeps what will never speak; shorter
/// gives up on paths that lose nearly everything.
pub(crate) const DTLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Index of a receiving section within one peer, chosen by the caller of `add_receive`.
pub type Tag = u64;

/// A section on which the remote side sends.
#[derive(Clone, Debug)]
pub struct ReceiveSpec {
    /// Returned with every packet and event of this section (media: the `TrackKey`).
    pub tag: Tag,
    /// `a=mid`
    pub mid: String,
    /// Media kind.
    pub kind: Kind,
    /// Negotiated payload types, in order of preference.
    pub payloads: Vec<Payload>,
    /// Negotiated extension ids.
    pub extensions: ExtensionIds,
    /// `a=rid` names from low to high; empty without simulcast.
    pub rids: Vec<String>,
    /// SSRCs announced in SDP: (primary, RTX). Empty when RIDs announce them in band.
    pub ssrcs: Vec<(u32, Option<u32>)>,
    /// Send transport-wide congestion feedback.
    pub transport_cc: bool,
}

/// A stream that we send: one SSRC with its RTX companion.
#[derive(Clone, Debug)]
pub struct SendSpec {
    /// Returned with every event of this stream (media: the `DownKey`).
    pub tag: Tag,
    /// `a=mid`
    pub mid: String,
    /// Media kind.
    pub kind: Kind,
    /// Our SSRC.
    pub ssrc: u32,
    /// SSRC of retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// Payload types that the remote side accepts.
    pub payloads: Vec<Payload>,
    /// Negotiated extension ids.
    pub extensions: ExtensionIds,
    /// SDES CNAME.
    pub cname: String,
    /// Video: least and most playout delay in milliseconds, where its extension is negotiated.
    pub playout_delay: Option<(u16, u16)>,
}

/// How a data channel is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    /// Label.
    pub label: String,
    /// In-order delivery.
    pub ordered: bool,
    /// `None` = reliable; `Some(n)` = at most n retransmissions.
    pub max_retransmits: Option<u16>,
    /// `Some(id)`: pre-negotiated out of band with this stream id, no DCEP is sent.
    /// `None`: opened in band with DCEP (RFC 8832) when SCTP is up.
    pub negotiated: Option<u16>,
}
