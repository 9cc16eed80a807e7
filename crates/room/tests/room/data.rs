//! Data packets from one to others.

use crate::world::{Client, World, grant, wish, wish_single};
use media::api::{ChannelLabel, Command, EventKind, PeerKey};
use prost::Message as _;
use proto::data_packet::{Kind, Value};
use protocol::proto;
use room::ApiCall;

pub fn user(payload: &[u8]) -> proto::DataPacket {
    proto::DataPacket {
        value: Some(Value::User(proto::UserPacket {
            payload: payload.to_vec(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub fn send(world: &mut World, client: &Client, label: ChannelLabel, packet: &proto::DataPacket) {
    send_raw(world, client, label, packet.encode_to_vec());
}

fn send_raw(world: &mut World, client: &Client, label: ChannelLabel, data: Vec<u8>) {
    world.commands.clear();
    world.media(EventKind::Message {
        peer: client.publisher,
        label,
        data,
    });
}

/// To whom, and what, was sent last.
pub fn sent(world: &World) -> Option<(Vec<PeerKey>, ChannelLabel, proto::DataPacket)> {
    let mut messages = world
        .commands
        .iter()
        .filter_map(|(thread, command)| match command {
            Command::SendMessage { peers, label, data } => {
                assert!(peers.iter().all(|peer| peer.thread() == *thread));
                let packet = proto::DataPacket::decode(&data[..]).expect("a packet");
                Some((peers.clone(), *label, packet))
            }
            _ => None,
        });
    let first = messages.next();
    assert!(messages.next().is_none(), "one command for one thread");
    first
}

pub fn three() -> (World, Client, Client, Client) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let carol = world.enter(wish_single("carol", 0, 0));
    (world, alice, bob, carol)
}

#[test]
fn packets_go_to_everybody_but_the_sender_on_the_primary_peer() {
    let (mut world, alice, bob, carol) = three();
    for (label, kind) in [
        (ChannelLabel::Reliable, Kind::Reliable),
        (ChannelLabel::Lossy, Kind::Lossy),
    ] {
        send(&mut world, &alice, label, &user(b"hello"));
        let (peers, sent_on, packet) = sent(&world).expect("forwarded");
        assert_eq!(peers, [bob.subscriber.expect("dual"), carol.publisher]);
        assert_eq!((sent_on, packet.kind()), (label, kind));
    }
    assert_eq!(world.room.stats().data_forwarded, 2);
}

#[test]
fn the_sender_is_stamped_whatever_it_claims() {
    let (mut world, alice, _, _) = three();
    let alice_sid = world.info("alice").sid;
    let mut packet = user(b"x");
    packet.participant_identity = "bob".to_owned();
    packet.participant_sid = "PA_forged".to_owned();
    if let Some(Value::User(user)) = &mut packet.value {
        user.participant_identity = "bob".to_owned();
    }
    send(&mut world, &alice, ChannelLabel::Reliable, &packet);
    let (_, _, packet) = sent(&world).expect("forwarded");
    assert_eq!(
        (packet.participant_identity.as_str(), &packet.participant_sid),
        ("alice", &alice_sid)
    );
    let Some(Value::User(user)) = packet.value else {
        panic!("a user packet");
    };
    assert_eq!(
        (user.participant_identity.as_str(), &user.participant_sid),
        ("alice", &alice_sid)
    );
}

#[test]
fn a_hidden_sender_stays_nameless() {
    let (mut world, ..) = three();
    let mut join = wish("ghost");
    grant(&mut join).hidden = true;
    let ghost = world.enter(join);
    send(&mut world, &ghost, ChannelLabel::Reliable, &user(b"x"));
    let (_, _, packet) = sent(&world).expect("forwarded");
    assert!(packet.participant_identity.is_empty() && packet.participant_sid.is_empty());
}

#[test]
fn destinations_are_honoured_and_mirrored() {
    let (mut world, alice, bob, carol) = three();
    let mut packet = user(b"x");
    packet.destination_identities = vec!["bob".to_owned(), "alice".to_owned(), "nobody".to_owned()];
    send(&mut world, &alice, ChannelLabel::Reliable, &packet);
    let (peers, _, packet) = sent(&world).expect("forwarded");
    assert_eq!(peers, [bob.primary()], "never back to the sender");
    let Some(Value::User(user_packet)) = packet.value else {
        panic!("a user packet");
    };
    assert_eq!(user_packet.destination_identities, packet.destination_identities);

    let mut packet = user(b"x");
    let carol_sid = world.info("carol").sid;
    if let Some(Value::User(user)) = &mut packet.value {
        user.destination_sids = vec![carol_sid];
    }
    send(&mut world, &alice, ChannelLabel::Reliable, &packet);
    let (peers, ..) = sent(&world).expect("forwarded");
    assert_eq!(peers, [carol.primary()], "by SID, the old way");
}

#[test]
fn who_may_not_publish_data_is_not_heard() {
    let (mut world, ..) = three();
    let mut join = wish("quiet");
    grant(&mut join).can_publish_data = Some(false);
    let quiet = world.enter(join);
    send(&mut world, &quiet, ChannelLabel::Reliable, &user(b"x"));
    assert_eq!(sent(&world), None);
    assert_eq!(world.room.stats().data_dropped, 1);
}

#[test]
fn repeated_sequences_are_dropped_and_others_passed_on() {
    let (mut world, alice, _, _) = three();
    let mut numbers = Vec::new();
    for sequence in [1, 2, 2, 1, 0, 3] {
        let mut packet = user(b"x");
        packet.sequence = sequence;
        send(&mut world, &alice, ChannelLabel::Reliable, &packet);
        numbers.extend(sent(&world).map(|(_, _, packet)| packet.sequence));
    }
    assert_eq!(numbers, [1, 2, 0, 3]);
}

#[test]
fn lossy_packets_reach_active_participants_only() {
    let (mut world, alice, ..) = three();
    let dora = world.join(wish("dora"));
    send(&mut world, &alice, ChannelLabel::Lossy, &user(b"x"));
    let (peers, ..) = sent(&world).expect("forwarded");
    assert!(!peers.contains(&dora.primary()));
}

#[test]
fn reliable_packets_wait_for_the_channel_of_a_joiner() {
    let (mut world, alice, ..) = three();
    let dora = world.join(wish("dora"));
    for payload in [b"1", b"2"] {
        send(&mut world, &alice, ChannelLabel::Reliable, &user(payload));
        let (peers, ..) = sent(&world).expect("forwarded");
        assert!(!peers.contains(&dora.primary()));
    }
    world.commands.clear();
    world.connect(&dora);
    let payloads = waited(&world, &dora);
    assert_eq!(payloads, [b"1", b"2"]);
    send(&mut world, &alice, ChannelLabel::Reliable, &user(b"3"));
    let (peers, ..) = sent(&world).expect("forwarded");
    assert!(peers.contains(&dora.primary()));
}

#[test]
fn data_of_the_api_waits_for_a_joiner_unless_it_is_lossy_or_for_others() {
    let (mut world, ..) = three();
    let dora = world.join(wish("dora"));
    let dora_sid = world.info("dora").sid;
    let send = |world: &mut World, kind: Kind, payload: &[u8], identity: &str, sid: &str| {
        let list = |name: &str| (!name.is_empty()).then(|| name.to_owned()).into_iter().collect();
        world.commands.clear();
        let sent = world.api(ApiCall::SendData(Box::new(proto::SendDataRequest {
            kind: kind.into(),
            data: payload.to_vec(),
            destination_identities: list(identity),
            destination_sids: list(sid),
            ..Default::default()
        })));
        assert!(sent.is_ok());
        let now = world.commands.iter().filter_map(|(_, command)| match command {
            Command::SendMessage { peers, .. } => Some(peers.len()),
            _ => None,
        });
        now.sum::<usize>()
    };
    for (kind, payload, identity, sid, now) in [
        (Kind::Reliable, b"everybody", "", "", 3),
        (Kind::Lossy, b"too early", "", "", 3),
        (Kind::Reliable, b"for bob..", "bob", "", 1),
        (Kind::Reliable, b"by name..", "dora", "", 0),
        (Kind::Reliable, b"by sid...", "", dora_sid.as_str(), 0),
    ] {
        assert_eq!(send(&mut world, kind, payload, identity, sid), now, "{payload:?}");
    }
    // It has no number, and so no age.
    world.pass_ms(12_000);
    world.commands.clear();
    world.connect(&dora);
    assert_eq!(waited(&world, &dora), [b"everybody", b"by name..", b"by sid..."]);
    assert_eq!(send(&mut world, Kind::Reliable, b"at once", "dora", ""), 1);
}

/// The payloads that were sent to one client alone.
fn waited(world: &World, client: &Client) -> Vec<Vec<u8>> {
    let payload = |command: &Command| match command {
        Command::SendMessage { peers, data, .. } => {
            assert_eq!(*peers, [client.primary()]);
            match proto::DataPacket::decode(&data[..]).expect("a packet").value {
                Some(Value::User(user)) => Some(user.payload),
                other => panic!("{other:?}"),
            }
        }
        _ => None,
    };
    world
        .commands
        .iter()
        .filter_map(|(_, command)| payload(command))
        .collect()
}

#[test]
fn numbered_packets_wait_ten_seconds_for_a_joiner() {
    let (mut world, alice, ..) = three();
    let dora = world.join(wish("dora"));
    for (sequence, payload) in [(1, b"old"), (0, b"any"), (2, b"new")] {
        let packet = proto::DataPacket {
            sequence,
            ..user(payload)
        };
        send(&mut world, &alice, ChannelLabel::Reliable, &packet);
        world.pass_ms(5_100);
    }
    world.commands.clear();
    world.connect(&dora);
    assert_eq!(waited(&world, &dora), [b"any", b"new"]);
    assert_eq!(world.room.stats().data_missed, 1);
}

#[test]
fn what_waits_for_a_joiner_is_bounded() {
    let (mut world, alice, ..) = three();
    world.join(wish("dora"));
    for _ in 0..10 {
        send(&mut world, &alice, ChannelLabel::Reliable, &user(&[0; 30_000]));
    }
    assert_eq!(world.room.stats().data_missed, 7);
}

#[test]
fn raw_bytes_of_an_unlabelled_channel_become_user_packets() {
    let (mut world, alice, _, _) = three();
    send_raw(&mut world, &alice, ChannelLabel::Unlabelled, b"raw".to_vec());
    let (_, label, packet) = sent(&world).expect("forwarded");
    assert_eq!(label, ChannelLabel::Reliable);
    let Some(Value::User(user)) = packet.value else {
        panic!("a user packet");
    };
    assert_eq!(
        (user.payload, user.participant_identity),
        (b"raw".to_vec(), "alice".to_owned())
    );
}

#[test]
fn only_agents_transcribe() {
    let (mut world, alice, ..) = three();
    let packet = proto::DataPacket {
        value: Some(Value::Transcription(proto::Transcription::default())),
        ..Default::default()
    };
    send(&mut world, &alice, ChannelLabel::Reliable, &packet);
    assert_eq!(sent(&world), None);
    let mut join = wish("bot");
    join.claims.kind = "agent".to_owned();
    let agent = world.enter(join);
    send(&mut world, &agent, ChannelLabel::Reliable, &packet);
    assert!(sent(&world).is_some());
}

#[test]
fn streams_rpc_and_chat_pass_unchanged_but_for_the_stamp() {
    let (mut world, alice, ..) = three();
    for value in [
        Value::ChatMessage(proto::ChatMessage {
            id: "1".to_owned(),
            message: "hi".to_owned(),
            ..Default::default()
        }),
        Value::StreamChunk(proto::data_stream::Chunk {
            stream_id: "s".to_owned(),
            chunk_index: 3,
            content: vec![1, 2],
            ..Default::default()
        }),
        Value::RpcAck(proto::RpcAck {
            request_id: "r".to_owned(),
        }),
        Value::SipDtmf(proto::SipDtmf {
            code: 1,
            digit: "1".to_owned(),
        }),
    ] {
        let packet = proto::DataPacket {
            value: Some(value.clone()),
            ..Default::default()
        };
        send(&mut world, &alice, ChannelLabel::Reliable, &packet);
        let (_, _, packet) = sent(&world).expect("forwarded");
        assert_eq!(packet.value, Some(value));
        assert_eq!(packet.participant_identity, "alice");
    }
}

#[test]
fn agents_may_speak_for_others_in_chat_and_are_marked() {
    let (mut world, alice, ..) = three();
    let packet = proto::DataPacket {
        participant_identity: "bob".to_owned(),
        value: Some(Value::ChatMessage(proto::ChatMessage::default())),
        ..Default::default()
    };
    let heard = |world: &World| match sent(world) {
        Some((_, _, packet)) => match packet.value {
            Some(Value::ChatMessage(chat)) => (packet.participant_identity, chat.generated),
            other => panic!("{other:?}"),
        },
        None => panic!("not forwarded"),
    };
    send(&mut world, &alice, ChannelLabel::Reliable, &packet);
    assert_eq!(heard(&world), ("alice".to_owned(), false));
    let mut join = wish("bot");
    join.claims.kind = "agent".to_owned();
    let agent = world.enter(join);
    send(&mut world, &agent, ChannelLabel::Reliable, &packet);
    assert_eq!(heard(&world), ("bob".to_owned(), true));
}

#[test]
fn agents_may_speak_for_others_in_text_streams_and_are_marked() {
    use proto::data_stream::{ByteHeader, Header, TextHeader, header::ContentHeader};
    let (mut world, alice, ..) = three();
    let mut join = wish("bot");
    join.claims.kind = "agent".to_owned();
    let bot = world.enter(join);
    let heard = |world: &mut World, from: &Client, claimed: &str, text: bool| {
        let content = if text {
            ContentHeader::TextHeader(TextHeader::default())
        } else {
            ContentHeader::ByteHeader(ByteHeader::default())
        };
        let packet = proto::DataPacket {
            participant_identity: claimed.to_owned(),
            value: Some(Value::StreamHeader(Header {
                content_header: Some(content),
                ..Default::default()
            })),
            ..Default::default()
        };
        send(world, from, ChannelLabel::Reliable, &packet);
        let (_, _, packet) = sent(world).expect("forwarded");
        let Some(Value::StreamHeader(header)) = packet.value else {
            panic!("a header");
        };
        let generated = match header.content_header {
            Some(ContentHeader::TextHeader(text)) => Some(text.generated),
            _ => None,
        };
        (packet.participant_identity, generated)
    };
    let named = |name: &str, generated| (name.to_owned(), generated);
    for (from, claimed, text, expected) in [
        (&bot, "bob", true, named("bob", Some(true))),
        (&bot, "bot", true, named("bot", Some(false))),
        (&bot, "", true, named("bot", Some(false))),
        (&bot, "bob", false, named("bot", None)),
        (&alice, "bob", true, named("alice", Some(false))),
        (&alice, "bob", false, named("alice", None)),
    ] {
        assert_eq!(
            heard(&mut world, from, claimed, text),
            expected,
            "{claimed} {text}"
        );
    }
}

#[test]
fn an_unknown_payload_is_passed_on_with_the_stamp() {
    let (mut world, alice, ..) = three();
    // Field 1000, length-delimited, "later"; and a forged identity in field 4.
    let mut data = vec![0xC2, 0x3E, 5];
    data.extend(b"later");
    data.extend([0x22, 3]);
    data.extend(b"bob");
    send_raw(&mut world, &alice, ChannelLabel::Reliable, data);
    let raw = world.commands.iter().find_map(|(_, command)| match command {
        Command::SendMessage { data, .. } => Some(data.clone()),
        _ => None,
    });
    let raw = raw.expect("forwarded");
    assert!(raw.windows(5).any(|window| window == b"later"));
    let packet = proto::DataPacket::decode(&raw[..]).expect("a packet");
    assert_eq!(packet.participant_identity, "alice");
}

#[test]
fn garbage_and_oversized_packets_are_counted_and_dropped() {
    let (mut world, alice, ..) = three();
    send_raw(&mut world, &alice, ChannelLabel::Reliable, vec![0xFF; 9]);
    assert_eq!(sent(&world), None);
    assert_eq!(world.room.stats().data_undecodable, 1);
    send(&mut world, &alice, ChannelLabel::Reliable, &user(&[0; 65_530]));
    assert_eq!(sent(&world), None);
    assert_eq!(world.room.stats().data_dropped, 1);
}

#[test]
fn what_a_channel_did_not_take_is_counted_by_message() {
    let (mut world, _, bob, _) = three();
    for count in [1, 174_000] {
        world.media(EventKind::MessageDropped {
            peer: bob.publisher,
            label: ChannelLabel::Reliable,
            count,
        });
    }
    assert_eq!(world.room.stats().data_undelivered, 174_001);
}

#[test]
fn peers_on_two_threads_get_one_command_each() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    for (identity, thread) in [("bob", 1), ("carol", 2), ("dora", 2)] {
        let mut join = wish(identity);
        join.placement.thread = media::api::ThreadId(thread);
        world.enter(join);
    }
    world.commands.clear();
    world.media(EventKind::Message {
        peer: alice.publisher,
        label: ChannelLabel::Reliable,
        data: user(b"x").encode_to_vec(),
    });
    let counts: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(thread, command)| match command {
            Command::SendMessage { peers, .. } => Some((thread.0, peers.len())),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [(1, 1), (2, 2)]);
}
