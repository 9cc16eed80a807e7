//! Signal frames: one message per WebSocket frame, protobuf in binary frames, proto3 JSON in text
//! frames (RFC 6455).

use crate::decoded::{self, Bounds, DecodeError};
use crate::lenient::mend_text;
use crate::proto;
use crate::twirp_json;
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

/// A request, and what it takes in memory at most, bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// The request.
    pub request: proto::SignalRequest,
    /// Its size.
    pub bytes: usize,
}

/// Reads a binary frame. A request without message (empty or unknown fields only) is ignored by
/// the caller.
///
/// # Errors
/// When it is no protobuf, or beyond the bounds of what a client may send.
pub fn decode_binary(data: &[u8]) -> Result<Received, DecodeError> {
    let (request, bytes) = decoded::decode(data, &Bounds::CLIENT)?;
    Ok(Received { request, bytes })
}

/// Reads a text frame.
///
/// # Errors
/// When it is no JSON object of the right shape, or beyond the bounds of what a client may send.
pub fn decode_text(text: &str) -> Result<Received, DecodeError> {
    let bytes = decoded::measure_json(text.as_bytes(), false, &Bounds::CLIENT)?;
    let text = mend_text(text);
    // Serializers that write what is unset, and numbers with a fraction, are legal and rare.
    let request = serde_json::from_str(&text)
        .ok()
        .or_else(|| twirp_json::decode_lenient(&text))
        .ok_or(DecodeError::Malformed)?;
    Ok(Received {
        request,
        bytes: bytes + size_of::<proto::SignalRequest>(),
    })
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

/// What kind of request it is, for logs.
#[must_use]
#[expect(deprecated, reason = "old clients send what is deprecated")]
pub fn kind(request: &proto::SignalRequest) -> &'static str {
    use proto::signal_request::Message as Request;
    match &request.message {
        None => "empty",
        Some(Request::Offer(_)) => "offer",
        Some(Request::Answer(_)) => "answer",
        Some(Request::Trickle(_)) => "trickle",
        Some(Request::AddTrack(_)) => "add_track",
        Some(Request::Mute(_)) => "mute",
        Some(Request::Subscription(_)) => "subscription",
        Some(Request::TrackSetting(_)) => "track_setting",
        Some(Request::Leave(_)) => "leave",
        Some(Request::UpdateLayers(_)) => "update_layers",
        Some(Request::SubscriptionPermission(_)) => "subscription_permission",
        Some(Request::SyncState(_)) => "sync_state",
        Some(Request::Simulate(_)) => "simulate",
        Some(Request::Ping(_) | Request::PingReq(_)) => "ping",
        Some(Request::UpdateMetadata(_)) => "update_metadata",
        Some(Request::UpdateAudioTrack(_)) => "update_audio_track",
        Some(Request::UpdateVideoTrack(_)) => "update_video_track",
        Some(Request::PublishDataTrackRequest(_)) => "publish_data_track",
        Some(Request::UnpublishDataTrackRequest(_)) => "unpublish_data_track",
        Some(Request::UpdateDataSubscription(_)) => "update_data_subscription",
        Some(Request::StoreDataBlobRequest(_)) => "store_data_blob",
        Some(Request::GetDataBlobRequest(_)) => "get_data_blob",
    }
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
        let text = decode_text("{\"ping\":\"5\"}").expect("readable");
        let binary = decode_binary(&request.encode_to_vec()).expect("readable");
        assert_eq!((&text.request, &binary.request), (&request, &request));
    }

    #[test]
    fn what_is_unset_may_be_null_and_whole_numbers_have_a_fraction() {
        let text = r#"{"addTrack":{"cid":"c","name":null,"type":null,"layers":null,"width":640.0}}"#;
        let Some(Request::AddTrack(track)) = decode_text(text).expect("readable").request.message else {
            panic!("add_track expected");
        };
        assert_eq!((track.cid.as_str(), track.width), ("c", 640));
        for broken in [
            "null",
            "[null]",
            r#"{"addTrack":{"width":640.5}}"#,
            r#"{"addTrack":1}"#,
        ] {
            assert!(decode_text(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn snake_case_and_unknown_fields_are_read() {
        let text = r#"{"add_track":{"cid":"c2","type":"VIDEO","nonsense":1},"other":2}"#;
        let Some(Request::AddTrack(track)) = decode_text(text).expect("readable").request.message else {
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
            assert_eq!(decode_text(text), Err(DecodeError::Malformed), "{text}");
        }
        assert_eq!(decode_binary(&[0xFF, 0xFF, 0xFF]), Err(DecodeError::Malformed));
    }

    #[test]
    fn empty_and_unknown_binary_messages_say_nothing() {
        for data in [&[][..], &[0xFA, 0x0F, 0x01, 0x78][..]] {
            assert_eq!(decode_binary(data).expect("readable").request.message, None);
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
