//! Calls of the server API to a method of a client: the request goes out as a data
//! packet, its acknowledgement and its response come back as data packets addressed to the call's id.
//!
//! Owns: calls that wait. Must not know: Twirp, how packets travel.

use crate::action::ReplyId;
use crate::data::Destinations;
use crate::effect::{ApiError, ApiErrorCode, ApiReply, Effect};
use crate::participant::ParticipantId;
use crate::room::Room;
use crate::timers::Timer;
use prost::Message as _;
use proto::data_packet::{Kind, Value};
use proto::rpc_response::Value as Answer;
use protocol::proto;
use std::collections::BTreeMap;
use std::time::Duration;

/// A client that does not acknowledge a request by then is taken for unreachable.
const ACK_TIMEOUT: Duration = Duration::from_secs(7);

/// How long a method may take when the caller does not say.
const RESPONSE_TIMEOUT_MS: u32 = 15_000;

/// Largest payload of a request.
const PAYLOAD_BYTES_MAX: usize = 15_360;

/// The only version of the protocol that is spoken.
const VERSION: u32 = 1;

/// Calls of one room that may wait at a time. More would let a caller whose clients never answer
/// hold memory for the longest response time; less would refuse honest bursts.
const WAITING_MAX: usize = 4096;

/// Failures that the protocol names; any other number is the method's own.
mod failure {
    pub(super) const UNSUPPORTED_METHOD: u32 = 1400;
    pub(super) const RECIPIENT_NOT_FOUND: u32 = 1401;
    pub(super) const REQUEST_TOO_LARGE: u32 = 1402;
    pub(super) const UNSUPPORTED_SERVER: u32 = 1403;
    pub(super) const UNSUPPORTED_VERSION: u32 = 1404;
    pub(super) const CONNECTION_TIMEOUT: u32 = 1501;
    pub(super) const RESPONSE_TIMEOUT: u32 = 1502;
    pub(super) const RECIPIENT_DISCONNECTED: u32 = 1503;
    pub(super) const RESPONSE_TOO_LARGE: u32 = 1504;
    pub(super) const SEND_FAILED: u32 = 1505;
}

/// A call that waits for its client.
#[derive(Debug)]
struct Waiting {
    reply: ReplyId,
    /// Who is called: nobody else's answer counts.
    callee: ParticipantId,
    /// The call's id on the wire.
    id: String,
}

/// All calls of a room that wait.
#[derive(Debug, Default)]
pub(crate) struct Rpcs {
    waiting: BTreeMap<u32, Waiting>,
    by_id: BTreeMap<String, u32>,
}

impl Room {
    /// Sends a request to a client, or answers at once why not.
    pub(crate) fn perform_rpc(
        &mut self,
        reply: ReplyId,
        callee: ParticipantId,
        request: proto::PerformRpcRequest,
    ) {
        if request.payload.len() > PAYLOAD_BYTES_MAX {
            return self.answer_rpc(
                reply,
                Err(named(failure::REQUEST_TOO_LARGE, "Request payload too large")),
            );
        }
        if self.rpcs.waiting.len() >= WAITING_MAX {
            self.stats.over_limit += 1;
            return self.answer_rpc(
                reply,
                Err(ApiError {
                    code: ApiErrorCode::ResourceExhausted,
                    message: "too many calls are waiting".to_owned(),
                    meta: Vec::new(),
                }),
            );
        }
        let response_timeout_ms = match request.response_timeout_ms {
            0 => RESPONSE_TIMEOUT_MS,
            given => given,
        };
        let id = uuid(self.random.long_id());
        let packet = proto::DataPacket {
            kind: Kind::Reliable.into(),
            // The client answers to the sender of the request: the call itself.
            participant_identity: id.clone(),
            value: Some(Value::RpcRequest(proto::RpcRequest {
                id: id.clone(),
                method: request.method,
                payload: request.payload,
                response_timeout_ms,
                version: VERSION,
                ..Default::default()
            })),
            ..Default::default()
        };
        let to = [request.destination_identity];
        let to = Destinations::new(&to, &[]);
        if !self.send_data(None, Kind::Reliable, &to, packet.encode_to_vec(), None) {
            return self.answer_rpc(reply, Err(named(failure::SEND_FAILED, "Failed to send")));
        }
        let serial = self.next_serial();
        let now = self.now.monotonic;
        self.timers.set(Timer::RpcAck(serial), now + ACK_TIMEOUT);
        self.timers.set(
            Timer::RpcResponse(serial),
            now + Duration::from_millis(u64::from(response_timeout_ms)),
        );
        self.rpcs.by_id.insert(id.clone(), serial);
        self.rpcs.waiting.insert(serial, Waiting { reply, callee, id });
    }

    /// Takes an acknowledgement or a response to a call of the API. False: it is for another client.
    pub(crate) fn take_rpc_answer(&mut self, from: ParticipantId, packet: &proto::DataPacket) -> bool {
        let id = match &packet.value {
            Some(Value::RpcAck(ack)) => &ack.request_id,
            Some(Value::RpcResponse(response)) => &response.request_id,
            _ => return false,
        };
        let Some(&serial) = self.rpcs.by_id.get(id) else {
            return false;
        };
        if self.rpcs.waiting.get(&serial).map(|call| call.callee) != Some(from) {
            return false;
        }
        if let Some(Value::RpcResponse(response)) = &packet.value {
            let result = match &response.value {
                Some(Answer::Payload(payload)) => Ok(payload.clone()),
                Some(Answer::Error(error)) => Err(failed(error)),
                // Compressed payloads answer requests of a later version only.
                Some(Answer::CompressedPayload(_)) | None => Ok(String::new()),
            };
            self.end_rpc(serial, result);
        } else {
            self.timers.cancel(Timer::RpcAck(serial));
        }
        true
    }

    pub(crate) fn rpc_unacknowledged(&mut self, serial: u32) {
        self.end_rpc(
            serial,
            Err(named(failure::CONNECTION_TIMEOUT, "Connection timeout")),
        );
    }

    pub(crate) fn rpc_unanswered(&mut self, serial: u32) {
        self.end_rpc(serial, Err(named(failure::RESPONSE_TIMEOUT, "Response timeout")));
    }

    /// A client left: what it was asked stays unanswered.
    pub(crate) fn end_rpcs_to(&mut self, callee: ParticipantId) {
        let serials: Vec<u32> = self
            .rpcs
            .waiting
            .iter()
            .filter(|(_, call)| call.callee == callee)
            .map(|(serial, _)| *serial)
            .collect();
        for serial in serials {
            self.end_rpc(
                serial,
                Err(named(failure::RECIPIENT_DISCONNECTED, "Recipient disconnected")),
            );
        }
    }

    fn end_rpc(&mut self, serial: u32, result: Result<String, ApiError>) {
        self.timers.cancel(Timer::RpcAck(serial));
        self.timers.cancel(Timer::RpcResponse(serial));
        if let Some(call) = self.rpcs.waiting.remove(&serial) {
            self.rpcs.by_id.remove(&call.id);
            self.answer_rpc(call.reply, result);
        }
    }

    fn answer_rpc(&mut self, reply: ReplyId, result: Result<String, ApiError>) {
        self.effects.push_back(Effect::Reply {
            reply,
            result: result.map(ApiReply::Rpc),
        });
    }
}

/// A failure of the protocol's own.
fn named(code: u32, message: &str) -> ApiError {
    failed(&proto::RpcError {
        code,
        message: message.to_owned(),
        data: String::new(),
    })
}

fn failed(error: &proto::RpcError) -> ApiError {
    let code = match error.code {
        failure::UNSUPPORTED_METHOD | failure::REQUEST_TOO_LARGE => ApiErrorCode::InvalidArgument,
        failure::RECIPIENT_NOT_FOUND => ApiErrorCode::NotFound,
        failure::UNSUPPORTED_SERVER | failure::UNSUPPORTED_VERSION => ApiErrorCode::Unimplemented,
        failure::CONNECTION_TIMEOUT | failure::RESPONSE_TIMEOUT => ApiErrorCode::Canceled,
        failure::RECIPIENT_DISCONNECTED => ApiErrorCode::Unavailable,
        failure::RESPONSE_TOO_LARGE => ApiErrorCode::Malformed,
        _ => ApiErrorCode::Internal,
    };
    let mut message = format!("RpcError {}: {}", error.code, error.message);
    if !error.data.is_empty() {
        message.push_str(": ");
        message.push_str(&error.data);
    }
    ApiError {
        code,
        message,
        meta: Vec::new(),
    }
}

/// A random UUID (RFC 9562 §5.4).
fn uuid(random: u128) -> String {
    let bits = random & !(0xF << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let text = format!("{bits:032x}");
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
