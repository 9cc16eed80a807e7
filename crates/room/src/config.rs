//! What a room is told when it is made. Plain values; parsing and defaults of the YAML live at the
//! edge.

use media::api::RoomKey;
use protocol::proto;
use std::time::{Duration, Instant};

/// Both clocks, read by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For deadlines.
    pub monotonic: Instant,
    /// Since the Unix epoch, for what clients see.
    pub unix: Duration,
}

impl Now {
    /// Unix seconds, as in `joined_at`.
    #[must_use]
    pub fn unix_s(self) -> i64 {
        i64::try_from(self.unix.as_secs()).unwrap_or(i64::MAX)
    }

    /// Unix milliseconds, as in `joined_at_ms`.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        i64::try_from(self.unix.as_millis()).unwrap_or(i64::MAX)
    }

    /// Unix microseconds, as in `TimedVersion`.
    #[must_use]
    pub fn unix_us(self) -> i64 {
        i64::try_from(self.unix.as_micros()).unwrap_or(i64::MAX)
    }
}

/// Bounds of what participants may have in a room (LiveKit's keys `limit.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Metadata of a participant or room.
    pub metadata_bytes_max: usize,
    /// All attribute keys and values of a participant together.
    pub attributes_bytes_max: usize,
    /// Participant name.
    pub name_bytes_max: usize,
    /// Subscribed video tracks of one participant, 0 = unlimited.
    pub subscription_video_max: usize,
    /// Subscribed audio tracks of one participant, 0 = unlimited.
    pub subscription_audio_max: usize,
    /// Data tracks that one participant receives. It is told of all of them at each change: more make
    /// every change dearer, fewer leave tracks out that a large room can have.
    pub data_tracks_received_max: usize,
    /// Sessions that one token may have beside its first (`publish`). Clients use them for a camera or
    /// a screen of their own; each costs the room as much as a participant.
    pub senders_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            metadata_bytes_max: 512 * 1024,
            attributes_bytes_max: 64 * 1024,
            name_bytes_max: 256,
            subscription_video_max: 0,
            subscription_audio_max: 0,
            data_tracks_received_max: 4_096,
            senders_max: 16,
        }
    }
}

/// How a room starts.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The room on the media plane; unique in the process.
    pub key: RoomKey,
    /// Room name.
    pub name: String,
    /// Closed after this long without anybody having joined.
    pub empty_timeout_s: u32,
    /// Closed this long after the last one left.
    pub departure_timeout_s: u32,
    /// Most participants, agents, egress and recorders not counted; 0 = unlimited.
    pub max_participants: u32,
    /// First metadata.
    pub metadata: String,
    /// In the room's order; `video/rtx` included.
    pub enabled_codecs: Vec<proto::Codec>,
    /// Bounds.
    pub limits: Limits,
    /// Goes into join and reconnect responses.
    pub server_info: proto::ServerInfo,
    /// Goes into join and reconnect responses.
    pub ice_servers: Vec<proto::IceServer>,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// Act as ICE-lite where the client allows it.
    pub ice_lite: bool,
    /// Updates about pure subscribers are gathered this long.
    pub subscriber_update_interval: Duration,
    /// Updates are split near this size.
    pub update_batch_bytes: usize,
    /// Data tracks are on.
    pub data_tracks: bool,
    /// MutePublishedTrack may unmute.
    pub remote_unmute: bool,
    /// Opus becomes RED for subscribers who read it.
    pub active_red: bool,
    /// Least and most playout delay of video in milliseconds; a most of 0 stands for the default.
    pub playout_delay: Option<(u32, u32)>,
    /// A participant's sound and picture have one stream id, so that clients play them in step.
    pub sync_streams: bool,
    /// A room with fewer participants goes over to a backup codec that arrives under the policy
    /// PREFER_REGRESSION; 0 = every room.
    pub codec_regression_threshold: u32,
}

impl RoomConfig {
    /// A room with the defaults of the configuration reference.
    #[must_use]
    pub fn new(key: RoomKey, name: &str) -> Self {
        Self {
            key,
            name: name.to_owned(),
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants: 0,
            metadata: String::new(),
            enabled_codecs: default_codecs(),
            limits: Limits::default(),
            server_info: proto::ServerInfo::default(),
            ice_servers: Vec::new(),
            fingerprint: [0; 32],
            ice_lite: false,
            subscriber_update_interval: Duration::from_secs(3),
            update_batch_bytes: 128 * 1024,
            data_tracks: true,
            remote_unmute: false,
            active_red: false,
            playout_delay: None,
            sync_streams: false,
            codec_regression_threshold: 5,
        }
    }
}

/// The codecs of a room whose configuration lists none.
#[must_use]
pub fn default_codecs() -> Vec<proto::Codec> {
    [
        "audio/PCMU",
        "audio/PCMA",
        "audio/opus",
        "audio/red",
        "video/VP8",
        "video/H264",
        "video/VP9",
        "video/AV1",
        "video/H265",
        "video/rtx",
    ]
    .iter()
    .map(|mime| proto::Codec {
        mime: (*mime).to_owned(),
        fmtp_line: String::new(),
    })
    .collect()
}
