//! Pods that a StatefulSet or DaemonSet lacks. A Deployment's condition says why its controller
//! cannot create them; theirs say so only by events, which are not watched: they are looked for
//! while pods are missing.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::{
    finding::Assessment, later, memory::Lack, rollout::progress::Progress, subject::Subject,
};

/// A controller takes a moment to create pods.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Takes note of pods that are missing. Returns since when, if it is time to look for the reason.
pub fn assess(subject: &Subject, found: &mut Assessment) -> Option<Timestamp> {
    let workload = subject.workload;
    // Those that are ending are in the way of new ones, until they have finished.
    let there = subject.pods.iter().filter(|pod| !pod.finished).count();
    let lacks = !workload.id.kind.capabilities().says_why_pods_lack
        && there < workload.rollout.wanted as usize;
    if !lacks || !matches!(subject.progress, Progress::UnderWay(_) | Progress::Failed(_)) {
        found.memory.lack = None;
        return None;
    }
    let lack =
        found.memory.lack.get_or_insert(Lack { since: subject.now(), looked: None, why: None });
    let due = lack.looked.map_or(later(lack.since, PATIENCE), |looked| later(looked, LOOK_EVERY));
    if due > subject.now() {
        found.wake_at(due);
        return None;
    }
    lack.looked = Some(subject.now());
    let since = lack.since;
    found.wake_at(later(subject.now(), LOOK_EVERY));
    Some(since)
}
