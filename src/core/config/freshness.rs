//! Whether a pod is known to have started with what a reference is now.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::{
    config::desired::{Desired, Interval, Write},
    observed::{Pod, Workload},
};

/// How far our clock and the nodes' may be apart for the start of a container to be placed.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// Whether the pods of a workload are seen: they are on another watch than the workload, so none,
/// or none but some that terminate, where there should be others is not yet an answer.
pub fn are_seen(workload: &Workload, pods: &[&Pod]) -> bool {
    pods.iter().any(|pod| pod.terminating.is_none()) || workload.rollout.current == 0
}

/// Created after the last write that changed the reference.
///
/// By resourceVersion where the pod's creation was seen; else by the API server's clock, where an
/// equal second counts as before.
pub fn created_after(pod: &Pod, write: &Write) -> bool {
    match pod.created_version {
        Some(created) => created > write.version,
        None => pod.created.as_second() > write.written.as_second(),
    }
}

/// It, or a container of it, was started while the reference was seen to be something else, and
/// that ended after `settled`.
pub fn started_with_other(pod: &Pod, desired: &Desired, settled: u64) -> bool {
    let created_after_all =
        pod.created_version.is_some_and(|created| created > desired.changed.version);
    !created_after_all
        && desired
            .others
            .iter()
            .filter(|other| other.to.version > settled)
            .any(|other| started_in(pod, other))
}

fn started_in(pod: &Pod, interval: &Interval) -> bool {
    let created = match pod.created_version {
        Some(created) => created > interval.from.version && created < interval.to.version,
        None => between(pod.created, interval),
    };
    // Containers that are reported as started read what was there before that report.
    let started_before = pod.started_version.is_some_and(|version| version < interval.from.version);
    created || !started_before && pod.started.iter().any(|started| between(*started, interval))
}

/// Whole seconds against the times at which the two writes were seen. A content that was found at
/// the start was there all along, which says nothing of when a container read it: the pods of then
/// were adopted with it.
fn between(time: Timestamp, interval: &Interval) -> bool {
    let (Some(from), Some(to)) = (interval.from.seen, interval.to.seen) else { return false };
    let (second, slack) = (time.as_second(), CLOCK_SLACK.as_secs() as i64);
    second >= from.as_second() && second <= to.as_second() + slack
}
