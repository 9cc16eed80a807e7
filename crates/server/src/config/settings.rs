//! The tree checked against the table: every value is of its key's kind, or there is a problem with
//! a place.

use super::duration;
use super::hidden;
use super::keys::{self, Kind};
use super::scalar::{self, Plain};
use super::tree::{At, Node, Problem, Value};
use protocol::proto;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Most problems told at once.
const PROBLEMS_MAX: usize = 10;

/// Checked values by path. Unset and null keys are absent.
#[derive(Clone, Default)]
pub(super) struct Settings {
    scalars: BTreeMap<String, String>,
    lists: BTreeMap<String, Vec<String>>,
    maps: BTreeMap<String, BTreeMap<String, String>>,
    /// `room.enabled_codecs` and `room.room_configurations`.
    pub(super) codecs: Option<Vec<proto::Codec>>,
    pub(super) presets: BTreeMap<String, proto::RoomConfiguration>,
}

impl Settings {
    /// A scalar as text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.scalars.get(path).map(String::as_str)
    }

    /// A number; the kind was checked.
    pub(super) fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// A flag.
    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        self.text(path)?.parse().ok()
    }

    /// A duration.
    pub(super) fn duration(&self, path: &str) -> Option<Duration> {
        duration::parse(self.text(path)?)
    }

    /// A list of texts.
    pub(super) fn list(&self, path: &str) -> Option<&[String]> {
        self.lists.get(path).map(Vec::as_slice)
    }

    /// A map of texts, in order of the names.
    pub(super) fn map(&self, path: &str) -> Option<&BTreeMap<String, String>> {
        self.maps.get(path)
    }

    /// Every path that was given.
    pub(super) fn given(&self) -> impl Iterator<Item = (&str, String)> {
        let scalars = self
            .scalars
            .iter()
            .map(|(path, value)| (path.as_str(), value.clone()));
        let lists = self
            .lists
            .iter()
            .map(|(path, items)| (path.as_str(), items.join(", ")));
        let maps = self.maps.iter().map(|(path, items)| {
            let names: Vec<_> = items.keys().map(|name| format!("{name}: <hidden>")).collect();
            (path.as_str(), names.join(", "))
        });
        scalars.chain(lists).chain(maps)
    }

    /// Sets a scalar from a flag or the environment.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<(), String> {
        let Some(key) = keys::find(path)
            .filter(|key| key.kind.is_scalar() || key.kind == Kind::Ports || key.kind == Kind::NodeIp)
        else {
            return Err(format!("there is no key `{path}` with one value"));
        };
        let Some(read) = read_argument(key.kind, value) else {
            let value = hidden::shown(path, value);
            return Err(format!("`{value}` is not {}", key.kind.expected()));
        };
        self.scalars.insert(path.to_owned(), read);
        Ok(())
    }

    /// Replaces a list.
    pub(super) fn set_list(&mut self, path: &str, items: Vec<String>) {
        self.lists.insert(path.to_owned(), items);
    }
}

/// Checks a document. Unknown keys are problems only when `strict`.
pub(super) fn check(root: &Node, strict: bool) -> Result<Settings, Vec<Problem>> {
    let mut checker = Checker {
        settings: Settings::default(),
        problems: Vec::new(),
        strict,
    };
    match &root.value {
        Value::Map(fields) => checker.object("", "", fields),
        Value::Scalar { .. } | Value::List(_) if root.is_null() => {}
        Value::Scalar { .. } | Value::List(_) => {
            checker.problem(
                root.at,
                "the configuration must be keys and values".to_owned(),
                None,
            );
        }
    }
    if checker.problems.is_empty() {
        Ok(checker.settings)
    } else {
        Err(checker.problems)
    }
}

struct Checker {
    settings: Settings,
    problems: Vec<Problem>,
    strict: bool,
}

impl Checker {
    fn problem(&mut self, at: At, text: String, hint: Option<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { at, text, hint });
        }
    }

    /// `path` names this object; `table` is the same with `[]` and `<n>` for indices.
    fn object(&mut self, path: &str, table: &str, fields: &[(String, At, Node)]) {
        for (name, at, node) in fields {
            let join = |parent: &str| {
                if parent.is_empty() {
                    name.clone()
                } else {
                    format!("{parent}.{name}")
                }
            };
            let (path, key) = (join(path), keys::find(&join(table)));
            match key {
                None if self.strict => {
                    let hint = keys::nearest(table, name).map(|near| format!("did you mean `{near}`?"));
                    self.problem(*at, format!("unknown key `{path}`"), hint);
                }
                None => {}
                Some(_) if node.is_null() => {}
                Some(key) => self.value(&path, key.path, key.kind, node),
            }
        }
    }

    fn value(&mut self, path: &str, table: &str, kind: Kind, node: &Node) {
        match (kind, &node.value) {
            (Kind::Object, Value::Map(fields)) => self.object(path, table, fields),
            (Kind::Ports | Kind::NodeIp, Value::Map(fields)) => self.pair(path, kind, node.at, fields),
            (Kind::Objects, Value::List(items)) => self.objects(path, table, items),
            (Kind::MapObjects, Value::Map(fields)) => {
                for (name, _, node) in fields {
                    self.value(
                        &format!("{path}.{name}"),
                        &format!("{table}.<n>"),
                        Kind::Object,
                        node,
                    );
                }
            }
            (Kind::MapDuration, Value::Map(fields)) => {
                for (name, _, node) in fields {
                    self.scalar(&format!("{path}.{name}"), Kind::Duration, node);
                }
            }
            (Kind::MapText, Value::Map(fields)) => self.texts_by_name(path, fields),
            (Kind::Presets, Value::Map(fields)) => self.presets(path, fields),
            (Kind::Texts, Value::List(items)) => self.list(path, Kind::Text, items),
            (Kind::Durations, Value::List(items)) => self.list(path, Kind::Duration, items),
            (Kind::Floats, Value::List(items)) => self.list(path, Kind::Float, items),
            (_, Value::Scalar { .. }) => self.scalar(path, kind, node),
            (_, Value::List(_)) => self.mismatch(path, kind, node.at, "a list"),
            (_, Value::Map(_)) => self.mismatch(path, kind, node.at, "keys and values"),
        }
    }

    fn scalar(&mut self, path: &str, kind: Kind, node: &Node) {
        let Value::Scalar { text, quoted } = &node.value else {
            return self.mismatch(path, kind, node.at, "a collection");
        };
        if let Some(read) = read_scalar(kind, text, *quoted) {
            self.settings.scalars.insert(path.to_owned(), read);
            return;
        }
        let text = &hidden::shown(path, text);
        let hint = if kind == Kind::Duration && text.parse::<f64>().is_ok() {
            Some(format!("did you mean `{text}s`?"))
        } else if kind == Kind::Texts {
            Some(format!("did you mean `[{text}]`?"))
        } else {
            None
        };
        let expected = kind.expected();
        self.problem(
            node.at,
            format!("`{path}` must be {expected}, not `{text}`"),
            hint,
        );
    }

    fn mismatch(&mut self, path: &str, kind: Kind, at: At, found: &str) {
        let expected = kind.expected();
        self.problem(at, format!("`{path}` must be {expected}, not {found}"), None);
    }

    fn list(&mut self, path: &str, kind: Kind, items: &[Node]) {
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let read = match &item.value {
                Value::Scalar { .. } if kind == Kind::Text && item.is_null() => Some(String::new()),
                Value::Scalar { text, quoted } => read_scalar(kind, text, *quoted),
                Value::List(_) | Value::Map(_) => None,
            };
            if let Some(read) = read {
                texts.push(read);
            } else {
                self.mismatch(&format!("{path}[{index}]"), kind, item.at, "this");
            }
        }
        self.settings.lists.insert(path.to_owned(), texts);
    }

    fn objects(&mut self, path: &str, table: &str, items: &[Node]) {
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match &item.value {
                Value::Map(fields) => self.object(&path, &format!("{table}[]"), fields),
                Value::Scalar { .. } | Value::List(_) => {
                    self.mismatch(&path, Kind::Object, item.at, "this");
                }
            }
        }
        if path == "room.enabled_codecs" {
            let text = |index: usize, name: &str| {
                let path = format!("{path}[{index}].{name}");
                self.settings.text(&path).unwrap_or_default().to_owned()
            };
            let codecs = (0..items.len()).map(|index| proto::Codec {
                mime: text(index, "mime"),
                fmtp_line: text(index, "fmtp_line"),
            });
            self.settings.codecs = Some(codecs.collect());
        }
    }

    /// The long form of ports (`start`, `end`) and addresses (`v4`, `v6`).
    fn pair(&mut self, path: &str, kind: Kind, at: At, fields: &[(String, At, Node)]) {
        let ports = kind == Kind::Ports;
        let (first, second, separator) = if ports {
            ("start", "end", "-")
        } else {
            ("v4", "v6", ",")
        };
        let mut values = [String::new(), String::new()];
        for (name, key_at, node) in fields {
            let Value::Scalar { text, .. } = &node.value else {
                return self.mismatch(&format!("{path}.{name}"), kind, node.at, "this");
            };
            let name = name.to_lowercase();
            if name == first {
                values[0].clone_from(text);
            } else if name == second {
                values[1].clone_from(text);
            } else if self.strict {
                let hint = format!("`{first}` and `{second}` are allowed");
                self.problem(*key_at, format!("unknown key `{path}.{name}`"), Some(hint));
            }
        }
        let given: Vec<_> = values
            .into_iter()
            .filter(|value| !value.is_empty() && value != "0")
            .collect();
        let text = given.join(separator);
        if let Some(read) = read_scalar(kind, &text, false) {
            self.settings.scalars.insert(path.to_owned(), read);
        } else {
            self.mismatch(path, kind, at, &text);
        }
    }

    fn texts_by_name(&mut self, path: &str, fields: &[(String, At, Node)]) {
        let mut texts = BTreeMap::new();
        for (name, _, node) in fields {
            match &node.value {
                Value::Scalar { text, .. } => {
                    // An empty secret, which opens nothing, and not one that anybody can guess.
                    let text = if node.is_null() { "" } else { text };
                    texts.insert(name.clone(), text.to_owned());
                }
                Value::List(_) | Value::Map(_) => {
                    self.mismatch(&format!("{path}.{name}"), Kind::Text, node.at, "this");
                }
            }
        }
        self.settings.maps.insert(path.to_owned(), texts);
    }

    fn presets(&mut self, path: &str, fields: &[(String, At, Node)]) {
        for (name, at, node) in fields {
            if let Value::Map(inner) = &node.value {
                self.preset_keys(&format!("{path}.{name}"), inner);
            }
            match serde_json::from_value::<proto::RoomConfiguration>(json(node)) {
                Ok(preset) => {
                    self.settings.presets.insert(name.clone(), preset);
                }
                Err(error) => self.problem(*at, format!("`{path}.{name}`: {error}"), None),
            }
        }
    }

    fn preset_keys(&mut self, path: &str, fields: &[(String, At, Node)]) {
        const KEYS: [&str; 11] = [
            "name",
            "empty_timeout",
            "departure_timeout",
            "max_participants",
            "metadata",
            "egress",
            "min_playout_delay",
            "max_playout_delay",
            "sync_streams",
            "agents",
            "tags",
        ];
        for (name, at, _) in fields {
            let snake: String = name.chars().flat_map(snake_letter).collect();
            if self.strict && !KEYS.contains(&snake.as_str()) {
                let hint = format!("expected one of {}", KEYS.join(", "));
                self.problem(*at, format!("unknown key `{path}.{name}`"), Some(hint));
            }
        }
    }
}

fn snake_letter(letter: char) -> Vec<char> {
    if letter.is_ascii_uppercase() {
        vec!['_', letter.to_ascii_lowercase()]
    } else {
        vec![letter]
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar { text, quoted: true } => Json::String(text.clone()),
        Value::Scalar { text, .. } => match scalar::resolve(text) {
            Plain::Null => Json::Null,
            Plain::Bool(flag) => Json::Bool(flag),
            Plain::Int(number) => match (i64::try_from(number), u64::try_from(number)) {
                (Ok(number), _) => Json::from(number),
                (_, Ok(number)) => Json::from(number),
                _ => Json::String(text.clone()),
            },
            Plain::Float(number) => Json::from(number),
            Plain::Text => Json::String(text.clone()),
        },
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(fields) => Json::Object(
            fields
                .iter()
                .filter(|(_, _, node)| !node.is_null())
                .map(|(name, _, node)| (name.clone(), json(node)))
                .collect::<Map<_, _>>(),
        ),
    }
}

/// A value in YAML as canonical text, when it is of the kind. Quotes make a text of a number, so that it is none.
fn read_scalar(kind: Kind, text: &str, quoted: bool) -> Option<String> {
    let plain = if quoted {
        Plain::Text
    } else {
        scalar::resolve(text)
    };
    if kind.bounds().is_some() {
        // As the reference takes it: what is behind the point is cut off.
        match plain {
            Plain::Int(number) => whole(kind, number),
            Plain::Float(number) if number.is_finite() => whole(kind, number as i128),
            Plain::Null | Plain::Bool(_) | Plain::Float(_) | Plain::Text => None,
        }
    } else if kind == Kind::Float {
        match plain {
            Plain::Int(number) => Some(number.to_string()),
            Plain::Float(number) => Some(number.to_string()).filter(|_| number.is_finite()),
            Plain::Null | Plain::Bool(_) | Plain::Text => None,
        }
    } else if kind == Kind::Bool {
        scalar::flag(text, quoted).map(|flag| flag.to_string())
    } else if kind == Kind::Duration && plain != Plain::Text {
        None
    } else {
        read_text(kind, text)
    }
}

/// A value on the command line or in the environment as canonical text, when it is of the kind.
fn read_argument(kind: Kind, text: &str) -> Option<String> {
    if kind.bounds().is_some() {
        whole(kind, scalar::whole(&text.replace('_', ""))?)
    } else if kind == Kind::Float {
        let number: f64 = text.parse().ok()?;
        number.is_finite().then(|| number.to_string())
    } else if kind == Kind::Bool {
        scalar::argument_flag(text).map(|flag| flag.to_string())
    } else {
        read_text(kind, text)
    }
}

fn whole(kind: Kind, number: i128) -> Option<String> {
    kind.bounds()?.contains(&number).then(|| number.to_string())
}

fn read_text(kind: Kind, text: &str) -> Option<String> {
    let fits = kind == Kind::Text
        || kind == Kind::Duration && duration::parse(text).is_some()
        || kind == Kind::Ports && read_ports(text).is_some()
        || kind == Kind::NodeIp && read_addresses(text).is_some();
    fits.then(|| text.to_owned())
}

/// `a` or `a-b` with a ≤ b; nothing (or 0) is `(0, 0)`.
pub(super) fn read_ports(text: &str) -> Option<(u16, u16)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let Some((start, end)) = text.split_once('-') else {
        let port = text.trim().parse().ok()?;
        return Some((port, port));
    };
    let (start, end) = (start.trim().parse().ok()?, end.trim().parse().ok()?);
    (start <= end).then_some((start, end))
}

/// Addresses separated by a comma.
pub(super) fn read_addresses(text: &str) -> Option<Vec<IpAddr>> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect()
}
