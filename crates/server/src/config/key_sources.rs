//! API keys and their secrets: from the configuration, from `--keys` or LIVEKIT_KEYS, from a key file.

use super::build::{ConfigError, Sources, read_file};
use super::scalar::{self, Plain};
use super::settings::Settings;
use super::tree::{self, Node, Value};
use protocol::token::Keys;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What the sources of keys give.
pub(super) struct Read {
    pub(super) keys: Keys,
    /// Keys of `--keys` whose secrets are no texts.
    pub(super) without_text: Vec<String>,
}

/// `--keys` replaces what is configured; a key file adds to both and counts where both name a key. `get` reads
/// the environment.
pub(super) fn read(
    sources: &Sources,
    settings: &Settings,
    get: impl Fn(&str) -> Option<String>,
) -> Result<Read, ConfigError> {
    let mut without_text = Vec::new();
    let mut pairs = match sources.keys.as_deref().filter(|text| !text.trim().is_empty()) {
        Some(text) => {
            let (pairs, others) = from_text(text)?;
            without_text = others;
            pairs
        }
        None => settings.map("keys").cloned().unwrap_or_default(),
    };
    let key_file = sources.key_file.as_deref().or_else(|| settings.text("key_file"));
    if let Some(path) = key_file.filter(|path| !path.is_empty()) {
        pairs.extend(from_file(&expand(path, get))?);
    }
    Ok(Read {
        keys: Keys::new(pairs.into_iter().collect()),
        without_text,
    })
}

type Pairs = BTreeMap<String, String>;

/// `key: secret` lines, or the same map in any form of YAML. As in the reference, a secret that YAML reads as a
/// number, a flag or nothing is none.
fn from_text(text: &str) -> Result<(Pairs, Vec<String>), ConfigError> {
    let form = "Could not parse keys, it needs to be exactly, \"key: secret\", including the space";
    let fields = match tree::parse(text) {
        Ok(Some(Node {
            value: Value::Map(fields),
            ..
        })) => fields,
        Ok(_) => return Err(ConfigError(form.to_owned())),
        // What the parser says may repeat a secret.
        Err(problem) => {
            let (line, column) = (problem.at.line, problem.at.column);
            return Err(ConfigError(format!("{form} (line {line}, column {column})")));
        }
    };
    let (mut pairs, mut others) = (Pairs::new(), Vec::new());
    for (name, _, node) in fields {
        match node.value {
            Value::Scalar { text, quoted } if quoted || scalar::resolve(&text) == Plain::Text => {
                pairs.insert(name, text);
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => others.push(name),
        }
    }
    if pairs.is_empty() && !others.is_empty() {
        let text = format!("{form}: no secret is a text, put them into quotes");
        return Err(ConfigError(text));
    }
    Ok((pairs, others))
}

fn from_file(path: &str) -> Result<Pairs, ConfigError> {
    let metadata = std::fs::metadata(path)
        .map_err(|_| ConfigError(format!("stat {path}: no such file or directory")))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(ConfigError(
            "key file others permissions must be set to 0".to_owned(),
        ));
    }
    let text = read_file(Path::new(path))?;
    let bad = |line: usize, column: usize, text: &str| ConfigError(format!("{path}:{line}:{column}: {text}"));
    let form = "expected `key: secret` lines";
    let root = match tree::parse(&text) {
        Ok(Some(root)) => root,
        Ok(None) => return Err(ConfigError(format!("{path}: the key file is empty"))),
        // What the parser says may repeat a secret.
        Err(problem) => return Err(bad(problem.at.line, problem.at.column, form)),
    };
    let Value::Map(fields) = root.value else {
        return Err(bad(root.at.line, root.at.column, form));
    };
    let pair = |(name, _, node): (String, _, Node)| {
        let null = node.is_null();
        match node.value {
            Value::Scalar { .. } if null => Ok((name, String::new())),
            Value::Scalar { text, .. } => Ok((name, text)),
            Value::List(_) | Value::Map(_) => Err(bad(node.at.line, node.at.column, form)),
        }
    };
    fields.into_iter().map(pair).collect()
}

/// `$NAME`, `${NAME}` and `~/` in the path of a key file.
fn expand(path: &str, get: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, behind) = braced.unwrap_or_else(|| {
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            after.split_at(end.unwrap_or(after.len()))
        });
        expanded.push_str(&get(name).unwrap_or_default());
        rest = behind;
    }
    expanded.push_str(rest);
    match expanded.strip_prefix("~/") {
        Some(below) => format!("{}/{below}", get("HOME").unwrap_or_default()),
        None => expanded,
    }
}

#[cfg(test)]
mod tests;
