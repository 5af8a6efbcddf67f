//! How far a rollout is, and what it waits for, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::core::{
    clock,
    observed::{Pod, RolloutState, UserHold, Workload, is_overdue},
    rollout::progress::is_old,
};

/// How many pods are updated and available.
pub fn counts(state: &RolloutState) -> String {
    format!("{} of {} pods updated, {} available", state.updated, state.wanted, state.available)
}

/// How far a rollout is, and what it waits for. `current` is the value of the revision label that
/// pods of the newest template carry.
pub fn under_way(workload: &Workload, pods: &[&Pod], current: Option<&str>) -> String {
    let mut words = counts(&workload.rollout);
    if let Some(failure) = &workload.rollout.failure {
        words += &format!("; pods cannot be created: {failure}");
    }
    let leaving =
        pods.iter().filter(|pod| is_old(workload, pod, current)).filter_map(|pod| pod.terminating);
    match (leaving.clone().count(), leaving.max()) {
        (1, Some(until)) => {
            words += &format!("; waiting for 1 old pod to terminate (until {})", clock(until))
        }
        (several, Some(until)) => {
            words +=
                &format!("; waiting for {several} old pods to terminate (until {})", clock(until))
        }
        // Complete by the counts, which leave out that the old pods still run.
        _ if replaces_beside(workload) && workload.rollout.updated >= workload.rollout.wanted => {
            let old = pods.iter().filter(|pod| is_old(workload, pod, current) && !pod.finished);
            match old.count() {
                0 => {}
                1 => words += "; 1 old pod runs until its replacement is available",
                several => {
                    words +=
                        &format!("; {several} old pods run until their replacements are available");
                }
            }
        }
        _ => {}
    }
    words + &trouble(pods)
}

/// Whether a new pod runs beside the old one before that ends.
fn replaces_beside(workload: &Workload) -> bool {
    workload.rollout.observed
        && workload.id.kind.capabilities().surges
        && !workload.claims.recreates
}

/// The first of the pods that are not ready and say why, and how many more there are.
pub fn trouble(pods: &[&Pod]) -> String {
    let ill = pods.iter().filter(|pod| !pod.ready && !pod.finished);
    let named: BTreeMap<_, _> = ill
        .filter_map(|pod| Some((&pod.name, pod.ails.as_ref().or(pod.trouble.as_ref())?)))
        .collect();
    named.iter().next().map_or_else(String::new, |(name, trouble)| match named.len() {
        1 => format!("; pod {name}: {trouble}"),
        more => format!("; pod {name}: {trouble}, and {} more", more - 1),
    })
}

/// An old pod that should have ended, and what to do about it.
pub fn stuck(
    workload: &Workload,
    namespace: &str,
    pods: &[&Pod],
    current: Option<&str>,
    now: Timestamp,
) -> Option<String> {
    let old = |pod: &&&Pod| is_old(workload, pod, current) && is_overdue(pod, now) && !pod.finished;
    let pod = pods.iter().filter(old).min_by_key(|pod| &pod.name)?;
    let (name, until) = (&pod.name, clock(pod.terminating?));
    let node =
        pod.claims.node.as_deref().map_or_else(String::new, |node| format!(" on node {node}"));
    let others = match pods.iter().filter(old).count() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "old pod {name}{node}{others} should have terminated by {until}, and still exists. If its node is lost, delete the Node object. If you are sure that the pod no longer runs: kubectl delete pod -n {namespace} {name} --force"
    ))
}

/// What a user's own hold means, in words.
pub fn held_message(hold: UserHold, counts: &str) -> String {
    match hold {
        UserHold::Paused => {
            format!("spec.paused is set; run kubectl rollout resume to continue ({counts})")
        }
        UserHold::OnDelete => format!(
            "its update strategy is OnDelete: pods are replaced when you delete them ({counts})"
        ),
        UserHold::Partition(below) => {
            format!("its partition keeps the {below} lowest ordinals on their revision ({counts})")
        }
    }
}
