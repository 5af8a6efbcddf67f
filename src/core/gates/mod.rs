//! What a change waits for. Each gate is a function of the policy, the change and the time; they
//! are asked in order, and the next not before the one before is open. The last one asks the pods.

pub mod app;
pub mod approval;
pub mod freeze;
pub mod pods;
pub mod prepare;
pub mod quiet;
pub mod windows;

use jiff::Timestamp;

use crate::api::{ChangeCause, Reason, UpgradePolicySpec};
use crate::core::{
    hold::authors::Authors,
    observed::{Namespace, Policy, WorkloadId},
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
    /// The policy.
    pub policy: &'a Policy,
    /// Its spec; of one that cannot be acted on, a spec that freezes.
    pub spec: &'a UpgradePolicySpec,
    /// The policy's own spec cannot be acted on.
    pub frozen: bool,
    /// The change.
    pub change: &'a Change<'a>,
    /// Now.
    pub now: Timestamp,
}

/// In this order they are asked, after the quiet time and before the turn of the workload and its
/// pods.
const IN_ORDER: &[TimelyGate] = &[freeze::GATE, windows::GATE, approval::GATE];

/// The rank of the gate that waits for other workloads.
pub const STEPS: u8 = IN_ORDER.len() as u8 + 1;
/// The rank of the gate that asks the pods; it is the last.
pub const APP: u8 = STEPS + 1;

/// In which order the gates are asked, by their reasons.
pub fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::QuietTime => 0,
        Reason::ClaimTerminating
        | Reason::VolumeShadowed
        | Reason::StepWaits
        | Reason::MaxConcurrent
        | Reason::OtherFailed => STEPS,
        Reason::AskingPods
        | Reason::AppGateClosed
        | Reason::AppUnreachable
        | Reason::AppMissing
        | Reason::AppGateInvalid
        | Reason::PrepareTimedOut => APP,
        // Past the gates are those that are no gate's.
        _ => (1..)
            .zip(IN_ORDER)
            .find(|(_, gate)| gate.reason == reason)
            .map_or(APP + 1, |(rank, _)| rank),
    }
}

/// Whether it is worth telling that a gate with this reason is closed: it is not where all is well,
/// and will be over in a moment.
pub fn is_told(reason: Reason) -> bool {
    !matches!(reason, Reason::QuietTime | Reason::AskingPods)
}

impl Gate {
    fn closed(reason: Reason, message: String, ask_again: Option<Timestamp>) -> Self {
        Self::Closed(Closed { reason, message, ask_again })
    }
}

/// The gates that need nothing but the policy, the change and the time, in their order.
pub fn in_order() -> &'static [TimelyGate] {
    IN_ORDER
}

/// The same, each asked by itself.
pub fn each(
    policy: &Policy,
    spec: &UpgradePolicySpec,
    frozen: bool,
    change: &Change,
    now: Timestamp,
) -> Vec<(&'static TimelyGate, Gate)> {
    let applies = spec
        .gates
        .as_ref()
        .is_some_and(|gates| change.causes.iter().any(|cause| gates.applies_to.contains(cause)));
    let asked = Asked { policy, spec, frozen, change, now };
    IN_ORDER
        .iter()
        .filter(|gate| gate.always || applies)
        .map(|gate| (gate, (gate.ask)(&asked)))
        .collect()
}

/// Asks the gates of a policy in order; the first that is closed answers. `frozen` freezes whatever
/// the spec says.
pub fn ask(
    policy: &Policy,
    spec: &UpgradePolicySpec,
    frozen: bool,
    change: &Change,
    now: Timestamp,
) -> Gate {
    quiet::ask(spec, change, now).and(|| after_quiet(policy, spec, frozen, change, now))
}

/// The same for a change that was quiet long enough already.
pub fn after_quiet(
    policy: &Policy,
    spec: &UpgradePolicySpec,
    frozen: bool,
    change: &Change,
    now: Timestamp,
) -> Gate {
    each(policy, spec, frozen, change, now)
        .into_iter()
        .map(|(_, gate)| gate)
        .find(|gate| *gate != Gate::Open)
        .unwrap_or(Gate::Open)
}
