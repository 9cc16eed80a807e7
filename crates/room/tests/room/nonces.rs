//! Data packets that are sent twice to be sure.

use crate::data::{send, sent, three, user};
use crate::world::{Client, World};
use media::api::{ChannelLabel, Command};
use proto::data_packet::Value;
use protocol::proto;
use room::ApiCall;

/// Whether a client's packet with that nonce is forwarded.
fn passes(world: &mut World, client: &Client, label: ChannelLabel, nonce: Vec<u8>) -> bool {
    let mut packet = user(b"x");
    if let Some(Value::User(user)) = &mut packet.value {
        user.nonce = nonce;
    }
    send(world, client, label, &packet);
    sent(world).is_some()
}

/// The same for one of the API.
fn api_passes(world: &mut World, nonce: Vec<u8>) -> bool {
    world.commands.clear();
    let request = proto::SendDataRequest {
        data: b"x".to_vec(),
        nonce,
        ..Default::default()
    };
    world.api(ApiCall::SendData(Box::new(request))).expect("taken");
    let message = |(_, command): &(_, Command)| matches!(command, Command::SendMessage { .. });
    world.commands.iter().any(message)
}

fn nonce(number: u8) -> Vec<u8> {
    vec![number; 16]
}

#[test]
fn a_nonce_passes_once_whoever_repeats_it_and_on_which_channel() {
    let (mut world, alice, bob, _) = three();
    assert!(passes(&mut world, &alice, ChannelLabel::Reliable, nonce(7)));
    assert!(!passes(&mut world, &alice, ChannelLabel::Reliable, nonce(7)));
    assert!(!passes(&mut world, &alice, ChannelLabel::Lossy, nonce(7)));
    assert!(!passes(&mut world, &bob, ChannelLabel::Reliable, nonce(7)));
    assert_eq!(world.room.stats().data_dropped, 3);
}

#[test]
fn clients_and_the_api_share_the_memory_of_nonces() {
    let (mut world, alice, ..) = three();
    assert!(passes(&mut world, &alice, ChannelLabel::Reliable, nonce(1)));
    assert!(!api_passes(&mut world, nonce(1)));
    assert!(api_passes(&mut world, nonce(2)));
    assert!(!passes(&mut world, &alice, ChannelLabel::Reliable, nonce(2)));
}

#[test]
fn what_does_not_have_sixteen_bytes_is_no_nonce() {
    let (mut world, alice, ..) = three();
    for len in [0, 1, 15, 17, 32] {
        for _ in 0..2 {
            assert!(
                passes(&mut world, &alice, ChannelLabel::Reliable, vec![9; len]),
                "{len}"
            );
        }
    }
    for _ in 0..2 {
        assert!(api_passes(&mut world, Vec::new()));
    }
}

#[test]
fn the_last_hundred_nonces_are_remembered() {
    let (mut world, alice, ..) = three();
    for number in 0..100 {
        assert!(passes(&mut world, &alice, ChannelLabel::Lossy, nonce(number)));
    }
    for number in [0, 50, 99] {
        assert!(!passes(&mut world, &alice, ChannelLabel::Lossy, nonce(number)));
    }
    // The oldest one gives way to the next.
    assert!(passes(&mut world, &alice, ChannelLabel::Lossy, nonce(100)));
    assert!(!passes(&mut world, &alice, ChannelLabel::Lossy, nonce(1)));
    assert!(passes(&mut world, &alice, ChannelLabel::Lossy, nonce(0)));
}
