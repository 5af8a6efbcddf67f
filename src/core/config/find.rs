//! What the pods of a workload read, compared with what they started with.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    api::{ConfigSpec, marks},
    core::{
        config::{
            change::{Comparison, compare},
            desired::{self, Desired, Missing},
            freshness::{are_seen, created_after},
            record::Record,
            references,
        },
        edits::Edits,
        later,
        memory::Memory,
        observed::{Reference, Workload},
        report::PREVIOUS,
        request::{Cause, Purpose},
        rollout::outcome::{Outcome, Previous},
        subject::Subject,
    },
};

/// How long a manager that took our marks away is left alone.
const REVERTED_PAUSE: Duration = Duration::from_secs(3600);

/// What is found of the config that a workload reads.
pub enum Found {
    /// It has no record, and takes what is there.
    Adopted(Adoption),
    /// Somebody removes its record again and again, so it gets none.
    Fought(Fought),
    /// Its record, compared with what is there.
    Read(Box<Reading>),
}

/// A workload without a record takes what is there.
pub struct Adoption {
    /// The first record.
    pub edits: Edits,
    /// References of which nobody can say what the pods started with.
    pub unverified: Vec<String>,
    /// What its pods need, and is not there.
    pub missing: Vec<Missing>,
}

/// Somebody removes our marks.
pub struct Fought {
    /// Its field manager.
    pub manager: String,
    /// How often.
    pub times: u32,
    /// No record is written until then.
    pub until: Timestamp,
}

/// What the pods read, compared with what they started with.
pub struct Reading {
    /// What each reference is now.
    pub desired: Vec<(Reference, Desired)>,
    /// What was recorded.
    pub record: Record,
    /// How the two differ.
    pub comparison: Comparison,
    /// What is newly known of what the pods started with.
    pub baseline: Edits,
}

/// Who removed a record, how often, and when last.
type Reverted = Option<(String, u32, Timestamp)>;

/// Reads and compares, and remembers who removes records.
pub fn find(subject: &Subject, config: &ConfigSpec) -> (Found, Reverted) {
    let workload = subject.workload;
    let desired = resolve(subject, config, subject.reads);
    let text = workload.marks.config.as_deref();
    if let Ok(record) = Record::parse(text, &workload.uid, subject.key()) {
        let newest = subject.revisions.newest;
        let comparison = compare(&record, &desired, workload, subject.pods, newest);
        let baseline = baseline(subject, &desired, &record, &comparison);
        let reading = Reading { desired, record, comparison, baseline };
        return (Found::Read(Box::new(reading)), subject.memory.reverted.clone());
    }
    let reverted = reverted(subject);
    if let Some((manager, times, last)) = reverted.as_ref().filter(|(_, times, _)| *times >= 2) {
        let (manager, times, until) = (manager.clone(), *times, later(*last, REVERTED_PAUSE));
        if until > subject.now() {
            return (Found::Fought(Fought { manager, times, until }), reverted);
        }
        return (Found::Adopted(adopt(subject, &desired)), None);
    }
    (Found::Adopted(adopt(subject, &desired)), reverted)
}

fn reverted(subject: &Subject) -> Reverted {
    let Memory { had_record, reverted, .. } = subject.memory;
    if !had_record {
        return reverted.clone();
    }
    let writer = subject.workload.last_writer.as_ref();
    let manager = writer.map_or_else(|| "somebody".to_owned(), |writer| writer.manager.clone());
    let again = reverted
        .as_ref()
        .filter(|(who, _, last)| *who == manager && later(*last, REVERTED_PAUSE) > subject.now());
    Some((manager, again.map_or(1, |(_, times, _)| times + 1), subject.now()))
}

fn adopt(subject: &Subject, desired: &[(Reference, Desired)]) -> Adoption {
    let workload = subject.workload;
    let seen = are_seen(workload, subject.pods);
    let record = Record::adopt(desired, workload.template.config_hash.clone(), |one| {
        seen && subject.pods.iter().all(|pod| pod.is_leaving() || created_after(pod, &one.changed))
    });
    let unverified = record.references.iter().filter(|(_, recorded)| recorded.unverified);
    let unverified = unverified.map(|(name, _)| name.clone()).collect();
    let mut edits = Edits { purpose: Some(Purpose::Adopt), ..Edits::default() };
    edits.set(marks::CONFIG, record.write(&workload.uid, subject.key()));
    Adoption { edits, unverified, missing: desired::missing(desired) }
}

/// What is newly known of what the pods started with.
fn baseline(
    subject: &Subject,
    desired: &[(Reference, Desired)],
    record: &Record,
    comparison: &Comparison,
) -> Edits {
    let workload = subject.workload;
    let newest = match comparison.all_fresh {
        true => comparison.record.settled(desired, workload.template.config_hash.clone()),
        false => comparison.record.clone(),
    };
    let mut edits = Edits::default();
    if !newest.says_the_same(record) {
        edits.set(marks::CONFIG, newest.write(&workload.uid, subject.key()));
    }
    edits
}

/// What each of these references is now.
pub fn resolve(
    subject: &Subject,
    config: &ConfigSpec,
    reads: &[Reference],
) -> Vec<(Reference, Desired)> {
    let (namespace, group) = (subject.namespace(), subject.siblings.group);
    let (key, watched) = (subject.key(), subject.around.watched);
    let all = references::effective(reads, config, group, namespace).into_iter();
    all.map(|reference| {
        let desired = desired::resolve(&reference, namespace, key, watched);
        (reference, desired)
    })
    .collect()
}

impl Reading {
    /// That of a workload whose config is not looked at.
    pub fn none() -> Self {
        let comparison = Comparison { all_fresh: true, ..Comparison::default() };
        let (desired, record) = (Vec::new(), Record::default());
        Self { desired, record, comparison, baseline: Edits::default() }
    }

    /// The same, rolled if the step before was rolled out since this workload last followed it.
    #[must_use]
    pub fn with_restart(mut self, subject: &Subject, outcome: &Outcome) -> Self {
        let missed = matches!(subject.siblings.previous, Previous::Done(newest) if outcome.has_missed(newest));
        if self.comparison.roll.is_none() && missed {
            self.comparison.roll = Some(Cause::Previous);
            self.comparison.all_fresh = false;
            self.comparison.changed.push(PREVIOUS.to_owned());
        }
        self
    }

    /// Whether it is rolled for nothing but the step before.
    pub fn is_restart(&self) -> bool {
        self.comparison.roll == Some(Cause::Previous)
    }

    /// The template is still the one that we rolled last.
    pub fn is_ours(&self, workload: &Workload) -> bool {
        self.record.hash.is_some() && self.record.hash == workload.template.config_hash
    }
}
