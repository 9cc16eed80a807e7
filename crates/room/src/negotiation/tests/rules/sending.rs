//! What a client is sent: sections bound, missing, freed and refused.

use super::*;

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
    let command = transport.unsubscribe(down(1, Kind::Audio).down);
    assert!(matches!(command, Some(Command::Unsubscribe { .. })));
    transport.free_section(down(1, Kind::Audio).down);
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
fn a_copy_that_ended_is_shown_until_its_last_frames_have_left() {
    let mut transport = transport(Role::Single);
    let sections = [audio(0, "recvonly"), audio(1, "recvonly")];
    let (first, second) = (down(1, Kind::Audio), down(2, Kind::Audio));
    transport.subscribe(first.clone()).unwrap();
    transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert!(transport.unsubscribe(first.down).is_some());
    assert!(transport.unsubscribe(first.down).is_none(), "it ends once");
    assert_eq!(transport.requirement(), None, "nothing is to be told yet");
    // Another copy that comes meanwhile gets a section of its own and cuts nothing short.
    transport.subscribe(second.clone()).unwrap();
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    let answer = parsed(&outcome.answer);
    let directions = [answer.media[0].direction, answer.media[1].direction];
    assert_eq!(directions, [Direction::SendOnly, Direction::SendOnly]);
    assert_eq!(outcome.bound, [second.down]);
    assert_eq!(subscribed(&outcome.commands).len(), 1);
    transport.free_section(first.down);
    assert_eq!(transport.requirement(), Some((0, 0)));
    let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
    assert_eq!(parsed(&outcome.answer).media[0].direction, Direction::Inactive);
}

#[test]
fn a_copy_that_ended_is_not_sent_again_when_its_client_closes_the_section() {
    let mut transport = transport(Role::Single);
    let gone = down(1, Kind::Audio).down;
    transport.subscribe(down(1, Kind::Audio)).unwrap();
    transport
        .handle_offer(&offer(&[audio(0, "recvonly")]), &[])
        .unwrap();
    assert!(transport.unsubscribe(gone).is_some());
    for direction in ["inactive", "recvonly"] {
        let outcome = transport
            .handle_offer(&offer(&[audio(0, direction)]), &[])
            .unwrap();
        assert!(outcome.commands.is_empty());
    }
    transport.free_section(gone);
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
    assert!(transport.unsubscribe(down(1, Kind::Audio).down).is_none());
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

#[test]
fn a_copy_is_made_of_the_first_codec_that_its_client_decodes() {
    let track = |serial| TrackKey::new(media::api::ThreadId(3), media::api::RoomKey(1), serial);
    let (av1, vp8) = (track(1), track(2));
    let request = DownRequest {
        codecs: vec![Codec::Av1, Codec::Vp8],
        backups: vec![(Codec::Vp8, vp8)],
        ..down(1, Kind::Video)
    };
    assert_eq!(request.track, av1);
    for (decodes, preferred, source) in [
        (&[Codec::Av1, Codec::Vp8][..], Codec::Av1, av1),
        (&[Codec::Av1, Codec::Vp8][..], Codec::Vp8, vp8),
        (&[Codec::Vp8][..], Codec::Av1, vp8),
        (&[Codec::Av1][..], Codec::Vp8, av1),
    ] {
        let mut request = request.clone();
        request.codecs.sort_by_key(|codec| *codec != preferred);
        let (chosen, codecs) = request.choose(|codec| decodes.contains(&codec));
        assert_eq!((chosen, codecs.len()), (source, 1), "{decodes:?} {preferred:?}");
    }
    let (_, codecs) = request.choose(|_| false);
    assert_eq!(codecs, [Codec::Av1], "there is nothing to send it as");
}
