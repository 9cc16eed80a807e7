//! What stands in a recorded client's transcript, read before it is played.

use crate::replay::{Recording, text_of};
use serde_json::Value;

/// What a client did and got between two marks.
pub(crate) struct Phase {
    pub(crate) mark: String,
    /// When it began on the client's clock.
    pub(crate) ms: u64,
    pub(crate) frames: Vec<Value>,
}

/// A transcript, cut at its marks, and once before the first one: clients joined one after the
/// other, and went on together when they were connected.
pub(crate) fn phases_of(frames: &[Value]) -> Vec<Phase> {
    let mut phases = vec![Phase {
        mark: String::new(),
        ms: 0,
        frames: Vec::new(),
    }];
    for frame in frames {
        match frame["mark"].as_str() {
            Some(mark) => phases.push(Phase {
                mark: mark.to_owned(),
                ms: frame["ms"].as_u64().unwrap_or_default(),
                frames: Vec::new(),
            }),
            None => {
                if let Some(phase) = phases.last_mut() {
                    phase.frames.push(frame.clone());
                }
            }
        }
    }
    let connected = |frame: &Value| frame["dir"] == "c" && frame["msg"]["subscriptionPermission"].is_object();
    let at = phases[0].frames.iter().position(connected).map_or(0, |at| at + 1);
    let frames = phases[0].frames.split_off(at);
    let together = Phase {
        mark: String::new(),
        ms: 0,
        frames,
    };
    phases.insert(1, together);
    phases
}

/// Without the SSRCs of layers, which are told as their packets come, counts that are gathered for
/// seconds, the number of
/// changes, some of which the reference tells twice, and whether media has connected yet.
pub(crate) fn without_chance(message: &Value) -> Value {
    let chance = |name: &str, value: &Value| {
        ["ssrc", "repairSsrc", "numPublishers"].contains(&name)
            || name == "version" && value.is_number()
            || value == "JOINED"
            || value == "ACTIVE"
    };
    match message {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, value)| !chance(name, value))
            .map(|(name, value)| (name.clone(), without_chance(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_chance).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => message.clone(),
    }
}

/// An update without the participants that are told once more before the next mark.
pub(crate) fn last_told(frame: &Value, later: &[Value]) -> Value {
    let participants = |frame: &Value| {
        let list = frame["msg"]["update"]["participants"].as_array();
        list.cloned().unwrap_or_default()
    };
    let mut frame = frame.clone();
    let mut list = participants(&frame);
    list.retain(|participant| {
        let again = |other: &Value| other["identity"] == participant["identity"];
        !later.iter().any(|frame| participants(frame).iter().any(again))
    });
    frame["msg"]["update"]["participants"] = list.into();
    frame
}

/// The `cid`s of a client's tracks are the ids in its own descriptions, which are recorded as they
/// were: (placeholder, id).
pub(crate) fn track_ids(recording: &Recording, frames: &[Value]) -> Vec<(String, String)> {
    let mut waiting: Vec<(String, bool)> = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    let mut ids = Vec::new();
    for frame in frames {
        let request = &frame["msg"]["addTrack"];
        if frame["dir"] == "c" && request.is_object() {
            waiting.push((text_of(&request["cid"]), request["type"] == "VIDEO"));
        }
        for request in frame["join_request"]["addTrackRequests"]
            .as_array()
            .into_iter()
            .flatten()
        {
            waiting.push((text_of(&request["cid"]), request["type"] == "VIDEO"));
        }
        let offers = [
            &frame["msg"]["offer"]["sdp"],
            &frame["join_request"]["publisherOffer"]["sdp"],
        ];
        let Some(offer) = offers
            .into_iter()
            .find(|sdp| !sdp.is_null() && frame["dir"] != "s")
        else {
            continue;
        };
        let sdp = recording.unpacked(offer);
        let mut video = false;
        for line in sdp.lines() {
            if let Some(kind) = line.strip_prefix("m=") {
                video = kind.starts_with("video");
            }
            let id = line
                .strip_prefix("a=msid:")
                .and_then(|line| line.split(' ').nth(1));
            let Some(id) = id.filter(|id| !seen.iter().any(|seen| seen == id)) else {
                continue;
            };
            seen.push(id.to_owned());
            if let Some(at) = waiting.iter().position(|(_, kind)| *kind == video) {
                ids.push((waiting.remove(at).0, id.to_owned()));
            }
        }
    }
    ids
}
