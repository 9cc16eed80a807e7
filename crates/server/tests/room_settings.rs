//! What the configuration and CreateRoom say of subscriptions reaches the room: seen in the descriptions
//! that subscribers get.
#![allow(missing_docs, reason = "tests")]

mod common;
mod publisher;
mod replay;
mod rtc;

use common::{Server, admin_token, config, twirp};
use publisher::Publisher;
use serde_json::json;
use server::config::Config;
use std::net::Ipv4Addr;
use wire::sdp::{Description, Media, MediaKind};

const ROOM: &str = "settings";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

fn start(limit: impl Fn(&mut Config)) -> Server {
    let mut config = config();
    config.rtc.node_ip = vec![Ipv4Addr::LOCALHOST.into()];
    limit(&mut config);
    Server::start(config)
}

/// Who publishes sound and a picture.
async fn publisher(server: &Server, identity: &str) -> Publisher {
    let mut publisher = Publisher::join(server.address, identity, ROOM).await;
    publisher.publish_mic().await;
    publisher.publish_cam().await;
    publisher
}

/// The sections on which somebody who joins now, and has three of each kind, is sent a track.
async fn sent(server: &Server) -> Vec<Media> {
    let bob = Publisher::join(server.address, "bob", ROOM).await;
    let description = Description::parse(&bob.answer).expect("a description");
    let sections = description.media.into_iter();
    sections.filter(|media| !media.msids.is_empty()).collect()
}

fn of(kind: MediaKind, sections: &[Media]) -> Vec<&Media> {
    sections.iter().filter(|media| media.kind == kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_created_room_synchronizes_streams_and_delays_playout_as_asked() {
    let server = start(|_| {});
    let settings = json!({
        "name": ROOM, "syncStreams": true, "minPlayoutDelay": 100, "maxPlayoutDelay": 2_000
    });
    let admin = admin_token(ROOM);
    for asked in [true, false] {
        if asked {
            let created = twirp(server.address, "CreateRoom", &admin, &settings).await;
            assert_eq!(created.status, 200, "{}", created.text());
        }
        let _alice = publisher(&server, "alice").await;
        let sections = sent(&server).await;
        let [audio] = of(MediaKind::Audio, &sections)[..] else {
            panic!("one section with sound");
        };
        let [video] = of(MediaKind::Video, &sections)[..] else {
            panic!("one section with a picture");
        };
        assert_eq!(audio.msids[0].stream == video.msids[0].stream, asked);
        let delays = |media: &Media| media.extmaps.iter().any(|map| map.uri == PLAYOUT_DELAY);
        assert_eq!((delays(audio), delays(video)), (false, asked));
        let room = json!({"room": ROOM});
        let deleted = twirp(server.address, "DeleteRoom", &admin, &room).await;
        assert_eq!(deleted.status, 200, "{}", deleted.text());
    }
    server.running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscription_limits_of_the_configuration_hold_for_their_kind() {
    for (audio_max, video_max, expected) in [(1, 0, (1, 2)), (0, 1, (2, 1))] {
        let server = start(|config| {
            config.limit.subscription_limit_audio = audio_max;
            config.limit.subscription_limit_video = video_max;
        });
        let _alice = publisher(&server, "alice").await;
        let _carol = publisher(&server, "carol").await;
        let sections = sent(&server).await;
        let count = |kind| of(kind, &sections).len();
        assert_eq!((count(MediaKind::Audio), count(MediaKind::Video)), expected);
        server.running.shutdown().await;
    }
}
