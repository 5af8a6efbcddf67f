//! Which policy governs which workload.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde::{Deserialize, Serialize};

use crate::api::{
    IncludeOwned, Mode, Remark, UpgradePolicySpec, WhenUngoverned, WorkloadKind, marks,
};
use crate::core::{
    gates::windows::Windows,
    hold::marking::holds_back,
    observed::{Namespace, Policy, Workload, WorkloadId},
};

/// Whose a workload is.
#[derive(Debug, Clone, Copy)]
pub enum Standing<'a> {
    /// Governed by a policy that enforces, or observed by one that observes.
    Governed(&'a Policy, &'a UpgradePolicySpec),
    /// Governed so far by a policy whose spec cannot be acted on any more: as if it froze, until
    /// somebody fixes it.
    Frozen(&'a Policy),
    /// Selected, but left out; or the policy that governed it is there and no longer selects it.
    LeftOut,
    /// No policy selects it, and the one that governed it, if one did, is gone.
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

impl<'a> Governance<'a> {
    /// Each workload of the namespace that this is about, with its standing.
    pub fn each(
        &self,
        namespace: &'a Namespace,
    ) -> impl Iterator<Item = (&'a WorkloadId, &'a Workload, Standing<'a>)> {
        // One standing a workload, in the same order: thousands are gone through without looking
        // each of them up.
        namespace
            .workloads
            .iter()
            .zip(self.standings.values())
            .map(|((id, workload), standing)| (id, workload, *standing))
    }
}

/// Which policy governs a workload, as the annotation `lockkeeper.dev/governance` records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceMark {
    /// Its name.
    pub policy: String,
    /// Its uid.
    pub uid: String,
    /// What becomes of a held change when it no longer governs the workload.
    #[serde(default)]
    pub when_ungoverned: WhenUngoverned,
    /// A digest of what it selects.
    #[serde(default)]
    pub selection: String,
    /// The uid of our CRD.
    #[serde(default)]
    pub definition: String,
}

impl GovernanceMark {
    /// The mark of a policy.
    pub fn of(policy: &Policy, spec: &UpgradePolicySpec, definition: &str) -> Self {
        Self {
            policy: policy.name.clone(),
            uid: policy.uid.to_string(),
            when_ungoverned: spec.when_ungoverned,
            selection: selection(spec),
            definition: definition.to_owned(),
        }
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

/// Digests what a policy selects. No secret: it only tells whether the selection was changed.
fn selection(spec: &UpgradePolicySpec) -> String {
    let text = serde_json::to_string(&(&spec.selector, &spec.kinds, spec.include_owned))
        .unwrap_or_default();
    <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Reads a policy's selector.
///
/// # Errors
/// Says in a sentence why it selects nothing.
pub fn selector(selector: &LabelSelector) -> Result<Selector, String> {
    Selector::try_from(selector.clone()).map_err(|error| format!("spec.selector: {error}"))
}

/// Decides whose each workload is. Among the policies that select one, those that enforce come
/// before those that observe, then the higher priority, then the first name. A held workload stays
/// with the policy that holds it, whatever its own labels become, as long as that policy stands and
/// selects what it selected then.
pub fn governance(namespace: &Namespace) -> Governance<'_> {
    let mut policies: Vec<_> = namespace
        .policies
        .values()
        .filter_map(|policy| {
            let spec = policy.spec.as_ref().ok()?;
            Some((policy, spec, selector(&spec.selector).ok()?))
        })
        .collect();
    policies.sort_by_key(|(policy, spec, _)| {
        (spec.mode == Mode::Observe, -i64::from(spec.priority), policy.name.clone())
    });

    let mut governance = Governance::default();
    let mut standings = Vec::with_capacity(namespace.workloads.len());
    let judge_of = |workload: &Workload| {
        let mark = GovernanceMark::on(workload)?;
        let judge = namespace.policies.values().find(|policy| *policy.uid == *mark.uid);
        Some((mark, judge))
    };
    let all_valid = namespace.policies.values().all(|policy| policy.spec.is_ok());
    for (id, workload) in &namespace.workloads {
        let holds_back = holds_back(workload);
        let recorded = if holds_back { judge_of(workload) } else { None };
        // While its judge is gone, only a policy that holds takes a held workload over: between the
        // deletion of a policy and its creation under another name, any other would release it.
        let orphaned = matches!(recorded, Some((_, None)));
        let selects = |(_, spec, selector): &&(&Policy, &UpgradePolicySpec, Selector)| {
            spec.kinds.contains(&id.kind)
                && selector.matches(&workload.labels)
                && (!orphaned || spec.needs_holds())
        };
        let mut standing = Standing::Unselected;
        for (policy, spec, _) in policies.iter().filter(selects) {
            let out = match standing {
                Standing::Governed(other, _) => {
                    Some(format!("{id} is governed by policy {}", other.name))
                }
                _ => left_out(namespace, workload, spec).map(|reason| format!("{id}: {reason}")),
            };
            match out {
                Some(reason) => {
                    governance.left_out.entry(&policy.name).or_default().push(reason);
                    if matches!(standing, Standing::Unselected) {
                        standing = Standing::LeftOut;
                    }
                }
                None => {
                    standing = Standing::Governed(policy, spec);
                    if let Some(reason) =
                        other_reloader(namespace, workload).filter(|_| spec.config.is_some())
                    {
                        governance
                            .left_out
                            .entry(&policy.name)
                            .or_default()
                            .push(format!("{id}, for config: {reason}"));
                    }
                }
            }
        }
        // Whose it was so far makes no other difference.
        let recorded = match standing {
            Standing::Governed(..) if !holds_back && all_valid => None,
            _ => recorded.or_else(|| judge_of(workload)),
        };
        if let Some((mark, Some(policy))) = recorded {
            standing = match (&policy.spec, standing) {
                (Err(_), _) if !ignored(workload) => Standing::Frozen(policy),
                // One that only observes keeps what it held when it did more, but from nobody who
                // governs it.
                (Ok(spec), other @ Standing::Governed(..)) if spec.mode == Mode::Observe => other,
                (Ok(spec), _) if keeps(workload, spec, &mark) => Standing::Governed(policy, spec),
                (_, Standing::Unselected) => Standing::LeftOut,
                (_, other) => other,
            };
        }
        standings.push((id, standing));
    }
    governance.standings = standings.into_iter().collect();
    governance
}

/// A hold keeps its judge. What makes a policy let go is its own doing, or `ignore`, which takes
/// the right to bypass.
fn keeps(workload: &Workload, spec: &UpgradePolicySpec, mark: &GovernanceMark) -> bool {
    holds_back(workload) && !ignored(workload) && selection(spec) == mark.selection
}

fn ignored(workload: &Workload) -> bool {
    workload.marks.get(marks::IGNORE).is_some_and(|value| value == "true")
}

fn left_out(
    namespace: &Namespace,
    workload: &Workload,
    spec: &UpgradePolicySpec,
) -> Option<String> {
    if ignored(workload) {
        return Some(format!("ignored (annotation {}: \"true\")", marks::IGNORE));
    }
    if let Some(owner) =
        workload.owner.as_ref().filter(|_| spec.include_owned == IncludeOwned::Never)
    {
        return Some(format!(
            "{} {owner} (to govern it anyway, set spec.includeOwned: Always)",
            Remark::OwnedBy
        ));
    }
    // It acts on config only: what holds the template, holds it all the same.
    other_reloader(namespace, workload).filter(|_| !spec.needs_holds())
}

/// Who else rolls a workload when its config changes, or has taken its place.
pub fn other_reloader(namespace: &Namespace, workload: &Workload) -> Option<String> {
    let other = Remark::OtherReloader;
    if let Some(annotation) = &workload.reloader {
        return Some(format!(
            "{other}: annotation {annotation} makes another reloader act on it; remove it to let Lockkeeper do so"
        ));
    }
    let delegate = namespace.delegates.iter().find(|(_, target)| **target == workload.id);
    delegate.map(|((kind, name), _)| format!("{other}: {kind}/{name} acts on it"))
}

/// What stands for a spec that cannot be acted on: it holds everything, and asks for nothing else.
pub fn freezing_spec() -> UpgradePolicySpec {
    UpgradePolicySpec {
        selector: LabelSelector::default(),
        kinds: vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet],
        include_owned: IncludeOwned::Never,
        priority: 0,
        mode: Mode::Freeze,
        when_ungoverned: WhenUngoverned::Release,
        config: None,
        gates: None,
        rollout: None,
        volumes: None,
    }
}

/// The spec of a policy as it may be acted on, and its windows.
///
/// # Errors
/// Says in a sentence what is wrong with it.
pub fn check_spec(spec: UpgradePolicySpec) -> Result<(UpgradePolicySpec, Windows), String> {
    selector(&spec.selector)?;
    for step in spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice()) {
        selector(&step.selector)
            .map_err(|error| format!("spec.rollout.steps[{}]: {error}", step.name))?;
    }
    let windows =
        Windows::parse(spec.gates.as_ref().map_or(&[], |gates| gates.windows.as_slice()))?;
    Ok((spec, windows))
}
