//! A policy that freezes lets nothing through but a revert.

use super::{Change, Gate};
use crate::{
    api::{Mode, Reason, UpgradePolicySpec, marks},
    core::hold::state::command,
};

/// Open unless the policy freezes, or its spec cannot be read: then nobody knows what it would let through.
pub fn ask(spec: &UpgradePolicySpec, unreadable: bool, change: &Change) -> Gate {
    let bypass = command(change.namespace, change.workload, marks::BYPASS, change.id);
    if unreadable {
        let message = format!(
            "the spec of its policy is invalid, so nothing passes: see the policy's condition Ready. Or, with the right to: {bypass}"
        );
        return Gate::closed(Reason::Frozen, message, None);
    }
    match spec.mode {
        Mode::Freeze => {
            let message = format!(
                "spec.mode of its policy is Freeze: nothing passes but a revert, until it is Enforce again. Or, with the right to: {bypass}"
            );
            Gate::closed(Reason::Frozen, message, None)
        }
        Mode::Enforce | Mode::Observe => Gate::Open,
    }
}
