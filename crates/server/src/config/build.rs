//! Sources → [`Config`]: file or body, then the environment and flags, then `--dev`, then checks
//! that need more than one key.

mod tuning;

use super::hidden::{self, Parts};
use super::keys;
use super::settings::{self, Settings, read_addresses, read_ports};
use super::tree::{self, Problem};
use super::{Config, UdpPorts, key_sources};
use protocol::token::Keys;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Where settings come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--config-body` or LIVEKIT_CONFIG; wins over the file, which is not read then.
    pub body: Option<String>,
    /// `--disable-strict-config`.
    pub lenient: bool,
    /// `--dev`.
    pub development: bool,
    /// `--bind`.
    pub bind: Vec<String>,
    /// `--key-file`.
    pub key_file: Option<String>,
    /// `--keys`: lines of `key: secret`.
    pub keys: Option<String>,
    /// Values of single keys by path, from flags and the environment, in order.
    pub values: Vec<(String, String)>,
}

/// Secrets are never shown.
impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// Why the server does not start. `Display` is what the user reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

fn fail<T>(text: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(text.into()))
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong with it, with line, column and an excerpt where there is a text.
pub fn from_sources(sources: &Sources) -> Result<Config, ConfigError> {
    let mut settings = read_text(sources)?;
    for (path, value) in &sources.values {
        settings
            .set(path, value)
            .map_err(|problem| ConfigError(format!("invalid value for {path}: {problem}")))?;
    }
    if !sources.bind.is_empty() {
        settings.set_list("bind_addresses", sources.bind.clone());
    }
    let mut config = build(&settings)?;
    config.development |= sources.development;
    let keys = key_sources::read(sources, &settings, |name| std::env::var(name).ok())?;
    config.keys = keys.keys;
    config.keys_without_text = keys.without_text;
    if config.development {
        develop(&mut config, &settings);
    }
    if config.keys.is_empty() {
        return fail("one of key-file or keys must be provided");
    }
    check_together(&settings, &config)?;
    config.not_built = settings
        .given()
        .filter(|(path, value)| !says_nothing(path, value))
        .map(|(path, _)| path.to_owned())
        .filter(|path| !BUILT.iter().any(|built| path.starts_with(built)))
        .collect();
    config.shown = show(&settings);
    Ok(config)
}

/// The value is the key's default, or its kind's zero.
fn says_nothing(path: &str, value: &str) -> bool {
    let default = keys::find(path).map_or("", |key| key.default);
    value == default || (default.is_empty() && matches!(value, "" | "0" | "false"))
}

/// Keys that do something (prefixes).
const BUILT: [&str; 57] = [
    "audio.enable_loss_proxying",
    "audio.active_level",
    "audio.min_percentile",
    "audio.update_interval",
    "audio.smooth_intervals",
    "prometheus_port",
    "prometheus.",
    "port",
    "bind_addresses",
    "key_file",
    "keys",
    "region",
    "development",
    "log_level",
    "logging.level",
    "logging.json",
    "enable_data_tracks",
    "rtc.udp_port",
    "rtc.port_range_start",
    "rtc.port_range_end",
    "rtc.node_ip",
    "rtc.use_ice_lite",
    "rtc.enable_loopback_candidate",
    "rtc.stun_servers",
    "rtc.pli_throttle.",
    "rtc.rtx_budget.",
    "rtc.datachannel_slow_threshold",
    "rtc.datachannel_lossy_target_latency",
    "rtc.datachannel_data_track_target_latency",
    "room.auto_create",
    "room.enabled_codecs",
    "room.max_participants",
    "room.empty_timeout",
    "room.departure_timeout",
    "room.enable_remote_unmute",
    "video.codec_regression_threshold",
    "room.update_batch_target_size",
    "room.playout_delay.",
    "room.sync_streams",
    "audio.active_red_encoding",
    "room.max_metadata_size",
    "room.max_room_name_length",
    "room.max_participant_identity_length",
    "room.room_configurations",
    "limit.subscription_limit_video",
    "limit.subscription_limit_audio",
    "limit.max_metadata_size",
    "limit.max_attributes_size",
    "limit.max_room_name_length",
    "limit.max_participant_identity_length",
    "limit.max_participant_name_length",
    "limit.signal_message_size_limit",
    "limit.max_api_request_body_size",
    "node_selector.cpu_load_limit",
    "plenum.media.",
    "plenum.page.",
    "plenum.limit.",
];

fn read_text(sources: &Sources) -> Result<Settings, ConfigError> {
    let (name, text) = match (&sources.body, &sources.file) {
        (Some(body), _) if !body.is_empty() => ("config".to_owned(), body.clone()),
        (_, Some(file)) => (file.display().to_string(), read_file(file)?),
        (_, None) => return Ok(Settings::default()),
    };
    match tree::parse(&text) {
        Ok(None) => Ok(Settings::default()),
        Ok(Some(root)) => settings::check(&root, !sources.lenient)
            .or_else(|problems| fail(render(&name, &text, &Parts::of(&root), &problems))),
        // Without its parts nobody knows what in the text is a secret: none of it is shown.
        Err(problem) => fail(render(&name, &text, &Parts::default(), &[problem])),
    }
}

/// Reads a file of text: UTF-8, or UTF-16 as some editors write it.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let reason = if missing {
            "no such file or directory".to_owned()
        } else {
            error.to_string()
        };
        ConfigError(format!("open {}: {reason}", path.display()))
    })?;
    let units = |read: fn([u8; 2]) -> u16| -> Vec<u16> {
        let pairs = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
        pairs.map(read).collect()
    };
    let text = match bytes.as_slice() {
        [0xFF, 0xFE, ..] => String::from_utf16(&units(u16::from_le_bytes)).ok(),
        [0xFE, 0xFF, ..] => String::from_utf16(&units(u16::from_be_bytes)).ok(),
        _ => String::from_utf8(bytes).ok(),
    };
    text.ok_or_else(|| ConfigError(format!("{}: not a text in UTF-8 or UTF-16", path.display())))
}

/// Every problem with its place, its line, a mark below it, and what to do.
fn render(name: &str, text: &str, parts: &Parts, problems: &[Problem]) -> String {
    let mut out = String::from("could not parse config:");
    for problem in problems {
        let at = problem.at;
        let told = parts.message(&problem.text);
        out.push_str(&format!("\n{name}:{}:{}: {told}", at.line, at.column));
        if let Some(line) = at.line.checked_sub(1).and_then(|index| text.lines().nth(index)) {
            // Long lines are cut: a body in an environment variable may be one line.
            let line: String = parts.line(at.line, line).chars().take(160).collect();
            let number = at.line.to_string();
            let margin = " ".repeat(number.len());
            let indent = " ".repeat(at.column.saturating_sub(1));
            let mark = "^".repeat(at.width.clamp(1, 80));
            out.push_str(&format!("\n {number} | {line}\n {margin} | {indent}{mark}"));
        }
        if let Some(hint) = &problem.hint {
            out.push_str(&format!("\n   {}", parts.message(hint)));
        }
    }
    out
}

fn build(settings: &Settings) -> Result<Config, ConfigError> {
    let mut config = Config::default();
    let count = |path: &str| settings.number::<usize>(path);
    if let Some(port) = settings.number::<u32>("port") {
        config.port = u16::try_from(port).map_err(|_| ConfigError(format!("invalid port {port}")))?;
    }
    if let Some(addresses) = settings.list("bind_addresses") {
        config.bind_addresses = bind_addresses(addresses)?;
    }
    config.region = settings.text("region").unwrap_or_default().to_owned();
    config.development = settings.flag("development").unwrap_or(false);
    config.data_tracks = settings.flag("enable_data_tracks").unwrap_or(true);
    let level = settings
        .text("logging.level")
        .or_else(|| settings.text("log_level"));
    if let Some(level) = level.filter(|level| !level.is_empty()) {
        level.clone_into(&mut config.logging.level);
    }
    config.logging.json = settings.flag("logging.json").unwrap_or(false);
    build_rtc(settings, &mut config);
    build_room(settings, &mut config);
    tuning::build(settings, &mut config);
    build_limits(settings, &mut config);
    let port = settings.number::<u16>("prometheus_port").filter(|port| *port > 0);
    let port = port.or_else(|| settings.number::<u16>("prometheus.port").filter(|port| *port > 0));
    config.prometheus.port = port;
    let text = |path: &str| settings.text(path).unwrap_or_default().to_owned();
    let credentials = (text("prometheus.username"), text("prometheus.password"));
    config.prometheus.credentials = Some(credentials).filter(|(user, _)| !user.is_empty());
    config.plenum.media_threads = count("plenum.media.threads").filter(|threads| *threads > 0);
    config.plenum.spread_rooms = settings.flag("plenum.media.spread_rooms").unwrap_or(false);
    let most = settings.number::<f32>("node_selector.cpu_load_limit");
    assign(&mut config.cpu_load_limit, most);
    config.plenum.page = settings.flag("plenum.page.enabled").unwrap_or(false);
    config.plenum.page_hosts = settings.list("plenum.page.hosts").unwrap_or_default().to_vec();
    assign(
        &mut config.plenum.connections_per_address,
        count("plenum.limit.connections_per_address"),
    );
    assign(&mut config.plenum.rooms_max, count("plenum.limit.rooms"));
    Ok(config)
}

fn build_limits(settings: &Settings, config: &mut Config) {
    let count = |path: &str| settings.number::<usize>(path);
    let limit = &mut config.limit;
    let old = [
        ("room.max_metadata_size", &mut limit.max_metadata_size),
        ("room.max_room_name_length", &mut limit.max_room_name_length),
        (
            "room.max_participant_identity_length",
            &mut limit.max_participant_identity_length,
        ),
    ];
    for (path, target) in old {
        assign(target, count(path).filter(|limit| *limit > 0));
    }
    let new = [
        (
            "limit.subscription_limit_video",
            &mut limit.subscription_limit_video,
        ),
        (
            "limit.subscription_limit_audio",
            &mut limit.subscription_limit_audio,
        ),
        ("limit.max_metadata_size", &mut limit.max_metadata_size),
        ("limit.max_attributes_size", &mut limit.max_attributes_size),
        ("limit.max_room_name_length", &mut limit.max_room_name_length),
        (
            "limit.max_participant_identity_length",
            &mut limit.max_participant_identity_length,
        ),
        (
            "limit.max_participant_name_length",
            &mut limit.max_participant_name_length,
        ),
        (
            "limit.signal_message_size_limit",
            &mut limit.signal_message_size_limit,
        ),
        (
            "limit.max_api_request_body_size",
            &mut limit.max_api_request_body_size,
        ),
    ];
    for (path, target) in new {
        assign(target, count(path));
    }
}

fn assign<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

fn build_rtc(settings: &Settings, config: &mut Config) {
    let rtc = &mut config.rtc;
    let range = (
        settings.number::<u16>("rtc.port_range_start").unwrap_or(0),
        settings.number::<u16>("rtc.port_range_end").unwrap_or(0),
    );
    let ports = settings
        .text("rtc.udp_port")
        .and_then(read_ports)
        .unwrap_or((0, 0));
    // If both are given the range wins.
    if range.0 != 0 && range.1 != 0 {
        rtc.udp_port = UdpPorts::Range(range.0..=range.1);
    } else if ports.0 != ports.1 {
        rtc.udp_port = UdpPorts::Range(ports.0..=ports.1);
    } else if ports.0 != 0 {
        rtc.udp_port = UdpPorts::Single(ports.0);
    }
    rtc.node_ip = settings
        .text("rtc.node_ip")
        .and_then(read_addresses)
        .unwrap_or_default();
    rtc.use_ice_lite = settings.flag("rtc.use_ice_lite").unwrap_or(false);
    rtc.enable_loopback_candidate = settings.flag("rtc.enable_loopback_candidate").unwrap_or(false);
    rtc.stun_servers = settings.list("rtc.stun_servers").unwrap_or_default().to_vec();
    rtc.allow_pause = settings
        .flag("rtc.congestion_control.allow_pause")
        .unwrap_or(false);
}

fn build_room(settings: &Settings, config: &mut Config) {
    let room = &mut config.room;
    assign(&mut room.auto_create, settings.flag("room.auto_create"));
    assign(
        &mut room.max_participants,
        settings.number("room.max_participants"),
    );
    assign(&mut room.empty_timeout_s, settings.number("room.empty_timeout"));
    assign(
        &mut room.departure_timeout_s,
        settings.number("room.departure_timeout"),
    );
    assign(
        &mut room.enable_remote_unmute,
        settings.flag("room.enable_remote_unmute"),
    );
    assign(
        &mut room.codec_regression_threshold,
        settings.number("video.codec_regression_threshold"),
    );
    assign(
        &mut room.update_batch_bytes,
        settings.number("room.update_batch_target_size"),
    );
    assign(
        &mut room.active_red_encoding,
        settings.flag("audio.active_red_encoding"),
    );
    assign(&mut room.sync_streams, settings.flag("room.sync_streams"));
    let delay = |name: &str| settings.number(name).unwrap_or(0);
    room.playout_delay = settings
        .flag("room.playout_delay.enabled")
        .filter(|enabled| *enabled)
        .map(|_| (delay("room.playout_delay.min"), delay("room.playout_delay.max")));
    assign(&mut room.enabled_codecs, settings.codecs.clone());
    room.presets = settings.presets.clone();
}

fn bind_addresses(addresses: &[String]) -> Result<Vec<IpAddr>, ConfigError> {
    addresses
        .iter()
        .filter(|address| !address.is_empty())
        .map(|address| match address.as_str() {
            "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
            other => other
                .parse()
                .map_err(|_| ConfigError(format!("listen tcp: lookup {other}: no such host"))),
        })
        .collect()
}

/// What `--dev` changes, as with LiveKit's server.
fn develop(config: &mut Config, settings: &Settings) {
    if settings.text("logging.level").is_none() && settings.text("log_level").is_none() {
        "debug".clone_into(&mut config.logging.level);
    }
    let ports_given = ["rtc.udp_port", "rtc.port_range_start"]
        .iter()
        .any(|path| settings.text(path).is_some());
    if !ports_given {
        config.rtc.udp_port = UdpPorts::Single(7882);
    }
    if config.keys.is_empty() {
        config.keys = Keys::new(vec![("devkey".to_owned(), "secret".to_owned())]);
        // Everybody knows these keys: nobody else may connect unless that was asked for.
        if config.bind_addresses.is_empty() {
            config.bind_addresses = vec![
                IpAddr::from([127, 0, 0, 1]),
                IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ];
        }
    }
}

fn check_together(settings: &Settings, config: &Config) -> Result<(), ConfigError> {
    let has = |path: &str| settings.text(path).is_some_and(|text| !text.is_empty());
    let on = |path: &str| settings.flag(path).unwrap_or(false);
    if settings.list("webhook.urls").is_some_and(|urls| !urls.is_empty()) {
        let key = settings.text("webhook.api_key").unwrap_or_default();
        if config.keys.secret(key).is_none() {
            return fail("api_key is required to use webhooks");
        }
    }
    if has("prometheus.username") != has("prometheus.password") {
        return fail(
            "prometheus username or password is set but not both, set both or nothing for \
             unauthenticated access",
        );
    }
    if on("rtc.force_tcp") && settings.number::<u32>("rtc.tcp_port") == Some(0) {
        return fail("TCP is forced but not configured");
    }
    if on("turn.enabled") && !has("turn.tls_port") && !has("turn.udp_port") {
        return fail("invalid TURN ports");
    }
    if on("turn.enabled") && has("turn.tls_port") && !has("turn.domain") {
        return fail("TURN domain required");
    }
    let pacer = settings
        .text("rtc.congestion_control.send_side_bwe_pacer")
        .unwrap_or("no-queue");
    if !["", "pass-through", "no-queue", "leaky-bucket"].contains(&pacer) {
        return fail(format!(
            "could not validate congestion control config: invalid send_side_bwe_pacer \"{pacer}\", must \
             be one of \"pass-through\", \"no-queue\", \"leaky-bucket\""
        ));
    }
    match settings.text("node_selector.kind").unwrap_or("any") {
        "any" | "cpuload" | "sysload" | "" => Ok(()),
        "regionaware" if config.region.is_empty() => fail("current region cannot be blank"),
        "regionaware" => Ok(()),
        _ => fail("unsupported node selector"),
    }
}

/// `path = value` lines of what was given, secrets hidden.
fn show(settings: &Settings) -> Vec<String> {
    settings
        .given()
        .map(|(path, value)| match path {
            // Only its names are in it.
            "keys" => format!("{path} = {value}"),
            _ => format!("{path} = {}", hidden::shown(path, &value)),
        })
        .collect()
}

/// The environment variable of a key with one value.
#[must_use]
pub fn environment_name(path: &str) -> String {
    format!("LIVEKIT_{}", path.to_uppercase().replace('.', "_"))
}

/// Values of single keys in the environment, looked up by `get`.
pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Vec<(String, String)> {
    keys::all()
        .filter(|key| key.kind.is_scalar() && !key.path.contains(['[', '<']))
        .filter_map(|key| Some((key.path.to_owned(), get(&environment_name(key.path))?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod yaml_tests;
