//! `scope: Pod`: the pods of a StatefulSet go one by one, the highest ordinal first, each asked
//! before its turn. Admission sets the partition from our annotation `lockkeeper.dev/partition`; a
//! partition counts from the first ordinal.

use jiff::Timestamp;

use crate::{
    api::{AppGate, HoldStatus, WhenUngoverned, marks},
    core::{
        edits::Edits,
        gates::{self, change::Change, gate::Answer},
        hold::governance,
        later,
        observed::{Pod, Workload},
        plain,
        request::Purpose,
        rollout::{
            outcome::{Ended, Outcome},
            turn::{Stage, Turn, at, change_id, is_walked, stage},
        },
        subject::Subject,
        whole_second,
    },
};

/// How a rollout that goes pod by pod goes on.
pub enum Walk<'a> {
    /// It does not, or not yet.
    Stays,
    /// Nothing can be decided before the controller has seen the newest generation.
    Unobserved,
    /// It is looked at again then.
    Waits(Timestamp),
    /// It is over; what is left of it is held again, or not.
    Ends {
        /// Whether it is.
        keep: bool,
    },
    /// It is the turn of the next pod, if the gates are open.
    Next(Box<Step<'a>>),
}

/// The next step of a rollout that goes pod by pod.
pub struct Step<'a> {
    /// Whose turn it is.
    pub turn: Turn<'a>,
    /// The step, as a change.
    pub change: Change<'a>,
    /// What its gates say.
    pub answer: Answer,
}

/// Whether it is time to go a step further.
pub fn next<'a>(subject: &Subject<'a>, outcome: &Outcome) -> Walk<'a> {
    let (workload, ordinals) = (subject.workload, subject.workload.rollout.ordinals);
    if ordinals.step.is_none() || workload.deleting || subject.ruling.observes() {
        return Walk::Stays;
    }
    // The gate may ask about config alone, which nothing holds.
    let spec = subject.ruling.spec();
    let gate = spec.app_gate(&[outcome.cause(workload)]);
    let Some(gate) = gate.filter(|gate| is_walked(gate, workload)) else {
        if subject.ruling.is_unreadable() {
            return Walk::Stays;
        }
        // A change that still waits for gates has the rest judged by them; without a policy it is
        // as was recorded.
        let keep =
            spec.needs_holds() || governance::when_ungoverned(workload) == WhenUngoverned::Keep;
        return Walk::Ends { keep };
    };
    if !workload.rollout.observed {
        return Walk::Unobserved;
    }
    match stage(workload, subject.pods, subject.revisions.newest) {
        Some(Stage::Next(turn)) => ask(subject, outcome, turn, turn.pod.into_iter().collect()),
        Some(Stage::Renewing) => match stuck(subject, gate) {
            Some(Stuck::Pods(turn, pods)) => ask(subject, outcome, turn, pods),
            Some(Stuck::Until(due)) => Walk::Waits(due),
            None => Walk::Stays,
        },
        // As long as the manifest asks for a partition, what is below goes only when we let it.
        Some(Stage::Over) if ordinals.declared == 0 => Walk::Ends { keep: false },
        Some(Stage::Over) | None => Walk::Stays,
    }
}

/// Freeze and windows are asked again before each pod, then the pod itself. Not the approval: it
/// was for the whole change, and admission takes it off with the hold (`sameId` in
/// statefulsets.yaml), so there is none to look at.
fn ask<'a>(
    subject: &Subject<'a>,
    outcome: &Outcome,
    turn: Turn<'a>,
    pods: Vec<&'a Pod>,
) -> Walk<'a> {
    let change = Change::of_step(subject, outcome, turn, pods);
    let answer = gates::ask(subject, &change);
    Walk::Next(Box::new(Step { turn, change, answer }))
}

/// What is written for the next step.
pub fn step(outcome: &Outcome, turn: Turn, now: Timestamp) -> Edits {
    let mut newest = outcome.clone();
    (newest.ended, newest.at) = (Ended::UnderWay, Some(whole_second(now)));
    let mut edits = Edits { purpose: Some(Purpose::Step), ..Edits::default() };
    edits.set(marks::PARTITION, turn.step.to_string());
    edits.set(marks::ROLLOUT, newest.to_string());
    edits
}

enum Stuck<'a> {
    /// It is the turn of these.
    Pods(Turn<'a>, Vec<&'a Pod>),
    /// Then it counts as stuck.
    Until(Timestamp),
}

/// An old pod that is broken, below the pods whose turn it was: the controller renews none above it
/// before it is Ready, and while its turn has not come it comes back as broken as it was. So it is
/// its turn, and that of all old pods above it, which are asked with it; also those whose turn it
/// was, if they are there still.
fn stuck<'a>(subject: &Subject<'a>, gate: &AppGate) -> Option<Stuck<'a>> {
    let ordinals = subject.workload.rollout.ordinals;
    let wanted = subject.workload.rollout.wanted;
    let mut below = ordinals.declared..ordinals.step?.min(wanted);
    let (step, pod) = below.find_map(|index| {
        old_at(subject, index).filter(|pod| !pod.ready).map(|pod| (index, pod))
    })?;
    let due = later(pod.ready_moved.unwrap_or(pod.created), gate.broken_after.length());
    if due > subject.now() {
        return Some(Stuck::Until(due));
    }
    let pods = (step..wanted).filter_map(|index| old_at(subject, index)).collect();
    Some(Stuck::Pods(Turn { step, pod: Some(pod) }, pods))
}

/// The pod at an index, if it is old and stays.
fn old_at<'a>(subject: &Subject<'a>, index: u32) -> Option<&'a Pod> {
    at(subject.workload, subject.pods, index)
        .filter(|pod| pod.revision.as_deref() != subject.revisions.newest && !pod.is_leaving())
}

/// The change whose steps wait, as the status shows it.
pub fn status(workload: &Workload, why: &str) -> Option<HoldStatus> {
    let outcome = Outcome::on(workload);
    let id = change_id(workload)?;
    Some(HoldStatus {
        id: id.to_string(),
        by: String::new(),
        message: plain(why).into_owned(),
        authors: Vec::new(),
        cause: vec![outcome.cause(workload)],
        approved_by: outcome.approved_by.as_deref().unwrap_or_default().to_owned(),
    })
}
