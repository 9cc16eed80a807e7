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
    /// Encoding name and payload type of a video section, whose RTX has the next type.
    pub video: (&'static str, u8),
}

const VP8: (&str, u8) = ("VP8", 96);

impl Section {
    pub fn data() -> Self {
        Self {
            kind: "application",
            direction: "",
            cid: String::new(),
            rids: Vec::new(),
            video: VP8,
        }
    }

    /// The section that carries an announced track.
    pub fn of(request: &proto::AddTrackRequest) -> Self {
        let is_video = request.r#type() == proto::TrackType::Video;
        let first = request.simulcast_codecs.first();
        let video = match first.map(|codec| codec.codec.as_str()) {
            Some("vp9") => ("VP9", 98),
            Some("av1") => ("AV1", 35),
            Some("h264") => ("H264", 108),
            _ => VP8,
        };
        // One stream has all layers of a scalable codec.
        let layers = if matches!(video.0, "VP9" | "AV1") {
            0
        } else {
            request.layers.len()
        };
        Self {
            kind: if is_video { "video" } else { "audio" },
            direction: "sendonly",
            cid: request.cid.clone(),
            rids: ["q", "h", "f"].into_iter().take(layers).collect(),
            video,
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
        video: VP8,
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
                "111 63".to_owned(),
                "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
                 a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"
                    .to_owned(),
            )
        } else {
            let (encoding, pt) = section.video;
            let rtx = pt + 1;
            let fmtp = match encoding {
                "H264" => {
                    "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
                }
                _ => "",
            };
            (
                format!("{pt} {rtx}"),
                format!(
                    "a=rtpmap:{pt} {encoding}/90000\r\na=rtcp-fb:{pt} transport-cc\r\na=rtcp-fb:{pt} ccm fir\r\n\
                     a=rtcp-fb:{pt} nack\r\na=rtcp-fb:{pt} nack pli\r\n{fmtp}a=rtpmap:{rtx} rtx/90000\r\n\
                     a=fmtp:{rtx} apt={pt}\r\n"
                ),
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

/// The description without some codecs and their retransmissions, as of a client that lacks them.
pub fn without(description: proto::SessionDescription, lacks: &[&str]) -> proto::SessionDescription {
    let lines = || description.sdp.lines();
    let mut gone: Vec<&str> = lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .filter(|(_, codec)| lacks.iter().any(|name| codec.starts_with(name)))
        .map(|(pt, _)| pt)
        .collect();
    let repairs = lines()
        .filter_map(|line| line.strip_prefix("a=fmtp:")?.split_once(" apt="))
        .filter(|(_, of)| gone.contains(of))
        .map(|(pt, _)| pt);
    gone.extend(repairs.collect::<Vec<_>>());
    let about = |line: &str, pt: &str| {
        ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
            .iter()
            .filter_map(|name| line.strip_prefix(name))
            .any(|rest| rest.split(' ').next() == Some(pt))
    };
    let mut sdp = String::new();
    for line in lines() {
        if gone.iter().any(|pt| about(line, pt)) {
            continue;
        }
        let kept = line.split(' ').enumerate();
        let kept = kept.filter(|(at, word)| !(line.starts_with("m=") && *at > 2 && gone.contains(word)));
        sdp += &kept.map(|(_, word)| word).collect::<Vec<_>>().join(" ");
        sdp += "\r\n";
    }
    proto::SessionDescription { sdp, ..description }
}
