//! The only place of the control plane where clocks are read and randomness is drawn.

use room::Now;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Both clocks.
#[must_use]
pub fn now() -> Now {
    Now {
        monotonic: Instant::now(),
        unix: unix(),
    }
}

/// Since the Unix epoch.
#[must_use]
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// 64 random bits from the operating system's generator.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    u64::from_le_bytes(bytes)
}

/// 128 random bits.
#[must_use]
pub fn random_u128() -> u128 {
    (u128::from(random_u64()) << 64) | u128::from(random_u64())
}
