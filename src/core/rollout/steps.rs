//! In which order the workloads of a policy go, and how many at once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::core::{Selector, SelectorExt};

use super::{
    outcome::{Ended, Outcome},
    progress::{self, Progress},
};
use crate::{
    api::{OnFailure, Phase, Reason, RestartWith, UpgradePolicySpec},
    core::{
        assess::Assessment,
        config::digest::Key,
        decision::{Purpose, Release},
        gates::Closed,
        governs::selector,
        hold::state::Hold,
        world::{Activity, Pod, Workload, WorkloadId},
    },
};

/// The workloads of one policy in the order in which they go.
pub struct Order<'a> {
    spec: &'a UpgradePolicySpec,
    selectors: Vec<Selector>,
    places: BTreeMap<&'a WorkloadId, usize>,
    under_way: BTreeSet<&'a WorkloadId>,
    failed: BTreeSet<&'a WorkloadId>,
    /// By step, who is not done, and why.
    unsettled: BTreeMap<usize, (&'a WorkloadId, String)>,
    /// By step, what was rolled out last.
    done: BTreeMap<usize, Vec<String>>,
}

impl<'a> Order<'a> {
    /// Nobody seen yet.
    pub fn new(spec: &'a UpgradePolicySpec) -> Self {
        let steps = spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
        Self {
            spec,
            // What cannot be read was refused with the spec.
            selectors: steps.iter().filter_map(|step| selector(&step.selector).ok()).collect(),
            places: BTreeMap::new(),
            under_way: BTreeSet::new(),
            failed: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// Sees a workload as it is, before anything is decided.
    pub fn see(
        &mut self,
        id: &'a WorkloadId,
        workload: &Workload,
        (pods, current): (&[&Pod], Option<&str>),
        activity: &Activity,
        now: Timestamp,
    ) {
        if let Some(step) = self.selectors.iter().position(|selector| selector.matches(&workload.labels)) {
            self.places.insert(id, step);
        }
        let held = Hold::on(workload).is_some();
        let outcome = Outcome::on(workload);
        let progress = progress::judge(workload, pods, current, self.spec.deadline(), now);
        let rolls = match progress {
            Progress::UnderWay(_) => true,
            // Our own note of it tells that it was let through, until the controller has seen it.
            Progress::Unobserved => outcome.begun_at().is_some() && outcome.change.is_some(),
            _ => false,
        };
        if (rolls && !held) || activity.begins {
            self.under_way.insert(id);
        }
        let fails = if held { outcome.ended == Ended::Failed } else { matches!(progress, Progress::Failed(_)) };
        if fails {
            self.failed.insert(id);
        }
    }

    /// In which step a workload is; those in none come first.
    pub fn place(&self, workload: &WorkloadId) -> Option<usize> {
        self.places.get(workload).copied()
    }

    /// What keeps a workload from its turn, if something does. Those of the steps before must have been assessed.
    pub fn waits(&self, workload: &WorkloadId) -> Option<Closed> {
        let rollout = self.spec.rollout.as_ref()?;
        let closed = |reason, message| Some(Closed { reason, message, ask_again: None });
        let others_failed: Vec<_> = self.failed.iter().filter(|other| **other != workload).map(ToString::to_string).collect();
        if !others_failed.is_empty() && rollout.on_failure == OnFailure::Pause && !self.failed.contains(workload) {
            let who = others_failed.join(", ");
            let message = format!("the rollout of {who} has failed, so no other begins until that is mended (rollout.onFailure: Pause)");
            return closed(Reason::OtherFailed, message);
        }
        let place = self.place(workload);
        if let Some((step, (who, why))) = place.and_then(|place| self.unsettled.range(..place).next()) {
            let name = rollout.steps.get(*step).map_or("", |step| step.name.as_str());
            return closed(Reason::StepWaits, format!("step {name} comes before it, and {who} is not done: {why}"));
        }
        let max = rollout.max_concurrent?;
        let others: Vec<_> = self.under_way.iter().filter(|other| **other != workload).map(ToString::to_string).collect();
        if others.len() < max as usize {
            return None;
        }
        let message = format!("{} under way, as many as rollout.maxConcurrent allows: {}", others.len(), others.join(", "));
        closed(Reason::MaxConcurrent, message)
    }

    /// What the step before has rolled out last, for a workload that restarts with it; none while that step is not done.
    pub fn previous(&self, workload: &WorkloadId, key: &Key) -> Option<String> {
        let place = self.place(workload)?;
        let step = self.spec.rollout.as_ref()?.steps.get(place)?;
        let before =
            place.checked_sub(1).filter(|before| step.restart_with == RestartWith::Previous && !self.unsettled.contains_key(before))?;
        let done = self.done.get(&before)?;
        let sum = done.iter().fold(key.sum("previous-step"), |sum, one| sum.field(one.as_bytes()));
        Some(sum.digest().short())
    }

    /// Takes in what was decided about a workload whose newest pods are of this revision.
    pub fn note(&mut self, id: &'a WorkloadId, workload: &Workload, found: &Assessment, current: Option<&str>, key: &Key) {
        let begins = found.roll.is_some() || found.edits.purpose == Some(Purpose::Release(Release::GatesOpen));
        if begins {
            self.under_way.insert(id);
        }
        let Some(step) = self.place(id) else { return };
        let outcome = Outcome::on(workload);
        let at = outcome.at.filter(|_| outcome.ended == Ended::Done).map(|at| at.to_string()).unwrap_or_default();
        // Until it is written down that it was rolled out, others would follow what was there before.
        let written = outcome.done.as_deref() == current && !(outcome.begun_at().is_some() && outcome.is_of(workload, key));
        self.done.entry(step).or_default().push(format!("{} {} {at}", workload.uid, outcome.done.unwrap_or_default()));
        let waits_for_nobody = match found.phase {
            Phase::UpToDate | Phase::Unsupported => written,
            Phase::WaitsForUser | Phase::WouldRoll | Phase::WouldHold => true,
            // Left alone by somebody's decision.
            Phase::Waiting => matches!(found.reason, Reason::RolledBack | Reason::MarksReverted),
            Phase::Failed => self.spec.rollout.as_ref().is_some_and(|rollout| rollout.on_failure == OnFailure::Continue),
            _ => false,
        };
        if begins || !waits_for_nobody {
            let why = match (begins, found.phase) {
                (true, _) => "it begins now".to_owned(),
                (_, Phase::UpToDate) => "its end is being written down".to_owned(),
                (_, phase) => format!("{phase} ({})", found.reason.as_str()),
            };
            self.unsettled.entry(step).or_insert((id, why));
        }
    }

    /// The names of the steps that select nothing.
    pub fn empty_steps(&self) -> Vec<&'a str> {
        let steps = self.spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
        let used: BTreeSet<_> = self.places.values().copied().collect();
        steps.iter().enumerate().filter(|(number, _)| !used.contains(number)).map(|(_, step)| step.name.as_str()).collect()
    }
}
