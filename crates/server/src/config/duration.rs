//! Durations as Go writes them: `300ms`, `1.5h`, `2m30s`.

use std::time::Duration;

/// Reads a duration. A bare number has no unit and is none; neither are negative ones of use here.
#[must_use]
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match rest.get(..end)? {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = rest.get(end..)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2m30s"), Some(Duration::from_secs(150)));
        assert_eq!(parse("7.5s"), Some(Duration::from_millis(7500)));
        assert_eq!(parse("5m0s"), Some(Duration::from_secs(300)));
        assert_eq!(parse("0"), Some(Duration::ZERO));
        for bad in ["", "5", "5 parsecs", "s", "-5s", "5x", "1.2.3s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
