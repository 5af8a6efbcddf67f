//! What differs between kinds of workloads, as far as a decision depends on it. A new kind answers
//! each question here: no other file of the core compares kinds.

use crate::api::WorkloadKind;

/// Where the revisions of a workload are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionsIn {
    /// In ReplicaSets, which also get a copy of its annotations. Paused and scaled up from zero, it
    /// starts the one that was created last.
    ReplicaSets,
    /// In ControllerRevisions. Equal ones mean that its rollout is complete, whatever pods are left
    /// (kubernetes#67250); without replicas it forgets which one ran.
    ControllerRevisions,
    /// In its generation alone: none is watched.
    Generations,
}

/// How admission holds a changed template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// By `spec.paused`.
    Paused,
    /// By a partition above every pod.
    Partition,
}

/// What the controller of a kind does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Where its revisions are kept.
    pub revisions: RevisionsIn,
    /// How admission holds its changes; none: it cannot.
    pub held_by: Option<HeldBy>,
    /// Its pods are numbered. A rollout goes from the highest number down, waits for a broken pod,
    /// and a partition keeps the lowest numbers as they are.
    pub ordinals: bool,
    /// A rollout starts new pods beside old ones, unless its strategy is `Recreate`.
    pub surges: bool,
    /// Its status says why pods cannot be created. Of the others only events do.
    pub says_why_pods_lack: bool,
    /// Its status counts pods that are terminating, and those that have finished.
    pub counts_terminating: bool,
    /// Its status may count a rollout as complete while old pods are left.
    pub overlooks_old_pods: bool,
}

impl WorkloadKind {
    /// What its controller does.
    pub const fn capabilities(self) -> Capabilities {
        match self {
            Self::Deployment => Capabilities {
                revisions: RevisionsIn::ReplicaSets,
                held_by: Some(HeldBy::Paused),
                ordinals: false,
                surges: true,
                says_why_pods_lack: true,
                counts_terminating: false,
                overlooks_old_pods: true,
            },
            Self::StatefulSet => Capabilities {
                revisions: RevisionsIn::ControllerRevisions,
                held_by: Some(HeldBy::Partition),
                ordinals: true,
                surges: false,
                says_why_pods_lack: false,
                counts_terminating: true,
                overlooks_old_pods: true,
            },
            Self::DaemonSet => Capabilities {
                revisions: RevisionsIn::Generations,
                held_by: None,
                ordinals: false,
                surges: false,
                says_why_pods_lack: false,
                counts_terminating: true,
                overlooks_old_pods: false,
            },
        }
    }

    /// Where its revisions are kept.
    pub const fn revisions(self) -> RevisionsIn {
        self.capabilities().revisions
    }

    /// Whether its revisions are kept in ReplicaSets.
    pub const fn has_replica_sets(self) -> bool {
        matches!(self.revisions(), RevisionsIn::ReplicaSets)
    }

    /// Whether its revisions are kept in ControllerRevisions.
    pub const fn has_controller_revisions(self) -> bool {
        matches!(self.revisions(), RevisionsIn::ControllerRevisions)
    }

    /// Whether admission can hold its changes, and records who approves them.
    pub const fn can_be_held(self) -> bool {
        self.capabilities().held_by.is_some()
    }

    /// Whether its pods are numbered.
    pub const fn has_ordinals(self) -> bool {
        self.capabilities().ordinals
    }
}
