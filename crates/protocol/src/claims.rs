//! Claims JSON → [`Claims`], with the reference's tolerance (null is zero, unknown fields are
//! passed over) and its words for a wrong type.

use crate::grants::{Claims, SipGrant, VideoGrant};
use crate::proto;
use crate::token::numeric_date;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Claims by their names. Writers in other languages spell them in their own case, which the reference
/// does not mind.
pub(crate) static CLAIMS: [&str; 18] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "identity",
    "name",
    "metadata",
    "kind",
    "kindDetails",
    "attributes",
    "video",
    "sip",
    "roomConfig",
    "roomPreset",
    "sha256",
];

static VIDEO: [&str; 18] = [
    "roomCreate",
    "roomList",
    "roomRecord",
    "roomAdmin",
    "roomJoin",
    "room",
    "canPublish",
    "canSubscribe",
    "canPublishData",
    "canPublishSources",
    "canUpdateOwnMetadata",
    "ingressAdmin",
    "hidden",
    "recorder",
    "agent",
    "canSubscribeMetrics",
    "canManageAgentSession",
    "destinationRoom",
];

/// The names within a claim.
pub(crate) fn claims_below(claim: &str) -> &'static [&'static str] {
    match claim {
        "video" => &VIDEO,
        "sip" => &["admin", "call"],
        _ => &[],
    }
}

/// Decodes claims. `text` is the JSON they were parsed from: the position of a bad value inside
/// `roomConfig` is part of the reference's text.
pub(crate) fn decode_claims(fields: &Map<String, Value>, text: &str) -> Result<Claims, String> {
    let reader = Reader {
        fields,
        owner: "ClaimGrants",
        path: "",
    };
    let subject = reader.text("sub")?;
    let identity = if subject.is_empty() {
        reader.text("jti")?
    } else {
        subject
    };
    let expires = numeric_date(fields.get("exp")).ok().flatten().unwrap_or(0.0);
    Ok(Claims {
        api_key: reader.text("iss")?,
        identity,
        name: reader.text("name")?,
        metadata: reader.text("metadata")?,
        kind: reader.text("kind")?,
        kind_details: reader.texts("kindDetails")?,
        attributes: reader.map("attributes")?,
        video: reader
            .object("video", "VideoGrant")?
            .map(decode_video)
            .transpose()?,
        sip: reader.object("sip", "SIPGrant")?.map(decode_sip).transpose()?,
        room_config: decode_room_config(fields.get("roomConfig"), text)?,
        room_preset: reader.text("roomPreset")?,
        sha256: reader.text("sha256")?,
        expires_at_s: unix_seconds(expires),
    })
}

fn decode_video(reader: Reader<'_>) -> Result<VideoGrant, String> {
    Ok(VideoGrant {
        room_create: reader.flag("roomCreate")?.unwrap_or(false),
        room_list: reader.flag("roomList")?.unwrap_or(false),
        room_record: reader.flag("roomRecord")?.unwrap_or(false),
        room_admin: reader.flag("roomAdmin")?.unwrap_or(false),
        room_join: reader.flag("roomJoin")?.unwrap_or(false),
        room: reader.text("room")?,
        can_publish: reader.flag("canPublish")?,
        can_subscribe: reader.flag("canSubscribe")?,
        can_publish_data: reader.flag("canPublishData")?,
        can_publish_sources: reader.texts("canPublishSources")?,
        can_update_own_metadata: reader.flag("canUpdateOwnMetadata")?,
        ingress_admin: reader.flag("ingressAdmin")?.unwrap_or(false),
        hidden: reader.flag("hidden")?.unwrap_or(false),
        recorder: reader.flag("recorder")?.unwrap_or(false),
        agent: reader.flag("agent")?.unwrap_or(false),
        can_subscribe_metrics: reader.flag("canSubscribeMetrics")?,
        can_manage_agent_session: reader.flag("canManageAgentSession")?,
        destination_room: reader.text("destinationRoom")?,
    })
}

fn decode_sip(reader: Reader<'_>) -> Result<SipGrant, String> {
    Ok(SipGrant {
        admin: reader.flag("admin")?.unwrap_or(false),
        call: reader.flag("call")?.unwrap_or(false),
    })
}

/// Fields of one JSON object, read with the types of a Go struct.
struct Reader<'a> {
    fields: &'a Map<String, Value>,
    owner: &'a str,
    path: &'a str,
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Result<String, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.mismatch(name, other, "string")),
        }
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.mismatch(name, other, "bool")),
        }
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|item| self.element(name, item)).collect(),
            Some(other) => Err(self.mismatch(name, other, "[]string")),
        }
    }

    fn map(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(BTreeMap::new()),
            Some(Value::Object(items)) => items
                .iter()
                .map(|(key, item)| Ok((key.clone(), self.element(name, item)?)))
                .collect(),
            Some(other) => Err(self.mismatch(name, other, "map[string]string")),
        }
    }

    fn object(&self, name: &'a str, owner: &'a str) -> Result<Option<Self>, String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self {
                fields,
                owner,
                path: name,
            })),
            Some(other) => Err(self.mismatch(name, other, &format!("auth.{owner}"))),
        }
    }

    fn element(&self, name: &str, item: &Value) -> Result<String, String> {
        item.as_str()
            .map(str::to_owned)
            .ok_or_else(|| self.mismatch(name, item, "string"))
    }

    fn mismatch(&self, name: &str, value: &Value, wanted: &str) -> String {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let field = if self.path.is_empty() {
            format!("{}.{name}", self.owner)
        } else {
            format!("{}.ClaimGrants.{}.{name}", self.owner, self.path)
        };
        format!("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}")
    }
}

fn decode_room_config(value: Option<&Value>, text: &str) -> Result<Option<Value>, String> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match serde_json::from_value::<proto::RoomConfiguration>(value.clone()) {
        Ok(_) => Ok(Some(value.clone())),
        Err(error) => Err(bad_number(value, text).unwrap_or_else(|| format!("proto: {error}"))),
    }
}

/// The reference's words for a number that is none, with its position inside `roomConfig`.
fn bad_number(config: &Value, text: &str) -> Option<String> {
    let names = [
        "emptyTimeout",
        "departureTimeout",
        "maxParticipants",
        "minPlayoutDelay",
        "maxPlayoutDelay",
    ];
    let name = names.into_iter().find(|name| {
        config
            .get(name)
            .is_some_and(|value| serde_json::from_value::<u32>(value.clone()).is_err())
    })?;
    let value = config.get(name)?.to_string();
    let start = text.find("\"roomConfig\"")?;
    let config_text = text.get(start + "\"roomConfig\"".len()..)?;
    let config_text = config_text.get(config_text.find('{')?..)?;
    let field = config_text.find(&format!("\"{name}\""))?;
    let offset = field + config_text.get(field..)?.find(&value)?;
    let before = config_text.get(..offset)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    Some(format!(
        "proto: (line {line}:{column}): invalid value for uint32 field {name}: {value}"
    ))
}

/// Whole seconds, towards the past; saturating.
#[allow(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is what is wanted"
)]
fn unix_seconds(value: f64) -> i64 {
    value.floor() as i64
}
