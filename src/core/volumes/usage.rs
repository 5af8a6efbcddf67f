//! Who uses which claim.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{Mode, Protection, UpgradePolicySpec, VolumesSpec},
    core::{
        governs::{Governance, Standing},
        observed::{
            Namespace, Pod, Policy, Workload,
            storage::{Claim, CronJob, Storage, Volume},
        },
    },
};

/// A claim, and who refers to it.
pub struct Usage<'a> {
    /// The claim.
    pub claim: &'a Claim,
    /// Of the governed workloads that refer to it the one whose policy protects it most, with that
    /// policy.
    pub governed: Option<Governed<'a>>,
    /// The workloads that refer to it, by their template or by the pods that they have.
    pub workloads: Vec<&'a Workload>,
    /// The pods that use it, and are not finished.
    pub pods: Vec<&'a Pod>,
    /// Some workload wants a pod that uses it.
    pub wanted: bool,
    /// The CronJobs that refer to it.
    pub cron_jobs: Vec<&'a CronJob>,
}

/// A workload whose policy sees to its volumes.
#[derive(Clone, Copy)]
pub struct Governed<'a> {
    /// Its policy.
    pub policy: &'a Policy,
    /// What that says of volumes.
    pub spec: &'a VolumesSpec,
    /// The workload.
    pub workload: &'a Workload,
}

impl Governed<'_> {
    /// How far the data of a claim is protected. A StatefulSet that has its claims deleted has
    /// consented to that and nothing else, unless the policy says otherwise.
    pub fn protection(&self, claim: &Claim) -> Protection {
        let workload = &self.workload.claims;
        let whole =
            workload.go_with_set && workload.go_with_pod && !workload.named.contains(&claim.name);
        let default =
            if whole || self.lets_go(claim) { Protection::None } else { Protection::Retain };
        self.spec.protection.unwrap_or(default)
    }

    /// Whether a claim goes with a pod that its StatefulSet scales away, as that says (`whenScaled:
    /// Delete`): the controller made the pod its owner.
    pub fn lets_go(&self, claim: &Claim) -> bool {
        let workload = &self.workload.claims;
        let of_template = !workload.templates.is_empty() && !workload.named.contains(&claim.name);
        let goes_with_pod =
            || claim.owners.iter().any(|owner| owner.kind == "Pod" && owner.api_version == "v1");
        self.spec.protection.is_none() && workload.go_with_pod && of_template && goes_with_pod()
    }
}

impl Usage<'_> {
    /// Whether it is in use, or will be as soon as it can be.
    pub fn in_use(&self) -> bool {
        !self.pods.is_empty() || self.wanted
    }

    /// Whether anybody refers to it.
    pub fn is_referred_to(&self) -> bool {
        self.in_use() || !self.cron_jobs.is_empty() || !self.workloads.is_empty()
    }
}

/// What a policy that acts says of volumes. One that observes protects nothing, and its volumes are
/// judged all the same.
pub fn of_spec(spec: &UpgradePolicySpec) -> Option<&VolumesSpec> {
    spec.volumes.as_ref().filter(|_| spec.mode != Mode::Observe)
}

/// The claims of a namespace by name.
pub fn of_namespace<'a>(
    namespace: &'a Namespace,
    governance: &Governance<'a>,
    storage: &Storage,
) -> BTreeMap<&'a str, Usage<'a>> {
    let blank = |claim: &'a Claim| Usage {
        claim,
        governed: None,
        workloads: Vec::new(),
        pods: Vec::new(),
        wanted: false,
        cron_jobs: Vec::new(),
    };
    let seen_to = |standing: &Standing| matches!(standing, Standing::Governed(_, spec) if spec.volumes.is_some());
    let any = governance.standings.values().any(seen_to);
    // Where no policy sees to volumes, only what is kept already matters, and claims of the names
    // that volumes were left of.
    let retained = || storage.of_namespace(&namespace.name).filter(|volume| volume.retained);
    let noted = retained().filter_map(|volume| volume.provenance().map(|of| of.claim.clone()));
    let names: BTreeSet<String> = noted
        .chain(retained().filter_map(|volume| Some(volume.claim.as_ref()?.name.clone())))
        .chain(
            retained()
                .filter_map(Volume::conversion)
                .flat_map(|pair| pair.names().map(str::to_owned)),
        )
        .collect();
    let kept = |claim: &Claim| claim.is_kept() || names.contains(&claim.name);
    let claims = namespace.claims.values().filter(|claim| any || kept(claim));
    let mut usages: BTreeMap<&str, Usage> =
        claims.map(|claim| (claim.name.as_str(), blank(claim))).collect();
    if usages.is_empty() {
        return usages;
    }
    for pod in namespace.pods.values().filter(|pod| !pod.finished) {
        for name in &*pod.claims.named {
            if let Some(usage) = usages.get_mut(name.as_str()) {
                usage.pods.push(pod);
            }
        }
    }
    for job in namespace.cron_jobs.values() {
        for name in job.claims.iter() {
            if let Some(usage) = usages.get_mut(name.as_str()) {
                usage.cron_jobs.push(job);
            }
        }
    }
    let pods = namespace.pods_by_workload();
    for (id, workload) in namespace.workloads.iter().filter(|(_, workload)| !workload.deleting) {
        let governed = match governance.standings.get(id) {
            Some(Standing::Governed(policy, spec)) => {
                of_spec(spec).map(|spec| Governed { policy, spec, workload })
            }
            _ => None,
        };
        let own_pods = pods.get(&*workload.uid).map_or(&[][..], Vec::as_slice);
        for (name, wanted) in claims_of(namespace, workload, own_pods) {
            if let Some(usage) = usages.get_mut(name) {
                usage.workloads.push(workload);
                usage.wanted |= wanted;
                // What one policy asks to keep, no other gives away.
                let claim = usage.claim;
                let rank = |governed: &Governed| match governed.protection(claim) {
                    Protection::None => 0,
                    Protection::Retain => 1,
                    Protection::Deny => 2,
                };
                usage.governed = usage.governed.into_iter().chain(governed).rev().max_by_key(rank);
            }
        }
    }
    usages
}

/// The claims that a workload refers to, and whether a pod is wanted for each: those of its
/// template and of the pods that it has, and of a StatefulSet those of all ordinals.
pub fn claims_of<'a>(
    namespace: &'a Namespace,
    workload: &'a Workload,
    pods: &[&'a Pod],
) -> BTreeSet<(&'a str, bool)> {
    let state = &workload.rollout;
    let named = workload.claims.named.iter().map(|name| (name.as_str(), state.wanted > 0));
    let of_pods =
        pods.iter().flat_map(|pod| pod.claims.named.iter()).map(|name| (name.as_str(), true));
    let ordinals = state.ordinals.start..state.ordinals.start.saturating_add(state.wanted);
    let of_template = |template: &String| {
        let prefix = format!("{template}-{}-", workload.id.name);
        let from = namespace.claims.range(prefix.clone()..).map(|(name, _)| name.as_str());
        from.take_while(move |name| name.starts_with(&prefix))
    };
    let of_ordinals = workload.claims.templates.iter().flat_map(of_template);
    let of_ordinals =
        of_ordinals.filter_map(|name| Some((name, ordinals.contains(&ordinal(workload, name)?))));
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, wanted) in named.chain(of_pods).chain(of_ordinals) {
        *found.entry(name).or_default() |= wanted;
    }
    found.into_iter().collect()
}

/// Whether a workload wants a pod for a claim of this name, which need not be there; none if it
/// does not refer to such a claim.
pub fn refers(workload: &Workload, claim: &str) -> Option<bool> {
    let state = &workload.rollout;
    if workload.claims.named.iter().any(|name| name == claim) {
        return Some(state.wanted > 0);
    }
    let ordinals = state.ordinals.start..state.ordinals.start.saturating_add(state.wanted);
    ordinal(workload, claim).map(|ordinal| ordinals.contains(&ordinal))
}

/// The ordinal of the pod of a StatefulSet that a claim is for, by its name:
/// `<template>-<set>-<ordinal>`.
fn ordinal(workload: &Workload, claim: &str) -> Option<u32> {
    workload.claims.templates.iter().find_map(|template| {
        let rest = claim.strip_prefix(template.as_str())?.strip_prefix('-')?;
        let digits = rest.strip_prefix(workload.id.name.as_str())?.strip_prefix('-')?;
        (digits == "0" || !digits.starts_with('0')).then(|| digits.parse().ok())?
    })
}
