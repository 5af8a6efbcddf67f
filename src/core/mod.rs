//! Everything that Lockkeeper decides, as synchronous functions of what was observed.
//!
//! Nothing here does I/O, knows a clock, reads the environment or logs; `tests/architecture.rs` holds this. The way through:
//! [`world`] is what was seen, [`governs`] says whose each workload is ([`ungoverned`] lets go of what is nobody's), [`assess`] judges one workload ([`config`] whether what it reads
//! has changed, [`hold`] whether its held template may go, [`gates`] what a change waits for), [`volumes`] sees to it that no data is lost and no rollout stuck on it,
//! [`rest`] knows what need not be judged again, [`rollout::slots`] shares out the cluster's rollouts, and [`arrange`] makes one [`Decision`](decision::Decision) of it.

pub mod arrange;
pub mod assess;
pub mod conditions;
pub mod config;
pub mod decision;
pub mod gates;
pub mod governs;
pub mod hold;
pub mod lease;
pub mod reach;
pub mod rest;
pub mod rollout;
pub mod storage;
pub mod ungoverned;
pub mod volumes;
pub mod world;

use std::time::Duration;

use jiff::Timestamp;

/// `time` plus `period`, or the end of time.
pub fn later(time: Timestamp, period: Duration) -> Timestamp {
    time.checked_add(period).unwrap_or(Timestamp::MAX)
}

/// `time` without its fraction of a second, as Kubernetes writes times.
pub fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A time of day as messages give it.
pub fn clock(time: Timestamp) -> String {
    time.strftime("%H:%M:%S UTC").to_string()
}
