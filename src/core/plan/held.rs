//! A workload whose template is held.

use std::time::Duration;

use crate::{
    api::{OnChange, Phase, Reason, marks},
    core::{
        config::{desired::Missing, roll},
        edits::Edits,
        gates::change::{BOTH, Change, TEMPLATE},
        hold::{
            at_zero, change,
            release::{self, Next},
            state::Hold,
            words::{self, Why},
        },
        later,
        notice::Event,
        observed::workload::reference_of,
        plain,
        plan::{config, offline},
        planned::Plan,
        report::{self, Verdict},
        request::Release,
        rollout::{revisions::Revert, words::consent},
        subject::Subject,
    },
};

/// What becomes of a held template.
enum End {
    /// It stays held: why, and where the workload stands, without the message.
    Stays(Why, Verdict),
    /// It is released.
    Goes(Going),
}

/// A held change that is released.
struct Going {
    release: Release,
    /// What is written besides.
    edits: Edits,
    /// What happened.
    told: Vec<(Event, String)>,
}

impl Going {
    fn new(release: Release) -> Self {
        let told = vec![(Event::UpgradeReleased, words::released(release))];
        Self { release, edits: Edits::default(), told }
    }
}

/// A hold that was there before its policy began to observe only: it stays, and nobody judges it.
pub fn observe(subject: &Subject, hold: &Hold, plan: Plan) -> Plan {
    let (stamp, mut plan) = stamped(subject, hold, plan);
    let end = if at_zero::is_lost(subject) {
        lost(subject, hold)
    } else if let Some(revert) = subject.revisions.revert() {
        End::Goes(reverted(subject, &revert, &plan))
    } else {
        let change = Change::of_hold(subject, hold, TEMPLATE, stamp.since);
        plan.report.hold = Some(release::status(hold, &change));
        let (why, bypass) = words::of_observed(subject, hold);
        End::Stays(why, standing(Reason::ObserveMode).with_command(bypass))
    };
    ended(subject, hold, &stamp, end, plan)
}

/// A held template: whether it may go.
pub fn plan(subject: &Subject, hold: &Hold, plan: Plan) -> Plan {
    let (stamp, plan) = stamped(subject, hold, plan);
    let (reading, mut plan) = config::of_held(subject, plan);
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
    plan.report.hold = Some(release::status(hold, &change));
    plan.report.config.changed.push(report::TEMPLATE.to_owned());
    let next = release::next(subject, &change, plan.memory.hold_of_nothing);
    let asked = matches!(next, Next::Asked(_));
    let end = match next {
        Next::Released(release) => End::Goes(Going::new(release)),
        Next::Lost => lost(subject, hold),
        Next::Reverted(revert, answer) => match plan.hear(subject, &change, answer) {
            None => {
                let mut going = reverted(subject, &revert, &plan);
                // That two undo each other is told in its place.
                if plan.memory.writers.conflict(subject.now()).is_some() {
                    going.told.clear();
                }
                End::Goes(going)
            }
            Some(blocked) => End::Stays(Why::of_revert(&blocked), blocked.verdict(Phase::Held, "")),
        },
        Next::Kept => {
            let (why, bypass) = words::of_kept(subject, hold);
            End::Stays(why, standing(Reason::KeptUngoverned).with_command(bypass))
        }
        Next::Asked(answer) => match plan.hear(subject, &change, answer) {
            Some(blocked) => End::Stays(Why::of(&blocked), blocked.verdict(Phase::Held, "")),
            None if let Some(run) =
                subject.siblings.run.filter(|_| change.goes_offline(subject)) =>
            {
                let hold_of = Some((hold, &change));
                return stays_with(subject, &stamp, offline::ready(subject, run, hold_of, plan));
            }
            None => {
                let carried = goes_along.zip(reading.as_ref());
                let carried = carried.map(|(config, read)| roll::carried(subject, config, read));
                End::Goes(passed(subject, hold, &change, carried.unwrap_or_default()))
            }
        },
    };
    let plan = ended(subject, hold, &stamp, end, plan);
    if asked { with_what_runs(subject, missing, plan) } else { plan }
}

fn standing(reason: Reason) -> Verdict {
    Verdict::new(Phase::Held, reason, "")
}

/// Takes note of which change is held and since when.
fn stamped(subject: &Subject, hold: &Hold, mut plan: Plan) -> (change::Stamp, Plan) {
    (plan.memory.hold_of_nothing, plan.memory.volatile) = change::note(subject, hold);
    let mut stamp = change::stamp(subject, hold);
    plan.write(std::mem::take(&mut stamp.edits));
    plan.memory.scaled.clone_from(&stamp.scaled);
    (stamp, plan)
}

/// Reports and tells what becomes of it.
fn ended(subject: &Subject, hold: &Hold, stamp: &change::Stamp, end: End, mut plan: Plan) -> Plan {
    match end {
        End::Stays(why, verdict) => {
            // That two undo each other is told in its place.
            if let Some(message) = &stamp.told
                && plan.memory.writers.conflict(subject.now()).is_none()
            {
                plan.tell(Event::UpgradeHeld, message.as_str());
            }
            let (message, of_change) = words::told(subject, hold, stamp.since, &why, &plan.memory);
            if let Some(hold) = &mut plan.report.hold {
                hold.message = plain(&of_change).into_owned();
            }
            let until = plan.memory.writers.until(subject.now());
            until.into_iter().for_each(|until| plan.wake_at(until));
            plan.stand(Verdict { message, ..verdict });
            plan
        }
        End::Goes(going) => {
            let mut plan = go(going.release, going.edits, plan);
            match release::scaled_first(&plan.edits).filter(|_| stamp.scaled.is_some()) {
                Some(first) => plan.edits = first,
                None => plan.notices.extend(going.told),
            }
            plan
        }
    }
}

/// It is held until the others of its policy can be stopped too: that it is held is told.
fn stays_with(subject: &Subject, stamp: &change::Stamp, mut plan: Plan) -> Plan {
    if let Some(message) = &stamp.told
        && plan.memory.writers.conflict(subject.now()).is_none()
    {
        plan.tell(Event::UpgradeHeld, message.as_str());
    }
    if let Some(shown) = &mut plan.report.hold {
        shown.message = plain(&plan.report.verdict.message).into_owned();
    }
    plan
}

fn go(release: Release, edits: Edits, mut plan: Plan) -> Plan {
    plan.stand(Verdict::new(Phase::Held, Reason::Releasing, words::releasing(release)));
    plan.write(release::released(release).then(edits));
    plan
}

/// Its gates are open. `carried` is written for config that goes along.
fn passed(subject: &Subject, hold: &Hold, change: &Change, carried: Edits) -> Going {
    let (edits, outcome) = release::passed(subject, hold, change);
    let mut going = Going { edits: carried.then(edits), ..Going::new(Release::GatesOpen) };
    if let Some(consent) = consent(&outcome) {
        let message = words::released_by(Release::GatesOpen, hold, &consent);
        going.told = vec![(Event::UpgradeReleased, message)];
    }
    going
}

/// Its template is the one again that its pods run.
fn reverted(subject: &Subject, revert: &Revert, plan: &Plan) -> Going {
    let stands = subject.workload.marks.config.as_deref();
    let record = plan.edits.wanted(marks::CONFIG).unwrap_or(stands);
    let taken_back = roll::taken_back(subject, record, revert);
    let edits = Edits { config_hash: revert.config_hash.clone(), ..taken_back };
    Going { edits, ..Going::new(Release::Reverted) }
}

/// There is nothing left to hold: the next pod is of the held revision in any case. So that is
/// told, and what comes is followed.
fn lost(subject: &Subject, hold: &Hold) -> End {
    let mut going = Going { edits: release::lost(subject), ..Going::new(Release::ScaledToZero) };
    going.told.push((Event::HoldMissed, words::lost(hold)));
    End::Goes(going)
}

/// Releases the template of a workload that no policy governs, if it is the one again that its pods
/// run.
pub fn let_go(revert: &Revert, plan: Plan) -> Plan {
    let edits = Edits { config_hash: revert.config_hash.clone(), ..Edits::default() };
    let mut plan = go(Release::Reverted, edits, plan);
    plan.notices.extend(Going::new(Release::Reverted).told);
    plan
}

/// What is missing for so long is told.
const BROKEN_AFTER: Duration = Duration::from_secs(5);

/// Tells when what the running pods read is missing: they cannot start again, and the hold keeps
/// the cure out. So it is when the ReplicaSet is gone of what a held Deployment ran.
fn with_what_runs(subject: &Subject, missing: &[Missing], mut plan: Plan) -> Plan {
    if missing.is_empty() {
        plan.memory.broken_since = None;
        let forgotten = subject.revisions.replica_sets().is_some_and(<[_]>::is_empty);
        if plan.phase() == Phase::Held
            && forgotten
            && !plan.memory.broken_told
            && let Some(starts) = at_zero::scaled_up(subject.workload, &subject.revisions)
        {
            plan.memory.broken_told = true;
            let message = words::forgotten(subject.namespace(), starts);
            plan.tell(Event::RunningRevisionBroken, message);
        }
        return plan;
    }
    let what = words::cannot_start_again(missing);
    // With its namespace, what it reads may be deleted a moment before it is.
    let since = plan.memory.broken_since.unwrap_or(subject.now());
    plan.memory.broken_since = Some(since);
    let due = later(since, BROKEN_AFTER);
    if due > subject.now() {
        plan.wake_at(due);
    } else if !plan.memory.broken_told {
        plan.memory.broken_told = true;
        let message = format!("{what} of {}", reference_of(subject.workload));
        plan.tell(Event::RunningRevisionBroken, message);
    }
    if let Some(hold) = &mut plan.report.hold {
        hold.message = plain(&format!("{what}. {}", hold.message)).into_owned();
    }
    plan.report.verdict.message = format!("{what}. {}", plan.report.verdict.message);
    plan
}
