//! What is reported of a workload.

use jiff::Timestamp;

use crate::{
    api::{HoldStatus, Phase, Reason},
    core::gates::blocker::{Closed, GateName},
};

/// What changed, where it is the template; it is named last.
pub const TEMPLATE: &str = "template";
/// What changed, where it is the step that a workload restarts with.
pub const PREVIOUS: &str = "the previous step";

/// Where a workload stands, and why. By default it is up to date.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Its phase.
    pub phase: Phase,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// The gate that keeps a change waiting.
    pub gate: Option<GateName>,
    /// When it goes on, as far as time alone decides that.
    pub until: Option<Timestamp>,
    /// The command that a person can run about it.
    pub command: Option<String>,
}

/// What the status of its policy and the metrics report of a workload. By default it is up to date,
/// and nothing waits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Where it stands, and why.
    pub verdict: Verdict,
    /// The change that waits.
    pub hold: Option<HoldStatus>,
    /// What is known of its config.
    pub config: ConfigReport,
    /// What keeps admission from holding its changes.
    pub marks: MarksReport,
    /// What is known of its app gate.
    pub app_gate: AppGateReport,
    /// The gate that keeps a change waiting, be it told in the verdict or not.
    pub closed: Option<Closed>,
    /// Its pods are being asked about a change.
    pub asks: bool,
    /// A config rollout of ours is under way and takes a slot.
    pub takes_slot: bool,
    /// No pod is ready.
    pub broken: bool,
}

/// What is known of the config of a workload.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigReport {
    /// What changed: config, and last the template or the step before.
    pub changed: Vec<String>,
    /// Some pod may run on old config.
    pub stale: bool,
    /// References adopted while it was not known what the pods started with.
    pub unverified: Vec<String>,
}

/// What keeps admission from holding the changes of a workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MarksReport {
    /// Admission should hold its changes, and it does not carry the marks yet.
    pub missing: bool,
    /// Its annotations are so full that the marks of a hold may not fit: this many bytes are left.
    pub room: Option<usize>,
}

/// What is known of the app gate of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppGateReport {
    /// One of its pods was asked whether the gate works.
    pub asked: bool,
    /// Why it does not.
    pub trouble: Option<String>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new(Phase::UpToDate, Reason::UpToDate, "")
    }
}

impl Verdict {
    /// Where it stands, and why.
    pub fn new(phase: Phase, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, reason, message: message.into(), gate: None, until: None, command: None }
    }

    /// The same, with the command that fixes it.
    #[must_use]
    pub fn with_command(self, command: String) -> Self {
        Self { command: Some(command), ..self }
    }

    /// The same, which lasts until this time.
    #[must_use]
    pub fn until(self, time: Timestamp) -> Self {
        Self { until: Some(time), ..self }
    }

    /// The same before the gate at which a workload stood.
    #[must_use]
    pub fn before_the_gate_of(self, last: &Self) -> Self {
        Self { gate: last.gate, until: last.until, command: last.command.clone(), ..self }
    }

    /// Its phase and its reason.
    pub fn standing(&self) -> (Phase, Reason) {
        (self.phase, self.reason)
    }
}

impl ConfigReport {
    /// What changed of the config that its pods read.
    pub fn changed_config(&self) -> &[String] {
        match self.changed.split_last() {
            Some((last, config)) if [TEMPLATE, PREVIOUS].contains(&last.as_str()) => config,
            _ => &self.changed,
        }
    }

    /// Whether it is to restart because the step before it was rolled out.
    pub fn restarts_with_previous(&self) -> bool {
        self.changed.last().is_some_and(|last| last == PREVIOUS)
    }
}
