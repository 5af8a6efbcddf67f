//! What metrics count in a namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::Phase,
    core::{
        arrange::Assessments,
        decision::{Decision, PolicyCensus},
        maintenance,
        memory::Memory,
        observed::{Workload, WorkloadId},
        report::Report,
    },
};

/// Where a workload stands, whether it was just judged or is at rest.
pub(super) struct Stand<'a> {
    /// What is reported of it.
    pub report: &'a Report,
    /// When to look again.
    pub wake: Option<Timestamp>,
    /// What is remembered of it.
    pub memory: &'a Memory,
}

impl Assessments<'_> {
    /// Where each workload stands of which something is to be said.
    pub(super) fn stands(&self) -> BTreeMap<&WorkloadId, Stand<'_>> {
        let found = self.of.iter().map(|(id, plan)| {
            (*id, Stand { report: &plan.report, wake: plan.wake, memory: &plan.memory })
        });
        let still = self.still.iter().map(|(id, (rest, memory))| {
            (*id, Stand { report: &rest.report, wake: rest.wake, memory })
        });
        found.chain(still).collect()
    }

    /// Counts a workload for metrics.
    pub(super) fn count(&self, id: &WorkloadId, stand: &Stand, decision: &mut Decision) {
        let Some(workload) = self.namespace.workloads.get(id) else { return };
        decision.census.stale += usize::from(stand.report.config.stale);
        decision.wake = decision.wake.into_iter().chain(stand.wake).min();
        let standing = self.governance.standings.get(id);
        let Some(policy) = standing.and_then(|standing| standing.policy()) else { return };
        let census = &mut decision.census;
        *census.phases.entry(stand.report.verdict.phase).or_default() += 1;
        note_age(workload, stand, (&mut census.oldest_hold, &mut census.oldest_difference));
        if !census.policies.contains_key(&policy.name) {
            census.policies.insert(policy.name.clone(), PolicyCensus::default());
        }
        let Some(of_policy) = census.policies.get_mut(&policy.name) else { return };
        *of_policy.phases.entry(stand.report.verdict.phase).or_default() += 1;
        note_age(workload, stand, (&mut of_policy.oldest_hold, &mut of_policy.oldest_difference));
        let maintained = maintenance::of(workload).and_then(|mark| mark.since);
        of_policy.oldest_maintenance =
            of_policy.oldest_maintenance.into_iter().chain(maintained).min();
    }
}

/// Since when gates keep a change of a workload waiting.
fn held_since(workload: &Workload, stand: &Stand) -> Option<Timestamp> {
    stand.report.hold.as_ref()?;
    workload.marks.hold_since.get()?.at()
}

/// Notes for how long a workload has been waiting, if it has for longest: for gates, or for
/// something else with config that differs.
fn note_age(
    workload: &Workload,
    stand: &Stand,
    (hold, difference): (&mut Option<Timestamp>, &mut Option<Timestamp>),
) {
    let (oldest, since) = match stand.report.verdict.phase {
        _ if stand.report.hold.is_some() => (hold, held_since(workload, stand)),
        Phase::Settling | Phase::Waiting | Phase::Limited => {
            (difference, stand.memory.differs_since)
        }
        _ => return,
    };
    *oldest = oldest.iter().copied().chain(since).min();
}
