//! What a room's options change for subscribers: redundant audio, stream ids, playout delay.

use crate::sdp;
use crate::world::{World, camera, config, microphone, wish, wish_protocol};
use media::api::{Codec, Command, EventKind, SendSpec};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use room::{Join, RoomConfig};

const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";

fn firefox(identity: &str) -> Join {
    let mut join = wish(identity);
    "Firefox".clone_into(&mut join.client.browser);
    join
}

/// Subscribed by bob: how the track is sent, the offer, the SIDs of its publisher and of the track.
struct Subscribed {
    spec: SendSpec,
    offer: proto::SessionDescription,
    publisher: String,
    track: String,
}

impl Subscribed {
    fn codecs(&self) -> Vec<Codec> {
        self.spec.payloads.iter().map(|payload| payload.codec).collect()
    }
}

/// Alice publishes what arrives as `codec`, bob subscribes.
fn call(config: RoomConfig, bob: Join, request: proto::AddTrackRequest, codec: Codec) -> Subscribed {
    let mut world = World::with(config);
    let alice = world.enter(wish("alice"));
    let bob = world.enter(bob);
    world.pass_ms(1_000);
    world.forget();
    let sections = [sdp::Section::data(), sdp::Section::of(&request)];
    let track = world.announce(&alice, request);
    world.request(&alice, Request::Offer(sdp::offer(1, &sections)));
    let (key, _) = world.published_track();
    world.media(EventKind::LayerStarted {
        track: key,
        layer: 0,
        ssrc: 1_000,
        rtx_ssrc: None,
        codec,
    });
    world.pass_ms(200);
    let messages = world.take(&bob);
    let mut offers = messages.into_iter().filter_map(|message| match message {
        Response::Offer(offer) => Some(offer),
        _ => None,
    });
    let offer = offers.next_back().expect("the track was offered");
    world.request(&bob, Request::Answer(sdp::answer_to(&offer)));
    let spec = world.commands.iter().find_map(|(_, command)| match command {
        Command::Subscribe { spec, .. } => Some(spec.clone()),
        _ => None,
    });
    Subscribed {
        spec: spec.expect("the track was bound"),
        offer,
        publisher: world.info("alice").sid,
        track,
    }
}

fn active_red() -> RoomConfig {
    RoomConfig {
        active_red: true,
        ..config()
    }
}

#[test]
fn plain_opus_is_sent_as_red_only_where_it_is_configured_and_understood() {
    let (bob, opus) = (|| wish("bob"), Codec::Opus);
    let both = [Codec::Red, Codec::Opus];
    let mut sent = call(active_red(), bob(), microphone("m"), opus).codecs();
    sent.sort_by_key(|codec| both.iter().position(|other| other == codec));
    assert_eq!(sent, both);
    assert_eq!(call(config(), bob(), microphone("m"), opus).codecs(), [opus]);
    assert_eq!(
        call(active_red(), firefox("bob"), microphone("m"), opus).codecs(),
        [opus]
    );
}

#[test]
fn encrypted_tracks_and_those_without_red_are_left_as_they_are() {
    let secret = proto::AddTrackRequest {
        encryption: proto::encryption::Type::Gcm.into(),
        ..microphone("m")
    };
    let plain = proto::AddTrackRequest {
        disable_red: true,
        ..microphone("m")
    };
    for request in [secret.clone(), plain] {
        let sent = call(active_red(), wish("bob"), request, Codec::Opus);
        assert_eq!(sent.codecs(), [Codec::Opus]);
    }
    let sent = call(config(), wish("bob"), secret, Codec::Red);
    assert_eq!(sent.codecs(), [Codec::Red], "what is inside cannot be taken out");
}

fn synchronized() -> RoomConfig {
    RoomConfig {
        sync_streams: true,
        ..config()
    }
}

#[test]
fn sound_and_picture_of_a_participant_have_one_stream_id() {
    for (request, codec) in [(microphone("m"), Codec::Opus), (camera("c"), Codec::Vp8)] {
        let sent = call(synchronized(), wish("bob"), request, codec);
        let stream = format!("{}|camera", sent.publisher);
        assert_eq!(sent.spec.cname, stream);
        let line = format!("a=msid:{stream} {}", sent.track);
        assert!(sent.offer.sdp.contains(&line), "{}", sent.offer.sdp);
    }
    let custom = proto::AddTrackRequest {
        stream: "stage".to_owned(),
        ..camera("c")
    };
    let sent = call(synchronized(), wish("bob"), custom, Codec::Vp8);
    assert_eq!(sent.spec.cname, format!("{}|stage", sent.publisher));
}

#[test]
fn protocols_below_10_and_firefox_get_a_stream_id_per_track() {
    for bob in [wish_protocol("bob", 9), firefox("bob")] {
        let sent = call(synchronized(), bob, camera("c"), Codec::Vp8);
        assert_eq!(sent.spec.cname, format!("{}|{}", sent.publisher, sent.track));
    }
    let sent = call(synchronized(), wish_protocol("bob", 10), camera("c"), Codec::Vp8);
    assert_eq!(sent.spec.cname, format!("{}|camera", sent.publisher));
}

/// The mid that a track gets when it is subscribed to, left and subscribed to again.
fn mids(config: RoomConfig) -> (String, String) {
    let mut world = World::with(config);
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, camera("c"));
    let subscribe = |subscribe| {
        Request::Subscription(proto::UpdateSubscription {
            track_sids: vec![sid.clone()],
            subscribe,
            ..Default::default()
        })
    };
    let settle = |world: &mut World| {
        world.pass_ms(350);
        world.answer(&bob);
        world.pass_ms(2_000);
    };
    let mid = |world: &World| {
        let found = world
            .commands
            .iter()
            .rev()
            .find_map(|(_, command)| match command {
                Command::Subscribe { spec, .. } => Some(spec.mid.clone()),
                _ => None,
            });
        found.expect("bound")
    };
    settle(&mut world);
    let first = mid(&world);
    for wanted in [false, true] {
        world.forget();
        world.request(&bob, subscribe(wanted));
        settle(&mut world);
    }
    (first, mid(&world))
}

#[test]
fn a_synchronized_stream_gets_a_section_of_its_own() {
    let (first, again) = mids(config());
    assert_eq!(first, again, "otherwise the section is used again");
    let (first, again) = mids(synchronized());
    assert_ne!(first, again);
}

#[test]
fn a_rooms_playout_delay_is_negotiated_on_its_video() {
    let delayed = || RoomConfig {
        playout_delay: Some((100, 0)),
        ..config()
    };
    let sent = call(delayed(), wish("bob"), camera("c"), Codec::Vp8);
    assert_eq!(sent.spec.playout_delay, Some((100, 10_000)));
    assert_ne!(sent.spec.extensions.playout_delay, 0);
    let audio = call(delayed(), wish("bob"), microphone("m"), Codec::Opus);
    assert!(!audio.offer.sdp.contains(PLAYOUT_DELAY));
    let plain = call(config(), wish("bob"), camera("c"), Codec::Vp8);
    assert!(!plain.offer.sdp.contains(PLAYOUT_DELAY));
    let parted = RoomConfig {
        sync_streams: true,
        ..delayed()
    };
    let sent = call(parted.clone(), firefox("bob"), camera("c"), Codec::Vp8);
    assert!(!sent.offer.sdp.contains(PLAYOUT_DELAY));
    let sent = call(parted, wish("bob"), camera("c"), Codec::Vp8);
    assert!(sent.offer.sdp.contains(PLAYOUT_DELAY));
}
