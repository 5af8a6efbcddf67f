//! What a change would wait for, and what follows it.

use std::collections::{BTreeMap, BTreeSet};

use lockkeeper::core::observed::{Workload, WorkloadId};

use super::Judge;
use crate::{
    cluster::lower,
    plan::outcome::{Line, Outcome, Wait},
};

impl Judge<'_> {
    /// What a change would wait for.
    pub(super) fn waits(&self, workload: &Workload) -> Vec<Wait> {
        self.forecast.after(&workload.id).map_or_else(Vec::new, |verdict| verdict.waits.clone())
    }

    /// What restarts because the step before it rolls, and what restarts with that.
    pub(super) fn restarts(&self, lines: &mut [Line]) {
        let names: BTreeMap<String, &WorkloadId> =
            self.now.after.workloads.keys().map(|id| (lower(id), id)).collect();
        loop {
            let ends = |line: &&Line| line.outcome.rolls() || line.outcome == Outcome::Create;
            let done: BTreeSet<WorkloadId> = lines
                .iter()
                .filter(ends)
                .filter_map(|line| names.get(&line.object))
                .map(|id| (*id).clone())
                .collect();
            if done.is_empty() {
                return;
            }
            let restarts = self.forecast.restarts(&done, self.now);
            let mut any = false;
            for line in lines.iter_mut() {
                let id = names.get(&line.object).filter(|id| restarts.contains(**id));
                let Some(workload) = id.and_then(|id| self.now.after.workloads.get(*id)) else {
                    continue;
                };
                if line.outcome.rolls() || line.outcome == Outcome::Create {
                    continue;
                }
                any = true;
                line.outcome = Outcome::ConfigHold;
                line.waits_for = self.waits(workload);
                line.because.push(
                    "It restarts with the step before it (restartWith: Previous).".to_owned(),
                );
            }
            if !any {
                return;
            }
        }
    }
}
