//! ReplicaSets and ControllerRevisions: what the pods of a workload were made from.

use std::sync::Arc;

use jiff::Timestamp;

use crate::core::observed::{
    ids::Uid,
    owned::HasOwner,
    reference::Reference,
    workload::{Container, TemplateDigest},
};

/// A ReplicaSet of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: Box<str>,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// The Deployment's uid.
    pub deployment: Uid,
    /// The value of the label `pod-template-hash`.
    pub revision: Box<str>,
    /// The Deployment controller's number for the revision; the highest is the newest, also after
    /// an undo.
    pub number: u64,
    /// Pods that it wants or has.
    pub replicas: u32,
    /// Its template, but for our config-hash and the label that its controller adds: equal to a
    /// Deployment's if it is that one's.
    pub template: TemplateDigest,
    /// The config-hash of its template.
    pub config_hash: Option<Box<str>>,
    /// Whether its template has the gate of maintenance: no pod of it runs the app.
    pub rests: bool,
    /// What its template reads, while it has pods.
    pub references: Arc<[Reference]>,
    /// Its template's containers, while it has pods.
    pub containers: Arc<[Container]>,
}

/// A revision of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRevision {
    /// Its name, which its pods carry as a label.
    pub name: Box<str>,
    /// The StatefulSet's uid.
    pub stateful_set: Uid,
    /// Its template, but for our config-hash.
    pub template: TemplateDigest,
    /// The config-hash of its template.
    pub config_hash: Option<Box<str>>,
    /// Whether its template has the gate of maintenance.
    pub rests: bool,
    /// What its template reads.
    pub references: Arc<[Reference]>,
    /// The names of its template's containers.
    pub containers: Arc<[Container]>,
}

impl HasOwner for ReplicaSet {
    fn owner(&self) -> Option<&Uid> {
        Some(&self.deployment)
    }
}

impl HasOwner for ControllerRevision {
    fn owner(&self) -> Option<&Uid> {
        Some(&self.stateful_set)
    }
}
