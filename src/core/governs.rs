//! Which policy governs which workload.

use std::{collections::BTreeMap, sync::LazyLock};

use kube::core::{Selector, SelectorExt};

use crate::{
    api::{IncludeOwned, Mode, UpgradePolicySpec},
    core::{
        hold::governance::{GovernanceMark, OtherReloader, holds_back, other_reloader, selection},
        observed::{
            Namespace, Policy, Workload, WorkloadId,
            policy::{freezing_spec, selector},
        },
    },
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

/// What a policy lets happen to a workload.
#[derive(Debug, Clone, Copy)]
pub enum Ruling<'a> {
    /// Its changes wait for the gates, and are released when these are open.
    Enforce(&'a Policy, &'a UpgradePolicySpec),
    /// Nothing is released but a revert.
    Freeze(&'a Policy, &'a UpgradePolicySpec),
    /// What would happen is reported, and nothing is done.
    Observe(&'a Policy, &'a UpgradePolicySpec),
    /// It is not known what the policy asks for: nothing is released but a revert, and what
    /// Lockkeeper wrote stays as it is.
    Unreadable(&'a Policy),
}

/// Stands for a spec that cannot be read.
static FREEZING: LazyLock<UpgradePolicySpec> = LazyLock::new(freezing_spec);

impl<'a> Ruling<'a> {
    /// That of a policy with this spec.
    pub fn of(policy: &'a Policy, spec: &'a UpgradePolicySpec) -> Self {
        match spec.mode {
            Mode::Enforce => Self::Enforce(policy, spec),
            Mode::Freeze => Self::Freeze(policy, spec),
            Mode::Observe => Self::Observe(policy, spec),
        }
    }

    /// The policy.
    pub fn policy(self) -> &'a Policy {
        match self {
            Self::Enforce(policy, _)
            | Self::Freeze(policy, _)
            | Self::Observe(policy, _)
            | Self::Unreadable(policy) => policy,
        }
    }

    /// Its spec. Of one that cannot be read, a spec that freezes and asks for nothing else.
    pub fn spec(self) -> &'a UpgradePolicySpec {
        match self {
            Self::Enforce(_, spec) | Self::Freeze(_, spec) | Self::Observe(_, spec) => spec,
            Self::Unreadable(_) => &FREEZING,
        }
    }

    /// Whether the policy only reports what would happen.
    pub fn observes(self) -> bool {
        matches!(self, Self::Observe(..))
    }

    /// Whether the spec cannot be read.
    pub fn is_unreadable(self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

impl<'a> Standing<'a> {
    /// The policy that governs it.
    pub fn policy(self) -> Option<&'a Policy> {
        match self {
            Self::Governed(policy, _) | Self::Frozen(policy) => Some(policy),
            Self::LeftOut | Self::Unselected => None,
        }
    }

    /// What its policy lets happen to it, if one governs it.
    pub fn ruling(self) -> Option<Ruling<'a>> {
        match self {
            Self::Governed(policy, spec) => Some(Ruling::of(policy, spec)),
            Self::Frozen(policy) => Some(Ruling::Unreadable(policy)),
            Self::LeftOut | Self::Unselected => None,
        }
    }
}

/// The policies' view of a namespace.
#[derive(Debug, Default)]
pub struct Governance<'a> {
    /// Each workload's standing.
    pub standings: BTreeMap<&'a WorkloadId, Standing<'a>>,
    /// By policy, the workloads that it selects and does not govern, or not for everything.
    pub left_out: BTreeMap<&'a str, Vec<LeftOut<'a>>>,
}

/// A workload that a policy selects and does not govern, or not for everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut<'a> {
    /// Which.
    pub workload: &'a WorkloadId,
    /// Why.
    pub why: Why<'a>,
}

/// Why a policy does not govern a workload that it selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why<'a> {
    /// This policy governs it.
    Governed(&'a str),
    /// What of it keeps every policy from governing it.
    Itself(NotGoverned<'a>),
    /// It is governed, but nothing is done for its config: another reloader acts on it.
    ForConfig(OtherReloader<'a>),
}

/// What of a workload keeps the policies that select it from governing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGoverned<'a> {
    /// Its annotation says so.
    Ignored,
    /// This controller owns it.
    Owned(&'a str),
    /// Another reloader acts on it.
    OtherReloader(OtherReloader<'a>),
}

impl<'a> Governance<'a> {
    /// What its policy lets happen to a workload, if one governs it.
    pub fn ruling(&self, workload: &WorkloadId) -> Option<Ruling<'a>> {
        self.standings.get(workload)?.ruling()
    }

    /// What of a workload keeps the policies that select it from governing it.
    pub fn why_left_out(&self, workload: &WorkloadId) -> Option<NotGoverned<'a>> {
        let all = self.left_out.values().flatten().filter(|out| out.workload == workload);
        all.into_iter().find_map(|out| match &out.why {
            Why::Itself(why) => Some(*why),
            Why::Governed(_) | Why::ForConfig(_) => None,
        })
    }

    /// Each workload that this is about, with its standing.
    pub fn each(
        &self,
        namespace: &'a Namespace,
    ) -> impl Iterator<Item = (&'a WorkloadId, &'a Workload, Standing<'a>)> {
        self.standings
            .iter()
            .filter_map(|(id, standing)| Some((*id, namespace.workloads.get(*id)?, *standing)))
    }
}

/// Decides whose each workload is.
pub fn governance<'a>(namespace: &'a Namespace) -> Governance<'a> {
    let policies = Policies::of(namespace);
    let mut governance = Governance::default();
    let mut standings = Vec::with_capacity(namespace.workloads.len());
    for (id, workload) in &namespace.workloads {
        let (standing, out) = policies.standing(workload);
        standings.push((id, standing));
        for Out { policy, left_out } in out {
            governance.left_out.entry(&policy.name).or_default().push(left_out);
        }
    }
    governance.standings = standings.into_iter().collect();
    governance
}

/// The policies of a namespace, as they decide whose a workload is.
pub struct Policies<'a> {
    namespace: &'a Namespace,
    /// Those with a spec that can be acted on; who comes first governs.
    in_order: Vec<(&'a Policy, &'a UpgradePolicySpec, Selector)>,
    all_valid: bool,
}

/// A policy that selects a workload and does not govern it, or not for everything.
pub struct Out<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The workload, and why.
    pub left_out: LeftOut<'a>,
}

impl<'a> Policies<'a> {
    /// Those of a namespace.
    pub fn of(namespace: &'a Namespace) -> Self {
        let mut in_order: Vec<_> = namespace
            .policies
            .values()
            .filter_map(|policy| {
                let spec = policy.spec.as_ref().ok()?;
                Some((policy, spec, selector(&spec.selector).ok()?))
            })
            .collect();
        in_order.sort_by_key(|(policy, spec, _)| {
            (spec.mode == Mode::Observe, -i64::from(spec.priority), policy.name.clone())
        });
        let all_valid = namespace.policies.values().all(|policy| policy.spec.is_ok());
        Self { namespace, in_order, all_valid }
    }

    /// Whose a workload is, and the policies that select it all the same. Among the policies that
    /// select one, those that enforce come before those that observe, then the higher priority,
    /// then the first name. A held workload stays with the policy that holds it, whatever its own
    /// labels become, as long as that policy stands and selects what it selected then.
    pub fn standing<'w>(&self, workload: &'w Workload) -> (Standing<'a>, Vec<Out<'w>>)
    where
        'a: 'w,
    {
        let (namespace, id) = (self.namespace, &workload.id);
        let holds_back = holds_back(workload);
        let recorded = if holds_back { self.recorded(workload) } else { None };
        // While its judge is gone, only a policy that holds takes a held workload over: between the
        // deletion of a policy and its creation under another name, any other would release it.
        let orphaned = matches!(recorded, Some((_, None)));
        let selecting = self.in_order.iter().filter(|(_, spec, selector)| {
            spec.kinds.contains(&id.kind)
                && selector.matches(&workload.labels)
                && (!orphaned || spec.needs_holds())
        });
        let mut standing = Standing::Unselected;
        let mut outs = Vec::new();
        for &(policy, spec, _) in selecting {
            let out = match standing {
                Standing::Governed(other, _) => Some(Why::Governed(&other.name)),
                _ => left_out(namespace, workload, spec).map(Why::Itself),
            };
            match out {
                Some(why) => {
                    outs.push(Out { policy, left_out: LeftOut { workload: id, why } });
                    if matches!(standing, Standing::Unselected) {
                        standing = Standing::LeftOut;
                    }
                }
                None => {
                    standing = Standing::Governed(policy, spec);
                    if let Some(why) =
                        other_reloader(namespace, workload).filter(|_| spec.config.is_some())
                    {
                        let why = Why::ForConfig(why);
                        outs.push(Out { policy, left_out: LeftOut { workload: id, why } });
                    }
                }
            }
        }
        // Whose it was so far makes no other difference.
        let recorded = match standing {
            Standing::Governed(..) if !holds_back && self.all_valid => None,
            _ => recorded.or_else(|| self.recorded(workload)),
        };
        if let Some((mark, Some(policy))) = recorded {
            standing = match (&policy.spec, standing) {
                (Err(_), _) if !ignored(workload) => Standing::Frozen(policy),
                // One that only observes keeps what it held when it did more, but from nobody who
                // governs it.
                (Ok(spec), other @ Standing::Governed(..)) if spec.mode == Mode::Observe => other,
                (Ok(spec), _) if keeps(workload, spec, mark) => Standing::Governed(policy, spec),
                (_, Standing::Unselected) => Standing::LeftOut,
                (_, other) => other,
            };
        }
        (standing, outs)
    }

    /// The policy that governed a workload last, as its mark says, if that stands.
    fn recorded<'w>(
        &self,
        workload: &'w Workload,
    ) -> Option<(&'w GovernanceMark, Option<&'a Policy>)> {
        let mark = GovernanceMark::on(workload)?;
        let mut policies = self.namespace.policies.values();
        Some((mark, policies.find(|policy| *policy.uid == *mark.uid)))
    }
}

/// A hold keeps its judge. What makes a policy let go is its own doing, or `ignore`, which takes
/// the right to bypass.
fn keeps(workload: &Workload, spec: &UpgradePolicySpec, mark: &GovernanceMark) -> bool {
    holds_back(workload) && !ignored(workload) && *selection(spec) == *mark.selection
}

fn ignored(workload: &Workload) -> bool {
    workload.marks.ignore.get().is_some()
}

fn left_out<'a>(
    namespace: &'a Namespace,
    workload: &'a Workload,
    spec: &UpgradePolicySpec,
) -> Option<NotGoverned<'a>> {
    if ignored(workload) {
        return Some(NotGoverned::Ignored);
    }
    if let Some(owner) =
        workload.owner.as_ref().filter(|_| spec.include_owned == IncludeOwned::Never)
    {
        return Some(NotGoverned::Owned(owner));
    }
    // It acts on config only: what holds the template, holds it all the same.
    let other = other_reloader(namespace, workload).filter(|_| !spec.needs_holds());
    other.map(NotGoverned::OtherReloader)
}
