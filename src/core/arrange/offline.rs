//! The offline upgrades of a namespace: who takes part, and whether all agree.

use std::collections::BTreeMap;

use super::seen::SeenWorkload;
use crate::core::{
    observed::{Namespace, WorkloadId},
    offline::{member, of, run::Run},
    planned::Plan,
    rollout::{revisions::Revisions, steps::Order},
    unread,
};

/// By policy, how far its workloads are with an offline upgrade.
pub(super) fn runs<'n>(
    namespace: &'n Namespace,
    seen: &BTreeMap<&'n WorkloadId, SeenWorkload<'n, '_>>,
    orders: &BTreeMap<&'n str, Order<'n>>,
) -> BTreeMap<&'n str, Run<'n>> {
    let mut runs: BTreeMap<&str, Run> = BTreeMap::new();
    for one in seen.values() {
        let Some(ruling) = one.ruling else { continue };
        if ruling.spec().offline.is_some() || of(one.real).is_some() {
            runs.entry(ruling.policy().name.as_str()).or_default();
        }
    }
    for (id, one) in seen {
        let Some((ruling, progress)) = one.ruling.zip(one.progress) else { continue };
        let name = ruling.policy().name.as_str();
        let Some(run) = runs.get_mut(name) else { continue };
        let revisions = Revisions::of(namespace, &one.workload, one.sets, one.current);
        let place = orders.get(name).and_then(|order| order.place(id));
        let found = (one.pods, &revisions);
        let member = member(&one.workload, found, ruling, (progress, place), one.memory);
        member.into_iter().for_each(|member| run.see(id, member));
    }
    for unread in unread::unknown_workloads(namespace) {
        runs.values_mut().for_each(|run| run.miss(unread));
    }
    runs
}

/// Those that are judged again, because all agreed that everything may be stopped.
pub(super) fn agree<'n>(
    runs: &mut BTreeMap<&'n str, Run<'n>>,
    plans: &BTreeMap<&'n WorkloadId, Plan>,
) -> Vec<&'n WorkloadId> {
    for run in runs.values_mut() {
        run.agree(|id| plans.get(id).is_some_and(|plan| plan.memory.agrees));
    }
    let agreed = runs.values().filter(|run| run.is_agreed());
    agreed.flat_map(Run::first_to_stop).collect()
}
