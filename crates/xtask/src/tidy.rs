//! The house rules that no compiler checks. Prints every breach, then fails.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates each crate may depend on (ARCHITECTURE.md, "arrows").
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("udp", &[]),
    ("dtls", &["wire"]),
    ("heap", &[]),
    ("peer", &["wire", "dtls"]),
    ("media", &["wire", "peer"]),
    ("protocol", &[]),
    ("room", &["protocol", "media", "wire"]),
    (
        "server",
        &["wire", "udp", "heap", "peer", "media", "protocol", "room"],
    ),
    ("testkit", &["wire", "peer", "media", "protocol", "room"]),
    ("xtask", &[]),
    (
        "bench",
        &[
            "wire", "udp", "heap", "peer", "media", "protocol", "room", "server", "testkit",
        ],
    ),
    ("attack", &["wire", "peer", "protocol", "bench"]),
    ("fuzz", &["wire", "udp", "peer", "room", "protocol", "media"]),
];

/// Sans-IO crates: they link the shared lint file.
const CORES: &[&str] = &["wire", "peer", "media", "protocol", "room", "testkit"];

/// Where C is called: the system, the DTLS library, and the allocator.
const UNSAFE: [&str; 3] = ["crates/udp/", "crates/dtls/", "crates/heap/"];

/// Longest file of code, tests not counted.
const LINES_MAX: usize = 700;

/// Test files where a name in docs/parity.md may stand.
const TEST_ENDINGS: &[&str] = &["rs", "mjs", "ts", "py"];

/// Checks the tree below `root`.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let files = tracked(root)?;
    let mut breaches = Vec::new();
    for path in &files {
        let Ok(text) = fs::read_to_string(root.join(path)) else {
            continue;
        };
        let shown = path.display().to_string();
        if shown.ends_with(".rs") {
            rust_file(&shown, &text, &mut breaches);
        }
        if !shown.ends_with("tidy.rs") {
            words(&shown, &text, &mut breaches);
        }
    }
    arrows(root, &mut breaches)?;
    cores(root, &mut breaches);
    parity(root, &files, &mut breaches)?;
    references(root, &files, &mut breaches);
    if breaches.is_empty() {
        return Ok(());
    }
    for breach in &breaches {
        eprintln!("{breach}");
    }
    bail!("{} breaches of the house rules", breaches.len());
}

fn tracked(root: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git cannot be started")?;
    Ok(String::from_utf8_lossy(&listed.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect())
}

fn rust_file(shown: &str, text: &str, breaches: &mut Vec<String>) {
    if !text.trim_start().starts_with("//!") && !text.starts_with("#!") {
        breaches.push(format!(
            "{shown}:1: starts without `//!` (what it owns, what it must not know)"
        ));
    }
    let is_test = shown.contains("/tests/") || shown.ends_with("tests.rs") || shown.contains("/examples/");
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let lines = code.lines().count();
    if !is_test && lines > LINES_MAX {
        breaches.push(format!(
            "{shown}:{LINES_MAX}: {lines} lines of code, more than {LINES_MAX}: split it"
        ));
    }
    let crate_root = shown.ends_with("src/lib.rs") || shown.ends_with("src/main.rs");
    if crate_root
        && !UNSAFE.iter().any(|folder| shown.starts_with(folder))
        && !code.contains("#![forbid(unsafe_code)]")
        && !shown.starts_with("bench/")
        && shown != "fuzz/src/lib.rs"
    {
        breaches.push(format!(
            "{shown}:1: lacks `#![forbid(unsafe_code)]` (only crates/udp, crates/dtls, crates/heap and counting allocators may hold unsafe)"
        ));
    }
    for (index, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        if bare.starts_with("#[ignore") || bare.starts_with("#[should_panic") {
            breaches.push(format!("{shown}:{}: {bare} is not allowed", index + 1));
        }
    }
}

/// Words that have no place in the project: paths of somebody's machine, leftovers.
fn words(shown: &str, text: &str, breaches: &mut Vec<String>) {
    const BANNED: &[&str] = &["/root/", "/home/", "FIXME", "XXX:", "<<<<<<< ", ">>>>>>> "];
    if shown.ends_with(".lock")
        || shown.ends_with("package-lock.json")
        || shown.contains("vectors/")
        || shown.contains("corpus/")
    {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        for word in BANNED {
            if line.contains(word) {
                breaches.push(format!("{shown}:{}: `{word}` does not belong here", index + 1));
            }
        }
    }
}

fn arrows(root: &Path, breaches: &mut Vec<String>) -> Result<()> {
    for (name, allowed) in ARROWS {
        let folder = if matches!(*name, "attack" | "bench" | "fuzz") {
            (*name).to_owned()
        } else {
            format!("crates/{name}")
        };
        let manifest = root.join(&folder).join("Cargo.toml");
        if !manifest.exists() {
            continue;
        }
        let text = fs::read_to_string(&manifest)?;
        let normal = text.split("[dev-dependencies]").next().unwrap_or(&text);
        let dependencies = normal.split("[dependencies]").nth(1).unwrap_or("");
        for line in dependencies.lines().take_while(|line| !line.starts_with('[')) {
            let used = line.split(['=', '.', ' ']).next().unwrap_or("").trim();
            let ours = ARROWS.iter().any(|(other, _)| *other == used);
            if ours && !allowed.contains(&used) {
                breaches.push(format!(
                    "{folder}/Cargo.toml: `{name}` must not depend on `{used}`"
                ));
            }
        }
    }
    Ok(())
}

fn cores(root: &Path, breaches: &mut Vec<String>) {
    let shared = fs::read_to_string(root.join("lints/core.clippy.toml")).unwrap_or_default();
    for name in CORES {
        let own = fs::read_to_string(root.join(format!("crates/{name}/clippy.toml"))).unwrap_or_default();
        if own.is_empty() || own != shared {
            breaches.push(format!(
                "crates/{name}/clippy.toml: must be lints/core.clippy.toml"
            ));
        }
    }
}

/// docs/parity.md: known states, and every named test exists.
fn parity(root: &Path, files: &[PathBuf], breaches: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(root.join("docs/parity.md")).context("docs/parity.md is missing")?;
    let tests = test_names(root, files);
    let mut rows = BTreeSet::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, row, _, _, state, named, ..] = cells.as_slice() else {
            continue;
        };
        let mut letters = row.chars();
        if !letters.next().is_some_and(|c| c.is_ascii_uppercase())
            || !letters.all(|c| c.is_ascii_digit())
            || row.len() < 2
        {
            continue;
        }
        let at = format!("docs/parity.md:{}: {row}", index + 1);
        if !rows.insert((*row).to_owned()) {
            breaches.push(format!("{at} stands twice"));
        }
        let names: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        match *state {
            "done" if names.is_empty() => breaches.push(format!("{at} is done, but names no test")),
            "done" | "partly" | "no" => {}
            other => breaches.push(format!("{at} has the unknown state `{other}`")),
        }
        for name in names {
            if !tests.contains(name) {
                breaches.push(format!("{at} names the test `{name}`, which does not exist"));
            }
        }
    }
    if rows.len() < 300 {
        breaches.push(format!("docs/parity.md: only {} rows", rows.len()));
    }
    Ok(())
}

/// Texts of others that ours name.
const FOREIGN: &[&str] = &["docs/BWE.md", "AGENT.md"];

/// Where a text may lie that a comment names without its folder.
const SHELVES: &[&str] = &["", "docs", "docs/spec"];

/// Every text that a file names exists.
fn references(root: &Path, files: &[PathBuf], breaches: &mut Vec<String>) {
    for path in files {
        let endings = [".rs", ".md", ".mjs", ".js", ".py", ".toml", ".yaml"];
        let shown = path.display().to_string();
        let Ok(text) = fs::read_to_string(root.join(path)) else {
            continue;
        };
        if shown.contains("vectors/") || !endings.iter().any(|ending| shown.ends_with(ending)) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for name in texts_named(line).filter(|name| !FOREIGN.contains(name)) {
                let beside = path.parent().map(|folder| root.join(folder).join(name));
                let shelved = SHELVES.iter().map(|shelf| root.join(shelf).join(name));
                if !beside.into_iter().chain(shelved).any(|place| place.exists()) {
                    breaches.push(format!("{shown}:{}: there is no {name}", index + 1));
                }
            }
        }
    }
}

/// The names of Markdown files in a line, addresses of other sites left out.
fn texts_named(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_ascii_alphanumeric() || "._-/:".contains(c)))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| word.ends_with(".md") && word.len() > ".md".len() && !word.contains("://"))
}

/// Names of all tests: functions behind a test attribute, and first arguments of `test(…)`.
fn test_names(root: &Path, files: &[PathBuf]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !TEST_ENDINGS.contains(&ending) {
            continue;
        }
        let Ok(text) = fs::read_to_string(root.join(path)) else {
            continue;
        };
        if ending == "rs" {
            rust_tests(&text, &mut names);
        } else {
            for call in ["test(", "it("] {
                for piece in text.split(call).skip(1) {
                    let quote = piece.chars().next().unwrap_or(' ');
                    if matches!(quote, '\'' | '"' | '`')
                        && let Some(name) = piece[1..].split(quote).next()
                    {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
    }
    names
}

fn rust_tests(text: &str, names: &mut BTreeSet<String>) {
    let mut armed = false;
    for line in text.lines() {
        let bare = line.trim();
        if bare.starts_with("#[test]") || bare.starts_with("#[tokio::test") {
            armed = true;
        } else if armed && (bare.starts_with("fn ") || bare.starts_with("async fn ")) {
            let name = bare
                .trim_start_matches("async ")
                .trim_start_matches("fn ")
                .split(['(', '<'])
                .next()
                .unwrap_or("");
            names.insert(name.to_owned());
            armed = false;
        } else if bare.starts_with("fn ") && text.contains("proptest!") {
            // Inside `proptest!` the attribute stands before the function all the same.
            armed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_where_prose_and_links_name_them() {
        let named = |line: &str| -> Vec<String> { texts_named(line).map(str::to_owned).collect() };
        assert_eq!(
            named("// `media.md` §6, as docs/differences.md."),
            ["media.md", "docs/differences.md"]
        );
        assert_eq!(
            named("see [the map](../ARCHITECTURE.md#arrows)"),
            ["../ARCHITECTURE.md"]
        );
        assert_eq!(named("https://example.org/README.md and *.md, .md"), [""; 0]);
    }
}
