//! The only place of the control plane where clocks are read and randomness is drawn.

use room::{Now, Seed};
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

/// This moment as media threads take it: monotonic, and as NTP's 32.32 fixed point (RFC 5905 §6).
#[must_use]
pub fn epoch() -> (Instant, u64) {
    /// Seconds from 1900 to 1970.
    const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;
    let unix = unix();
    let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
    (
        Instant::now(),
        ((unix.as_secs() + UNIX_EPOCH_IN_NTP) << 32) | fraction,
    )
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

/// 256 random bits.
#[must_use]
pub fn random_seed() -> Seed {
    let mut bits = [0; 32];
    aws_lc_rs::rand::fill(&mut bits).expect("the operating system gives random bytes");
    Seed::new(bits)
}
