//! Compares what pods started with and what config is now, reference by reference.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::core::{
    config::{
        desired::{self, Desired, Missing},
        freshness::{are_seen, created_after, started_with_other},
        record::{Record, Recorded},
    },
    digest::Digest,
    observed::{Keys, Pod, Reference, Workload},
    request::Cause,
};

/// Maximum number of changes that are named.
const CHANGED_LIMIT: usize = 16;

/// What the comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The record, with references adopted that it did not know and those dropped that are no
    /// longer read.
    pub record: Record,
    /// Every pod is known to have started with what is desired now: nothing is left to do, and the
    /// record may say so.
    pub all_fresh: bool,
    /// A rollout is needed: what pods were last asked to start with is not what is desired, or a
    /// pod started in between.
    pub roll: Option<Cause>,
    /// Some pod may run on old config.
    pub stale: bool,
    /// What pods cannot start without, and is not there.
    pub missing: Vec<Missing>,
    /// The pods that run on something else than what is desired, where others do not.
    pub behind: BTreeSet<String>,
    /// What changed, named by object and key.
    pub changed: Vec<String>,
    /// The newest change that was seen, for the quiet time.
    pub last_seen: Option<Timestamp>,
    /// References adopted while it was not known what some pods started with.
    pub unverified: Vec<String>,
}

/// Compares. `pods` are the workload's, those being deleted included; `current` is the value of the
/// revision label that pods of the newest template carry.
pub fn compare(
    record: &Record,
    desired: &[(Reference, Desired)],
    workload: &Workload,
    pods: &[&Pod],
    current: Option<&str>,
) -> Comparison {
    let pods: Vec<_> = pods.iter().copied().filter(|pod| pod.terminating.is_none()).collect();
    let seen = are_seen(workload, &pods);
    let ours = workload.template.config_hash == record.hash;
    let record = record
        .reshaped(desired, |one| seen && pods.iter().all(|pod| created_after(pod, &one.changed)));
    let mut found = Comparison {
        all_fresh: seen,
        missing: desired::missing(desired),
        record: record.clone(),
        ..Comparison::default()
    };
    for (reference, desired) in desired {
        let name = reference.to_string();
        let Ok(digest) = desired.digest else { continue };
        let Some(&recorded) = record.references.get(&name) else { continue };
        let one = Compared { record: &record, desired, digest, recorded, noted: workload.noted };
        let of_current: Vec<_> =
            pods.iter().filter(|pod| ours && pod.is_of(current) && one.is_mixed(pod)).collect();
        let some_mixed = ours && recorded.mixed || !of_current.is_empty();
        let differs = one.differs();
        // What was seen only for a while is remembered: the next operator has not seen it. Pods
        // that are not the target's go anyway.
        if !differs
            && of_current.iter().any(|pod| one.has_hash(pod))
            && let Some(recorded) = found.record.references.get_mut(&name)
        {
            recorded.mixed = true;
        }

        let is_behind = differs || digest != recorded.baseline || some_mixed;
        if is_behind || recorded.unverified {
            let stale = pods.iter().filter(|pod| one.is_stale(pod));
            found.behind.extend(stale.map(|pod| pod.name.to_string()));
        }
        if recorded.unverified && !differs {
            found.unverified.push(name.clone());
        }
        if is_behind {
            found.stale = true;
            name_changes(&record, reference, desired, &mut found.changed);
        }
        if differs || some_mixed {
            let cause = match (differs, reference.own) {
                (true, true) => Cause::Config,
                (true, false) => Cause::Together,
                (false, _) => Cause::MixedConfig,
            };
            found.roll = found.roll.into_iter().chain([cause]).min();
            found.last_seen = found.last_seen.max(desired.changed.seen);
        }
    }
    found.all_fresh &= found.behind.is_empty();
    found.stale &= !found.all_fresh;
    if found.behind.len() == pods.len() {
        found.behind.clear();
    }
    found
}

/// A reference, what it is now, and what was recorded of it.
struct Compared<'a> {
    record: &'a Record,
    desired: &'a Desired,
    digest: Digest,
    recorded: Recorded,
    /// When we last wrote the workload.
    noted: Option<Timestamp>,
}

impl Compared<'_> {
    /// Whether it is something else than what pods were last asked to start with.
    fn differs(&self) -> bool {
        self.digest != self.recorded.target
    }

    /// Whether a pod may have started with something else in between.
    fn is_mixed(&self, pod: &Pod) -> bool {
        started_with_other(pod, self.desired, self.record.settled)
    }

    /// Whether a pod has the config-hash of the target.
    fn has_hash(&self, pod: &Pod) -> bool {
        pod.config_hash.as_deref() == self.record.hash.as_deref()
    }

    /// Whether a pod may run on something else than what it is now.
    fn is_stale(&self, pod: &Pod) -> bool {
        let was_asked = self.record.hash.is_some() && self.has_hash(pod) && !self.differs();
        let started_with_it = was_asked && !self.is_mixed(pod) && !self.recorded.mixed;
        !started_with_it && !self.is_fresh(pod)
    }

    /// Whether a pod was created after the last change.
    fn is_fresh(&self, pod: &Pod) -> bool {
        // A change that was not seen, and whose time is that of an earlier write: one that only
        // removed a key shows none of its own.
        let changed = &self.desired.changed;
        let untimed = self.differs()
            && changed.seen.is_none()
            && self.noted.is_some_and(|noted| changed.written <= noted);
        created_after(pod, changed) && (pod.created_version.is_some() || !untimed)
    }
}

fn name_changes(
    record: &Record,
    reference: &Reference,
    desired: &Desired,
    changed: &mut Vec<String>,
) {
    let name = reference.to_string();
    let known = record.names.get(&name).filter(|_| !matches!(reference.keys, Keys::One(_)));
    let Some(known) = known else {
        // Not all keys fit into a record; what was seen of the object may still know them.
        let baseline = record.references.get(&name).map(|recorded| recorded.baseline);
        let seen = desired
            .before
            .iter()
            .find(|(digest, keys)| Some(*digest) == baseline && !keys.is_empty());
        return match seen {
            Some((_, keys)) => {
                keys.iter().for_each(|key| {
                    push(changed, format!("{}/{}[{key}]", reference.kind, reference.name))
                });
            }
            None => push(changed, name),
        };
    };
    let keys: Vec<_> = known
        .iter()
        .filter(|(key, digest)| desired.names.get(*key) != Some(digest))
        .chain(desired.names.iter().filter(|(key, _)| !known.contains_key(*key)))
        .map(|(key, _)| format!("{}/{}[{key}]", reference.kind, reference.name))
        .collect();
    if keys.is_empty() {
        push(changed, name);
    }
    keys.into_iter().for_each(|key| push(changed, key));
}

fn push(changed: &mut Vec<String>, name: String) {
    if changed.len() < CHANGED_LIMIT && !changed.contains(&name) {
        changed.push(name);
    }
}
