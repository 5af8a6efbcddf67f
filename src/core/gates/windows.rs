//! Maintenance windows: a change may go through while an Allow window is open and no Deny window
//! is.

use crate::{
    api::{Reason, UpgradePolicySpec},
    core::{
        calendar::Standing,
        gates::gate::{Asked, Gate, TimelyGate},
    },
};

/// The gate.
pub const GATE: TimelyGate = TimelyGate {
    name: "windows",
    reason: Reason::WindowClosed,
    always: false,
    once: false,
    is_set,
    ask,
};

fn is_set(spec: &UpgradePolicySpec) -> bool {
    spec.gates.as_ref().is_some_and(|gates| !gates.windows.is_empty())
}

fn ask(asked: &Asked) -> Gate {
    match asked.ruling.policy().windows.judge(asked.now) {
        Standing::Open { .. } => Gate::Open,
        Standing::Closed { opens, why } => Gate::closed(Reason::WindowClosed, why, opens),
    }
}
