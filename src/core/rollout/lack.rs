//! Pods that a StatefulSet or DaemonSet lacks. A Deployment's condition says why its controller
//! cannot create them; theirs say so only by events, which are not watched: they are looked for
//! while pods are missing.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::{later, memory::Lack, rollout::progress::Progress, subject::Subject};

/// A controller takes a moment to create pods.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between looks.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Pods that are missing.
#[derive(Default)]
pub struct Lacking {
    /// What to remember; none: no pods are missing, or not for that.
    pub lack: Option<Lack>,
    /// Since when, if it is time to look for the reason.
    pub look_up: Option<Timestamp>,
    /// When it is time for the next look.
    pub wake: Option<Timestamp>,
}

/// Takes note of pods that are missing.
pub fn find(subject: &Subject) -> Lacking {
    let workload = subject.workload;
    // Those that are ending are in the way of new ones, until they have finished.
    let there = subject.pods.iter().filter(|pod| !pod.finished).count();
    let lacks = !workload.id.kind.capabilities().says_why_pods_lack
        && there < workload.rollout.wanted as usize;
    if !lacks || !matches!(subject.progress, Progress::UnderWay(_) | Progress::Failed(_)) {
        return Lacking::default();
    }
    let now = subject.now();
    let known = subject.memory.lack.clone();
    let lack = known.unwrap_or(Lack { since: now, looked: None, why: None });
    let due = lack.looked.map_or(later(lack.since, PATIENCE), |looked| later(looked, LOOK_EVERY));
    if due > now {
        return Lacking { lack: Some(lack), look_up: None, wake: Some(due) };
    }
    Lacking {
        look_up: Some(lack.since),
        lack: Some(Lack { looked: Some(now), ..lack }),
        wake: Some(later(now, LOOK_EVERY)),
    }
}
