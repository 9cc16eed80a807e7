//! What a description says, without what differs between runs: keys, addresses, random numbers, and
//! the order of lines that have none.

use std::collections::BTreeMap;

/// A section by its name (`session`, or its place and mid), and its lines with how often they stand there.
pub(crate) type Facts = BTreeMap<String, BTreeMap<String, usize>>;

/// Lines about where and with which keys: other tests' business, and different each time.
const PASSED_OVER: [&str; 10] = [
    "o=",
    "c=",
    "a=candidate:",
    "a=end-of-candidates",
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=fingerprint:",
    "a=rtcp:",
    // Offered once, and gone as soon as an answer leaves it out: which offer that is, is chance.
    "a=rtcp-fb:0 nack",
    "a=rtcp-fb:8 nack",
];

/// Reads a description. `names` are placeholders of values that differ between runs, by value.
pub(crate) fn facts(sdp: &str, names: &BTreeMap<String, String>) -> Facts {
    let mut facts = Facts::new();
    for (number, section) in sections(sdp).into_iter().enumerate() {
        let mid = section.iter().find_map(|line| line.strip_prefix("a=mid:"));
        let name = match (number, mid) {
            (0, _) => "session".to_owned(),
            (_, mid) => format!("section {} (mid {})", number - 1, mid.unwrap_or("missing")),
        };
        let lines = facts.entry(name).or_default();
        for line in plain(&section) {
            let mut line = line;
            for (value, placeholder) in names {
                line = line.replace(value, placeholder);
            }
            *lines.entry(line).or_default() += 1;
        }
    }
    facts
}

/// The lines of a section, with SSRCs numbered in order of their appearance.
fn plain(section: &[&str]) -> Vec<String> {
    let repairs: Vec<&str> = section
        .iter()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(" rtx/90000"))
        .collect();
    let left_out = profile_2(section);
    let inactive = section.contains(&"a=inactive");
    let mut ssrcs: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for line in section {
        let format = line
            .split_once(':')
            .filter(|(name, _)| ["a=rtpmap", "a=fmtp", "a=rtcp-fb"].contains(name))
            .and_then(|(_, rest)| rest.split(' ').next());
        if PASSED_OVER.iter().any(|start| line.starts_with(start))
            // Nothing flows on it, however it would be encoded.
            || inactive && (line.starts_with("m=") || line.starts_with("a=fmtp:"))
            || format.is_some_and(|format| left_out.contains(&format))
        {
            continue;
        }
        if line.starts_with("m=") {
            lines.push(media_line(line, &[&repairs[..], &left_out].concat()));
        } else if let Some((ssrc, rest)) = line.strip_prefix("a=ssrc:").and_then(|line| line.split_once(' '))
        {
            let number = ssrcs.iter().position(|known| *known == ssrc).unwrap_or_else(|| {
                ssrcs.push(ssrc);
                ssrcs.len() - 1
            });
            lines.push(format!("a=ssrc:#{number} {rest}"));
        } else if let Some(group) = line.strip_prefix("a=ssrc-group:") {
            let mut words = group.split(' ');
            let semantics = words.next().unwrap_or_default();
            lines.push(format!("a=ssrc-group:{semantics} of {}", words.count()));
        } else {
            lines.push((*line).to_owned());
        }
    }
    lines
}

/// VP9 in profile 2 and its repair: the reference takes it where its payload type stands for
/// profile 1 in another section, we do not (docs/differences.md).
fn profile_2<'a>(section: &[&'a str]) -> Vec<&'a str> {
    let with = |fmtp: &str| {
        section
            .iter()
            .find_map(|line| line.strip_prefix("a=fmtp:")?.strip_suffix(fmtp))
    };
    let Some(format) = with(" profile-id=2") else {
        return Vec::new();
    };
    let repair = with(&format!(" apt={format}"));
    [Some(format), repair].into_iter().flatten().collect()
}

fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        if let Some(last) = sections.last_mut() {
            last.push(line);
        }
    }
    sections
}

/// Kind, whether it is in use, protocol, and formats in order of preference: repairs have none.
fn media_line(line: &str, repairs: &[&str]) -> String {
    let mut words = line.split(' ');
    let kind = words.next().unwrap_or_default();
    let port = if words.next() == Some("0") { "0" } else { "9" };
    let rest = words.filter(|word| !repairs.contains(word));
    format!("{kind} {port} {}", rest.collect::<Vec<_>>().join(" "))
}

/// Leaves out sections on which the server may send.
pub(crate) fn only_received(recorded: &mut Facts, found: &mut Facts) {
    let sends = |facts: &Facts| -> Vec<String> {
        let sections = facts.iter().filter(|(_, lines)| {
            let media = lines
                .keys()
                .any(|line| line.starts_with("m=audio") || line.starts_with("m=video"));
            media && !lines.contains_key("a=recvonly")
        });
        sections.map(|(name, _)| name.clone()).collect()
    };
    for name in sends(recorded).into_iter().chain(sends(found)) {
        recorded.remove(&name);
        found.remove(&name);
    }
}

/// Lines that only one of both has.
pub(crate) fn differences(recorded: &Facts, found: &Facts) -> Vec<String> {
    let mut all: Vec<&String> = recorded.keys().chain(found.keys()).collect();
    all.sort();
    all.dedup();
    let none = BTreeMap::new();
    let mut differences = Vec::new();
    for section in all {
        let there = recorded.get(section).unwrap_or(&none);
        let here = found.get(section).unwrap_or(&none);
        for (line, _) in there
            .iter()
            .filter(|(line, count)| here.get(*line) != Some(count))
        {
            differences.push(format!("{section}: missing {line}"));
        }
        for (line, _) in here
            .iter()
            .filter(|(line, count)| there.get(*line) != Some(count))
        {
            differences.push(format!("{section}: not recorded {line}"));
        }
    }
    differences
}
