//! Changes of workloads that have no pods. A paused Deployment that is scaled up starts what it ran
//! last, so it can be held; a StatefulSet without pods forgets the revision that they ran, so it
//! cannot.

use crate::core::{
    hold::state::Hold,
    observed::{Pod, Workload},
    rollout::{outcome::Outcome, revisions::Revisions},
    subject::Subject,
};

/// Whether a workload has no pods and wants none. Of one that has finished nothing runs.
pub fn is_asleep(workload: &Workload, pods: &[&Pod]) -> bool {
    workload.rollout.wanted == 0
        && workload.rollout.current == 0
        && pods.iter().all(|pod| pod.finished)
}

/// Whether admission may hold a change that comes while a Deployment has no replicas: paused and
/// scaled up, its controller takes the ReplicaSet that was created last. After an undo that is not
/// the one that ran. None: it cannot be told now, or need not be.
pub fn holds(subject: &Subject) -> Option<bool> {
    let workload = subject.workload;
    if !workload.id.kind.has_replica_sets()
        || workload.rollout.wanted > 0
        || Hold::on(workload).is_some()
        || workload.marks.in_maintenance.stands()
    {
        return None;
    }
    if !workload.rollout.observed || subject.revisions.newest.is_none() {
        return None;
    }
    let newest = subject.revisions.created_last().map(|set| &*set.revision);
    Some(subject.ruling.spec().waits_without_pods() && newest == subject.revisions.newest)
}

/// Whether a held StatefulSet was scaled to zero, and its controller counts the held revision as
/// the one that ran. Pods of the one before are not left. What was let through before it was held
/// again is a revert: it may have been done without being noted.
pub fn is_lost(subject: &Subject) -> bool {
    let (workload, state) = (subject.workload, &subject.workload.rollout);
    let Some(settled) =
        state.settled.as_deref().filter(|_| workload.id.kind.has_controller_revisions())
    else {
        return false;
    };
    let outcome = Outcome::on(workload);
    state.observed
        && state.revision.as_deref() == Some(settled)
        && outcome.done.as_deref().is_some_and(|ran| ran != settled)
        && !outcome.let_through(workload, subject.key())
        && subject.pods.iter().all(|pod| pod.revision.as_deref() == Some(settled))
}

/// What a held Deployment starts when it is scaled up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScaledUp<'a> {
    /// Pods that do not run the app: they are of a ReplicaSet that maintenance has left.
    LeftByMaintenance {
        /// All such ReplicaSets.
        sets: Vec<&'a str>,
        /// Such pods are there already.
        started: bool,
    },
    /// Nothing: the ReplicaSet of what ran last is gone.
    Nothing,
    /// The held change: this older ReplicaSet has its template.
    HeldChange(&'a str),
    /// This ReplicaSet, which was created later than the one that ran last.
    AnotherRevision(&'a str),
}

/// What a held Deployment starts when it is scaled up, where that is not what it ran last.
pub fn scaled_up<'a>(workload: &Workload, revisions: &Revisions<'a>) -> Option<ScaledUp<'a>> {
    let of_maintenance = revisions.replica_sets()?.iter().filter(|set| set.rests);
    let of_held = revisions.set_of_template();
    let asleep = workload.rollout.wanted == 0;
    let starts = revisions.created_last().filter(|set| asleep && set.rests);
    let started = of_maintenance.clone().any(|set| !asleep && set.replicas > 0);
    if !workload.template.rests && (started || starts.is_some()) {
        let sets = of_maintenance.map(|set| &*set.name).collect();
        return Some(ScaledUp::LeftByMaintenance { sets, started });
    }
    let ran = Outcome::on(workload).done.as_deref();
    match of_held.or_else(|| revisions.created_last()) {
        None => Some(ScaledUp::Nothing),
        Some(set) if asleep && of_held.is_some() => Some(ScaledUp::HeldChange(&set.name)),
        Some(set) if asleep && ran.is_some_and(|ran| ran != &*set.revision) => {
            Some(ScaledUp::AnotherRevision(&set.name))
        }
        Some(_) => None,
    }
}
