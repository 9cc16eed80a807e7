//! H.265 from one client to others, over real connections: who offers it gets it as it was sent, who
//! does not is told so. What a real encoder makes is what a real decoder gets.
#![allow(missing_docs, reason = "tests")]

mod common;
mod ffmpeg;
mod replay;
mod rtc;

use common::{Server, config};
use ffmpeg::Picture;
use peer::Codec;
use prost::Message as _;
use proto::signal_request::Message as Request;
use protocol::proto;
use replay::peer::read;
use replay::socket::{Frame, Socket, opcode};
use replay::{mint, percent, text_of, wrapped};
use rtc::Connection;
use rtc::media::{self, H265};
use rtc::stream::Packet;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, timeout};
use wire::codec::h265::NalUnits;

const ROOM: &str = "hevc";
const CAM: &str = "5f0c8a52-0000-4000-8000-000000000265";
const PATIENCE: Duration = Duration::from_secs(12);

/// What a client says of its H.265, and how its sections list codecs with it and without.
const FMTP: &str = "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST";
const WITH_H265: &str = "m=video 9 UDP/TLS/RTP/SAVPF 49 50 96\r\na=rtpmap:49 H265/90000\r\n\
    a=fmtp:49 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST\r\na=rtcp-fb:49 nack\r\n\
    a=rtcp-fb:49 nack pli\r\na=rtpmap:50 rtx/90000\r\na=fmtp:50 apt=49\r\na=rtpmap:96 VP8/90000\r\n";
const WITHOUT_H265: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n";

const SESSION: &str = "v=0\r\no=- 4815162342 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n";
const TRANSPORT: &str = "a=ice-ufrag:x\r\na=ice-pwd:x\r\na=fingerprint:x\r\na=setup:actpass\r\n";
const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=sctp-port:5000\r\n\
    a=max-message-size:262144\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn h265_reaches_those_who_offer_it_byte_for_byte_and_others_are_told() {
    let mut config = config();
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    let server = Server::start(config);
    let address = server.address;
    let mut alice = Single::join(address, "alice").await;
    let answer = alice.publish().await;
    let section = video(&answer);
    let [first, ..] = *section.payload_types().collect::<Vec<_>>() else {
        panic!("no payload type in {answer}");
    };
    assert_eq!(section.rtpmap(first).expect("its codec").encoding, "H265");
    assert_eq!((first, section.fmtp(first)), (49, FMTP));

    // Who describes the sections itself.
    let mut bob = Single::join(address, "bob").await;
    let answer = bob.ask_for_video(WITH_H265).await;
    let section = video(&answer);
    let map = section.rtpmap(49).expect("the payload type of the client");
    assert_eq!((&*map.encoding, map.clock_rate), ("H265", 90_000));
    assert_eq!(section.fmtp(49), FMTP);
    bob.client.expect_h265("1").await;

    let mut carol = Single::join(address, "carol").await;
    let answer = carol.ask_for_video(WITHOUT_H265).await;
    assert_eq!(video(&answer).ssrcs, [], "nothing is sent there");
    carol.client.expect_refusal().await;

    // Who gets offers.
    let mut dave = Dual::join(address, "dave", true).await;
    let offer = dave.video_offered().await;
    let section = video(&offer);
    let map = section.rtpmap(116).expect("the payload type of the server");
    assert_eq!((&*map.encoding, map.clock_rate), ("H265", 90_000));
    // Nothing said is profile 1 of tier 0 (RFC 7798 §7.1), as the reference offers it.
    assert_eq!(section.fmtp(116), "");
    let mid = section.mid.clone().expect("a mid");
    dave.client.expect_h265(&mid).await;

    let mut erin = Dual::join(address, "erin", false).await;
    erin.video_offered().await;
    erin.client.expect_refusal().await;
    server.running.shutdown().await;
}

/// As a camera in a call is encoded: no picture waits for a later one. Two slices in each.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_decoder_gets_what_a_real_encoder_of_h265_made() {
    let settings = "bframes=0:slices=2:keyint=15:min-keyint=15:scenecut=0";
    forwarded("zerolatency", settings).await;
}

/// What calls do not use and the payload format allows: delimiters, temporal layers, pictures sent in
/// another order than shown, key frames with pictures that lead them. Those refer to what a late
/// subscriber never got, and its decoder leaves them out.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_decoder_gets_delimiters_temporal_layers_and_leading_pictures_of_h265() {
    forwarded("grain", IN_LAYERS).await;
}

/// Settings of two temporal layers.
const IN_LAYERS: &str = "bframes=3:b-adapt=0:b-pyramid=1:temporal-layers=1:aud=1:open-gop=1:\
                         keyint=15:min-keyint=15:scenecut=0";

#[tokio::test]
async fn without_its_higher_temporal_layer_a_real_stream_of_h265_still_decodes() {
    let stream = ffmpeg::encode("grain", IN_LAYERS).await;
    let mut lower = stream.packets.clone();
    lower.retain(|packet| NalUnits::parse(&packet.payload).temporal == 0);
    for (packet, number) in lower.iter_mut().zip(0..) {
        packet.sequence = number;
    }
    let shown = |packet: &Packet| {
        let since = packet.timestamp.wrapping_sub(stream.packets[0].timestamp);
        (since / ffmpeg::TICKS) as usize
    };
    let kept: BTreeSet<usize> = lower.iter().map(shown).collect();
    // Every other one, and those that lead key frames.
    assert_eq!(kept.len(), 26, "{kept:?}");
    let pictures: Vec<&Picture> = kept.iter().map(|index| &stream.pictures[*index]).collect();
    let decoded = ffmpeg::decode(&lower).await.expect("decodes without a complaint");
    assert_eq!(
        decoded.iter().collect::<Vec<_>>(),
        pictures,
        "what is left is whole"
    );
}

/// Pictures that were sent when the subscriber comes: it sees the third of three key frames first.
const BEFORE: usize = 20;

/// Sends a stream through the server to a subscriber that comes in its midst, while the encoder cannot
/// make a key frame when asked, and has that decoded.
async fn forwarded(tune: &str, settings: &str) {
    let stream = ffmpeg::encode(tune, settings).await;
    let frames = stream.packets.chunk_by(|a, b| a.timestamp == b.timestamp);
    let frames: Vec<&[Packet]> = frames.collect();
    assert_eq!(frames.len(), ffmpeg::PICTURES);
    let keys: Vec<usize> = (0..frames.len()).filter(|index| is_key(frames[*index])).collect();
    assert!(
        keys.len() == 3 && keys[1] < BEFORE && BEFORE < keys[2],
        "key frames {keys:?}"
    );
    let sent = frames[keys[2]..].concat();
    let mut got = through_the_server(&frames, sent.len()).await;
    for (index, (got_now, sent_now)) in got.iter().zip(&sent).enumerate() {
        let since = |packets: &[Packet]| packets[index].timestamp.wrapping_sub(packets[0].timestamp);
        assert_eq!(since(&got), since(&sent), "timestamp of packet {index}");
        assert_eq!(got_now.marker, sent_now.marker, "marker of packet {index}");
        assert!(got_now.payload == sent_now.payload, "payload of packet {index}");
    }
    let shown = sent[0].timestamp.wrapping_sub(stream.packets[0].timestamp) / ffmpeg::TICKS;
    let pictures = &stream.pictures[shown as usize..];
    assert_eq!(pictures.len(), 15, "of the last of three seconds");
    let decoded = ffmpeg::decode(&got).await.expect("decodes without a complaint");
    assert!(decoded == pictures, "what was encoded is seen");
    // The same without a packet is noticed.
    got.remove(got.len() / 2);
    assert!(ffmpeg::decode(&got).await != Ok(decoded), "a gap");
}

/// What a subscriber gets that comes after some pictures: so many packets.
async fn through_the_server(frames: &[&[Packet]], count: usize) -> Vec<Packet> {
    let mut config = config();
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    let server = Server::start(config);
    let mut alice = Single::join(server.address, "alice").await;
    let (ours, theirs) = alice.announce().await;
    let parse = |sdp: &str| wire::sdp::Description::parse(sdp).expect("a description");
    let source = media::sources(&parse(&ours), &parse(&theirs)).remove(0);
    let (tag, codec) = (source.spec.tag, source.codec);
    assert_eq!(codec, Codec::H265);
    let connection = &mut alice.client.connection;
    connection.begin(source.spec).await;

    let mut clock = interval(Duration::from_secs(1) / ffmpeg::RATE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (before, after) = frames.split_at(BEFORE);
    for frame in before {
        clock.tick().await;
        connection.write(tag, codec, frame).await;
    }
    let mut bob = Single::join(server.address, "bob").await;
    let mut received = bob.client.connection.record().await;
    bob.ask_for_video(WITH_H265).await;
    connection.key_frame_wanted().await.expect("bob waits for one");
    for frame in after {
        clock.tick().await;
        connection.write(tag, codec, frame).await;
    }

    let mut got: Vec<Packet> = Vec::new();
    let mut last = None;
    while got.len() < count {
        let packet = timeout(PATIENCE, received.recv()).await;
        let packet = packet.expect("all packets").expect("a connection");
        assert!(last.is_none_or(|last| packet.sequence == last + 1), "no gap");
        last = Some(packet.sequence);
        // Padding tells of the stream until its first picture comes.
        if !(got.is_empty() && packet.payload.is_empty()) {
            got.push(packet);
        }
    }
    server.running.shutdown().await;
    got
}

/// A picture with parameter sets in front.
fn is_key(frame: &[Packet]) -> bool {
    NalUnits::parse(&frame[0].payload).vps
}

fn video(sdp: &str) -> wire::sdp::Media {
    let description = wire::sdp::Description::parse(sdp).expect("the server's SDP");
    let mut sections = description.media.into_iter();
    sections
        .find(|media| media.kind == wire::sdp::MediaKind::Video)
        .expect("a section with pictures")
}

/// A signalling connection with one WebRTC connection.
struct Client {
    name: &'static str,
    socket: Socket,
    connection: Connection,
}

impl Client {
    /// The next message of a kind; candidates are taken on the way.
    async fn wait(&mut self, kinds: &[&str]) -> (String, Value) {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("{} gets no {kinds:?}", self.name));
            assert!(!matches!(frame, Frame::Eof), "{} was cut off", self.name);
            let found = read(frame).expect("a message");
            let trickle = &found.message["trickle"];
            if trickle.is_object() && trickle["target"] == "SUBSCRIBER" {
                let init = text_of(&trickle["candidateInit"]);
                self.connection.candidate(&init).await;
            }
            if kinds.contains(&&*found.kind) {
                return (found.kind, found.message);
            }
        }
    }

    async fn send(&mut self, message: Request) {
        let request = proto::SignalRequest {
            message: Some(message),
        };
        let bytes = request.encode_to_vec();
        self.socket.send(opcode("bin"), &bytes, true).await;
    }

    /// It is told that it cannot have the track, and gets nothing.
    async fn expect_refusal(&mut self) {
        let (_, response) = self.wait(&["subscriptionResponse"]).await;
        assert_eq!(
            response["subscriptionResponse"]["err"], "SE_CODEC_UNSUPPORTED",
            "{}",
            self.name
        );
    }

    async fn expect_h265(&mut self, mid: &str) {
        for _ in 0..2 {
            let (codec, payload) = self.connection.media(mid).await.expect("pictures");
            assert_eq!((codec, &*payload), (Codec::H265, H265), "{}", self.name);
        }
    }
}

/// A client that gets offers, and takes H.265 or not.
struct Dual {
    client: Client,
    takes_h265: bool,
}

impl Dual {
    async fn join(address: SocketAddr, name: &'static str, takes_h265: bool) -> Self {
        let claims = json!({"sub": name, "video": {"roomJoin": true, "room": ROOM}});
        let path = format!(
            "/rtc?protocol=16&auto_subscribe=1&sdk=go&access_token={}",
            mint(claims)
        );
        let client = Client {
            name,
            socket: Socket::connect(address, &path, &[]).await.expect("joins"),
            connection: Connection::new(false).await,
        };
        Self { client, takes_h265 }
    }

    /// Answers offers up to the one that has pictures, and returns that.
    async fn video_offered(&mut self) -> String {
        loop {
            let offer = self.answer().await;
            if offer.contains("m=video") {
                return offer;
            }
        }
    }

    /// Answers the next offer, and returns it.
    async fn answer(&mut self) -> String {
        let (_, message) = self.client.wait(&["offer"]).await;
        let offer = text_of(&message["offer"]["sdp"]);
        let connection = &self.client.connection;
        connection.remote(&offer, false).await;
        connection.receive_all(&offer).await;
        let mut sdp = connection.answer_to(&offer);
        if !self.takes_h265 {
            sdp = without_h265(&sdp);
        }
        let id = message["offer"]["id"].as_u64().unwrap_or_default();
        let answer = proto::SessionDescription {
            r#type: "answer".to_owned(),
            sdp,
            id: u32::try_from(id).expect("32 bits"),
            ..Default::default()
        };
        self.client.send(Request::Answer(answer)).await;
        offer
    }
}

/// A description that does not name H.265.
fn without_h265(sdp: &str) -> String {
    let keeps = |line: &&str| {
        !["a=rtpmap", "a=rtcp-fb", "a=fmtp"].iter().any(|name| {
            line.starts_with(&format!("{name}:116 ")) || line.starts_with(&format!("{name}:117 "))
        })
    };
    let lines = sdp.lines().filter(keeps).map(|line| {
        if line.starts_with("m=video") {
            line.replace(" 116 117", "") + "\r\n"
        } else {
            format!("{line}\r\n")
        }
    });
    lines.collect()
}

/// A client that describes the sections itself.
struct Single {
    client: Client,
    sections: Vec<String>,
    offers: u32,
}

impl Single {
    async fn join(address: SocketAddr, name: &'static str) -> Self {
        let connection = Connection::new(true).await;
        let request = proto::JoinRequest {
            client_info: Some(proto::ClientInfo {
                sdk: proto::client_info::Sdk::Go.into(),
                protocol: 17,
                ..Default::default()
            }),
            connection_settings: Some(proto::ConnectionSettings {
                auto_subscribe: true,
                ..Default::default()
            }),
            ..Default::default()
        };
        let claims = json!({"sub": name, "video": {"roomJoin": true, "room": ROOM}});
        let path = format!(
            "/rtc/v1?join_request={}&access_token={}",
            percent(&wrapped(&request, true)),
            mint(claims)
        );
        let socket = Socket::connect(address, &path, &[]).await.expect("joins");
        let client = Client {
            name,
            socket,
            connection,
        };
        let mut single = Self {
            client,
            sections: vec![format!("{DATA}a=mid:0\r\n")],
            offers: 0,
        };
        single.client.wait(&["join"]).await;
        single.offer().await;
        single.client.connection.connected().await.expect("connects");
        single
    }

    /// Sends H.265 and returns what the server answered.
    async fn publish(&mut self) -> String {
        let (ours, theirs) = self.announce().await;
        self.client.connection.publish_all(&ours, &theirs).await;
        theirs
    }

    /// Offers to send H.265 once it may; returns the offer and its answer.
    async fn announce(&mut self) -> (String, String) {
        let request = proto::AddTrackRequest {
            cid: CAM.to_owned(),
            name: "cam".to_owned(),
            r#type: proto::TrackType::Video.into(),
            source: proto::TrackSource::Camera.into(),
            width: 640,
            height: 360,
            simulcast_codecs: vec![proto::SimulcastCodec {
                codec: "h265".to_owned(),
                cid: CAM.to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        self.client.send(Request::AddTrack(request)).await;
        self.client.wait(&["trackPublished"]).await;
        let ssrc = 1_000_265;
        self.sections.push(format!(
            "{WITH_H265}a=mid:1\r\na=sendonly\r\na=rtcp-mux\r\na=msid:- {CAM}\r\n\
             a=ssrc:{ssrc} cname:alice\r\na=ssrc:{ssrc} msid:- {CAM}\r\n"
        ));
        self.offer().await
    }

    /// Offers room for pictures once the server asks for it; returns the answer.
    async fn ask_for_video(&mut self, codecs: &str) -> String {
        self.client.wait(&["mediaSectionsRequirement"]).await;
        self.sections
            .push(format!("{codecs}a=mid:1\r\na=recvonly\r\na=rtcp-mux\r\n"));
        let (_, theirs) = self.offer().await;
        self.client.connection.receive_all(&theirs).await;
        theirs
    }

    /// Offers all sections; returns the offer and its answer.
    async fn offer(&mut self) -> (String, String) {
        let mids: String = (0..self.sections.len()).map(|mid| format!(" {mid}")).collect();
        let mut sdp = format!("{SESSION}a=group:BUNDLE{mids}\r\n");
        for section in &self.sections {
            sdp.push_str(section);
            sdp.push_str(TRANSPORT);
        }
        self.offers += 1;
        let sdp = self.client.connection.own(&sdp);
        let offer = proto::SessionDescription {
            r#type: "offer".to_owned(),
            sdp: sdp.clone(),
            id: self.offers,
            ..Default::default()
        };
        self.client.send(Request::Offer(offer)).await;
        let (_, answer) = self.client.wait(&["answer"]).await;
        let answer = text_of(&answer["answer"]["sdp"]);
        self.client.connection.remote(&answer, true).await;
        (sdp, answer)
    }
}
