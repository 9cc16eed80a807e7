//! What an operator may tune about media, the same for all threads.
//!
//! Owns: the values and their defaults. Must not know: the keys that set them.

use std::time::Duration;

/// Options of all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Opus becomes RED for subscribers of both.
    pub active_red: bool,
    /// Publishers of audio are told of their subscribers' loss.
    pub loss_proxying: bool,
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
}

impl Default for Tuning {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            active_red: false,
            loss_proxying: false,
            key_frame_throttle: [ms(500), ms(1000), ms(1000)],
            slow_reader_bps: 0,
            lossy_latency: Duration::ZERO,
            data_track_latency: ms(100),
        }
    }
}

impl Tuning {
    /// The throttle of one layer.
    pub(crate) fn throttle(&self, layer: u8) -> Duration {
        self.key_frame_throttle[usize::from(layer).min(self.key_frame_throttle.len() - 1)]
    }
}
