//! The table of keys: what may be written, of which kind, and which key was probably meant.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Full path, `[]` for list elements, `<n>` for map keys.
    pub path: &'static str,
    /// Kind of its value.
    pub kind: Kind,
    /// Default as text, empty for the kind's zero.
    pub default: &'static str,
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int,
    Int32,
    Float,
    Bool,
    Text,
    Duration,
    /// A port or `a-b`.
    Ports,
    /// `v4`, `v6` or `v4,v6`.
    NodeIp,
    Object,
    Texts,
    Durations,
    Floats,
    Objects,
    MapObjects,
    MapDuration,
    MapText,
    /// Name → RoomConfiguration.
    Presets,
}

impl Kind {
    fn of_name(name: &str) -> Self {
        match name {
            "uint8" => Self::Uint8,
            "uint16" => Self::Uint16,
            "uint32" => Self::Uint32,
            "uint64" => Self::Uint64,
            "int" | "int64" => Self::Int,
            "int32" => Self::Int32,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "string" => Self::Text,
            "duration" => Self::Duration,
            "ports" => Self::Ports,
            "node_ip" => Self::NodeIp,
            "object" => Self::Object,
            "strings" => Self::Texts,
            "durations" => Self::Durations,
            "floats" => Self::Floats,
            "objects" => Self::Objects,
            "map_objects" => Self::MapObjects,
            "map_duration" => Self::MapDuration,
            "map_string" => Self::MapText,
            "presets" => Self::Presets,
            other => unreachable!("the table has no kind {other}"),
        }
    }

    /// One value, writable as a flag.
    #[must_use]
    pub const fn is_scalar(self) -> bool {
        matches!(
            self,
            Self::Uint8
                | Self::Uint16
                | Self::Uint32
                | Self::Uint64
                | Self::Int
                | Self::Int32
                | Self::Float
                | Self::Bool
                | Self::Text
                | Self::Duration
        )
    }

    /// Least and greatest value of a kind of whole numbers.
    pub(super) fn bounds(self) -> Option<RangeInclusive<i128>> {
        let (least, greatest) = match self {
            Self::Uint8 => (0, u8::MAX.into()),
            Self::Uint16 => (0, u16::MAX.into()),
            Self::Uint32 => (0, u32::MAX.into()),
            Self::Uint64 => (0, u64::MAX.into()),
            Self::Int => (i64::MIN.into(), i64::MAX.into()),
            Self::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Self::Float
            | Self::Bool
            | Self::Text
            | Self::Duration
            | Self::Ports
            | Self::NodeIp
            | Self::Object
            | Self::Texts
            | Self::Durations
            | Self::Floats
            | Self::Objects
            | Self::MapObjects
            | Self::MapDuration
            | Self::MapText
            | Self::Presets => return None,
        };
        Some(least..=greatest)
    }

    /// For error messages.
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Uint8 => "a whole number from 0 to 255",
            Self::Uint16 => "a whole number from 0 to 65535",
            Self::Uint32 | Self::Uint64 => "a whole number, not negative",
            Self::Int | Self::Int32 => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::Text => "text",
            Self::Duration => "a duration with its unit, like 500ms, 5s or 2m",
            Self::Ports => "a port or a range of ports, like 7882 or 50000-60000",
            Self::NodeIp => "an IPv4 address, an IPv6 address, or both separated by a comma",
            Self::Object => "keys and values",
            Self::Texts => "a list of texts",
            Self::Durations => "a list of durations",
            Self::Floats => "a list of numbers",
            Self::Objects => "a list of keys and values",
            Self::MapObjects => "numbered entries of keys and values",
            Self::MapDuration => "numbered durations",
            Self::MapText => "names and texts",
            Self::Presets => "names of presets with their settings",
        }
    }
}

static TABLE: LazyLock<BTreeMap<&'static str, KeySpec>> = LazyLock::new(|| {
    include_str!("keys.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut columns = line.split('\t');
            let path = columns.next().unwrap_or_default();
            let kind = Kind::of_name(columns.next().unwrap_or_default());
            let default = columns.next().unwrap_or_default();
            (path, KeySpec { path, kind, default })
        })
        .collect()
});

/// Every key, sorted.
pub fn all() -> impl Iterator<Item = &'static KeySpec> {
    TABLE.values()
}

/// The key of a path.
#[must_use]
pub fn find(path: &str) -> Option<&'static KeySpec> {
    TABLE.get(path)
}

/// The keys directly below a path (empty: the top).
pub(super) fn children(parent: &str) -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied().filter(move |path| {
        let rest = if parent.is_empty() {
            Some(*path)
        } else {
            path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'))
        };
        rest.is_some_and(|rest| !rest.contains('.'))
    })
}

/// The right key that is nearest to a wrong one: a sibling that is spelt alike, else the same name
/// in another section.
#[must_use]
pub fn nearest(parent: &str, name: &str) -> Option<&'static str> {
    let allowed = (name.len() / 3).clamp(1, 3);
    let sibling = children(parent)
        .map(|path| (distance(last(path), name), path))
        .filter(|(distance, _)| *distance <= allowed)
        .min();
    if let Some((_, path)) = sibling {
        return Some(path);
    }
    let elsewhere = TABLE.keys().copied().find(|path| last(path) == name);
    elsewhere.or_else(|| {
        TABLE
            .keys()
            .copied()
            .map(|path| (distance(last(path), name), path))
            .filter(|(distance, _)| *distance <= 2.min(allowed))
            .min()
            .map(|(_, path)| path)
    })
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Edits between two words, a swap of neighbours counting as one.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(all().count() > 400);
        assert_eq!(
            find("room.empty_timeout").map(|key| (key.kind, key.default)),
            Some((Kind::Uint32, "300"))
        );
        // Every key with a parent has that parent in the table.
        for key in all() {
            if let Some((parent, _)) = key.path.rsplit_once('.') {
                let parent = parent.trim_end_matches("[]").trim_end_matches(".<n>");
                assert!(find(parent).is_some(), "{}", key.path);
            }
        }
    }

    #[test]
    fn wrong_keys_have_a_nearest_right_one() {
        assert_eq!(nearest("room", "emtpy_timeout"), Some("room.empty_timeout"));
        assert_eq!(nearest("", "prot"), Some("port"));
        assert_eq!(nearest("", "max_participants"), Some("room.max_participants"));
        assert_eq!(nearest("rtc", "udpport"), Some("rtc.udp_port"));
        assert_eq!(nearest("", "xyzzyx"), None);
    }
}
