//! What to say to a flag or a command that is not there: LiveKit's, one of a misspelt key, or one with a
//! single dash.

use super::{Arguments, TOP};
use crate::config;
use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// LiveKit's flags that this server has not, and what to do instead.
const FLAGS: [(&str, &str); 2] = [
    (
        "--cpuprofile",
        "this server writes no profiles. `perf record` profiles it from outside",
    ),
    (
        "--memprofile",
        "this server writes no profiles. `prometheus.port` exports how much memory it uses",
    ),
];

/// LiveKit's commands that this server has not, and what to do instead.
const COMMANDS: [(&str, &str); 2] = [
    (
        "list-nodes",
        "several nodes over Redis are not built yet, so there is one node: this one",
    ),
    (
        "create-join-token",
        "`lk token create` of LiveKit's command line makes tokens, as do its server SDKs",
    ),
];

/// The error in words that help, when there are any. Values are not repeated: they may be secrets.
pub(super) fn explain(arguments: &[OsString], error: &clap::Error) -> Option<clap::Error> {
    if !matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand
    ) {
        return None;
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.split('=').next().unwrap_or_default()),
        _ => None,
    };
    let wrong = context(ContextKind::InvalidSubcommand).or_else(|| context(ContextKind::InvalidArg))?;
    let text = livekits(wrong)
        .or_else(|| key(wrong))
        .or_else(|| single_dash(arguments, wrong))?;
    Some(clap::Error::raw(
        error.kind(),
        format!("{text}\n\nFor more information, try 'plenum --help'.\n"),
    ))
}

fn livekits(wrong: &str) -> Option<String> {
    let row = |rows: &[(&str, &str)]| rows.iter().find(|row| row.0 == wrong).map(|row| row.1.to_owned());
    let flag = row(&FLAGS).map(|instead| format!("LiveKit's flag `{wrong}` is not there: {instead}"));
    flag.or_else(|| {
        row(&COMMANDS).map(|instead| format!("LiveKit's command `{wrong}` is not there: {instead}"))
    })
}

/// A flag that was meant to be a key of the configuration.
fn key(wrong: &str) -> Option<String> {
    let path = wrong.strip_prefix("--")?;
    if config::find_key(path).is_some() {
        return Some(format!(
            "`{path}` has no single value: write it in the configuration (`--config`, `--config-body`)"
        ));
    }
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    // Words without a dot are clap's: it knows what they are like, but for these.
    let near = config::nearest_key(parent, name)
        .filter(|near| path.contains('.') || TOP.contains(near))
        .filter(|near| config::find_key(near).is_some_and(|key| key.kind.is_scalar()));
    match near {
        Some(near) => Some(format!("there is no flag `{wrong}`. Did you mean `--{near}`?")),
        None if path.contains('.') => Some(format!(
            "there is no flag `{wrong}`, and no key `{path}`: `plenum help-verbose` lists them"
        )),
        None => None,
    }
}

/// `-config`, which Go's programs take, is read as `-c -o …`.
fn single_dash(arguments: &[OsString], wrong: &str) -> Option<String> {
    let letter = wrong.strip_prefix('-').filter(|rest| rest.len() == 1)?;
    let flags = Arguments::command();
    // What is no flag may be a secret.
    let is_flag = |name: &str| flags.get_arguments().any(|flag| flag.get_long() == Some(name));
    let word = arguments
        .iter()
        .filter_map(|argument| argument.to_str()?.split('=').next()?.strip_prefix('-'))
        .find(|name| name.starts_with(letter) && is_flag(name))?;
    Some(format!(
        "flags of more than one letter begin with two dashes: `--{word}`"
    ))
}

#[cfg(test)]
mod tests {
    use crate::cli::parse;
    use std::ffi::OsString;

    fn refusal(arguments: &[&str]) -> String {
        let arguments = ["plenum"].iter().chain(arguments).map(OsString::from);
        parse(arguments).expect_err("refused").to_string()
    }

    #[test]
    fn a_wrong_flag_is_answered_with_the_right_one() {
        for (arguments, expected) in [
            (
                &["--cpuprofile", "out"][..],
                "LiveKit's flag `--cpuprofile` is not there: ",
            ),
            (
                &["--memprofile=out"],
                "LiveKit's flag `--memprofile` is not there: ",
            ),
            (&["list-nodes"], "LiveKit's command `list-nodes` is not there: "),
            (
                &["create-join-token", "--room", "r"],
                "LiveKit's command `create-join-token` is not there: `lk token create`",
            ),
            (
                &["--room.emtpy_timeout", "5"],
                "there is no flag `--room.emtpy_timeout`. Did you mean `--room.empty_timeout`?",
            ),
            (
                &["--prot", "5"],
                "there is no flag `--prot`. Did you mean `--port`?",
            ),
            (
                &["--nonsense.at_all"],
                "there is no flag `--nonsense.at_all`, and no key `nonsense.at_all`",
            ),
            (
                &["--room.enabled_codecs", "x"],
                "`room.enabled_codecs` has no single value",
            ),
            (&["-config", "a.yaml"], "begin with two dashes: `--config`"),
            (&["--confg", "a.yaml"], "a similar argument exists: '--config'"),
            (&["generate-key"], "a similar subcommand exists: 'generate-keys'"),
        ] {
            let text = refusal(arguments);
            assert!(text.contains(expected), "{arguments:?}: {text}");
        }
    }

    #[test]
    fn what_was_written_wrongly_is_not_repeated_where_it_may_be_a_secret() {
        for arguments in [
            &["hunter2"][..],
            &["--redis-pasword=hunter2"],
            &["--redis.passwrd=hunter2"],
            &["--cpuprofile=hunter2"],
            &["-keys=hunter2"],
            &["-khunter2"],
            &["--dev=hunter2"],
        ] {
            let text = refusal(arguments);
            assert!(!text.contains("hunter2"), "{arguments:?}: {text}");
        }
    }
}
