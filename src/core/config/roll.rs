//! What a change of config waits for, and what is written when it is rolled.

use jiff::Timestamp;

use crate::{
    api::{ConfigSpec, HoldStatus, OnChange, marks},
    core::{
        config::{
            desired::Desired,
            find::{Reading, resolve},
            freshness::created_after,
            pending,
            record::Record,
        },
        edits::Edits,
        gates::{
            self,
            app::whom,
            approval::asks_approval,
            blocker::Blocker,
            change::{Blocked, CONFIG, Change},
            gate::{Answer, Needs},
        },
        hold::governance,
        later,
        observed::{Pod, Reference, UserHold, Workload},
        plain,
        request::{FieldEdit, Purpose},
        rollout::{
            limits,
            outcome::{Ended, Outcome, template_change},
            progress::{Progress, is_old},
            revisions::Revert,
            turn::{self, Stage},
        },
        subject::Subject,
        whole_second,
    },
    marks::{Since, values::Bypassed},
};

/// What is to become of config that differs.
pub enum Next<'a> {
    /// Something that its pods need is not there.
    Missing,
    /// Nothing, because the policy only observes or reports: it would wait for this gate, or for
    /// none.
    Reported {
        /// What would close it.
        blocker: Option<Blocker>,
        /// What else it would wait for, as "until its pods agree".
        outside: Option<&'static str>,
    },
    /// Nothing can be decided before the controller has seen the newest generation.
    Unobserved,
    /// A rollout that is under way starts its pods with it.
    Covered,
    /// The previous change goes pod by pod, and has not reached all.
    AfterSteps,
    /// The user holds the workload.
    User(UserHold),
    /// Quiet time, until then.
    Settling(Timestamp),
    /// It had as many rollouts as it may have, and may have the next one then.
    Limited {
        /// How many.
        times: usize,
        /// Then.
        until: Timestamp,
    },
    /// A bypass releases it, or its gates say whether.
    Due(Box<Due<'a>>),
}

/// A change of config whose quiet time is over.
pub struct Due<'a> {
    /// The change.
    pub change: Change<'a>,
    /// Who released it past its gates.
    pub bypass: Option<&'a Bypassed>,
    /// What its gates say.
    pub answer: Answer,
    /// What is written when it rolls.
    pub roll: Edits,
}

/// What is to become of config that differs. `since`: when that was first seen. `failed`: the
/// rollout at hand has.
pub fn next<'a>(
    subject: &Subject<'a>,
    config: &ConfigSpec,
    reading: &Reading,
    outcome: &Outcome,
    (since, failed): (Timestamp, bool),
) -> Next<'a> {
    let comparison = &reading.comparison;
    if !comparison.missing.is_empty() {
        return Next::Missing;
    }
    let reports = config.on_change == OnChange::Report && !reading.is_restart();
    if subject.ruling.observes() || reports {
        let change = pending_change(subject, &reading.desired);
        let (blocker, outside) =
            gates::would_wait_for(subject, &change, |needs| needs == Needs::Policy);
        return Next::Reported { blocker, outside };
    }
    match subject.progress {
        Progress::Unobserved => return Next::Unobserved,
        Progress::UnderWay(_) | Progress::Failed(_) if covered(subject, &reading.desired) => {
            return Next::Covered;
        }
        _ => {}
    }
    match turn::stage(subject.workload, subject.pods, subject.revisions.newest) {
        Some(Stage::Next(_)) => return Next::AfterSteps,
        Some(Stage::Renewing) if !failed => return Next::AfterSteps,
        _ => {}
    }
    if let Some(hold @ (UserHold::Paused | UserHold::OnDelete)) = subject.workload.rollout.held {
        return Next::User(hold);
    }
    let quiet_from = comparison.last_seen.map_or(since, |seen| seen.max(since));
    let due =
        later(quiet_from, config.settle.length()).min(later(since, config.settle_limit.length()));
    if due > subject.now() {
        return Next::Settling(due);
    }
    let rollouts = subject.workload.marks.rollouts.get();
    let times = limits::within_window(rollouts, &config.limit, subject.now());
    if let Some(until) = limits::next_allowed(&times, &config.limit) {
        return Next::Limited { times: times.len(), until };
    }
    let change = Change { last_change: quiet_from, ..pending_change(subject, &reading.desired) };
    let bypass = subject.bypassed_by().filter(|bypass| Some(&bypass.id) == change.id.as_ref());
    let answer = match bypass {
        Some(_) => Answer::open(),
        None => gates::ask(subject, &change),
    };
    let roll = roll(subject, reading, &times, outcome, (&change, bypass));
    Next::Due(Box::new(Due { change, bypass, answer, roll }))
}

/// The change of config alone that waits, or begins to. Another change is another time, also when an
/// old content comes back.
fn pending_change<'a>(subject: &Subject<'a>, desired: &[(Reference, Desired)]) -> Change<'a> {
    let (key, workload) = (subject.key(), subject.workload);
    let marks = &workload.marks;
    if let Some(&Since::Config(since)) = marks.hold_since.get() {
        let id = pending::id(key, workload, desired, since);
        if marks.pending_config.get() == Some(&id) {
            return Change::of_config(subject, &id, since);
        }
    }
    // The same as long as it is asked about, also before anything is written down.
    let begun = subject.memory.differs_since.unwrap_or(subject.now());
    Change::of_config(subject, &pending::id(key, workload, desired, begun), begun)
}

/// Somebody's rollout is under way, and all its pods that there are have started with what is
/// desired: those to come will too.
fn covered(subject: &Subject, desired: &[(Reference, Desired)]) -> bool {
    let (workload, newest) = (subject.workload, subject.revisions.newest);
    let there = subject.pods.iter().copied().filter(|pod| !pod.is_leaving());
    let (old, new): (Vec<&Pod>, Vec<&Pod>) = there.partition(|pod| is_old(workload, pod, newest));
    let to_come = !old.is_empty() || workload.rollout.updated < workload.rollout.wanted;
    to_come && new.iter().all(|pod| desired.iter().all(|(_, one)| created_after(pod, &one.changed)))
}

/// What is written of a change of config that waits, and what the status shows of it: by its id it
/// is approved. None where nothing needs to be written: its pods may agree at once, and while pods
/// go one by one the mark tells for which change.
pub fn waiting(
    workload: &Workload,
    change: &Change,
    blocked: &Blocked,
) -> Option<(Edits, HoldStatus)> {
    let at_once = blocked.is_brief && !workload.marks.pending_config.stands();
    if at_once || governance::holds_back(workload) {
        return None;
    }
    let id = change.id.as_ref()?.to_string();
    let mut edits = Edits::default();
    edits.set(marks::PENDING_CONFIG, &*id);
    edits.set(marks::HOLD_SINCE, Since::Config(change.since).to_string());
    let status = HoldStatus {
        id,
        by: String::new(),
        message: plain(&blocked.sentence).into_owned(),
        authors: Vec::new(),
        cause: change.causes.to_vec(),
        approved_by: change.consent.by().unwrap_or_default().to_owned(),
    };
    Some((edits, status))
}

/// What rolls, in addition to what is written anyway.
fn roll(
    subject: &Subject,
    reading: &Reading,
    times: &[Timestamp],
    outcome: &Outcome,
    (change, bypass): (&Change, Option<&Bypassed>),
) -> Edits {
    let (workload, comparison) = (subject.workload, &reading.comparison);
    let hash = pending::config_hash(subject.key(), workload, &reading.desired);
    let cause = comparison.roll.map(|cause| Purpose::Roll(cause, comparison.last_seen));
    let mut edits = Edits { purpose: cause, ..Edits::default() };
    if subject.config().is_some() {
        let record = comparison.record.targeted(&reading.desired, hash.clone());
        edits.set(marks::CONFIG, record.write(&workload.uid, subject.key()));
    }
    edits.set(marks::ROLLOUTS, limits::with_rollout(times, subject.now()).to_string());
    let mut begun = outcome.begun(hash.clone(), subject.now());
    (begun.template, begun.generation) =
        (Some(template_change(workload, subject.key()).into()), Some(workload.generation + 1));
    begun.follow(subject.siblings.previous, true);
    match bypass {
        Some(Bypassed { by, .. }) => begun.bypassed_by = Some(by.clone()),
        None => {
            let approver = change.consent.by().filter(|_| asks_approval(subject, CONFIG));
            begun.approved_by = approver.map(Into::into);
        }
    }
    edits.set(marks::ROLLOUT, begun.to_string());
    edits.clear(marks::PENDING_CONFIG);
    edits.clear(marks::HOLD_SINCE);
    edits.clear(marks::BYPASSED_BY);
    edits.config_hash = Some(FieldEdit::Set(hash));
    let spec = subject.ruling.spec();
    let walked = spec.app_gate(CONFIG).is_some_and(|gate| turn::is_walked(gate, workload));
    let turn = whom::turn(subject, CONFIG, None).map(|turn| turn.step);
    let ordinals = workload.rollout.ordinals;
    // What stands of a walk before was for the change before: it would let pods through that were
    // not asked about this one.
    match turn.or_else(|| ordinals.step.filter(|_| walked).map(|_| ordinals.declared)) {
        Some(step) => {
            edits.set(marks::PARTITION, step.to_string());
            // The change that the pods go for, one by one.
            if let Some(id) = &change.id {
                let since = Since::of(id.clone(), whole_second(change.since));
                edits.set(marks::HOLD_SINCE, since.to_string());
            }
        }
        None => edits.clear(marks::PARTITION),
    }
    edits
}

/// What is written of config that goes along with a held template that is let through: the
/// template's own references count from now on.
pub fn carried(subject: &Subject, config: &ConfigSpec, reading: &Reading) -> Edits {
    let workload = subject.workload;
    let desired = resolve(subject, config, &workload.template.references);
    let hash = pending::config_hash(subject.key(), workload, &desired);
    // What only the new template reads, only new pods read.
    let record =
        reading.comparison.record.reshaped(&desired, |_| true).targeted(&desired, hash.clone());
    let mut edits = Edits { config_hash: Some(FieldEdit::Set(hash)), ..Edits::default() };
    edits.set(marks::CONFIG, record.write(&workload.uid, subject.key()));
    edits
}

/// A template that is reverted takes along the config-hash of our rollout that is under way: the
/// config that it was for is to be rolled again. `record`: the newest text of the record.
pub fn taken_back(subject: &Subject, record: Option<&str>, revert: &Revert) -> Edits {
    let (workload, mut edits) = (subject.workload, Edits::default());
    if let Some(hash) = &revert.config_hash
        && let Ok(record) = Record::parse(record, &workload.uid, subject.key())
        && record.hash.is_some()
        && record.hash == workload.template.config_hash
    {
        edits.set(marks::CONFIG, record.withdrawn(hash.text()).write(&workload.uid, subject.key()));
    }
    edits
}

/// Takes off what is written for config, where a policy does not ask for it. One that restarts with
/// the step before it is rolled all the same.
pub fn forgotten(restarts: bool) -> Edits {
    let mut edits = Edits::default();
    edits.clear(marks::CONFIG);
    if !restarts {
        edits.clear(marks::ROLLOUTS);
        edits.clear(marks::PENDING_CONFIG);
    }
    edits
}

/// A change of config alone that waited no longer differs.
pub fn withdrawn(workload: &Workload) -> Edits {
    let mut edits = Edits::default();
    edits.clear(marks::PENDING_CONFIG);
    // While pods go one by one it tells which change that is.
    if workload.rollout.ordinals.step.is_none() {
        edits.clear(marks::HOLD_SINCE);
    }
    edits
}

/// Whether a rollout of ours is under way, and takes a slot.
pub fn takes_slot(subject: &Subject, reading: &Reading, outcome: &Outcome) -> bool {
    let ended = outcome.change.is_some()
        && outcome.change.as_deref() == reading.record.hash.as_deref()
        && outcome.ended != Ended::UnderWay;
    reading.is_ours(subject.workload)
        && !ended
        && matches!(subject.progress, Progress::UnderWay(_) | Progress::Unobserved)
}
