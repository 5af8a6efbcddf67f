//! How many config rollouts one workload may have in a window of time: the annotation
//! `lockkeeper.dev/rollouts`.

use jiff::Timestamp;

use crate::{api::Limit, core::later, marks::values::Rollouts};

/// The times of the config rollouts that the annotation tells of and that still count, oldest
/// first. What is no time is passed over.
pub fn within_window(mark: Option<&Rollouts>, limit: &Limit, now: Timestamp) -> Vec<Timestamp> {
    let mut times: Vec<_> = mark
        .into_iter()
        .flat_map(Rollouts::times)
        .filter(|&time| {
            later(time, limit.window.length()) > now && time <= later(now, limit.window.length())
        })
        .collect();
    times.sort();
    times
}

/// When the next rollout may be made, if not now.
pub fn next_allowed(times: &[Timestamp], limit: &Limit) -> Option<Timestamp> {
    let excess = times.len().checked_sub(limit.max as usize)?;
    times.get(excess).map(|&oldest| later(oldest, limit.window.length()))
}

/// The annotation with one more rollout.
pub fn with_rollout(times: &[Timestamp], now: Timestamp) -> Rollouts {
    Rollouts(times.iter().chain([&now]).map(|time| time.as_second()).collect())
}
