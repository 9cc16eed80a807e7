//! The rules of negotiation, one by one.

use super::client::{self, Section, audio, data, describe, offer, parsed, video};
use super::{announced, config, down};
use crate::negotiation::*;
use media::api::{ChannelSpec, DtlsRole, Remote};
use wire::sdp::{Direction, Setup};

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
    assert_eq!(remotes(&outcome.commands)[0].sctp, Some(262_144));
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

#[test]
fn sections_that_cannot_be_served_are_rejected() {
    let mut transport = transport(Role::Publisher);
    let alien = audio(1, "sendonly").with("x=formats audio {port} UDP/TLS/RTP/SAVPF 13\na=rtpmap:13 CN/8000");
    let text = audio(2, "sendonly").with("x=formats text {port} UDP/TLS/RTP/SAVPF 98");
    let gone = video(3, "sendonly").rejected();
    let outcome = transport
        .handle_offer(&offer(&[data(0), alien, text, gone]), &[])
        .unwrap();
    let answer = parsed(&outcome.answer);
    let ports: Vec<_> = answer.media.iter().map(|media| media.port).collect();
    assert_eq!(ports, [9, 0, 0, 0]);
    assert_eq!(answer.session.bundle, ["0"]);
}

#[test]
fn disabled_codecs_are_not_answered() {
    let mut config = config(Role::Publisher);
    config.codecs.retain(|(mime, _)| mime != "audio/red");
    let mut transport = Transport::new(config).0;
    let outcome = transport
        .handle_offer(&offer(&[audio(0, "sendonly")]), &[])
        .unwrap();
    assert_eq!(parsed(&outcome.answer).media[0].formats, ["111"]);
}

#[test]
fn tracks_are_matched_by_client_id_before_order() {
    let mut transport = transport(Role::Publisher);
    let pending = [
        announced(1, Kind::Video, "first"),
        announced(2, Kind::Video, "second"),
    ];
    let sections = [
        data(0),
        video(1, "sendonly").track("second"),
        video(2, "sendonly").track("unknown"),
        audio(3, "sendonly").track("nobody"),
    ];
    let outcome = transport.handle_offer(&offer(&sections), &pending).unwrap();
    assert_eq!(tracks(&outcome.published), [(2, "1"), (1, "2")]);
    assert_eq!(outcome.published[1].sdp_cid, "unknown");
    let again = transport.handle_offer(&offer(&sections), &pending).unwrap();
    assert_eq!(again.published, [], "nothing is new");
    assert!(again.ended.is_empty());
}

#[test]
fn a_section_whose_track_was_taken_back_gets_no_other_one() {
    let mut transport = transport(Role::Publisher);
    let sections = [audio(0, "sendonly").track("a")];
    transport
        .handle_offer(&offer(&sections), &[announced(1, Kind::Audio, "a")])
        .unwrap();
    let outcome = transport
        .handle_offer(&offer(&sections), &[announced(2, Kind::Audio, "b")])
        .unwrap();
    assert_eq!(outcome.published, []);
    assert_eq!(outcome.ended.len(), 1);
}

#[test]
fn a_second_codec_of_a_track_stays_silent() {
    let mut transport = transport(Role::Publisher);
    let mut track = announced(1, Kind::Video, "main");
    track.cids.push("backup".to_owned());
    let sections = [
        video(0, "sendonly").track("main"),
        video(1, "sendonly").track("backup"),
    ];
    let outcome = transport.handle_offer(&offer(&sections), &[track]).unwrap();
    assert_eq!(tracks(&outcome.published), [(1, "0")]);
    let answer = parsed(&outcome.answer);
    assert_eq!(answer.media[1].direction, Direction::Inactive);
}

#[test]
fn a_section_that_stops_sending_ends_its_track() {
    let ways: [fn() -> Vec<Section>; 4] = [
        || vec![data(0), audio(1, "inactive").track("a")],
        || vec![data(0), audio(1, "recvonly").track("a")],
        || vec![data(0), audio(1, "sendonly").track("a").rejected()],
        || vec![data(0)],
    ];
    for way in ways {
        let mut transport = transport(Role::Publisher);
        let track = announced(1, Kind::Audio, "a");
        let sending = [data(0), audio(1, "sendonly").track("a")];
        transport
            .handle_offer(&offer(&sending), std::slice::from_ref(&track))
            .unwrap();
        let outcome = transport
            .handle_offer(&offer(&way()), std::slice::from_ref(&track))
            .unwrap();
        assert_eq!(outcome.ended, [track.track]);
        let told =
            |command: &Command| matches!(command, Command::Unpublish { track: of } if *of == track.track);
        assert!(outcome.commands.iter().any(told));
    }
}

#[test]
fn simulcast_layers_are_published_from_low_to_high() {
    let mut transport = transport(Role::Publisher);
    let layers = "a=rid:f send\na=rid:h send\na=rid:q send\na=simulcast:send f;~h;q";
    let sections = [video(0, "sendonly").track("cam").with(layers)];
    let outcome = transport
        .handle_offer(&offer(&sections), &[announced(1, Kind::Video, "cam")])
        .unwrap();
    assert_eq!(outcome.published[0].rids, ["q", "h", "f"]);
    assert_eq!(outcome.published[0].ssrcs, []);
    let answer = parsed(&outcome.answer);
    assert_eq!(answer.media[0].simulcast.as_ref().unwrap().recv, ["q", "h", "f"]);
}

#[test]
fn announced_ssrcs_are_paired_with_their_retransmissions() {
    let mut transport = transport(Role::Publisher);
    let lines = "a=ssrc-group:FID 10 11\na=ssrc:10 cname:x\na=ssrc:11 cname:x\na=ssrc:12 cname:x";
    let sections = [video(0, "sendonly").track("cam").with(lines)];
    let outcome = transport
        .handle_offer(&offer(&sections), &[announced(1, Kind::Video, "cam")])
        .unwrap();
    assert_eq!(outcome.published[0].ssrcs, [(10, Some(11)), (12, None)]);
    let spec = outcome.commands.iter().find_map(|command| match command {
        Command::Publish {
            spec, audio_level, ..
        } => Some((spec, *audio_level)),
        _ => None,
    });
    let (spec, audio_level) = spec.unwrap();
    assert!(spec.transport_cc && !audio_level);
    assert_eq!(
        (
            spec.extensions.transport_cc,
            spec.extensions.rid,
            spec.extensions.mid
        ),
        (3, 10, 0)
    );
    assert_eq!(
        (
            spec.payloads[0].pt,
            spec.payloads[0].rtx_pt,
            spec.payloads[0].nack
        ),
        (96, Some(97), true)
    );
}

fn opus_answer(track: AnnouncedTrack) -> (Vec<String>, String) {
    let mut transport = transport(Role::Publisher);
    let sections = [audio(0, "sendonly").track("mic")];
    let outcome = transport.handle_offer(&offer(&sections), &[track]).unwrap();
    let media = parsed(&outcome.answer).media.remove(0);
    let fmtp = media.fmtp(111).to_owned();
    (media.formats, fmtp)
}

#[test]
fn red_is_answered_first_unless_not_wanted() {
    let mic = || announced(1, Kind::Audio, "mic");
    assert_eq!(opus_answer(mic()).0, ["63", "111"]);
    let opus = AnnouncedTrack {
        mime: "audio/opus".to_owned(),
        ..mic()
    };
    assert_eq!(opus_answer(opus).0, ["63", "111"]);
    let without = AnnouncedTrack {
        disable_red: true,
        ..mic()
    };
    assert_eq!(opus_answer(without).0, ["111", "63"]);
}

#[test]
fn opus_is_asked_for_dtx_and_stereo_as_announced() {
    let plain = "minptime=10;useinbandfec=1";
    let mic = || announced(1, Kind::Audio, "mic");
    assert_eq!(opus_answer(mic()).1, format!("{plain};usedtx=1"));
    let stereo = AnnouncedTrack {
        stereo: true,
        no_dtx: true,
        ..mic()
    };
    assert_eq!(
        opus_answer(stereo).1,
        format!("{plain};stereo=1;maxaveragebitrate=510000")
    );
    let as_is = AnnouncedTrack {
        no_dtx: true,
        ..mic()
    };
    assert_eq!(opus_answer(as_is).1, plain);
}

const TWO_VIDEO: &str = "x=formats video {port} UDP/TLS/RTP/SAVPF 96 97 120 121\n\
    a=rtpmap:120 VP9/90000\na=rtpmap:121 rtx/90000\na=fmtp:121 apt=120";

#[test]
fn the_announced_codec_comes_first_or_alone() {
    let formats = |alone: bool| {
        let mut config = config(Role::Publisher);
        config.client.ignores_answer_order = alone;
        let mut transport = Transport::new(config).0;
        let sections = [video(0, "sendonly").track("cam").with(TWO_VIDEO)];
        let track = AnnouncedTrack {
            mime: "vp9".to_owned(),
            ..announced(1, Kind::Video, "cam")
        };
        let outcome = transport.handle_offer(&offer(&sections), &[track]).unwrap();
        assert_eq!(outcome.published[0].codec, Codec::Vp9);
        parsed(&outcome.answer).media.remove(0).formats
    };
    assert_eq!(formats(false), ["120", "96", "121", "97"]);
    assert_eq!(formats(true), ["120", "121"]);
}

#[test]
fn start_bitrates_are_echoed() {
    let mut transport = transport(Role::Publisher);
    let sections = [video(0, "sendonly").with("a=fmtp:96 x-google-start-bitrate=1000")];
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert_eq!(
        parsed(&outcome.answer).media[0].fmtp(96),
        "x-google-start-bitrate=1000"
    );
}

/// mid, SSRC, RTX SSRC, codecs with payload types.
type Subscribed<'a> = (&'a str, u32, Option<u32>, Vec<(Codec, u8)>);

fn subscribed(commands: &[Command]) -> Vec<Subscribed<'_>> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Subscribe { spec, .. } => Some((
                spec.mid.as_str(),
                spec.ssrc,
                spec.rtx_ssrc,
                spec.payloads
                    .iter()
                    .map(|payload| (payload.codec, payload.pt))
                    .collect(),
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn single_pc_sends_with_the_payload_types_of_the_offer() {
    let mut transport = transport(Role::Single);
    transport.subscribe(down(1, Kind::Video)).unwrap();
    let sections = [data(0), video(1, "recvonly").with(TWO_VIDEO)];
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    let answer = parsed(&outcome.answer);
    assert_eq!(answer.media[1].formats, ["96", "97", "120", "121"]);
    let sent = subscribed(&outcome.commands);
    assert_eq!(sent[0].3, [(Codec::Vp8, 96), (Codec::Vp9, 120)]);
    let written: Vec<u32> = answer.media[1].ssrcs.iter().map(|ssrc| ssrc.ssrc).collect();
    assert_eq!(written, [sent[0].1, sent[0].2.unwrap()]);
    assert_eq!(outcome.bound.len(), 1);
    assert_eq!(outcome.answer.mid_to_track_id["1"], "TR_1");
}

#[test]
fn stream_ids_name_publisher_and_track_and_cannot_break_out() {
    let mut transport = transport(Role::Single);
    let mut request = down(1, Kind::Audio);
    request.stream_id = "PA_x|my stream\r\na=ice-lite".to_owned();
    transport.subscribe(request).unwrap();
    transport.subscribe(down(2, Kind::Audio)).unwrap();
    let sections = [audio(0, "recvonly"), audio(1, "recvonly")];
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    let answer = parsed(&outcome.answer);
    let msid = |index: usize| answer.media[index].msid().unwrap();
    assert_eq!(msid(0).stream, "PA_x|my_stream__a=ice-lite");
    assert_eq!(
        (msid(1).stream.as_str(), msid(1).track.as_deref()),
        ("PA_x|TR_2", Some("TR_2"))
    );
    assert!(!answer.session.ice_lite);
}

#[test]
fn red_is_sent_to_clients_that_take_it_and_opus_to_the_others() {
    let codecs = |firefox: bool, lines: &str| {
        let mut config = config(Role::Single);
        config.client.firefox = firefox;
        let mut transport = Transport::new(config).0;
        transport.subscribe(down(1, Kind::Audio)).unwrap();
        let outcome = transport
            .handle_offer(&offer(&[audio(0, "recvonly").with(lines)]), &[])
            .unwrap();
        let mut codecs = subscribed(&outcome.commands).remove(0).3;
        codecs.sort();
        codecs
    };
    assert_eq!(codecs(false, ""), [(Codec::Opus, 111), (Codec::Red, 63)]);
    assert_eq!(codecs(true, ""), [(Codec::Opus, 111)]);
    let only_opus = "x=formats audio {port} UDP/TLS/RTP/SAVPF 111";
    assert_eq!(codecs(false, only_opus), [(Codec::Opus, 111)]);
}

#[test]
fn missing_sections_are_counted_by_kind() {
    let mut transport = transport(Role::Single);
    assert_eq!(transport.requirement(), None);
    for serial in 0..3 {
        transport.subscribe(down(serial, Kind::Audio)).unwrap();
        transport.subscribe(down(10 + serial, Kind::Video)).unwrap();
    }
    assert_eq!(transport.requirement(), None, "the first offer is on its way");
    let mut sections = vec![audio(0, "recvonly"), video(1, "recvonly")];
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert_eq!(outcome.bound.len(), 2);
    assert_eq!(transport.requirement(), Some((2, 2)));
    sections.extend([audio(2, "recvonly"), audio(3, "recvonly"), video(4, "recvonly")]);
    transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert_eq!(transport.requirement(), Some((0, 1)));
}

#[test]
fn a_freed_section_asks_for_a_mere_re_offer_and_is_shown_inactive_before_reuse() {
    let mut transport = transport(Role::Single);
    let sections = [audio(0, "recvonly")];
    transport.subscribe(down(1, Kind::Audio)).unwrap();
    transport.handle_offer(&offer(&sections), &[]).unwrap();
    let commands = transport.unsubscribe(down(1, Kind::Audio).down);
    assert!(matches!(commands[..], [Command::Unsubscribe { .. }]));
    transport.subscribe(down(2, Kind::Audio)).unwrap();
    assert_eq!(transport.requirement(), Some((0, 0)));
    let direction = |transport: &mut Transport| {
        let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
        parsed(&outcome.answer).media[0].direction
    };
    assert_eq!(direction(&mut transport), Direction::Inactive);
    assert_eq!(transport.requirement(), Some((0, 0)));
    assert_eq!(direction(&mut transport), Direction::SendOnly);
    assert_eq!(transport.requirement(), None);
}

#[test]
fn a_section_that_the_client_closes_gives_its_track_back() {
    let mut transport = transport(Role::Single);
    transport.subscribe(down(1, Kind::Audio)).unwrap();
    transport
        .handle_offer(&offer(&[audio(0, "recvonly")]), &[])
        .unwrap();
    let outcome = transport
        .handle_offer(&offer(&[audio(0, "inactive")]), &[])
        .unwrap();
    let gone = |command: &Command| matches!(command, Command::Unsubscribe { .. });
    assert!(outcome.commands.iter().any(gone));
    assert_eq!(transport.requirement(), Some((1, 0)));
    let sections = [audio(0, "inactive"), audio(1, "recvonly")];
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert_eq!(outcome.bound.len(), 1);
}

#[test]
fn codecs_that_the_client_lacks_are_refused() {
    let h265 = |serial| DownRequest {
        codecs: vec![Codec::H265],
        ..down(serial, Kind::Video)
    };
    let mut single = transport(Role::Single);
    single.subscribe(h265(1)).unwrap();
    let outcome = single.handle_offer(&offer(&[video(0, "recvonly")]), &[]).unwrap();
    assert_eq!(outcome.refused, [h265(1).down]);
    assert_eq!(single.requirement(), None);
    assert_eq!(single.subscribe(h265(2)), Err(CodecUnsupported));

    let mut dual = transport(Role::Subscriber);
    let first = dual.make_offer();
    dual.handle_answer(&client::answer_all(&first.sdp)).unwrap();
    dual.subscribe(h265(1)).unwrap();
    let offered = dual.make_offer();
    let answer = client::answer_all(&offered.sdp).sdp.replace("H265", "X265");
    let outcome = dual.handle_answer(&describe("answer", answer)).unwrap();
    assert_eq!(outcome.refused, [h265(1).down]);
    assert!(dual.needs_offer(), "the section must be shown as free");
    assert_eq!(dual.subscribe(h265(2)), Err(CodecUnsupported));
}

#[test]
fn the_first_offer_has_only_data_channels_and_the_second_all_tracks() {
    let mut transport = transport(Role::Subscriber);
    for (serial, kind) in [(1, Kind::Audio), (2, Kind::Video), (3, Kind::Video)] {
        transport.subscribe(down(serial, kind)).unwrap();
    }
    assert!(transport.needs_offer() && !transport.awaits_answer());
    let first = transport.make_offer();
    assert!((1..=256).contains(&first.id));
    assert_eq!(parsed(&first).media.len(), 1);
    assert!(first.mid_to_track_id.is_empty() && transport.awaits_answer());
    let outcome = transport.handle_answer(&client::answer_all(&first.sdp)).unwrap();
    assert_eq!(remotes(&outcome.commands)[0].dtls_role, DtlsRole::Server);
    assert!(transport.needs_offer() && !transport.awaits_answer());
    let second = transport.make_offer();
    assert_eq!(second.id, first.id + 1);
    assert_eq!(parsed(&second).media.len(), 4);
    assert_eq!(second.mid_to_track_id.len(), 3);
    let outcome = transport.handle_answer(&client::answer_all(&second.sdp)).unwrap();
    assert_eq!((outcome.bound.len(), subscribed(&outcome.commands).len()), (3, 3));
    assert!(!transport.needs_offer());
}

#[test]
fn what_is_rejected_or_unsubscribed_while_offered_is_not_sent() {
    let mut transport = transport(Role::Subscriber);
    let first = transport.make_offer();
    transport.handle_answer(&client::answer_all(&first.sdp)).unwrap();
    for serial in 1..=3 {
        transport.subscribe(down(serial, Kind::Audio)).unwrap();
    }
    let offered = transport.make_offer();
    assert!(transport.unsubscribe(down(1, Kind::Audio).down).is_empty());
    let mut answer = parsed(&client::answer_all(&offered.sdp));
    answer.media[2].port = 0;
    let outcome = transport
        .handle_answer(&describe("answer", answer.to_string()))
        .unwrap();
    assert_eq!(outcome.refused, [down(2, Kind::Audio).down]);
    assert_eq!(outcome.bound, [down(3, Kind::Audio).down]);
    assert!(transport.needs_offer());
    let next = parsed(&transport.make_offer());
    let shown: Vec<_> = next
        .media
        .iter()
        .map(|media| (media.port, media.direction))
        .collect();
    let expected = [
        (9, Direction::SendRecv),
        (9, Direction::RecvOnly),
        (0, Direction::Inactive),
        (9, Direction::SendRecv),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn a_rejected_section_is_replaced_by_one_with_another_mid() {
    let mut transport = transport(Role::Subscriber);
    let first = transport.make_offer();
    transport.handle_answer(&client::answer_all(&first.sdp)).unwrap();
    for serial in 1..50 {
        transport.subscribe(down(serial, Kind::Audio)).unwrap();
        let offered = transport.make_offer();
        let expected = vec!["0".to_owned(), serial.to_string()];
        assert_eq!(parsed(&offered).session.bundle, expected);
        let mut answer = parsed(&client::answer_all(&offered.sdp));
        answer.media[1].port = 0;
        let outcome = transport
            .handle_answer(&describe("answer", answer.to_string()))
            .unwrap();
        assert_eq!(outcome.refused.len(), 1);
    }
}
