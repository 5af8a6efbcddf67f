//! Who shares a claim that only one pod, or the pods of one node, may hold.

use std::collections::BTreeSet;

use crate::core::{
    observed::{Namespace, Pod, Workload},
    volumes::{
        finding::{Danger, ExclusiveClaim},
        usage::Usage,
        words,
    },
};

/// A user of a claim.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct User {
    /// As `Kind/name`.
    name: String,
    /// Whether it may write.
    writes: bool,
}

/// An exclusive claim that several workloads, jobs or pods use. The sentence is the same whichever
/// of them is judged, so that it is reported once.
pub fn users(namespace: &Namespace, claim: &ExclusiveClaim) -> Option<Danger> {
    let name = &claim.usage.claim.name;
    let all = all_users(namespace, claim.usage);
    let together = !claim.deadlocks();
    // Where nothing stops them, pods that only read do no harm.
    let counted = all.iter().filter(|user| user.writes || !together);
    let names: Vec<_> = counted.map(|user| user.name.as_str()).collect();
    let (last, [_, ..]) = names.split_last()? else { return None };
    let first = names[..names.len() - 1].join(", ");
    let sets: Vec<_> = claim
        .usage
        .workloads
        .iter()
        .filter(|user| !user.claims.templates.is_empty() && !user.claims.named.contains(name))
        .collect();
    let same_names = sets.len() > 1;
    Some(Danger::ExclusiveClaimShared(words::used_by_several((&first, last), claim, same_names)))
}

fn all_users(namespace: &Namespace, usage: &Usage) -> BTreeSet<User> {
    let claim = &usage.claim.name;
    let workloads = usage.workloads.iter().filter(|workload| workload.rollout.wanted > 0);
    let workloads = workloads.map(|workload| User {
        name: workload.id.to_string(),
        writes: !reads_only(workload, claim),
    });
    let cron_jobs = usage.cron_jobs.iter().filter(|job| !job.suspended);
    let cron_jobs = cron_jobs.map(|job| User {
        name: format!("CronJob/{}", job.name),
        writes: !job.read_only.contains(claim),
    });
    let pods = usage.pods.iter().filter_map(|pod| by_itself(namespace, usage, pod));
    workloads.chain(cron_jobs).chain(pods.map(|name| User { name, writes: true })).collect()
}

/// Whether no container of a workload may write to a claim. What only pods of an earlier template
/// use may be written to.
fn reads_only(workload: &Workload, claim: &str) -> bool {
    let claims = &workload.claims;
    let is_of = |template: &String| {
        let ordinal = claim
            .strip_prefix(template.as_str())
            .and_then(|rest| rest.strip_prefix('-')?.strip_prefix(workload.id.name.as_str()));
        !claims.named.iter().any(|named| named == claim)
            && ordinal.is_some_and(|rest| rest.starts_with('-'))
    };
    claims.read_only.iter().any(|read| read == claim || is_of(read))
}

/// Who runs a pod that belongs to no workload and no CronJob: a Job, a ReplicaSet without a
/// Deployment, or nothing.
fn by_itself(namespace: &Namespace, usage: &Usage, pod: &Pod) -> Option<String> {
    if pod.terminating.is_some()
        || pod.controller.as_ref().is_some_and(|uid| namespace.replica_sets.contains_key(uid))
    {
        return None;
    }
    let Some(owner) = pod.claims.owner.as_deref() else { return Some(format!("Pod/{}", pod.name)) };
    let (kind, name) = owner.split_once('/')?;
    let of_cron_job = || {
        usage.cron_jobs.iter().any(|job| {
            name.strip_prefix(job.name.as_str()).is_some_and(|rest| rest.starts_with('-'))
        })
    };
    match kind {
        "StatefulSet" | "DaemonSet" => None,
        "Job" if of_cron_job() => None,
        _ => Some(owner.to_owned()),
    }
}
