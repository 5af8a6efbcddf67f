//! What a change would wait for, and whose turn it is.

use lockkeeper::{
    api::{ChangeCause, Mode, RestartWith, UpgradePolicySpec},
    core::{
        gates::{
            self,
            blocker::{Approval, Blocker, GateName},
            change::Change,
        },
        governs::Ruling,
        hold::state::Hold,
        memory::Activity,
        observed::{Policy, Workload, WorkloadId},
        rollout::{progress, steps::Order},
        subject::{Subject, Unknown},
    },
};

use super::{Judge, count, some};
use crate::{
    cluster::lower,
    plan::outcome::{Line, Outcome, Wait},
};

impl<'a> Judge<'a> {
    /// What a change would wait for.
    pub(super) fn waits(
        &self,
        workload: &Workload,
        ruling: &Ruling<'_>,
        (causes, hold): (&'static [ChangeCause], Option<&Hold>),
    ) -> Vec<Wait> {
        let unknown = Unknown::default();
        let around = unknown.around(self.now.after, true, self.now.now);
        let subject = unknown.subject(&around, *ruling, workload);
        let mut change = match hold {
            Some(hold) => Change::of_hold(&subject, hold, causes, self.now.now),
            None => Change::that_would_be_held(self.now.now),
        };
        change.causes = causes;
        let asked = gates::each(&subject, &change, GateName::is_timely);
        let closed = asked.filter_map(|(gate, answer)| {
            let message = in_words(&answer.blocker?, &change, &subject);
            Some(Wait { gate: gate.as_str(), message })
        });
        let mut waits: Vec<_> = closed.collect();
        waits.extend(self.turn(workload, ruling));
        if let Some(gate) = ruling.spec().app_gate(causes) {
            let message = match self.pods(workload).len() {
                0 => return waits,
                pods => format!(
                    "{} to answer yes to GET {}",
                    count(pods, "pod has", "pods have"),
                    gate.path
                ),
            };
            waits.push(Wait { gate: "app", message });
        }
        waits
    }

    /// What keeps it from its turn, as far as that can be told.
    pub(super) fn turn(&self, workload: &Workload, ruling: &Ruling<'_>) -> Option<Wait> {
        let rollout = ruling.spec().rollout.as_ref()?;
        let order = self.order(ruling.policy(), ruling.spec());
        let place = order.place(&workload.id)?;
        let changes = |id: &&WorkloadId| {
            let before = self.now.before.workloads.get(*id);
            before.is_some_and(|before| {
                before.template.digest != self.now.after.workloads[*id].template.digest
                    || Hold::on(before).is_some()
            })
        };
        let earlier: Vec<_> = self
            .now
            .after
            .workloads
            .keys()
            .filter(|id| order.place(id).is_some_and(|other| other < place))
            .collect();
        let first: Vec<_> = earlier.iter().copied().filter(changes).map(lower).collect();
        let step = rollout.steps.get(place)?;
        (!first.is_empty()).then(|| Wait {
            gate: "steps",
            message: format!("step {} comes after {}", step.name, some(&first)),
        })
    }

    /// The workloads of a policy in their order.
    pub(super) fn order<'b>(&'b self, policy: &Policy, spec: &'b UpgradePolicySpec) -> Order<'b> {
        let mut order = Order::new(spec);
        for (id, workload) in &self.now.after.workloads {
            if self.after.ruling(id).is_some_and(|of| of.policy().name == policy.name) {
                let (pods, now) = (self.pods(workload), self.now.now);
                let progress = progress::judge(workload, pods, None, spec.deadline(), now);
                order.see(id, workload, progress, &Activity::default());
            }
        }
        order
    }

    /// What rolls because the step before it does.
    pub(super) fn restarts(&self, lines: &mut [Line]) {
        for (name, policy) in &self.now.after.policies {
            let Ok(spec) = &policy.spec else { continue };
            let steps = spec.rollout.as_ref().map_or(&[][..], |rollout| rollout.steps.as_slice());
            let order = self.order(policy, spec);
            let place = |line: &Line| {
                let mut ids = self.now.after.workloads.keys();
                ids.find(|id| lower(id) == line.object)
                    .and_then(|id| order.place(id))
                    .filter(|_| line.policy.as_ref() == Some(name))
            };
            for (number, step) in steps
                .iter()
                .enumerate()
                .skip(1)
                .filter(|(_, step)| step.restart_with == RestartWith::Previous)
            {
                let before = &steps[number - 1].name;
                let rolls = |line: &&Line| place(line) == Some(number - 1) && line.outcome.rolls();
                let first: Vec<_> =
                    lines.iter().filter(rolls).map(|line| line.object.clone()).collect();
                if first.is_empty() || spec.mode == Mode::Observe {
                    continue;
                }
                for line in lines.iter_mut().filter(|line| {
                    place(line) == Some(number)
                        && !line.outcome.rolls()
                        && line.outcome != Outcome::Create
                }) {
                    line.outcome = Outcome::ConfigHold;
                    line.waits_for.push(Wait {
                        gate: "steps",
                        message: format!("step {} comes after {}", step.name, some(&first)),
                    });
                    line.because
                        .push(format!("It restarts with step {before} (restartWith: Previous)."));
                }
            }
        }
    }
}

/// What opens a gate, before there is a change that it could be opened for.
fn in_words(blocker: &Blocker, change: &Change, subject: &Subject) -> String {
    match blocker {
        Blocker::Approval(
            Approval::MissingFromOther(Some(authors)) | Approval::ByAuthor { authors, .. },
        ) => {
            format!("a user other than {authors} (verb approve) has to approve it")
        }
        Blocker::Approval(_) => "a user with the verb approve has to approve it".to_owned(),
        Blocker::PolicyUnreadable => {
            "the spec of its policy is invalid, so only a revert is released".to_owned()
        }
        Blocker::Frozen => "its policy freezes: only a revert is released".to_owned(),
        other => change.why(subject, other),
    }
}
