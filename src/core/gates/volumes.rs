//! No pod ends for a change while a claim of its workload is being deleted, or would come back
//! empty.

use crate::core::{
    gates::{
        blocker::GateName,
        change::{Change, Kind},
        gate::{Gate, Needs},
    },
    subject::Subject,
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::Volumes,
    needs: Needs::Namespace,
    is_set: |_| false,
    applies: is_first,
    ask: |subject, _| subject.volumes.danger.clone().into(),
};

/// Whether no pod of the change has gone yet.
pub(super) fn is_first(_subject: &Subject, change: &Change) -> bool {
    matches!(change.kind, Kind::Hold(_) | Kind::Config | Kind::Unblock | Kind::Maintenance)
}
