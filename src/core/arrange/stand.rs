//! Where a workload stands, whether it was just assessed or is at rest.

use jiff::Timestamp;

use crate::{
    api::{Phase, Reason},
    core::{
        finding::Assessment,
        gates::blocker::Closed,
        memory::{Memory, Rest, Shown, Waiting},
    },
};

/// What is shown of a workload that waits for nothing.
static NOTHING: Shown = Shown { hold: None, gate: None, until: None, command: None };

/// What the status of a policy and the metrics are made from.
pub(super) struct Stand<'a> {
    pub phase: Phase,
    pub reason: Reason,
    pub message: &'a str,
    pub shown: &'a Shown,
    pub changed: &'a [String],
    pub stale: bool,
    pub unverified: &'a [String],
    pub unmarked: bool,
    pub cramped: Option<usize>,
    pub closed: Option<Closed>,
    pub asks: bool,
    pub gate_asked: bool,
    pub unverified_gate: Option<&'a str>,
    pub wake: Option<Timestamp>,
    pub memory: &'a Memory,
}

impl<'a> From<&'a Assessment> for Stand<'a> {
    fn from(found: &'a Assessment) -> Self {
        Self {
            phase: found.phase,
            reason: found.reason,
            message: &found.message,
            shown: &found.shown,
            changed: &found.changed,
            stale: found.stale,
            unverified: &found.unverified,
            unmarked: found.unmarked,
            cramped: found.cramped,
            closed: found.closed,
            asks: found.talk.asks,
            gate_asked: found.gate_asked,
            unverified_gate: found.unverified_gate.as_deref(),
            wake: found.wake,
            memory: &found.memory,
        }
    }
}

impl<'a> Stand<'a> {
    /// That of a workload at rest.
    pub fn still(rest: &'a Rest, memory: &'a Memory) -> Self {
        let up_to_date = Self {
            phase: Phase::UpToDate,
            reason: rest.reason,
            message: "",
            shown: &NOTHING,
            changed: &[],
            stale: rest.stale,
            unverified: &rest.unverified,
            unmarked: false,
            cramped: None,
            closed: None,
            asks: false,
            gate_asked: rest.gate_asked,
            unverified_gate: None,
            wake: rest.wake,
            memory,
        };
        let Some(waiting) = rest.waiting.as_deref() else { return up_to_date };
        let Waiting {
            phase,
            message,
            shown,
            changed,
            unmarked,
            cramped,
            takes_slot: _,
            closed,
            asks,
            unverified_gate,
            last_change: _,
            judged: _,
        } = waiting;
        Self {
            phase: *phase,
            message,
            shown,
            changed,
            unmarked: *unmarked,
            cramped: *cramped,
            closed: *closed,
            asks: *asks,
            unverified_gate: unverified_gate.as_deref(),
            ..up_to_date
        }
    }
}
