//! What is really written of what is wanted: one request at a time, within the room that there is,
//! and with heed of what others make of it.

use crate::{
    api::{Phase, Reason},
    core::{
        hold::marking,
        notice::{Event, Regarding},
        others, plain,
        planned::Plan,
        report::Verdict,
        subject::Subject,
    },
};

/// The requests for what is wanted.
pub fn make(subject: &Subject, mut found: Plan) -> Plan {
    let workload = subject.workload;
    found.edits = std::mem::take(&mut found.edits).that_differ(workload);
    found.roll = found.roll.take().map(|roll| roll.that_differ(workload));
    if !workload.deleting {
        let reserve = marking::reserve(subject, found.phase() == Phase::UpToDate);
        found.write(reserve);
        let edits = std::mem::take(&mut found.edits).that_differ(workload);
        found.edits = marking::within_room(workload, edits);
        found.roll = found.roll.take().map(|roll| marking::within_room(workload, roll));
    }
    let regarding = Regarding::Workload(workload.id.clone());
    let additions = &subject.activity.additions;
    if let Some(message) = additions.tell(&mut found.memory.additions_told, &regarding) {
        found.tell(Event::ChangedByOthers, message);
    }
    if found.roll.is_none() {
        found.edits =
            others::heed(subject, std::mem::take(&mut found.edits), found.report.marks.missing);
    }
    if found.edits.is_empty() && found.roll.is_none() {
        return found;
    }
    heed_activity(subject, found)
}

/// One request at a time, and after a failure only when its pause is over.
fn heed_activity(subject: &Subject, mut found: Plan) -> Plan {
    let in_flight = subject.activity.in_flight;
    if in_flight && found.roll.is_some() {
        found.begin_roll();
    }
    let mut pauses = in_flight;
    if let Some(trouble) = &subject.activity.trouble {
        let (reason, word) = match trouble.refused {
            true => (Reason::PatchRefused, "refused"),
            false => (Reason::PatchFailing, "not answered"),
        };
        let message = format!(
            "the patch of this workload was {word}: {}. Lockkeeper retries at least every 5 minutes",
            trouble.message
        );
        if !trouble.needs_hold && found.phase() != Phase::Failed {
            let phase = if found.phase() == Phase::Held { Phase::Held } else { Phase::Waiting };
            if let Some(hold) = &mut found.report.hold {
                hold.message = plain(&message).into_owned();
            }
            found.stand(Verdict::new(phase, reason, message));
            found.report.verdict.until = Some(trouble.retry_at);
        }
        if trouble.retry_at > subject.now() {
            found.wake_at(trouble.retry_at);
            pauses = true;
        }
    }
    if pauses {
        (found.edits, found.roll) = Default::default();
    }
    found
}
