//! A workload that is stopped for an offline upgrade, or is to be.

use crate::{
    api::{Phase, Reason, marks},
    core::{
        edits::Edits,
        gates::{
            blocker::{Blocker, Turn},
            change::{Blocked, Change},
            snapshot, volumes,
            words::sentence,
        },
        hold::{release, state::Hold},
        later,
        maintenance::{self, Standing, wanted},
        notice::Event,
        offline::{self, run::Run, words},
        plan::stopping::{cannot, closed_to_stop, remind, waits, with_change},
        planned::Plan,
        report::Verdict,
        request::Release,
        rollout::{outcome::Outcome, progress::Progress, verdict, words::under_way},
        subject::Subject,
    },
    marks::{InMaintenance, Upgrade, maintenance::Stage},
};

/// After this time it is looked whether the others agree too.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Nothing of its own keeps it from being stopped: that happens when the others can be stopped too.
pub fn ready(subject: &Subject, run: &Run, held: Option<(&Hold, &Change)>, mut plan: Plan) -> Plan {
    let phase = if held.is_some() { Phase::Held } else { Phase::Waiting };
    let hold = held.map(|(hold, _)| hold);
    if let Some(why) = maintenance::impossible(subject) {
        let message = words::waits(maintenance::words::impossible(why));
        plan.stand(Verdict::new(phase, Reason::MaintenanceImpossible, message));
        return plan;
    }
    if !run.is_agreed() && !run.goes_down() {
        let known = run.of(&subject.workload.id).is_some_and(|one| one.agrees);
        let trouble = subject.activity.trouble.is_some() || subject.activity.in_flight;
        plan.memory.agrees = !trouble;
        if !known && !trouble {
            plan.wake_at(later(subject.now(), AGAIN));
        }
        let missing = run.missing();
        let others: Vec<_> = missing.into_iter().filter(|id| **id != subject.workload.id).collect();
        let message = words::agrees(&others, run.unknown());
        plan.stand(Verdict::new(phase, Reason::WaitsForOthers, message));
        return plan;
    }
    plan.memory.agrees = true;
    let before = run.before_stop(&subject.workload.id);
    if !before.is_empty() {
        plan.stand(Verdict::new(phase, Reason::WaitsForOthers, words::turn(&before)));
        return plan;
    }
    plan.write(offline::stop(subject, held));
    plan.memory.reminded_at = None;
    plan.tell(Event::OfflineUpgradeStarted, words::stops(hold));
    let upgrade = Upgrade { change: hold.map(|hold| hold.id.clone()), ..Upgrade::default() };
    let message = words::stopping(&upgrade, subject.pods.len());
    plan.stand(standing(Reason::GoingDown, message));
    plan
}

/// Whether one without a change of its own is to be stopped along with the others, or asked
/// whether it may be.
pub fn joins(subject: &Subject) -> bool {
    let settled =
        matches!(subject.progress, Progress::Done | Progress::Failed(_) | Progress::Held(_));
    let is_kind = subject.workload.id.kind.can_be_held();
    is_kind
        && subject.siblings.run.is_some_and(|run| run.goes_down() || (run.asks_all() && settled))
}

/// One without a change of its own is to be stopped along with the others.
pub fn join(subject: &Subject, mut plan: Plan) -> Plan {
    let Some(run) = subject.siblings.run else { return plan };
    match closed_to_stop(subject, &mut plan) {
        Some(blocked) => waits(&blocked, Phase::Waiting, words::waits(&blocked.why), plan),
        None => ready(subject, run, None, plan),
    }
}

/// One that is stopped for an offline upgrade.
pub fn plan(
    subject: &Subject,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    hold: Option<&Hold>,
    plan: Plan,
) -> Plan {
    let (held, plan) = with_change(subject, hold, plan);
    let mut plan = remind(subject, mark, plan);
    let acts = !subject.ruling.observes() && !subject.ruling.is_unreadable();
    let Some(run) = subject.siblings.run.filter(|_| acts) else {
        let message = words::STANDS_STILL;
        plan.stand(standing(Reason::WaitsForOthers, message));
        return plan;
    };
    if !subject.around.enforced {
        return cannot(maintenance::words::NEXT_NOT_ENFORCED, plan);
    }
    let held = hold.zip(held.as_ref());
    match (mark.stage, mark.at_zero) {
        (_, true) => without_replicas(subject, mark, upgrade, hold, plan),
        (Stage::Start, false) => starting(subject, upgrade, plan),
        (Stage::Sleep, false) => asleep(subject, (mark, upgrade), held, plan),
        (Stage::Stop, false) => stopped(subject, run, (mark, upgrade), held, plan),
    }
}

/// It is being stopped, or is stopped.
fn stopped(
    subject: &Subject,
    run: &Run,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    held: Option<(&Hold, &Change)>,
    mut plan: Plan,
) -> Plan {
    let workload = subject.workload;
    let (reason, message) = match maintenance::standing(workload, subject.pods) {
        Standing::Down => return down(subject, run, (mark, upgrade), held, plan),
        Standing::GoingDown(_) if workload.claims.go_with_pod => {
            let why = maintenance::words::cannot_go_on(maintenance::Impossible::ClaimsGo);
            return cannot(why, plan);
        }
        Standing::GoingDown(pods) => {
            // Somebody has scaled it: pods that run the app would stay.
            if workload.rollout.wanted > 0 {
                plan.write(repeat(subject, mark));
            }
            (Reason::GoingDown, words::stopping(upgrade, pods))
        }
        Standing::NotStopped | Standing::Asleep { .. } => {
            if !workload.claims.go_with_pod {
                plan.write(repeat(subject, mark));
            }
            (Reason::MaintenanceImpossible, maintenance::words::NOT_STOPPED.to_owned())
        }
    };
    plan.stand(standing(reason, message));
    plan
}

/// No pod of it is left.
fn down(
    subject: &Subject,
    run: &Run,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    held: Option<(&Hold, &Change)>,
    mut plan: Plan,
) -> Plan {
    if let Some((hold, change)) = held {
        return second(subject, (mark, upgrade), (hold, change), plan);
    }
    let id = &subject.workload.id;
    if upgrade.starts {
        return to_start(subject, run, (mark, upgrade), plan);
    }
    if let Some(unread) = run.unknown() {
        plan.stand(standing(Reason::WaitsForOthers, words::unreadable(upgrade, unread)));
        return plan;
    }
    if run.not_down().is_empty()
        && let Some(why) = unsaved(subject, run, (mark, upgrade), &mut plan)
    {
        plan.stand(why);
        return plan;
    }
    if run.of(id).is_some_and(|one| one.unmigrated) {
        let (not_down, before) = (run.not_down(), run.before_migration(id));
        if !not_down.is_empty() {
            plan.stand(standing(Reason::WaitsForOthers, words::down(upgrade, &not_down)));
        } else if !before.is_empty() {
            let message = words::after(upgrade, &before, words::MIGRATION);
            plan.stand(standing(Reason::WaitsForOthers, message));
        } else {
            let next = Upgrade { migrating: true, ..upgrade.clone() };
            let step = mark.at(Stage::Sleep).with_upgrade(Some(&next)).without_replicas();
            plan.write(offline::migrates(subject.workload, mark));
            let mut edits = maintenance::step(subject, &step, None);
            edits.clear(marks::MIGRATED);
            plan.write(edits);
            plan.tell(Event::MigrationStarted, words::begins_migration(upgrade));
            plan.stand(standing(Reason::Migrating, words::next(upgrade, true)));
        }
        return plan;
    }
    let before = run.before_any_start();
    if !before.is_empty() {
        plan.stand(standing(Reason::WaitsForOthers, words::down(upgrade, &before)));
    } else {
        let next = Upgrade { starts: true, ..upgrade.clone() };
        plan.write(maintenance::step(subject, &mark.with_upgrade(Some(&next)), None));
        plan.stand(standing(Reason::MaintenanceEnding, words::next(upgrade, false)));
    }
    plan
}

/// That snapshots are to be ready before any data changes, and are not: its own, or those of others.
fn unsaved(
    subject: &Subject,
    run: &Run,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    plan: &mut Plan,
) -> Option<Verdict> {
    let id = &subject.workload.id;
    let changed = run.of(id).is_some_and(|one| one.changed);
    let needed = snapshot::is_needed(subject.ruling.spec(), upgrade);
    if let Some(change) = upgrade.change.as_ref().filter(|_| changed && needed) {
        // A mark of which somebody removed the time is as old as can be, so any snapshot of it counts.
        let since = mark.since.unwrap_or_default();
        let answer = snapshot::before_migration(subject, change, since);
        plan.snapshots.extend(answer.snapshots);
        if let Some(blocker) = answer.blocker {
            let until = blocker.ask_again();
            until.into_iter().for_each(|time| plan.wake_at(time));
            let message = words::unsaved(upgrade, &sentence(&blocker));
            let gate = Some(blocker.gate());
            return Some(Verdict { gate, until, ..standing(blocker.reason(), message) });
        }
        plan.memory.saved = true;
    }
    let others: Vec<_> = run.unsaved().into_iter().filter(|other| *other != id).collect();
    if others.is_empty() {
        return None;
    }
    plan.wake_at(later(subject.now(), AGAIN));
    Some(standing(Reason::WaitsForOthers, words::others_unsaved(upgrade, &others)))
}

/// The stage once more: its controller, or somebody else, has left it.
fn repeat(subject: &Subject, mark: &InMaintenance) -> Edits {
    maintenance::step(subject, &mark.renewed(subject.workload.generation), None)
}

fn standing(reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict::new(Phase::Maintenance, reason, message)
}

/// A change came while it was stopped, or what was stopped for was taken back.
fn second(
    subject: &Subject,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    (hold, change): (&Hold, &Change),
    mut plan: Plan,
) -> Plan {
    let workload = subject.workload;
    if let Some(blocked) = danger(subject, change) {
        let message = words::second(upgrade, hold, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    let back = maintenance::is_back(&subject.revisions, mark) && !upgrade.migrating;
    let same = Outcome::on(workload).is_of(workload, subject.key());
    if !back
        && !same
        && let Some(blocked) = maintenance::closed_to_release(subject, change)
    {
        let message = words::second(upgrade, hold, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    let next = match (back, same) {
        (true, _) => Upgrade { change: None, ..Upgrade::default() },
        (false, true) => upgrade.clone(),
        (false, false) => Upgrade {
            change: Some(hold.id.clone()),
            migrating: upgrade.migrating,
            ..Upgrade::default()
        },
    };
    let step = mark.with_upgrade(Some(&next));
    match same && !back {
        true => {
            let edits = release::released(Release::Unchanged);
            plan.write(maintenance::with_mark(workload, &step, edits));
        }
        false => plan.write(maintenance::step(subject, &step, Some((hold, change)))),
    }
    plan.tell(Event::UpgradeReleased, words::stops(Some(hold).filter(|_| !back)));
    plan.stand(standing(Reason::GoingDown, words::stopping(&next, 0)));
    plan
}

/// That the held change goes back to what does not know its data any more: no approval helps.
fn danger(subject: &Subject, change: &Change) -> Option<Blocked> {
    Some(change.blocked_by(subject, &volumes::migrated(subject)?))
}

/// All that is needed is done, and it starts in its turn.
fn to_start(
    subject: &Subject,
    run: &Run,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    mut plan: Plan,
) -> Plan {
    if wanted::wanted(subject.workload, subject.ruling).is_some() {
        // From here on it is in maintenance for a user.
        plan.write(maintenance::step(subject, &mark.with_upgrade(None), None));
        plan.stand(standing(
            Reason::InMaintenance,
            maintenance::words::stopped(subject, mark.since, None),
        ));
        return plan;
    }
    if let Some(failed @ Blocker::Turn(Turn::OthersFailed(_))) = subject.siblings.waits {
        let message = words::others_failed(upgrade, &sentence(failed));
        plan.stand(standing(Reason::OtherFailed, message));
        return plan;
    }
    let before = run.before_start(&subject.workload.id);
    if !before.is_empty() {
        let message = words::after(upgrade, &before, words::START);
        plan.stand(standing(Reason::WaitsForOthers, message));
        return plan;
    }
    let step = mark.at(Stage::Start).without_replicas();
    plan.write(maintenance::step(subject, &step, None));
    let message = words::next(upgrade, false);
    plan.stand(standing(Reason::MaintenanceEnding, message));
    plan
}

/// Its replicas come as soon as its controller has seen the template of this stage.
fn without_replicas(
    subject: &Subject,
    mark: &InMaintenance,
    upgrade: &Upgrade,
    hold: Option<&Hold>,
    mut plan: Plan,
) -> Plan {
    let sleeps = mark.stage == Stage::Sleep;
    if hold.is_some() || (sleeps && !subject.workload.template.rests) {
        plan.write(maintenance::step(subject, &mark.at(Stage::Stop), None));
    } else if maintenance::is_taken(subject.workload) {
        plan.write(maintenance::step(subject, &mark.at(mark.stage), None));
    }
    let reason = if sleeps { Reason::Migrating } else { Reason::MaintenanceEnding };
    plan.stand(standing(reason, words::next(upgrade, sleeps)));
    plan
}

/// Its pods sleep in the new template.
fn asleep(
    subject: &Subject,
    (mark, upgrade): (&InMaintenance, &Upgrade),
    held: Option<(&Hold, &Change)>,
    mut plan: Plan,
) -> Plan {
    let workload = subject.workload;
    let migrated = upgrade.change.is_some()
        && workload.governed.stands()
        && workload.marks.migrated.get() == upgrade.change.as_ref();
    let goes_on =
        held.is_some_and(|(_, change)| maintenance::closed_to_release(subject, change).is_none());
    let back = held.is_none() && maintenance::is_back(&subject.revisions, mark);
    let without_claims = workload.claims.go_with_pod;
    if (migrated || goes_on || back) && !without_claims {
        let next = Upgrade { migrated, ..upgrade.clone() };
        let mut edits =
            maintenance::step(subject, &mark.at(Stage::Stop).with_upgrade(Some(&next)), None);
        edits.clear(marks::MIGRATED);
        plan.write(edits);
        if migrated {
            plan.tell(Event::MigrationDone, words::migrated(upgrade));
        }
        let message = words::stopping(&next, subject.pods.len());
        plan.stand(standing(Reason::GoingDown, message));
        return plan;
    }
    if let Some((hold, change)) = held
        && let Some(blocked) = danger(subject, change)
    {
        let message = words::second(upgrade, hold, &blocked.why);
        return waits(&blocked, Phase::Maintenance, message, plan);
    }
    let pods = match maintenance::standing(workload, subject.pods) {
        Standing::Asleep { ready, gated } => maintenance::words::asleep_pods(subject, ready, gated),
        Standing::NotStopped | Standing::GoingDown(_) | Standing::Down => {
            plan.write(repeat(subject, mark));
            return cannot(maintenance::words::NOT_STOPPED, plan);
        }
    };
    let message = words::migrate(subject, upgrade, &pods, held.map(|(hold, _)| hold));
    let verdict = standing(Reason::Migrating, message);
    plan.stand(verdict.with_command(words::command(subject, upgrade)));
    plan
}

/// Its pods start.
fn starting(subject: &Subject, upgrade: &Upgrade, mut plan: Plan) -> Plan {
    let workload = subject.workload;
    let pods = under_way(workload, subject.pods, subject.revisions.newest);
    if maintenance::has_started(subject) {
        let mut edits = maintenance::end();
        edits.clear(marks::MIGRATED);
        plan.write(edits);
        let late = !maintenance::is_available(workload);
        let told = words::done(upgrade, late.then_some(&pods));
        plan.tell(Event::OfflineUpgradeDone, told);
    }
    let deadline = subject.ruling.spec().deadline();
    plan.wake_at(maintenance::gives_up_at(workload, subject.pods, deadline));
    let failed = matches!(subject.progress, Progress::Failed(_));
    plan.stand(verdict::verdict(subject).filter(|_| failed).unwrap_or_else(|| {
        let message = words::starting(upgrade, &pods);
        standing(Reason::MaintenanceEnding, message)
    }));
    plan
}
