//! A policy that freezes lets nothing through but a revert.

use crate::{
    api::{Mode, UpgradePolicySpec},
    core::{
        gates::{
            blocker::{Blocker, GateName},
            change::Change,
            gate::{Answer, Gate, Needs},
        },
        subject::Subject,
    },
};

/// The gate. `gates.appliesTo` says nothing of it.
pub const GATE: Gate =
    Gate { name: GateName::Freeze, needs: Needs::Policy, is_set, applies: |_, _| true, ask };

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.mode == Mode::Freeze
}

/// Open unless the policy freezes, or its spec cannot be read.
fn ask(subject: &Subject, _change: &Change) -> Answer {
    if subject.ruling.is_unreadable() {
        return Answer::closed(Blocker::PolicyUnreadable);
    }
    is_set(subject.ruling.spec()).then_some(Blocker::Frozen).into()
}
