//! What becomes of a rollout that was let through, by us or by a bypass, or that should not have
//! been.

use crate::{
    api::{Reason, marks},
    core::{
        edits::Edits,
        hold::{self, missed},
        notice::Event,
        report::Verdict,
        rollout::{
            outcome::{Ended, Outcome, template_change},
            progress::{Progress, ended},
            words,
        },
        subject::Subject,
        whole_second,
    },
    marks::values::Bypassed,
};

/// What is known of the rollout at hand.
pub struct Followed {
    /// What is known of it now.
    pub outcome: Outcome,
    /// What is written of it.
    pub edits: Edits,
    /// What happened.
    pub notices: Vec<(Event, String)>,
}

/// Follows the rollout at hand. `verdict`: how far it is.
pub fn follow(subject: &Subject, verdict: &Verdict) -> Followed {
    let (workload, outcome) = (subject.workload, Outcome::on(subject.workload));
    let (mut edits, mut notices) = (Edits::default(), Vec::new());
    edits.clear(marks::HOLD);
    if !workload.marks.pending_config.stands() && workload.rollout.ordinals.step.is_none() {
        edits.clear(marks::HOLD_SINCE);
    }
    let mut newest = outcome.clone();
    newest.settle(workload, subject.key());
    if let Some(Bypassed { id, by }) = subject.bypassed_by() {
        // That of a config change goes with the rollout that it lets through.
        let of_config = workload.marks.pending_config.get() == Some(id);
        if id.is_of_template() {
            newest = newest.begun(template_change(workload, subject.key()), subject.now());
            newest.bypassed_by = Some(by.clone());
        }
        if !of_config {
            edits.clear(marks::BYPASSED_BY);
            notices.push((Event::HoldBypassed, hold::words::bypassed(by, id)));
        }
    } else if let Some(cause) = missed::find(subject, outcome) {
        newest = newest.begun(template_change(workload, subject.key()), subject.now());
        notices.push((Event::HoldMissed, hold::words::missed(cause, workload.id.kind)));
    }
    if newest.is_of(workload, subject.key())
        && let Some(now) = ended(&newest, subject.progress)
    {
        (newest.ended, newest.at, newest.generation) =
            (now, Some(whole_second(subject.now())), None);
        notices.push(of_end(now, verdict));
    }
    // Where the controller says it itself, nobody else needs to. What is noted follows every
    // rollout: a revert to it would be done at once.
    let noted = newest.done.is_some() || newest.left;
    let worth_it = subject.ruling.spec().needs_holds()
        || newest.ended != outcome.ended
        || noted
        || !workload.rollout.complete;
    if subject.progress == Progress::Done
        && worth_it
        && subject.revisions.newest.is_some()
        && newest.done.as_deref() != subject.revisions.newest
    {
        (newest.done, newest.done_at) =
            (subject.revisions.newest.map(Into::into), Some(whole_second(subject.now())));
    }
    let is_done = newest.done.as_deref() == subject.revisions.newest;
    match subject.progress {
        Progress::Done if is_done => newest.left = false,
        Progress::UnderWay(_) | Progress::Failed(_) | Progress::Held(_)
            if newest.has_moved(workload, subject.pods) =>
        {
            newest.left |= !is_done
        }
        _ => {}
    }
    // What was rolled out before it was known to follow is taken as followed.
    let begins = newest.change != outcome.change;
    newest.follow(subject.siblings.previous, begins);
    if subject.progress == Progress::Done
        && newest.ended != Ended::Done
        && !newest.is_of(workload, subject.key())
    {
        // Somebody reverted to what ran before: that which failed is gone.
        (newest.change, newest.template, newest.ended, newest.at) =
            (None, None, Ended::UnderWay, None);
    }
    // What runs by somebody's bypass has its data again.
    newest.migrated.retain(|from| !subject.revisions.is_of(from));
    if newest != *outcome {
        edits.set(marks::ROLLOUT, newest.to_string());
    }
    Followed { outcome: newest, edits, notices }
}

fn of_end(ended: Ended, verdict: &Verdict) -> (Event, String) {
    let stuck = (verdict.reason == Reason::StuckTerminating).then_some(verdict.message.as_str());
    match ended {
        Ended::Failed => (Event::RolloutFailed, verdict.message.clone()),
        Ended::Done | Ended::UnderWay => (Event::RolloutDone, words::done(stuck)),
    }
}
