//! What is to be done about the config that a workload reads: adopt it, wait, or roll.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{ConfigSpec, HoldStatus, Mode, OnChange, Phase, Reason, marks},
    core::{
        clock,
        config::{
            change::{Comparison, compare},
            desired::{self, Desired},
            freshness::created_after,
            pending,
            record::Record,
            references,
        },
        finding::{Assessment, Edits},
        gates::{
            self,
            app::whom,
            approval::asks_approval,
            blocker::GateName,
            change::{CONFIG, Change},
        },
        hold::{authors::in_words, governance},
        later,
        notice::Event,
        observed::{Pod, Reference, UserHold, Workload, workload::reference_of},
        request::{Cause, Purpose},
        rollout::{
            limits,
            outcome::{Ended, Outcome, Previous, template_change},
            progress::{Progress, is_old},
            turn::{self, Stage},
            words::held_message,
        },
        subject::Subject,
        whole_second,
    },
    marks::{Since, values::Bypassed},
};

/// How long a manager that took our marks away is left alone.
const REVERTED_PAUSE: Duration = Duration::from_secs(3600);

/// What the pods read, compared with what they started with.
pub struct Reading {
    /// What each reference is now.
    pub desired: Vec<(Reference, Desired)>,
    /// What was recorded.
    pub record: Record,
    /// How the two differ.
    pub comparison: Comparison,
}

impl Reading {
    /// Of a workload whose config is not looked at.
    fn none() -> Self {
        let comparison = Comparison {
            record: Record::default(),
            all_fresh: true,
            roll: None,
            stale: false,
            missing: Vec::new(),
            behind: std::collections::BTreeSet::new(),
            changed: Vec::new(),
            last_seen: None,
            unverified: Vec::new(),
        };
        Self { desired: Vec::new(), record: Record::default(), comparison }
    }
}

/// A rollout that is under way, or failed, names what its pods need and is not there.
fn name_missing(missing: &[String], found: &mut Assessment) {
    if !missing.is_empty() && matches!(found.phase, Phase::Rolling | Phase::Failed) {
        found.message = format!("{}, which its pods need; {}", missing.join(", "), found.message);
    }
}

/// Takes off what is written for config, where a policy does not ask for it. One that restarts with
/// the step before it is rolled all the same.
pub fn forget(workload: &Workload, restarts: bool, found: &mut Assessment) {
    found.edits.remove(workload, marks::CONFIG);
    if !restarts {
        found.edits.remove(workload, marks::ROLLOUTS);
        found.edits.remove(workload, marks::PENDING_CONFIG);
    }
    found.memory.had_record = false;
}

/// Reads and compares; a workload without a record is adopted instead.
pub fn read(subject: &Subject, config: &ConfigSpec, found: &mut Assessment) -> Option<Reading> {
    let workload = subject.workload;
    let desired = resolve(subject, config, subject.reads);
    let record = match Record::parse(workload.marks.config.as_deref(), &workload.uid, subject.key())
    {
        Ok(record) => record,
        Err(_) => {
            adopt(subject, &desired, found);
            return None;
        }
    };
    found.memory.had_record = true;
    let comparison = compare(&record, &desired, workload, subject.pods, subject.revisions.newest);
    found.stale = comparison.stale;
    found.unverified.clone_from(&comparison.unverified);
    found.changed = if comparison.stale { comparison.changed.clone() } else { Vec::new() };
    if let Some(seen) = comparison
        .last_seen
        .filter(|seen| found.memory.changed_at.is_none_or(|known| known < *seen))
    {
        found.memory.changed_at = Some(seen);
    }
    Some(Reading { desired, record, comparison })
}

fn resolve(
    subject: &Subject,
    config: &ConfigSpec,
    reads: &[Reference],
) -> Vec<(Reference, Desired)> {
    let references =
        references::effective(reads, config, subject.siblings.group, subject.namespace());
    let resolve = |reference: Reference| {
        let desired = desired::resolve(
            &reference,
            subject.namespace(),
            subject.key(),
            subject.around.watched,
        );
        (reference, desired)
    };
    references.into_iter().map(resolve).collect()
}

/// Assesses the config of a workload that is not held.
pub fn assess(subject: &Subject, config: &ConfigSpec, outcome: &Outcome, found: &mut Assessment) {
    let workload = subject.workload;
    let Some(mut reading) = read(subject, config, found) else { return };
    restart(subject, outcome, &mut reading, found);
    let Reading { record, comparison, .. } = &reading;
    name_missing(&comparison.missing, found);
    let ours = record.hash.is_some() && record.hash == workload.template.config_hash;
    let ended = outcome.change.is_some()
        && outcome.change == record.hash
        && outcome.ended != Ended::UnderWay;
    found.takes_slot =
        ours && !ended && matches!(subject.progress, Progress::UnderWay(_) | Progress::Unobserved);
    if found.takes_slot && found.phase == Phase::Rolling && found.reason == Reason::RolloutUnderWay
    {
        found.reason = Reason::ConfigRollout;
    }
    if comparison.roll != Some(Cause::Previous) {
        keep_baseline(subject, &reading, found);
    }
    if comparison.roll.is_none() {
        withdraw(workload, found);
    }
    if comparison.all_fresh {
        if !comparison.missing.is_empty() && found.phase == Phase::UpToDate {
            found.stand(
                Phase::Waiting,
                Reason::ConfigMissing,
                missing_message(&comparison.missing),
            );
        }
        return;
    }
    if comparison.roll.is_none() {
        return stale_without_roll(subject, &reading, ours, found);
    }
    decide_roll(subject, config, &reading, outcome, found);
}

/// Rolls a workload without config when the step before it was rolled out, if it restarts with
/// that.
pub fn follow_previous(subject: &Subject, outcome: &Outcome, found: &mut Assessment) {
    let mut reading = Reading::none();
    restart(subject, outcome, &mut reading, found);
    if reading.comparison.roll.is_some() && !subject.workload.deleting {
        decide_roll(subject, &ConfigSpec::default(), &reading, outcome, found);
    } else if matches!(subject.siblings.previous, Previous::Done(_))
        && subject.workload.rollout.observed
    {
        withdraw(subject.workload, found);
    }
}

/// The step before was rolled out since this one last followed it.
fn restart(subject: &Subject, outcome: &Outcome, reading: &mut Reading, found: &mut Assessment) {
    let missed =
        matches!(subject.siblings.previous, Previous::Done(newest) if outcome.has_missed(newest));
    if reading.comparison.roll.is_none() && missed {
        reading.comparison.roll = Some(Cause::Previous);
        reading.comparison.all_fresh = false;
        reading.comparison.changed.push("the previous step".to_owned());
        found.changed.clone_from(&reading.comparison.changed);
    }
}

/// A config change that waited no longer differs.
fn withdraw(workload: &Workload, found: &mut Assessment) {
    found.edits.remove(workload, marks::PENDING_CONFIG);
    // While pods go one by one it tells which change that is.
    if workload.rollout.ordinals.step.is_none() {
        found.edits.remove(workload, marks::HOLD_SINCE);
    }
}

/// Writes what is newly known of what the pods started with.
pub fn keep_baseline(subject: &Subject, reading: &Reading, found: &mut Assessment) {
    let (comparison, workload) = (&reading.comparison, subject.workload);
    let newest = match comparison.all_fresh {
        true => comparison.record.settled(&reading.desired, workload.template.config_hash.clone()),
        false => comparison.record.clone(),
    };
    if !newest.says_the_same(&reading.record) {
        found.edits.set(workload, marks::CONFIG, newest.write(&workload.uid, subject.key()));
    }
}

/// A workload without a record takes what is there.
fn adopt(subject: &Subject, desired: &[(Reference, Desired)], found: &mut Assessment) {
    let workload = subject.workload;
    if subject.memory.had_record {
        found.memory.had_record = false;
        let manager = workload
            .last_writer
            .as_ref()
            .map_or_else(|| "somebody".to_owned(), |writer| writer.manager.clone());
        let before = subject.memory.reverted.as_ref().filter(|(who, _, last)| {
            *who == manager && later(*last, REVERTED_PAUSE) > subject.now()
        });
        found.memory.reverted =
            Some((manager, before.map_or(1, |(_, times, _)| times + 1), subject.now()));
    }
    if let Some((manager, times, last)) =
        found.memory.reverted.clone().filter(|(_, times, _)| *times >= 2)
    {
        let until = later(last, REVERTED_PAUSE);
        if until > subject.now() {
            let message = format!(
                "{manager} removed Lockkeeper's annotations {times} times, so no config change rolls this workload until {}. Configure it to leave annotations under {} alone (Argo CD: no Replace=true for this workload)",
                clock(until),
                marks::PREFIX
            );
            if subject.memory.last != Some((Phase::Waiting, Reason::MarksReverted)) {
                found.notices.push((Event::MarksReverted, message.clone()));
            }
            found.stand(Phase::Waiting, Reason::MarksReverted, message);
            // It would only be taken away again.
            found.edits = Edits::default();
            return found.wake_at(until);
        }
        found.memory.reverted = None;
    }
    // The pods are seen on another watch than the workload: none but some that end, where there
    // should be others, is not yet an answer.
    let seen =
        subject.pods.iter().any(|pod| pod.terminating.is_none()) || workload.rollout.current == 0;
    let verified = |desired: &Desired| {
        seen && subject
            .pods
            .iter()
            .all(|pod| pod.terminating.is_some() || created_after(pod, &desired.changed))
    };
    let record = Record::adopt(desired, workload.template.config_hash.clone(), verified);
    found.unverified = record
        .references
        .iter()
        .filter(|(_, recorded)| recorded.unverified)
        .map(|(name, _)| name.clone())
        .collect();
    found.edits.set(workload, marks::CONFIG, record.write(&workload.uid, subject.key()));
    found.edits.purpose = Some(Purpose::Adopt);
    let mut missing: Vec<String> = Vec::new();
    for what in desired
        .iter()
        .filter(|(reference, _)| reference.own)
        .filter_map(|(_, desired)| desired.digest.as_ref().err())
    {
        if !missing.contains(what) {
            missing.push(what.clone());
        }
    }
    if !missing.is_empty() && found.phase == Phase::UpToDate {
        found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&missing));
    }
    name_missing(&missing, found);
}

fn stale_without_roll(subject: &Subject, reading: &Reading, ours: bool, found: &mut Assessment) {
    let Reading { record, comparison, .. } = reading;
    if comparison.stale && !ours && record.hash.is_some() && found.phase == Phase::UpToDate {
        let what = comparison.changed.join(", ");
        let message = format!(
            "a user undid the rollout for {what}, so pods may run on old config. Lockkeeper leaves this alone. Change the config back, or restart the pods: kubectl rollout restart {}",
            reference_of(subject.workload)
        );
        found.stand(Phase::Waiting, Reason::RolledBack, message);
    } else if comparison.stale && found.phase == Phase::UpToDate {
        found.stand(Phase::Rolling, Reason::ConfigRollout, "pods are being replaced");
    } else if !comparison.missing.is_empty() && found.phase == Phase::UpToDate {
        found.stand(Phase::Waiting, Reason::ConfigMissing, missing_message(&comparison.missing));
    }
}

fn decide_roll(
    subject: &Subject,
    config: &ConfigSpec,
    reading: &Reading,
    outcome: &Outcome,
    found: &mut Assessment,
) {
    let Reading { desired, comparison, .. } = reading;
    let what = comparison.changed.join(", ");
    let changed = comparison.what_changed();
    let first = subject.memory.differs_since.unwrap_or(subject.now());
    if subject.memory.differs_since.is_none() {
        found.notices.push((
            Event::ConfigChanged,
            format!("{what} changed, and the workload has not been rolled for it yet"),
        ));
    }
    found.memory.differs_since = Some(first);
    if !comparison.missing.is_empty() {
        return found.stand(
            Phase::Waiting,
            Reason::ConfigMissing,
            missing_message(&comparison.missing),
        );
    }
    let report = config.on_change == OnChange::Report && comparison.roll != Some(Cause::Previous);
    if subject.ruling.observes() || report {
        let (reason, why) = match subject.ruling.spec().mode {
            Mode::Observe => (Reason::ObserveMode, "spec.mode is Observe"),
            Mode::Enforce | Mode::Freeze => (Reason::ReportOnly, "spec.config.onChange is Report"),
        };
        let (since, id) = pending::change(subject, &reading.desired);
        let change = Change::of_config(subject, &id, since);
        let is_timely = |gate: GateName| gate < GateName::Volumes;
        let blocked =
            gates::each(subject, &change, is_timely).find_map(|(_, answer)| answer.blocker);
        if let Some(blocker) = blocked {
            let waits_for = blocker.reason();
            let message = format!("{changed}; it would wait ({}), but {why}", waits_for.as_str());
            return found.stand(Phase::WouldHold, reason, message);
        }
        let asked = subject.ruling.spec().app_gate(CONFIG).map_or("", |_| " when its pods agree");
        return found.stand(
            Phase::WouldRoll,
            reason,
            format!("{changed}; it would be rolled{asked}, but {why}"),
        );
    }
    match subject.progress {
        Progress::Unobserved => {
            // Nothing is known of the gates that was not known before.
            found.talk.go_on();
            found.closed = subject.memory.gate.map(|(reason, _)| reason);
            found.hold.clone_from(&subject.memory.shown);
            return;
        }
        Progress::UnderWay(_) | Progress::Failed(_) if covered(subject, desired) => {
            if found.phase != Phase::Failed {
                found.stand(
                    Phase::Rolling,
                    Reason::CoveredByRollout,
                    format!(
                        "the rollout in progress starts its pods with the new {what}; {}",
                        found.message
                    ),
                );
            }
            return;
        }
        _ => {}
    }
    let stage = turn::stage(subject.workload, subject.pods, subject.revisions.newest);
    if matches!(stage, Some(Stage::Next(_)))
        || (stage == Some(Stage::Renewing) && found.phase != Phase::Failed)
    {
        let message = format!(
            "{changed}; it is rolled after the previous change has reached all pods; {}",
            found.message
        );
        return found.stand(Phase::Rolling, Reason::CoveredByRollout, message);
    }
    if let Some(hold @ (UserHold::Paused | UserHold::OnDelete)) = subject.workload.rollout.held {
        let message =
            format!("{changed}; {}", held_message(hold, "its next pods start with the new config"));
        return found.stand(Phase::WaitsForUser, hold.reason(), message);
    }

    let quiet_from = comparison.last_seen.map_or(first, |seen| seen.max(first));
    let due =
        later(quiet_from, config.settle.length()).min(later(first, config.settle_limit.length()));
    if due > subject.now() {
        found.wake_at(due);
        found.closed = subject.memory.gate.map(|(reason, _)| reason);
        let message =
            format!("{changed}; rolls at {} if nothing else changes until then", clock(due));
        return found.stand(Phase::Settling, Reason::ConfigChanged, message);
    }
    let times =
        limits::within_window(subject.workload.marks.rollouts.get(), &config.limit, subject.now());
    if let Some(next) = limits::next_allowed(&times, &config.limit) {
        found.wake_at(next);
        let message = format!(
            "{changed}, but it had {} config rollouts within {}, as many as spec.config.limit allows; it rolls at {}",
            times.len(),
            config.limit.window,
            clock(next)
        );
        if subject.memory.last.map(|(phase, _)| phase) != Some(Phase::Limited) {
            found.notices.push((Event::RolloutLimited, message.clone()));
        }
        return found.stand(Phase::Limited, Reason::LimitReached, message);
    }
    if let Some((reason, why)) = wait_for_gates(subject, reading, quiet_from, found) {
        return found.stand(Phase::Waiting, reason, format!("{changed}; {why}"));
    }
    found.roll = roll(subject, reading, &times, outcome, &found.edits);
    if let Some(roll) = &mut found.roll {
        let ordinals = subject.workload.rollout.ordinals;
        let turn = whom::turn(subject, CONFIG, None).map(|turn| turn.step);
        let walked = subject
            .ruling
            .spec()
            .app_gate(CONFIG)
            .is_some_and(|gate| turn::is_walked(gate, subject.workload));
        // What stands of a walk before was for the change before: it would let pods through that
        // were not asked about this one.
        match turn.or_else(|| ordinals.step.filter(|_| walked).map(|_| ordinals.declared)) {
            Some(step) => {
                let (since, id) = pending::change(subject, &reading.desired);
                roll.set(subject.workload, marks::PARTITION, step.to_string());
                // The change that the pods go for, one by one.
                let since = Since::of(id, whole_second(since));
                roll.set(subject.workload, marks::HOLD_SINCE, since.to_string());
            }
            None => roll.remove(subject.workload, marks::PARTITION),
        }
    }
    found.stand(
        Phase::Waiting,
        Reason::WaitingForSlot,
        format!("{changed}; it rolls when another config rollout in the cluster is done (settings.maxConfigRollouts of the chart)"),
    );
}

/// Somebody's rollout is under way, and all its pods that there are have started with what is
/// desired: those to come will too.
fn covered(subject: &Subject, desired: &[(Reference, Desired)]) -> bool {
    let is_old = |pod: &Pod| is_old(subject.workload, pod, subject.revisions.newest);
    let old = |pod: &&&Pod| is_old(pod) && pod.terminating.is_none();
    let to_come = subject.pods.iter().any(|pod| old(&pod))
        || subject.workload.rollout.updated < subject.workload.rollout.wanted;
    let mut of_new = subject.pods.iter().filter(|pod| !old(pod) && pod.terminating.is_none());
    to_come
        && of_new.all(|pod| desired.iter().all(|(_, desired)| created_after(pod, &desired.changed)))
}

/// The gate that keeps a change of config alone waiting, if one does; then the change gets an id,
/// by which it is approved.
fn wait_for_gates(
    subject: &Subject,
    reading: &Reading,
    last: Timestamp,
    found: &mut Assessment,
) -> Option<(Reason, String)> {
    let workload = subject.workload;
    let (since, id) = pending::change(subject, &reading.desired);
    if let Some(Bypassed { by, .. }) = subject.bypassed_by().filter(|bypass| bypass.id == id) {
        found.notices.push((
            Event::HoldBypassed,
            format!("{} released the config change {id} past its gates", in_words(by)),
        ));
        return None;
    }
    let change = Change { last_change: last, ..Change::of_config(subject, &id, since) };
    let blocker = found.hear(gates::ask(subject, &change))?;
    let waits = Some((blocker.reason(), change.why(subject, &blocker)));
    // If they agree at once, nothing needs to be written down.
    let at_once = blocker.reason() == Reason::AskingPods && !workload.marks.pending_config.stands();
    // While pods go one by one, what is written down is for which change.
    if at_once || governance::holds_back(workload) {
        return waits;
    }
    found.hold = Some(HoldStatus {
        id: id.to_string(),
        by: String::new(),
        authors: Vec::new(),
        cause: change.causes.to_vec(),
        approved_by: change.consent.by().unwrap_or_default().to_owned(),
    });
    found.edits.set(workload, marks::PENDING_CONFIG, id.to_string());
    found.edits.set(workload, marks::HOLD_SINCE, Since::Config(since).to_string());
    waits
}

/// The edits that roll, in addition to those that are to be made anyway.
fn roll(
    subject: &Subject,
    reading: &Reading,
    times: &[Timestamp],
    outcome: &Outcome,
    edits: &Edits,
) -> Option<Edits> {
    let (workload, cause) = (subject.workload, reading.comparison.roll?);
    let mut edits = edits.clone();
    let hash = pending::config_hash(subject, &reading.desired);
    if subject.config().is_some() {
        let record = reading.comparison.record.targeted(&reading.desired, hash.clone());
        edits.set(workload, marks::CONFIG, record.write(&workload.uid, subject.key()));
    }
    edits.set(workload, marks::ROLLOUTS, limits::with_rollout(times, subject.now()).to_string());
    let mut begun = outcome.begun(hash.clone(), subject.now());
    (begun.template, begun.generation) =
        (Some(template_change(workload, subject.key())), Some(workload.generation + 1));
    begun.follow(subject.siblings.previous, true);
    let (_, id) = pending::change(subject, &reading.desired);
    match subject.bypassed_by().filter(|bypass| bypass.id == id) {
        Some(Bypassed { by, .. }) => begun.bypassed_by = Some(by.to_string()),
        None => {
            let asked = asks_approval(subject, CONFIG);
            begun.approved_by = subject.approved_by(&id).filter(|_| asked).map(str::to_owned);
        }
    }
    edits.set(workload, marks::ROLLOUT, begun.write());
    edits.remove(workload, marks::PENDING_CONFIG);
    edits.remove(workload, marks::HOLD_SINCE);
    edits.remove(workload, marks::BYPASSED_BY);
    edits.config_hash = Some(hash);
    edits.purpose = Some(Purpose::Roll(cause, reading.comparison.last_seen));
    Some(edits)
}

/// A config change goes along with a held template that is let through: the template's own
/// references count from now on.
pub fn carry(subject: &Subject, reading: &Reading, found: &mut Assessment) {
    let (Some(config), workload) = (subject.config(), subject.workload) else { return };
    if config.on_change == OnChange::Report || !reading.comparison.missing.is_empty() {
        return;
    }
    let desired = resolve(subject, config, &workload.template.references);
    let hash = pending::config_hash(subject, &desired);
    // What only the new template reads, only new pods read.
    let record =
        reading.comparison.record.reshaped(&desired, |_| true).targeted(&desired, hash.clone());
    found.edits.set(workload, marks::CONFIG, record.write(&workload.uid, subject.key()));
    found.edits.config_hash = Some(hash);
}

/// A template that is reverted takes along the config-hash of our rollout that is under way: the
/// config that it was for is to be rolled again.
pub fn take_back(subject: &Subject, config_hash: Option<&str>, found: &mut Assessment) {
    let workload = subject.workload;
    let known = found
        .edits
        .annotations
        .get(marks::CONFIG)
        .map_or_else(|| workload.marks.config.as_deref(), Option::as_deref);
    let record = Record::parse(known, &workload.uid, subject.key()).ok();
    let ours =
        |record: &Record| record.hash.is_some() && record.hash == workload.template.config_hash;
    if let (Some(hash), Some(record)) = (config_hash, record.filter(ours)) {
        found.edits.set(
            workload,
            marks::CONFIG,
            record.withdrawn(hash).write(&workload.uid, subject.key()),
        );
    }
}

/// What is missing, in words.
pub fn missing_message(missing: &[String]) -> String {
    format!(
        "{}; new pods could not start, so nothing is rolled until it exists",
        missing.join(", ")
    )
}
