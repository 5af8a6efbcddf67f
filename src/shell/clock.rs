//! The only place that reads the clock.

use jiff::Timestamp;

/// Now.
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// A moment to measure from.
#[allow(clippy::disallowed_methods, reason = "this is the place for it")]
pub fn moment() -> std::time::Instant {
    std::time::Instant::now()
}
