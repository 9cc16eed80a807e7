//! Participants' names, metadata and attributes.

use crate::world::{Client, World, grant, wish, wish_protocol};
use protocol::proto;
use protocol::proto::signal_request::Message as Request;
use protocol::proto::signal_response::Message as Response;
use std::collections::HashMap;

fn may_update() -> (World, Client, Client) {
    let mut world = World::new();
    let mut join = wish("alice");
    grant(&mut join).can_update_own_metadata = Some(true);
    let alice = world.enter(join);
    let bob = world.enter(wish("bob"));
    world.pass_ms(6_000);
    world.forget();
    (world, alice, bob)
}

fn update(name: &str, metadata: &str, attributes: &[(&str, &str)]) -> Request {
    Request::UpdateMetadata(proto::UpdateParticipantMetadata {
        name: name.to_owned(),
        metadata: metadata.to_owned(),
        attributes: attributes
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<HashMap<_, _>>(),
        request_id: 9,
    })
}

fn response(messages: &[Response]) -> (u32, &str, &str) {
    match messages.last() {
        Some(Response::RequestResponse(response)) => (
            response.request_id,
            response.reason().as_str_name(),
            &response.message,
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_changed_field_is_one_update_and_one_token_then_the_response() {
    let (mut world, alice, bob) = may_update();
    world.request(&alice, update("N", "M", &[("a", "x")]));
    assert_eq!(
        world.names(&alice),
        "update(alice=ACTIVE) refresh_token update(alice=ACTIVE) refresh_token \
         update(alice=ACTIVE) refresh_token request_response:OK"
    );
    assert_eq!(world.tokens.len(), 3);
    assert_eq!(
        (
            world.tokens[0].1.name.as_str(),
            world.tokens[0].1.metadata.as_str()
        ),
        ("N", "")
    );
    let (_, last, _) = &world.tokens[2];
    assert_eq!(
        (last.metadata.as_str(), last.attributes["a"].as_str()),
        ("M", "x")
    );
    let versions: Vec<_> = world
        .take(&bob)
        .iter()
        .map(|message| match message {
            Response::Update(update) => update.participants[0].version,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(versions, [3, 4, 5]);
}

#[test]
fn an_empty_attribute_is_deleted_and_empty_fields_are_unchanged() {
    let (mut world, alice, bob) = may_update();
    world.request(&alice, update("N", "M", &[("a", "x"), ("b", "y")]));
    world.forget();
    world.request(&alice, update("", "", &[("a", "")]));
    let messages = world.take(&alice);
    assert_eq!(response(&messages), (9, "OK", ""));
    let info = world.info("alice");
    assert_eq!((info.name.as_str(), info.metadata.as_str()), ("N", "M"));
    assert_eq!(info.attributes.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(world.names(&bob), "update(alice=ACTIVE)");
    world.request(&alice, update("", "", &[]));
    assert_eq!(world.names(&alice), "request_response:OK");
}

#[test]
fn limits_and_permission_are_answered_in_words() {
    let (mut world, alice, bob) = may_update();
    for (request, message) in [
        (update(&"n".repeat(257), "", &[]), "exceeds name length limit"),
        (
            update("", &"m".repeat(512 * 1024 + 1), &[]),
            "exceeds metadata size limit",
        ),
        (
            update("", "", &[("big", &"v".repeat(64 * 1024))]),
            "exceeds attributes size limit",
        ),
    ] {
        world.request(&alice, request);
        assert_eq!(response(&world.take(&alice)), (9, "LIMIT_EXCEEDED", message));
    }
    world.request(&bob, update("x", "", &[]));
    assert_eq!(
        response(&world.take(&bob)),
        (
            9,
            "NOT_ALLOWED",
            "does not have permission to update own metadata"
        )
    );
}

#[test]
fn success_is_told_from_protocol_15_on_and_errors_to_all_but_old_rust() {
    let mut world = World::new();
    let mut join = wish_protocol("old", 14);
    grant(&mut join).can_update_own_metadata = Some(true);
    let old = world.enter(join);
    world.forget();
    world.request(&old, update("N", "", &[]));
    assert!(!world.names(&old).contains("request_response"));
    world.request(&old, update(&"n".repeat(257), "", &[]));
    assert_eq!(world.names(&old), "request_response:LIMIT_EXCEEDED");
    let mut join = wish_protocol("rust", 9);
    join.client.sdk = proto::client_info::Sdk::Rust.into();
    let rust = world.enter(join);
    world.forget();
    world.request(&rust, update("N", "", &[]));
    assert_eq!(world.names(&rust), "");
}
