//! What a change would wait for, and whose turn it is.

use lockkeeper::{
    api::{Mode, RestartWith, UpgradePolicySpec},
    core::{
        memory::Activity,
        observed::{Policy, Workload},
        rollout::{progress, steps::Order},
    },
};

use super::{Judge, some};
use crate::{
    cluster::lower,
    plan::outcome::{Line, Outcome, Wait},
};

impl<'a> Judge<'a> {
    /// What a change would wait for.
    pub(super) fn waits(&self, workload: &Workload) -> Vec<Wait> {
        self.forecast.after(&workload.id).map_or_else(Vec::new, |verdict| verdict.waits.clone())
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
