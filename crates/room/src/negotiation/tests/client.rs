//! Descriptions as clients write them, short enough to read.

use super::*;

pub(super) const AUDIO: &str = "a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\n\
    a=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n\
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n";
pub(super) const VIDEO: &str = "a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\n\
    a=rtcp-fb:96 transport-cc\na=rtpmap:97 rtx/90000\na=fmtp:97 apt=96\n\
    a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n\
    a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\n";

/// One section of a description: mid, kind, direction, further lines.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) mid: String,
    pub(super) kind: Option<Kind>,
    pub(super) direction: &'static str,
    pub(super) lines: String,
    pub(super) port: u16,
}

pub(super) fn audio(mid: u32, direction: &'static str) -> Section {
    section(mid, Some(Kind::Audio), direction, AUDIO)
}

pub(super) fn video(mid: u32, direction: &'static str) -> Section {
    section(mid, Some(Kind::Video), direction, VIDEO)
}

pub(super) fn data(mid: u32) -> Section {
    section(
        mid,
        None,
        "sendrecv",
        "a=sctp-port:5000\na=max-message-size:262144\n",
    )
}

fn section(mid: u32, kind: Option<Kind>, direction: &'static str, lines: &str) -> Section {
    Section {
        mid: mid.to_string(),
        kind,
        direction,
        lines: lines.to_owned(),
        port: 9,
    }
}

impl Section {
    pub(super) fn with(mut self, lines: &str) -> Self {
        self.lines.push_str(lines);
        self.lines.push('\n');
        self
    }

    /// `a=msid` with this track id.
    pub(super) fn track(self, cid: &str) -> Self {
        self.with(&format!("a=msid:stream {cid}"))
    }

    pub(super) fn rejected(mut self) -> Self {
        self.port = 0;
        self
    }
}

pub(super) fn sdp(setup: &str, ufrag: &str, sections: &[Section]) -> String {
    let mut text = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
    for section in sections {
        let format = match section.kind {
            Some(Kind::Audio) => "audio {port} UDP/TLS/RTP/SAVPF 111 63",
            Some(Kind::Video) => "video {port} UDP/TLS/RTP/SAVPF 96 97",
            None => "application {port} UDP/DTLS/SCTP webrtc-datachannel",
        };
        // Payload types that a test maps itself stand in a line of their own.
        let own = section
            .lines
            .lines()
            .find_map(|line| line.strip_prefix("x=formats "));
        let format = own.unwrap_or(format).replace("{port}", &section.port.to_string());
        text.push_str(&format!(
            "m={format}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\na={}\r\na=setup:{setup}\r\na=ice-ufrag:{ufrag}\r\n\
             a=ice-pwd:{ufrag}-password\r\na=fingerprint:{}\r\n{}",
            section.mid,
            section.direction,
            wire::sdp::Fingerprint::Sha256([0xC1; 32]),
            section.lines.replace('\n', "\r\n"),
        ));
    }
    text
}

pub(super) fn offer(sections: &[Section]) -> proto::SessionDescription {
    describe("offer", sdp("actpass", "client", sections))
}

pub(super) fn describe(kind: &str, sdp: String) -> proto::SessionDescription {
    proto::SessionDescription {
        r#type: kind.to_owned(),
        sdp,
        id: 5,
        ..proto::SessionDescription::default()
    }
}

/// The answer of a client that accepts everything in an offer of ours.
pub(super) fn answer_all(offer: &str) -> proto::SessionDescription {
    let mut parsed = wire::sdp::Description::parse(offer).unwrap();
    parsed.session.transport.fingerprint = Some(wire::sdp::Fingerprint::Sha256([0xC1; 32]));
    for media in &mut parsed.media {
        media.transport.ufrag = Some("client".to_owned());
        media.transport.pwd = Some("client-password".to_owned());
        media.transport.setup = Some(wire::sdp::Setup::Active);
        media.transport.candidates.clear();
        media.ssrcs.clear();
        media.ssrc_groups.clear();
        media.msids.clear();
        media.direction = match media.direction {
            wire::sdp::Direction::SendRecv if media.sctp_port.is_none() => wire::sdp::Direction::RecvOnly,
            wire::sdp::Direction::RecvOnly => wire::sdp::Direction::Inactive,
            wire::sdp::Direction::SendRecv
            | wire::sdp::Direction::SendOnly
            | wire::sdp::Direction::Inactive => media.direction,
        };
    }
    describe("answer", parsed.to_string())
}

pub(super) fn parsed(description: &proto::SessionDescription) -> wire::sdp::Description {
    wire::sdp::Description::parse(&description.sdp).unwrap()
}
