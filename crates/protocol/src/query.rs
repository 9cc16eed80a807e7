//! Query strings, read as the reference reads them: first value wins, `+` is a blank, a pair with a
//! broken escape is dropped.

/// Parameters that are read, at most: each costs much more memory than its text, and clients send
/// about thirty. Further ones are passed over.
const PARAMETERS_MAX: usize = 1000;

/// A parsed query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses what follows the `?`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.contains(';'))
            .take(PARAMETERS_MAX)
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((unescape(name)?, unescape(value)?))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.pairs.iter().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// The first value, empty when absent.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// `1` and `true` are true, anything else that is given is false.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .map(|value| value == "1" || value == "true")
    }

    /// A number, 0 when absent or none.
    #[must_use]
    pub fn number(&self, name: &str) -> i32 {
        self.text(name).parse().unwrap_or(0)
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_value_wins_and_escapes_are_undone() {
        let query = Query::parse("a=1&a=2&b=%C3%A4+x&c&d=x=y=&e=%zz&f;g=1&adaptive_stream=yes");
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.get("b"), Some("ä x"));
        assert_eq!(query.get("c"), Some(""));
        assert_eq!(query.get("d"), Some("x=y="));
        assert_eq!(query.get("e"), None);
        assert_eq!(query.get("g"), None);
        assert_eq!(query.flag("a"), Some(true));
        assert_eq!(query.flag("adaptive_stream"), Some(false));
        assert_eq!(query.flag("c"), None);
        assert_eq!(query.number("d"), 0);
    }

    #[test]
    fn endless_queries_cost_no_memory() {
        let query = Query::parse(&format!("a=1&{}&z=1", "b&".repeat(100_000)));
        assert_eq!(query.pairs.len(), PARAMETERS_MAX);
        assert_eq!((query.get("a"), query.get("z")), (Some("1"), None));
    }
}
