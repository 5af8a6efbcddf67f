//! No pod ends for a change while a claim of its workload is being deleted, or would come back
//! empty; and none goes back to a version that does not know the data any more.

use crate::core::{
    gates::{
        blocker::{Blocker, GateName},
        change::{Change, Kind},
        gate::{Answer, Gate, Needs},
    },
    rollout::outcome::Outcome,
    subject::Subject,
};

/// The gate.
pub const GATE: Gate = Gate {
    name: GateName::Volumes,
    needs: Needs::Namespace,
    is_set: |_| false,
    applies: is_first,
    ask,
};

fn ask(subject: &Subject, change: &Change) -> Answer {
    let data = matches!(change.kind, Kind::Hold(_)).then(|| migrated(subject)).flatten();
    subject.volumes.danger.clone().or(data).into()
}

/// That the template is one that ran before the data was migrated.
pub fn migrated(subject: &Subject) -> Option<Blocker> {
    let revisions = Outcome::on(subject.workload).migrated.iter();
    let from = revisions.rev().find(|from| subject.revisions.is_of(from))?;
    Some(Blocker::DataMigrated(from.to_string()))
}

/// Whether no pod of the change has gone yet.
pub(super) fn is_first(_subject: &Subject, change: &Change) -> bool {
    matches!(change.kind, Kind::Hold(_) | Kind::Config | Kind::Unblock | Kind::Maintenance)
}
