//! AddTrack, media, mute, and the end of a track.

use crate::sdp::{self, Section};
use crate::world::{World, camera, config, grant, microphone, wish};
use media::api::Command;
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

fn published(messages: &[Response]) -> &proto::TrackInfo {
    match messages {
        [Response::TrackPublished(published)] => published.track.as_ref().expect("a track"),
        other => panic!("expected track_published, got {other:?}"),
    }
}

fn failure(messages: &[Response]) -> (&str, &str) {
    match messages {
        [Response::RequestResponse(response)] => {
            assert!(response.request.is_some(), "the request is echoed");
            (response.reason().as_str_name(), &response.message)
        }
        other => panic!("expected request_response, got {other:?}"),
    }
}

/// The tracks of the last update about `identity`.
fn tracks(messages: &[Response], identity: &str) -> Vec<proto::TrackInfo> {
    messages
        .iter()
        .rev()
        .find_map(|message| match message {
            Response::Update(update) => update.participants.iter().find(|info| info.identity == identity),
            _ => None,
        })
        .map(|info| info.tracks.clone())
        .expect("an update")
}

#[test]
fn track_sids_tell_kind_and_source() {
    use proto::TrackSource as Source;
    use proto::TrackType::{Audio, Video};
    for (kind, source, prefix) in [
        (Audio, Source::Microphone, "TR_AM"),
        (Video, Source::Camera, "TR_VC"),
        (Video, Source::ScreenShare, "TR_VS"),
        (Audio, Source::ScreenShareAudio, "TR_As"),
        (Audio, Source::Unknown, "TR_A"),
    ] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let request = proto::AddTrackRequest {
            cid: "c".to_owned(),
            r#type: kind.into(),
            source: source.into(),
            ..Default::default()
        };
        let sid = world.announce(&alice, request);
        assert_eq!(sid.len(), prefix.len() + 12);
        assert!(sid.starts_with(prefix), "{sid}");
    }
}

#[test]
fn a_camera_is_announced_as_the_reference_does() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    world.request(&alice, Request::AddTrack(camera("cam")));
    let messages = world.take(&alice);
    let info = published(&messages);
    assert!(info.simulcast && info.mime_type.is_empty() && info.version.is_none());
    assert_eq!(info.stream, "camera");
    let heights: Vec<_> = info.layers.iter().map(|layer| layer.height).collect();
    assert_eq!(heights, [180, 360, 720]);
    let [codec] = &info.codecs[..] else {
        panic!("one codec")
    };
    assert_eq!(
        (codec.mime_type.as_str(), codec.cid.as_str()),
        ("video/vp8", "cam")
    );
    assert_eq!(codec.layers, info.layers);
    assert_eq!(
        codec.video_layer_mode(),
        proto::video_layer::Mode::OneSpatialLayerPerStream
    );
}

#[test]
fn audio_flags_are_mirrored_into_sorted_features() {
    use proto::AudioTrackFeature::{TfEchoCancellation, TfNoDtx, TfStereo};
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let mut request = microphone("mic");
    (request.stereo, request.disable_dtx, request.disable_red) = (true, true, true);
    request.audio_features = [TfEchoCancellation, TfStereo, TfEchoCancellation]
        .map(i32::from)
        .to_vec();
    world.request(&alice, Request::AddTrack(request));
    let messages = world.take(&alice);
    let info = published(&messages);
    assert_eq!(
        info.audio_features,
        [TfStereo, TfEchoCancellation, TfNoDtx].map(i32::from)
    );
    assert_eq!(info.backup_codec_policy(), proto::BackupCodecPolicy::Simulcast);
    assert!(info.stereo && info.disable_red && info.disable_dtx);
}

#[test]
fn unknown_and_disabled_codecs_become_the_first_enabled_one() {
    let mut world = World::with({
        let mut config = config();
        config.enabled_codecs.retain(|codec| codec.mime != "video/VP9");
        config
    });
    let alice = world.enter(wish("alice"));
    for codec in ["dirac", "vp9"] {
        world.forget();
        let mut request = camera(codec);
        request.simulcast_codecs[0].codec = codec.to_owned();
        world.request(&alice, Request::AddTrack(request));
        let messages = world.take(&alice);
        assert_eq!(published(&messages).codecs[0].mime_type, "video/VP8");
    }
}

#[test]
fn svc_codecs_have_several_layers_per_stream() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let mut request = camera("cam");
    request.simulcast_codecs[0].codec = "vp9".to_owned();
    world.request(&alice, Request::AddTrack(request));
    let messages = world.take(&alice);
    let info = published(&messages);
    assert!(!info.simulcast);
    assert_eq!(
        info.codecs[0].video_layer_mode(),
        proto::video_layer::Mode::MultipleSpatialLayersPerStream
    );
}

#[test]
fn tracks_that_may_not_be_published_are_refused() {
    let mut world = World::new();
    let mut join = wish("mute");
    grant(&mut join).can_publish = Some(false);
    let silent = world.enter(join);
    world.forget();
    world.request(&silent, Request::AddTrack(microphone("mic")));
    assert_eq!(failure(&world.take(&silent)), ("NOT_ALLOWED", ""));

    let mut join = wish("camera-only");
    grant(&mut join).can_publish_sources = vec!["camera".to_owned()];
    let filmed = world.enter(join);
    world.forget();
    world.request(&filmed, Request::AddTrack(microphone("mic")));
    assert_eq!(failure(&world.take(&filmed)), ("NOT_ALLOWED", ""));
    world.request(&filmed, Request::AddTrack(camera("cam")));
    published(&world.take(&filmed));
}

#[test]
fn only_audio_and_video_can_be_added() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let mut request = microphone("d");
    request.r#type = proto::TrackType::Data.into();
    world.request(&alice, Request::AddTrack(request));
    assert_eq!(failure(&world.take(&alice)), ("UNSUPPORTED_TYPE", ""));
}

#[test]
fn a_cid_in_use_is_queued_twice_and_then_refused() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.announce(&alice, microphone("m1"));
    world.forget();
    for expected in [
        ("QUEUED", ""),
        ("QUEUED", ""),
        (
            "LIMIT_EXCEEDED",
            "too many pending queued tracks, rejecting new track, numPendingTracksQueued: 3",
        ),
    ] {
        world.request(&alice, Request::AddTrack(microphone("m1")));
        assert_eq!(failure(&world.take(&alice)), expected);
    }
}

#[test]
fn a_queued_track_is_published_when_the_earlier_one_ends() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let first = world.publish(&alice, microphone("mic"));
    world.request(&alice, Request::AddTrack(microphone("mic")));
    world.forget();
    let stopped = Section::of(&microphone("mic")).with_direction("inactive");
    world.request(&alice, Request::Offer(sdp::offer(2, &[Section::data(), stopped])));
    let messages = world.take(&alice);
    let next = messages.iter().find_map(|message| match message {
        Response::TrackPublished(published) => published.track.clone(),
        _ => None,
    });
    assert_ne!(next.expect("the queued track").sid, first);
}

#[test]
fn a_queued_track_that_may_no_longer_be_published_gives_its_turn_to_the_next() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, microphone("mic"));
    let mut screen = microphone("mic");
    screen.source = proto::TrackSource::ScreenShareAudio.into();
    for queued in [screen, microphone("mic")] {
        world.request(&alice, Request::AddTrack(queued));
    }
    let request = proto::UpdateParticipantRequest {
        identity: "alice".to_owned(),
        permission: Some(proto::ParticipantPermission {
            can_publish: true,
            can_subscribe: true,
            can_publish_sources: vec![proto::TrackSource::Microphone.into()],
            ..Default::default()
        }),
        ..Default::default()
    };
    world
        .api(room::ApiCall::UpdateParticipant(Box::new(request)))
        .expect("updated");
    world.forget();
    let stopped = Section::of(&microphone("mic")).with_direction("inactive");
    world.request(&alice, Request::Offer(sdp::offer(2, &[Section::data(), stopped])));
    let messages = world.take(&alice);
    let refused = messages.iter().find_map(|message| match message {
        Response::RequestResponse(response) => Some((response.reason(), response.request.clone())),
        _ => None,
    });
    let Some((reason, Some(proto::request_response::Request::AddTrack(request)))) = refused else {
        panic!("the first one is refused");
    };
    assert_eq!(reason, proto::request_response::Reason::NotAllowed);
    assert_eq!(request.source(), proto::TrackSource::ScreenShareAudio);
    let next = messages.iter().find_map(|message| match message {
        Response::TrackPublished(published) => published.track.clone(),
        _ => None,
    });
    assert_eq!(
        next.expect("the second one").source(),
        proto::TrackSource::Microphone
    );
}

#[test]
fn twenty_pending_tracks_are_the_most() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    for number in 0..20 {
        world.announce(&alice, microphone(&format!("p{number}")));
    }
    world.forget();
    world.request(&alice, Request::AddTrack(microphone("p20")));
    assert_eq!(
        failure(&world.take(&alice)),
        (
            "LIMIT_EXCEEDED",
            "too many pending tracks, rejecting new track, numPendingTracks: 20"
        )
    );
}

#[test]
fn an_announced_track_is_published_when_its_media_arrives() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = world.announce(&alice, camera("cam"));
    world.request(
        &alice,
        Request::Offer(sdp::offer(3, &[Section::data(), Section::of(&camera("cam"))])),
    );
    assert!(world.info("alice").tracks.is_empty(), "pending");
    let (track, rids) = world.published_track();
    world.take(&bob);
    world.start_layer(track, 0);
    let messages = world.take(&bob);
    let [info] = &tracks(&messages, "alice")[..] else {
        panic!("one track")
    };
    assert_eq!(
        (info.sid.as_str(), info.mime_type.as_str(), info.mid.as_str()),
        (sid.as_str(), "video/VP8", "1")
    );
    assert_eq!(info.codecs[0].mime_type, "video/VP8");
    assert_eq!(info.layers.len(), rids);
    let layers: Vec<_> = info
        .layers
        .iter()
        .map(|layer| (layer.rid.as_str(), layer.spatial_layer, layer.ssrc))
        .collect();
    assert_eq!(layers, [("q", 0, 1_000), ("h", 1, 0), ("f", 2, 0)]);
    assert_eq!(info.codecs[0].layers, info.layers);
    assert!(info.version.is_some());
    assert!(world.info("alice").is_publisher);

    world.start_layer(track, 2);
    let messages = world.take(&bob);
    assert_eq!(
        tracks(&messages, "alice")[0].layers[2].ssrc,
        1_002,
        "one more update"
    );
    world.start_layer(track, 2);
    assert_eq!(world.names(&bob), "", "nothing new");
}

#[test]
fn the_section_carries_the_track_to_the_media_plane() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.publish(&alice, microphone("mic"));
    let publish = world.commands.iter().find_map(|(thread, command)| match command {
        Command::Publish {
            peer,
            track,
            spec,
            audio_level,
        } => Some((*thread, *peer, *track, spec.tag, *audio_level)),
        _ => None,
    });
    let (thread, peer, track, tag, audio_level) = publish.expect("a command");
    assert_eq!((peer, tag), (alice.publisher, track.0));
    assert_eq!((thread, track.thread()), (alice.publisher.thread(), thread));
    assert!(audio_level, "microphones feed speaker detection");
}

#[test]
fn muting_is_told_to_everybody_and_stops_forwarding() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = world.publish(&alice, microphone("mic"));
    world.forget();
    for muted in [true, false] {
        world.request(
            &alice,
            Request::Mute(proto::MuteTrackRequest {
                sid: sid.clone(),
                muted,
            }),
        );
        assert_eq!(tracks(&world.take(&bob), "alice")[0].muted, muted);
        assert_eq!(tracks(&world.take(&alice), "alice")[0].muted, muted);
        assert!(
            world.commands.iter().any(
                |(_, command)| matches!(command, Command::MuteTrack { muted: told, .. } if *told == muted)
            )
        );
    }
    world.request(
        &alice,
        Request::Mute(proto::MuteTrackRequest {
            sid: "TR_none".to_owned(),
            muted: true,
        }),
    );
    assert_eq!(failure(&world.take(&alice)), ("NOT_FOUND", ""));
}

#[test]
fn the_media_plane_hears_of_mutes_before_a_section_with_the_section() {
    for announced_muted in [true, false] {
        let mut world = World::new();
        let alice = world.enter(wish("alice"));
        let mut request = camera("cam");
        request.muted = announced_muted;
        let section = Section::of(&request);
        let sid = world.announce(&alice, request);
        world.forget();
        if !announced_muted {
            let mute = proto::MuteTrackRequest { sid, muted: true };
            world.request(&alice, Request::Mute(mute));
        }
        assert_eq!(world.commands.len(), 0, "the track is not known yet");
        world.request(&alice, Request::Offer(sdp::offer(2, &[Section::data(), section])));
        let told = world.commands.iter().filter_map(|(_, command)| match command {
            Command::Publish { track, .. } => Some((*track, "sent")),
            Command::MuteTrack { track, muted: true } => Some((*track, "muted")),
            _ => None,
        });
        let (track, _) = world.published_track();
        assert_eq!(told.collect::<Vec<_>>(), [(track, "sent"), (track, "muted")]);
    }
}

#[test]
fn nobody_mutes_the_track_of_another() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = world.publish(&alice, microphone("mic"));
    world.forget();
    world.request(&bob, Request::Mute(proto::MuteTrackRequest { sid, muted: true }));
    assert_eq!(failure(&world.take(&bob)), ("NOT_FOUND", ""));
    assert!(!world.info("alice").tracks[0].muted);
}

#[test]
fn renegotiating_without_the_sender_unpublishes() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.publish(&alice, microphone("mic"));
    world.forget();
    let stopped = Section::of(&microphone("mic")).with_direction("inactive");
    world.request(&alice, Request::Offer(sdp::offer(2, &[Section::data(), stopped])));
    assert!(world.names(&alice).starts_with("answer update(alice=ACTIVE)"));
    assert!(tracks(&world.take(&bob), "alice").is_empty());
    assert!(
        world
            .commands
            .iter()
            .any(|(_, command)| matches!(command, Command::Unpublish { .. }))
    );
}

#[test]
fn features_and_dimensions_are_updated_for_everybody() {
    use proto::AudioTrackFeature::{TfAutoGainControl, TfNoDtx, TfNoiseSuppression, TfStereo};
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let mut request = microphone("mic");
    request.audio_features = vec![TfNoDtx.into()];
    let audio = world.publish(&alice, request);
    let carol = world.enter(wish("carol"));
    let video = world.publish(&carol, camera("cam"));
    world.forget();
    // Each list takes the place of the one before.
    for (features, stereo, no_dtx) in [
        (vec![TfStereo, TfNoiseSuppression], true, false),
        (vec![TfAutoGainControl, TfNoDtx], false, true),
        (Vec::new(), false, false),
    ] {
        let features: Vec<i32> = features.into_iter().map(i32::from).collect();
        world.request(
            &alice,
            Request::UpdateAudioTrack(proto::UpdateLocalAudioTrack {
                track_sid: audio.clone(),
                features: features.clone(),
            }),
        );
        for client in [&bob, &alice] {
            let told = tracks(&world.take(client), "alice");
            let info = told.iter().find(|info| info.sid == audio).expect("the track");
            assert_eq!(info.audio_features, features);
            assert_eq!((info.stereo, info.disable_dtx), (stereo, no_dtx));
        }
    }
    world.request(
        &carol,
        Request::UpdateVideoTrack(proto::UpdateLocalVideoTrack {
            track_sid: video.clone(),
            width: 7,
            height: 9,
        }),
    );
    for client in [&bob, &carol] {
        let told = tracks(&world.take(client), "carol");
        let info = told.iter().find(|info| info.sid == video).expect("the track");
        assert_eq!((info.width, info.height), (7, 9));
    }
    world.forget();
    for request in [
        Request::UpdateAudioTrack(proto::UpdateLocalAudioTrack::default()),
        Request::UpdateVideoTrack(proto::UpdateLocalVideoTrack::default()),
    ] {
        world.request(&alice, request);
        assert_eq!(failure(&world.take(&alice)), ("NOT_FOUND", ""));
    }
}

#[test]
fn a_bad_candidate_is_answered_with_the_parsers_text() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.forget();
    let trickle = |candidate_init: &str| {
        Request::Trickle(proto::TrickleRequest {
            candidate_init: candidate_init.to_owned(),
            ..Default::default()
        })
    };
    world.request(&alice, trickle("{oops"));
    let messages = world.take(&alice);
    let (reason, text) = failure(&messages);
    assert_eq!(reason, "UNCLASSIFIED_ERROR");
    assert!(!text.is_empty());
    world.request(&alice, trickle("{\"candidate\":\"\",\"sdpMid\":\"0\"}"));
    assert_eq!(world.names(&alice), "");
}

#[test]
fn a_second_codec_of_a_known_track_gets_its_client_id() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let mut request = camera("cam");
    request.simulcast_codecs.push(proto::SimulcastCodec {
        codec: "h264".to_owned(),
        ..Default::default()
    });
    let sid = world.announce(&alice, request);
    let mut second = camera("backup");
    second.sid.clone_from(&sid);
    second.simulcast_codecs[0].codec = "h264".to_owned();
    second.simulcast_codecs[0].cid = "backup".to_owned();
    assert_eq!(world.announce(&alice, second.clone()), sid);
    second.sid = "TR_none".to_owned();
    world.forget();
    world.request(&alice, Request::AddTrack(second));
    assert_eq!(failure(&world.take(&alice)), ("NOT_FOUND", ""));
}
