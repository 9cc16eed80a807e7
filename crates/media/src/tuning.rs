//! What an operator may tune about media, the same for all threads.
//!
//! Owns: the values and their defaults. Must not know: the keys that set them.

use crate::down::budget::RtxShare;
use std::time::Duration;

/// Options of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Opus becomes RED for subscribers of both.
    pub active_red: bool,
    /// Publishers of audio are told of their subscribers' loss.
    pub loss_proxying: bool,
    /// Who counts as speaking.
    pub speaking: Speaking,
    /// Least time between two key-frame requests to a publisher on average, by layer: low, middle,
    /// high. Shorter recovers faster and costs the publisher more bits.
    pub key_frame_throttle: [Duration; 3],
    /// Bits per second: a peer whose reliable channel drains slower while messages wait for it loses
    /// those that waited too long. 0: they wait, whatever the peer's speed.
    pub slow_reader_bps: u64,
    /// Most time that a message on `_lossy` may take to leave, by the rate at which the channel
    /// drains; otherwise it is dropped. Zero: any.
    pub lossy_latency: Duration,
    /// The same for `_data_track`.
    pub data_track_latency: Duration,
    /// What may be sent again to a peer: sound, picture.
    pub rtx: [RtxShare; 2],
}

/// What makes a speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaking {
    /// A packet counts as active at this level or louder, in −dBov. Lower is deafer.
    pub active_level_dbov: u8,
    /// A window counts when this much of it was active, per cent: shorter noises are passed over.
    pub active_percent_min: u8,
    /// The window, and the interval at which levels are told, in milliseconds.
    pub window_ms: u32,
    /// Windows over which the level is smoothed: 2 / (N + 1) of every new value is taken.
    pub smooth_windows: u32,
}

impl Default for Speaking {
    fn default() -> Self {
        Self {
            active_level_dbov: 35,
            active_percent_min: 40,
            window_ms: 400,
            smooth_windows: 2,
        }
    }
}

impl Speaking {
    /// The interval at which levels are told.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(u64::from(self.window_ms))
    }
}

impl Default for Tuning {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            active_red: false,
            loss_proxying: false,
            speaking: Speaking::default(),
            key_frame_throttle: [ms(500), ms(1000), ms(1000)],
            slow_reader_bps: 0,
            lossy_latency: Duration::ZERO,
            data_track_latency: ms(100),
            rtx: [RtxShare::AUDIO, RtxShare::VIDEO],
        }
    }
}

impl Tuning {
    /// The throttle of one layer.
    pub(crate) fn throttle(&self, layer: u8) -> Duration {
        self.key_frame_throttle[usize::from(layer).min(self.key_frame_throttle.len() - 1)]
    }
}
