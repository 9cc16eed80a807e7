//! Compares what was recorded with what was found; knows the placeholders of the recordings.

use crate::common::{KEY, SECOND_SECRET, SECRET, unix_s};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use protocol::token::{self, Keys};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Lists with names.
static COMMON: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../vectors/signal/common.json")).expect("named lists")
});

/// What was learnt in one case: the same placeholder stands for the same value.
#[derive(Clone, Default)]
pub struct Learnt {
    values: BTreeMap<String, String>,
    /// Claims of `<jwt:n>`.
    pub tokens: Map<String, Value>,
    /// Versions of participants may be below the recorded ones.
    pub loose_versions: bool,
}

/// Splits at placeholders: (text before, placeholder without brackets).
fn split(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(start) = text[from..].find('<').map(|at| at + from) {
        let end = start + text[start..].find('>')?;
        let inside = &text[start + 1..end];
        if !inside.is_empty() && !inside.contains(['<', '"', '\n']) {
            return Some((&text[..start], inside, &text[end + 1..]));
        }
        from = start + 1;
    }
    None
}

/// `<x x300>` stands for 300 times `x`.
fn repeated(inside: &str) -> Option<String> {
    let (unit, count) = inside.split_once(" x")?;
    Some(unit.repeat(count.parse().ok()?))
}

/// `<15000 bytes>` stands for so many bytes of one kind, in base64.
fn bytes_of(inside: &str) -> Option<usize> {
    inside.strip_suffix(" bytes")?.parse().ok()
}

impl Learnt {
    pub fn new(tokens: Map<String, Value>) -> Self {
        Self {
            tokens,
            ..Self::default()
        }
    }

    /// A value to send in place of placeholders: what was learnt, or something of that kind.
    pub fn fill(&self, text: &str) -> String {
        let Some((before, inside, after)) = split(text) else {
            return text.to_owned();
        };
        let kind = inside.split(':').next().unwrap_or_default();
        let value = match self.values.get(inside) {
            Some(value) => value.clone(),
            None => repeated(inside).unwrap_or_else(|| match kind {
                "foundation" | "sess_version" => "1".to_owned(),
                "priority" => "2122260223".to_owned(),
                "sess_id" => "4611731400430051336".to_owned(),
                "ufrag" => "abcdefgh".to_owned(),
                "pwd" => "abcdefghabcdefghabcdefgh".to_owned(),
                "fingerprint" => ["AB"; 32].join(":"),
                "time_ms" => "1700000000000".to_owned(),
                "uuid" => {
                    let number = inside.split(':').nth(1).unwrap_or_default();
                    format!("5f0c8a52-0000-4000-8000-{number:0>12}")
                }
                _ if bytes_of(inside).is_some() => {
                    STANDARD.encode(vec![b'x'; bytes_of(inside).unwrap_or_default()])
                }
                prefix if prefix.ends_with('_') => format!("{prefix}neverheardof"),
                prefix if prefix.starts_with("TR_") => format!("{prefix}neverheardof"),
                other => panic!("nothing to send for <{other}>"),
            }),
        };
        format!("{before}{value}{}", self.fill(after))
    }

    /// [`Self::fill`] in every string.
    pub fn fill_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.fill(text)),
            Value::Array(items) => items.iter().map(|item| self.fill_all(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.fill_all(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// Tells beforehand what a placeholder stands for.
    pub fn learn(&mut self, placeholder: &str, value: &str) {
        let inside = placeholder.trim_start_matches('<').trim_end_matches('>');
        self.values.insert(inside.to_owned(), value.to_owned());
    }

    /// What was learnt, by value: the placeholder that stands for it.
    pub fn names(&self) -> BTreeMap<String, String> {
        let values = self.values.iter();
        values
            .map(|(inside, value)| (value.clone(), format!("<{inside}>")))
            .collect()
    }

    /// Where `found` is not what was recorded.
    pub fn compare(&mut self, recorded: &Value, found: &Value) -> Result<(), String> {
        self.differ(recorded, found)
            .map_err(|(path, problem)| format!("at {path}: {problem}"))
    }

    fn differ(&mut self, recorded: &Value, found: &Value) -> Result<(), (String, String)> {
        let under = |name: &str| {
            let name = name.to_owned();
            move |(path, problem): (String, String)| (format!("{name}.{path}"), problem)
        };
        match (recorded, found) {
            (Value::String(name), Value::Array(_)) if COMMON.contains_key(name) => {
                let recorded = COMMON[name].clone();
                self.differ(&recorded, found).map_err(under(name))
            }
            (Value::String(text), Value::String(value)) => {
                self.text(text, value).map_err(|problem| (String::new(), problem))
            }
            // SSRCs: numbers, recorded as placeholders.
            (Value::String(text), Value::Number(value)) if text.starts_with('<') => self
                .text(text, &value.to_string())
                .map_err(|problem| (String::new(), problem)),
            (Value::Object(fields), Value::Object(others)) => {
                for (name, value) in fields {
                    // Any description will do: its content is another test's business, ids are random.
                    if name == "sdp" || (name == "id" && fields.contains_key("sdp")) {
                        continue;
                    }
                    // Counts are gathered for 5 s: what a snapshot says depends on when it is taken.
                    if name == "numParticipants" || name == "num_participants" {
                        continue;
                    }
                    let lower = |other: &Value| other.as_u64() < value.as_u64();
                    if self.loose_versions && name == "version" && others.get(name).is_some_and(lower) {
                        continue;
                    }
                    let other = others
                        .get(name)
                        .ok_or_else(|| (name.clone(), format!("missing, recorded {value}")))?;
                    self.differ(value, other).map_err(under(name))?;
                }
                let more = others
                    .keys()
                    .find(|name| !fields.contains_key(*name) && *name != "numParticipants");
                match more {
                    Some(name) => Err((name.clone(), format!("not recorded: {}", others[name]))),
                    None => Ok(()),
                }
            }
            (Value::Array(items), Value::Array(others)) => {
                let (items, others) = (sorted(items), sorted(others));
                for (index, (item, other)) in items.iter().zip(&others).enumerate() {
                    self.differ(item, other).map_err(under(&index.to_string()))?;
                }
                if items.len() == others.len() {
                    Ok(())
                } else {
                    Err((
                        String::new(),
                        format!("{} items, recorded {}", others.len(), items.len()),
                    ))
                }
            }
            _ if recorded == found => Ok(()),
            _ => Err((String::new(), format!("found {found}, recorded {recorded}"))),
        }
    }

    /// Compares texts; placeholders fit as short a piece as possible.
    pub fn text(&mut self, recorded: &str, found: &str) -> Result<(), String> {
        let problem = || format!("found {found:.300?}, recorded {recorded:.300?}");
        let Some((before, inside, after)) = split(recorded) else {
            return if recorded == found { Ok(()) } else { Err(problem()) };
        };
        let rest = found.strip_prefix(before).ok_or_else(problem)?;
        if let Some(literal) = repeated(inside) {
            let rest = rest.strip_prefix(&literal).ok_or_else(problem)?;
            return self.text(after, rest);
        }
        let literal = split(after).map_or(after, |(literal, _, _)| literal);
        let length = if literal.is_empty() {
            rest.len()
        } else {
            rest.find(literal).ok_or_else(problem)?
        };
        self.value(inside, &rest[..length])?;
        self.text(after, &rest[length..])
    }

    fn value(&mut self, inside: &str, found: &str) -> Result<(), String> {
        let kind = inside.split(':').next().unwrap_or_default();
        let digits = |count: usize| found.len() == count && found.bytes().all(|byte| byte.is_ascii_digit());
        let plausible = match kind {
            "time_s" => digits(10),
            "time_ms" => digits(13),
            "time_us" => digits(16),
            "time_ns" => digits(19),
            "ssrc" => found.parse::<u32>().is_ok_and(|ssrc| ssrc > 0),
            "foundation" | "priority" => !found.is_empty() && digits(found.len()),
            "sif_trailer" => STANDARD.decode(found).is_ok_and(|bytes| bytes.len() >= 12),
            "turn_password" | "ufrag" | "pwd" => found.len() >= 4,
            "jwt" => return self.token(inside, found),
            "uuid" => found.len() == 36,
            _ if bytes_of(inside).is_some() => {
                let sent = vec![b'x'; bytes_of(inside).unwrap_or_default()];
                STANDARD.decode(found).is_ok_and(|bytes| bytes == sent)
            }
            prefix => found.len() > prefix.len() + 4 && found.starts_with(prefix),
        };
        if !plausible {
            return Err(format!("{found:?} is not a <{kind}>"));
        }
        if !inside.contains(':') {
            return Ok(());
        }
        if let Some((other, _)) = self
            .values
            .iter()
            .find(|(other, value)| *value == found && *other != inside)
        {
            return Err(format!("{found:?} is <{other}>, not <{inside}>"));
        }
        let known = self
            .values
            .entry(inside.to_owned())
            .or_insert_with(|| found.to_owned());
        if known == found {
            Ok(())
        } else {
            Err(format!("{found:?} instead of {known:?} for <{inside}>"))
        }
    }

    /// Tokens are signed by one of our keys, live, and say what the recorded ones said.
    fn token(&mut self, inside: &str, found: &str) -> Result<(), String> {
        let keys = Keys::new(vec![
            (KEY.to_owned(), SECRET.to_owned()),
            ("secondkey".to_owned(), SECOND_SECRET.to_owned()),
        ]);
        token::verify(found, &keys, unix_s() as f64).map_err(|error| format!("token: {error}"))?;
        let payload = found.split('.').nth(1).unwrap_or_default();
        let bytes = URL_SAFE_NO_PAD
            .decode(payload)
            .map_err(|error| error.to_string())?;
        let mut claims: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        for name in ["exp", "nbf", "iat"] {
            let second = claims.get(name).and_then(Value::as_i64).unwrap_or_default();
            claims.insert(name.to_owned(), Value::String(second.to_string()));
        }
        // The reference picks any of its keys.
        claims.remove("iss");
        let Some(Value::Object(mut recorded)) = self.tokens.get(&format!("<{inside}>")).cloned() else {
            return Err(format!("no claims recorded for <{inside}>"));
        };
        recorded.remove("alg");
        recorded.remove("iss");
        self.differ(&Value::Object(recorded), &Value::Object(claims))
            .map_err(|(path, problem)| format!("claims of <{inside}> at {path}: {problem}"))
    }
}

/// Lists of participants, rooms and tracks come in any order.
fn sorted(items: &[Value]) -> Vec<Value> {
    let mut items = items.to_vec();
    let key = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    if items.iter().all(|item| item["identity"].is_string()) {
        items.sort_by_key(|item| (key(item, "identity"), key(item, "state")));
    } else if items
        .iter()
        .all(|item| item["sid"].is_string() && item["name"].is_string())
    {
        items.sort_by_key(|item| key(item, "name"));
    }
    if items
        .iter()
        .all(|item| item["sid"].is_string() && item["stream"].is_string())
    {
        items.sort_by_key(|item| (key(item, "source"), key(item, "name")));
    }
    items
}
