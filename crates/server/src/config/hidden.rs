//! What of a configuration may be shown: never the values of secrets, nor of keys that nobody knows,
//! for a misspelt password is one, too.

use super::keys::{self, Kind};
use super::tree::{At, Node, Value};

/// Stands for a value that is not shown.
const HIDDEN: &str = "<hidden>";

/// Whether the values of a key are secrets. `path` as in the table or as written.
pub(super) fn is_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path);
    path == "keys"
        || path.starts_with("keys.")
        || ["password", "credential", "secret"]
            .iter()
            .any(|word| name.contains(word) && !name.ends_with("_file"))
}

/// A value as it may be shown: secrets not at all, addresses without user, password and query.
pub(super) fn shown(path: &str, value: &str) -> String {
    if is_secret(path) {
        return HIDDEN.to_owned();
    }
    let words = value.split(", ").map(|word| {
        let Some((scheme, rest)) = word.split_once("://") else {
            return word.to_owned();
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
            None => format!("{scheme}://{authority}{path}"),
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A document's parts: which may be shown.
#[derive(Debug, Default)]
pub(super) struct Parts {
    open: Vec<At>,
    closed: Vec<At>,
    /// The texts of what is closed.
    secrets: Vec<String>,
}

impl Parts {
    pub(super) fn of(root: &Node) -> Self {
        let mut parts = Self::default();
        parts.node("", true, root);
        // A secret may contain another one.
        parts
            .secrets
            .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        parts
    }

    fn node(&mut self, table: &str, open: bool, node: &Node) {
        match &node.value {
            Value::Scalar { text, .. } if open && !table.is_empty() => {
                if shown(table, text) == *text {
                    self.open.push(node.at);
                } else {
                    self.close(text, node.at);
                }
            }
            Value::Scalar { text, .. } => self.close(text, node.at),
            Value::List(items) => {
                let (open, table) = (open && !table.is_empty(), format!("{table}[]"));
                items.iter().for_each(|item| self.node(&table, open, item));
            }
            Value::Map(fields) => {
                for (name, at, node) in fields {
                    self.open.push(*at);
                    let (table, known) = child(table, name);
                    self.node(&table, open && known && !is_secret(&table), node);
                }
            }
        }
    }

    fn close(&mut self, text: &str, at: At) {
        self.closed.push(at);
        // Shorter ones are parts of many words.
        if text.len() >= 4 {
            self.secrets.push(text.to_owned());
        }
    }

    /// A message without the secrets of the document (a value may stand elsewhere by an alias).
    pub(super) fn message(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(secret, HIDDEN);
        }
        text
    }

    /// A line in which `*` stands for each character that is not shown.
    pub(super) fn line(&self, number: usize, line: &str) -> String {
        let within = |parts: &[At], column: usize| {
            parts.iter().any(|at| {
                let end = if at.several_lines {
                    usize::MAX
                } else {
                    at.column + at.width
                };
                at.line == number && (at.column..end).contains(&column)
            })
        };
        let shown = line.chars().enumerate().map(|(index, character)| {
            let (open, closed) = (within(&self.open, index + 1), within(&self.closed, index + 1));
            // What is neither is punctuation, or a comment.
            if !closed && (open || " \t{}[]:,-&\"'".contains(character)) {
                character
            } else {
                '*'
            }
        });
        shown.collect()
    }
}

/// The key of a field in the table, and whether it is one.
fn child(table: &str, name: &str) -> (String, bool) {
    let path = if table.is_empty() {
        name.to_owned()
    } else {
        format!("{table}.{name}")
    };
    if keys::find(&path).is_some() {
        return (path, true);
    }
    match keys::find(table).map(|key| key.kind) {
        // The long forms, and what has names of its own.
        Some(Kind::Ports | Kind::NodeIp | Kind::MapDuration | Kind::Presets) => (table.to_owned(), true),
        Some(Kind::MapObjects) => (format!("{table}.<n>"), true),
        _ => (path, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_what_opens_them() {
        for (value, expected) in [
            ("redis://u:p@host:6379/1", "redis://<hidden>@host:6379/1"),
            (
                "https://a/x?token=t, https://u@b",
                "https://a/x, https://<hidden>@b",
            ),
            ("https://u:p@ss@host", "https://<hidden>@host"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(shown("webhook.urls", value), expected);
        }
    }

    #[test]
    fn secrets_are_known_by_their_names() {
        for (path, secret) in [
            ("keys", true),
            ("redis.sentinel_password", true),
            ("rtc.turn_servers[0].credential", true),
            ("rtc.turn_servers[].secret", true),
            ("rtc.turn_servers[].secret_file", false),
            ("webhook.api_key", false),
            ("key_file", false),
        ] {
            assert_eq!(is_secret(path), secret, "{path}");
        }
    }
}
