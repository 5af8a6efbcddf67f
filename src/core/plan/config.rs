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
pub fn of_held(subject: &Subject, mut found: Plan) -> (Option<Reading>, Plan) {
    match subject.config() {
        Some(config) => {
            let (reading, mut found) = read(subject, config, found);
            if let Some(reading) = &reading {
                found.write(reading.baseline(subject));
            }
            (reading, found)
        }
        None if subject.ruling.is_unreadable() => (None, found),
        None => {
            found.write(roll::forgotten(false));
            found.memory.had_record = false;
            (None, found)
        }
    }
}

/// The config of a workload that is not held.
pub fn of_free(subject: &Subject, outcome: &Outcome, mut found: Plan) -> Plan {
    match subject.config().filter(|_| !subject.workload.deleting) {
        Some(config) => match read(subject, config, found) {
            (Some(reading), found) => {
                compared(subject, config, reading.with_restart(subject, outcome), outcome, found)
            }
            (None, found) => found,
        },
        None if subject.ruling.is_unreadable() => found,
        None => {
            found.write(roll::forgotten(*subject.siblings.previous != Previous::Nothing));
            found.memory.had_record = false;
            restarted(subject, outcome, found)
        }
    }
}

/// Reads and compares; a workload without a record is adopted instead.
fn read(subject: &Subject, config: &ConfigSpec, mut found: Plan) -> (Option<Reading>, Plan) {
    let (config, reverted) = find::find(subject, config);
    found.memory.reverted = reverted;
    found.memory.had_record = matches!(config, Found::Read(_));
    match config {
        Found::Adopted(adoption) => (None, adopted(subject, adoption, found)),
        Found::Fought(fought) => (None, left_alone(subject, &fought, found)),
        Found::Read(reading) => {
            let comparison = &reading.comparison;
            found.report.config.stale = comparison.stale;
            found.report.config.unverified.clone_from(&comparison.unverified);
            if comparison.stale {
                found.report.config.changed.clone_from(&comparison.changed);
            }
            found.memory.changed_at = found.memory.changed_at.max(comparison.last_seen);
            (Some(reading), found)
        }
    }
}

fn adopted(subject: &Subject, adoption: Adoption, mut found: Plan) -> Plan {
    found.write(adoption.edits(subject));
    found.report.config.unverified = adoption.unverified;
    with_missing(&adoption.missing, named(&adoption.missing, found))
}

/// Names what pods need and is not there, where a rollout is under way or has failed.
fn named(missing: &[String], mut found: Plan) -> Plan {
    if !missing.is_empty() && matches!(found.phase(), Phase::Rolling | Phase::Failed) {
        found.report.verdict.message = format!(
            "{}, which its pods need; {}",
            missing.join(", "),
            found.report.verdict.message
        );
    }
    found
}

/// Says what is missing, where there is nothing else to be said.
fn with_missing(missing: &[String], mut found: Plan) -> Plan {
    if !missing.is_empty() && found.phase() == Phase::UpToDate {
        found.stand(is_missing(missing));
    }
    found
}

fn is_missing(missing: &[String]) -> Verdict {
    let message = format!(
        "{}; new pods could not start, so nothing is rolled until it exists",
        missing.join(", ")
    );
    Verdict::new(Phase::Waiting, Reason::ConfigMissing, message)
}

/// Its record would only be taken away again.
fn left_alone(subject: &Subject, fought: &Fought, mut found: Plan) -> Plan {
    let Fought { manager, times, until } = fought;
    let message = format!(
        "{manager} removed Lockkeeper's annotations {times} times, so no config change rolls this workload until {}. Configure it to leave annotations under {} alone (Argo CD: no Replace=true for this workload)",
        clock(*until),
        marks::PREFIX
    );
    let known = subject.memory.reverted.as_ref();
    if known.is_none_or(|(_, known, _)| known != times) {
        found.tell(Event::MarksReverted, message.as_str());
    }
    found.stand(Verdict::new(Phase::Waiting, Reason::MarksReverted, message));
    // What is held keeps the marks of its hold.
    if Hold::on(subject.workload).is_none() {
        found.edits = Default::default();
    }
    found.wake_at(*until);
    found
}

/// Rolls a workload without config when the step before it was rolled out, if it restarts with
/// that.
fn restarted(subject: &Subject, outcome: &Outcome, mut found: Plan) -> Plan {
    let reading = Reading::none().with_restart(subject, outcome);
    if reading.comparison.roll.is_some() {
        found.report.config.changed.clone_from(&reading.comparison.changed);
        if !subject.workload.deleting {
            return differs(subject, &ConfigSpec::default(), &reading, outcome, found);
        }
    }
    let done = matches!(subject.siblings.previous, Previous::Done(_));
    if done && subject.workload.rollout.observed {
        found.write(roll::withdrawn(subject.workload));
    }
    found
}

fn compared(
    subject: &Subject,
    config: &ConfigSpec,
    reading: Reading,
    outcome: &Outcome,
    mut found: Plan,
) -> Plan {
    let (workload, comparison) = (subject.workload, &reading.comparison);
    if reading.is_restart() {
        found.report.config.changed.clone_from(&comparison.changed);
    }
    found = named(&comparison.missing, found);
    found.report.takes_slot = roll::takes_slot(subject, &reading, outcome);
    if found.report.takes_slot
        && found.phase() == Phase::Rolling
        && found.reason() == Reason::RolloutUnderWay
    {
        found.report.verdict.reason = Reason::ConfigRollout;
    }
    if !reading.is_restart() {
        found.write(reading.baseline(subject));
    }
    if comparison.roll.is_none() {
        found.write(roll::withdrawn(workload));
    }
    if comparison.all_fresh {
        return with_missing(&comparison.missing, found);
    }
    if comparison.roll.is_some() {
        return differs(subject, config, &reading, outcome, found);
    }
    if !comparison.stale || found.phase() != Phase::UpToDate {
        return with_missing(&comparison.missing, found);
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
    found.stand(verdict);
    found
}

/// Config that differs: what it waits for, or that it rolls.
fn differs(
    subject: &Subject,
    config: &ConfigSpec,
    reading: &Reading,
    outcome: &Outcome,
    mut found: Plan,
) -> Plan {
    let comparison = &reading.comparison;
    let (what, changed) = (comparison.changed.join(", "), comparison.what_changed());
    if subject.memory.differs_since.is_none() {
        let message = format!("{what} changed, and the workload has not been rolled for it yet");
        found.tell(Event::ConfigChanged, message);
    }
    let since = subject.memory.differs_since.unwrap_or(subject.now());
    found.memory.differs_since = Some(since);
    let failed = found.phase() == Phase::Failed;
    let gate = subject.memory.gate.map(|(closed, _)| closed);
    match roll::next(subject, config, reading, outcome, (since, failed)) {
        Next::Missing => found.stand(is_missing(&comparison.missing)),
        Next::Reported { blocker, asks } => {
            let (reason, why) = match subject.ruling.spec().mode {
                Mode::Observe => (Reason::ObserveMode, "spec.mode is Observe"),
                Mode::Enforce | Mode::Freeze => {
                    (Reason::ReportOnly, "spec.config.onChange is Report")
                }
            };
            found.stand(match blocker {
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
            found.talk.go_on();
            found = found.before_the_same_gate(subject);
        }
        Next::Covered if failed => {}
        Next::Covered => {
            let message = format!(
                "the rollout in progress starts its pods with the new {what}; {}",
                found.report.verdict.message
            );
            found.stand(Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message));
        }
        Next::AfterSteps => {
            let message = format!(
                "{changed}; it is rolled after the previous change has reached all pods; {}",
                found.report.verdict.message
            );
            found.stand(Verdict::new(Phase::Rolling, Reason::CoveredByRollout, message));
        }
        Next::User(hold) => {
            let held = held_message(hold, "its next pods start with the new config");
            let message = format!("{changed}; {held}");
            found.stand(Verdict::new(Phase::WaitsForUser, hold.reason(), message));
        }
        Next::Settling(due) => {
            found.wake_at(due);
            found.report.closed = gate;
            let message =
                format!("{changed}; rolls at {} if nothing else changes until then", clock(due));
            found.stand(Verdict::new(Phase::Settling, Reason::ConfigChanged, message));
            found.report.verdict.until = Some(due);
        }
        Next::Limited { times, until } => {
            found = limited(subject, config, (&changed, times, until), found);
        }
        Next::Due(due) => found = is_due(subject, &changed, *due, found),
    }
    found
}

fn limited(
    subject: &Subject,
    config: &ConfigSpec,
    (changed, times, until): (&str, usize, Timestamp),
    mut found: Plan,
) -> Plan {
    found.wake_at(until);
    let message = format!(
        "{changed}, but it had {times} config rollouts within {}, as many as spec.config.limit allows; it rolls at {}",
        config.limit.window,
        clock(until)
    );
    if subject.memory.last.as_ref().map(|last| last.phase) != Some(Phase::Limited) {
        found.tell(Event::RolloutLimited, message.as_str());
    }
    found.stand(Verdict::new(Phase::Limited, Reason::LimitReached, message));
    found.report.verdict.until = Some(until);
    found
}

/// Its gates say whether it rolls, or a bypass does.
fn is_due(subject: &Subject, changed: &str, due: Due, mut found: Plan) -> Plan {
    let Due { change, bypass, answer, roll } = due;
    if let Some(bypass) = bypass {
        let message = format!(
            "{} released the config change {} past its gates",
            in_words(&bypass.by),
            bypass.id
        );
        found.tell(Event::HoldBypassed, message);
    }
    if let Some(blocked) = found.hear(subject, &change, answer) {
        found.stand_before(Phase::Waiting, &blocked, format!("{changed}; {}", blocked.why));
        let waiting = roll::waiting(subject.workload, &change, &blocked);
        if let Some((edits, status)) = waiting {
            found.write(edits);
            found.report.hold = Some(status);
        }
        return found;
    }
    found.roll = Some(found.edits.clone().then(roll));
    let message = format!(
        "{changed}; it rolls when another config rollout in the cluster is done (settings.maxConfigRollouts of the chart)"
    );
    found.stand(Verdict::new(Phase::Waiting, Reason::WaitingForSlot, message));
    found
}
