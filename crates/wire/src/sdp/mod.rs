//! Session descriptions (RFC 8866) as WebRTC uses them (RFC 8829): text to typed values and back.
//!
//! Owns: which lines mean what, their spelling and order, and the limits on untrusted text.
//! Must not know: offer/answer rules, codecs' meaning, or who sends a description.
//!
//! Reading is tolerant: unknown lines and attributes are passed over, a broken attribute is left
//! out. Only text that is no SDP at all, or exceeds a limit, is refused.

mod candidate;
mod fingerprint;
mod parse;
mod write;

pub use candidate::{Candidate, CandidateType, Protocol};
pub use fingerprint::Fingerprint;
pub use parse::ParseError;

/// Most bytes of one description. A call with 300 video sections of the largest browser needs 1.4 MB.
pub const BYTES_MAX: usize = 4 << 20;
/// Most media sections of one description.
pub const SECTIONS_MAX: usize = 1024;
/// Longest line. The longest that occurs lists the mids of all sections.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Longest attribute of a section that is read; longer ones are passed over. Parameter sets of H.264 and
/// H.265 in `a=fmtp` have some hundred bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 2 * 1024;
/// Most entries that one section keeps of each kind of attribute; further ones are passed over.
/// Payload types are at most 128, the largest browser writes 110 `a=rtcp-fb` lines.
pub const ITEMS_MAX: usize = 256;
/// The same for SSRCs and their groups, of which browsers write at most nine: three layers with
/// retransmission and forward error correction.
pub const SSRCS_MAX: usize = 64;

/// A whole description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// What stands before the first section.
    pub session: Session,
    /// The sections (`m=`), in order.
    pub media: Vec<Media>,
}

impl Description {
    /// Reads a description.
    ///
    /// # Errors
    /// When the text is no SDP or exceeds a limit.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::description(text)
    }

    /// The ICE, DTLS and candidate attributes that hold for a section: its own, else the session's.
    #[must_use]
    pub fn transport_of(&self, media: &Media) -> Transport {
        let (own, session) = (&media.transport, &self.session.transport);
        Transport {
            ufrag: own.ufrag.clone().or_else(|| session.ufrag.clone()),
            pwd: own.pwd.clone().or_else(|| session.pwd.clone()),
            fingerprint: own.fingerprint.or(session.fingerprint),
            setup: own.setup.or(session.setup),
            candidates: own
                .candidates
                .iter()
                .chain(&session.candidates)
                .cloned()
                .collect(),
            end_of_candidates: own.end_of_candidates || session.end_of_candidates,
            trickle: own.trickle || session.trickle,
        }
    }
}

impl std::fmt::Display for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write::description(f, self)
    }
}

/// Session-level part of a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// `o=` session id; 0 when it is no number of 64 bits.
    pub id: u64,
    /// `o=` session version; 0 when it is no number of 64 bits.
    pub version: u64,
    /// `a=msid-semantic:WMS *` and the like: what follows the colon.
    pub msid_semantic: Option<String>,
    /// Mids of `a=group:BUNDLE` (RFC 8843).
    pub bundle: Vec<String>,
    /// `a=extmap-allow-mixed` (RFC 8285 §6)
    pub extmap_allow_mixed: bool,
    /// `a=ice-lite` (RFC 8839 §5.3)
    pub ice_lite: bool,
    /// ICE and DTLS attributes for all sections.
    pub transport: Transport,
}

/// ICE and DTLS attributes of a section or of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// `a=ice-ufrag`
    pub ufrag: Option<String>,
    /// `a=ice-pwd`
    pub pwd: Option<String>,
    /// Digest of the certificate, by the strongest hash function given (RFC 8122 §5.1); those of
    /// hash functions that we lack are passed over.
    pub fingerprint: Option<Fingerprint>,
    /// `a=setup`
    pub setup: Option<Setup>,
    /// `a=candidate` lines that could be read.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates`
    pub end_of_candidates: bool,
    /// `a=ice-options` names `trickle`.
    pub trickle: bool,
}

/// `a=setup` (RFC 8842 §5.2): who sends the ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Setup {
    ActPass,
    Active,
    Passive,
    HoldConn,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// What it carries.
    pub kind: MediaKind,
    /// Port; 0 rejects the section.
    pub port: u16,
    /// `UDP/TLS/RTP/SAVPF` and the like.
    pub protocol: String,
    /// Formats as they stand in the `m=` line: payload types, or `webrtc-datachannel`.
    pub formats: Vec<String>,
    /// `a=mid`
    pub mid: Option<String>,
    /// Direction; `sendrecv` when none is given.
    pub direction: Direction,
    /// `a=bundle-only`
    pub bundle_only: bool,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize`
    pub rtcp_rsize: bool,
    /// `a=rtpmap` lines.
    pub rtpmaps: Vec<RtpMap>,
    /// `a=fmtp` lines: payload type and parameters.
    pub fmtps: Vec<(u8, String)>,
    /// `a=rtcp-fb` lines: payload type (`None` = all) and what, e.g. `nack pli`.
    pub feedback: Vec<(Option<u8>, String)>,
    /// `a=extmap` lines.
    pub extmaps: Vec<ExtMap>,
    /// `a=ssrc` lines gathered by SSRC.
    pub ssrcs: Vec<Ssrc>,
    /// `a=ssrc-group` lines.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// `a=rid` lines.
    pub rids: Vec<Rid>,
    /// `a=simulcast`
    pub simulcast: Option<Simulcast>,
    /// `a=msid` lines.
    pub msids: Vec<Msid>,
    /// `a=sctp-port`, or the port of an old `a=sctpmap`.
    pub sctp_port: Option<u16>,
    /// `a=max-message-size`
    pub max_message_size: Option<u64>,
    /// ICE and DTLS.
    pub transport: Transport,
}

impl Media {
    /// An empty section.
    #[must_use]
    pub const fn new(kind: MediaKind, protocol: String) -> Self {
        Self {
            kind,
            port: 9,
            protocol,
            formats: Vec::new(),
            mid: None,
            direction: Direction::SendRecv,
            bundle_only: false,
            rtcp_mux: false,
            rtcp_rsize: false,
            rtpmaps: Vec::new(),
            fmtps: Vec::new(),
            feedback: Vec::new(),
            extmaps: Vec::new(),
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: None,
            msids: Vec::new(),
            sctp_port: None,
            max_message_size: None,
            transport: Transport {
                ufrag: None,
                pwd: None,
                fingerprint: None,
                setup: None,
                candidates: Vec::new(),
                end_of_candidates: false,
                trickle: false,
            },
        }
    }

    /// Payload types of the `m=` line, in order, each once.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        let mut seen = 0_u128;
        self.formats
            .iter()
            .filter_map(|format| format.parse().ok().filter(|pt| *pt < 128))
            .filter(move |pt: &u8| {
                let before = seen;
                seen |= 1 << pt;
                seen != before
            })
    }

    /// The `a=rtpmap` of a payload type, or what RFC 3551 assigns to it.
    #[must_use]
    pub fn rtpmap(&self, pt: u8) -> Option<RtpMap> {
        let named = self.rtpmaps.iter().find(|map| map.pt == pt).cloned();
        named.or_else(|| RtpMap::assigned(pt))
    }

    /// Parameters of a payload type, empty when it has none.
    #[must_use]
    pub fn fmtp(&self, pt: u8) -> &str {
        self.fmtps
            .iter()
            .find(|(of, _)| *of == pt)
            .map_or("", |(_, parameters)| parameters)
    }

    /// Whether a payload type has a feedback message, by itself or through `*`.
    #[must_use]
    pub fn has_feedback(&self, pt: u8, what: &str) -> bool {
        self.feedback
            .iter()
            .any(|(of, name)| of.is_none_or(|of| of == pt) && name == what)
    }

    /// Id of a header extension, `None` when it is not there.
    #[must_use]
    pub fn extension(&self, uri: &str) -> Option<u8> {
        self.extmaps.iter().find(|map| map.uri == uri).map(|map| map.id)
    }

    /// msid (stream id, track id) of `a=msid`, else of the `a=ssrc` lines (plan B spelling).
    #[must_use]
    pub fn msid(&self) -> Option<Msid> {
        let line = self.msids.first().cloned();
        line.or_else(|| {
            let value = self.ssrcs.iter().find_map(|ssrc| ssrc.attribute("msid"))?;
            Some(Msid::parse(value))
        })
    }
}

/// What a section carries.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the media types'")]
pub enum MediaKind {
    Audio,
    Video,
    Application,
    /// Any other media type.
    Other(String),
}

impl MediaKind {
    /// The media type as it stands in the `m=` line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other(name) => name,
        }
    }
}

/// Direction attribute, seen from the side that wrote the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The writer sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The writer receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// `a=rtpmap`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// Payload type.
    pub pt: u8,
    /// Encoding name as written.
    pub encoding: String,
    /// Clock rate, Hz.
    pub clock_rate: u32,
    /// Channels, 1 when not given.
    pub channels: u8,
}

impl RtpMap {
    /// The static assignments of RFC 3551 §6 that still occur.
    #[must_use]
    pub fn assigned(pt: u8) -> Option<Self> {
        let encoding = match pt {
            0 => "PCMU",
            8 => "PCMA",
            9 => "G722",
            13 => "CN",
            _ => return None,
        };
        Some(Self {
            pt,
            encoding: encoding.to_owned(),
            clock_rate: 8000,
            channels: 1,
        })
    }
}

/// `a=extmap` (RFC 8285 §5); direction and attributes are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtMap {
    /// Id, 1..=255.
    pub id: u8,
    /// URI.
    pub uri: String,
}

/// The `a=ssrc` lines of one SSRC (RFC 5576 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssrc {
    /// SSRC.
    pub ssrc: u32,
    /// Attribute names and values.
    pub attributes: Vec<(String, Option<String>)>,
}

impl Ssrc {
    /// Value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(of, _)| of == name)?;
        found.1.as_deref()
    }
}

/// `a=ssrc-group` (RFC 5576 §4.2): FID, SIM, FEC-FR…
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// Semantics.
    pub semantics: String,
    /// SSRCs.
    pub ssrcs: Vec<u32>,
}

/// `a=rid` (RFC 8851)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    /// Name.
    pub id: String,
    /// `send` or `recv`.
    pub send: bool,
    /// Restrictions, empty when none.
    pub restrictions: String,
}

/// `a=simulcast` (RFC 8853), first alternative of each stream, without the paused marker `~`,
/// ordered from low to high where the names tell it ([`order_rids`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulcast {
    /// RIDs that the writer sends.
    pub send: Vec<String>,
    /// RIDs that the writer receives.
    pub recv: Vec<String>,
}

/// Sorts RIDs from low to high when all of them are of LiveKit's families `q h f` or `2 1 0`;
/// any other names stay as they are.
pub fn order_rids(rids: &mut [String]) {
    for family in [["q", "h", "f"], ["2", "1", "0"]] {
        let rank = |rid: &String| family.iter().position(|name| name == rid);
        if rids.iter().all(|rid| rank(rid).is_some()) {
            rids.sort_by_key(rank);
            return;
        }
    }
}

/// `a=msid` (RFC 8830)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// MediaStream id.
    pub stream: String,
    /// MediaStreamTrack id.
    pub track: Option<String>,
}

impl Msid {
    fn parse(value: &str) -> Self {
        let mut words = value.split_ascii_whitespace();
        Self {
            stream: words.next().unwrap_or_default().to_owned(),
            track: words.next().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests;
