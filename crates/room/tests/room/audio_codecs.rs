//! Sound of several codecs: its publisher is told which of them anybody gets.

use crate::sdp;
use crate::world::{Client, World, microphone, wish};
use protocol::proto;
use protocol::proto::BackupCodecPolicy as Policy;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

/// A microphone that announces Opus and, as a further codec, PCMU.
fn two_codecs(policy: Policy) -> proto::AddTrackRequest {
    let codec = |codec: &str, cid: &str| proto::SimulcastCodec {
        codec: codec.to_owned(),
        cid: cid.to_owned(),
        ..Default::default()
    };
    proto::AddTrackRequest {
        simulcast_codecs: vec![codec("opus", "mic"), codec("pcmu", "")],
        backup_codec_policy: policy.into(),
        ..microphone("mic")
    }
}

/// The updates since the last look, as `opus:true pcmu:false`, with the track that each is about.
fn told(world: &mut World, client: &Client) -> Vec<(String, String)> {
    let messages = world.take(client);
    let updates = messages.into_iter().filter_map(|message| match message {
        Response::SubscribedAudioCodecUpdate(update) => Some(update),
        _ => None,
    });
    updates
        .map(|update| {
            let codecs: Vec<_> = update
                .subscribed_audio_codecs
                .iter()
                .map(|codec| format!("{}:{}", codec.codec, codec.enabled))
                .collect();
            (update.track_sid, codecs.join(" "))
        })
        .collect()
}

/// Alice publishes; bob, who subscribes by himself, has the track bound.
fn call(request: proto::AddTrackRequest) -> (World, Client, Client, String) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(1_000);
    let sid = world.publish(&alice, request);
    world.pass_ms(150);
    world.answer(&bob);
    world.pass_ms(200);
    (world, alice, bob, sid)
}

fn subscribe(sid: &str, subscribe: bool) -> Request {
    Request::Subscription(proto::UpdateSubscription {
        track_sids: vec![sid.to_owned()],
        subscribe,
        ..Default::default()
    })
}

/// Alice starts to send the further codec.
fn send_further(world: &mut World, alice: &Client, sid: &str, policy: Policy) {
    let mut further = two_codecs(policy);
    further.cid = "further".to_owned();
    further.sid = sid.to_owned();
    further.simulcast_codecs.remove(0);
    further.simulcast_codecs[0].cid = "further".to_owned();
    world.announce(alice, further.clone());
    let sections = [
        sdp::Section::data(),
        sdp::Section::of(&microphone("mic")),
        sdp::Section::of(&further),
    ];
    let mut offer = sdp::offer(2, &sections);
    let (before, last) = offer.sdp.rsplit_once("m=audio").unwrap();
    let last: String = last
        .replace("SAVPF 111 63", "SAVPF 0")
        .split_inclusive("\r\n")
        .filter(|line| {
            !["a=rtpmap", "a=rtcp-fb", "a=fmtp"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    offer.sdp = format!("{before}m=audio{last}a=rtpmap:0 PCMU/8000\r\n");
    world.request(alice, Request::Offer(offer));
    let (track, _) = world.published_track();
    world.start_layer(track, 0);
}

#[test]
fn of_sound_with_one_codec_nothing_is_told() {
    let (mut world, alice, bob, sid) = call(microphone("mic"));
    world.request(&bob, subscribe(&sid, false));
    world.pass_ms(20_000);
    assert_eq!(told(&mut world, &alice), []);
}

#[test]
fn sound_that_nobody_gets_is_told_so_after_ten_seconds() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = world.publish(&alice, two_codecs(Policy::Simulcast));
    world.pass_ms(9_900);
    assert_eq!(told(&mut world, &alice), []);
    world.pass_ms(200);
    assert_eq!(told(&mut world, &alice), [(sid, "opus:false".to_owned())]);
}

#[test]
fn sound_that_somebody_gets_is_told_at_once_and_so_is_its_end() {
    let (mut world, alice, bob, sid) = call(two_codecs(Policy::Simulcast));
    assert_eq!(told(&mut world, &alice), [(sid.clone(), "opus:true".to_owned())]);
    world.request(&bob, subscribe(&sid, false));
    assert_eq!(told(&mut world, &alice), [(sid, "opus:false".to_owned())]);
}

#[test]
fn opus_that_is_sent_as_red_is_told_of_by_the_name_that_was_announced() {
    for disable_red in [false, true] {
        let (mut world, alice, _, sid) = call(proto::AddTrackRequest {
            disable_red,
            ..two_codecs(Policy::Simulcast)
        });
        let sent = if disable_red { "audio/opus" } else { "audio/red" };
        assert_eq!(world.info("alice").tracks[0].mime_type, sent);
        assert_eq!(told(&mut world, &alice), [(sid, "opus:true".to_owned())]);
    }
}

#[test]
fn a_further_codec_of_sound_takes_over_where_the_policy_wants_it() {
    let (mut world, alice, _, sid) = call(two_codecs(Policy::Regression));
    told(&mut world, &alice);
    send_further(&mut world, &alice, &sid, Policy::Regression);
    world.pass_ms(200);
    let last = told(&mut world, &alice).pop();
    assert_eq!(last, Some((sid, "opus:false pcmu:true".to_owned())));
}

#[test]
fn a_further_codec_of_sound_that_nobody_needs_is_told_off() {
    // To prefer the change is not enough for sound.
    for policy in [Policy::Simulcast, Policy::PreferRegression] {
        let (mut world, alice, _, sid) = call(two_codecs(policy));
        told(&mut world, &alice);
        send_further(&mut world, &alice, &sid, policy);
        // An answer repeats what is wanted.
        world.pass_ms(3_000);
        let last = told(&mut world, &alice).pop();
        assert_eq!(last, Some((sid, "opus:true pcmu:false".to_owned())), "{policy:?}");
    }
}
