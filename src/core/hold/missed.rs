//! A template change that should have been held and was not.

use std::fmt;

use crate::core::{
    hold::{at_zero, governance},
    observed::Pod,
    rollout::{
        outcome::Outcome,
        progress::{Progress, is_old},
    },
    subject::Subject,
};

/// Why a change was not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It came while a workload had no replicas that cannot be held then.
    ScaledToZero,
    /// The workload is new, and took over pods that run.
    CreatedOverPods,
    /// It came before the operator had marked the workload.
    NotMarked,
    /// The admission policies are not in place.
    NotEnforced,
    /// It passed admission unseen.
    ChangedAfterAdmission,
}

impl Cause {
    /// The cause in one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ScaledToZero => "ScaledToZero",
            Self::CreatedOverPods => "CreatedOverPods",
            Self::NotMarked => "NotMarked",
            Self::NotEnforced => "NotEnforced",
            Self::ChangedAfterAdmission => "ChangedAfterAdmission",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether nobody let the template at hand through that ends, or has ended, the pods of the one
/// before.
pub fn find(subject: &Subject, outcome: &Outcome) -> Option<Cause> {
    let workload = subject.workload;
    let passed = outcome.let_through(workload, subject.key())
        || (outcome.done.is_some() && outcome.done.as_deref() == subject.revisions.newest);
    if passed
        || workload.deleting
        || !subject.ruling.spec().needs_holds()
        || !governance::holdable(workload)
    {
        return None;
    }
    if at_zero::is_asleep(workload, subject.pods) {
        // Where only the app is asked, there is no pod that could say no.
        let told = subject.progress == Progress::Done
            && subject.revisions.newest.is_some()
            && outcome.done.is_some()
            && governance::is_marked(workload)
            && subject.ruling.spec().waits_without_pods();
        return told.then_some(Cause::ScaledToZero);
    }
    let (old, new): (Vec<&Pod>, Vec<&Pod>) = subject
        .pods
        .iter()
        .copied()
        .partition(|pod| is_old(workload, pod, subject.revisions.newest));
    if old.is_empty() {
        return without_old(subject, outcome, &new);
    }
    if !matches!(subject.progress, Progress::UnderWay(_) | Progress::Failed(_)) {
        return None;
    }
    if outcome.done.is_some() && governance::is_marked(workload) {
        let cause =
            if subject.around.enforced { Cause::ChangedAfterAdmission } else { Cause::NotEnforced };
        return is_later(subject, &new).then_some(cause);
    }
    // It is not known what was rolled out before. Where something was let through already, this is
    // a revert amid that; and what began before the policy asked for holds is not missed.
    if outcome.change.is_some() {
        return None;
    }
    let began = new.iter().map(|pod| pod.created).min()?;
    // A later write may have brought the label by which the policy selects it.
    let selected_later = workload.last_writer.as_ref().is_some_and(|writer| writer.time > began);
    (began > subject.ruling.policy().written && !selected_later).then_some(match () {
        () if !subject.around.enforced => Cause::NotEnforced,
        () if old.iter().any(|pod| pod.created < workload.created) => Cause::CreatedOverPods,
        () => Cause::NotMarked,
    })
}

/// Whether a change came once those of the marked workload were to be held: what began before is
/// not missed. It is at least as old as the first pod of it, and as the newest write.
fn is_later(subject: &Subject, new: &[&Pod]) -> bool {
    let written = subject.workload.last_writer.as_ref().map(|writer| writer.time);
    let began = new.iter().map(|pod| pod.created).chain(written).min();
    let since = subject.memory.unmarked_at.map_or(subject.ruling.policy().written, |unmarked| {
        unmarked.max(subject.ruling.policy().written)
    });
    began.is_none_or(|began| began > since)
}

/// Of a change whose rollout has ended already the pods of the one before, or found none: the
/// workload was woken with it.
fn without_old(subject: &Subject, outcome: &Outcome, new: &[&Pod]) -> Option<Cause> {
    let workload = subject.workload;
    // Where only the app is asked, there is no pod that could say no to one that is woken.
    let known = outcome.done.is_some() && subject.revisions.newest.is_some();
    if !known || !governance::is_marked(workload) || !subject.ruling.spec().waits_without_pods() {
        return None;
    }
    // What began before the policy asked for holds is not missed.
    if new.is_empty() || !is_later(subject, new) {
        return None;
    }
    // A StatefulSet that is woken counts as done, because it takes the new revision for the one
    // that ran.
    let starts = workload.rollout.available < workload.rollout.wanted;
    match subject.progress {
        Progress::Unobserved | Progress::Held(_) => None,
        _ if !subject.around.enforced => Some(Cause::NotEnforced),
        Progress::UnderWay(_) | Progress::Failed(_) => Some(Cause::ScaledToZero),
        Progress::Done if starts => Some(Cause::ScaledToZero),
        // It ended while the operator was away.
        Progress::Done => Some(Cause::ChangedAfterAdmission),
    }
}
