//! Whether it is the workload's turn among those of its policy.

use crate::{
    api::UpgradePolicySpec,
    core::gates::{
        blocker::GateName,
        change::Kind,
        gate::{Gate, Needs},
    },
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::Steps,
    needs: Needs::Namespace,
    is_set,
    applies: |subject, change| {
        !matches!(change.kind, Kind::Step(..) | Kind::Maintenance) && !change.goes_offline(subject)
    },
    ask: |subject, _| subject.siblings.waits.cloned().into(),
};

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.rollout
        .as_ref()
        .is_some_and(|rollout| rollout.max_concurrent.is_some() || !rollout.steps.is_empty())
}
