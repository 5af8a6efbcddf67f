//! How far a rollout is, and what it waits for, in words.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::Phase,
    core::{
        clock,
        hold::authors::in_words,
        observed::{Pod, RolloutState, UserHold, Workload, is_overdue, workload::reference_of},
        report::Verdict,
        rollout::{outcome::Outcome, progress::old_pods, turn::Turn},
    },
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
    let leaving = old_pods(workload, pods, current).filter_map(|pod| pod.terminating);
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
            match old_pods(workload, pods, current).filter(|pod| !pod.finished).count() {
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
    let old = old_pods(workload, pods, current);
    let overdue: Vec<_> = old.filter(|pod| is_overdue(pod, now) && !pod.finished).collect();
    let pod = overdue.iter().min_by_key(|pod| &pod.name)?;
    let (name, until) = (&pod.name, clock(pod.terminating?));
    let node =
        pod.claims.node.as_deref().map_or_else(String::new, |node| format!(" on node {node}"));
    let others = match overdue.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(format!(
        "old pod {name}{node}{others} should have terminated by {until}, and still exists. If its node is lost, delete the Node object. If you are sure that the pod no longer runs: kubectl delete pod -n {namespace} {name} --force"
    ))
}

/// That a user holds the workload itself. `note`: how far the rollout is, or what it waits for.
pub fn user_holds(hold: UserHold, namespace: &str, workload: &Workload, note: &str) -> Verdict {
    let (message, command) = match hold {
        UserHold::Paused => {
            let workload = reference_of(workload);
            let resume = format!("kubectl rollout resume -n {namespace} {workload}");
            (format!("spec.paused is set ({note}). To continue: {resume}"), Some(resume))
        }
        UserHold::OnDelete => (
            format!(
                "its update strategy is OnDelete: pods are replaced when you delete them ({note})"
            ),
            None,
        ),
        UserHold::Partition(below) => (
            format!("its partition keeps the {below} lowest ordinals on their revision ({note})"),
            None,
        ),
    };
    Verdict { command, ..Verdict::new(Phase::WaitsForUser, hold.reason(), message) }
}

/// That it is rolled out, but for old pods that do not end; `stuck` tells of them.
pub fn done_but(stuck: &str) -> String {
    format!("{stuck}. All new pods are available")
}

/// That it has made no progress since this time. `under_way`: how far it is.
pub fn no_progress(state: &RolloutState, since: Timestamp, under_way: &str) -> String {
    let cure = match state.failure {
        Some(_) => "It continues automatically when pods can be created",
        None => {
            "It continues automatically if the pods become ready; otherwise fix the template or the config"
        }
    };
    format!("no progress since {}: {under_way}. {cure}", clock(since))
}

/// That a StatefulSet's controller waits for a pod that it should replace. `delete` replaces it.
pub fn stuck_behind(pod: &Pod, delete: &str) -> String {
    let trouble = pod.ails.as_ref().or(pod.trouble.as_ref());
    let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
    format!(
        "the StatefulSet controller waits for pod {}{trouble}, which is of an older revision and not ready, and does not replace it \
         (kubernetes#67250). Delete it: {delete}",
        pod.name
    )
}

/// The command that deletes a pod.
pub fn delete(namespace: &str, pod: &Pod) -> String {
    format!("kubectl delete pod -n {namespace} {}", pod.name)
}

/// That the rollout is done. `stuck`: what is told of old pods that do not end.
pub fn done(stuck: Option<&str>) -> String {
    match stuck {
        Some(stuck) => format!("the rollout is done; {stuck}"),
        None => "the rollout is done: every pod runs the newest template and config".to_owned(),
    }
}

/// What the next step of a rollout waits for that goes pod by pod.
pub fn next_pod(workload: &Workload, turn: Turn, why: &str) -> String {
    let state = &workload.rollout;
    let name = turn.pod.map_or_else(
        || format!("ordinal {}", turn.step + state.ordinals.start),
        |pod| pod.name.to_string(),
    );
    format!("pod by pod, {} of {} updated; the next is {name}: {why}", state.updated, state.wanted)
}

/// Who released the change that began last, if a user had to.
pub fn consent(outcome: &Outcome) -> Option<String> {
    match (&outcome.bypassed_by, &outcome.approved_by) {
        (Some(by), _) => Some(format!("released past its gates by {}", in_words(by))),
        (None, Some(by)) => Some(format!("approved by {}", in_words(by))),
        (None, None) => None,
    }
}
