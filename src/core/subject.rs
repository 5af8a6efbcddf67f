//! What one workload is judged by.

use jiff::Timestamp;

use crate::{
    api::ConfigSpec,
    core::{
        conversation::Templates,
        digest::Key,
        gates::gate::Closed,
        governs::Ruling,
        hold::{
            governance::other_reloader,
            state::{approved_by, bypassed_by},
        },
        memory::{Activity, Memory},
        observed::{Namespace, Pod, Reference, ReplicaSet, Workload},
        rollout::outcome::Previous,
        volumes::finding::OfWorkload,
    },
    marks::values::Bypassed,
};

/// What an assessment is made from.
pub struct Input<'a> {
    /// The workload's namespace.
    pub namespace: &'a Namespace,
    /// What its policy lets happen to it.
    pub ruling: Ruling<'a>,
    /// The workload.
    pub workload: &'a Workload,
    /// Its pods, those being deleted included.
    pub pods: &'a [&'a Pod],
    /// Its ReplicaSets.
    pub sets: &'a [&'a ReplicaSet],
    /// The value of the revision label that pods of its newest template carry, if the controller
    /// has got that far.
    pub current: Option<&'a str>,
    /// What the pods read: of a held workload those that run, not its template.
    pub reads: &'a [Reference],
    /// What the other workloads read that roll together with it.
    pub group: &'a [Reference],
    /// The digest key.
    pub key: &'a Key,
    /// Since when config is watched.
    pub watched: Timestamp,
    /// The uid of our CRD.
    pub definition: Option<&'a str>,
    /// The admission policies are in place.
    pub enforced: bool,
    /// When something of its policy changed last.
    pub last_change: Option<Timestamp>,
    /// What its volumes mean for it.
    pub volumes: &'a OfWorkload,
    /// What keeps it from its turn among the workloads of its policy.
    pub waits: Option<&'a Closed>,
    /// What it restarts with.
    pub previous: &'a Previous,
    /// What the executor is doing about it.
    pub activity: &'a Activity,
    /// What is remembered of it.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
}

impl Input<'_> {
    /// Where the templates of its pods are found.
    pub fn templates(&self) -> Templates<'_> {
        Templates { namespace: self.namespace, workload: self.workload }
    }

    /// What the policy asks for config, unless another reloader acts on the workload.
    pub fn config(&self) -> Option<&ConfigSpec> {
        self.ruling
            .spec()
            .config
            .as_ref()
            .filter(|_| other_reloader(self.namespace, self.workload).is_none())
    }

    /// Whether admission records who approves and bypasses. Where it does not, anybody could have
    /// written these marks.
    pub fn records_approvals(&self) -> bool {
        self.enforced && self.workload.id.kind.can_be_held()
    }

    /// Who approved the change with this id.
    pub fn approved_by(&self, id: &str) -> Option<&str> {
        approved_by(self.workload, id).filter(|_| self.records_approvals())
    }

    /// The bypass that let a change through.
    pub fn bypassed_by(&self) -> Option<&Bypassed> {
        bypassed_by(self.workload).filter(|_| self.records_approvals())
    }
}
