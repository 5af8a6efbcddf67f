//! Who shares a claim that only one pod, or the pods of one node, may hold.

use std::collections::BTreeSet;

use crate::core::{
    observed::{
        Namespace, Pod, Workload,
        storage::{Access, Volume},
    },
    volumes::{finding::Danger, usage::Usage},
};

/// A claim that not every pod may use.
pub(super) struct ExclusiveClaim<'a> {
    /// It, and who uses it.
    pub usage: &'a Usage<'a>,
    pub volume: Option<&'a Volume>,
    /// How many may have it.
    pub access: Access,
    /// The node that all pods that use it run on.
    pub node: Option<&'a str>,
    /// It is attached to a node before its pods start.
    pub attaches: bool,
}

impl ExclusiveClaim<'_> {
    /// Two pods of a rollout would block each other.
    pub fn deadlocks(&self) -> bool {
        self.access == Access::OnePod || (self.attaches && self.node.is_none())
    }

    /// Two pods of a rollout would both write to it.
    pub fn has_two_writers(&self, workload: &Workload) -> bool {
        !self.deadlocks() && !workload.claims.read_only.contains(&self.usage.claim.name)
    }

    /// The access mode that limits it.
    pub fn mode(&self) -> &'static str {
        if self.access == Access::OnePod { "ReadWriteOncePod" } else { "ReadWriteOnce" }
    }

    /// Why two pods on it are a danger to each other.
    pub fn reason(&self) -> String {
        let (name, mode) = (&self.usage.claim.name, self.mode());
        match (self.deadlocks(), self.node) {
            (true, _) if self.access == Access::OnePod => {
                format!("claim {name} is {mode}, so that only one pod can use it at a time")
            }
            (true, _) => format!(
                "claim {name} is {mode}, so that only pods on one node can use it at a time"
            ),
            (false, Some(node)) => {
                format!(
                    "the volume of claim {name} ({mode}) is on node {node}, where the old and the new pod could write to it at the same time"
                )
            }
            (false, None) => {
                format!(
                    "the volume of claim {name} ({mode}) is not attached to nodes, so that the old and the new pod could write to it at the same time"
                )
            }
        }
    }
}

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
    let so = match claim.access {
        Access::OnePod => "only one of their pods can run at a time",
        _ if together => "their pods may write to the volume at the same time",
        _ => "their pods can run only on one node, and wait for the volume on any other",
    };
    let sets: Vec<_> = claim
        .usage
        .workloads
        .iter()
        .filter(|user| !user.claims.templates.is_empty() && !user.claims.named.contains(name))
        .collect();
    let cure = match () {
        () if sets.len() > 1 => {
            "Their volumeClaimTemplates make claims of the same name: rename a template or a StatefulSet"
        }
        () if together => {
            "Give each a claim of its own, or mount the claim read-only in all but one"
        }
        () => "Use a ReadWriteMany claim, or give each a claim of its own",
    };
    Some(Danger::ExclusiveClaimShared(format!(
        "{first} and {last} use claim {name}, which is {}: {so}. {cure}",
        claim.mode()
    )))
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
