//! The change that waits on a workload, and what its gates say that can be asked from here.

use jiff::Timestamp;
use lockkeeper::{
    api::UpgradePolicySpec,
    core::{
        gates::{
            self,
            blocker::GateName,
            change::{Blocked, Change, TEMPLATE},
            gate::Needs,
        },
        governs::Ruling,
        hold::{authors::Authors, governance, state::Hold},
        observed::{Policy, Workload},
        rollout::{
            outcome::Outcome,
            turn::{self, Turn},
        },
        subject::{Subject, Unknown},
    },
    marks::ChangeId,
};

use crate::cluster::Seen;

/// The change that waits on a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// A template that is held.
    Template(Hold),
    /// Config alone.
    Config(ChangeId),
    /// A template that is released; its pods are replaced one by one, and some are left.
    Steps(ChangeId),
}

impl Pending {
    /// The change that waits on this workload, if one does.
    pub fn on(workload: &Workload) -> Option<Self> {
        if let Some(hold) = Hold::on(workload) {
            return Some(Self::Template(hold));
        }
        if let Some(id) = workload.marks.pending_config.get() {
            return Some(Self::Config(id.clone()));
        }
        let id = turn::change_id(workload).filter(|_| governance::holds_back(workload))?;
        Some(Self::Steps(id.clone()))
    }

    /// What approves it.
    pub fn id(&self) -> &ChangeId {
        match self {
            Self::Template(hold) => &hold.id,
            Self::Config(id) | Self::Steps(id) => id,
        }
    }

    /// Who made it, as far as that is recorded: of a held template.
    pub fn authors(&self) -> Option<&Authors> {
        match self {
            Self::Template(hold) => Some(&hold.authors),
            Self::Config(_) | Self::Steps(_) => None,
        }
    }

    /// As the core judges it.
    fn change<'a>(&'a self, subject: &Subject<'a>) -> Change<'a> {
        let (workload, now) = (subject.workload, subject.now());
        match self {
            Self::Template(hold) => Change::of_hold(subject, hold, TEMPLATE, now),
            Self::Config(id) => Change::of_config(subject, id, now),
            Self::Steps(_) => {
                // No gate that is asked from here asks which pod is next.
                let step = workload.rollout.ordinals.step.unwrap_or_default();
                let turn = Turn { step, pod: None };
                Change::of_step(subject, Outcome::on(workload), turn, Vec::new())
            }
        }
    }

    /// Asks those gates that need nothing but the policy, the change and the time: each with what
    /// is told of it if it is closed.
    pub fn ask(
        &self,
        seen: &Seen,
        workload: &Workload,
        (policy, spec): (&Policy, &UpgradePolicySpec),
        now: Timestamp,
    ) -> Vec<(GateName, Option<Blocked>)> {
        let unknown = Unknown::default();
        let around = unknown.around(&seen.world, records_approvals(policy), now);
        let subject = unknown.subject(&around, Ruling::of(policy, spec), workload);
        let change = self.change(&subject);
        let answers = gates::each(&subject, &change, |needs| needs == Needs::Policy);
        let answers = answers.map(|(gate, answer)| {
            (gate, answer.blocker.map(|blocker| change.blocked_by(&subject, &blocker)))
        });
        answers.collect()
    }
}

/// Whether admission records who approves and bypasses, as far as the policy's status tells. Where
/// it does not, neither counts.
pub fn records_approvals(policy: &Policy) -> bool {
    let mut conditions = policy.status.conditions.iter();
    conditions.all(|one| {
        one.type_ != "HoldsEnforced"
            || one.status == "True"
            || ["MarksMissing", "NoRoomForMarks"].contains(&one.reason.as_str())
    })
}
