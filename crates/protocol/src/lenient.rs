//! JSON as Go's `encoding/json` reads it, where that forgives more than RFC 8259: what the reference
//! takes from people's own token writers has to work here.
//!
//! Tokens are read so, and what clients and the API send as JSON. Owns: broken text (half an emoji, Latin-1 bytes) and the case of names. Must not know: what the
//! names mean.

use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// JSON text in which everything that is no Unicode has become U+FFFD: bytes that are no UTF-8, and what
/// [`mend_text`] mends. Borrowed when there is nothing to mend.
#[must_use]
pub fn mend(json: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(json) {
        Cow::Borrowed(text) => mend_text(text),
        Cow::Owned(text) => match mend_text(&text) {
            Cow::Owned(mended) => Cow::Owned(mended),
            Cow::Borrowed(_) => Cow::Owned(text),
        },
    }
}

/// JSON text in which escapes of one half of a surrogate pair have become U+FFFD: `name.slice(0, n)` in
/// JavaScript cuts an emoji so. No longer than before; borrowed when there is nothing to mend.
#[must_use]
pub fn mend_text(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut mended = String::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        match surrogate(text, at) {
            Some(half) if is_high(half) && surrogate(text, at + 6).is_some_and(is_low) => at += 12,
            Some(_) => {
                mended.push_str(&text[kept..at]);
                mended.push_str("\\ufffd");
                at += 6;
                kept = at;
            }
            // Any other escape: what follows the backslash is its own, even another backslash.
            None => at += 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        }
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    mended.push_str(&text[kept..]);
    Cow::Owned(mended)
}

/// The surrogate that an escape at this place stands for.
fn surrogate(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    // `from_str_radix` takes a sign, JSON does not.
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let unit = u16::from_str_radix(digits, 16).ok()?;
    (is_high(unit) || is_low(unit)).then_some(unit)
}

const fn is_high(unit: u16) -> bool {
    matches!(unit, 0xD800..=0xDBFF)
}

const fn is_low(unit: u16) -> bool {
    matches!(unit, 0xDC00..=0xDFFF)
}

/// Reads a JSON object whose names may be in any case: those of `known` get their own spelling, and of
/// several the last in the text counts. `below` has the names within a field, one level deeper.
///
/// # Errors
/// When the text is no JSON object.
pub(crate) fn read_object(
    text: &str,
    known: &'static [&'static str],
    below: fn(&str) -> &'static [&'static str],
) -> Result<Map<String, Value>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = Names { known, below }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(fields)
}

#[derive(Clone, Copy)]
struct Names {
    known: &'static [&'static str],
    below: fn(&str) -> &'static [&'static str],
}

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let spelled = self.known.iter().find(|known| known.eq_ignore_ascii_case(&name));
            let name = spelled.map_or(name, |known| (*known).to_owned());
            let known = (self.below)(&name);
            let value = match known {
                [] => map.next_value()?,
                known => match map.next_value()? {
                    Inner::Object(inner) => Value::Object(inner.spelled(known)),
                    Inner::Other(value) => value,
                },
            };
            fields.insert(name, value);
        }
        Ok(fields)
    }
}

/// A field that may be an object with known names, or anything else.
#[derive(Deserialize)]
#[serde(untagged)]
enum Inner {
    Object(InOrder),
    Other(Value),
}

/// The fields of an object in the order of the text.
struct InOrder(Vec<(String, Value)>);

impl InOrder {
    fn spelled(self, known: &[&str]) -> Map<String, Value> {
        let spell = |(name, value): (String, Value)| {
            let spelled = known.iter().find(|known| known.eq_ignore_ascii_case(&name));
            (spelled.map_or(name, |known| (*known).to_owned()), value)
        };
        self.0.into_iter().map(spell).collect()
    }
}

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(InOrder(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_unicode_becomes_the_replacement_character() {
        for (json, mended) in [
            (
                &br#"{"a":"plain \u00eb \\ud83d"}"#[..],
                r#"{"a":"plain \u00eb \\ud83d"}"#,
            ),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""x\ud83d""#, r#""x\ufffd""#),
            (br#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (br#""\uD83D\u0041""#, r#""\ufffd\u0041""#),
            (br#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (br#""\\\ud83d""#, r#""\\\ufffd""#),
            (b"\"J\xfcrgen\"", "\"J\u{fffd}rgen\""),
            (br#""\ud8""#, r#""\ud8""#),
            (br#""\u+d83""#, r#""\u+d83""#),
            (b"\"\\", "\"\\"),
        ] {
            assert_eq!(mend(json), mended, "{}", String::from_utf8_lossy(json));
        }
        assert!(matches!(mend(br#"{"a":"\u00eb"}"#), Cow::Borrowed(_)));
        assert!(matches!(mend(br#"{"a":"\ud83d\ude00"}"#), Cow::Borrowed(_)));
        assert_eq!(mend(b"\"\xfc\\ud83d\""), "\"\u{fffd}\\ufffd\"");
    }

    #[test]
    fn the_last_spelling_of_a_name_counts() {
        let map = read_object(
            r#"{"Video":{"RoomJoin":false,"roomJoin":true,"Other":1},"sub":"a","SUB":"b","attributes":{"Sub":"x"}}"#,
            &["sub", "video"],
            |name| if name == "video" { &["roomJoin"] } else { &[] },
        )
        .unwrap();
        let expected = serde_json::json!({
            "video": {"roomJoin": true, "Other": 1},
            "sub": "b",
            "attributes": {"Sub": "x"},
        });
        assert_eq!(Value::Object(map), expected);
    }
}
