//! Tracks whose announcement and section come in any order: taken back and published again at once,
//! announced behind the offer.

use crate::sdp::{self, Section};
use crate::world::{Client, World, microphone, wish, wish_single};
use media::api::{Command, TrackKey};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;

/// A world with a publisher that has one peer connection or two.
fn worlds() -> impl Iterator<Item = (World, Client)> {
    [wish("alice"), wish_single("alice", 1, 0)]
        .into_iter()
        .map(|join| {
            let mut world = World::new();
            let alice = world.enter(join);
            (world, alice)
        })
}

/// The section of a microphone as `cid`, which need not be the name that it was announced with.
fn sending(cid: &str) -> Section {
    Section::of(&microphone(cid))
}

fn stopped(cid: &str) -> Section {
    sending(cid).with_direction("inactive")
}

fn offer(world: &mut World, client: &Client, id: u32, sections: &[Section]) {
    let sections = [&[Section::data()], sections].concat();
    world.request(client, Request::Offer(sdp::offer(id, &sections)));
}

/// Where the media plane was told to expect tracks since the last look, in order.
fn placed(world: &World) -> Vec<(TrackKey, String)> {
    let commands = world.commands.iter();
    let placed = commands.filter_map(|(_, command)| match command {
        Command::Publish { track, spec, .. } => Some((*track, spec.mid.clone())),
        _ => None,
    });
    placed.collect()
}

fn ended(world: &World, track: TrackKey) -> bool {
    let ends = |command: &Command| matches!(command, Command::Unpublish { track: of } if *of == track);
    world.commands.iter().any(|(_, command)| ends(command))
}

/// The SIDs of the tracks that a client was told are announced.
fn announced(messages: &[Response]) -> Vec<String> {
    let sids = messages.iter().filter_map(|message| match message {
        Response::TrackPublished(published) => published.track.as_ref().map(|info| info.sid.clone()),
        _ => None,
    });
    sids.collect()
}

fn sids(world: &mut World) -> Vec<String> {
    let tracks = world.info("alice").tracks;
    tracks.into_iter().map(|info| info.sid).collect()
}

/// A browser gives the second sender of a track another name; others may keep it.
#[test]
fn a_track_taken_back_and_published_again_in_one_offer_has_the_new_section() {
    for name in ["another", "mic"] {
        for (mut world, alice) in worlds() {
            let first = world.publish(&alice, microphone("mic"));
            let (old, _) = world.published_track();
            world.request(&alice, Request::AddTrack(microphone("mic")));
            assert!(world.names(&alice).ends_with("request_response:QUEUED"));
            world.forget();
            offer(&mut world, &alice, 2, &[stopped("mic"), sending(name)]);
            let messages = world.take(&alice);
            let [second] = &announced(&messages)[..] else {
                panic!("{name}: the queued track is announced, not {messages:?}")
            };
            assert_ne!(*second, first);
            assert!(ended(&world, old), "{name}");
            let [(new, mid)] = &placed(&world)[..] else {
                panic!("{name}: the queued track has a section")
            };
            assert_ne!(*new, old);
            assert_eq!(mid, "2", "{name}");
            assert_eq!(sids(&mut world), [""; 0], "no media has come yet");
            world.start_layer(*new, 0);
            assert_eq!(sids(&mut world), [second.as_str()]);

            // Nothing changes with the next offer.
            world.forget();
            offer(&mut world, &alice, 3, &[stopped("mic"), sending(name)]);
            assert_eq!(world.names(&alice), "answer");
            assert_eq!(placed(&world), []);
        }
    }
}

#[test]
fn the_section_of_a_queued_track_is_answered_as_announced() {
    for (mut world, alice) in worlds() {
        world.publish(&alice, microphone("mic"));
        let mut stereo = microphone("mic");
        stereo.stereo = true;
        world.request(&alice, Request::AddTrack(stereo));
        world.forget();
        offer(&mut world, &alice, 2, &[stopped("mic"), sending("mic")]);
        let messages = world.take(&alice);
        let answer = messages.iter().find_map(|message| match message {
            Response::Answer(answer) => Some(answer.sdp.as_str()),
            _ => None,
        });
        let answer = answer.expect("an answer");
        let section = answer.split("m=audio").nth(2).expect("the second one");
        assert!(section.contains("stereo=1"), "{section}");
    }
}

#[test]
fn a_track_announced_behind_the_offer_has_the_section_that_waits() {
    for (mut world, alice) in worlds() {
        offer(&mut world, &alice, 2, &[sending("mic")]);
        assert_eq!(placed(&world), []);
        world.forget();
        let other = world.announce(&alice, microphone("other"));
        assert_eq!(placed(&world), [], "that is another track");
        let sid = world.announce(&alice, microphone("mic"));
        let [(track, mid)] = &placed(&world)[..] else {
            panic!("the section has its track")
        };
        assert_eq!(mid, "1");
        world.start_layer(*track, 0);
        assert_eq!(sids(&mut world), [sid.as_str()]);
        assert_ne!(sid, other);
    }
}

/// The announcement of the second publication comes last of all.
#[test]
fn a_track_announced_anew_behind_the_offer_has_the_new_section() {
    for (mut world, alice) in worlds() {
        let first = world.publish(&alice, microphone("mic"));
        let (old, _) = world.published_track();
        world.forget();
        offer(&mut world, &alice, 2, &[stopped("mic"), sending("mic")]);
        assert!(ended(&world, old));
        assert_eq!(sids(&mut world), [""; 0]);
        let second = world.announce(&alice, microphone("mic"));
        assert_ne!(first, second);
        let [(new, mid)] = &placed(&world)[..] else {
            panic!("the section has its track")
        };
        assert_eq!(mid, "2");
        world.start_layer(*new, 0);
        assert_eq!(sids(&mut world), [second.as_str()]);
    }
}

/// A client whose track was taken back goes on sending for a moment, and may publish again meanwhile.
#[test]
fn a_section_that_has_carried_a_track_gets_no_other_one_behind_the_offer() {
    for (mut world, alice) in worlds() {
        world.publish(&alice, microphone("mic"));
        for can_publish in [false, true] {
            let request = proto::UpdateParticipantRequest {
                identity: "alice".to_owned(),
                permission: Some(proto::ParticipantPermission {
                    can_publish,
                    can_subscribe: true,
                    ..Default::default()
                }),
                ..Default::default()
            };
            let call = room::ApiCall::UpdateParticipant(Box::new(request));
            world.api(call).expect("updated");
        }
        world.forget();
        let again = world.announce(&alice, microphone("mic"));
        assert_eq!(placed(&world), [], "it waits for an offer");
        offer(&mut world, &alice, 2, &[stopped("mic"), sending("another")]);
        let [(new, mid)] = &placed(&world)[..] else {
            panic!("the new section has it")
        };
        assert_eq!(mid, "2");
        world.start_layer(*new, 0);
        assert_eq!(sids(&mut world), [again.as_str()]);
    }
}
