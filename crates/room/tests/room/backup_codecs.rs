//! Video with backup codecs: which codec everybody gets under each policy, what its publisher is told,
//! and muting.

use crate::sdp;
use crate::world::{Client, World, camera, config, wish};
use media::api::{Codec, Command, EventKind, TrackKey, UpWindow};
use protocol::proto;
use protocol::proto::BackupCodecPolicy as Policy;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

/// A camera that announces a codec and those to fall back to.
fn backed_up(codecs: &[&str], policy: Policy) -> proto::AddTrackRequest {
    let mut request = camera("cam");
    let codec = |(at, codec): (usize, &&str)| proto::SimulcastCodec {
        codec: (*codec).to_owned(),
        cid: if at == 0 { "cam" } else { "" }.to_owned(),
        ..Default::default()
    };
    request.simulcast_codecs = codecs.iter().enumerate().map(codec).collect();
    request.backup_codec_policy = policy.into();
    request
}

/// What the publisher adds when it is to send a further codec.
fn further(sid: &str, codec: &'static str) -> proto::AddTrackRequest {
    let mut request = camera(codec);
    request.sid = sid.to_owned();
    request.simulcast_codecs[0].codec = codec.to_owned();
    request
}

struct Call {
    world: World,
    alice: Client,
    sid: String,
    /// Media-plane tracks: of the first codec, and of the further ones as they come.
    tracks: Vec<TrackKey>,
    sections: Vec<sdp::Section>,
}

impl Call {
    /// Alice publishes; she is alone.
    fn new(config: room::RoomConfig, request: proto::AddTrackRequest) -> Self {
        let mut world = World::with(config);
        let alice = world.enter(wish("alice"));
        world.pass_ms(1_000);
        let sid = world.publish(&alice, request.clone());
        let tracks = vec![world.published_track().0];
        let sections = vec![sdp::Section::data(), sdp::Section::of(&request)];
        Self {
            world,
            alice,
            sid,
            tracks,
            sections,
        }
    }

    fn with_policy(policy: Policy) -> Self {
        Self::new(config(), backed_up(&["vp9", "vp8"], policy))
    }

    /// Somebody who does not decode some codecs joins and gets the track.
    fn watch(&mut self, identity: &str, lacks: &[&str]) -> Client {
        let client = self.world.enter(wish(identity));
        self.world.pass_ms(150);
        self.world.answer_without(&client, lacks);
        self.world.pass_ms(200);
        client
    }

    /// Alice negotiates a further codec; no packet of it has come yet.
    fn negotiate(&mut self, codec: &'static str) -> TrackKey {
        let request = further(&self.sid, codec);
        self.world.announce(&self.alice, request.clone());
        self.sections.push(sdp::Section::of(&request));
        let id = u32::try_from(self.sections.len()).unwrap();
        let offer = sdp::offer(id, &self.sections);
        self.world.request(&self.alice, Request::Offer(offer));
        let (track, _) = self.world.published_track();
        assert!(!self.tracks.contains(&track), "a track of its own");
        self.tracks.push(track);
        track
    }

    /// Alice sends a further codec.
    fn send(&mut self, codec: &'static str) {
        let track = self.negotiate(codec);
        self.world.start_layer(track, 0);
        self.world.pass_ms(200);
    }

    fn mute(&mut self, muted: bool) {
        let sid = self.sid.clone();
        let request = Request::Mute(proto::MuteTrackRequest { sid, muted });
        self.world.request(&self.alice, request);
    }

    fn want(&mut self, watcher: &Client, quality: proto::VideoQuality, fps: u32) {
        let settings = proto::UpdateTrackSettings {
            track_sids: vec![self.sid.clone()],
            quality: quality.into(),
            fps,
            ..Default::default()
        };
        self.world.request(watcher, Request::TrackSetting(settings));
    }

    /// A media thread closed its window of a track.
    fn measure(&mut self, track: TrackKey, lost: u32, rates: [f32; 4]) {
        let window = UpWindow {
            track,
            expected: 1_000,
            lost,
            reported: true,
            top: Some(2),
            top_ever: 2,
            rates: [rates; 3],
        };
        let (ups, downs) = (vec![window], Vec::new());
        self.world.media(EventKind::Windows { ups, downs });
    }

    /// What alice was told since the last look, as `vp9:1 vp8:3`: how many qualities of which codec.
    fn told(&mut self) -> Vec<String> {
        let messages = self.world.take(&self.alice);
        let updates = messages.into_iter().filter_map(|message| match message {
            Response::SubscribedQualityUpdate(update) => Some(update),
            _ => None,
        });
        updates
            .map(|update| {
                assert_eq!(update.track_sid, self.sid);
                let codecs = update.subscribed_codecs;
                assert_eq!(update.subscribed_qualities, codecs[0].qualities);
                let codecs = codecs.iter().map(|codec| {
                    let enabled = codec.qualities.iter().filter(|quality| quality.enabled);
                    format!("{}:{}", codec.codec, enabled.count())
                });
                codecs.collect::<Vec<_>>().join(" ")
            })
            .collect()
    }

    fn last_told(&mut self) -> String {
        self.told().pop().expect("told something")
    }

    /// Of which track and in which codec a watcher gets its copy.
    fn gets(&self, watcher: &Client) -> (TrackKey, Codec) {
        let commands = self.world.commands.iter().rev();
        let mut copies = commands.filter_map(|(_, command)| match command {
            Command::Subscribe {
                peer, track, spec, ..
            } if *peer == watcher.primary() => Some((*track, spec.payloads[0].codec)),
            _ => None,
        });
        copies.next().expect("a copy")
    }

    /// Mutes and unmutes of media-plane tracks since the last look.
    fn mutes(&mut self) -> Vec<(TrackKey, bool)> {
        let commands = std::mem::take(&mut self.world.commands);
        let mutes = commands.into_iter().filter_map(|(_, command)| match command {
            Command::MuteTrack { track, muted } => Some((track, muted)),
            _ => None,
        });
        mutes.collect()
    }
}

#[test]
fn a_backup_is_asked_for_when_somebody_lacks_the_first_codec() {
    for first in ["vp9", "av1"] {
        let lacks: &[&str] = if first == "vp9" { &["VP9"] } else { &["AV1"] };
        for policy in [Policy::Simulcast, Policy::PreferRegression, Policy::Regression] {
            let mut call = Call::new(config(), backed_up(&[first, "vp8"], policy));
            call.watch("bob", &[]);
            assert_eq!(call.told(), [format!("{first}:1")]);
            let carol = call.watch("carol", lacks);
            assert_eq!(call.told(), [format!("{first}:1 vp8:1")], "{policy:?}");
            let (track, codec) = call.gets(&carol);
            assert_eq!(codec, Codec::Vp8);
            assert_ne!(track, call.tracks[0]);
            assert_eq!(call.negotiate("vp8"), track, "what carol waits for");
        }
    }
}

#[test]
fn under_simulcast_everybody_keeps_what_it_decodes() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &[]);
    let carol = call.watch("carol", &["VP9"]);
    call.send("vp8");
    let (vp9, vp8) = (call.tracks[0], call.tracks[1]);
    assert_eq!(call.gets(&bob), (vp9, Codec::Vp9));
    assert_eq!(call.gets(&carol), (vp8, Codec::Vp8));
    assert_eq!(call.last_told(), "vp9:1 vp8:1");
    call.world.pass_ms(20_000);
    let again = call.told();
    assert!(again.iter().all(|told| told == "vp9:1 vp8:1"), "{again:?}");
}

#[test]
fn under_regression_everybody_goes_over_to_the_backup_and_stays() {
    let mut call = Call::with_policy(Policy::Regression);
    let bob = call.watch("bob", &[]);
    let carol = call.watch("carol", &["VP9"]);
    call.told();
    call.send("vp8");
    let vp8 = call.tracks[1];
    for watcher in [&bob, &carol] {
        assert_eq!(call.gets(watcher), (vp8, Codec::Vp8));
    }
    assert_eq!(call.told(), ["vp9:0 vp8:1"], "at once");

    call.world
        .request(&carol, Request::Leave(proto::LeaveRequest::default()));
    call.world.pass_ms(20_000);
    assert_eq!(
        call.gets(&bob),
        (vp8, Codec::Vp8),
        "as long as the backup is sent"
    );
    assert_eq!(call.last_told(), "vp9:0 vp8:1");
    let dave = call.watch("dave", &[]);
    assert_eq!(call.gets(&dave), (vp8, Codec::Vp8));
}

#[test]
fn a_backup_that_ends_gives_the_first_codec_back() {
    let mut call = Call::with_policy(Policy::Regression);
    let bob = call.watch("bob", &[]);
    call.send("vp8");
    assert_eq!(call.gets(&bob).1, Codec::Vp8);
    assert_eq!(call.last_told(), "vp9:0 vp8:1");
    let ended = call.sections.pop().unwrap().with_direction("inactive");
    call.sections.push(ended);
    call.world
        .request(&call.alice, Request::Offer(sdp::offer(9, &call.sections)));
    assert_eq!(call.gets(&bob), (call.tracks[0], Codec::Vp9));
    assert_eq!(call.last_told(), "vp9:1 vp8:0");
}

#[test]
fn who_cannot_decode_the_backup_keeps_the_first_codec() {
    let mut call = Call::with_policy(Policy::Regression);
    let bob = call.watch("bob", &["VP8"]);
    let carol = call.watch("carol", &["VP9"]);
    call.send("vp8");
    assert_eq!(call.gets(&bob), (call.tracks[0], Codec::Vp9));
    assert_eq!(call.gets(&carol), (call.tracks[1], Codec::Vp8));
    assert_eq!(call.last_told(), "vp9:1 vp8:1");
}

#[test]
fn a_room_goes_over_to_the_backup_below_the_threshold_of_participants() {
    // Alice and the watchers count.
    for (threshold, watchers, over) in [
        (0, 3, true),
        (1, 0, false),
        (2, 0, true),
        (2, 1, false),
        (3, 2, false),
        (4, 2, true),
        (5, 3, true),
        (5, 4, false),
    ] {
        for policy in [Policy::PreferRegression, Policy::Regression, Policy::Simulcast] {
            let mut config = config();
            if threshold != 5 {
                config.codec_regression_threshold = threshold;
            }
            let mut call = Call::new(config, backed_up(&["av1", "vp8"], policy));
            for number in 0..watchers {
                call.watch(&format!("watcher{number}"), &[]);
            }
            call.send("vp8");
            let late = call.watch("late", &[]);
            let over = match policy {
                Policy::PreferRegression => over,
                Policy::Regression => true,
                Policy::Simulcast => false,
            };
            let codec = if over { Codec::Vp8 } else { Codec::Av1 };
            let what = format!("{threshold} {watchers} {policy:?}");
            assert_eq!(call.gets(&late).1, codec, "{what}");
            call.world.pass_ms(10_000);
            let told = if over { "av1:0 vp8:1" } else { "av1:1 vp8:0" };
            assert_eq!(call.last_told(), told, "{what}");
        }
    }
}

#[test]
fn of_two_backups_the_first_replaces_all_others() {
    let mut call = Call::new(config(), backed_up(&["av1", "vp8", "h264"], Policy::Regression));
    let bob = call.watch("bob", &[]);
    let carol = call.watch("carol", &["AV1", "VP8"]);
    assert_eq!(call.last_told(), "av1:1 h264:1");
    call.send("h264");
    assert_eq!(call.gets(&bob), (call.tracks[0], Codec::Av1));
    assert_eq!(call.gets(&carol), (call.tracks[1], Codec::H264));
    call.send("vp8");
    assert_eq!(call.gets(&bob), (call.tracks[2], Codec::Vp8));
    assert_eq!(call.gets(&carol), (call.tracks[1], Codec::H264));
    assert_eq!(call.last_told(), "av1:0 vp8:1 h264:1");
}

#[test]
fn the_publisher_is_never_asked_for_a_codec_that_nobody_gets() {
    for policy in [Policy::Simulcast, Policy::PreferRegression, Policy::Regression] {
        let mut call = Call::with_policy(policy);
        call.watch("bob", &[]);
        call.watch("carol", &["H264"]);
        call.world.pass_ms(20_000);
        assert_eq!(call.told(), ["vp9:1"], "the backup is not spoken of");

        let mut call = Call::with_policy(policy);
        call.watch("bob", &["VP9"]);
        call.world.pass_ms(20_000);
        assert_eq!(call.told(), ["vp9:0 vp8:1"], "nor is the first asked for");
    }
}

#[test]
fn for_who_decodes_no_codec_nothing_is_asked() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &["VP9", "VP8"]);
    let messages = call.world.names(&bob);
    assert!(messages.contains("subscription_response"), "{messages}");
    call.world.pass_ms(20_000);
    assert_eq!(call.told(), ["vp9:0"]);
}

#[test]
fn a_backup_whose_watchers_left_is_told_off_after_a_while() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &[]);
    let carol = call.watch("carol", &["VP9"]);
    call.send("vp8");
    call.world.pass_ms(5_000);
    call.told();
    call.world
        .request(&carol, Request::Leave(proto::LeaveRequest::default()));
    call.world.pass_ms(4_900);
    assert_eq!(call.told(), [] as [String; 0]);
    call.world.pass_ms(200);
    assert_eq!(call.told(), ["vp9:1 vp8:0"]);
    assert_eq!(call.gets(&bob).1, Codec::Vp9);
    call.watch("dave", &["VP9"]);
    assert_eq!(call.told(), ["vp9:1 vp8:1"]);
}

#[test]
fn a_backup_that_came_unasked_and_late_is_told_off() {
    let mut call = Call::with_policy(Policy::Simulcast);
    call.watch("bob", &[]);
    let track = call.negotiate("vp8");
    call.world.pass_ms(5_000);
    assert_eq!(call.last_told(), "vp9:1");
    call.world.start_layer(track, 0);
    call.world.pass_ms(9_900);
    assert_eq!(call.told(), [] as [String; 0]);
    call.world.pass_ms(200);
    assert_eq!(call.told(), ["vp9:1 vp8:0"]);
}

#[test]
fn each_codec_is_asked_for_in_the_qualities_that_its_watchers_want() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &[]);
    let carol = call.watch("carol", &["VP9"]);
    call.send("vp8");
    call.told();
    for (watcher, quality, told) in [
        (&carol, proto::VideoQuality::High, "vp9:1 vp8:3"),
        (&bob, proto::VideoQuality::Medium, "vp9:2 vp8:3"),
    ] {
        call.want(watcher, quality, 0);
        call.world.pass_ms(200);
        assert_eq!(call.told().last().map(String::as_str), Some(told));
    }
}

#[test]
fn muting_holds_for_every_codec_and_nothing_is_asked_for_meanwhile() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &[]);
    call.watch("carol", &["VP9"]);
    call.send("vp8");
    call.world.pass_ms(10_000);
    call.told();
    let (vp9, vp8) = (call.tracks[0], call.tracks[1]);
    call.mutes();
    call.mute(true);
    assert_eq!(call.mutes(), [(vp9, true), (vp8, true)]);
    call.want(&bob, proto::VideoQuality::High, 0);
    call.watch("dave", &["VP9"]);
    call.world.pass_ms(20_000);
    assert_eq!(call.told(), [] as [String; 0]);
    call.mute(false);
    assert_eq!(call.mutes(), [(vp9, false), (vp8, false)]);
    assert_eq!(call.told(), ["vp9:3 vp8:1"]);
}

#[test]
fn a_backup_negotiated_while_muted_is_muted_until_the_track_is_not() {
    let mut call = Call::with_policy(Policy::Regression);
    call.watch("bob", &[]);
    call.mute(true);
    call.world.forget();
    let vp8 = call.negotiate("vp8");
    let commands = call.world.commands.iter();
    let about: Vec<_> = commands
        .filter_map(|(_, command)| match command {
            Command::Publish { track, .. } if *track == vp8 => Some("publish"),
            Command::MuteTrack { track, muted: true } if *track == vp8 => Some("mute"),
            _ => None,
        })
        .collect();
    assert_eq!(about, ["publish", "mute"], "not before the track is known");
    call.mutes();
    // Before its first packet.
    call.mute(false);
    assert_eq!(call.mutes(), [(call.tracks[0], false), (vp8, false)]);
}

#[test]
fn who_comes_while_muted_is_told_of_when_it_is_over() {
    for (lacks, told) in [(&[][..], "vp9:1"), (&["VP9"][..], "vp9:0 vp8:1")] {
        let mut call = Call::with_policy(Policy::PreferRegression);
        call.mute(true);
        call.watch("bob", lacks);
        call.world.pass_ms(20_000);
        assert_eq!(call.told(), [] as [String; 0]);
        call.mute(false);
        assert_eq!(call.told(), [told]);
    }
}

#[test]
fn nobody_who_came_while_muted_is_told_of_too() {
    let mut call = Call::with_policy(Policy::Simulcast);
    call.mute(true);
    call.world.pass_ms(20_000);
    assert_eq!(call.told(), [] as [String; 0]);
    call.mute(false);
    assert_eq!(call.told(), ["vp9:0"]);
}

#[test]
fn a_publisher_is_rated_by_the_codec_that_everybody_gets() {
    use proto::ConnectionQuality::{Excellent, Poor};
    let mut call = Call::with_policy(Policy::Regression);
    call.watch("bob", &[]);
    let alice = call.world.info("alice").sid;
    let rated = |call: &mut Call, lost: [u32; 2]| {
        for _ in 0..4 {
            for (track, lost) in call.tracks.clone().into_iter().zip(lost) {
                call.measure(track, lost, [0.0; 4]);
            }
            call.world.pass_ms(5_000);
        }
        call.world.last_quality(&alice)
    };
    assert_eq!(rated(&mut call, [300, 0]), Some(Poor));
    call.send("vp8");
    assert_eq!(
        rated(&mut call, [300, 0]),
        Some(Excellent),
        "nobody gets the first"
    );
    assert_eq!(rated(&mut call, [0, 300]), Some(Poor));
}

#[test]
fn frame_rates_are_those_of_the_codec_that_everybody_gets() {
    let mut call = Call::with_policy(Policy::Regression);
    let bob = call.watch("bob", &[]);
    call.want(&bob, proto::VideoQuality::High, 15);
    call.world.pass_ms(200);
    call.send("vp8");
    let (vp9, vp8) = (call.tracks[0], call.tracks[1]);
    for (track, rates, expected) in [
        (vp8, [7.5, 15.0, 30.0, 30.0], 1),
        (vp9, [15.0, 30.0, 60.0, 60.0], 1),
        (vp8, [15.0, 30.0, 60.0, 60.0], 0),
    ] {
        call.measure(track, 0, rates);
        let wishes = call.world.commands.iter().rev();
        let mut wishes = wishes.filter_map(|(_, command)| match command {
            Command::SetWish { wish, .. } => Some(wish.temporal),
            _ => None,
        });
        assert_eq!(wishes.next(), Some(expected), "{rates:?}");
    }
}

/// Who has no encoder of the codec that it announced sends on the first section what was to be the
/// backup.
#[test]
fn a_first_section_with_the_codec_of_the_backup_is_what_everybody_gets() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.pass_ms(1_000);
    world.announce(&alice, backed_up(&["vp9", "vp8"], Policy::PreferRegression));
    let sections = [sdp::Section::data(), sdp::Section::of(&camera("cam"))];
    world.request(&alice, Request::Offer(sdp::offer(1, &sections)));
    let (sent, rids) = world.published_track();
    world.start_layer(sent, rids.saturating_sub(1));
    world.forget();
    let bob = world.enter(wish("bob"));
    world.pass_ms(150);
    world.answer(&bob);
    let copies: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::Subscribe { track, .. } => Some(*track),
            _ => None,
        })
        .collect();
    assert_eq!(copies, [sent]);
}

#[test]
fn the_section_of_a_further_codec_is_told_before_its_first_packet() {
    let mut call = Call::with_policy(Policy::Simulcast);
    let bob = call.watch("bob", &[]);
    // Its announcement has been told by then.
    call.world.announce(&call.alice, further(&call.sid, "vp8"));
    call.world.pass_ms(10_000);
    call.world.take(&bob);
    call.sections.push(sdp::Section::of(&further(&call.sid, "vp8")));
    let offer = sdp::offer(2, &call.sections);
    call.world.request(&call.alice, Request::Offer(offer));
    call.world.pass_ms(1_000);
    let messages = call.world.take(&bob);
    let told = messages.iter().rev().find_map(|message| match message {
        Response::Update(update) => update.participants.iter().find(|info| info.identity == "alice"),
        _ => None,
    });
    let codecs = &told.expect("an update").tracks[0].codecs;
    assert!(codecs.iter().all(|codec| !codec.mid.is_empty()), "{codecs:?}");
}
