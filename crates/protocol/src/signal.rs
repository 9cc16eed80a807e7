//! Signal frames: one message per WebSocket frame, protobuf in binary frames, proto3 JSON in text
//! frames (`signal.md` §4).

use crate::proto;
use prost::Message;

/// How a message travels. Answers mirror the kind of the last frame received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Protobuf in binary frames.
    #[default]
    Binary,
    /// JSON in text frames.
    Text,
}

/// A frame cannot be read: the socket is closed with 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecodable;

/// Reads a binary frame. A request without message (empty or unknown fields only) is ignored by
/// the caller.
///
/// # Errors
/// When it is no protobuf.
pub fn decode_binary(data: &[u8]) -> Result<proto::SignalRequest, Undecodable> {
    proto::SignalRequest::decode(data).map_err(|_| Undecodable)
}

/// Reads a text frame.
///
/// # Errors
/// When it is no JSON object of the right shape.
pub fn decode_text(text: &str) -> Result<proto::SignalRequest, Undecodable> {
    serde_json::from_str(text).map_err(|_| Undecodable)
}

/// A response as the payload of a binary frame.
#[must_use]
pub fn encode_binary(response: &proto::SignalResponse) -> Vec<u8> {
    response.encode_to_vec()
}

/// A response as the payload of a text frame.
#[must_use]
pub fn encode_text(response: &proto::SignalResponse) -> String {
    serde_json::to_string(response).unwrap_or_else(|_| "{}".to_owned())
}

/// What the edge answers by itself: both kinds of ping.
#[must_use]
pub fn answer_ping(request: &proto::SignalRequest, now_unix_ms: i64) -> Option<proto::SignalResponse> {
    use proto::signal_request::Message as Request;
    use proto::signal_response::Message as Response;
    let message = if let Request::Ping(_) = request.message.as_ref()? {
        Response::Pong(now_unix_ms)
    } else if let Request::PingReq(ping) = request.message.as_ref()? {
        Response::PongResp(proto::Pong {
            last_ping_timestamp: ping.timestamp,
            timestamp: now_unix_ms,
        })
    } else {
        return None;
    };
    Some(proto::SignalResponse {
        message: Some(message),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::signal_request::Message as Request;
    use proto::signal_response::Message as Response;

    #[test]
    fn text_and_binary_carry_the_same_request() {
        let request = proto::SignalRequest {
            message: Some(Request::Ping(5)),
        };
        assert_eq!(decode_text("{\"ping\":\"5\"}"), Ok(request.clone()));
        assert_eq!(decode_binary(&request.encode_to_vec()), Ok(request));
    }

    #[test]
    fn snake_case_and_unknown_fields_are_read() {
        let text = r#"{"add_track":{"cid":"c2","type":"VIDEO","nonsense":1},"other":2}"#;
        let Some(Request::AddTrack(track)) = decode_text(text).expect("readable").message else {
            panic!("add_track expected");
        };
        assert_eq!(
            (track.cid.as_str(), track.r#type),
            ("c2", i32::from(proto::TrackType::Video))
        );
    }

    #[test]
    fn broken_frames_are_undecodable() {
        for text in ["", "null", "{not json", "[]", "5"] {
            assert_eq!(decode_text(text), Err(Undecodable), "{text}");
        }
        assert_eq!(decode_binary(&[0xFF, 0xFF, 0xFF]), Err(Undecodable));
    }

    #[test]
    fn empty_and_unknown_binary_messages_say_nothing() {
        for data in [&[][..], &[0xFA, 0x0F, 0x01, 0x78][..]] {
            assert_eq!(decode_binary(data).expect("readable").message, None);
        }
    }

    #[test]
    fn json_output_omits_defaults() {
        let response = proto::SignalResponse {
            message: Some(Response::PongResp(proto::Pong {
                last_ping_timestamp: 1,
                timestamp: 0,
            })),
        };
        assert_eq!(
            encode_text(&response),
            "{\"pongResp\":{\"lastPingTimestamp\":\"1\"}}"
        );
    }

    #[test]
    fn pings_are_answered_with_the_time() {
        let ask = |message| {
            let request = proto::SignalRequest {
                message: Some(message),
            };
            answer_ping(&request, 77).and_then(|response| response.message)
        };
        assert_eq!(ask(Request::Ping(5)), Some(Response::Pong(77)));
        let ping = proto::Ping { timestamp: 3, rtt: 9 };
        let pong = proto::Pong {
            last_ping_timestamp: 3,
            timestamp: 77,
        };
        assert_eq!(ask(Request::PingReq(ping)), Some(Response::PongResp(pong)));
        assert_eq!(ask(Request::Leave(proto::LeaveRequest::default())), None);
    }
}
