//! What a change waits for. Each gate is a function of the policy, the change and the time; they
//! are asked in order, and the next not before the one before is open. The last one asks the pods.

pub mod app;
pub mod approval;
pub mod freeze;
pub mod gate;
pub mod pods;
pub mod prepare;
pub mod quiet;
pub mod windows;

use jiff::Timestamp;

use crate::{
    api::Reason,
    core::{
        gates::gate::{Asked, Change, Gate, TimelyGate},
        governs::Ruling,
    },
};

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

/// The gates that need nothing but the policy, the change and the time, in their order.
pub fn in_order() -> &'static [TimelyGate] {
    IN_ORDER
}

/// The same, each asked by itself.
pub fn each(ruling: Ruling, change: &Change, now: Timestamp) -> Vec<(&'static TimelyGate, Gate)> {
    let applies =
        ruling.spec().gates.as_ref().is_some_and(|gates| {
            change.causes.iter().any(|cause| gates.applies_to.contains(cause))
        });
    let asked = Asked { ruling, change, now };
    IN_ORDER
        .iter()
        .filter(|gate| gate.always || applies)
        .map(|gate| (gate, (gate.ask)(&asked)))
        .collect()
}

/// Asks the gates of a policy in order; the first that is closed answers.
pub fn ask(ruling: Ruling, change: &Change, now: Timestamp) -> Gate {
    quiet::ask(ruling.spec(), change, now).and(|| after_quiet(ruling, change, now))
}

/// The same for a change that was quiet long enough already.
pub fn after_quiet(ruling: Ruling, change: &Change, now: Timestamp) -> Gate {
    each(ruling, change, now)
        .into_iter()
        .map(|(_, gate)| gate)
        .find(|gate| *gate != Gate::Open)
        .unwrap_or(Gate::Open)
}
