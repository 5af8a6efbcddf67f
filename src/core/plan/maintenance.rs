//! A workload that is in maintenance, or is to be.

use crate::{
    api::{Phase, Reason, marks},
    core::{
        gates::{
            change::{Blocked, Change},
            volumes,
        },
        hold::state::Hold,
        maintenance::{self, Impossible, Standing, wanted, words},
        notice::Event,
        offline::{self, run::Run},
        plan::stopping::{cannot, closed_to_stop, remind, waits, with_change},
        planned::Plan,
        report::Verdict,
        rollout::{progress::Progress, verdict, words::under_way},
        subject::Subject,
    },
    marks::{InMaintenance, maintenance::Stage},
};

/// A maintenance is asked for and has not begun: it begins as soon as the gates are open.
pub fn enter(subject: &Subject, hold: Option<&Hold>, plan: Plan) -> Plan {
    let (held, mut plan) = with_change(subject, hold, plan);
    if let Some(hold) = hold.filter(|_| offline(subject).is_some()) {
        let message = offline::words::no_maintenance(hold);
        plan.stand(Verdict::new(Phase::Held, Reason::WaitsForOthers, message));
        return plan;
    }
    let closed =
        match held.as_ref().and_then(|change| maintenance::closed_to_release(subject, change)) {
            Some(blocked) => Some(blocked),
            None => closed_to_stop(subject, &mut plan),
        };
    if let Some(blocked) = closed {
        let phase = if hold.is_some() { Phase::Held } else { Phase::Waiting };
        return waits(&blocked, phase, words::waits(subject, &blocked.why), plan);
    }
    plan.write(maintenance::begin(subject, hold.zip(held.as_ref())));
    plan.memory.reminded_at = None;
    plan.tell(Event::MaintenanceStarted, words::begins(subject, hold));
    let message = stopping(subject, subject.pods.len());
    plan.stand(Verdict::new(Phase::Maintenance, Reason::GoingDown, message));
    plan
}

/// The offline upgrade of which a held change is a part, if it is of one.
fn offline<'a>(subject: &Subject<'a>) -> Option<&'a Run<'a>> {
    subject.siblings.run.filter(|run| run.takes_changes())
}

/// The gate that keeps what is held from being released with the next step; none where nothing is
/// held, or what is held was taken back.
fn closed_to_go_along(
    subject: &Subject,
    mark: &InMaintenance,
    held: Option<(&Hold, &Change)>,
) -> Option<Blocked> {
    let is_back = maintenance::is_back(&subject.revisions, mark);
    let (_, change) = held.filter(|_| !is_back || volumes::migrated(subject).is_some())?;
    maintenance::closed_to_release(subject, change)
}

/// That its pods are stopping, so many of them.
fn stopping(subject: &Subject, pods: usize) -> String {
    let there = subject.pods.iter().filter(|pod| !pod.ready && pod.terminating.is_none());
    let unready: Vec<_> = match subject.workload.id.kind.has_ordinals() {
        true => there.map(|pod| &*pod.name).collect(),
        false => Vec::new(),
    };
    words::stopping(subject, pods, &unready)
}

/// A maintenance that was begun.
pub fn plan(subject: &Subject, mark: &InMaintenance, hold: Option<&Hold>, plan: Plan) -> Plan {
    let (held, plan) = with_change(subject, hold, plan);
    let mut plan = remind(subject, mark, plan);
    if mark.at_zero {
        return without_replicas(subject, mark, hold, plan);
    }
    if mark.stage == Stage::Start {
        return starting(subject, mark, plan);
    }
    let wanted = wanted::wanted(subject.workload, subject.ruling);
    let standing = maintenance::standing(subject.workload, subject.pods);
    if matches!(standing, Standing::Asleep { .. } | Standing::Down)
        && let Some(step) = maintenance::next(&wanted.wish, mark)
    {
        return next(subject, &step, hold.zip(held.as_ref()), plan);
    }
    let (reason, message) = match standing {
        Standing::NotStopped => {
            plan = stop_again(subject, mark, plan);
            (Reason::MaintenanceImpossible, words::NOT_STOPPED.to_owned())
        }
        Standing::GoingDown(pods) => {
            // Somebody has scaled it: pods that run the app would stay.
            if subject.workload.rollout.wanted > 0 {
                plan = stop_again(subject, mark, plan);
            }
            (Reason::GoingDown, stopping(subject, pods))
        }
        Standing::Asleep { ready, gated } => {
            let message = words::asleep(subject, mark, hold, (ready, gated));
            (Reason::InMaintenance, message)
        }
        Standing::Down if !wanted.is_some() => {
            return leave(subject, mark, hold.zip(held.as_ref()), plan);
        }
        Standing::Down => {
            let message = words::stopped(subject, mark.since, hold);
            (Reason::InMaintenance, message)
        }
    };
    let verdict = Verdict::new(Phase::Maintenance, reason, message);
    plan.stand(verdict.with_command(words::end_command(subject)));
    plan
}

/// The next step, by which the app runs in no pod. What is held goes with it into pods that sleep:
/// their sidecars, and the containers that are kept, run.
fn next(
    subject: &Subject,
    next: &InMaintenance,
    held: Option<(&Hold, &Change)>,
    mut plan: Plan,
) -> Plan {
    if next.stage == Stage::Stop {
        return stop(subject, next, plan);
    }
    if !subject.around.enforced {
        return cannot(words::NEXT_NOT_ENFORCED, plan);
    }
    if let Some((hold, _)) = held.filter(|_| offline(subject).is_some()) {
        return cannot(offline::words::no_maintenance(hold), plan);
    }
    if let Some((hold, _)) = held
        && let Some(blocked) = closed_to_go_along(subject, next, held)
    {
        let message = words::sleep_waits(hold, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    plan.write(maintenance::step(subject, next, held));
    stands_at(subject, next, plan)
}

/// Its replicas come as soon as its controller has seen the template of this stage. What changes
/// before that is as if it had changed while it was stopped.
fn without_replicas(
    subject: &Subject,
    mark: &InMaintenance,
    hold: Option<&Hold>,
    mut plan: Plan,
) -> Plan {
    let workload = subject.workload;
    let wanted = wanted::wanted(workload, subject.ruling);
    let other = match mark.stage {
        Stage::Start => wanted.is_some(),
        Stage::Stop | Stage::Sleep => {
            !workload.template.rests || maintenance::next(&wanted.wish, mark).is_some()
        }
    };
    if !subject.around.enforced {
        return cannot(words::NEXT_NOT_ENFORCED, plan);
    }
    if other || hold.is_some() {
        plan.write(maintenance::step(subject, &mark.at(Stage::Stop), None));
    } else if maintenance::is_taken(workload) {
        plan.write(maintenance::step(subject, &mark.at(mark.stage), None));
    }
    stands_at(subject, mark, plan)
}

/// That it is on its way to the pods of this stage.
fn stands_at(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    let verdict = match mark.stage {
        Stage::Start => Verdict::new(Phase::Maintenance, Reason::MaintenanceEnding, words::ENDING),
        Stage::Stop | Stage::Sleep => {
            Verdict::new(Phase::Maintenance, Reason::GoingDown, words::to_sleep(subject))
                .with_command(words::end_command(subject))
        }
    };
    plan.stand(verdict);
    plan
}

/// To 0 replicas, from a stage in which it may have some.
fn stop(subject: &Subject, next: &InMaintenance, mut plan: Plan) -> Plan {
    if !subject.around.enforced {
        return cannot(words::NEXT_NOT_ENFORCED, plan);
    }
    if subject.workload.claims.go_with_pod {
        return cannot(words::cannot_go_on(Impossible::ClaimsGo), plan);
    }
    plan.write(maintenance::step(subject, next, None));
    let message = stopping(subject, subject.pods.len());
    plan.stand(Verdict::new(Phase::Maintenance, Reason::GoingDown, message));
    plan
}

/// Any write makes admission look again.
fn stop_again(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    if subject.around.enforced && !subject.workload.claims.go_with_pod {
        let mark = mark.at(Stage::Stop).renewed(subject.workload.generation);
        plan.write(maintenance::step(subject, &mark, None));
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
        return cannot(words::END_NOT_ENFORCED, plan);
    }
    if let Some((hold, _)) = held
        && let Some(blocked) = closed_to_go_along(subject, mark, held)
    {
        let message = words::end_waits(hold, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    if let Some(run) = offline(subject)
        .filter(|_| held.is_some() && !maintenance::is_back(&subject.revisions, mark))
    {
        return super::offline::ready(subject, run, held, plan);
    }
    let next = mark.at(Stage::Start).without_replicas();
    plan.write(maintenance::step(subject, &next, held));
    if held.is_some() {
        plan.tell(Event::UpgradeReleased, words::ENDING);
    }
    stands_at(subject, &next, plan)
}

/// Its template is the declared one again, and its pods start.
fn starting(subject: &Subject, mark: &InMaintenance, mut plan: Plan) -> Plan {
    if wanted::wanted(subject.workload, subject.ruling).is_some() {
        let Some(blocked) = closed_to_stop(subject, &mut plan) else {
            return stop(subject, &mark.at(Stage::Stop), plan);
        };
        let message = words::waits(subject, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    let pods = under_way(subject.workload, subject.pods, subject.revisions.newest);
    if maintenance::has_started(subject) {
        plan.write(maintenance::end());
        let told = match maintenance::is_available(subject.workload) {
            true => words::ended(subject, mark),
            false => words::over(mark.since, &pods),
        };
        plan.tell(Event::MaintenanceEnded, told);
    }
    let deadline = subject.ruling.spec().deadline();
    plan.wake_at(maintenance::gives_up_at(subject.workload, subject.pods, deadline));
    let failed = matches!(subject.progress, Progress::Failed(_));
    plan.stand(verdict::verdict(subject).filter(|_| failed).unwrap_or_else(|| {
        let message = format!("{}: {pods}", words::ENDING);
        Verdict::new(Phase::Maintenance, Reason::MaintenanceEnding, message)
    }));
    plan
}

/// Tells that a maintenance that is asked for cannot begin, where nothing else is told.
pub fn with_impossible(subject: &Subject, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    if matches!(plan.phase(), Phase::UpToDate | Phase::WaitsForUser)
        && wanted::wanted(workload, subject.ruling).is_some()
        && maintenance::of(workload).is_none()
        && let Some(why) = maintenance::impossible(subject)
    {
        let message = words::cannot_begin(subject, why);
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
