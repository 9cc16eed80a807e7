//! The command line: LiveKit's flags and the environment → [`Sources`].
//!
//! Every key with one value is a flag too (`--room.empty_timeout 5`). There are some 300, so the help
//! leaves them to `help-verbose`.

mod explain;

use crate::config::{self, Sources};
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Parser, Subcommand};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

const ABOUT: &str = "Plenum: a media server for calls, rooms and streams, which LiveKit's clients and SDKs use unchanged.\n\
Takes the flags, environment variables and config.yaml of livekit-server.";

const EXAMPLES: &str = "\
Examples:
  plenum --dev
          Try it: only this machine can connect, with the key `devkey` and the secret `secret`.
          http://localhost:7880 shows a page to call from.
  plenum --config config.yaml
          Run it, with the keys, ports and addresses that the file names.

Every key of the file that has one value is a flag, too (`--room.empty_timeout 60`), and an environment
variable (`LIVEKIT_ROOM_EMPTY_TIMEOUT=60`): `plenum help-verbose` lists them.";

/// The command line.
#[derive(Parser)]
#[command(
    name = "plenum",
    version,
    about = ABOUT,
    after_help = EXAMPLES,
    disable_version_flag = true
)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Print the version.
    #[allow(dead_code, reason = "clap acts on it")]
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,
    /// IP address to listen on; may be given several times. Default: all.
    #[arg(long, value_name = "ADDRESS", global = true)]
    bind: Vec<String>,
    /// Configuration file in YAML.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The configuration itself as YAML text. The file is not read then.
    #[arg(
        long,
        value_name = "YAML",
        env = "LIVEKIT_CONFIG",
        hide_env_values = true,
        global = true
    )]
    config_body: Option<String>,
    /// File with API keys as `key: secret` lines, which other users must not be able to read.
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<String>,
    /// API keys as `key: secret` lines, instead of those of the configuration.
    #[arg(
        long,
        value_name = "KEYS",
        env = "LIVEKIT_KEYS",
        hide_env_values = true,
        global = true
    )]
    keys: Option<String>,
    /// Region of this node, as clients are told.
    #[arg(
        long,
        value_name = "NAME",
        env = "LIVEKIT_REGION",
        hide_env_values = true,
        global = true
    )]
    region: Option<String>,
    /// Address at which clients reach this server, or an IPv4 and an IPv6 address with a comma between.
    #[arg(long, value_name = "IP", env = "NODE_IP", global = true)]
    node_ip: Option<String>,
    /// UDP port for media, or a range like 50000-60000.
    #[arg(long, value_name = "PORT", env = "UDP_PORT", global = true)]
    udp_port: Option<String>,
    /// Redis as host:port. Does nothing yet.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "REDIS_HOST",
        hide_env_values = true,
        global = true
    )]
    redis_host: Option<String>,
    /// Password for Redis. Does nothing yet.
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "REDIS_PASSWORD",
        hide_env_values = true,
        global = true
    )]
    redis_password: Option<String>,
    /// File with the certificate of the TURN server. Does nothing yet.
    #[arg(
        long,
        value_name = "FILE",
        env = "LIVEKIT_TURN_CERT",
        hide_env_values = true,
        global = true
    )]
    turn_cert: Option<String>,
    /// File with the key of that certificate. Does nothing yet.
    #[arg(
        long,
        value_name = "FILE",
        env = "LIVEKIT_TURN_KEY",
        hide_env_values = true,
        global = true
    )]
    turn_key: Option<String>,
    /// For development: key `devkey`, secret `secret`, this machine only; a page; UDP port 7882; more logging.
    #[arg(long, global = true)]
    dev: bool,
    /// Pass over unknown keys in the configuration.
    #[arg(long, hide = true, global = true)]
    disable_strict_config: bool,
    /// Values of keys given as `--a.b.c`.
    #[arg(skip)]
    values: Vec<(String, String)>,
}

/// Secrets are never shown.
impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arguments")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// Commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make an API key and its secret, and print them.
    GenerateKeys,
    /// Print the ports that clients must be able to reach.
    Ports,
    /// Print every key that can be given as a flag or in the environment.
    HelpVerbose,
}

/// Reads the command line.
///
/// # Errors
/// What clap or the flags of keys found wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let (rest, values) = split_keys(arguments)?;
    let mut parsed = Arguments::try_parse_from(&rest)
        .map_err(|error| explain::explain(&rest, &error).unwrap_or_else(|| without_values(error)))?;
    parsed.values = values;
    Ok(parsed)
}

impl Arguments {
    /// The sources of the configuration. `get` reads the environment.
    #[must_use]
    pub fn sources(self, get: impl Fn(&str) -> Option<String>) -> Sources {
        let mut values = config::from_environment(get);
        let named = [
            ("region", self.region),
            ("rtc.node_ip", self.node_ip),
            ("rtc.udp_port", self.udp_port),
            ("redis.address", self.redis_host),
            ("redis.password", self.redis_password),
            ("turn.cert_file", self.turn_cert),
            ("turn.key_file", self.turn_key),
        ];
        for (path, value) in named {
            values.extend(
                value
                    .filter(|value| !value.is_empty())
                    .map(|value| (path.to_owned(), value)),
            );
        }
        values.extend(self.values);
        Sources {
            file: self.config,
            body: self.config_body,
            lenient: self.disable_strict_config,
            development: self.dev,
            bind: self.bind,
            key_file: self.key_file,
            keys: self.keys,
            values,
        }
    }
}

/// Every key that has a flag and an environment variable, with what it takes and its default.
#[must_use]
pub fn verbose() -> String {
    let mut text =
        String::from("Keys as flags. In the environment they are upper case: LIVEKIT_ROOM_EMPTY_TIMEOUT.\n");
    for key in config::all_keys().filter(|key| has_flag(key)) {
        let default = match key.default {
            "" => String::new(),
            default => format!(" (default: {default})"),
        };
        text.push_str(&format!("  --{}: {}{default}\n", key.path, key.kind.expected()));
    }
    text
}

/// Whether a key can be given as a flag.
fn has_flag(key: &config::KeySpec) -> bool {
    key.kind.is_scalar()
        && !key.path.contains(['[', '<'])
        && (key.path.contains('.') || TOP.contains(&key.path))
}

type Split = (Vec<OsString>, Vec<(String, String)>);

/// Keys without a section that are flags, too.
const TOP: [&str; 6] = [
    "port",
    "prometheus_port",
    "log_level",
    "development",
    "enable_data_tracks",
    "enable_participant_data_blob",
];

/// Takes out flags that are keys: `--a.b.c value`, `--a.b.c=value`, and `--a.b.c` for true.
fn split_keys(arguments: impl IntoIterator<Item = OsString>) -> Result<Split, clap::Error> {
    let mut rest = Vec::new();
    let mut values = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let key = name
            .strip_prefix("--")
            .and_then(config::find_key)
            .filter(|key| has_flag(key));
        let Some(key) = key else {
            rest.push(argument);
            continue;
        };
        let flag = key.kind == config::Kind::Bool;
        let value = match inline {
            Some(value) => value,
            None if flag => "true".to_owned(),
            None => match arguments.next() {
                Some(value) => value.to_string_lossy().into_owned(),
                None => return Err(missing_value(name)),
            },
        };
        values.push((key.path.to_owned(), value));
    }
    Ok((rest, values))
}

/// What was given wrongly may be a secret: only the names of flags are repeated.
fn without_values(mut error: clap::Error) -> clap::Error {
    let is_flag = |text: &str| text.starts_with("--") || text.starts_with('<');
    for kind in [
        ContextKind::InvalidArg,
        ContextKind::InvalidSubcommand,
        ContextKind::InvalidValue,
        ContextKind::SuggestedSubcommand,
    ] {
        let shown = match error.get(kind) {
            Some(ContextValue::String(text)) if is_flag(text) => {
                text.split('=').next().unwrap_or_default().to_owned()
            }
            Some(ContextValue::String(_)) => "<hidden>".to_owned(),
            _ => continue,
        };
        error.insert(kind, ContextValue::String(shown));
    }
    for kind in [ContextKind::Suggested, ContextKind::SuggestedValue] {
        error.remove(kind);
    }
    error
}

fn missing_value(name: &str) -> clap::Error {
    clap::Error::raw(
        clap::error::ErrorKind::InvalidValue,
        format!("flag needs an argument: {name}\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn help_says_what_this_is_and_how_to_begin() {
        let help = Arguments::command().render_help().to_string();
        assert!(help.starts_with("Plenum: a media server for calls"), "{help}");
        for expected in ["plenum --dev\n", "plenum --config config.yaml\n"] {
            assert!(help.contains(expected), "{help}");
        }
        let version = parse(["plenum", "--version"].map(OsString::from)).expect_err("text");
        assert_eq!(
            version.to_string(),
            format!("plenum {}\n", env!("CARGO_PKG_VERSION"))
        );
        assert!(
            verbose().contains("\n  --room.empty_timeout: a whole number, not negative (default: 300)\n")
        );
    }

    fn sources(arguments: &[&str]) -> Sources {
        let arguments = ["plenum"].iter().chain(arguments).map(OsString::from);
        parse(arguments).expect("valid").sources(|_| None)
    }

    #[test]
    fn livekit_flags_are_understood() {
        let read = sources(&[
            "--dev",
            "--bind",
            "0.0.0.0",
            "--node-ip",
            "192.0.2.1",
            "--udp-port",
            "5000-5001",
        ]);
        assert!(read.development);
        assert_eq!(read.bind, ["0.0.0.0"]);
        let expected = [("rtc.node_ip", "192.0.2.1"), ("rtc.udp_port", "5000-5001")];
        assert_eq!(
            read.values,
            expected.map(|(path, value)| (path.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn keys_are_flags() {
        let read = sources(&[
            "--room.empty_timeout",
            "5",
            "--room.auto_create=false",
            "--rtc.use_ice_lite",
        ]);
        let expected = [
            ("room.empty_timeout", "5"),
            ("room.auto_create", "false"),
            ("rtc.use_ice_lite", "true"),
        ];
        assert_eq!(
            read.values,
            expected.map(|(path, value)| (path.to_owned(), value.to_owned()))
        );
        assert!(parse(["plenum", "--room.nonsense", "1"].map(OsString::from)).is_err());
        assert!(parse(["plenum", "--room.empty_timeout"].map(OsString::from)).is_err());
    }
}
