//! What a decision starts with: the workloads that are to be judged, those that stand as they
//! stood, and what is counted of the others.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::LazyLock,
};

use jiff::Timestamp;

use crate::core::{
    digest::Key,
    governs::{Governance, Standing},
    hold::enforced::Enforcement,
    memory::{Activity, Memory, Rest},
    notice::Event,
    observed::{Uid, Workload, WorkloadId, storage::Storage},
};

/// What the decisions of a namespace need besides the namespace.
pub struct Surroundings<'a> {
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// The uid of our CRD, while it stands.
    pub definition: Option<&'a str>,
    /// What is known of the admission policies.
    pub enforcement: &'a Enforcement,
    /// The storage of the cluster.
    pub storage: &'a Storage,
    /// By namespace, what stands there and was told already.
    pub told: &'a HashMap<String, BTreeSet<(Uid, Event)>>,
    /// What the executor is doing, by the workload's uid.
    pub activities: &'a HashMap<Uid, Activity>,
    /// What is remembered, by the workload's uid.
    pub memories: &'a HashMap<Uid, Memory>,
    /// Now.
    pub now: Timestamp,
}

/// Workloads at rest that are only counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resting {
    /// How many.
    pub workloads: u32,
    /// Those whose app gate was never tried.
    pub unasked: usize,
}

/// What is counted of the workloads that need not be looked at.
pub(super) struct Counted<'n> {
    /// By policy, those at rest.
    pub resting: BTreeMap<&'n str, Resting>,
    /// When the first of these is to be looked at again.
    pub wake: Option<Timestamp>,
    /// By policy, the workloads that it selects and does not govern, as many as are shown.
    pub left_out: BTreeMap<&'n str, Vec<String>>,
}

/// The workloads of a namespace: those that stand as they stood, and those to be assessed.
pub(super) struct Sorted<'n, 'a> {
    /// Those at rest of which something is to be said.
    pub still: BTreeMap<&'n WorkloadId, (Standing<'n>, &'a Rest, &'a Memory)>,
    /// What is counted of the others.
    pub counted: Counted<'n>,
    pub stirring: Vec<Stirring<'n, 'a>>,
    /// By policy, when the template of one of its workloads last changed.
    pub last_changes: BTreeMap<&'n str, Timestamp>,
}

impl<'n> Sorted<'n, '_> {
    /// Whose those are of which something is to be said.
    pub fn governance(&self) -> Governance<'n> {
        let still = self.still.iter().map(|(id, (standing, ..))| (*id, *standing));
        let stirring = self.stirring.iter().map(|one| (&one.workload.id, one.standing));
        Governance { standings: still.chain(stirring).collect(), ..Governance::default() }
    }
}

/// A workload that is to be judged.
pub(super) struct Stirring<'n, 'a> {
    pub workload: &'n Workload,
    pub standing: Standing<'n>,
    pub memory: &'a Memory,
}

/// What is remembered of a workload that is seen for the first time.
pub(super) static BLANK: LazyLock<Memory> = LazyLock::new(Memory::default);
