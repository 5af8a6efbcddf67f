//! What a gate is asked, and what it answers.

use jiff::Timestamp;

use crate::{
    api::{ChangeCause, Reason, UpgradePolicySpec},
    core::{
        governs::Ruling,
        hold::authors::Authors,
        observed::{Namespace, WorkloadId},
    },
};

/// A change that waits.
#[derive(Debug)]
pub struct Change<'a> {
    /// The namespace.
    pub namespace: &'a Namespace,
    /// The workload it is about.
    pub workload: &'a WorkloadId,
    /// What it consists of.
    pub causes: &'a [ChangeCause],
    /// What approves it.
    pub id: &'a str,
    /// Who changed the template since the revision that runs; none for config alone.
    pub authors: Option<&'a Authors>,
    /// Whether admission records who approves.
    pub recorded: bool,
    /// Who approved it.
    pub approved_by: Option<&'a str>,
    /// Since when it waits.
    pub since: Timestamp,
    /// When something of its policy changed last.
    pub last_change: Timestamp,
}

/// A gate's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It lets the change through.
    Open,
    /// It does not.
    Closed(Closed),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// In one word.
    pub reason: Reason,
    /// In words, with what would open it.
    pub message: String,
    /// When to ask again, if nothing happens before.
    pub ask_again: Option<Timestamp>,
}

impl Gate {
    /// If it is open, the next one.
    #[must_use]
    pub fn and(self, next: impl FnOnce() -> Self) -> Self {
        if self == Self::Open { next() } else { self }
    }
}

/// A gate that needs nothing but the policy, the change and the time.
pub struct TimelyGate {
    /// Its name.
    pub name: &'static str,
    /// What it says when it is closed.
    pub reason: Reason,
    /// Whether it is asked about every change, whatever `gates.appliesTo` says.
    pub always: bool,
    /// Whether it is asked once about the whole change, and not again before each of its pods.
    pub once: bool,
    /// Whether a policy sets it; one that is not set is open.
    pub is_set: fn(&UpgradePolicySpec) -> bool,
    /// Asks it.
    pub ask: fn(&Asked) -> Gate,
}

/// What such a gate looks at.
pub struct Asked<'a> {
    /// What the policy lets happen to the workload.
    pub ruling: Ruling<'a>,
    /// The change.
    pub change: &'a Change<'a>,
    /// Now.
    pub now: Timestamp,
}

impl Gate {
    pub(super) fn closed(reason: Reason, message: String, ask_again: Option<Timestamp>) -> Self {
        Self::Closed(Closed { reason, message, ask_again })
    }
}
