//! A hold whose release nobody judged.
//!
//! With `webhook.failurePolicy: Ignore`, the API server stores the write that removes a hold also
//! while the webhook does not answer. Then nothing restores `spec.paused` or the partition, and what
//! the manifest declares is still noted. The next write that is judged restores it. So the operator
//! makes one that changes nothing else.

use jiff::{SignedDuration, Timestamp};

use crate::core::{
    edits::Edits,
    hold::state::Hold,
    observed::{Workload, kind::HeldBy},
    request::FieldEdit,
    subject::Subject,
};

/// The time until the write is repeated.
const PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// The write that admission is to judge.
pub struct Again {
    /// What to write; none before its time.
    pub edits: Edits,
    /// When the last one was made, or is.
    pub at: Timestamp,
    /// When the next one is due.
    pub next: Timestamp,
}

/// Asks admission to restore what the manifest declares, where a release did not.
pub fn again(subject: &Subject) -> Option<Again> {
    let workload = subject.workload;
    if !is_left(workload) {
        return None;
    }
    let now = subject.now();
    let last = subject.memory.judged_again.filter(|last| now.duration_since(*last) < PAUSE);
    let mut edits = Edits::default();
    if last.is_none() {
        let judge = subject.around.judges.choose(workload.governed.get().copied());
        edits.governed = Some(FieldEdit::Set(judge.to_string()));
    }
    let at = last.unwrap_or(now);
    Some(Again { edits, at, next: at + PAUSE })
}

/// Whether what the manifest declares is noted although nothing holds the workload any longer.
fn is_left(workload: &Workload) -> bool {
    let marks = &workload.marks;
    let noted = match workload.id.kind.capabilities().held_by {
        Some(HeldBy::Paused) => marks.declared_paused.stands(),
        Some(HeldBy::Partition) => marks.declared_partition.stands(),
        None => false,
    };
    let holds = Hold::on(workload).is_some()
        || marks.in_maintenance.stands()
        || workload.rollout.ordinals.step.is_some();
    workload.governed.stands() && noted && !holds
}
