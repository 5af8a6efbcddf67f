//! Pods.

use std::{net::IpAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::core::{
    later,
    observed::{ids::Uid, owned::HasOwner, storage::ClaimsOfPod},
};

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: Box<str>,
    /// The uid of its controller.
    pub controller: Option<Uid>,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// The resourceVersion of its creation, where that was seen on a live watch.
    pub created_version: Option<u64>,
    /// When its grace period ends, if it is being deleted; when its containers ended, if it has
    /// finished before that.
    pub terminating: Option<Timestamp>,
    /// Succeeded or Failed.
    pub finished: bool,
    /// Whether it has the gate of maintenance: no container of it ever ran.
    pub gated: bool,
    /// Ready.
    pub ready: bool,
    /// When it last became Ready or stopped being so.
    pub ready_moved: Option<Timestamp>,
    /// Its annotation `lockkeeper.dev/config-hash`.
    pub config_hash: Option<Box<str>>,
    /// Its revision label: `pod-template-hash`, `controller-revision-hash`, or a DaemonSet's
    /// `pod-template-generation`.
    pub revision: Option<Box<str>>,
    /// When its containers that run now were started, in whole seconds.
    pub started: Box<[Timestamp]>,
    /// The lowest resourceVersion of the pod that was seen with these starts: they precede it.
    pub started_version: Option<u64>,
    /// What keeps a container from running, such as `CrashLoopBackOff`.
    pub trouble: Option<Box<str>>,
    /// The same in words, and what made a container end that runs again: `Error (exit 3), restarted
    /// 3 times`.
    pub ails: Option<Box<str>>,
    /// Where it can be asked.
    pub reach: Reach,
    /// How often its containers were started again. One that has ended and is to be started again
    /// counts as started: nothing that its process agreed to holds any longer.
    pub restarts: u32,
    /// When a container that was started again twice or more last ended with an error.
    pub crashed: Option<Timestamp>,
    /// The claims that it uses.
    pub claims: ClaimsOfPod,
}

impl Pod {
    /// Its number among the pods of a StatefulSet.
    pub fn ordinal(&self) -> Option<u32> {
        self.name.rsplit_once('-')?.1.parse().ok()
    }

    /// Whether it is being deleted.
    pub fn is_leaving(&self) -> bool {
        self.terminating.is_some()
    }

    /// Whether it is of this revision. No pod is of one that is not known.
    pub fn is_of(&self, revision: Option<&str>) -> bool {
        revision.is_some() && self.revision.as_deref() == revision
    }
}

/// Where a pod can be asked something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its phase is Running.
    pub running: bool,
    /// Its address.
    pub address: Option<IpAddr>,
    /// It uses its node's network, where other programs may listen on its ports.
    pub host_network: bool,
    /// The TCP ports that its containers declare, those of the first container first.
    pub ports: Arc<[DeclaredPort]>,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPort {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: Option<Box<str>>,
    /// The name of the container that declares it.
    pub container: Box<str>,
    /// Whether that is the first one.
    pub of_first: bool,
}

/// A pod that is there this long after its grace period does not end on its own: its node is lost,
/// or a finalizer keeps it.
const OVERDUE_AFTER: Duration = Duration::from_secs(30);

/// When a pod that is being deleted counts as one that does not end.
pub fn overdue_at(pod: &Pod) -> Option<Timestamp> {
    pod.terminating.map(|until| later(until, OVERDUE_AFTER))
}

/// Whether a pod should have ended by now, and has not.
pub fn is_overdue(pod: &Pod, now: Timestamp) -> bool {
    overdue_at(pod).is_some_and(|at| at <= now)
}

impl HasOwner for Pod {
    fn owner(&self) -> Option<&Uid> {
        self.controller.as_ref()
    }
}
