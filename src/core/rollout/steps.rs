//! In which order the workloads of a policy go, and how many at once.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::{Selector, SelectorExt};

use crate::{
    api::{OnFailure, Phase, Reason, RestartWith, UpgradePolicySpec},
    core::{
        digest::Key,
        gates::blocker::{Turn, Unsettled},
        hold::state::Hold,
        memory::Activity,
        observed::{Concerns, Unread, Workload, WorkloadId, policy::selector},
        report::Verdict,
        rollout::{
            outcome::{Ended, Followed, Outcome, Previous},
            progress::Progress,
        },
    },
};

/// So much of a uid tells the workloads of a namespace apart.
const UID_LENGTH: usize = 8;

/// The workloads of one policy in the order in which they go.
pub struct Order<'a> {
    spec: &'a UpgradePolicySpec,
    selectors: Vec<Selector>,
    places: BTreeMap<&'a WorkloadId, usize>,
    under_way: BTreeSet<&'a WorkloadId>,
    /// Those that have failed, and whether a change that may be their cure waits.
    failed: BTreeMap<&'a WorkloadId, bool>,
    /// By step, who is not done, and why.
    unsettled: BTreeMap<usize, (&'a WorkloadId, Unsettled)>,
    /// By step, what was rolled out last.
    done: BTreeMap<usize, Followed>,
    /// Steps of which not everything is done, and written down as such.
    unwritten: BTreeSet<usize>,
    /// A workload of which nothing is known may be in any step, and rolling.
    unknown: Option<String>,
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
            failed: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            done: BTreeMap::new(),
            unwritten: BTreeSet::new(),
            unknown: None,
        }
    }

    /// Hears of a workload that cannot be read and was never known.
    pub fn miss(&mut self, unread: &Unread) {
        if matches!(&unread.concerns, Concerns::Workload(id) if self.spec.kinds.contains(&id.kind))
        {
            self.unknown.get_or_insert_with(|| unread.to_string());
        }
    }

    /// Sees a workload as it is, before anything is decided.
    pub fn see(
        &mut self,
        id: &'a WorkloadId,
        workload: &Workload,
        progress: Progress,
        activity: &Activity,
    ) {
        if let Some(step) =
            self.selectors.iter().position(|selector| selector.matches(&workload.labels))
        {
            self.places.insert(id, step);
        }
        if workload.marks.in_maintenance.stands() {
            return;
        }
        let held = Hold::on(workload).is_some();
        let outcome = Outcome::on(workload);
        let rolls = match progress {
            Progress::UnderWay(_) => true,
            // Our own note of it tells that it was let through, until the controller has seen it.
            Progress::Unobserved => outcome.begun_at().is_some() && outcome.change.is_some(),
            _ => false,
        };
        if (rolls && !held) || activity.begins {
            self.under_way.insert(id);
        }
        let fails = if held {
            outcome.ended == Ended::Failed
        } else {
            matches!(progress, Progress::Failed(_))
        };
        if fails {
            self.failed.insert(id, held || workload.marks.pending_config.stands());
        }
    }

    /// In which step a workload is; those in none come first.
    pub fn place(&self, workload: &WorkloadId) -> Option<usize> {
        self.places.get(workload).copied()
    }

    /// What keeps a workload from its turn, if something does. Those of the steps before must have
    /// been assessed.
    pub fn waits(&self, workload: &WorkloadId) -> Option<Turn> {
        let rollout = self.spec.rollout.as_ref()?;
        let place = self.place(workload);
        if rollout.on_failure == OnFailure::Pause && !self.failed.contains_key(workload) {
            // One whose cure waits for this one's turn stops it not.
            let failed = self
                .failed
                .iter()
                .filter(|(other, cure)| !(**cure && place.is_some() && self.place(other) > place));
            let others: Vec<_> = failed.map(|(other, _)| (*other).clone()).collect();
            if !others.is_empty() {
                return Some(Turn::OthersFailed(others));
            }
        }
        if let Some((step, (who, why))) =
            place.and_then(|place| self.unsettled.range(..place).next())
        {
            let step = rollout.steps.get(*step).map_or_else(String::new, |step| step.name.clone());
            return Some(Turn::StepWaits { step, workload: (*who).clone(), why: *why });
        }
        if let Some(unread) = self
            .unknown
            .as_ref()
            .filter(|_| rollout.max_concurrent.is_some() || place.is_some_and(|place| place > 0))
        {
            return Some(Turn::Unreadable(unread.clone()));
        }
        let max = rollout.max_concurrent?;
        let others = self.under_way.iter().filter(|other| **other != workload);
        let others: Vec<_> = others.map(|other| (*other).clone()).collect();
        (others.len() >= max as usize).then_some(Turn::MaxConcurrent(others))
    }

    /// What the step before has rolled out last, for a workload that restarts with it.
    pub fn previous(&self, workload: &WorkloadId) -> Previous {
        let steps = self.spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
        let place = self.place(workload).filter(|place| {
            steps.get(*place).is_some_and(|step| step.restart_with == RestartWith::Previous)
        });
        let Some(before) = place.and_then(|place| place.checked_sub(1)) else {
            return Previous::Nothing;
        };
        match self.done.get(&before) {
            Some(done) if !self.unwritten.contains(&before) && self.unknown.is_none() => {
                Previous::Done(done.clone())
            }
            _ => Previous::NotDone,
        }
    }

    /// Takes in what was decided about a workload, and whether its pods begin to be replaced with
    /// that. `current` is the revision of its newest pods.
    pub fn note(
        &mut self,
        id: &'a WorkloadId,
        workload: &Workload,
        plan: (&Verdict, bool),
        current: Option<&str>,
        key: &Key,
    ) {
        let (&Verdict { phase, reason, .. }, begins) = plan;
        if begins {
            self.under_way.insert(id);
        }
        // One that is being deleted no longer counts.
        let Some(step) = self.place(id).filter(|_| !workload.deleting) else { return };
        let outcome = Outcome::on(workload);
        let at = outcome.done_at.map(|at| at.as_second().to_string()).unwrap_or_default();
        // Until it is written down that it was rolled out, others would follow what was there
        // before.
        let written = outcome.done.as_deref() == current
            && !(outcome.begun_at().is_some() && outcome.is_of(workload, key));
        let uid = workload.uid.chars().take(UID_LENGTH).collect();
        self.done.entry(step).or_default().insert(
            uid,
            format!("{} {at}", outcome.done.as_deref().unwrap_or_default()).trim_end().to_owned(),
        );
        let waits_for_nobody = match phase {
            Phase::UpToDate | Phase::Unsupported => written,
            Phase::WaitsForUser if reason == Reason::StuckTerminating => written,
            Phase::WaitsForUser | Phase::WouldRoll | Phase::WouldHold | Phase::Maintenance => true,
            // Left alone by a user's decision.
            Phase::Waiting => matches!(reason, Reason::RolledBack | Reason::MarksReverted),
            Phase::Failed => self
                .spec
                .rollout
                .as_ref()
                .is_some_and(|rollout| rollout.on_failure == OnFailure::Continue),
            _ => false,
        };
        // One that waits for nothing but an old pod that does not end is rolled out.
        let done = matches!(phase, Phase::UpToDate | Phase::Unsupported)
            || reason == Reason::StuckTerminating;
        if begins || !written || !done || phase == Phase::Failed || phase == Phase::Rolling {
            self.unwritten.insert(step);
        }
        if begins || !waits_for_nobody {
            let why = match (begins, phase) {
                (true, _) => Unsettled::Begins,
                (_, Phase::UpToDate) => Unsettled::Unrecorded,
                (_, phase) => Unsettled::Stands(phase, reason),
            };
            self.unsettled.entry(step).or_insert((id, why));
        }
    }

    /// The names of the steps that select nothing.
    pub fn empty_steps(&self) -> Vec<&'a str> {
        let steps = self.spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
        let used: BTreeSet<_> = self.places.values().copied().collect();
        steps
            .iter()
            .enumerate()
            .filter(|(number, _)| !used.contains(number))
            .map(|(_, step)| step.name.as_str())
            .collect()
    }
}
