//! Objects that cannot be read: what is known of them, whom they concern, and how they are
//! reported.
//!
//! Such an object keeps the state that was last known of it; one that was never known does not
//! exist. What belongs to it, or is read from it, is not judged on that: it is left as it is until
//! the object can be read.

use std::collections::BTreeSet;

use crate::{
    api::{HoldStatus, Phase, Reason, UpgradePolicySpec},
    core::{
        memory::Memory,
        notice::{Event, Notice, Regarding},
        observed::{Concerns, Namespace, Reference, Uid, Unread, Workload, storage::Storage},
        plain,
        planned::Plan,
        report::{ConfigReport, Report, Verdict},
        rest::News,
        words,
    },
};

impl Unread {
    /// What is told of it where its author looks.
    pub fn notice(&self) -> Notice {
        Notice {
            regarding: Regarding::Object {
                api_version: self.api_version.clone(),
                kind: self.kind,
                name: self.name.clone(),
            },
            uid: self.uid.clone(),
            policy: None,
            event: Event::UnreadableObject,
            message: words::unreadable(self),
        }
    }

    fn concerns_workload(&self, namespace: &Namespace, workload: &Workload) -> bool {
        match &self.concerns {
            Concerns::Workload(id) => *id == workload.id,
            Concerns::ControlledBy(uid) => {
                *uid == workload.uid || *owner(namespace, uid) == workload.uid
            }
            Concerns::AnyWorkload => true,
            Concerns::Readers(_) | Concerns::Storage(_) | Concerns::Nobody => false,
        }
    }

    fn is_read_by(
        &self,
        workload: &Workload,
        spec: &UpgradePolicySpec,
        reads: &[Reference],
    ) -> bool {
        let Concerns::Readers(id) = &self.concerns else { return false };
        spec.config.is_some()
            && (reads.iter().any(|reference| reference.names(id))
                || News::of_config(id.clone()).concerns(workload, spec))
    }

    /// Whether what is known of the storage of a namespace may be incomplete because of it.
    pub fn concerns_storage_of(&self, namespace: &str) -> bool {
        matches!(&self.concerns, Concerns::Storage(of) if of.is_empty() || of.contains(namespace))
    }
}

/// The workload of what a uid controls: its own, or that of a ReplicaSet, which may be unreadable
/// too.
fn owner<'a>(namespace: &'a Namespace, uid: &'a Uid) -> &'a Uid {
    if let Some(set) = namespace.replica_sets.get(uid) {
        return &set.deployment;
    }
    let set = namespace.unread.values().find(|one| one.kind == "ReplicaSet" && one.uid == *uid);
    match set.map(|set| &set.concerns) {
        Some(Concerns::ControlledBy(deployment)) => deployment,
        _ => uid,
    }
}

/// What keeps a workload from being judged: the workload itself, or something that belongs to it,
/// cannot be read.
pub fn of_workload<'a>(namespace: &'a Namespace, workload: &Workload) -> Option<&'a Unread> {
    namespace.unread.values().find(|one| one.concerns_workload(namespace, workload))
}

/// The same, or something that it reads under a policy with this spec.
pub fn of_governed<'a>(
    namespace: &'a Namespace,
    workload: &Workload,
    spec: &UpgradePolicySpec,
    reads: &[Reference],
) -> Option<&'a Unread> {
    of_workload(namespace, workload)
        .or_else(|| namespace.unread.values().find(|one| one.is_read_by(workload, spec, reads)))
}

/// The workloads of a namespace that were never known: it is not known which policy governs them.
pub fn unknown_workloads(namespace: &Namespace) -> impl Iterator<Item = &Unread> {
    namespace.unread.values().filter(|one| match &one.concerns {
        Concerns::Workload(id) => {
            one.kind == id.kind.to_string() && !namespace.workloads.contains_key(id)
        }
        _ => false,
    })
}

/// What keeps the storage of a namespace from being judged: what was never known of it may be
/// missing.
pub fn of_storage<'a>(
    namespace: &'a Namespace,
    storage: &'a Storage,
) -> impl Iterator<Item = &'a Unread> {
    namespace
        .unread
        .values()
        .chain(storage.unread.values())
        .filter(|one| one.concerns_storage_of(&namespace.name))
}

/// What is to be told of those that stand, each once while it stands, and in which namespace; for
/// an object of the cluster that is empty. `told` is what was.
pub fn news<'a>(
    standing: impl Iterator<Item = &'a Unread>,
    told: &mut BTreeSet<(Uid, String)>,
) -> Vec<(String, Notice)> {
    let standing: Vec<_> = standing.collect();
    let now: BTreeSet<_> = standing.iter().map(|one| (one.uid.clone(), one.flaw.clone())).collect();
    let new = standing.iter().filter(|one| !told.contains(&(one.uid.clone(), one.flaw.clone())));
    let notices = new.map(|one| (one.namespace.clone(), one.notice())).collect();
    *told = now;
    notices
}

/// The plan for a workload of which something cannot be read: it is left as it is.
/// What was remembered of it stands.
pub fn leave(plan: Plan, before: &Memory, workload: &Workload, why: &Unread) -> Plan {
    let phase = if plan.phase() == Phase::Held { Phase::Held } else { Phase::Waiting };
    let message = words::left_as_it_is(&workload.id, why);
    let hold = plan.report.hold.map(|hold| HoldStatus { message: plain(&message).into(), ..hold });
    let verdict = Verdict::new(phase, Reason::UnreadableObject, message);
    let config = ConfigReport { unverified: Vec::new(), ..plan.report.config };
    let mut left = Plan::new(before.clone(), &[]);
    left.memory.app = std::mem::take(&mut left.talk.conversation).kept();
    let remembered = verdict.clone();
    left.memory.last = Some(match &before.last {
        Some(last) => remembered.before_the_gate_of(last),
        None => remembered,
    });
    left.report = Report { verdict, hold, config, closed: None, ..plan.report };
    left
}
