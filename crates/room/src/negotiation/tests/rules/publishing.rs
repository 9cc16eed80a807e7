//! What a client publishes: sections, codecs, tracks, layers.

use super::*;

#[test]
fn sections_that_cannot_be_served_are_inactive_or_rejected() {
    let mut transport = transport(Role::Publisher);
    let alien = audio(1, "sendonly").with("x=formats audio {port} UDP/TLS/RTP/SAVPF 13\na=rtpmap:13 CN/8000");
    let text = audio(2, "sendonly").with("x=formats text {port} UDP/TLS/RTP/SAVPF 98");
    let gone = video(3, "sendonly").rejected();
    let unnamed = audio(4, "sendonly").with("x=formats audio {port} UDP/TLS/RTP/SAVPF 77");
    let outcome = transport
        .handle_offer(&offer(&[data(0), alien, text, gone, unnamed]), &[])
        .unwrap();
    let answer = parsed(&outcome.answer);
    let ports: Vec<_> = answer.media.iter().map(|media| media.port).collect();
    assert_eq!(ports, [9, 9, 0, 0, 0]);
    assert_eq!(answer.session.bundle, ["0", "1"]);
}

/// aiortc takes no answer in which a section lacks one of these, and bundles what the answer bundles.
#[test]
fn a_section_whose_codecs_are_all_disabled_is_answered_whole_and_inactive() {
    let mut config = config(Role::Publisher);
    config.codecs.retain(|(mime, _)| mime.starts_with("audio/"));
    let mut transport = Transport::new(config).0;
    let repaired = video(2, "sendonly").with(
        "x=formats video {port} UDP/TLS/RTP/SAVPF 97 98\na=rtpmap:98 H264/90000\na=fmtp:98 packetization-mode=1",
    );
    let offered = offer(&[audio(0, "sendonly"), video(1, "sendonly"), repaired]);
    let outcome = transport
        .handle_offer(&offered, &[announced(1, Kind::Video, "camera")])
        .unwrap();
    assert_eq!(outcome.published, [], "nothing is published on it");
    let answer = parsed(&outcome.answer);
    assert_eq!(answer.session.bundle, ["0", "1", "2"]);
    for (media, format) in answer.media[1..].iter().zip(["96", "98"]) {
        assert_eq!((media.port, media.direction), (9, Direction::Inactive));
        assert_eq!(media.formats, [format]);
        assert!(media.rtcp_mux && media.extmaps.is_empty() && media.feedback.is_empty());
        let transport = &media.transport;
        assert!(transport.ufrag.is_some() && transport.pwd.is_some());
        assert_eq!(transport.setup, Some(Setup::Active));
    }
    assert_eq!(answer.media[2].fmtps, [(98, "packetization-mode=1".to_owned())]);
    let again = transport.handle_offer(&offered, &[]).unwrap();
    assert_eq!(
        parsed(&again.answer).media,
        answer.media,
        "the next answer is the same"
    );
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
    for ended in [1, 0] {
        let outcome = transport
            .handle_offer(&offer(&sections), &[announced(2, Kind::Audio, "b")])
            .unwrap();
        assert_eq!(outcome.published, []);
        assert_eq!(outcome.ended.len(), ended);
    }
}

#[test]
fn a_section_that_sends_another_track_ends_the_one_before() {
    let mut transport = transport(Role::Publisher);
    let (first, second) = (announced(1, Kind::Audio, "a"), announced(2, Kind::Audio, "b"));
    for (cid, published, ended) in [("a", 1, None), ("b", 2, Some(first.track))] {
        let sections = [audio(0, "sendonly").track(cid)];
        let outcome = transport
            .handle_offer(&offer(&sections), &[first.clone(), second.clone()])
            .unwrap();
        assert_eq!(tracks(&outcome.published), [(published, "0")]);
        assert_eq!(outcome.ended, Vec::from_iter(ended));
    }
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

/// What an offer with these parameters of Opus is answered, without RED.
fn opus_parameters(offered: &str, track: AnnouncedTrack) -> Option<String> {
    let mut transport = transport(Role::Publisher);
    let mut section = audio(0, "sendonly");
    section.lines = format!("a=rtpmap:111 opus/48000/2\n{offered}");
    let sections = [section.track("mic")];
    let outcome = transport.handle_offer(&offer(&sections), &[track]).unwrap();
    let lines = outcome.answer.sdp.lines();
    let mut lines = lines.filter_map(|line| line.strip_prefix("a=fmtp:111 "));
    lines.next().map(str::to_owned)
}

#[test]
fn parameters_of_opus_are_well_formed_whatever_is_offered() {
    let mic = || announced(1, Kind::Audio, "mic");
    let stereo = || AnnouncedTrack {
        stereo: true,
        ..mic()
    };
    let plain = || AnnouncedTrack {
        no_dtx: true,
        ..mic()
    };
    let answered = |offered: &str, track| {
        let line = format!("a=fmtp:111 {offered}\n");
        opus_parameters(if offered.is_empty() { "" } else { &line }, track)
    };
    for track in [mic(), stereo(), plain()] {
        assert_eq!(answered("", track), None, "none offered, none answered");
    }
    assert_eq!(
        answered("minptime=10;", mic()).as_deref(),
        Some("minptime=10;usedtx=1")
    );
    assert_eq!(
        answered("; ;minptime=10", plain()).as_deref(),
        Some("minptime=10")
    );
    assert_eq!(answered(";", plain()), None);
    let firefox = "maxplaybackrate=48000;stereo=1;useinbandfec=1";
    let mono = "maxplaybackrate=48000;useinbandfec=1";
    assert_eq!(answered(firefox, mic()), Some(format!("{mono};usedtx=1")));
    assert_eq!(answered(firefox, plain()).as_deref(), Some(mono));
    assert_eq!(
        answered(firefox, stereo()),
        Some(format!("{firefox};usedtx=1;stereo=1;maxaveragebitrate=510000"))
    );
    assert_eq!(answered("stereo=1", mic()).as_deref(), Some("usedtx=1"));
}

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
fn start_bitrates_are_echoed_where_the_client_sends() {
    for (direction, echoed) in [("sendonly", "x-google-start-bitrate=1000"), ("recvonly", "")] {
        let mut transport = transport(Role::Single);
        let sections = [video(0, direction).with("a=fmtp:96 x-google-start-bitrate=1000")];
        let outcome = transport.handle_offer(&offer(&sections), &[]).unwrap();
        assert_eq!(parsed(&outcome.answer).media[0].fmtp(96), echoed, "{direction}");
    }
}
