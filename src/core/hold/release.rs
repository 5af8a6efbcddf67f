//! A held template: whether it may go, and what is written when it does.

use crate::{
    api::{HoldStatus, WhenUngoverned, marks},
    core::{
        edits::Edits,
        gates::{
            self,
            app::{self, Question, whom},
            approval::asks_approval,
            change::{Change, TEMPLATE},
            gate::Answer,
            volumes,
        },
        hold::{at_zero, governance, state::Hold},
        request::{Purpose, Release},
        rollout::{
            outcome::{Outcome, template_change},
            revisions::Revert,
        },
        subject::Subject,
        whole_second,
    },
    marks::Since,
};

/// What is to become of a held template.
pub enum Next {
    /// It is released without a question.
    Released(Release),
    /// There is nothing left to hold: the next pod is of the held revision in any case.
    Lost,
    /// It is the template again that the pods run: it is released as soon as those agree that are
    /// of the withdrawn one.
    Reverted(Revert, Answer),
    /// Its policy no longer holds changes, and keeps this one.
    Kept,
    /// Its gates say.
    Asked(Answer),
}

/// What is to become of a held template. `of_nothing`: it is the same as before it was held.
pub fn next<'a>(subject: &Subject<'a>, change: &Change<'a>, of_nothing: bool) -> Next {
    // Where pods go one by one, some of them are still of the template before.
    if of_nothing && whom::turn(subject, change.causes, change.spares).is_none() {
        return Next::Released(Release::Unchanged);
    }
    if at_zero::is_lost(subject) {
        return Next::Lost;
    }
    if let Some(danger) = volumes::migrated(subject) {
        return Next::Asked(Answer::closed(danger));
    }
    if let Some(revert) = subject.revisions.revert() {
        let answer = ask_withdrawn(subject, change, &revert);
        return Next::Reverted(revert, answer);
    }
    if !subject.ruling.spec().needs_holds() {
        return match governance::when_ungoverned(subject.workload) {
            WhenUngoverned::Release => Next::Released(Release::Ungoverned),
            WhenUngoverned::Keep => Next::Kept,
        };
    }
    Next::Asked(gates::ask(subject, change))
}

/// A revert ends the pods of what was withdrawn, and those that its manifest asks for no longer: a
/// Ready one of them that says no is waited for.
fn ask_withdrawn(subject: &Subject, change: &Change, revert: &Revert) -> Answer {
    let Some(gate) = subject.ruling.spec().app_gate(TEMPLATE) else { return Answer::open() };
    let scaled = whom::scaled_down(subject.workload, subject.pods);
    let there = subject.pods.iter().copied().filter(|pod| pod.ready && !pod.is_leaving());
    let ends = there.filter(|pod| {
        pod.revision.as_deref() != revert.revision.as_deref()
            || scaled.iter().any(|other| other.uid == pod.uid)
    });
    let question = Question {
        about: change.about(None),
        since: change.since,
        pods: ends.collect(),
        reverts: true,
        broken: false,
    };
    app::ask_about(subject, gate, &question)
}

/// The change as the status shows it.
pub fn status(hold: &Hold, change: &Change) -> HoldStatus {
    HoldStatus {
        id: hold.id.to_string(),
        by: hold.by.clone(),
        message: String::new(),
        authors: hold.authors.names().iter().take(HoldStatus::AUTHORS_LIMIT).cloned().collect(),
        cause: change.causes.to_vec(),
        approved_by: change.consent.by().unwrap_or_default().to_owned(),
    }
}

/// Takes the hold off.
pub fn released(release: Release) -> Edits {
    let mut edits = Edits { purpose: Some(Purpose::Release(release)), ..Edits::default() };
    edits.clear(marks::HOLD);
    edits.clear(marks::HOLD_SINCE);
    edits
}

/// Takes the hold off a change whose gates are open, and writes down that it was. Where pods go one
/// by one, the change goes on as a walk. Also the rollout that begins.
pub fn passed(subject: &Subject, hold: &Hold, change: &Change) -> (Edits, Outcome) {
    let workload = subject.workload;
    let mut outcome =
        Outcome::on(workload).begun(template_change(workload, subject.key()), subject.now());
    outcome.follow(subject.siblings.previous, true);
    // The release of one that is partitioned by its user beyond every ordinal changes no spec, and
    // so no generation.
    let changes_spec = workload.rollout.ordinals.declared < i32::MAX as u32;
    outcome.generation = changes_spec.then_some(workload.generation + 1);
    let approver = change.consent.by().filter(|_| asks_approval(subject, change.causes));
    outcome.approved_by = approver.map(Into::into);
    let mut edits = released(Release::GatesOpen);
    edits.set(marks::ROLLOUT, outcome.to_string());
    if let Some(turn) = whom::turn(subject, change.causes, change.spares) {
        // Its id and its author go with the walk.
        let mark = Since::Change {
            id: hold.id.clone(),
            at: Some(whole_second(change.since)),
            author: Some(hold.by.as_str().into()),
        };
        edits.set(marks::HOLD_SINCE, mark.to_string());
        edits.set(marks::PARTITION, turn.step.to_string());
    }
    (edits, outcome)
}

/// What is written of a change that starts without passing its gates.
pub fn lost(subject: &Subject) -> Edits {
    let workload = subject.workload;
    let change = template_change(workload, subject.key());
    let mut edits = Edits::default();
    edits.set(marks::ROLLOUT, Outcome::on(workload).begun(change, subject.now()).to_string());
    edits
}

/// That somebody has scaled is written before the release: with it, admission goes by what stands
/// there already. None: nothing is to be written first.
pub fn scaled_first(edits: &Edits) -> Option<Edits> {
    if !matches!(edits.purpose, Some(Purpose::Release(_))) {
        return None;
    }
    let replicas = edits.annotations.iter().filter(|(mark, _)| **mark == marks::DECLARED_REPLICAS);
    let annotations = replicas.map(|(mark, value)| (*mark, value.clone())).collect();
    Some(Edits { annotations, ..Edits::default() })
}
