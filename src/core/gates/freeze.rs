//! A policy that freezes lets nothing through but a revert.

use crate::{
    api::{Mode, Reason, UpgradePolicySpec, marks},
    core::{
        gates::gate::{Asked, Gate, TimelyGate},
        hold::state::command,
    },
};

/// The gate.
pub const GATE: TimelyGate =
    TimelyGate { name: "freeze", reason: Reason::Frozen, always: true, once: false, is_set, ask };

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.mode == Mode::Freeze
}

/// Open unless the policy freezes, or its spec cannot be read: then nobody knows what it would let
/// through.
fn ask(asked: &Asked) -> Gate {
    let change = asked.change;
    let bypass = command(change.namespace, change.workload, marks::BYPASS, change.id);
    if asked.ruling.is_unreadable() {
        let message = format!(
            "the spec of its policy is invalid, so only a revert is released: see the policy's condition Ready. Or, with the verb bypass: {bypass}"
        );
        return Gate::closed(Reason::Frozen, message, None);
    }
    match asked.ruling.spec().mode {
        Mode::Freeze => {
            let message = format!(
                "its policy has mode: Freeze, so only a revert is released until the mode is Enforce again. Or, with the verb bypass: {bypass}"
            );
            Gate::closed(Reason::Frozen, message, None)
        }
        Mode::Enforce | Mode::Observe => Gate::Open,
    }
}
