//! Claims that only one pod, or the pods of one node, may hold: a rollout that starts a new pod beside the old one waits for the volume
//! while the old pod waits for the new one, for ever; or, where nobody checks, both write.

use std::collections::BTreeMap;

use super::{
    Danger,
    usage::{Usage, of_spec},
};
use crate::{
    api::{ExclusiveClaims, UpgradePolicySpec, WorkloadKind, marks},
    core::{
        storage::{Access, Storage, Volume},
        world::{Namespace, Pod, Workload},
    },
};

/// What the claims of a workload mean for its rollouts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exclusive {
    /// Admission shall make its strategy Recreate: why.
    pub recreate: Option<String>,
    /// Its rollout is stuck on a volume.
    pub stuck: Option<Stuck>,
    /// What is reported of it.
    pub dangers: Vec<Danger>,
    /// What is worth knowing, and no danger.
    pub notes: Vec<String>,
}

/// A new pod waits for a volume that another has.
#[derive(Debug, Clone, PartialEq)]
pub struct Stuck {
    /// Which, in words.
    pub why: String,
    /// Another pod than those that the rollout ends has it.
    pub stranger: Option<String>,
}

/// A claim that not every pod may use.
struct ExclusiveClaim<'a> {
    usage: &'a Usage<'a>,
    volume: Option<&'a Volume>,
    access: Access,
    /// The node that all pods that use it run on.
    node: Option<&'a str>,
    attaches: bool,
}

impl ExclusiveClaim<'_> {
    /// Two pods of a rollout would block each other.
    fn deadlocks(&self) -> bool {
        self.access == Access::OnePod || (self.attaches && self.node.is_none())
    }

    fn mode(&self) -> &'static str {
        if self.access == Access::OnePod { "ReadWriteOncePod" } else { "ReadWriteOnce" }
    }
}

/// Judges a workload that a policy governs.
pub fn judge(
    namespace: &Namespace,
    storage: &Storage,
    usages: &BTreeMap<&str, Usage>,
    (workload, spec): (&Workload, &UpgradePolicySpec),
    (pods, current): (&[&Pod], Option<&str>),
) -> Exclusive {
    let mut found = Exclusive::default();
    let Some(volumes) = of_spec(spec) else { return found };
    if volumes.exclusive_claims == ExclusiveClaims::Ignore || workload.deleting {
        return found;
    }
    let claims: Vec<_> =
        workload.claims.named.iter().filter_map(|name| exclusive(namespace, storage, usages.get(name.as_str())?)).collect();
    let most = namespace.autoscalers.values().filter(|(target, _)| *target == workload.id).map(|(_, most)| *most).max();
    let several = workload.rollout.wanted > 1 || most.is_some_and(|most| most > 1);
    for claim in &claims {
        found.dangers.extend(shared(claim, workload, several, most));
    }
    if workload.id.kind != WorkloadKind::Deployment || several {
        return found;
    }
    found.stuck = claims.iter().find_map(|claim| stuck(claim, pods, current));
    let marked = workload.marks.contains_key(marks::VOLUME_ACCESS);
    let recreates = workload.claims.recreates && !marked;
    let dangerous = claims.iter().find(|claim| claim.deadlocks());
    match volumes.exclusive_claims {
        ExclusiveClaims::WhenUnsafe => found.recreate = dangerous.filter(|_| !recreates).map(reason),
        ExclusiveClaims::Recreate => found.recreate = claims.first().filter(|_| !recreates).map(reason),
        ExclusiveClaims::Report if !workload.claims.recreates => found.dangers.extend(dangerous.map(|claim| Danger::ExclusiveClaim(format!(
            "{}: {}; a rollout would deadlock or mount it twice. Declare strategy.type: Recreate, or set spec.volumes.exclusiveClaims: WhenUnsafe",
            workload.id, reason(claim)
        )))),
        ExclusiveClaims::Report | ExclusiveClaims::Ignore => {}
    }
    if marked && !workload.claims.recreates && found.recreate.is_some() {
        found.dangers.push(Danger::StrategyNotChanged(format!(
            "{}: its strategy should be Recreate, and admission does not make it so; see the condition HoldsEnforced of a policy with gates, \
             or install Lockkeeper's chart again",
            workload.id
        )));
    }
    if found.recreate.is_none() && !workload.claims.recreates {
        found.notes.extend(claims.iter().filter(|claim| !claim.deadlocks()).map(|claim| {
            let why = match claim.node {
                Some(node) => format!("pinned to node {node}"),
                None => "not attached to nodes".to_owned(),
            };
            format!(
                "{}: claim {} is {}, so that no rollout deadlocks on it and its strategy is left as it is; but during a rollout two pods \
                 may write to it. If the app cannot bear that, set spec.volumes.exclusiveClaims: Recreate",
                workload.id, claim.usage.claim.name, why
            )
        }));
    }
    found
}

fn exclusive<'a>(namespace: &Namespace, storage: &'a Storage, usage: &'a Usage<'a>) -> Option<ExclusiveClaim<'a>> {
    let volume = usage.claim.volume.as_deref().and_then(|name| storage.volume(name));
    let volume = volume.filter(|volume| volume.is_of(&namespace.name, usage.claim));
    // The volume's own modes decide, not the claim's.
    let access = volume.map_or(usage.claim.access, |volume| volume.access);
    // A node that the template names may be another one with the next template: that is no pin.
    let node = volume.and_then(|volume| volume.node.as_deref());
    let attaches = volume.is_none_or(|volume| storage.attaches(volume));
    (access != Access::ManyNodes).then_some(ExclusiveClaim { usage, volume, access, node, attaches })
}

fn reason(claim: &ExclusiveClaim) -> String {
    format!(
        "claim {} is {}, which {} may hold",
        claim.usage.claim.name,
        claim.mode(),
        match claim.access {
            Access::OnePod => "one pod",
            _ => "one node",
        }
    )
}

/// An exclusive claim that several pods are to use.
fn shared(claim: &ExclusiveClaim, workload: &Workload, several: bool, most: Option<u32>) -> Option<Danger> {
    let name = &claim.usage.claim.name;
    let others: Vec<_> = claim
        .usage
        .workloads
        .iter()
        .filter(|other| other.id != workload.id && other.rollout.wanted > 0)
        .map(|other| other.id.to_string())
        .collect();
    let who = match most {
        _ if !others.is_empty() => format!("{} uses claim {name} together with {}", workload.id, others.join(", ")),
        Some(most) if several && most > 1 => format!("{} uses claim {name}, and an autoscaler may give it {most} pods", workload.id),
        _ if several => format!("{} runs {} pods on claim {name}", workload.id, workload.rollout.wanted),
        _ => return None,
    };
    (claim.access == Access::OnePod || claim.attaches || !several).then(|| {
        Danger::ExclusiveClaimShared(format!(
            "{who}, but it is {}: pods on other nodes cannot start. Use a ReadWriteMany claim, one replica, or a StatefulSet with \
             volumeClaimTemplates",
            claim.mode()
        ))
    })
}

/// A new pod waits for a volume that an old one has, and the old one for the new one.
fn stuck(claim: &ExclusiveClaim, pods: &[&Pod], current: Option<&str>) -> Option<Stuck> {
    let uses = |pod: &&&Pod| pod.claims.named.contains(&claim.usage.claim.name) && pod.terminating.is_none();
    let waiting = pods.iter().filter(uses).find(|pod| !pod.reach.running && pod.revision.as_deref() == current)?;
    let own = |pod: &Pod| pods.iter().any(|one| one.uid == pod.uid);
    let holders = claim.usage.pods.iter().filter(|pod| pod.reach.running && pod.uid != waiting.uid);
    let stays = |pod: &&&Pod| !own(pod) && claim.access == Access::OneNode && pod.claims.node == waiting.claims.node;
    let holders: Vec<_> = holders.filter(|pod| !stays(pod)).collect();
    // One of ours that goes already ends by itself.
    let holder = holders.iter().find(|pod| own(pod) && pod.revision != waiting.revision && pod.terminating.is_none());
    let stranger = holders.iter().find(|pod| !own(pod));
    let holder = holder.or(stranger)?;
    let volume = claim.volume.map_or(claim.usage.claim.name.as_str(), |volume| volume.name.as_str());
    let node = |pod: &Pod| pod.claims.node.as_deref().map_or(String::new(), |node| format!(" on {node}"));
    let why = match (claim.access, &waiting.claims.unschedulable) {
        (Access::OnePod, Some(why)) if why.contains("ReadWriteOncePod") => format!(
            "pod {} cannot be scheduled while pod {}{} holds claim {} (ReadWriteOncePod): {why}",
            waiting.name,
            holder.name,
            node(holder),
            claim.usage.claim.name
        ),
        (Access::OneNode, _) if claim.attaches && waiting.claims.node.is_some() && waiting.claims.node != holder.claims.node => format!(
            "pod {}{} waits for volume {volume}, which pod {}{} holds (Multi-Attach error: ReadWriteOnce is for one node)",
            waiting.name,
            node(waiting),
            holder.name,
            node(holder)
        ),
        (Access::OnePod, None) if waiting.claims.node.is_some() => format!(
            "pod {}{} waits for volume {volume}, which pod {}{} holds (ReadWriteOncePod is for one pod)",
            waiting.name,
            node(waiting),
            holder.name,
            node(holder)
        ),
        _ => return None,
    };
    Some(Stuck { why, stranger: stranger.map(|pod| pod.name.to_string()) })
}
