//! Calls of the server API to a client's methods, seen from the client's data channel.

use crate::world::{Client, World, wish, wish_single};
use media::api::{ChannelLabel, Command, EventKind};
use prost::Message as _;
use proto::data_packet::Value;
use proto::rpc_response::Value as Answer;
use protocol::proto;
use room::{Action, ApiCall, ApiError, ApiErrorCode, ApiReply, ReplyId};

const REPLY: ReplyId = ReplyId(u64::MAX);

/// Alice and Bob, and a call to Bob of which the request that went out is returned.
fn calling(response_timeout_ms: u32) -> (World, Client, Client, proto::RpcRequest) {
    let mut world = World::new();
    let alice = world.enter(wish("alice"));
    let bob = world.enter(wish_single("bob", 0, 0));
    world.commands.clear();
    call(&mut world, "bob", "hello", response_timeout_ms);
    let request = sent(&world, &bob);
    (world, alice, bob, request)
}

fn call(world: &mut World, identity: &str, payload: &str, response_timeout_ms: u32) {
    call_method(world, identity, "greet", payload, response_timeout_ms);
}

fn call_method(world: &mut World, identity: &str, method: &str, payload: &str, response_timeout_ms: u32) {
    world.apply(Action::Api {
        reply: REPLY,
        call: ApiCall::PerformRpc(Box::new(proto::PerformRpcRequest {
            room: "test".to_owned(),
            destination_identity: identity.to_owned(),
            method: method.to_owned(),
            payload: payload.to_owned(),
            response_timeout_ms,
        })),
    });
}

/// The one request that was sent, to that client alone.
fn sent(world: &World, to: &Client) -> proto::RpcRequest {
    let messages: Vec<_> = world
        .commands
        .iter()
        .filter_map(|(_, command)| match command {
            Command::SendMessage { peers, label, data } => Some((peers.clone(), *label, data.clone())),
            _ => None,
        })
        .collect();
    let [(peers, label, data)] = &messages[..] else {
        panic!("one message: {messages:?}");
    };
    assert_eq!(
        (&peers[..], *label),
        (&[to.primary()][..], ChannelLabel::Reliable)
    );
    let packet = proto::DataPacket::decode(&data[..]).expect("a packet");
    assert_eq!((packet.sequence, packet.participant_sid.as_str()), (0, ""));
    let Some(Value::RpcRequest(request)) = packet.value else {
        panic!("a request");
    };
    assert_eq!(
        packet.participant_identity, request.id,
        "answers go to the call itself"
    );
    request
}

fn answer(world: &mut World, client: &Client, to: &str, value: Value) {
    let packet = proto::DataPacket {
        destination_identities: vec![to.to_owned()],
        value: Some(value),
        ..Default::default()
    };
    world.commands.clear();
    world.media(EventKind::Message {
        peer: client.publisher,
        label: ChannelLabel::Reliable,
        data: packet.encode_to_vec(),
    });
}

fn acknowledge(world: &mut World, client: &Client, id: &str) {
    let request_id = id.to_owned();
    answer(world, client, id, Value::RpcAck(proto::RpcAck { request_id }));
}

fn respond(world: &mut World, client: &Client, id: &str, value: Answer) {
    let response = proto::RpcResponse {
        request_id: id.to_owned(),
        value: Some(value),
    };
    answer(world, client, id, Value::RpcResponse(response));
}

/// The answer to the call, if there is one.
fn taken(world: &mut World) -> Option<Result<String, (ApiErrorCode, String)>> {
    let text = |error: ApiError| (error.code, error.message);
    world.replies.remove(&REPLY).map(|result| match result {
        Ok(ApiReply::Rpc(payload)) => Ok(payload),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(text(error)),
    })
}

fn failed(code: ApiErrorCode, message: &str) -> Option<Result<String, (ApiErrorCode, String)>> {
    Some(Err((code, message.to_owned())))
}

#[test]
fn a_call_reaches_its_client_and_returns_the_response() {
    let (mut world, _, bob, request) = calling(0);
    assert_eq!(
        (
            request.method.as_str(),
            request.payload.as_str(),
            request.response_timeout_ms,
            request.version
        ),
        ("greet", "hello", 15_000, 1)
    );
    acknowledge(&mut world, &bob, &request.id);
    assert_eq!(taken(&mut world), None);
    respond(
        &mut world,
        &bob,
        &request.id,
        Answer::Payload("hello bob".to_owned()),
    );
    assert_eq!(taken(&mut world), Some(Ok("hello bob".to_owned())));
    let forwarded = |(_, command): &(_, Command)| matches!(command, Command::SendMessage { .. });
    assert!(
        !world.commands.iter().any(forwarded),
        "the answer is for nobody else"
    );
}

#[test]
fn failures_of_the_method_have_the_code_of_their_number() {
    for (number, data, code) in [
        (1234, "detail", ApiErrorCode::Internal),
        (1500, "", ApiErrorCode::Internal),
        (1400, "", ApiErrorCode::InvalidArgument),
        (1401, "", ApiErrorCode::NotFound),
        (1403, "", ApiErrorCode::Unimplemented),
        (1404, "", ApiErrorCode::Unimplemented),
        (1503, "", ApiErrorCode::Unavailable),
        (1504, "", ApiErrorCode::Malformed),
        (1505, "", ApiErrorCode::Internal),
    ] {
        let (mut world, _, bob, request) = calling(0);
        acknowledge(&mut world, &bob, &request.id);
        let error = proto::RpcError {
            code: number,
            message: "my error".to_owned(),
            data: data.to_owned(),
        };
        respond(&mut world, &bob, &request.id, Answer::Error(error));
        let tail = if data.is_empty() { "" } else { ": detail" };
        assert_eq!(
            taken(&mut world),
            failed(code, &format!("RpcError {number}: my error{tail}"))
        );
    }
}

#[test]
fn a_client_that_does_not_acknowledge_is_given_seven_seconds() {
    let (mut world, _, bob, request) = calling(0);
    world.pass_ms(6_990);
    assert_eq!(taken(&mut world), None);
    world.pass_ms(20);
    let timeout = failed(ApiErrorCode::Canceled, "RpcError 1501: Connection timeout");
    assert_eq!(taken(&mut world), timeout);
    respond(&mut world, &bob, &request.id, Answer::Payload("late".to_owned()));
    assert_eq!(taken(&mut world), None, "a call is answered once");
}

#[test]
fn a_response_is_waited_for_as_long_as_the_caller_says() {
    for (given, waited) in [(0, 15_000), (9_000, 9_000), (2_000, 2_000)] {
        let (mut world, _, bob, request) = calling(given);
        acknowledge(&mut world, &bob, &request.id);
        world.pass_ms(waited - 10);
        assert_eq!(taken(&mut world), None);
        world.pass_ms(20);
        let timeout = failed(ApiErrorCode::Canceled, "RpcError 1502: Response timeout");
        assert_eq!(taken(&mut world), timeout, "{given}");
    }
}

#[test]
fn a_client_that_leaves_ends_its_calls() {
    let (mut world, _, bob, request) = calling(0);
    let timers = world.room.gauges().timers;
    acknowledge(&mut world, &bob, &request.id);
    world
        .api(ApiCall::RemoveParticipant {
            identity: "bob".to_owned(),
        })
        .expect("removed");
    let gone = failed(ApiErrorCode::Unavailable, "RpcError 1503: Recipient disconnected");
    assert_eq!(taken(&mut world), gone);
    assert!(world.room.gauges().timers < timers);
}

#[test]
fn what_cannot_be_called_is_answered_at_once() {
    let mut world = World::new();
    world.enter(wish("bob"));
    world.commands.clear();
    call(&mut world, "bob", &"z".repeat(15_361), 0);
    let large = failed(
        ApiErrorCode::InvalidArgument,
        "RpcError 1402: Request payload too large",
    );
    assert_eq!(taken(&mut world), large);
    call(&mut world, "ghost", "", 0);
    let ghost = failed(ApiErrorCode::NoTarget, "no response from servers");
    assert_eq!(taken(&mut world), ghost);
    assert!(world.commands.is_empty());
    call(&mut world, "bob", &"z".repeat(15_360), 0);
    assert_eq!(taken(&mut world), None, "the limit itself passes");
}

#[test]
fn a_request_that_no_channel_takes_is_answered_at_once() {
    let mut world = World::new();
    let bob = world.enter(wish_single("bob", 0, 0));
    let timers = world.room.gauges().timers;
    world.commands.clear();
    call_method(&mut world, "bob", &"m".repeat(65_536), "", 0);
    let unsent = failed(ApiErrorCode::Internal, "RpcError 1505: Failed to send");
    assert_eq!(taken(&mut world), unsent);
    assert!(world.commands.is_empty());
    assert_eq!(world.room.gauges().timers, timers, "nothing waits");
    call_method(&mut world, "bob", &"m".repeat(65_000), "", 0);
    assert_eq!(taken(&mut world), None);
    assert_eq!(sent(&world, &bob).method.len(), 65_000);
}

#[test]
fn only_the_called_client_may_answer() {
    let (mut world, alice, bob, request) = calling(0);
    respond(
        &mut world,
        &alice,
        &request.id,
        Answer::Payload("forged".to_owned()),
    );
    assert_eq!(taken(&mut world), None);
    respond(&mut world, &bob, &request.id, Answer::Payload("true".to_owned()));
    assert_eq!(taken(&mut world), Some(Ok("true".to_owned())));
}
