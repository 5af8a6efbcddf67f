//! Maintenance windows: a change may go through while an Allow window is open and no Deny window
//! is.

use crate::{
    api::UpgradePolicySpec,
    core::{
        calendar::Standing,
        gates::{
            blocker::{Blocker, GateName},
            change::Change,
            gate::{Answer, Gate, Needs, applies_to},
        },
        subject::Subject,
    },
};

/// The gate.
pub const GATE: Gate = Gate { name: GateName::Windows, needs: Needs::Policy, is_set, applies, ask };

/// What is stopped is not kept stopped by a window that has closed.
fn applies(subject: &Subject, change: &Change) -> bool {
    let goes_on = subject.siblings.run.is_some_and(|run| run.is_under_way());
    applies_to(subject, change) && !(goes_on && change.goes_offline(subject))
}

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.gates.as_ref().is_some_and(|gates| !gates.windows.is_empty())
}

fn ask(subject: &Subject, _change: &Change) -> Answer {
    match subject.ruling.policy().windows.judge(subject.now()) {
        Standing::Open { .. } => Answer::open(),
        Standing::Closed { opens, why } => Answer::closed(Blocker::Window { why, opens }),
    }
}
