//! Signal requests and whole little calls.

use super::Seeds;
use crate::targets::join;
use prost::Message as _;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;

fn request(message: Request) -> proto::SignalRequest {
    proto::SignalRequest {
        message: Some(message),
    }
}

fn add_track(cid: &str, video: bool) -> Request {
    let kind = if video {
        proto::TrackType::Video
    } else {
        proto::TrackType::Audio
    };
    let source = if video {
        proto::TrackSource::Camera
    } else {
        proto::TrackSource::Microphone
    };
    let layer = |quality: proto::VideoQuality, height| proto::VideoLayer {
        quality: quality.into(),
        width: height * 16 / 9,
        height,
        ..Default::default()
    };
    Request::AddTrack(proto::AddTrackRequest {
        cid: cid.to_owned(),
        name: cid.to_owned(),
        r#type: kind.into(),
        source: source.into(),
        width: if video { 1280 } else { 0 },
        height: if video { 720 } else { 0 },
        layers: if video {
            vec![
                layer(proto::VideoQuality::Low, 180),
                layer(proto::VideoQuality::Medium, 360),
                layer(proto::VideoQuality::High, 720),
            ]
        } else {
            Vec::new()
        },
        ..Default::default()
    })
}

/// One request of most kinds.
pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let metadata = proto::UpdateParticipantMetadata {
        metadata: "m".to_owned(),
        name: "n".to_owned(),
        attributes: [("a".to_owned(), "b".to_owned())].into(),
        request_id: 5,
    };
    let subscription = proto::UpdateSubscription {
        track_sids: vec!["TR_unknown".to_owned()],
        subscribe: true,
        participant_tracks: vec![proto::ParticipantTracks {
            participant_sid: "PA_unknown".to_owned(),
            track_sids: vec!["TR_other".to_owned()],
        }],
    };
    let permission = proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: vec![proto::TrackPermission {
            participant_identity: "p1".to_owned(),
            all_tracks: true,
            ..Default::default()
        }],
    };
    let settings = proto::UpdateTrackSettings {
        track_sids: vec!["TR_unknown".to_owned()],
        width: 640,
        height: 360,
        fps: 15,
        ..Default::default()
    };
    let data_track = proto::PublishDataTrackRequest {
        pub_handle: 1,
        name: "d".to_owned(),
        ..Default::default()
    };
    vec![
        ("add_audio", add_track("mic", false)),
        ("add_video", add_track("cam", true)),
        (
            "mute",
            Request::Mute(proto::MuteTrackRequest {
                sid: "TR_unknown".to_owned(),
                muted: true,
            }),
        ),
        ("subscription", Request::Subscription(subscription)),
        ("permission", Request::SubscriptionPermission(permission)),
        ("settings", Request::TrackSetting(settings)),
        ("metadata", Request::UpdateMetadata(metadata)),
        ("data_track", Request::PublishDataTrackRequest(data_track)),
        ("leave", Request::Leave(proto::LeaveRequest::default())),
        ("sync", Request::SyncState(proto::SyncState::default())),
        (
            "simulate",
            Request::Simulate(proto::SimulateScenario {
                scenario: Some(proto::simulate_scenario::Scenario::SpeakerUpdate(3)),
            }),
        ),
        ("ping", Request::Ping(1_700_000_000_000)),
        (
            "ping_req",
            Request::PingReq(proto::Ping {
                timestamp: 1_700_000_000_000,
                rtt: 20,
            }),
        ),
    ]
}

/// Each request in both framings, and a query.
pub(super) fn signal() -> Seeds {
    let mut seeds: Seeds = Vec::new();
    for (name, message) in requests() {
        let request = request(message);
        if let Ok(json) = serde_json::to_vec(&request) {
            seeds.push((format!("{name}.json"), json));
        }
        seeds.push((name.to_owned(), request.encode_to_vec()));
    }
    let query = "access_token=a.b.c&auto_subscribe=1&protocol=17&sdk=js&version=2.23.0&x=%C3%A4+%zz&;=&=";
    seeds.push(("query".to_owned(), query.as_bytes().to_vec()));
    seeds
}

const TRANSPORT: &str = "c=IN IP4 0.0.0.0\r\na=ice-ufrag:clnt\r\na=ice-pwd:clientpasswordclientpass\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\n";

/// An offer: data channels, then sections of (kind, direction, track id).
fn offer(sections: &[(&str, &str, &str)]) -> Vec<u8> {
    let mids: Vec<String> = (0..=sections.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{TRANSPORT}a=mid:0\r\na=sctp-port:5000\r\n",
        mids.join(" ")
    );
    for ((kind, direction, cid), mid) in sections.iter().zip(mids.iter().skip(1)) {
        let (formats, codecs) = if *kind == "audio" {
            (
                "111 63",
                "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10\r\na=rtpmap:63 red/48000/2\r\n\
                 a=fmtp:63 111/111\r\n",
            )
        } else {
            (
                "96 97 45",
                "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\n\
                 a=fmtp:97 apt=96\r\na=rtpmap:45 AV1/90000\r\n",
            )
        };
        sdp += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\n{TRANSPORT}a=mid:{mid}\r\na={direction}\r\na=rtcp-mux\r\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n{codecs}"
        );
        if !cid.is_empty() {
            sdp += &format!("a=msid:- {cid}\r\n");
        }
        if *kind == "video" && !cid.is_empty() {
            sdp += "a=rid:q send\r\na=rid:h send\r\na=rid:f send\r\na=simulcast:send q;h;f\r\n";
        }
    }
    sdp.into_bytes()
}

fn step(operation: u8, who: u8, bytes: &[u8]) -> Vec<u8> {
    [&[operation, who], bytes].concat()
}

fn ask(who: u8, message: Request) -> Vec<u8> {
    step(0, who, &request(message).encode_to_vec())
}

/// See the target: each chunk is an operation, who, and its bytes.
pub(super) fn room() -> Seeds {
    let call = call();
    let data = [
        step(9, 0, &[]),
        step(9, 1, &[]),
        step(10, 0, b"\x12\x0b\x12\x05hello\x22\x02p1"),
        step(0x1A, 0, b"\x08\x01\x12\x04\x12\x02hi"),
        step(0x2A, 1, &[0x18, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 4, 9, 9]),
        step(0x3A, 2, b"raw"),
        step(13, 0, b"\x0a\x04test\x12\x02hi"),
        step(15, 0, &[2, b'm']),
    ];
    let leaving = [
        step(9, 0, &[]),
        step(8, 0, &[]),
        step(5, 0, &[10]),
        step(6, 0, &[]),
        step(0x0B, 0, &[]),
        step(0x1B, 1, &[]),
        step(15, 0, &[0]),
        step(7, 1, &[]),
        step(8, 1, &[]),
        step(8, 2, &[]),
        step(5, 0, &[255]),
        step(5, 0, &[255]),
    ];
    let asked: Vec<_> = requests()
        .into_iter()
        .map(|(_, message)| ask(2, message))
        .collect();
    let texts = [
        step(1, 0, br#"{"addTrack":{"cid":"mic","type":"AUDIO"}}"#),
        step(1, 1, br#"{"ping":"17"}"#),
        step(3, 2, &[0, 9, b'x']),
        step(12, 0, b"\x1a\x01m"),
        step(14, 0, b"\x1a\x02TR\x20\x01"),
    ];
    vec![
        ("call".to_owned(), join(&call)),
        ("answered_with_edits".to_owned(), join(&edited(&call))),
        ("data".to_owned(), join(&data)),
        ("leaving".to_owned(), join(&leaving)),
        ("requests".to_owned(), join(&asked)),
        ("texts".to_owned(), join(&texts)),
    ]
}

/// The call again, with answers that reject and rename.
fn edited(call: &[Vec<u8>]) -> Vec<Vec<u8>> {
    call.iter()
        .map(|bytes| {
            if bytes.first() == Some(&3) {
                step(3, bytes[1], &[1, 0, b'0', 1, 44, b'7', 2, 99, b'\r'])
            } else {
                bytes.clone()
            }
        })
        .collect()
}

/// One publishes two tracks, another one; all subscribe.
fn call() -> Vec<Vec<u8>> {
    let publish = [("audio", "sendonly", "mic"), ("video", "sendonly", "cam")];
    let single = [
        ("audio", "sendonly", "mic"),
        ("audio", "recvonly", ""),
        ("video", "recvonly", ""),
    ];
    let candidate = br#"{"candidate":"candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host","sdpMid":"0","sdpMLineIndex":0}"#;
    vec![
        // The offers of data channels to those with two connections.
        step(3, 0, &[]),
        step(3, 2, &[]),
        step(9, 0, &[]),
        step(9, 2, &[]),
        ask(0, add_track("mic", false)),
        ask(0, add_track("cam", true)),
        step(2, 0, &offer(&publish)),
        step(4, 0, candidate),
        step(9, 0, &[]),
        step(5, 0, &[20]),
        ask(1, add_track("mic", false)),
        step(2, 1, &offer(&single)),
        step(9, 1, &[]),
        step(5, 0, &[50]),
        step(2, 1, &offer(&single)),
        step(3, 2, &[]),
        step(3, 0, &[]),
        step(5, 0, &[50]),
        // What waited for an answer is offered now.
        step(3, 2, &[]),
        step(3, 0, &[]),
        step(5, 0, &[255]),
    ]
}
