//! What is really written of what is wanted: one request at a time, within the room that there is,
//! and with heed of what others make of it.

use crate::{
    api::{Phase, Reason},
    core::{
        history,
        hold::marking,
        notice::{Event, Regarding},
        others, plain,
        planned::Plan,
        report::Verdict,
        subject::Subject,
        words,
    },
};

/// The requests for what is wanted.
pub fn make(subject: &Subject, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    plan.edits = std::mem::take(&mut plan.edits).that_differ(workload);
    plan.roll = plan.roll.take().map(|roll| roll.that_differ(workload));
    if !workload.deleting {
        let reserve = marking::reserve(subject, plan.phase() == Phase::UpToDate);
        plan.write(reserve);
        let edits = std::mem::take(&mut plan.edits).that_differ(workload);
        plan.edits = marking::within_room(workload, edits);
        plan.roll = plan.roll.take().map(|roll| marking::within_room(workload, roll));
    }
    let new = subject.activity.additions.untold(&mut plan.memory.additions_told);
    if !new.is_empty() {
        let regarding = Regarding::Workload(workload.id.clone());
        plan.tell(Event::ChangedByOthers, words::changed_by_others(&new, &regarding));
    }
    if plan.roll.is_none() {
        plan.edits =
            others::heed(subject, std::mem::take(&mut plan.edits), plan.report.marks.missing);
    }
    if plan.edits.is_empty() && plan.roll.is_none() {
        return plan;
    }
    let changed = plan.report.config.changed_config();
    plan.edits = history::noted(subject, changed, std::mem::take(&mut plan.edits));
    plan.roll = plan.roll.take().map(|roll| history::noted(subject, changed, roll));
    heed_activity(subject, plan)
}

/// One request at a time, and after a failure only when its pause is over.
fn heed_activity(subject: &Subject, mut plan: Plan) -> Plan {
    let in_flight = subject.activity.in_flight;
    if in_flight && plan.roll.is_some() {
        plan.begin_roll();
    }
    let mut pauses = in_flight;
    if let Some(trouble) = &subject.activity.trouble {
        let reason = if trouble.refused { Reason::PatchRefused } else { Reason::PatchFailing };
        let message = words::patch_failed(trouble.refused, &trouble.message);
        if !trouble.needs_hold && plan.phase() != Phase::Failed {
            let phase = if plan.phase() == Phase::Held { Phase::Held } else { Phase::Waiting };
            if let Some(hold) = &mut plan.report.hold {
                hold.message = plain(&message).into_owned();
            }
            plan.stand(Verdict::new(phase, reason, message));
            plan.report.verdict.until = Some(trouble.retry_at);
        }
        if trouble.retry_at > subject.now() {
            plan.wake_at(trouble.retry_at);
            pauses = true;
        }
    }
    if pauses {
        (plan.edits, plan.roll) = Default::default();
    }
    plan
}
