//! What the media plane is told of subscriptions that are particular.

use crate::world::{World, microphone, wish};
use media::api::{Command, DownKey, DownOptions};
use proto::client_info::{Capability, Sdk};
use protocol::proto;
use protocol::proto::signal_response::Message as Response;
use room::Join;

/// What follows the subscription of `bob` to a track of another client.
fn options_of(bob: Join, request: proto::AddTrackRequest) -> (Option<DownOptions>, Vec<u8>) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(bob);
    world.pass_ms(1_000);
    world.publish(&alice, request);
    world.pass_ms(200);
    world.answer(&bob);
    let mut subscribed: Option<DownKey> = None;
    let mut found = None;
    for (_, command) in &world.commands {
        match command {
            Command::Subscribe { down, .. } => subscribed = Some(*down),
            Command::SetDownOptions { down, options } => {
                assert_eq!(subscribed, Some(*down), "right behind its subscription");
                found = Some(options.clone());
            }
            _ => {}
        }
    }
    assert!(subscribed.is_some());
    let trailer = world.take(&bob).into_iter().find_map(|message| match message {
        Response::Join(join) => Some(join.sif_trailer),
        _ => None,
    });
    (found, trailer.expect("joined"))
}

#[test]
fn injected_frames_of_encrypted_tracks_are_marked_as_the_client_was_told() {
    assert_eq!(options_of(wish("bob"), microphone("mic")).0, None);
    let mut encrypted = microphone("mic");
    encrypted.encryption = proto::encryption::Type::Gcm.into();
    let (options, trailer) = options_of(wish("bob"), encrypted);
    assert_eq!(options.expect("particular").injected_trailer[..], trailer);
}

#[test]
fn packet_trailers_are_cut_for_clients_that_do_not_know_them() {
    let mut track = microphone("mic");
    track.packet_trailer_features = vec![0];
    let options = options_of(wish("bob"), track.clone()).0.expect("particular");
    assert!(options.strip_packet_trailer);
    let mut knows = wish("bob");
    knows.client.capabilities = vec![Capability::CapPacketTrailer.into()];
    assert_eq!(options_of(knows, track).0, None);
}

#[test]
fn tracks_are_announced_by_packets_to_clients_that_learn_of_them_so() {
    let mut go = wish("bob");
    go.client.sdk = Sdk::Go.into();
    let options = options_of(go, microphone("mic")).0.expect("particular");
    assert!(options.announce);
}
