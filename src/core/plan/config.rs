//! What the config that a workload reads means for it.

use crate::{
    api::{ConfigSpec, Phase, Reason},
    core::{
        config::{
            desired::Missing,
            find::{self, Adoption, Fought, Found, Reading},
            roll::{self, Due, Next},
            words::{self, Changed},
        },
        hold::state::Hold,
        notice::Event,
        planned::Plan,
        rollout::outcome::{Outcome, Previous},
        subject::Subject,
    },
};

/// The config of a workload that is held.
pub fn of_held(subject: &Subject, mut plan: Plan) -> (Option<Reading>, Plan) {
    match subject.config() {
        Some(config) => {
            let (reading, mut plan) = read(subject, config, plan);
            if let Some(reading) = &reading {
                plan.write(reading.baseline.clone());
            }
            (reading, plan)
        }
        None if subject.ruling.is_unreadable() => (None, plan),
        None => {
            plan.write(roll::forgotten(false));
            plan.memory.had_record = false;
            (None, plan)
        }
    }
}

/// The config of a workload that is not held.
pub fn of_free(subject: &Subject, outcome: &Outcome, mut plan: Plan) -> Plan {
    match subject.config().filter(|_| !subject.workload.deleting) {
        Some(config) => match read(subject, config, plan) {
            (Some(reading), plan) => {
                compared(subject, config, reading.with_restart(subject, outcome), outcome, plan)
            }
            (None, plan) => plan,
        },
        None if subject.ruling.is_unreadable() => plan,
        None => {
            plan.write(roll::forgotten(*subject.siblings.previous != Previous::Nothing));
            plan.memory.had_record = false;
            restarted(subject, outcome, plan)
        }
    }
}

/// Reads and compares; a workload without a record is adopted instead.
fn read(subject: &Subject, config: &ConfigSpec, mut plan: Plan) -> (Option<Reading>, Plan) {
    let (config, reverted) = find::find(subject, config);
    plan.memory.reverted = reverted;
    plan.memory.had_record = matches!(config, Found::Read(_));
    match config {
        Found::Adopted(adoption) => (None, adopted(adoption, plan)),
        Found::Fought(fought) => (None, left_alone(subject, &fought, plan)),
        Found::Read(reading) => {
            let comparison = &reading.comparison;
            plan.report.config.stale = comparison.stale;
            plan.report.config.unverified.clone_from(&comparison.unverified);
            if comparison.stale {
                plan.report.config.changed.clone_from(&comparison.changed);
            }
            plan.memory.changed_at = plan.memory.changed_at.max(comparison.last_seen);
            (Some(*reading), plan)
        }
    }
}

fn adopted(adoption: Adoption, mut plan: Plan) -> Plan {
    plan.write(adoption.edits);
    plan.report.config.unverified = adoption.unverified;
    with_missing(&adoption.missing, named(&adoption.missing, plan))
}

/// Names what pods need and is not there, where a rollout is under way or has failed.
fn named(missing: &[Missing], mut plan: Plan) -> Plan {
    if !missing.is_empty() && matches!(plan.phase(), Phase::Rolling | Phase::Failed) {
        plan.report.verdict.message = words::needed(missing, &plan.report.verdict.message);
    }
    plan
}

/// Says what is missing, where there is nothing else to be said.
fn with_missing(missing: &[Missing], mut plan: Plan) -> Plan {
    if !missing.is_empty() && plan.phase() == Phase::UpToDate {
        plan.stand(words::is_missing(missing));
    }
    plan
}

/// Its record would only be taken away again.
fn left_alone(subject: &Subject, fought: &Fought, mut plan: Plan) -> Plan {
    let verdict = words::fought(fought);
    let known = subject.memory.reverted.as_ref();
    if known.is_none_or(|(_, known, _)| *known != fought.times) {
        plan.tell(Event::MarksReverted, verdict.message.as_str());
    }
    plan.stand(verdict);
    // What is held keeps the marks of its hold.
    if Hold::on(subject.workload).is_none() {
        plan.edits = Default::default();
    }
    plan.wake_at(fought.until);
    plan
}

/// Rolls a workload without config when the step before it was rolled out, if it restarts with
/// that.
fn restarted(subject: &Subject, outcome: &Outcome, mut plan: Plan) -> Plan {
    let reading = Reading::none().with_restart(subject, outcome);
    if reading.comparison.roll.is_some() {
        plan.report.config.changed.clone_from(&reading.comparison.changed);
        if !subject.workload.deleting {
            return differs(subject, &ConfigSpec::default(), &reading, outcome, plan);
        }
    }
    let done = matches!(subject.siblings.previous, Previous::Done(_));
    if done && subject.workload.rollout.observed {
        plan.write(roll::withdrawn(subject.workload));
    }
    plan
}

fn compared(
    subject: &Subject,
    config: &ConfigSpec,
    reading: Reading,
    outcome: &Outcome,
    mut plan: Plan,
) -> Plan {
    let (workload, comparison) = (subject.workload, &reading.comparison);
    if reading.is_restart() {
        plan.report.config.changed.clone_from(&comparison.changed);
    }
    plan = named(&comparison.missing, plan);
    plan.report.takes_slot = roll::takes_slot(subject, &reading, outcome);
    if plan.report.takes_slot
        && plan.phase() == Phase::Rolling
        && plan.reason() == Reason::RolloutUnderWay
    {
        plan.report.verdict.reason = Reason::ConfigRollout;
    }
    if !reading.is_restart() {
        plan.write(reading.baseline.clone());
    }
    if comparison.roll.is_none() {
        plan.write(roll::withdrawn(workload));
    }
    if comparison.all_fresh {
        return with_missing(&comparison.missing, plan);
    }
    if comparison.roll.is_some() {
        return differs(subject, config, &reading, outcome, plan);
    }
    if !comparison.stale || plan.phase() != Phase::UpToDate {
        return with_missing(&comparison.missing, plan);
    }
    let undone = reading.record.hash.is_some() && !reading.is_ours(workload);
    plan.stand(match undone {
        true => words::rolled_back(&subject.namespace().name, workload, &comparison.changed),
        false => words::begun(),
    });
    plan
}

/// Config that differs: what it waits for, or that it rolls.
fn differs(
    subject: &Subject,
    config: &ConfigSpec,
    reading: &Reading,
    outcome: &Outcome,
    mut plan: Plan,
) -> Plan {
    let comparison = &reading.comparison;
    let before = std::mem::take(&mut plan.report.verdict);
    let changed = Changed {
        namespace: &subject.namespace().name,
        workload: subject.workload,
        what: comparison.changed.join(", "),
        changed: words::what_changed(comparison),
        rollout: &before.message,
    };
    if subject.memory.differs_since.is_none() {
        plan.tell(Event::ConfigChanged, changed.notice());
    }
    let since = subject.memory.differs_since.unwrap_or(subject.now());
    plan.memory.differs_since = Some(since);
    let failed = before.phase == Phase::Failed;
    let next = roll::next(subject, config, reading, outcome, (since, failed));
    let mode = subject.ruling.spec().mode;
    let covered = failed && matches!(next, Next::Covered);
    let verdict = changed.verdict((mode, config), &comparison.missing, &next);
    let verdict = verdict.filter(|_| !covered);
    match &next {
        // Nothing is known of the gates that was not known before.
        Next::Unobserved => plan.talk.go_on(),
        Next::Settling(due) => {
            plan.wake_at(*due);
            plan.report.closed = subject.memory.gate.map(|(closed, _)| closed);
        }
        Next::Limited { until, .. } => {
            plan.wake_at(*until);
            let last = subject.memory.last.as_ref().map(|last| last.phase);
            if let Some(verdict) = verdict.as_ref().filter(|_| last != Some(Phase::Limited)) {
                plan.tell(Event::RolloutLimited, verdict.message.as_str());
            }
        }
        Next::Missing
        | Next::Reported { .. }
        | Next::Covered
        | Next::AfterSteps
        | Next::User(_)
        | Next::Due(_) => {}
    }
    let sentence = changed.changed.clone();
    plan.stand(verdict.unwrap_or(before));
    match next {
        Next::Due(due) => is_due(subject, &sentence, *due, plan),
        Next::Unobserved => plan.before_the_same_gate(subject),
        _ => plan,
    }
}

/// Its gates say whether it rolls, or a bypass does.
fn is_due(subject: &Subject, changed: &str, due: Due, mut plan: Plan) -> Plan {
    let Due { change, bypass, answer, roll } = due;
    if let Some(bypass) = bypass {
        plan.tell(Event::HoldBypassed, words::bypassed(bypass));
    }
    let Some(blocked) = plan.hear(subject, &change, answer) else {
        plan.roll = Some(plan.edits.clone().then(roll));
        return plan;
    };
    plan.stand(blocked.verdict(Phase::Waiting, format!("{changed}; {}", blocked.why)));
    let waiting = roll::waiting(subject.workload, &change, &blocked);
    if let Some((edits, status)) = waiting {
        plan.write(edits);
        plan.report.hold = Some(status);
    }
    plan
}
