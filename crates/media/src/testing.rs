//! A start of time for unit tests: they only add to it.

use std::time::Instant;

/// Some moment; nothing may depend on which.
#[expect(clippy::disallowed_methods, reason = "tests need one instant to start from")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
