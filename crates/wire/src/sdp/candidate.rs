//! ICE candidate lines (RFC 8839 §5.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A candidate with an IP address. Candidates that name a host (mDNS) cannot be read as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Foundation.
    pub foundation: String,
    /// Component: 1 RTP, 2 RTCP.
    pub component: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Priority.
    pub priority: u32,
    /// Transport address.
    pub address: SocketAddr,
    /// Type.
    pub kind: CandidateType,
    /// `tcptype` (RFC 6544 §4.5).
    pub tcp_type: Option<String>,
    /// `ufrag`, which names the ICE generation.
    pub ufrag: Option<String>,
}

/// Transport protocol of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the protocols'")]
pub enum Protocol {
    Udp,
    Tcp,
}

/// Candidate type (RFC 8445 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum CandidateType {
    Host,
    ServerReflexive,
    PeerReflexive,
    Relayed,
}

impl Candidate {
    /// Reads `candidate:…`, with or without `a=` before it. `None` when it cannot be read or
    /// names a host instead of an address.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.trim_ascii();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let line = line.strip_prefix("candidate:").unwrap_or(line);
        let mut words = line.split_ascii_whitespace();
        let foundation = words.next().filter(|word| word.len() <= 64)?.to_owned();
        let component = words.next()?.parse().ok()?;
        let protocol = match words.next()? {
            name if name.eq_ignore_ascii_case("udp") => Protocol::Udp,
            name if name.eq_ignore_ascii_case("tcp") => Protocol::Tcp,
            _ => return None,
        };
        let priority = words.next()?.parse().ok()?;
        let ip: IpAddr = words.next()?.parse().ok()?;
        let address = SocketAddr::new(ip, words.next()?.parse().ok()?);
        if words.next()? != "typ" {
            return None;
        }
        let kind = match words.next()? {
            "host" => CandidateType::Host,
            "srflx" => CandidateType::ServerReflexive,
            "prflx" => CandidateType::PeerReflexive,
            "relay" => CandidateType::Relayed,
            _ => return None,
        };
        let mut candidate = Self {
            foundation,
            component,
            protocol,
            priority,
            address,
            kind,
            tcp_type: None,
            ufrag: None,
        };
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "tcptype" => candidate.tcp_type = Some(value.to_owned()),
                "ufrag" => candidate.ufrag = Some(value.to_owned()),
                _ => {}
            }
        }
        Some(candidate)
    }
}

impl fmt::Display for Candidate {
    /// Writes `candidate:…` without `a=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        let kind = match self.kind {
            CandidateType::Host => "host",
            CandidateType::ServerReflexive => "srflx",
            CandidateType::PeerReflexive => "prflx",
            CandidateType::Relayed => "relay",
        };
        write!(
            f,
            "candidate:{} {} {protocol} {} {} {} typ {kind}",
            self.foundation,
            self.component,
            self.priority,
            self.address.ip(),
            self.address.port(),
        )?;
        if let Some(tcp_type) = &self.tcp_type {
            write!(f, " tcptype {tcp_type}")?;
        }
        if let Some(ufrag) = &self.ufrag {
            write!(f, " ufrag {ufrag}")?;
        }
        Ok(())
    }
}
