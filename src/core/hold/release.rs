//! A held template: whether it may go, and what becomes of it afterwards.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{HoldStatus, OnChange, Phase, Reason, Remark, WhenUngoverned, marks},
    core::{
        clock, config,
        finding::{Assessment, Edits},
        gates::{
            self,
            app::{self, Question, whom},
            approval::asks_approval,
            change::{BOTH, Change, TEMPLATE},
            gate::Answer,
        },
        hold::{
            at_zero,
            authors::in_words,
            governance, missed,
            state::{Hold, command, replicas_wait, scaled_since},
            volatile,
        },
        later,
        memory::Restamp,
        notice::Event,
        observed::{Pod, Workload, workload::reference_of},
        request::{Purpose, Release},
        rollout::{
            outcome::{Ended, Outcome, template_change},
            progress::{Progress, ended},
            revisions::{Mixed, Revert},
        },
        subject::Subject,
        whole_second,
    },
    marks::{ChangeId, Since, values::Bypassed},
};

/// Assesses a workload whose template is held.
pub fn assess(subject: &Subject, hold: &Hold, found: &mut Assessment) {
    let workload = subject.workload;
    note_change(subject, hold, found);
    let since = stamp(subject, hold, found);
    let reading = match subject.config() {
        Some(config) => config::decide::read(subject, config, found),
        None if subject.ruling.is_unreadable() => None,
        None => {
            config::decide::forget(workload, false, found);
            None
        }
    };
    if let Some(reading) = &reading {
        config::decide::keep_baseline(subject, reading, found);
    }
    let missing =
        reading.as_ref().map(|reading| reading.comparison.missing.clone()).unwrap_or_default();
    let config_waits = reading.as_ref().is_some_and(|reading| reading.comparison.roll.is_some());
    // Reported only, or what cannot be had, does not go along.
    let config_goes = config_waits
        && missing.is_empty()
        && subject.config().is_some_and(|config| config.on_change == OnChange::Rollout);
    let causes = if config_waits { BOTH } else { TEMPLATE };
    let mut change = Change::of_hold(subject, hold, causes, since);
    change.spares = of_held_revision(subject, config_goes);
    change.broken = !missing.is_empty();
    found.hold = Some(status(hold, &change));
    found.changed.push("template".to_owned());

    // Where pods go one by one, some of them are still of the template before.
    if found.memory.hold_of_nothing && whom::turn(subject, causes, change.spares).is_none() {
        return let_through(workload, Release::Unchanged, found);
    }
    if at_zero::is_lost(subject) {
        return lose(subject, hold, found);
    }
    if let Some(revert) = subject.revisions.revert() {
        let answer = ask_withdrawn(subject, &change, &revert);
        match found.hear(answer) {
            None => {
                config::decide::take_back(subject, revert.config_hash.as_deref(), found);
                take_revert(revert, workload, found);
                if found.memory.writers.conflict(subject.now()) {
                    found.notices.retain(|(event, _)| *event != Event::UpgradeReleased);
                }
            }
            Some(blocker) => {
                let why =
                    format!("its template was reverted, and {}", change.why(subject, &blocker));
                stand(subject, hold, since, blocker.reason(), &why, found);
            }
        }
        return;
    }
    if !subject.ruling.spec().needs_holds() {
        return match governance::when_ungoverned(workload) {
            WhenUngoverned::Release => let_through(workload, Release::Ungoverned, found),
            WhenUngoverned::Keep => stand(
                subject,
                hold,
                since,
                Reason::KeptUngoverned,
                &kept_message(subject, hold),
                found,
            ),
        };
    }
    match found.hear(gates::ask(subject, &change)) {
        Some(blocker) => {
            stand(subject, hold, since, blocker.reason(), &change.why(subject, &blocker), found);
        }
        None => {
            if let Some(reading) = reading.filter(|_| config_goes) {
                config::decide::carry(subject, &reading, found);
            }
            let mut outcome = Outcome::on(workload)
                .begun(template_change(workload, subject.key()), subject.now());
            outcome.follow(subject.siblings.previous, true);
            // The release of one that is partitioned by its user beyond every ordinal changes no
            // spec, and so no generation.
            let changes_spec = workload.rollout.ordinals.declared < i32::MAX as u32;
            outcome.generation = changes_spec.then_some(workload.generation + 1);
            let approver = change.consent.by().filter(|_| asks_approval(subject, causes));
            outcome.approved_by = approver.map(str::to_owned);
            found.edits.set(workload, marks::ROLLOUT, outcome.write());
            let_through(workload, Release::GatesOpen, found);
            if let Some((_, message)) =
                found.notices.last_mut().filter(|_| outcome.approved_by.is_some())
            {
                *message = format!(
                    "{message}; change {} by {} was {}",
                    hold.id,
                    hold.authors,
                    outcome.consent()
                );
            }
            if let Some(turn) = whom::turn(subject, causes, change.spares) {
                // Its id and its author go with the walk.
                let mark = Since::Change {
                    id: hold.id.clone(),
                    at: Some(whole_second(since)),
                    author: Some(hold.by.as_str().into()),
                };
                found.edits.set(workload, marks::HOLD_SINCE, mark.to_string());
                found.edits.set(workload, marks::PARTITION, turn.step.to_string());
            }
        }
    }
    if missing.is_empty() {
        found.memory.broken_since = None;
        let forgotten = subject.revisions.replica_sets().is_some_and(<[_]>::is_empty);
        if found.phase == Phase::Held && forgotten && !found.memory.broken_told {
            tell_forgotten(subject, found);
        }
    } else {
        tell_broken(subject, &missing, found);
    }
}

/// The revision of the held template, if some pods are of it already. One that gets another
/// config-hash on its way is none.
fn of_held_revision<'a>(subject: &Subject<'a>, config_goes: bool) -> Option<&'a str> {
    subject.revisions.of_template().filter(|_| !config_goes)
}

/// A revert ends the pods of what was withdrawn, and those that its manifest asks for no longer: a
/// Ready one of them that says no is waited for.
fn ask_withdrawn(subject: &Subject, change: &Change, revert: &Revert) -> Answer {
    let Some(gate) = subject.ruling.spec().app_gate(TEMPLATE) else { return Answer::open() };
    let scaled = whom::scaled_down(subject.workload, subject.pods);
    let withdrawn = |pod: &Pod| pod.revision.as_deref() != revert.revision.as_deref();
    let ends = |pod: &&Pod| withdrawn(pod) || scaled.iter().any(|other| other.uid == pod.uid);
    let there = subject.pods.iter().copied().filter(|pod| pod.ready && pod.terminating.is_none());
    let question = Question {
        about: change.about(None),
        since: change.since,
        pods: there.filter(ends).collect(),
        reverts: true,
        broken: false,
    };
    app::ask_about(subject, gate, &question)
}

/// The change as the status shows it.
fn status(hold: &Hold, change: &Change) -> HoldStatus {
    HoldStatus {
        id: hold.id.to_string(),
        by: hold.by.clone(),
        authors: hold.authors.names().iter().take(HoldStatus::AUTHORS_LIMIT).cloned().collect(),
        cause: change.causes.to_vec(),
        approved_by: change.consent.by().unwrap_or_default().to_owned(),
    }
}

/// A hold that was there before its policy began to observe only: it stays, and nobody judges it.
pub fn stand_observed(subject: &Subject, hold: &Hold, found: &mut Assessment) {
    if at_zero::is_lost(subject) {
        return lose(subject, hold, found);
    }
    if let Some(revert) = subject.revisions.revert() {
        config::decide::take_back(subject, revert.config_hash.as_deref(), found);
        return take_revert(revert, subject.workload, found);
    }
    let since = stamp(subject, hold, found);
    found.hold = Some(status(hold, &Change::of_hold(subject, hold, TEMPLATE, since)));
    let id = &subject.workload.id;
    let why = format!(
        "its policy has mode: Observe, so no gate is asked and nothing is released. Set mode: Enforce to have the gates asked, or revert the change: kubectl lockkeeper undo -n {} {}. Or, with the verb bypass: {}",
        subject.namespace().name,
        reference_of(subject.workload),
        command(subject.namespace(), id, marks::BYPASS, &hold.id)
    );
    stand(subject, hold, since, Reason::ObserveMode, &why, found);
}

/// There is nothing left to hold: the next pod is of the held revision in any case. So that is
/// told, and what comes is followed.
fn lose(subject: &Subject, hold: &Hold, found: &mut Assessment) {
    let workload = subject.workload;
    let outcome =
        Outcome::on(workload).begun(template_change(workload, subject.key()), subject.now());
    found.edits.set(workload, marks::ROLLOUT, outcome.write());
    let_through(workload, Release::ScaledToZero, found);
    let message = format!(
        "ScaledToZero: change {} by {} starts with the next pod without passing its gates: without replicas a StatefulSet forgets which \
         revision its pods ran",
        hold.id, hold.authors
    );
    found.notices.push((Event::HoldMissed, message));
}

/// Takes the hold off.
pub fn let_through(workload: &Workload, release: Release, found: &mut Assessment) {
    found.edits.remove(workload, marks::HOLD);
    found.edits.remove(workload, marks::HOLD_SINCE);
    found.edits.purpose = Some(Purpose::Release(release));
    found.stand(Phase::Held, Reason::Releasing, format!("{release}: the change is being released"));
    found.notices.retain(|(event, _)| *event != Event::UpgradeHeld);
    found.notices.push((Event::UpgradeReleased, format!("the held change is released: {release}")));
}

/// Takes the hold off a template that is the one again that its pods run.
pub fn take_revert(revert: Revert, workload: &Workload, found: &mut Assessment) {
    found.edits.config_hash = revert.config_hash;
    let_through(workload, Release::Reverted, found);
}

/// Takes note of which change it is, and of how it differs from the one before.
fn note_change(subject: &Subject, hold: &Hold, found: &mut Assessment) {
    let template = &subject.workload.template;
    let before = subject.memory.template.as_ref();
    let same = before.is_some_and(|before| before.digest == template.digest);
    match &subject.memory.hold {
        None => {
            // Nothing may have happened in between that was not seen.
            let next =
                before.is_some_and(|before| ChangeId::Template(before.generation + 1) == hold.id);
            // What we hold again ourselves is written down as such in the same write.
            let stamped = subject.workload.marks.hold_since.get().and_then(Since::id);
            let ours = stamped == Some(&hold.id);
            found.memory.hold_of_nothing = same && next && !ours;
        }
        Some(id) if *id != hold.id => {
            found.memory.hold_of_nothing &= same;
            if let Some(keys) =
                before.and_then(|before| volatile::changed_annotations(before, template))
            {
                let manager =
                    subject.workload.last_writer.as_ref().map(|writer| in_words(&writer.manager));
                let manager = manager
                    .map_or_else(String::new, |manager| format!(" (field manager {manager})"));
                found.memory.volatile.push(Restamp {
                    at: subject.now(),
                    keys,
                    writer: format!("{}{manager}", in_words(&hold.by)),
                });
            }
        }
        Some(_) => {}
    }
    volatile::recent(&mut found.memory.volatile, subject.now());
}

/// Since when it is held: stamped with the id when that is first seen, so that each change is told
/// once.
fn stamp(subject: &Subject, hold: &Hold, found: &mut Assessment) -> Timestamp {
    let workload = subject.workload;
    // One that names an author is of the change before, for which pods went one by one.
    let stamped = match workload.marks.hold_since.get() {
        Some(Since::Change { id, at: Some(at), author: None }) => Some((id, *at)),
        _ => None,
    };
    // A time that is still to come was noted by a clock that was ahead: waiting for it could take
    // hours.
    let known =
        stamped.filter(|(_, at)| *at <= subject.now() && !workload.marks.pending_config.stands());
    let since = known.map_or(subject.now(), |(_, at)| at);
    if known.is_none_or(|(id, _)| *id != hold.id) {
        let mark = Since::of(hold.id.clone(), whole_second(since));
        found.edits.set(workload, marks::HOLD_SINCE, mark.to_string());
        let again = if known.is_some() {
            "changed again, so approvals of the previous change are void: "
        } else {
            ""
        };
        let message = format!(
            "{again}the template that {} changed is held (id {}); the pods stay as they are{}",
            hold.authors,
            hold.id,
            replicas_wait(workload).map_or_else(String::new, |wait| format!(". {wait}"))
        );
        // That two undo each other is told in its place.
        if !found.memory.writers.conflict(subject.now()) {
            found.notices.push((Event::UpgradeHeld, message));
        }
    }
    found.edits.remove(workload, marks::PENDING_CONFIG);
    // Until that is written it is remembered: the number that ran before may be back when the write
    // arrives.
    let known =
        workload.marks.declared_replicas.get().map(|mark| (hold.id.clone(), mark.to_string()));
    let remembered = known.is_some() && found.memory.scaled == known;
    let noted = scaled_since(workload, remembered);
    found.memory.scaled = known.filter(|_| noted.is_some());
    if let Some(mark) = noted {
        found.edits.set(workload, marks::DECLARED_REPLICAS, mark);
    }
    since
}

/// That somebody has scaled is written before the release: with it, admission goes by what stands
/// there already.
pub fn note_scaled_first(found: &mut Assessment) {
    if found.memory.scaled.is_none() || !matches!(found.edits.purpose, Some(Purpose::Release(_))) {
        return;
    }
    let annotations =
        found.edits.annotations.iter().filter(|(mark, _)| **mark == marks::DECLARED_REPLICAS);
    found.edits = Edits {
        annotations: annotations.map(|(mark, value)| (*mark, value.clone())).collect(),
        ..Edits::default()
    };
    found.notices.retain(|(event, _)| !matches!(event, Event::UpgradeReleased | Event::HoldMissed));
}

fn stand(
    subject: &Subject,
    hold: &Hold,
    since: Timestamp,
    reason: Reason,
    why: &str,
    found: &mut Assessment,
) {
    let mut message = format!("changed by {}, held since {}: {why}", hold.authors, clock(since));
    let conflict = found.memory.writers.message(subject.now());
    found.memory.writers.until(subject.now()).into_iter().for_each(|until| found.wake_at(until));
    for note in [
        replicas_wait(subject.workload),
        at_zero::note(subject.namespace(), subject.workload, &subject.revisions),
        mid_rollout(subject),
        conflict.or_else(|| volatile::message(&found.memory.volatile)),
    ]
    .into_iter()
    .flatten()
    {
        message += ". ";
        message += &note;
    }
    found.stand(Phase::Held, reason, message);
}

fn kept_message(subject: &Subject, hold: &Hold) -> String {
    format!(
        "its policy no longer holds changes, and has whenUngoverned: Keep. With the verb bypass: {}",
        command(subject.namespace(), &subject.workload.id, marks::BYPASS, &hold.id)
    )
}

/// A hold in the middle of another rollout leaves its pods mixed.
fn mid_rollout(subject: &Subject) -> Option<String> {
    let remark = Remark::HeldMidRollout;
    Some(match subject.revisions.mixed(subject.pods)? {
        Mixed::Newer(pods) => format!(
            "{remark}, {}: the previous rollout was not complete. If these pods die, they come back with an older revision: {}",
            Remark::MixedRevisions,
            pods.join(", ")
        ),
        Mixed::Revisions(many) => {
            format!(
                "{remark}: the previous rollout was not complete. Pods of {many} revisions stay until the release"
            )
        }
    })
}

/// What is missing for so long is told.
const BROKEN_AFTER: Duration = Duration::from_secs(5);

/// What the running pods read is missing: they cannot start again, and the hold keeps the cure out.
fn tell_broken(subject: &Subject, missing: &[String], found: &mut Assessment) {
    let what = format!(
        "{}: {}, which the running pods need to start again. Restore it, or release the held change",
        Event::RunningRevisionBroken.reason(),
        missing.join(", ")
    );
    // With its namespace, what it reads may be deleted a moment before it is.
    let due = later(*found.memory.broken_since.get_or_insert(subject.now()), BROKEN_AFTER);
    if due > subject.now() {
        found.wake_at(due);
    } else if !found.memory.broken_told {
        found.memory.broken_told = true;
        found.notices.push((
            Event::RunningRevisionBroken,
            format!("{} of {}", what, reference_of(subject.workload)),
        ));
    }
    found.message = format!("{what}. {}", found.message);
}

/// The ReplicaSet of what a held Deployment ran is gone.
fn tell_forgotten(subject: &Subject, found: &mut Assessment) {
    if let Some(note) = at_zero::note(subject.namespace(), subject.workload, &subject.revisions) {
        found.memory.broken_told = true;
        found.notices.push((
            Event::RunningRevisionBroken,
            format!("{note}. Release the held change, or set a higher revisionHistoryLimit"),
        ));
    }
}

/// Follows a rollout that was let through, by us or by a bypass, or that should not have been; what
/// is known of it now.
pub fn follow(subject: &Subject, found: &mut Assessment) -> Outcome {
    let (workload, outcome) = (subject.workload, &Outcome::on(subject.workload));
    found.edits.remove(workload, marks::HOLD);
    if !workload.marks.pending_config.stands() && workload.rollout.ordinals.step.is_none() {
        found.edits.remove(workload, marks::HOLD_SINCE);
    }
    let mut newest = outcome.clone();
    newest.settle(workload, subject.key());
    if let Some(Bypassed { id, by }) = subject.bypassed_by() {
        // That of a config change goes with the rollout that it lets through.
        let of_config = workload.marks.pending_config.get() == Some(id);
        if !of_config {
            found.edits.remove(workload, marks::BYPASSED_BY);
        }
        if id.is_of_template() {
            newest = newest.begun(template_change(workload, subject.key()), subject.now());
            newest.bypassed_by = Some(by.to_string());
        }
        if !of_config {
            found.notices.push((
                Event::HoldBypassed,
                format!("{} released the held change {id} past its gates", in_words(by)),
            ));
        }
    } else if let Some(cause) = missed::find(subject, outcome) {
        newest = newest.begun(template_change(workload, subject.key()), subject.now());
        found.notices.push((Event::HoldMissed, cause.message(workload.id.kind)));
    }
    if newest.is_of(workload, subject.key())
        && let Some(now) = ended(&newest, subject.progress)
    {
        (newest.ended, newest.at, newest.generation) =
            (now, Some(whole_second(subject.now())), None);
        found.notices.push(match now {
            Ended::Failed => (Event::RolloutFailed, found.message.clone()),
            _ if found.reason == Reason::StuckTerminating => {
                (Event::RolloutDone, format!("the rollout is done; {}", found.message))
            }
            _ => (
                Event::RolloutDone,
                "the rollout is done: every pod runs the newest template and config".to_owned(),
            ),
        });
    }
    // Where the controller says it itself, nobody else needs to. What is noted follows every
    // rollout: a revert to it would be done at once.
    let noted = newest.done.is_some() || newest.left;
    let worth_it = subject.ruling.spec().needs_holds()
        || newest.ended != outcome.ended
        || noted
        || !workload.rollout.complete;
    if subject.progress == Progress::Done
        && worth_it
        && subject.revisions.newest.is_some()
        && newest.done.as_deref() != subject.revisions.newest
    {
        (newest.done, newest.done_at) =
            (subject.revisions.newest.map(str::to_owned), Some(whole_second(subject.now())));
    }
    let is_done = newest.done.as_deref() == subject.revisions.newest;
    match subject.progress {
        Progress::Done if is_done => newest.left = false,
        Progress::UnderWay(_) | Progress::Failed(_) | Progress::Held(_)
            if newest.has_moved(workload, subject.pods) =>
        {
            newest.left |= !is_done
        }
        _ => {}
    }
    // What was rolled out before it was known to follow is taken as followed.
    let begins = newest.change != outcome.change;
    newest.follow(subject.siblings.previous, begins);
    if subject.progress == Progress::Done
        && newest.ended != Ended::Done
        && !newest.is_of(workload, subject.key())
    {
        // Somebody reverted to what ran before: that which failed is gone.
        (newest.change, newest.template, newest.ended, newest.at) =
            (None, None, Ended::UnderWay, None);
    }
    if newest != *outcome {
        found.edits.set(workload, marks::ROLLOUT, newest.write());
    }
    newest
}
