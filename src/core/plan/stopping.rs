//! What maintenance and offline upgrades have in common.

use crate::{
    api::{Phase, Reason},
    core::{
        gates::change::{Blocked, Change, TEMPLATE},
        hold::{change, release, state::Hold},
        maintenance::{self, words},
        notice::Event,
        planned::Plan,
        report::{self, Verdict},
        subject::Subject,
    },
    marks::InMaintenance,
};

/// What keeps its pods from being terminated. Nobody approves or bypasses that by an id.
pub(super) fn closed_to_stop(subject: &Subject, plan: &mut Plan) -> Option<Blocked> {
    let (change, answer) = maintenance::ask(subject)?;
    let blocked = plan.hear(subject, &change, answer)?;
    Some(Blocked { why: blocked.sentence.clone(), command: None, ..blocked })
}

/// It waits for this gate.
pub(super) fn waits(blocked: &Blocked, phase: Phase, message: String, mut plan: Plan) -> Plan {
    plan.report.closed = Some(blocked.closed());
    blocked.until.into_iter().for_each(|time| plan.wake_at(time));
    plan.snapshots.extend(blocked.snapshots.iter().cloned());
    plan.stand(blocked.verdict(phase, message));
    plan
}

/// It cannot go on.
pub(super) fn cannot(why: impl Into<String>, mut plan: Plan) -> Plan {
    plan.stand(Verdict::new(Phase::Maintenance, Reason::MaintenanceImpossible, why));
    plan
}

/// The change that is held, if one is: it is reported, and known since when it waits.
pub(super) fn with_change<'a>(
    subject: &Subject<'a>,
    hold: Option<&'a Hold>,
    mut plan: Plan,
) -> (Option<Change<'a>>, Plan) {
    let Some(hold) = hold else { return (None, plan) };
    let stamp = change::stamp(subject, hold);
    plan.write(stamp.edits);
    let change = Change::of_hold(subject, hold, TEMPLATE, stamp.since);
    plan.report.hold = Some(release::status(hold, &change));
    plan.report.config.changed.push(report::TEMPLATE.to_owned());
    (Some(change), plan)
}

/// Tells from time to time that it lasts.
pub(super) fn remind(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    let after = subject.ruling.spec().remind_after();
    match maintenance::reminds_at(mark, subject.memory.reminded_at, after) {
        Some(due) if due <= subject.now() && mark.rests() => {
            plan.memory.reminded_at = Some(subject.now());
            plan.tell(Event::MaintenanceReminder, words::reminder(subject, mark.since));
        }
        Some(due) => plan.wake_at(due),
        None => {}
    }
    plan
}
