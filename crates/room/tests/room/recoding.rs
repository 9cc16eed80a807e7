//! A publisher that changes its codec in mid-stream, without another description.

use crate::world::{Client, World, camera, microphone, wish};
use media::api::{Codec, Command, EventKind, TrackKey};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;

struct Call {
    world: World,
    track: TrackKey,
}

impl Call {
    /// Alice sends VP8. Bob decodes everything, carol no VP9.
    fn new() -> (Self, Client, Client) {
        let mut world = World::new();
        let (alice, bob, carol) = (
            world.enter(wish("alice")),
            world.enter(wish("bob")),
            world.enter(wish("carol")),
        );
        world.pass_ms(1_000);
        world.publish(&alice, camera("cam"));
        world.pass_ms(150);
        world.answer(&bob);
        world.answer_without(&carol, &["VP9"]);
        world.pass_ms(200);
        let track = world.published_track().0;
        (Self { world, track }, bob, carol)
    }

    fn send(&mut self, codec: Codec) {
        self.world.forget();
        self.world.media(EventKind::LayerStarted {
            track: self.track,
            layer: 0,
            ssrc: 77,
            rtx_ssrc: None,
            codec,
        });
        self.world.pass_ms(200);
    }

    /// The codecs that a client's copy was given since the codec changed.
    fn given(&self, client: &Client) -> Vec<Vec<Codec>> {
        let subscriber = client.primary();
        let commands = self.world.commands.iter();
        commands
            .filter_map(|(_, command)| match command {
                Command::Subscribe { peer, spec, .. } if *peer == subscriber => {
                    let mut codecs: Vec<Codec> = spec.payloads.iter().map(|payload| payload.codec).collect();
                    // Profiles of one codec have payload types of their own.
                    codecs.dedup();
                    Some(codecs)
                }
                _ => None,
            })
            .collect()
    }
}

fn refusals(messages: &[Response]) -> Vec<i32> {
    let refusal = |message: &Response| match message {
        Response::SubscriptionResponse(response) => Some(response.err),
        _ => None,
    };
    messages.iter().filter_map(refusal).collect()
}

fn is_offered(messages: &[Response]) -> bool {
    messages
        .iter()
        .any(|message| matches!(message, Response::Offer(_)))
}

#[test]
fn a_codec_that_changes_in_mid_stream_is_forwarded_without_negotiation() {
    let (mut call, bob, _) = Call::new();
    call.send(Codec::Vp9);
    assert_eq!(call.given(&bob), [[Codec::Vp9]]);
    let messages = call.world.take(&bob);
    assert!(!is_offered(&messages));
    assert_eq!(call.world.info("alice").tracks[0].mime_type, "video/VP9");

    call.send(Codec::Vp9);
    assert_eq!(call.given(&bob).len(), 0, "nothing has changed");
    call.send(Codec::Vp8);
    assert_eq!(call.given(&bob), [[Codec::Vp8]]);
}

#[test]
fn who_cannot_decode_the_new_codec_is_told_so_and_has_the_old_one_again() {
    let (mut call, _, carol) = Call::new();
    call.send(Codec::Vp9);
    assert_eq!(call.given(&carol).len(), 0);
    let unsupported = i32::from(proto::SubscriptionError::SeCodecUnsupported);
    assert_eq!(refusals(&call.world.take(&carol)), [unsupported]);

    call.send(Codec::Vp8);
    // The section of the copy that ended is freed first, and carries the new one then.
    for _ in 0..4 {
        call.world.pass_ms(500);
        call.world.answer_without(&carol, &["VP9"]);
        assert_eq!(refusals(&call.world.take(&carol)), [0; 0]);
    }
    assert_eq!(call.given(&carol), [[Codec::Vp8]]);
}

#[test]
fn redundancy_that_comes_and_goes_is_no_other_codec() {
    let mut world = World::new();
    let (alice, bob) = (world.enter(wish("alice")), world.enter(wish("bob")));
    world.pass_ms(1_000);
    world.publish(&alice, microphone("mic"));
    world.pass_ms(150);
    world.answer(&bob);
    let track = world.published_track().0;
    let mut call = Call { world, track };
    call.send(Codec::Opus);
    let messages = call.world.take(&bob);
    assert!(!is_offered(&messages));
    assert_eq!(refusals(&messages), [0; 0]);
}
