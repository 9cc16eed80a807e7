//! The addresses that a client is told: ICE servers in the join response, candidates in offers.
#![allow(missing_docs, reason = "tests")]
#![allow(clippy::wildcard_enum_match_arm, reason = "other messages are passed over")]

mod common;

use common::socket::Socket;
use common::{Server, config, join_token};
use protocol::proto::signal_response::Message as Response;
use server::config::{Config, UdpPorts};

const DUAL: &str = "/rtc?protocol=16&sdk=js&version=2.23.0&auto_subscribe=1";

/// The UDP candidates of the first offer: (address, port).
async fn candidates(config: Config) -> Vec<(String, u16)> {
    let server = Server::start(config);
    let mut socket = Socket::connect(server.address, DUAL, &join_token("alice", "r")).await;
    let sdp = socket
        .wait(|response| match response {
            Response::Offer(offer) => Some(offer.sdp.clone()),
            _ => None,
        })
        .await;
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!((fields[2], fields[6], fields[7]), ("udp", "typ", "host"));
            (fields[4].to_owned(), fields[5].parse().expect("a port"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_the_default_stun_servers() {
    let server = Server::start(config());
    let mut socket = Socket::connect(server.address, DUAL, &join_token("alice", "r")).await;
    let [servers] = &socket.join().await.ice_servers[..] else {
        panic!("one entry");
    };
    assert_eq!(
        servers.urls,
        [
            "stun:global.stun.twilio.com:3478",
            "stun:stun.l.google.com:19302",
            "stun:stun1.l.google.com:19302"
        ]
    );
    assert!(servers.username.is_empty() && servers.credential.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_stun_servers_replace_the_default_ones() {
    let mut config = config();
    config.rtc.stun_servers = vec!["stun.example.com:3478".to_owned()];
    let server = Server::start(config);
    let mut socket = Socket::connect(server.address, DUAL, &join_token("alice", "r")).await;
    let join = socket.join().await;
    assert_eq!(join.ice_servers[0].urls, ["stun:stun.example.com:3478"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_carry_the_configured_node_ip() {
    let mut config = config();
    config.rtc.node_ip = vec!["203.0.113.7".parse().expect("an address")];
    let offered = candidates(config).await;
    let v4: Vec<_> = offered.iter().filter(|(ip, _)| !ip.contains(':')).collect();
    assert!(
        !v4.is_empty() && v4.iter().all(|(ip, _)| ip == "203.0.113.7"),
        "{offered:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_candidates_share_the_single_udp_port() {
    let mut config = config();
    config.plenum.media_threads = Some(2);
    let free = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let single = free.local_addr().expect("bound").port();
    drop(free);
    config.rtc.udp_port = UdpPorts::Single(single);
    let offered = candidates(config).await;
    assert!(!offered.is_empty());
    assert!(offered.iter().all(|(_, port)| *port == single), "{offered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_take_their_ports_from_the_configured_range() {
    let mut config = config();
    config.rtc.udp_port = UdpPorts::Range(53_400..=53_499);
    let offered = candidates(config).await;
    assert!(!offered.is_empty());
    assert!(
        offered.iter().all(|(_, port)| (53_400..=53_499).contains(port)),
        "{offered:?}"
    );
}
