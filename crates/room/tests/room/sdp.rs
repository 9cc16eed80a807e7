//! Descriptions as browsers write them, short.

use protocol::proto;

const TRANSPORT: &str = "a=ice-ufrag:clnt\r\na=ice-pwd:clientpasswordclientpass\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

/// One section of an offer.
#[derive(Clone, Debug)]
pub struct Section {
    pub kind: &'static str,
    pub direction: &'static str,
    pub cid: String,
    pub rids: Vec<&'static str>,
}

impl Section {
    pub fn data() -> Self {
        Self {
            kind: "application",
            direction: "",
            cid: String::new(),
            rids: Vec::new(),
        }
    }

    /// The section that carries an announced track.
    pub fn of(request: &proto::AddTrackRequest) -> Self {
        let video = request.r#type() == proto::TrackType::Video;
        Self {
            kind: if video { "video" } else { "audio" },
            direction: "sendonly",
            cid: request.cid.clone(),
            rids: ["q", "h", "f"].into_iter().take(request.layers.len()).collect(),
        }
    }

    pub fn with_direction(mut self, direction: &'static str) -> Self {
        self.direction = direction;
        self
    }
}

/// Data channels, and sections that only receive.
pub fn receiving(audios: usize, videos: usize) -> Vec<Section> {
    let receive = |kind| Section {
        kind,
        direction: "recvonly",
        cid: String::new(),
        rids: Vec::new(),
    };
    std::iter::once(Section::data())
        .chain((0..audios).map(|_| receive("audio")))
        .chain((0..videos).map(|_| receive("video")))
        .collect()
}

pub fn offer(id: u32, sections: &[Section]) -> proto::SessionDescription {
    let mids: Vec<_> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 {id} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\na=extmap-allow-mixed\r\n\
         a=msid-semantic: WMS\r\n",
        mids.join(" ")
    );
    for (section, mid) in sections.iter().zip(&mids) {
        let common = format!("c=IN IP4 0.0.0.0\r\n{TRANSPORT}a=setup:actpass\r\na=mid:{mid}\r\n");
        if section.kind == "application" {
            sdp += &format!(
                "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{common}a=sctp-port:5000\r\n\
                 a=max-message-size:262144\r\n"
            );
            continue;
        }
        let (formats, codecs) = if section.kind == "audio" {
            (
                "111 63",
                "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                 a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n",
            )
        } else {
            (
                "96 97",
                "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 transport-cc\r\na=rtcp-fb:96 ccm fir\r\na=rtcp-fb:96 nack\r\n\
                 a=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n",
            )
        };
        sdp += &format!(
            "m={} 9 UDP/TLS/RTP/SAVPF {formats}\r\n{common}a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n\
             a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na={}\r\n",
            section.kind, section.direction
        );
        if !section.cid.is_empty() {
            sdp += &format!("a=msid:- {}\r\n", section.cid);
        }
        sdp += &format!("a=rtcp-mux\r\na=rtcp-rsize\r\n{codecs}");
        if section.rids.len() > 1 {
            for rid in &section.rids {
                sdp += &format!("a=rid:{rid} send\r\n");
            }
            sdp += &format!("a=simulcast:send {}\r\n", section.rids.join(";"));
        } else if !section.cid.is_empty() {
            sdp += &format!(
                "a=ssrc:{mid}77 cname:c\r\na=ssrc:{mid}77 msid:- {}\r\n",
                section.cid
            );
        }
    }
    proto::SessionDescription {
        r#type: "offer".to_owned(),
        sdp,
        id,
        ..Default::default()
    }
}

/// The answer of a client that accepts everything.
pub fn answer_to(offer: &proto::SessionDescription) -> proto::SessionDescription {
    let mut sdp = String::new();
    let mut media = String::new();
    for line in offer.sdp.lines() {
        let dropped = ["a=ssrc", "a=msid:", "a=candidate", "a=end-of", "a=ice-lite"];
        if dropped.iter().any(|prefix| line.starts_with(prefix)) {
            continue;
        }
        if let Some(kind) = line.strip_prefix("m=") {
            media = kind.split(' ').next().unwrap_or_default().to_owned();
        }
        let line = match line {
            "a=setup:actpass" => "a=setup:active",
            "a=sendrecv" if media != "application" => "a=recvonly",
            line if line.starts_with("a=ice-ufrag") => "a=ice-ufrag:clnt",
            line if line.starts_with("a=ice-pwd") => "a=ice-pwd:clientpasswordclientpass",
            line if line.starts_with("a=fingerprint") => TRANSPORT.lines().last().expect("three lines"),
            line => line,
        };
        sdp += line;
        sdp += "\r\n";
    }
    proto::SessionDescription {
        r#type: "answer".to_owned(),
        sdp,
        id: offer.id,
        ..Default::default()
    }
}
