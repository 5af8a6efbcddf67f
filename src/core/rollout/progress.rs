//! How far a rollout is, no matter who began it.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;

use crate::core::{
    hold::state::Hold,
    later,
    observed::{Pod, ReplicaSet, RolloutState, UserHold, Workload, is_overdue},
    rollout::{
        outcome::{Ended, Outcome},
        turn::{self, Stage},
    },
};

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The kind's controller has not seen the newest generation; nothing is known yet.
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

/// A workload as it may be judged, and the value of the revision label that pods of its newest
/// template carry. `newest` is the newest of its ReplicaSets, `sets` are all of them.
///
/// ReplicaSets are seen on another watch than their Deployment: one whose newest is not there yet
/// counts as not observed. And what its controller says of a rollout may be of the one before.
pub fn seen<'a>(
    workload: &'a Workload,
    newest: Option<&'a ReplicaSet>,
    sets: &[&ReplicaSet],
) -> (Cow<'a, Workload>, Option<&'a str>) {
    if !workload.id.kind.has_replica_sets() {
        return (Cow::Borrowed(workload), workload.rollout.revision.as_deref());
    }
    let state = &workload.rollout;
    let number = newest.map_or(0, |set| set.number);
    // One that is paused gets no new ReplicaSet, and its number may be from another life.
    let unseen =
        state.observed && !is_paused(workload) && state.number.is_some_and(|seen| seen > number);
    let stale = state.complete && !newest.is_some_and(|newest| is_completed(state, newest, sets));
    let current = newest.filter(|set| has_template(workload, set)).map(|set| &*set.revision);
    if !unseen && !stale {
        return (Cow::Borrowed(workload), current);
    }
    let mut judged = workload.clone();
    judged.rollout.observed &= !unseen;
    judged.rollout.complete &= !stale;
    (Cow::Owned(judged), current)
}

/// Whether the controller says of the newest ReplicaSet that it is rolled out, and says so since
/// another one was made.
fn is_completed(state: &RolloutState, newest: &ReplicaSet, sets: &[&ReplicaSet]) -> bool {
    let said = state.completed.as_ref().filter(|(name, _)| *name == newest.name);
    said.is_some_and(|(_, at)| sets.iter().all(|set| set.name == newest.name || set.created <= *at))
}

/// Whether the newest ReplicaSet of a Deployment is that of its template. With the strategy
/// Recreate there is none before the old pods are gone. What the controller has made pods of is,
/// although it may be written in another way (`1Gi` and `1024Mi`).
fn has_template(workload: &Workload, newest: &ReplicaSet) -> bool {
    let (state, template) = (&workload.rollout, &workload.template);
    let same = newest.template == template.digest
        && newest.rests == template.rests
        && newest.config_hash.as_deref() == template.config_hash.as_deref();
    same || state.updated > 0 || !state.observed || is_paused(workload)
}

fn is_paused(workload: &Workload) -> bool {
    Hold::on(workload).is_some() || workload.rollout.held == Some(UserHold::Paused)
}

/// Whether a pod is of an older template than the newest. `current` is the value of the revision
/// label that pods of the newest carry: before a Deployment has a ReplicaSet of its template, all
/// its pods are old.
pub fn is_old(workload: &Workload, pod: &Pod, current: Option<&str>) -> bool {
    match current {
        Some(current) => pod.revision.as_deref() != Some(current),
        None => awaits_replica_set(workload, current),
    }
}

/// The pods that are.
pub fn old_pods<'a>(
    workload: &Workload,
    pods: &[&'a Pod],
    current: Option<&str>,
) -> impl Iterator<Item = &'a Pod> + Clone {
    pods.iter().copied().filter(move |pod| is_old(workload, pod, current))
}

/// Whether a Deployment has no ReplicaSet of its template yet, and will get one.
fn awaits_replica_set(workload: &Workload, current: Option<&str>) -> bool {
    let state = &workload.rollout;
    let awaits = workload.id.kind.has_replica_sets()
        && current.is_none()
        && state.observed
        && state.updated == 0;
    awaits && !is_paused(workload)
}

/// Judges the rollout of a workload, which is as [`seen`] has it. `current` is the value of the
/// revision label that pods of the newest template carry.
pub fn judge(
    workload: &Workload,
    pods: &[&Pod],
    current: Option<&str>,
    deadline: Duration,
    now: Timestamp,
) -> Progress {
    let state = &workload.rollout;
    if workload.deleting {
        return Progress::Done;
    }
    if !state.observed {
        return Progress::Unobserved;
    }
    // A pod that does not end delays nothing where the new ones do not need what it holds.
    // One that has finished holds nothing: soon after, only a finalizer keeps it.
    let leaving = old_pods(workload, pods, current)
        .filter(|pod| !is_overdue(pod, now) || !(pod.finished || bears_old_pods(workload)))
        .filter_map(|pod| pod.terminating)
        .max();
    match state.held {
        Some(hold @ UserHold::OnDelete) if state.updated < state.wanted => {
            return Progress::Held(hold);
        }
        Some(hold @ UserHold::Paused)
            if state.updated < state.wanted || state.current != state.updated =>
        {
            return Progress::Held(hold);
        }
        Some(hold @ UserHold::Partition(ordinals)) if beyond_partition_done(state, ordinals) => {
            return Progress::Held(hold);
        }
        _ => {}
    }
    let all_available = state.updated >= state.wanted && state.available >= state.wanted;
    // A StatefulSet whose template was reverted counts as complete while pods of the withdrawn
    // revision are still there (kubernetes#67250). A Deployment counts what the status of an old
    // ReplicaSet counts, which may not have seen its newest pod yet.
    let counts_pods = workload.id.kind.capabilities().overlooks_old_pods;
    let left_behind = counts_pods && old_pods(workload, pods, current).any(|pod| !pod.is_leaving());
    let none_old = state.current <= state.updated
        && leaving.is_none()
        && !left_behind
        && !awaits_replica_set(workload, current);
    // What was noted is read only where the counts do not tell.
    if none_old && (all_available || is_noted_as_done(workload, pods, current)) {
        return Progress::Done;
    }
    // Where pods go one by one, the next may wait for its gates as long as it must.
    if matches!(turn::stage(workload, pods, current), Some(Stage::Next(_) | Stage::Over)) {
        return Progress::UnderWay(Timestamp::MAX);
    }
    let new = pods.iter().filter(|pod| !is_old(workload, pod, current));
    let of_new = new.flat_map(|pod| [Some(pod.created), pod.ready_moved]);
    // Pods within their grace period are no lack of progress.
    let moved = of_new.chain([leaving]).flatten().fold(state.moved, Timestamp::max);
    // A pod that is ready becomes available only after this time.
    match later(later(moved, deadline), Duration::from_secs(state.min_ready.into())) {
        due if due <= now => Progress::Failed(moved),
        due => Progress::UnderWay(due),
    }
}

/// Whether new pods and old ones may run at the same time, whatever happens.
fn bears_old_pods(workload: &Workload) -> bool {
    workload.id.kind.capabilities().surges
        && !workload.claims.recreates
        && workload.claims.named.is_empty()
}

/// Whether its controller says that it is rolled out, or we noted that it was.
fn is_noted_as_done(workload: &Workload, pods: &[&Pod], current: Option<&str>) -> bool {
    let outcome = Outcome::on(workload);
    // Equal revisions of a StatefulSet say nothing of its pods once it goes back.
    let goes_back = workload.id.kind.has_controller_revisions() && outcome.left;
    (workload.rollout.complete && !goes_back) || was_done(outcome, workload, pods, current)
}

/// Whether the revision at hand was rolled out before, as we noted, and nothing else began since
/// that replaced a pod. Not every controller says so itself: those of DaemonSets, of Deployments
/// without a progress deadline, and of those that are paused do not.
fn was_done(outcome: &Outcome, workload: &Workload, pods: &[&Pod], current: Option<&str>) -> bool {
    let ended = !outcome.left && (outcome.change.is_none() || outcome.ended == Ended::Done);
    current.is_some()
        && outcome.done.as_deref() == current
        && (ended || outcome.has_replaced_none(workload, pods))
}

fn beyond_partition_done(state: &RolloutState, ordinals: u32) -> bool {
    let free = state.wanted.saturating_sub(ordinals);
    state.updated < state.wanted && state.updated >= free && state.available >= state.wanted
}

/// How a rollout that we let through has ended, if that is not written down yet.
pub fn ended(outcome: &Outcome, progress: Progress) -> Option<Ended> {
    match (progress, outcome.ended) {
        (Progress::Done, Ended::Failed | Ended::UnderWay) => Some(Ended::Done),
        (Progress::Failed(_), Ended::UnderWay) => Some(Ended::Failed),
        _ => None,
    }
}
