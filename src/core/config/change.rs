//! Compares what pods started with and what config is now, reference by reference.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::core::{
    config::{
        desired::{self, Desired},
        freshness::{are_seen, created_after, started_with_other},
        record::{Record, Recorded},
    },
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
    /// What pods cannot start without, and is not there; in words.
    pub missing: Vec<String>,
    /// The pods that run on something else than what is desired, where others do not.
    pub behind: BTreeSet<String>,
    /// What changed, named by object and key.
    pub changed: Vec<String>,
    /// The newest change that was seen, for the quiet time.
    pub last_seen: Option<Timestamp>,
    /// References adopted while it was not known what some pods started with.
    pub unverified: Vec<String>,
}

/// Maximum number of pods that are named.
const PODS_LIMIT: usize = 5;

impl Comparison {
    /// What changed, in words; where some pods run on it already, which ones do not.
    pub fn what_changed(&self) -> String {
        let mut words = format!("{} changed", self.changed.join(", "));
        if !self.behind.is_empty() {
            let named: Vec<_> = self.behind.iter().take(PODS_LIMIT).cloned().collect();
            let more = match self.behind.len().saturating_sub(PODS_LIMIT) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            words += &format!(" (not running on it yet: {}{more})", named.join(", "));
        }
        words
    }
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
    let unhurt =
        |desired: &Desired| seen && pods.iter().all(|pod| created_after(pod, &desired.changed));
    let ours = workload.template.config_hash == record.hash;

    let record = record.reshaped(desired, unhurt);
    let mut found = Comparison {
        all_fresh: seen,
        missing: desired::missing(desired),
        record: record.clone(),
        ..Comparison::default()
    };
    for (reference, desired) in desired {
        let name = reference.to_string();
        let Ok(digest) = desired.digest else { continue };
        let Some(recorded) = record.references.get(&name) else { continue };
        let mixed = |pod: &Pod| started_with_other(pod, desired, record.settled);
        let of_current = |pod: &Pod| pod.revision.as_deref() == current && current.is_some();
        let some_mixed =
            ours && (recorded.mixed || pods.iter().any(|pod| of_current(pod) && mixed(pod)));
        let differs = digest != recorded.target;
        let Recorded { target, baseline, unverified, mixed: known_mixed } = *recorded;
        // What was seen only for a while is remembered: the next operator has not seen it. Pods
        // that are not the target's go anyway.
        let of_target = |pod: &Pod| pod.config_hash.as_deref() == record.hash.as_deref();
        let to_remember = ours
            && !differs
            && pods.iter().any(|pod| of_current(pod) && of_target(pod) && mixed(pod));
        if to_remember && let Some(recorded) = found.record.references.get_mut(&name) {
            recorded.mixed = true;
        }
        // A change that was not seen, and whose time is that of an earlier write: one that only
        // removed a key shows none of its own.
        let untimed = differs
            && desired.changed.seen.is_none()
            && workload.noted.is_some_and(|noted| desired.changed.written <= noted);
        let fresh = |pod: &Pod| {
            created_after(pod, &desired.changed) && (pod.created_version.is_some() || !untimed)
        };

        if differs || digest != baseline || unverified || some_mixed {
            let asked = |pod: &Pod| {
                record.hash.is_some()
                    && pod.config_hash.as_deref() == record.hash.as_deref()
                    && digest == target
            };
            let stale =
                pods.iter().filter(|pod| !fresh(pod) && (!asked(pod) || mixed(pod) || known_mixed));
            found.behind.extend(stale.map(|pod| pod.name.to_string()));
        }
        if unverified && !differs {
            found.unverified.push(name.clone());
        }
        if differs || digest != baseline || some_mixed {
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
