//! Clients that send more than anybody needs.

use crate::world::{World, camera, microphone, wish};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

#[test]
fn an_announcement_too_large_for_everybody_is_refused() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    let track = world.info("alice").tracks[0].clone();
    // A new track, and another codec for one that is there.
    for sid in [String::new(), sid] {
        world.forget();
        let request = proto::AddTrackRequest {
            name: "n".repeat(70_000),
            sid,
            ..microphone("further")
        };
        world.request(&alice, Request::AddTrack(request));
        let messages = world.take(&alice);
        let [Response::RequestResponse(response)] = &messages[..] else {
            panic!("a refusal, not {messages:?}");
        };
        assert_eq!(response.reason().as_str_name(), "LIMIT_EXCEEDED");
        assert_eq!(response.message, "an announcement may have 8192 bytes");
        let Some(proto::request_response::Request::AddTrack(echo)) = &response.request else {
            panic!("the request is named");
        };
        assert_eq!((echo.cid.as_str(), echo.name.as_str()), ("further", ""));
    }
    assert_eq!(world.info("alice").tracks, [track]);
    assert_eq!(world.room.stats().over_limit, 2);
}

#[test]
fn features_of_a_track_are_told_once_each() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, microphone("mic"));
    let stereo: i32 = proto::AudioTrackFeature::TfStereo.into();
    let mut features = vec![stereo; 10_000];
    features.extend(1_000..11_000);
    let update = proto::UpdateLocalAudioTrack {
        track_sid: sid,
        features,
    };
    world.request(&alice, Request::UpdateAudioTrack(update));
    assert_eq!(world.info("alice").tracks[0].audio_features, [stereo]);
}

/// As many names of tracks as a frame holds: the work must grow with their number, not its square.
#[test]
fn settings_for_very_many_names_are_one_wish_for_each_track() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let settings = proto::UpdateTrackSettings {
        track_sids: vec!["x".to_owned(); 600_000],
        disabled: true,
        ..Default::default()
    };
    world.request(&alice, Request::TrackSetting(settings));
    let state = proto::SyncState {
        track_sids_disabled: vec!["x".to_owned(); 600_000],
        ..Default::default()
    };
    world.request(&alice, Request::SyncState(state));
    assert_eq!(world.room.stats().over_limit, 0);
    // What was said before a track is there holds for it.
    let bob = world.enter(wish("bob"));
    world.publish(&bob, camera("cam"));
    world.pass_ms(500);
    assert!(world.names(&alice).contains("offer"));
}
