//! How far a rollout is, whoever began it.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::WorkloadKind,
    core::{
        later,
        rollout::walk::{self, Stage},
        world::{Pod, RolloutState, UserHold, Workload},
    },
};

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The kind's controller has not seen the newest generation; nothing can be said yet.
    Unobserved,
    /// All pods are of the newest template and available, and the old ones are gone.
    Done,
    /// Under way; if nothing moves before this time, it counts as failed.
    UnderWay(Timestamp),
    /// Nothing has moved since this time, for longer than the deadline.
    Failed(Timestamp),
    /// The user holds it.
    Held(UserHold),
}

/// Judges the rollout of a workload. `current` is the value of the revision label that pods of the newest template carry.
pub fn judge(workload: &Workload, pods: &[&Pod], current: Option<&str>, deadline: Duration, now: Timestamp) -> Progress {
    let state = &workload.rollout;
    if workload.deleting {
        return Progress::Done;
    }
    if !state.observed {
        return Progress::Unobserved;
    }
    let old = |pod: &&&Pod| current.is_some() && pod.revision.as_deref() != current;
    let leaving = pods.iter().filter(old).filter_map(|pod| pod.terminating).max();
    match state.held {
        Some(hold @ UserHold::OnDelete) if state.updated < state.wanted => return Progress::Held(hold),
        Some(hold @ UserHold::Paused) if state.updated < state.wanted || state.current != state.updated => return Progress::Held(hold),
        Some(hold @ UserHold::Partition(ordinals)) if beyond_partition_done(state, ordinals) => return Progress::Held(hold),
        _ => {}
    }
    let all_available = state.updated >= state.wanted && state.available >= state.wanted;
    // A StatefulSet whose template was put back counts as complete while pods of the withdrawn revision are still there (kubernetes#67250).
    let left_behind = workload.id.kind == WorkloadKind::StatefulSet && pods.iter().any(|pod| old(&pod) && pod.terminating.is_none());
    if state.current <= state.updated && (state.complete || all_available) && leaving.is_none() && !left_behind {
        return Progress::Done;
    }
    // Where pods go one by one, the next may wait for its gates as long as it must.
    if matches!(walk::stage(workload, pods, current), Some(Stage::Next(_) | Stage::Over)) {
        return Progress::UnderWay(Timestamp::MAX);
    }
    let of_new = pods.iter().filter(|pod| !old(pod)).flat_map(|pod| [Some(pod.created), pod.ready_moved]);
    // Pods within their grace period are no lack of progress.
    let moved = of_new.chain([leaving]).flatten().fold(state.moved, Timestamp::max);
    match later(moved, deadline) {
        due if due <= now => Progress::Failed(moved),
        due => Progress::UnderWay(due),
    }
}

fn beyond_partition_done(state: &RolloutState, ordinals: u32) -> bool {
    let free = state.wanted.saturating_sub(ordinals);
    state.updated < state.wanted && state.updated >= free && state.available >= state.wanted
}
