//! The configuration: LiveKit's keys, read once, checked strictly, then read-only
//! (LiveKit's keys and values).
//!
//! [`Config`] holds what is built; keys that are accepted but not built yet are listed in
//! [`Config::not_built`] and named in a warning at start.

mod build;
mod duration;
mod hidden;
mod key_sources;
mod keys;
mod scalar;
mod settings;
mod tree;

pub use build::{ConfigError, Sources, environment_name, from_environment, from_sources};
pub use keys::{KeySpec, Kind, all as all_keys, find as find_key, nearest as nearest_key};

use protocol::proto;
use protocol::token::Keys;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Everything the server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// HTTP and WebSocket port; 0 lets the kernel pick one (tests).
    pub port: u16,
    /// Addresses to bind; empty: all.
    pub bind_addresses: Vec<IpAddr>,
    /// Open TCP connections, at most; the process's limit of open files may allow fewer. No key sets it.
    pub connections_max: usize,
    /// API keys.
    pub keys: Keys,
    /// `--dev` or `development`.
    pub development: bool,
    /// Region, as told to clients.
    pub region: String,
    /// `enable_data_tracks`.
    pub data_tracks: bool,
    /// `node_selector.cpu_load_limit`: part of a media thread's time. 0: no limit.
    pub cpu_load_limit: f32,
    /// What the media threads are told: `audio.*`, `rtc.pli_throttle`, `rtc.datachannel_*`.
    pub tuning: media::Tuning,
    /// `rtc.*`
    pub rtc: Rtc,
    /// `room.*`
    pub room: RoomDefaults,
    /// `limit.*`
    pub limit: Limits,
    /// `logging.*`
    pub logging: Logging,
    /// `prometheus.*`
    pub prometheus: Prometheus,
    /// `plenum.*`: what only this server has.
    pub plenum: Plenum,
    /// API keys of `--keys` that were passed over, as their secrets are no texts.
    pub keys_without_text: Vec<String>,
    /// Keys that were given and do nothing yet.
    pub not_built: Vec<String>,
    /// The effective settings as `key = value` lines, secrets hidden.
    pub shown: Vec<String>,
}

/// Media sockets and addresses.
#[derive(Clone, Debug)]
pub struct Rtc {
    /// One UDP port, or the first of a range.
    pub udp_port: UdpPorts,
    /// Addresses to advertise instead of the local ones.
    pub node_ip: Vec<IpAddr>,
    /// Act as ICE-lite where clients allow it.
    pub use_ice_lite: bool,
    /// Offer loopback candidates.
    pub enable_loopback_candidate: bool,
    /// Told to clients.
    pub stun_servers: Vec<String>,
    /// `congestion_control.allow_pause`.
    pub allow_pause: bool,
}

/// Where media sockets bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UdpPorts {
    /// One port for all threads; 0 lets the kernel pick one.
    Single(u16),
    /// A pool of ports.
    Range(RangeInclusive<u16>),
}

/// How rooms start.
#[derive(Clone, Debug)]
pub struct RoomDefaults {
    /// Joining makes the room.
    pub auto_create: bool,
    /// In order.
    pub enabled_codecs: Vec<proto::Codec>,
    /// 0 = unlimited.
    pub max_participants: u32,
    /// Seconds.
    pub empty_timeout_s: u32,
    /// Seconds.
    pub departure_timeout_s: u32,
    /// MutePublishedTrack may unmute.
    pub enable_remote_unmute: bool,
    /// Rooms with fewer participants go over to a backup codec as soon as it is there; 0 = all.
    pub codec_regression_threshold: u32,
    /// Bytes of one participant update.
    pub update_batch_bytes: usize,
    /// `audio.active_red_encoding`: Opus becomes RED for subscribers who read it.
    pub active_red_encoding: bool,
    /// Least and most playout delay in milliseconds, when it is enabled.
    pub playout_delay: Option<(u32, u32)>,
    /// A participant's sound and picture have one stream id.
    pub sync_streams: bool,
    /// `room_configurations`: presets by name.
    pub presets: BTreeMap<String, proto::RoomConfiguration>,
}

/// Bounds.
#[derive(Clone, Debug)]
#[allow(
    missing_docs,
    reason = "the fields are the keys of `limit`, bytes; 0 = unlimited"
)]
pub struct Limits {
    pub subscription_limit_video: usize,
    pub subscription_limit_audio: usize,
    pub max_metadata_size: usize,
    pub max_attributes_size: usize,
    pub max_room_name_length: usize,
    pub max_participant_identity_length: usize,
    pub max_participant_name_length: usize,
    pub signal_message_size_limit: usize,
    pub max_api_request_body_size: usize,
}

impl Limits {
    /// Bound of an API call's body when the configuration sets none.
    const API_BODY_BYTES: usize = 64 << 20;

    /// Bound of an API call's body.
    #[must_use]
    pub const fn api_body_bytes(&self) -> usize {
        match self.max_api_request_body_size {
            0 => Self::API_BODY_BYTES,
            limit => limit,
        }
    }
}

/// Log output.
#[derive(Clone, Debug)]
pub struct Logging {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// One JSON object a line.
    pub json: bool,
}

/// The listener for Prometheus.
#[derive(Clone, Default)]
pub struct Prometheus {
    /// `None`: off; 0 lets the kernel pick one (tests).
    pub port: Option<u16>,
    /// User and password, both or neither.
    pub credentials: Option<(String, String)>,
}

/// Passwords are never shown.
impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Prometheus {
    /// Whether a request with this `Authorization` header may read the metrics.
    #[must_use]
    pub fn admits(&self, authorization: Option<&str>) -> bool {
        let Some((user, password)) = &self.credentials else {
            return true;
        };
        let given = authorization
            .and_then(|header| header.strip_prefix("Basic "))
            .and_then(protocol::token::decode_basic);
        given.is_some_and(|given| same(given.as_bytes(), format!("{user}:{password}").as_bytes()))
    }
}

/// Compares in a time that does not tell where the first difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Keys under `plenum`.
#[derive(Clone, Debug)]
pub struct Plenum {
    /// `plenum.media.threads`; `None`: by the number of cores.
    pub media_threads: Option<usize>,
    /// `plenum.media.spread_rooms`: one room spans several threads.
    pub spread_rooms: bool,
    /// `plenum.page.enabled`: serve the page and mint its tokens.
    pub page: bool,
    /// `plenum.page.hosts`: names under which the page gives tokens, besides addresses and `localhost`.
    pub page_hosts: Vec<String>,
    /// `plenum.limit.connections_per_address`; 0 = no bound of its own.
    pub connections_per_address: usize,
    /// `plenum.limit.rooms`: rooms at a time; 0 = no bound.
    pub rooms_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 7880,
            bind_addresses: Vec::new(),
            // Above what one process's rooms can serve, below what its memory can bear.
            connections_max: 65_536,
            keys: Keys::default(),
            development: false,
            region: String::new(),
            data_tracks: true,
            cpu_load_limit: 0.9,
            tuning: media::Tuning::default(),
            rtc: Rtc {
                udp_port: UdpPorts::Range(50000..=60000),
                node_ip: Vec::new(),
                use_ice_lite: false,
                enable_loopback_candidate: false,
                stun_servers: Vec::new(),
                allow_pause: false,
            },
            room: RoomDefaults {
                auto_create: true,
                enabled_codecs: room::config::default_codecs(),
                max_participants: 0,
                empty_timeout_s: 300,
                departure_timeout_s: 20,
                enable_remote_unmute: false,
                codec_regression_threshold: 5,
                update_batch_bytes: 128 * 1024,
                active_red_encoding: false,
                playout_delay: None,
                sync_streams: false,
                presets: BTreeMap::new(),
            },
            limit: Limits {
                subscription_limit_video: 0,
                subscription_limit_audio: 0,
                max_metadata_size: 512 * 1024,
                max_attributes_size: 64 * 1024,
                max_room_name_length: 256,
                max_participant_identity_length: 256,
                max_participant_name_length: 256,
                signal_message_size_limit: 2 << 20,
                max_api_request_body_size: 10 << 20,
            },
            logging: Logging {
                level: "info".to_owned(),
                json: false,
            },
            prometheus: Prometheus::default(),
            plenum: Plenum {
                media_threads: None,
                spread_rooms: false,
                page: false,
                page_hosts: Vec::new(),
                connections_per_address: 0,
                rooms_max: 16_384,
            },
            keys_without_text: Vec::new(),
            not_built: Vec::new(),
            shown: Vec::new(),
        }
    }
}

impl Config {
    /// API keys whose secrets can be guessed.
    #[must_use]
    pub fn weak_keys(&self) -> Vec<&str> {
        self.keys
            .names()
            .filter(|key| self.keys.secret(key).is_none_or(|secret| secret.len() < 32))
            .collect()
    }

    /// Whether the page is served.
    #[must_use]
    pub fn page_enabled(&self) -> bool {
        self.development || self.plenum.page
    }
}
