//! Which policy governs which workload.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::{Deserialize, Serialize};

use super::world::{Namespace, Policy, Workload, WorkloadId};
use crate::api::{IncludeOwned, Mode, UpgradePolicySpec, marks};

/// Whose a workload is.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// Governed by a policy that enforces, or observed by one that observes.
    Governed(&'a Policy, &'a UpgradePolicySpec),
    /// Governed so far by a policy whose spec cannot be read any more: nothing is done until somebody mends it.
    Frozen(&'a Policy),
    /// Selected, but left out.
    LeftOut,
    /// No policy selects it.
    Unselected,
}

/// The policies' view of a namespace.
#[derive(Debug, Default)]
pub struct Governance<'a> {
    /// Each workload's standing.
    pub standings: BTreeMap<&'a WorkloadId, Standing<'a>>,
    /// By policy, the workloads that it selects and does not govern, each with the reason in words.
    pub left_out: BTreeMap<&'a str, Vec<String>>,
}

/// Which policy governs a workload, as the annotation `lockkeeper.dev/governance` records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GovernanceMark {
    /// Its name.
    pub policy: String,
    /// Its uid.
    pub uid: String,
}

impl GovernanceMark {
    /// The mark of a policy.
    pub fn of(policy: &Policy) -> Self {
        Self { policy: policy.name.clone(), uid: policy.uid.to_string() }
    }

    /// The mark on a workload; what cannot be read is none.
    pub fn on(workload: &Workload) -> Option<Self> {
        serde_json::from_str(workload.marks.get(marks::GOVERNANCE)?).ok()
    }

    /// The annotation's text.
    pub fn write(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Reads a policy's selector.
///
/// # Errors
/// Says in a sentence why it selects nothing.
pub fn selector(selector: &LabelSelector) -> Result<Selector, String> {
    Selector::try_from(selector.clone()).map_err(|error| format!("spec.selector: {error}"))
}

/// Decides whose each workload is. Among the policies that select one, those that enforce come before those that observe, then the
/// higher priority, then the first name.
pub fn governance(namespace: &Namespace) -> Governance<'_> {
    let mut policies: Vec<_> = namespace
        .policies
        .values()
        .filter_map(|policy| {
            let spec = policy.spec.as_ref().ok()?;
            Some((policy, spec, selector(&spec.selector).ok()?))
        })
        .collect();
    policies.sort_by_key(|(policy, spec, _)| (spec.mode == Mode::Observe, -i64::from(spec.priority), policy.name.clone()));

    let mut governance = Governance::default();
    for (id, workload) in &namespace.workloads {
        let selects = |(_, spec, selector): &&(&Policy, &UpgradePolicySpec, Selector)| {
            spec.kinds.contains(&id.kind) && selector.matches(&workload.labels)
        };
        let mut standing = Standing::Unselected;
        for (policy, spec, _) in policies.iter().filter(selects) {
            let out = match standing {
                Standing::Governed(other, _) => Some(format!("{id} is governed by policy {}", other.name)),
                _ => left_out(namespace, workload, spec).map(|reason| format!("{id}: {reason}")),
            };
            match out {
                Some(reason) => {
                    governance.left_out.entry(&policy.name).or_default().push(reason);
                    if matches!(standing, Standing::Unselected) {
                        standing = Standing::LeftOut;
                    }
                }
                None => standing = Standing::Governed(policy, spec),
            }
        }
        if matches!(standing, Standing::Unselected) {
            let mark = GovernanceMark::on(workload);
            let frozen = |policy: &&Policy| policy.spec.is_err() && mark.as_ref().is_some_and(|mark| *mark.uid == *policy.uid);
            if let Some(policy) = namespace.policies.values().find(frozen) {
                standing = Standing::Frozen(policy);
            }
        }
        governance.standings.insert(id, standing);
    }
    governance
}

fn left_out(namespace: &Namespace, workload: &Workload, spec: &UpgradePolicySpec) -> Option<String> {
    if workload.marks.get(marks::IGNORE).is_some_and(|value| value == "true") {
        return Some(format!("ignored (annotation {}: \"true\")", marks::IGNORE));
    }
    if let Some(owner) = workload.owner.as_ref().filter(|_| spec.include_owned == IncludeOwned::Never) {
        return Some(format!("OwnedBy {owner} (spec.includeOwned: Always governs it all the same)"));
    }
    if let Some(annotation) = &workload.reloader {
        return Some(format!("OtherReloader: annotation {annotation} makes another reloader act on it; remove it to let Lockkeeper do so"));
    }
    let delegate = namespace.delegates.iter().find(|(_, target)| **target == workload.id);
    delegate.map(|((kind, name), _)| format!("OtherReloader: {kind}/{name} acts on it"))
}
