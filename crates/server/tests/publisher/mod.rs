//! A client with one connection that publishes a microphone and a camera, and gets what others publish.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its part"
)]

use crate::replay::peer::read;
use crate::replay::socket::{Frame, Socket, opcode};
use crate::replay::{Recording, mint, percent, text_of, wrapped};
use crate::rtc::{Connection, Source};
use peer::{Codec, Kind, Payload, SendSpec};
use prost::Message as _;
use proto::signal_request::Message as Request;
use protocol::proto;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(12);
const MIC: &str = "5f0c8a52-0000-4000-8000-000000000001";
const CAM: &str = "5f0c8a52-0000-4000-8000-000000000002";

/// A client that publishes: what the recorder's SDK was.
pub struct Publisher {
    pub socket: Socket,
    pub connection: Connection,
    /// Its last offer.
    sdp: String,
    /// What the server said to that.
    pub answer: String,
}

impl Publisher {
    pub async fn join(address: SocketAddr, identity: &str, room: &str) -> Self {
        let connection = Connection::new(true).await;
        for (label, reliable) in [("_lossy", false), ("_reliable", true), ("_data_track", false)] {
            connection.create(label, reliable, None).await;
        }
        let sdp = connection.own(&first_offer());
        let request = json!({
            "clientInfo": {
                "sdk": "PYTHON", "protocol": 17, "clientProtocol": 2,
                "capabilities": ["CAP_PACKET_TRAILER", "CAP_COMPRESSION_DEFLATE_RAW"]
            },
            "connectionSettings": {"autoSubscribe": true},
            "publisherOffer": {"type": "offer", "sdp": sdp, "id": 1},
        });
        let request = serde_json::from_value(request).expect("a join request");
        let name = identity[..1].to_uppercase() + &identity[1..];
        let video = json!({"roomJoin": true, "room": room});
        let claims = json!({"sub": identity, "name": name, "video": video});
        let path = format!(
            "/rtc/v1?join_request={}&access_token={}",
            percent(&wrapped(&request, true)),
            mint(claims)
        );
        let socket = Socket::connect(address, &path, &[]).await.expect("joins");
        let mut publisher = Self {
            socket,
            connection,
            sdp,
            answer: String::new(),
        };
        publisher.answered().await;
        publisher.connection.connected().await.expect("connects");
        publisher.connection.opened("_reliable").await.expect("a channel");
        publisher
    }

    pub async fn publish_mic(&mut self) {
        self.add_track(proto::AddTrackRequest {
            cid: MIC.to_owned(),
            name: "mic".to_owned(),
            source: proto::TrackSource::Microphone.into(),
            stream: "camera".to_owned(),
            ..Default::default()
        })
        .await;
        let lines = "a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n\
            a=fmtp:111 minptime=10;useinbandfec=1\r\n";
        let (red, ssrc) = (63, 1_000_007);
        self.offer_section(7, "audio 9 UDP/TLS/RTP/SAVPF 63 111", lines, MIC, ssrc)
            .await;
        // One block of Opus.
        let payload = vec![111, 0xF8, 0xFF, 0xFE];
        self.send_media(7, Codec::Red, red, ssrc, payload).await;
        self.told_of("mic").await;
    }

    pub async fn publish_cam(&mut self) {
        self.add_track(proto::AddTrackRequest {
            cid: CAM.to_owned(),
            name: "cam".to_owned(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            width: 320,
            height: 180,
            stream: "camera".to_owned(),
            layers: vec![proto::VideoLayer {
                width: 320,
                height: 180,
                bitrate: 180_000,
                ..Default::default()
            }],
            ..Default::default()
        })
        .await;
        let (vp8, ssrc) = (96, 1_000_008);
        let lines = "a=rtpmap:96 VP8/90000\r\n";
        self.offer_section(8, "video 9 UDP/TLS/RTP/SAVPF 96", lines, CAM, ssrc)
            .await;
        // A descriptor and the head of a key frame of 320 × 180.
        let payload = vec![0x10, 0x50, 0, 0, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xB4, 0, 0, 0];
        self.send_media(8, Codec::Vp8, vp8, ssrc, payload).await;
        self.told_of("cam").await;
    }

    async fn add_track(&mut self, request: proto::AddTrackRequest) {
        self.send(Request::AddTrack(request)).await;
        self.wait("trackPublished").await;
    }

    /// Offers one more section and waits for the answer.
    async fn offer_section(&mut self, mid: u32, line: &str, lines: &str, cid: &str, ssrc: u32) {
        let section = format!(
            "m={line}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:x\r\na=ice-pwd:x\r\n\
             a=fingerprint:x\r\na=setup:actpass\r\na=mid:{mid}\r\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly\r\na=msid:- {cid}\r\na=rtcp-mux\r\n\
             {lines}a=ssrc:{ssrc} cname:alice\r\na=ssrc:{ssrc} msid:- {cid}\r\n"
        );
        let group = format!(" {}\r\n", mid - 1);
        let grown = format!(" {} {mid}\r\n", mid - 1);
        self.sdp = self.sdp.replacen(&group, &grown, 1) + &section;
        self.sdp = self.connection.own(&self.sdp);
        let offer = proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: self.sdp.clone(),
            id: mid,
            ..Default::default()
        };
        self.send(Request::Offer(offer)).await;
        self.answered().await;
    }

    async fn answered(&mut self) {
        let answer = self.wait("answer").await;
        self.answer = text_of(&answer["answer"]["sdp"]);
        self.connection.remote(&self.answer, true).await;
    }

    async fn send_media(&self, mid: u64, codec: Codec, pt: u8, ssrc: u32, payload: Vec<u8>) {
        let kind = codec.kind();
        let formats = Payload {
            codec,
            pt,
            rtx_pt: None,
            nack: kind == Kind::Video,
        };
        let spec = SendSpec {
            tag: mid,
            mid: mid.to_string(),
            kind,
            ssrc,
            rtx_ssrc: None,
            payloads: vec![formats],
            extensions: wire::ext::ExtensionIds {
                mid: 4,
                ..Default::default()
            },
            cname: "alice".to_owned(),
            playout_delay: None,
        };
        let source = Source {
            spec,
            codec,
            payload,
            rid: String::new(),
            dependency_descriptor: Vec::new(),
        };
        self.connection.publish(source).await;
    }

    /// Waits until its own state shows a track.
    async fn told_of(&mut self, name: &str) {
        loop {
            let update = self.wait("update").await;
            let participants = update["update"]["participants"].as_array();
            let tracks = participants.into_iter().flatten();
            let mut tracks = tracks
                .filter_map(|participant| participant["tracks"].as_array())
                .flatten();
            if tracks.any(|track| track["name"] == name) {
                return;
            }
        }
    }

    async fn wait(&mut self, kind: &str) -> Value {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no {kind}"));
            assert!(!matches!(frame, Frame::Eof), "cut off before {kind}");
            let found = read(frame).expect("a message");
            if found.kind == kind {
                return found.message;
            }
        }
    }

    async fn send(&mut self, message: Request) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        self.socket
            .send(opcode("bin"), &request.encode_to_vec(), true)
            .await;
    }
}

/// The offer of a client with one connection, before it publishes.
fn first_offer() -> String {
    let recording = Recording::new(include_str!("../vectors/data/data_single.json"));
    let frames = recording.cases[0]["peers"]["alice"]["frames"].as_array();
    let joins = frames.into_iter().flatten().map(|frame| &frame["join_request"]);
    let offer = joins
        .map(|join| &join["publisherOffer"]["sdp"])
        .find(|sdp| !sdp.is_null());
    recording.unpacked(offer.expect("a recorded offer"))
}
