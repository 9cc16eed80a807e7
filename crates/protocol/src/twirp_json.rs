//! Twirp's JSON: input as tolerant as the reference's; output in snake_case with every field written.
//!
//! Messages are first written as usual proto3 JSON (lowerCamelCase, defaults omitted); a static
//! table of the answers' fields then puts the rest in.

use crate::decoded::{Bounds, measure_json};
use crate::lenient::mend_text;
use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned};
use serde_json::Value;
use std::fmt::Write;

/// Reads the first JSON value of a body as a message. `None`: malformed, or beyond the bounds of what
/// an API call may hold.
#[must_use]
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    measure_json(body, true, &Bounds::API).ok()?;
    // Bytes that are no UTF-8 are refused: the reference does, too.
    let mended = std::str::from_utf8(body).map(mend_text);
    let body = mended.as_ref().map_or(body, |text| text.as_bytes());
    read(serde_json::Deserializer::from_slice(body))
}

/// Reads JSON whose size has been measured, with `null` for what is unset.
pub(crate) fn decode_lenient<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    read(serde_json::Deserializer::from_str(text))
}

fn read<'a, T: DeserializeOwned>(
    mut reader: serde_json::Deserializer<impl serde_json::de::Read<'a>>,
) -> Option<T> {
    let mut value = Value::deserialize(&mut reader).ok()?;
    if !value.is_object() {
        return None;
    }
    normalize(&mut value);
    serde_json::from_value(value).ok()
}

/// `null` is an unset field, and a whole number may be written with a fraction of zero.
fn normalize(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(normalize);
        }
        Value::Array(items) => items.iter_mut().for_each(normalize),
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *value = Value::from(whole);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn whole(number: &serde_json::Number) -> Option<i64> {
    let float = number.as_f64().filter(|_| number.is_f64())?;
    // Beyond 2^53 the text was not a whole number that a double can hold.
    let exact = float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "checked just above")]
    exact.then_some(float as i64)
}

/// Writes an answer. `schema` names its fields.
#[must_use]
pub fn encode<T: Serialize>(message: &T, schema: &Schema) -> String {
    let value = serde_json::to_value(message).unwrap_or(Value::Null);
    let mut text = String::new();
    write_message(&value, schema, &mut text);
    text
}

fn write_message(value: &Value, schema: &Schema, out: &mut String) {
    out.push('{');
    for (index, (name, kind)) in schema.0.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = write!(out, "{comma}\"{name}\":");
        write_field(value.get(camel(name)), kind, out);
    }
    out.push('}');
}

fn write_field(value: Option<&Value>, kind: &Kind, out: &mut String) {
    match (value, kind) {
        (Some(value), Message(schema)) => write_message(value, schema, out),
        (Some(Value::Array(items)), Messages(schema)) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_message(item, schema, out);
            }
            out.push(']');
        }
        (Some(value), _) => {
            let _ = write!(out, "{value}");
        }
        (None, Text) => out.push_str("\"\""),
        (None, Number) => out.push('0'),
        (None, Long) => out.push_str("\"0\""),
        (None, Flag) => out.push_str("false"),
        (None, Enum(zero)) => {
            let _ = write!(out, "\"{zero}\"");
        }
        (None, Message(_) | Other) => out.push_str("null"),
        (None, Messages(_) | List) => out.push_str("[]"),
        (None, Map) => out.push_str("{}"),
    }
}

fn camel(name: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.push(letter.to_ascii_uppercase());
        } else {
            camel.push(letter);
        }
    }
    camel
}

/// The fields of a message, in the order of its definition.
#[derive(Debug)]
pub struct Schema(&'static [(&'static str, Kind)]);

/// What a field holds, so far as its zero is concerned.
#[derive(Debug)]
enum Kind {
    Text,
    Number,
    /// 64 bits: written as text.
    Long,
    Flag,
    /// With the name of the value 0.
    Enum(&'static str),
    Message(&'static Schema),
    Messages(&'static Schema),
    /// Of scalars.
    List,
    Map,
    /// A message whose own fields are written as they come.
    Other,
}

use Kind::{Enum, Flag, List, Long, Map, Message, Messages, Number, Other, Text};

/// An answer without fields.
pub static EMPTY: Schema = Schema(&[]);
/// `ListRoomsResponse`
pub static LIST_ROOMS: Schema = Schema(&[("rooms", Messages(&ROOM))]);
/// `ListParticipantsResponse`
pub static LIST_PARTICIPANTS: Schema = Schema(&[("participants", Messages(&PARTICIPANT))]);
/// `MuteRoomTrackResponse`
pub static MUTE_TRACK: Schema = Schema(&[("track", Message(&TRACK))]);
/// `PerformRpcResponse`
pub static PERFORM_RPC: Schema = Schema(&[("payload", Text)]);
/// `Room`
pub static ROOM: Schema = Schema(&[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Long),
    ("creation_time_ms", Long),
    ("turn_password", Text),
    ("enabled_codecs", Messages(&CODEC)),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Flag),
    ("version", Message(&VERSION)),
]);
static CODEC: Schema = Schema(&[("mime", Text), ("fmtp_line", Text)]);
static VERSION: Schema = Schema(&[("unix_micro", Long), ("ticks", Number)]);
/// `ParticipantInfo`
pub static PARTICIPANT: Schema = Schema(&[
    ("sid", Text),
    ("identity", Text),
    ("state", Enum("JOINING")),
    ("tracks", Messages(&TRACK)),
    ("metadata", Text),
    ("joined_at", Long),
    ("joined_at_ms", Long),
    ("name", Text),
    ("version", Number),
    ("permission", Message(&PERMISSION)),
    ("region", Text),
    ("is_publisher", Flag),
    ("kind", Enum("STANDARD")),
    ("attributes", Map),
    ("disconnect_reason", Enum("UNKNOWN_REASON")),
    ("kind_details", List),
    ("data_tracks", Messages(&DATA_TRACK)),
    ("client_protocol", Number),
    ("capabilities", List),
]);
static PERMISSION: Schema = Schema(&[
    ("can_subscribe", Flag),
    ("can_publish", Flag),
    ("can_publish_data", Flag),
    ("can_publish_sources", List),
    ("hidden", Flag),
    ("recorder", Flag),
    ("can_update_metadata", Flag),
    ("agent", Flag),
    ("can_subscribe_metrics", Flag),
    ("can_manage_agent_session", Flag),
]);
static TRACK: Schema = Schema(&[
    ("sid", Text),
    ("type", Enum("AUDIO")),
    ("name", Text),
    ("muted", Flag),
    ("width", Number),
    ("height", Number),
    ("simulcast", Flag),
    ("disable_dtx", Flag),
    ("source", Enum("UNKNOWN")),
    ("layers", Messages(&LAYER)),
    ("mime_type", Text),
    ("mid", Text),
    ("codecs", Messages(&TRACK_CODEC)),
    ("stereo", Flag),
    ("disable_red", Flag),
    ("encryption", Enum("NONE")),
    ("stream", Text),
    ("version", Message(&VERSION)),
    ("audio_features", List),
    ("backup_codec_policy", Enum("PREFER_REGRESSION")),
    ("packet_trailer_features", List),
]);
static LAYER: Schema = Schema(&[
    ("quality", Enum("LOW")),
    ("width", Number),
    ("height", Number),
    ("bitrate", Number),
    ("ssrc", Number),
    ("spatial_layer", Number),
    ("rid", Text),
    ("repair_ssrc", Number),
]);
static TRACK_CODEC: Schema = Schema(&[
    ("mime_type", Text),
    ("mid", Text),
    ("cid", Text),
    ("layers", Messages(&LAYER)),
    ("video_layer_mode", Enum("MODE_UNUSED")),
    ("sdp_cid", Text),
]);
static DATA_TRACK: Schema = Schema(&[
    ("pub_handle", Number),
    ("sid", Text),
    ("name", Text),
    ("encryption", Enum("NONE")),
    ("frame_encoding", Other),
    ("schema", Other),
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto;

    #[test]
    fn rooms_are_written_with_every_field() {
        let rooms = proto::ListRoomsResponse {
            rooms: vec![proto::Room {
                sid: "RM_x".to_owned(),
                name: "räum \"1\"".to_owned(),
                empty_timeout: 300,
                creation_time: 12,
                enabled_codecs: vec![proto::Codec {
                    mime: "audio/opus".to_owned(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
        };
        assert_eq!(
            encode(&rooms, &LIST_ROOMS),
            "{\"rooms\":[{\"sid\":\"RM_x\",\"name\":\"räum \\\"1\\\"\",\"empty_timeout\":300,\
             \"departure_timeout\":0,\"max_participants\":0,\"creation_time\":\"12\",\
             \"creation_time_ms\":\"0\",\"turn_password\":\"\",\"enabled_codecs\":[{\"mime\":\"audio/opus\",\
             \"fmtp_line\":\"\"}],\"metadata\":\"\",\"num_participants\":0,\"num_publishers\":0,\
             \"active_recording\":false,\"version\":null}]}"
        );
        assert_eq!(
            encode(&proto::ListRoomsResponse::default(), &LIST_ROOMS),
            "{\"rooms\":[]}"
        );
        assert_eq!(encode(&proto::DeleteRoomResponse {}, &EMPTY), "{}");
        assert_eq!(
            encode(&proto::MuteRoomTrackResponse::default(), &MUTE_TRACK),
            "{\"track\":null}"
        );
    }

    #[test]
    fn no_field_of_an_answer_is_missing_in_the_tables() {
        let track = proto::TrackInfo {
            version: Some(proto::TimedVersion {
                unix_micro: 5,
                ticks: 0,
            }),
            codecs: vec![proto::SimulcastCodecInfo {
                layers: vec![proto::VideoLayer {
                    quality: proto::VideoQuality::High.into(),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            audio_features: vec![proto::AudioTrackFeature::TfStereo.into()],
            ..Default::default()
        };
        let participant = proto::ParticipantInfo {
            state: proto::participant_info::State::Active.into(),
            tracks: vec![track],
            permission: Some(proto::ParticipantPermission::default()),
            attributes: [("a".to_owned(), "b".to_owned())].into(),
            data_tracks: vec![proto::DataTrackInfo::default()],
            ..Default::default()
        };
        let text = encode(&participant, &PARTICIPANT);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["state"], "ACTIVE");
        assert_eq!(value["attributes"]["a"], "b");
        assert_eq!(value["tracks"][0]["version"]["unix_micro"], "5");
        assert_eq!(value["tracks"][0]["codecs"][0]["layers"][0]["quality"], "HIGH");
        assert_eq!(value["tracks"][0]["audio_features"][0], "TF_STEREO");
        assert_eq!(value["data_tracks"][0]["schema"], Value::Null);
        // Reading it back gives the same message: nothing was lost or misspelt.
        let mut without_nulls = value;
        normalize(&mut without_nulls);
        let read: proto::ParticipantInfo = serde_json::from_value(without_nulls).expect("readable");
        assert_eq!(read, participant);
    }

    #[test]
    fn input_is_tolerant_where_the_reference_is() {
        let read = |text: &str| decode::<proto::CreateRoomRequest>(text.as_bytes());
        let seconds = |text: &str| read(text).map(|request| request.empty_timeout);
        assert_eq!(seconds("{\"empty_timeout\":\"7\"}"), Some(7));
        assert_eq!(seconds("{\"emptyTimeout\":7.0,\"nope\":1}"), Some(7));
        assert_eq!(seconds("{\"metadata\":null} x"), Some(0));
        for bad in [
            "",
            "null",
            "\"x\"",
            "[]",
            "{",
            "\u{feff}{}",
            "{\"name\":5}",
            "{\"empty_timeout\":-7}",
            "{\"empty_timeout\":7.5}",
            "{\"emptyTimeout\":5,\"empty_timeout\":6}",
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        assert!(decode::<proto::ListRoomsRequest>(b"{\"names\":[\"\xFF\"]}").is_none());
    }
}
