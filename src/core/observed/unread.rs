//! Objects that cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::observed::ids::{ConfigId, Uid, WorkloadId};

/// Plural of the kind, namespace (empty for an object of the cluster) and name.
pub type UnreadId = (&'static str, String, String);

/// All of them.
pub type Unreadables = BTreeMap<UnreadId, Unread>;

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its API version.
    pub api_version: String,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// What is wrong with it, in words. Never a value from a ConfigMap or Secret.
    pub flaw: String,
    /// Whom it concerns.
    pub concerns: Concerns,
}

/// Whom an object that cannot be read concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concerns {
    /// This workload: it is the workload itself, or something that acts on it.
    Workload(WorkloadId),
    /// The workload that has this uid, or whose ReplicaSet has it.
    ControlledBy(Uid),
    /// Every workload of the namespace, because its owner is not known.
    AnyWorkload,
    /// The workloads that read this ConfigMap or Secret.
    Readers(ConfigId),
    /// What is known of storage in these namespaces; in all, if there are none.
    Storage(BTreeSet<String>),
    /// No workload.
    Nobody,
}
