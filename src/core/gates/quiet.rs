//! A change waits until nothing else of its policy changes: helm writes one object after the other,
//! and Deployments before StatefulSets.

use jiff::Timestamp;

use crate::{
    api::{Reason, UpgradePolicySpec},
    core::{
        clock,
        gates::gate::{Change, Gate},
        later,
    },
};

/// Open when the quiet time has passed since the last change, or its limit since the first.
pub fn ask(spec: &UpgradePolicySpec, change: &Change, now: Timestamp) -> Gate {
    let (settle, limit) = spec.quiet();
    // A change after the limit begins another time of quiet.
    let until_quiet = later(change.last_change, settle);
    let due = match later(change.since, limit) {
        at_the_latest if at_the_latest < change.last_change => until_quiet,
        at_the_latest => until_quiet.min(at_the_latest),
    };
    if due <= now {
        return Gate::Open;
    }
    let message = format!("waiting until nothing else changes; continues at {}", clock(due));
    Gate::closed(Reason::QuietTime, message, Some(due))
}
