//! A workload that is in maintenance, or is to be.

use crate::{
    api::{Phase, Reason, marks},
    core::{
        gates::change::{Blocked, Change, TEMPLATE},
        hold::{change, release, state::Hold},
        maintenance::{self, Standing, words},
        notice::Event,
        planned::Plan,
        report::{self, Verdict},
        rollout::{progress::Progress, verdict, words::under_way},
        subject::Subject,
    },
    marks::{InMaintenance, maintenance::Stage},
};

/// A maintenance is asked for and has not begun: it begins as soon as the gates are open.
pub fn enter(subject: &Subject, hold: Option<&Hold>, plan: Plan) -> Plan {
    let (held, mut plan) = with_change(subject, hold, plan);
    let by = maintenance::asked_by(subject.workload);
    let closed =
        match held.as_ref().and_then(|change| maintenance::closed_to_release(subject, change)) {
            Some(blocked) => Some(blocked),
            // Nobody approves or bypasses the end of its pods by an id.
            None => maintenance::ask(subject)
                .and_then(|(change, answer)| plan.hear(subject, &change, answer))
                .map(|blocked| Blocked { why: blocked.sentence.clone(), command: None, ..blocked }),
        };
    if let Some(blocked) = closed {
        let phase = if hold.is_some() { Phase::Held } else { Phase::Waiting };
        let message = words::waits(by, &blocked.why);
        plan.report.closed = Some(blocked.closed());
        blocked.until.into_iter().for_each(|time| plan.wake_at(time));
        plan.stand(blocked.verdict(phase, message));
        return plan;
    }
    plan.write(maintenance::begin(subject, hold.zip(held.as_ref())));
    plan.memory.reminded_at = None;
    plan.tell(Event::MaintenanceStarted, words::begins(by, hold));
    let message = words::stopping(by, subject.pods.len());
    plan.stand(Verdict::new(Phase::Maintenance, Reason::GoingDown, message));
    plan
}

/// A maintenance that was begun.
pub fn plan(subject: &Subject, mark: &InMaintenance, hold: Option<&Hold>, plan: Plan) -> Plan {
    let (held, plan) = with_change(subject, hold, plan);
    let plan = remind(subject, mark, plan);
    if mark.stage == Stage::Start {
        return starting(subject, mark, plan);
    }
    let by = maintenance::asked_by(subject.workload);
    let mut plan = plan;
    let (reason, message) = match maintenance::standing(subject) {
        Standing::NotStopped => {
            // Any write makes admission look again.
            if subject.around.enforced {
                plan.write(maintenance::step(subject, &again(mark, subject), None));
            }
            (Reason::MaintenanceImpossible, words::NOT_STOPPED.to_owned())
        }
        Standing::GoingDown(pods) => (Reason::GoingDown, words::stopping(by, pods)),
        Standing::Asleep { .. } | Standing::Down
            if maintenance::next(subject.workload, mark).is_some() =>
        {
            return next(subject, mark, hold, plan);
        }
        Standing::Asleep { ready, gated } => {
            let message = words::asleep(subject, mark, hold, (ready, gated));
            (Reason::InMaintenance, message)
        }
        Standing::Down if !maintenance::is_wished(subject.workload) => {
            return leave(subject, mark, hold.zip(held.as_ref()), plan);
        }
        Standing::Down => {
            let message = words::stopped(by, mark.since, hold, subject.pods.len());
            (Reason::InMaintenance, message)
        }
    };
    let verdict = Verdict::new(Phase::Maintenance, reason, message);
    plan.stand(verdict.with_command(words::end_command(subject)));
    plan
}

/// The next step, by which the app runs in no pod.
fn next(subject: &Subject, mark: &InMaintenance, hold: Option<&Hold>, mut plan: Plan) -> Plan {
    let Some(next) = maintenance::next(subject.workload, mark) else { return plan };
    if !subject.around.enforced {
        let message = words::NEXT_NOT_ENFORCED;
        plan.stand(Verdict::new(Phase::Maintenance, Reason::MaintenanceImpossible, message));
        return plan;
    }
    plan.write(maintenance::step(subject, &next, None));
    let by = maintenance::asked_by(subject.workload);
    let message = match next.stage {
        Stage::Sleep => words::asleep(subject, &next, hold, (0, 0)),
        Stage::Stop | Stage::Start => words::stopping(by, subject.pods.len()),
    };
    plan.stand(Verdict::new(Phase::Maintenance, Reason::GoingDown, message));
    plan
}

/// The same mark, with another id: what is written again must differ from what stands.
fn again(mark: &InMaintenance, subject: &Subject) -> InMaintenance {
    let since = mark.since.unwrap_or_else(|| subject.now());
    InMaintenance::begun(subject.workload.generation, since, mark.from.as_deref())
}

/// The change that is held, if one is: it is reported, and known since when it waits.
fn with_change<'a>(
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
fn remind(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    match maintenance::reminds_at(mark, subject.memory.reminded_at) {
        Some(due) if due <= subject.now() && mark.rests() => {
            let (by, command) =
                (maintenance::asked_by(subject.workload), words::end_command(subject));
            plan.memory.reminded_at = Some(subject.now());
            plan.tell(Event::MaintenanceReminder, words::reminder(by, mark.since, &command));
        }
        Some(due) => plan.wake_at(due),
        None => {}
    }
    plan
}

/// No pod of it runs, and it is to come back.
fn leave(
    subject: &Subject,
    mark: &InMaintenance,
    held: Option<(&Hold, &Change)>,
    mut plan: Plan,
) -> Plan {
    if !subject.around.enforced {
        let message = words::END_NOT_ENFORCED;
        plan.stand(Verdict::new(Phase::Maintenance, Reason::MaintenanceImpossible, message));
        return plan;
    }
    if let Some((hold, change)) = held.filter(|_| !maintenance::is_back(subject, mark))
        && let Some(blocked) = maintenance::closed_to_release(subject, change)
    {
        plan.report.closed = Some(blocked.closed());
        blocked.until.into_iter().for_each(|time| plan.wake_at(time));
        plan.stand(blocked.verdict(Phase::Maintenance, words::end_waits(hold, &blocked.why)));
        return plan;
    }
    plan.write(maintenance::start(subject, mark, held));
    if held.is_some() {
        plan.tell(Event::UpgradeReleased, words::ENDING);
    }
    plan.stand(Verdict::new(Phase::Maintenance, Reason::MaintenanceEnding, words::ENDING));
    plan
}

/// Its template is the declared one again, and its pods start.
fn starting(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    if maintenance::is_wished(subject.workload) {
        plan.write(maintenance::step(subject, &mark.at(Stage::Stop), None));
        let message = words::stopping(maintenance::asked_by(subject.workload), subject.pods.len());
        plan.stand(Verdict::new(Phase::Maintenance, Reason::GoingDown, message));
        return plan;
    }
    if maintenance::has_started(subject) {
        plan.write(maintenance::end());
        plan.tell(Event::MaintenanceEnded, words::ended(mark.since));
    }
    maintenance::gives_up_at(subject).into_iter().for_each(|due| plan.wake_at(due));
    let failed = matches!(subject.progress, Progress::Failed(_));
    plan.stand(verdict::verdict(subject).filter(|_| failed).unwrap_or_else(|| {
        let pods = under_way(subject.workload, subject.pods, subject.revisions.newest);
        let message = format!("{}: {pods}", words::ENDING);
        Verdict::new(Phase::Maintenance, Reason::MaintenanceEnding, message)
    }));
    plan
}

/// Tells that a maintenance that is asked for cannot begin, where nothing else is told.
pub fn with_impossible(subject: &Subject, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    if plan.phase() == Phase::UpToDate
        && maintenance::is_wished(workload)
        && maintenance::of(workload).is_none()
        && let Some(why) = maintenance::impossible(subject)
    {
        let message = words::cannot_begin(maintenance::asked_by(workload), why);
        plan.stand(Verdict::new(Phase::WaitsForUser, Reason::MaintenanceImpossible, message));
    }
    plan
}

/// What stood before admission was asked about it, or before it was governed, is none.
pub fn without_unrecorded(subject: &Subject, mut plan: Plan) -> Plan {
    let (workload, all) = (subject.workload, &subject.workload.marks);
    if !workload.governed.stands() {
        [marks::IN_MAINTENANCE, marks::MAINTENANCE_REPLICAS, marks::MAINTENANCE_BY]
            .into_iter()
            .for_each(|mark| plan.edits.clear(mark));
    }
    if !workload.governed.stands() || !all.maintenance_by.stands() {
        plan.edits.clear(marks::MAINTENANCE);
    }
    plan
}
