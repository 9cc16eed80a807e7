//! Data tracks: published, subscribed, forwarded.

use crate::world::{Client, World, config, grant, wish};
use media::api::{ChannelLabel, Command, EventKind, PeerKey, ThreadId};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::BTreeMap;

pub fn publish(handle: u32, name: &str) -> Request {
    Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle: handle,
        name: name.to_owned(),
        ..Default::default()
    })
}

pub fn subscribe(sid: &str, subscribe: bool) -> Request {
    Request::UpdateDataSubscription(proto::UpdateDataSubscription {
        updates: vec![proto::update_data_subscription::Update {
            track_sid: sid.to_owned(),
            subscribe,
            options: None,
        }],
    })
}

/// Publishes as alice; the track's SID.
pub fn sensor(world: &mut World, alice: &Client) -> String {
    world.take(alice);
    world.request(alice, publish(1, "sensor"));
    published(&world.take(alice))
}

/// The SID of the track that was published.
pub fn published(messages: &[Response]) -> String {
    let sid = messages.iter().find_map(|message| match message {
        Response::PublishDataTrackResponse(response) => Some(response.info.as_ref().unwrap().sid.clone()),
        _ => None,
    });
    sid.expect("a track was published")
}

/// Handle → SID, as last told.
pub fn handles(messages: &[Response]) -> BTreeMap<u32, String> {
    all_handles(messages).pop().expect("handles were told")
}

/// Handle → SID, each time that it was told.
pub fn all_handles(messages: &[Response]) -> Vec<BTreeMap<u32, String>> {
    let told = |message: &Response| match message {
        Response::DataTrackSubscriberHandles(handles) => Some(
            handles
                .sub_handles
                .iter()
                .map(|(handle, track)| (*handle, track.track_sid.clone()))
                .collect(),
        ),
        _ => None,
    };
    messages.iter().filter_map(told).collect()
}

pub fn packet(handle: u16) -> Vec<u8> {
    let mut packet = vec![0x18, 0];
    packet.extend(handle.to_be_bytes());
    packet.extend([0, 1, 0, 2, 0, 0, 0, 3]);
    packet.extend(b"payload");
    packet
}

pub fn send(world: &mut World, client: &Client, data: Vec<u8>) -> Vec<(PeerKey, Vec<u8>)> {
    world.commands.clear();
    world.media(EventKind::Message {
        peer: client.publisher,
        label: ChannelLabel::DataTrack,
        data,
    });
    forwarded(world).into_values().flatten().collect()
}

/// By media thread: who got what, from one command for each of them.
pub fn forwarded(world: &World) -> BTreeMap<ThreadId, Vec<(PeerKey, Vec<u8>)>> {
    let mut threads = BTreeMap::new();
    for (thread, command) in &world.commands {
        let Command::SendDataTrackPacket { receivers, data } = command else {
            continue;
        };
        let packet = |handle: u16| {
            let mut packet = data.to_vec();
            packet[2..4].copy_from_slice(&handle.to_be_bytes());
            packet
        };
        let receivers: Vec<_> = receivers
            .iter()
            .map(|&(peer, handle)| (peer, packet(handle)))
            .collect();
        assert!(receivers.iter().all(|(peer, _)| peer.thread() == *thread));
        let first = threads.insert(*thread, receivers).is_none();
        assert!(first, "one command for one thread");
    }
    threads
}

#[test]
fn data_tracks_of_whom_is_connected_are_told_at_once() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.pass_ms(3_000);
    world.forget();
    world.request(&alice, publish(1, "sensor"));
    let messages = world.take(&alice);
    let [
        Response::PublishDataTrackResponse(response),
        Response::Update(own),
    ] = &messages[..]
    else {
        panic!("the response, then the update, not {messages:?}");
    };
    assert!(own.participants[0].is_publisher);
    let sid = response.info.as_ref().unwrap().sid.clone();
    assert!(sid.starts_with("DTR_") && sid.len() == 16);
    let messages = world.take(&bob);
    let [Response::Update(update)] = &messages[..] else {
        panic!("an update, not {messages:?}");
    };
    assert_eq!(update.participants[0].data_tracks.len(), 1);
    assert!(update.participants[0].is_publisher);
    world.request(&alice, publish(2, "second"));
    let messages = world.take(&bob);
    let [Response::Update(update)] = &messages[..] else {
        panic!("an update, not {messages:?}");
    };
    let info = &update.participants[0];
    assert!(info.is_publisher);
    assert_eq!(
        (info.data_tracks[0].sid.as_str(), info.data_tracks[0].pub_handle),
        (sid.as_str(), 1)
    );
}

#[test]
fn a_first_data_track_of_whom_is_not_connected_is_told_with_the_next_batch() {
    let mut world = World::new();
    let bob = world.enter(wish("bob"));
    let alice = world.join(wish("alice"));
    world.pass_ms(3_000);
    world.forget();
    sensor(&mut world, &alice);
    assert!(world.take(&bob).is_empty());
    world.pass_ms(3_000);
    let told = |message: &Response| matches!(message, Response::Update(update) if update.participants[0].data_tracks.len() == 1);
    assert!(world.take(&bob).iter().any(told));
}

#[test]
fn data_tracks_that_cannot_be_are_refused_in_words() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    sensor(&mut world, &alice);
    for (request, reason, message) in [
        (
            publish(0, "n"),
            "INVALID_HANDLE",
            "handle should be > 0 AND < 65536",
        ),
        (
            publish(65_536, "n"),
            "INVALID_HANDLE",
            "handle should be > 0 AND < 65536",
        ),
        (
            publish(2, ""),
            "INVALID_NAME",
            "name should not be empty and should not exceed 256 characters",
        ),
        (
            publish(2, &"n".repeat(257)),
            "INVALID_NAME",
            "name should not be empty and should not exceed 256 characters",
        ),
        (
            publish(1, "other"),
            "DUPLICATE_HANDLE",
            "a data track with same handle already exists",
        ),
        (
            publish(2, "sensor"),
            "DUPLICATE_NAME",
            "a data track with same name already exists",
        ),
        (
            Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 9 }),
            "NOT_FOUND",
            "",
        ),
    ] {
        world.request(&alice, request);
        let messages = world.take(&alice);
        let [Response::RequestResponse(response)] = &messages[..] else {
            panic!("{messages:?}");
        };
        assert_eq!(
            (response.reason().as_str_name(), response.message.as_str()),
            (reason, message)
        );
    }
    let mut join = wish("quiet");
    grant(&mut join).can_publish_data = Some(false);
    let quiet = world.enter(join);
    world.take(&quiet);
    world.request(&quiet, publish(1, "x"));
    assert_eq!(world.names(&quiet), "request_response:NOT_ALLOWED");
}

/// A publication that names its own encoding.
fn encoded(handle: u32, name: &str, encoding: &str) -> Request {
    Request::PublishDataTrackRequest(proto::PublishDataTrackRequest {
        pub_handle: handle,
        name: name.to_owned(),
        frame_encoding: Some(proto::DataTrackFrameEncoding {
            value: Some(proto::data_track_frame_encoding::Value::Custom(
                encoding.to_owned(),
            )),
        }),
        ..Default::default()
    })
}

/// The reason and the words of the refusal, with which the request comes back.
pub fn refusal(world: &mut World, client: &Client, request: Request) -> (&'static str, String) {
    world.take(client);
    world.request(client, request.clone());
    let messages = world.take(client);
    let [Response::RequestResponse(response)] = &messages[..] else {
        panic!("a refusal, not {} messages", messages.len());
    };
    let Some(proto::request_response::Request::PublishDataTrack(echo)) = &response.request else {
        panic!("the request is named");
    };
    assert_eq!(request, Request::PublishDataTrackRequest(echo.clone()));
    (response.reason().as_str_name(), response.message.clone())
}

#[test]
fn custom_encodings_have_one_to_thirty_two_bytes() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let invalid = ("INVALID_REQUEST", "frame encoding is invalid".to_owned());
    // 17 characters of two bytes: bytes are what counts.
    for encoding in ["", &"e".repeat(33), &"é".repeat(17)] {
        assert_eq!(refusal(&mut world, &alice, encoded(1, "n", encoding)), invalid);
    }
    for (handle, encoding) in [(1, "e".to_owned()), (2, "e".repeat(32)), (3, "é".repeat(16))] {
        world.take(&alice);
        world.request(&alice, encoded(handle, &format!("track {handle}"), &encoding));
        published(&world.take(&alice));
    }
    let told = world.info("alice").data_tracks;
    let custom = told[1]
        .frame_encoding
        .as_ref()
        .and_then(|encoding| encoding.value.clone());
    assert_eq!(
        custom,
        Some(proto::data_track_frame_encoding::Value::Custom("e".repeat(32)))
    );
}

#[test]
fn of_several_mistakes_the_first_one_in_order_is_told() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    sensor(&mut world, &alice);
    for (request, reason) in [
        (encoded(0, "", ""), "INVALID_HANDLE"),
        (encoded(65_536, "sensor", ""), "INVALID_HANDLE"),
        (encoded(1, "", ""), "INVALID_NAME"),
        (encoded(1, "sensor", ""), "INVALID_REQUEST"),
        (encoded(1, "sensor", "e"), "DUPLICATE_HANDLE"),
        (encoded(2, "sensor", "e"), "DUPLICATE_NAME"),
    ] {
        assert_eq!(refusal(&mut world, &alice, request).0, reason);
    }
    let mut join = wish("quiet");
    grant(&mut join).can_publish_data = Some(false);
    let quiet = world.enter(join);
    assert_eq!(refusal(&mut world, &quiet, encoded(0, "", "")).0, "NOT_ALLOWED");

    let mut config = config();
    config.data_tracks = false;
    let mut world = World::with(config);
    let alice = world.enter(wish("alice"));
    assert_eq!(
        refusal(&mut world, &alice, encoded(0, "", "")),
        (
            "NOT_ALLOWED",
            "does not have permission to publish data".to_owned()
        )
    );
}

#[test]
fn packets_reach_subscribers_under_their_own_handle() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    world.enter(wish("carol"));
    let sid = sensor(&mut world, &alice);
    assert!(
        send(&mut world, &alice, packet(1)).is_empty(),
        "nobody subscribed"
    );
    world.take(&bob);
    world.request(&bob, subscribe(&sid, true));
    let messages = world.take(&bob);
    let [
        Response::SubscriptionPermissionUpdate(update),
        Response::DataTrackSubscriberHandles(_),
    ] = &messages[..]
    else {
        panic!("permission, then handles, not {messages:?}");
    };
    assert_eq!((update.track_sid.as_str(), update.allowed), (sid.as_str(), true));
    let told = handles(&messages);
    let (handle, told_sid) = told.first_key_value().expect("one");
    assert_eq!(*told_sid, sid);
    let handle = u16::try_from(*handle).unwrap();
    assert!((1..=256).contains(&handle));
    assert_eq!(
        send(&mut world, &alice, packet(1)),
        [(bob.primary(), packet(handle))]
    );
    assert!(send(&mut world, &alice, packet(7)).is_empty(), "no such track");
    assert!(send(&mut world, &alice, vec![0; 5]).is_empty(), "no header");
    assert_eq!(world.room.stats().data_undecodable, 1);
    world.request(&bob, subscribe(&sid, false));
    assert!(handles(&world.take(&bob)).is_empty());
    assert!(send(&mut world, &alice, packet(1)).is_empty());
}

#[test]
fn a_packet_crosses_to_each_thread_once_however_many_subscribe() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let sid = sensor(&mut world, &alice);
    let mut expected: BTreeMap<ThreadId, Vec<(PeerKey, Vec<u8>)>> = BTreeMap::new();
    for number in 0..80 {
        let mut join = wish(&format!("subscriber {number}"));
        join.placement.thread = ThreadId(1 + number % 2);
        let client = world.enter(join);
        world.request(&client, subscribe(&sid, true));
        let told = handles(&world.take(&client));
        let handle = u16::try_from(*told.first_key_value().expect("one").0).unwrap();
        let peer = client.primary();
        let subscribers = expected.entry(peer.thread()).or_default();
        subscribers.push((peer, packet(handle)));
    }
    assert_eq!(send(&mut world, &alice, packet(1)).len(), 80);
    assert_eq!(forwarded(&world), expected);
    assert_eq!(expected.len(), 2);
}

#[test]
fn automatic_subscribers_get_existing_and_new_data_tracks() {
    let mut world = World::new();
    let automatic = |identity: &str| {
        let mut join = wish(identity);
        join.settings.auto_subscribe_data_track = true;
        join
    };
    let early = world.enter(automatic("early"));
    let alice = world.enter(wish("alice"));
    let sid = sensor(&mut world, &alice);
    let late = world.enter(automatic("late"));
    for client in [&early, &late] {
        let told = handles(&world.take(client));
        assert_eq!(told.values().collect::<Vec<_>>(), [&sid]);
    }
    world.take(&late);
    world.request(
        &alice,
        Request::UnpublishDataTrackRequest(proto::UnpublishDataTrackRequest { pub_handle: 1 }),
    );
    assert_eq!(
        world.names(&late),
        "update(alice=ACTIVE)",
        "the publisher's state says it"
    );
    assert!(world.info("alice").data_tracks.is_empty());
    assert!(send(&mut world, &alice, packet(1)).is_empty());
}

#[test]
fn revoked_permissions_end_data_tracks_and_their_subscriptions() {
    let permit = |world: &mut World, identity: &str, subscribe, publish_data| {
        let request = proto::UpdateParticipantRequest {
            identity: identity.to_owned(),
            permission: Some(proto::ParticipantPermission {
                can_publish: true,
                can_subscribe: subscribe,
                can_publish_data: publish_data,
                ..Default::default()
            }),
            ..Default::default()
        };
        let call = room::ApiCall::UpdateParticipant(Box::new(request));
        world.api(call).expect("updated");
    };
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish("bob"));
    let sid = sensor(&mut world, &alice);
    world.request(&bob, subscribe(&sid, true));
    permit(&mut world, "bob", false, true);
    assert!(handles(&world.take(&bob)).is_empty());
    permit(&mut world, "bob", true, true);
    assert_eq!(handles(&world.take(&bob)).len(), 1, "still wanted");
    assert_eq!(send(&mut world, &alice, packet(1)).len(), 1);
    permit(&mut world, "alice", true, false);
    assert!(handles(&world.take(&bob)).is_empty());
    assert!(world.info("alice").data_tracks.is_empty());
    assert!(send(&mut world, &alice, packet(1)).is_empty());
}

#[test]
fn data_blobs_are_not_offered() {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    world.take(&alice);
    world.request(
        &alice,
        Request::StoreDataBlobRequest(proto::StoreDataBlobRequest {
            request_id: 11,
            blob: None,
        }),
    );
    world.request(
        &alice,
        Request::GetDataBlobRequest(proto::GetDataBlobRequest {
            request_id: 12,
            ..Default::default()
        }),
    );
    let told: Vec<_> = world
        .take(&alice)
        .into_iter()
        .map(|message| match message {
            Response::RequestResponse(response) => (response.request_id, response.message),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (11, "data blob not enabled".to_owned()),
            (12, "data blob not found".to_owned())
        ]
    );
}
