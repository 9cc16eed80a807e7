//! The rules of negotiation, one by one: the connection itself here, what a client publishes and what
//! it is sent below.

mod publishing;
mod sending;

use super::client::{self, Section, audio, data, describe, offer, parsed, video};
use super::{announced, config, down};
use crate::negotiation::*;
use media::api::{ChannelSpec, DtlsRole, Remote};
use wire::sdp::{Direction, Setup};

const TWO_VIDEO: &str = "x=formats video {port} UDP/TLS/RTP/SAVPF 96 97 120 121\n\
    a=rtpmap:120 VP9/90000\na=rtpmap:121 rtx/90000\na=fmtp:121 apt=120";

fn transport(role: Role) -> Transport {
    Transport::new(config(role)).0
}

fn channels(config: TransportConfig) -> Vec<ChannelSpec> {
    let commands = Transport::new(config).1;
    assert!(matches!(commands[0], Command::AddPeer { .. }));
    commands
        .into_iter()
        .filter_map(|command| match command {
            Command::OpenChannel { channel, .. } => Some(channel),
            _ => None,
        })
        .collect()
}

fn remotes(commands: &[Command]) -> Vec<&Remote> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::SetRemote { remote, .. } => Some(remote),
            _ => None,
        })
        .collect()
}

fn added_candidates(commands: &[Command]) -> usize {
    commands
        .iter()
        .filter(|command| matches!(command, Command::AddCandidate { .. }))
        .count()
}

fn tracks(published: &[PublishedSection]) -> Vec<(u64, &str)> {
    published
        .iter()
        .map(|section| (section.track.0 & 0xFF, section.mid.as_str()))
        .collect()
}

#[test]
fn subscriber_connection_opens_its_channels_in_band_in_order() {
    let spec = |label: &str, reliable: bool| ChannelSpec {
        label: label.to_owned(),
        ordered: reliable,
        max_retransmits: (!reliable).then_some(0),
        negotiated: None,
    };
    let all = [
        spec("_reliable", true),
        spec("_lossy", false),
        spec("_data_track", false),
    ];
    assert_eq!(channels(config(Role::Subscriber)), all);
    let mut without = config(Role::Subscriber);
    without.data_tracks = false;
    assert_eq!(channels(without), all[..2]);
}

#[test]
fn single_connection_opens_negotiated_channels_from_protocol_18_on() {
    let ids = |protocol: i32| {
        let mut config = config(Role::Single);
        config.client.protocol = protocol;
        channels(config)
            .into_iter()
            .map(|channel| (channel.label, channel.negotiated))
            .collect::<Vec<_>>()
    };
    let expected = [("_reliable", 100), ("_lossy", 101), ("_data_track", 102)];
    let expected = expected.map(|(label, id)| (label.to_owned(), Some(id)));
    assert_eq!(ids(18), expected);
    assert_eq!(ids(17), []);
    assert!(channels(config(Role::Publisher)).is_empty());
}

#[test]
fn mixed_header_extensions_are_answered_to_those_who_offer_them() {
    let line = "a=extmap-allow-mixed\r\n";
    let plain = offer(&[data(0)]).sdp.replace(line, "");
    let mixed = plain.replacen("t=0 0\r\n", &format!("t=0 0\r\n{line}"), 1);
    for (text, allowed) in [(plain, false), (mixed, true)] {
        let mut transport = Transport::new(config(Role::Publisher)).0;
        let answer = transport
            .handle_offer(&describe("offer", text), &[])
            .unwrap()
            .answer;
        assert_eq!(answer.sdp.contains(line), allowed);
    }
    let mut transport = Transport::new(config(Role::Subscriber)).0;
    assert!(transport.make_offer().sdp.contains(line));
}

#[test]
fn candidates_carry_the_advertised_addresses_in_descriptions_and_trickle() {
    let mut own = config(Role::Publisher);
    own.addresses = vec![
        "203.0.113.9:7882".parse().unwrap(),
        "[2001:db8::9]:7882".parse().unwrap(),
    ];
    let mut transport = Transport::new(own.clone()).0;
    let answer = transport.handle_offer(&offer(&[data(0)]), &[]).unwrap().answer;
    let section = &parsed(&answer).media[0];
    let listed: Vec<_> = section
        .transport
        .candidates
        .iter()
        .map(|c| (c.address, c.component))
        .collect();
    let both = |address| [(address, 1), (address, 2)];
    assert_eq!(
        listed,
        own.addresses.iter().flat_map(|a| both(*a)).collect::<Vec<_>>()
    );
    assert!(section.transport.end_of_candidates);
    let trickled = transport.trickle_candidates();
    assert_eq!(trickled.len(), 2, "the caller marks the last one as final");
    for (text, address) in trickled.iter().zip(["203.0.113.9 7882", "2001:db8::9 7882"]) {
        assert!(
            text.contains(address) && text.contains(r#""sdpMid":"0""#),
            "{text}"
        );
    }
}

#[test]
fn dtls_role_is_the_complement_of_what_the_client_says() {
    let role = |setup: &str, lite: bool| {
        let mut config = config(Role::Publisher);
        config.ice_lite = lite;
        let mut transport = Transport::new(config).0;
        let text = client::sdp(setup, "client", &[data(0)]);
        let outcome = transport.handle_offer(&describe("offer", text), &[]).unwrap();
        let ours = parsed(&outcome.answer);
        assert_eq!(ours.session.ice_lite, lite);
        let setup = ours.media[0].transport.setup.unwrap();
        (setup, remotes(&outcome.commands)[0].dtls_role)
    };
    assert_eq!(role("actpass", false), (Setup::Active, DtlsRole::Client));
    assert_eq!(role("actpass", true), (Setup::Passive, DtlsRole::Server));
    assert_eq!(role("active", false), (Setup::Passive, DtlsRole::Server));
    assert_eq!(role("passive", true), (Setup::Active, DtlsRole::Client));
}

#[test]
fn we_control_ice_only_where_we_offer_as_a_full_agent() {
    let controls = |role, lite| {
        let mut config = config(role);
        config.ice_lite = lite;
        let commands = Transport::new(config).1;
        matches!(commands[0], Command::AddPeer { ice_controlling, .. } if ice_controlling)
    };
    assert!(controls(Role::Subscriber, false));
    assert!(!controls(Role::Subscriber, true));
    assert!(!controls(Role::Single, false));
}

#[test]
fn data_sections_allow_64_kib_messages() {
    let mut transport = transport(Role::Publisher);
    let outcome = transport.handle_offer(&offer(&[data(0)]), &[]).unwrap();
    let answer = parsed(&outcome.answer);
    assert_eq!(answer.media[0].max_message_size, Some(65_535));
    let sctp = remotes(&outcome.commands)[0]
        .sctp
        .expect("there is a data section");
    assert_eq!(sctp.message_len_max, 262_144);
}

#[test]
fn sctp_goes_to_the_port_of_the_description() {
    let told = |port: &str| {
        let mut transport = transport(Role::Publisher);
        let mut offer = offer(&[data(0)]);
        offer.sdp = offer.sdp.replace("a=sctp-port:5000", port);
        let outcome = transport.handle_offer(&offer, &[]).unwrap();
        remotes(&outcome.commands)[0].sctp.map(|sctp| sctp.port.get())
    };
    assert_eq!(told("a=sctp-port:6000"), Some(6000));
    assert_eq!(told("a=sctpmap:7000 webrtc-datachannel 1024"), Some(7000));
    assert_eq!(told("a=unknown"), Some(5000));
}

#[test]
fn the_remote_side_is_told_again_only_when_it_changed() {
    let mut transport = transport(Role::Publisher);
    let first = transport.handle_offer(&offer(&[data(0)]), &[]).unwrap();
    assert_eq!(remotes(&first.commands).len(), 1);
    let again = transport
        .handle_offer(&offer(&[data(0), audio(1, "sendonly")]), &[])
        .unwrap();
    assert_eq!(remotes(&again.commands).len(), 0);
    assert!(parsed(&again.answer).session.version > parsed(&first.answer).session.version);
}

#[test]
fn an_ice_restart_of_the_client_restarts_ours_too() {
    let mut transport = transport(Role::Single);
    let sections = [data(0)];
    let first = transport.handle_offer(&offer(&sections), &[]).unwrap().answer;
    let text = client::sdp("actpass", "another", &sections);
    let second = transport.handle_offer(&describe("offer", text), &[]).unwrap();
    let ufrag = |answer| parsed(answer).media[0].transport.ufrag.clone().unwrap();
    assert_ne!(ufrag(&first), ufrag(&second.answer));
    let restarted = second.commands.iter().find_map(|command| match command {
        Command::RestartIce { ice, .. } => Some(ice.ufrag.clone()),
        _ => None,
    });
    assert_eq!(restarted, Some(ufrag(&second.answer)));
    let thread = media::api::thread_of_ufrag(ufrag(&second.answer).as_bytes());
    assert_eq!(thread, Some(transport.peer().thread()));
    assert_eq!(remotes(&second.commands)[0].ice.ufrag, "another");
}

#[test]
fn a_restart_of_ours_is_in_the_next_description() {
    let mut transport = transport(Role::Subscriber);
    let first = transport.make_offer();
    transport.handle_answer(&client::answer_all(&first.sdp)).unwrap();
    assert!(!transport.needs_offer());
    let fresh = IceCredentials {
        ufrag: "03fresh".to_owned(),
        pwd: "freshpassword".to_owned(),
    };
    assert!(matches!(
        transport.restart_ice(fresh)[..],
        [Command::RestartIce { .. }]
    ));
    assert!(transport.needs_offer());
    let media = &parsed(&transport.make_offer()).media[0];
    assert_eq!(media.transport.ufrag.as_deref(), Some("03fresh"));
    assert!(transport.trickle_candidates()[0].contains("ufrag 03fresh"));
}

#[test]
fn trickled_candidates_wait_for_their_description() {
    let init = |port: u16, ufrag: &str| {
        format!(
            r#"{{"candidate":"candidate:1 1 udp 7 127.0.0.1 {port} typ host ufrag {ufrag}","sdpMid":"0","sdpMLineIndex":0}}"#
        )
    };
    let mut transport = transport(Role::Publisher);
    assert!(transport.handle_trickle(&init(1000, "client")).unwrap().is_none());
    assert!(transport.handle_trickle(&init(1001, "later")).unwrap().is_none());
    let listed = data(0).with("a=candidate:1 1 udp 7 127.0.0.1 1002 typ host");
    let outcome = transport.handle_offer(&offer(&[listed]), &[]).unwrap();
    assert_eq!(added_candidates(&outcome.commands), 2);
    assert!(transport.handle_trickle(&init(1003, "client")).unwrap().is_some());
    assert!(
        transport.handle_trickle(&init(1003, "client")).unwrap().is_none(),
        "known"
    );
    let restart = describe("offer", client::sdp("actpass", "later", &[data(0)]));
    let outcome = transport.handle_offer(&restart, &[]).unwrap();
    assert_eq!(added_candidates(&outcome.commands), 1);
}

#[test]
fn candidates_that_cannot_be_used_are_passed_over() {
    let mut transport = transport(Role::Publisher);
    transport.handle_offer(&offer(&[data(0)]), &[]).unwrap();
    for line in [
        "candidate:1 1 udp 7 a1b2.local 5000 typ host",
        "candidate:1 1 tcp 7 127.0.0.1 9 typ host tcptype active",
        "candidate:1 2 udp 7 127.0.0.1 5000 typ host",
        "candidate:1 1 udp 7 0.0.0.0 5000 typ host",
        "rubbish",
        "",
    ] {
        let init = format!(r#"{{"candidate":"{line}","sdpMid":"0"}}"#);
        assert!(transport.handle_trickle(&init).unwrap().is_none(), "{line}");
    }
    for _ in 0..1000 {
        let early = r#"{"candidate":"candidate:1 1 udp 7 127.0.0.1 5 typ host ufrag other"}"#;
        transport.handle_trickle(early).unwrap();
    }
    assert!(transport.early_candidates.len() <= candidates::CANDIDATES_MAX);
    assert!(transport.handle_trickle("{oops").is_err());
}

#[test]
fn unusable_descriptions_are_refused_and_change_nothing() {
    let mut transport = transport(Role::Single);
    transport
        .handle_offer(&offer(&[audio(0, "recvonly"), data(1)]), &[])
        .unwrap();
    transport.subscribe(down(1, Kind::Video)).unwrap();
    let good = offer(&[audio(0, "recvonly"), data(1), video(2, "recvonly")]).sdp;
    let without = |prefix: &str| {
        let lines = good.lines().filter(|line| !line.starts_with(prefix));
        lines.collect::<Vec<_>>().join("\r\n")
    };
    for bad in [
        "garbage".to_owned(),
        String::new(),
        without("m="),
        without("a=ice-ufrag"),
        without("a=fingerprint"),
        without("a=mid"),
        good.replace("a=mid:2", "a=mid:0"),
    ] {
        let refused = transport.handle_offer(&describe("offer", bad), &[]);
        assert!(matches!(refused, Err(NegotiationError::Unusable(_))));
    }
    assert_eq!(transport.requirement(), Some((0, 1)));
    assert_eq!(
        transport.handle_answer(&describe("answer", good)).unwrap_err(),
        NegotiationError::WrongState
    );
}

#[test]
fn fragments_of_4_to_256_characters_are_taken_and_no_others() {
    let with = |ufrag: &str, pwd: &str| {
        let good = offer(&[audio(0, "recvonly"), data(1)]).sdp;
        let lines = good.lines().map(|line| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}"),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{pwd}"),
            _ => line.to_owned(),
        });
        let sdp = lines.collect::<Vec<_>>().join("\r\n") + "\r\n";
        transport(Role::Single).handle_offer(&describe("offer", sdp), &[])
    };
    let password = "p".repeat(22);
    for ufrag in [
        "abcd".to_owned(),
        "u".repeat(112),
        "u".repeat(256),
        "a+/9".repeat(50),
    ] {
        let outcome = with(&ufrag, &password).unwrap();
        assert_eq!(remotes(&outcome.commands)[0].ice.ufrag, ufrag);
    }
    assert!(with("abcd", &"p".repeat(256)).is_ok());
    for (ufrag, pwd, why) in [
        ("abc".to_owned(), password.clone(), "4 to 256"),
        ("u".repeat(257), password.clone(), "4 to 256"),
        ("u".repeat(60_000), password.clone(), "too large"),
        ("ab cd".to_owned(), password.clone(), "characters"),
        ("abcü".to_owned(), password, "characters"),
        ("abcd".to_owned(), "p".repeat(257), "256"),
    ] {
        let Err(NegotiationError::Unusable(said)) = with(&ufrag, &pwd) else {
            panic!("{ufrag:?} is taken");
        };
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_garbage_answer_is_refused() {
    let mut transport = transport(Role::Subscriber);
    transport.make_offer();
    let refused = transport.handle_answer(&describe("answer", "garbage".to_owned()));
    assert!(matches!(refused, Err(NegotiationError::Unusable(_))));
    assert_eq!(
        transport.handle_offer(&offer(&[data(0)]), &[]).unwrap_err(),
        NegotiationError::WrongState
    );
}
