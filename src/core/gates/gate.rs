//! The shape of a gate.

use crate::{
    api::UpgradePolicySpec,
    core::{
        gates::{
            blocker::{Blocker, GateName},
            change::Change,
            talk::Talk,
        },
        request::SnapshotRequest,
        subject::Subject,
    },
};

/// A gate.
pub struct Gate {
    /// Its name.
    pub name: GateName,
    /// What has to be known to ask it.
    pub needs: Needs,
    /// Whether the author of a policy asks for it.
    pub is_set: fn(&UpgradePolicySpec) -> bool,
    /// Whether this change has to pass it.
    pub applies: fn(&Subject, &Change) -> bool,
    /// Asks it.
    pub ask: fn(&Subject, &Change) -> Answer,
}

/// What has to be known to ask a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The policy, the change and the time.
    Policy,
    /// Also what else is in the namespace.
    Namespace,
    /// Also what pods answer; this is what the change waits for, as "until its pods agree".
    Pods(&'static str),
    /// Also what becomes of snapshots, which are taken for it; this is what the change waits for.
    Snapshots(&'static str),
}

impl Needs {
    /// Whether pods have to be asked. A change that starts pods where none runs does not wait for
    /// them.
    pub const fn asks_pods(self) -> bool {
        match self {
            Self::Policy | Self::Namespace | Self::Snapshots(_) => false,
            Self::Pods(_) => true,
        }
    }
}

/// What gates answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Why the change has to wait; none: it need not.
    pub blocker: Option<Blocker>,
    /// The requests to the pods, if they are asked.
    pub talk: Option<Box<Talk>>,
    /// The snapshots to take now.
    pub snapshots: Vec<SnapshotRequest>,
}

impl Answer {
    /// The change may go.
    pub fn open() -> Self {
        Self::default()
    }

    /// It has to wait.
    pub fn closed(blocker: Blocker) -> Self {
        Self { blocker: Some(blocker), ..Self::default() }
    }
}

impl From<Option<Blocker>> for Answer {
    fn from(blocker: Option<Blocker>) -> Self {
        Self { blocker, ..Self::default() }
    }
}

/// Whether `gates.appliesTo` names what the change consists of.
pub fn applies_to(subject: &Subject, change: &Change) -> bool {
    let gates = subject.ruling.spec().gates.as_ref();
    gates.is_some_and(|gates| change.causes.iter().any(|cause| gates.applies_to.contains(cause)))
}
