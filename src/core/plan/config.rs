//! What the config that a workload reads means for it.

use jiff::Timestamp;

use crate::{
    api::{ConfigSpec, Mode, Phase, Reason, marks},
    core::{
        clock,
        config::{
            find::{self, Adoption, Fought, Found, Reading},
            roll::{self, Due, Next},
        },
        hold::{authors::in_words, state::Hold},
        notice::Event,
        observed::workload::reference_of,
        planned::Plan,
        report::Verdict,
        rollout::{
            outcome::{Outcome, Previous},
            words::held_message,
        },
        subject::Subject,
    },
};

/// The config of a workload that is held.
pub fn of_held(subject: &Subject, mut plan: Plan) -> (Option<Reading>, Plan) {
    match subject.config() {
        Some(config) => {
            let (reading, mut plan) = read(subject, config, plan);
            if let Some(reading) = &reading {
                plan.write(reading.baseline(subject));
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
        Found::Adopted(adoption) => (None, adopted(subject, adoption, plan)),
        Found::Fought(fought) => (None, left_alone(subject, &fought, plan)),
        Found::Read(reading) => {
            let comparison = &reading.comparison;
            plan.report.config.stale = comparison.stale;
            plan.report.config.unverified.clone_from(&comparison.unverified);
            if comparison.stale {
                plan.report.config.changed.clone_from(&comparison.changed);
            }
            plan.memory.changed_at = plan.memory.changed_at.max(comparison.last_seen);
            (Some(reading), plan)
        }
    }
}

fn adopted(subject: &Subject, adoption: Adoption, mut plan: Plan) -> Plan {
    plan.write(adoption.edits(subject));
    plan.report.config.unverified = adoption.unverified;
    with_missing(&adoption.missing, named(&adoption.missing, plan))
}

/// Names what pods need and is not there, where a rollout is under way or has failed.
fn named(missing: &[String], mut plan: Plan) -> Plan {
    if !missing.is_empty() && matches!(plan.phase(), Phase::Rolling | Phase::Failed) {
        plan.report.verdict.message =
            format!("{}, which its pods need; {}", missing.join(", "), plan.report.verdict.message);
    }
    plan
}

/// Says what is missing, where there is nothing else to be said.
fn with_missing(missing: &[String], mut plan: Plan) -> Plan {
    if !missing.is_empty() && plan.phase() == Phase::UpToDate {
        plan.stand(is_missing(missing));
    }
    plan
}

fn is_missing(missing: &[String]) -> Verdict {
    let message = format!(
        "{}; new pods could not start, so nothing is rolled until it exists",
        missing.join(", ")
    );
    Verdict::new(Phase::Waiting, Reason::ConfigMissing, message)
}

/// Its record would only be taken away again.
fn left_alone(subject: &Subject, fought: &Fought, mut plan: Plan) -> Plan {
    let Fought { manager, times, until } = fought;
    let message = format!(
        "{manager} removed Lockkeeper's annotations {times} times, so no config change rolls this workload until {}. Configure it to leave annotations under {} alone (Argo CD: no Replace=true for this workload)",
        clock(*until),
        marks::PREFIX
    );
    let known = subject.memory.reverted.as_ref();
    if known.is_none_or(|(_, known, _)| known != times) {
        plan.tell(Event::MarksReverted, message.as_str());
    }
    plan.stand(Verdict::new(Phase::Waiting, Reason::MarksReverted, message));
    // What is held keeps the marks of its hold.
    if Hold::on(subject.workload).is_none() {
        plan.edits = Default::default();
    }
    plan.wake_at(*until);
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
        plan.write(reading.baseline(subject));
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
    let verdict = if reading.record.hash.is_some() && !reading.is_ours(workload) {
        let restart = format!(
            "kubectl rollout restart -n {} {}",
            subject.namespace().name,
            reference_of(workload)
        );
        let message = format!(
            "a user undid the rollout for {}, so pods may run on old config. Lockkeeper leaves this alone. Change the config back, or restart the pods: {restart}",
            comparison.changed.join(", ")
        );
        Verdict::new(Phase::Waiting, Reason::RolledBack, message).with_command(restart)
    } else {
        Verdict::new(Phase::Rolling, Reason::ConfigRollout, "pods are being replaced")
    };
    plan.stand(verdict);
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
    let (what, changed) = (comparison.changed.join(", "), comparison.what_changed());
    if subject.memory.differs_since.is_none() {
        let message = format!("{what} changed, and the workload has not been rolled for it yet");
        plan.tell(Event::ConfigChanged, message);
    }
    let since = subject.memory.differs_since.unwrap_or(subject.now());
    plan.memory.differs_since = Some(since);
    let failed = plan.phase() == Phase::Failed;
    let gate = subject.memory.gate.map(|(closed, _)| closed);
    match roll::next(subject, config, reading, outcome, (since, failed)) {
        Next::Missing => plan.stand(is_missing(&comparison.missing)),
        Next::Reported { blocker, asks } => {
            let (reason, why) = match subject.ruling.spec().mode {
                Mode::Observe => (Reason::ObserveMode, "spec.mode is Observe"),
                Mode::Enforce | Mode::Freeze => {
                    (Reason::ReportOnly, "spec.config.onChange is Report")
                }
            };
            plan.stand(match blocker {
                Some(blocker) => {
                    let gate = blocker.reason().as_str();
                    let message = format!("{changed}; it would wait ({gate}), but {why}");
                    Verdict::new(Phase::WouldHold, reason, message)
                }
                None => {
                    let asked = if asks { " when its pods agree" } else { "" };
                    let message = format!("{changed}; it would be rolled{asked}, but {why}");
                    Verdict::new(Phase::WouldRoll, reason, message)
                }
            });
        }
        // Nothing is known of the gates that was not known before.
        Next::Unobserved => {
            plan.talk.go_on();
            plan = plan.before_the_same_gate(subject);
        }
        Next::Covered if failed => {}
        Next::Covered => {
            let message = format!(
                "the rollout in progress starts its pods with the new {what}; {}",
                plan.report.verdict.message
            );
            plan.stand(Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message));
        }
        Next::AfterSteps => {
            let message = format!(
                "{changed}; it is rolled after the previous change has reached all pods; {}",
                plan.report.verdict.message
            );
            plan.stand(Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message));
        }
        Next::User(hold) => {
            let held = held_message(hold, "its next pods start with the new config");
            let message = format!("{changed}; {held}");
            plan.stand(Verdict::new(Phase::WaitsForUser, hold.reason(), message));
        }
        Next::Settling(due) => {
            plan.wake_at(due);
            plan.report.closed = gate;
            let message =
                format!("{changed}; rolls at {} if nothing else changes until then", clock(due));
            plan.stand(Verdict::new(Phase::Settling, Reason::ConfigChanged, message));
            plan.report.verdict.until = Some(due);
        }
        Next::Limited { times, until } => {
            plan = limited(subject, config, (&changed, times, until), plan);
        }
        Next::Due(due) => plan = is_due(subject, &changed, *due, plan),
    }
    plan
}

fn limited(
    subject: &Subject,
    config: &ConfigSpec,
    (changed, times, until): (&str, usize, Timestamp),
    mut plan: Plan,
) -> Plan {
    plan.wake_at(until);
    let message = format!(
        "{changed}, but it had {times} config rollouts within {}, as many as spec.config.limit allows; it rolls at {}",
        config.limit.window,
        clock(until)
    );
    if subject.memory.last.as_ref().map(|last| last.phase) != Some(Phase::Limited) {
        plan.tell(Event::RolloutLimited, message.as_str());
    }
    plan.stand(Verdict::new(Phase::Limited, Reason::LimitReached, message));
    plan.report.verdict.until = Some(until);
    plan
}

/// Its gates say whether it rolls, or a bypass does.
fn is_due(subject: &Subject, changed: &str, due: Due, mut plan: Plan) -> Plan {
    let Due { change, bypass, answer, roll } = due;
    if let Some(bypass) = bypass {
        let message = format!(
            "{} released the config change {} past its gates",
            in_words(&bypass.by),
            bypass.id
        );
        plan.tell(Event::HoldBypassed, message);
    }
    if let Some(blocked) = plan.hear(subject, &change, answer) {
        plan.stand_before(Phase::Waiting, &blocked, format!("{changed}; {}", blocked.why));
        let waiting = roll::waiting(subject.workload, &change, &blocked);
        if let Some((edits, status)) = waiting {
            plan.write(edits);
            plan.report.hold = Some(status);
        }
        return plan;
    }
    plan.roll = Some(plan.edits.clone().then(roll));
    let message = format!(
        "{changed}; it rolls when another config rollout in the cluster is done (settings.maxConfigRollouts of the chart)"
    );
    plan.stand(Verdict::new(Phase::Waiting, Reason::WaitingForSlot, message));
    plan
}
