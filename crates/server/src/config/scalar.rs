//! What a plain scalar stands for, as Go's yaml.v3 resolves it: a number may be written `0x1ef0`, `0b11`, `0o17`,
//! `017`, `7_880` or `7.88e3`.

/// A plain scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

/// Resolves a scalar that has no quotes.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Plain::Float(f64::NEG_INFINITY),
        _ => {}
    }
    let first = text.as_bytes().first().copied().unwrap_or_default();
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'-' | b'.')) {
        return Plain::Text;
    }
    let digits = text.replace('_', "");
    if let Some(number) = whole(&digits) {
        return Plain::Int(number);
    }
    // Rust reads `inf` and `nan`, too, which are text here.
    let decimal = digits.bytes().all(|byte| b"+-.0123456789eE".contains(&byte));
    digits
        .parse()
        .ok()
        .filter(|_| decimal)
        .map_or(Plain::Text, Plain::Float)
}

/// A whole number with Go's prefixes. What does not fit 64 bits is none.
pub(super) fn whole(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some(_) if lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // `from_str_radix` takes a sign, which has been read already.
    if !digits.bytes().all(|digit| digit.is_ascii_alphanumeric()) {
        return None;
    }
    let size = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let number = if negative { -size } else { size };
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// A flag in YAML: quotes hide `true` and `false`, but not the words that YAML 1.1 had for them.
pub(super) fn flag(text: &str, quoted: bool) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => match resolve(text) {
            Plain::Bool(flag) if !quoted => Some(flag),
            Plain::Bool(_) | Plain::Null | Plain::Int(_) | Plain::Float(_) | Plain::Text => None,
        },
    }
}

/// A flag on the command line and in the environment.
pub(super) fn argument_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" => Some(true),
        "0" | "f" | "F" => Some(false),
        _ => flag(text, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_many_ways() {
        for (text, expected) in [
            ("7880", Plain::Int(7880)),
            ("+7880", Plain::Int(7880)),
            ("-1", Plain::Int(-1)),
            ("0x1ec8", Plain::Int(7880)),
            ("0X1EC8", Plain::Int(7880)),
            ("-0x10", Plain::Int(-16)),
            ("0b101", Plain::Int(5)),
            ("0o17", Plain::Int(15)),
            ("017", Plain::Int(15)),
            ("0", Plain::Int(0)),
            ("00", Plain::Int(0)),
            ("7_880", Plain::Int(7880)),
            ("0x_1e_c8", Plain::Int(7880)),
            ("18446744073709551615", Plain::Int(i128::from(u64::MAX))),
            ("18446744073709551616", Plain::Float(18_446_744_073_709_551_616.0)),
            ("089", Plain::Float(89.0)),
            ("7.88e3", Plain::Float(7880.0)),
            (".5", Plain::Float(0.5)),
            ("1.", Plain::Float(1.0)),
            ("-.inf", Plain::Float(f64::NEG_INFINITY)),
        ] {
            assert_eq!(resolve(text), expected, "{text}");
        }
        for text in [
            "_1", "0x", "0x+1", "--1", "+", "-", ".", "1e", "1.2.3", "inf", "nan", "-inf", "0b2", "5s",
            "yes", "tRUE",
        ] {
            assert_eq!(resolve(text), Plain::Text, "{text}");
        }
    }

    #[test]
    fn quotes_hide_true_but_not_yes() {
        for (text, quoted, expected) in [
            ("true", false, Some(true)),
            ("FALSE", false, Some(false)),
            ("true", true, None),
            ("yes", true, Some(true)),
            ("Off", false, Some(false)),
            ("oN", false, None),
            ("1", false, None),
            ("", false, None),
        ] {
            assert_eq!(flag(text, quoted), expected, "{text}");
        }
        assert_eq!(
            ["1", "f", "TRUE", "2"].map(argument_flag),
            [Some(true), Some(false), Some(true), None]
        );
    }
}
