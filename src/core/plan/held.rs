//! A workload whose template is held.

use std::time::Duration;

use crate::{
    api::{OnChange, Phase, Reason, marks},
    core::{
        config::roll,
        gates::change::{BOTH, Blocked, Change, TEMPLATE},
        hold::{
            at_zero, change,
            release::{self, Next, Why},
            state::Hold,
        },
        later,
        notice::Event,
        observed::workload::reference_of,
        plain,
        plan::config,
        planned::Plan,
        report::{self, Verdict},
        request::Release,
        rollout::revisions::Revert,
        subject::Subject,
    },
};

/// A hold that was there before its policy began to observe only: it stays, and nobody judges it.
pub fn observe(subject: &Subject, hold: &Hold, mut found: Plan) -> Plan {
    let stamp;
    (stamp, found) = stamped(subject, hold, found);
    if at_zero::is_lost(subject) {
        return scaled_first(lose(subject, hold, found));
    }
    if let Some(revert) = subject.revisions.revert() {
        return scaled_first(revert_to(subject, &revert, found));
    }
    let change = Change::of_hold(subject, hold, TEMPLATE, stamp.since);
    found.report.hold = Some(release::status(hold, &change));
    let (why, bypass) = release::of_observed(subject, hold);
    let mut found = held(subject, hold, &stamp, (Reason::ObserveMode, why), found);
    found.report.verdict.command = Some(bypass);
    scaled_first(found)
}

/// A held template: whether it may go.
pub fn plan(subject: &Subject, hold: &Hold, mut found: Plan) -> Plan {
    let stamp;
    (stamp, found) = stamped(subject, hold, found);
    let of_nothing = found.memory.hold_of_nothing;
    let reading;
    (reading, found) = config::of_held(subject, found);
    let missing = reading.as_ref().map_or(&[][..], |reading| &reading.comparison.missing);
    let config_waits = reading.as_ref().is_some_and(|reading| reading.comparison.roll.is_some());
    // Reported only, or what cannot be had, does not go along.
    let goes_along = subject.config().filter(|config| {
        config_waits && missing.is_empty() && config.on_change == OnChange::Rollout
    });
    let causes = if config_waits { BOTH } else { TEMPLATE };
    let change = Change {
        // One that gets another config-hash on its way is of no revision.
        spares: subject.revisions.of_template().filter(|_| goes_along.is_none()),
        broken: !missing.is_empty(),
        ..Change::of_hold(subject, hold, causes, stamp.since)
    };
    found.report.hold = Some(release::status(hold, &change));
    found.report.config.changed.push(report::TEMPLATE.to_owned());
    let found = match release::next(subject, &change, of_nothing) {
        Next::Released(release) => released(release, found),
        Next::Lost => lose(subject, hold, found),
        Next::Reverted(revert, answer) => match found.hear(subject, &change, answer) {
            None => {
                let mut found = revert_to(subject, &revert, found);
                if found.memory.writers.conflict(subject.now()) {
                    found.notices.retain(|(event, _)| *event != Event::UpgradeReleased);
                }
                found
            }
            Some(blocked) => {
                blocked_held(subject, hold, &stamp, (&blocked, Why::of_revert(&blocked)), found)
            }
        },
        Next::Kept => {
            let (why, bypass) = release::of_kept(subject, hold);
            let mut found = held(subject, hold, &stamp, (Reason::KeptUngoverned, why), found);
            found.report.verdict.command = Some(bypass);
            found
        }
        Next::Asked(answer) => {
            let blocked = found.hear(subject, &change, answer);
            if blocked.is_none()
                && let (Some(config), Some(reading)) = (goes_along, &reading)
            {
                found.write(roll::carried(subject, config, reading));
            }
            let found = asked(subject, hold, (&change, &stamp), blocked, found);
            with_what_runs(subject, missing, found)
        }
    };
    scaled_first(found)
}

/// What its gates said.
fn asked(
    subject: &Subject,
    hold: &Hold,
    (change, stamp): (&Change, &change::Stamp),
    blocked: Option<Blocked>,
    mut found: Plan,
) -> Plan {
    if let Some(blocked) = blocked {
        let why = Why { sentence: blocked.sentence.clone(), with_cure: blocked.why.clone() };
        return blocked_held(subject, hold, stamp, (&blocked, why), found);
    }
    let (edits, outcome) = release::passed(subject, hold, change);
    found = released(Release::GatesOpen, found);
    found.write(edits);
    if let Some((_, message)) = found.notices.last_mut().filter(|_| outcome.approved_by.is_some()) {
        let (id, authors) = (&hold.id, &hold.authors);
        *message = format!("{message}; change {id} by {authors} was {}", outcome.consent());
    }
    found
}

/// Takes note of which change is held and since when, and tells that it is.
fn stamped(subject: &Subject, hold: &Hold, mut found: Plan) -> (change::Stamp, Plan) {
    (found.memory.hold_of_nothing, found.memory.volatile) = change::note(subject, hold);
    let mut stamp = change::stamp(subject, hold);
    found.write(std::mem::take(&mut stamp.edits));
    found.memory.scaled = stamp.scaled.take();
    // That two undo each other is told in its place.
    if let Some(message) = stamp.told.take()
        && !found.memory.writers.conflict(subject.now())
    {
        found.tell(Event::UpgradeHeld, message);
    }
    (stamp, found)
}

fn held(
    subject: &Subject,
    hold: &Hold,
    stamp: &change::Stamp,
    (reason, why): (Reason, Why),
    mut found: Plan,
) -> Plan {
    let (message, of_change) = release::told(subject, hold, stamp.since, &why, &found.memory);
    if let Some(hold) = &mut found.report.hold {
        hold.message = plain(&of_change).into_owned();
    }
    let until = found.memory.writers.until(subject.now());
    until.into_iter().for_each(|until| found.wake_at(until));
    found.stand(Verdict::new(Phase::Held, reason, message));
    found
}

/// The same where a gate keeps it waiting.
fn blocked_held(
    subject: &Subject,
    hold: &Hold,
    stamp: &change::Stamp,
    (blocked, why): (&Blocked, Why),
    found: Plan,
) -> Plan {
    let mut found = held(subject, hold, stamp, (blocked.reason, why), found);
    let message = std::mem::take(&mut found.report.verdict.message);
    found.stand_before(Phase::Held, blocked, message);
    found
}

fn released(release: Release, mut found: Plan) -> Plan {
    let verdict = format!("{release}: the change is being released");
    found.stand(Verdict::new(Phase::Held, Reason::Releasing, verdict));
    found.write(release::released(release));
    found.notices.retain(|(event, _)| *event != Event::UpgradeHeld);
    found.tell(Event::UpgradeReleased, format!("the held change is released: {release}"));
    found
}

/// Releases a template that is the one again that its pods run.
pub fn revert_to(subject: &Subject, revert: &Revert, mut found: Plan) -> Plan {
    let stands = || subject.workload.marks.config.as_deref();
    let record = found.edits.annotations.get(marks::CONFIG).map_or_else(stands, Option::as_deref);
    let taken_back = roll::taken_back(subject, record, revert);
    found.write(taken_back);
    of_revert(revert, found)
}

/// The same where nothing is known of its config.
pub fn of_revert(revert: &Revert, found: Plan) -> Plan {
    let mut found = released(Release::Reverted, found);
    found.write(release::reverted(revert));
    found
}

/// There is nothing left to hold: the next pod is of the held revision in any case. So that is
/// told, and what comes is followed.
fn lose(subject: &Subject, hold: &Hold, found: Plan) -> Plan {
    let mut found = released(Release::ScaledToZero, found);
    found.write(release::lost(subject));
    let message = format!(
        "ScaledToZero: change {} by {} starts with the next pod without passing its gates: without replicas a StatefulSet forgets which \
         revision its pods ran",
        hold.id, hold.authors
    );
    found.tell(Event::HoldMissed, message);
    found
}

/// What is missing for so long is told.
const BROKEN_AFTER: Duration = Duration::from_secs(5);

/// Tells when what the running pods read is missing: they cannot start again, and the hold keeps
/// the cure out. So it is when the ReplicaSet is gone of what a held Deployment ran.
fn with_what_runs(subject: &Subject, missing: &[String], mut found: Plan) -> Plan {
    if missing.is_empty() {
        found.memory.broken_since = None;
        let forgotten = subject.revisions.replica_sets().is_some_and(<[_]>::is_empty);
        if found.phase() == Phase::Held
            && forgotten
            && !found.memory.broken_told
            && let Some(note) =
                at_zero::note(subject.namespace(), subject.workload, &subject.revisions)
        {
            found.memory.broken_told = true;
            let cure = "Release the held change, or set a higher revisionHistoryLimit";
            found.tell(Event::RunningRevisionBroken, format!("{note}. {cure}"));
        }
        return found;
    }
    let what = format!(
        "{}: {}, which the running pods need to start again. Restore it, or release the held change",
        Event::RunningRevisionBroken.reason(),
        missing.join(", ")
    );
    // With its namespace, what it reads may be deleted a moment before it is.
    let since = found.memory.broken_since.unwrap_or(subject.now());
    found.memory.broken_since = Some(since);
    let due = later(since, BROKEN_AFTER);
    if due > subject.now() {
        found.wake_at(due);
    } else if !found.memory.broken_told {
        found.memory.broken_told = true;
        let message = format!("{what} of {}", reference_of(subject.workload));
        found.tell(Event::RunningRevisionBroken, message);
    }
    found.report.verdict.message = format!("{what}. {}", found.report.verdict.message);
    found
}

/// That somebody has scaled is written before the release.
fn scaled_first(mut found: Plan) -> Plan {
    if found.memory.scaled.is_some()
        && let Some(first) = release::scaled_first(&found.edits)
    {
        found.edits = first;
        found
            .notices
            .retain(|(event, _)| !matches!(event, Event::UpgradeReleased | Event::HoldMissed));
    }
    found
}
