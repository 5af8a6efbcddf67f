//! What is to be done: requests with their preconditions, and what to tell whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    api::{Phase, Reason, UpgradePolicyStatus},
    core::{
        conversation::Call,
        memory::Memory,
        notice::{Event, Notice},
        observed::{Uid, WorkloadId, storage::States},
        request::{Patch, SnapshotRequest, StoragePatch},
    },
};

/// What is to be done in a namespace.
#[derive(Debug, Default)]
pub struct Decision {
    /// At most one request a workload.
    pub patches: Vec<Patch>,
    /// At most one request an object of storage, with what its success means.
    pub storage: Vec<(StoragePatch, Option<Notice>)>,
    /// Snapshots to take, or to keep.
    pub snapshots: Vec<SnapshotRequest>,
    /// For each config rollout among them, the policy and what changed.
    pub rolled: BTreeMap<Uid, (Option<(String, Uid)>, String)>,
    /// The status of each policy, by its name.
    pub statuses: Vec<(String, UpgradePolicyStatus)>,
    /// The requests to pods.
    pub calls: Vec<Call>,
    /// Workloads whose controller says only by events why it cannot create pods, and since when
    /// these are missing.
    pub lookups: Vec<(WorkloadId, Uid, Timestamp)>,
    /// What happened, for events.
    pub notices: Vec<Notice>,
    /// How long the gates have kept changes waiting since the last decision.
    pub waited: Vec<(Reason, Duration)>,
    /// What to remember of each workload.
    pub memories: Vec<(Uid, Memory)>,
    /// Why config rollouts that are needed were not begun, each named once.
    pub suppressed: Vec<Reason>,
    /// What metrics count.
    pub census: Census,
    /// Kept data by its state, and its bytes.
    pub volumes: BTreeMap<String, States>,
    /// What stands and was told, to remember.
    pub told: BTreeSet<(Uid, Event)>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
}

/// What metrics count in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Governed workloads by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// Workloads some of whose pods may run on old config.
    pub stale: usize,
    /// Since when gates keep a change waiting, where they have for longest.
    pub oldest_hold: Option<Timestamp>,
    /// Since when config differs that should be rolled and waits for something else than gates,
    /// where it has for longest.
    pub oldest_difference: Option<Timestamp>,
    /// Policies by the type and the status of each condition that they have.
    pub conditions: BTreeMap<(String, String), usize>,
    /// What is counted of each policy, by its name.
    pub policies: BTreeMap<String, PolicyCensus>,
}

/// What metrics count of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCensus {
    /// Its workloads by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// Since when gates keep a change waiting, where they have for longest.
    pub oldest_hold: Option<Timestamp>,
    /// Since when config differs that should be rolled and waits for something else than gates,
    /// where it has for longest.
    pub oldest_difference: Option<Timestamp>,
    /// Since when a workload is in maintenance, where one has been for longest.
    pub oldest_maintenance: Option<Timestamp>,
    /// The status of each of its conditions, by type.
    pub conditions: BTreeMap<String, String>,
}
