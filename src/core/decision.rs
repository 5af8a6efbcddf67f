//! What is to be done: requests with their preconditions, and what to tell whom.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    config::change::Cause,
    gates::conversation::Call,
    world::{Memory, Uid, WorkloadId},
};
use crate::api::{Phase, Reason, UpgradePolicyStatus, marks};

/// What is to be done in a namespace.
#[derive(Debug, Default)]
pub struct Decision {
    /// At most one request a workload.
    pub patches: Vec<Patch>,
    /// For each config rollout among them, the policy and what changed.
    pub rolled: BTreeMap<Uid, (Option<(String, Uid)>, String)>,
    /// The status of each policy, by its name.
    pub statuses: Vec<(String, UpgradePolicyStatus)>,
    /// What is to be said to pods.
    pub calls: Vec<Call>,
    /// What happened, for events.
    pub notices: Vec<Notice>,
    /// How long the gates have kept changes waiting since the last decision.
    pub waited: Vec<(Reason, Duration)>,
    /// What to remember of each workload.
    pub memories: Vec<(Uid, Memory)>,
    /// Why config rollouts that are needed were not begun, each said once.
    pub suppressed: Vec<Reason>,
    /// Workloads some of whose pods may run on old config.
    pub stale: usize,
    /// Governed workloads by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
}

/// A patch of one workload: annotations of our own, and the config-hash of its template. Does nothing if the workload is no longer the
/// one that was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Which workload.
    pub workload: WorkloadId,
    /// Its uid.
    pub uid: Uid,
    /// The version that was decided on.
    pub resource_version: u64,
    /// The generation that was decided on: a newer template must be judged anew.
    pub generation: i64,
    /// Annotations to set, or to remove.
    pub annotations: Vec<(&'static str, Option<String>)>,
    /// Whether the label of what is governed is to be set, or to be removed.
    pub governed: Option<bool>,
    /// The new config-hash of the template, which rolls it; empty: it is removed.
    pub config_hash: Option<String>,
    /// Which of the maps that a patch may write to are there already.
    pub has: Has,
    /// What for.
    pub purpose: Purpose,
}

/// Which maps an object has: a JSON patch must make those that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Has {
    /// `metadata.annotations`.
    pub annotations: bool,
    /// `metadata.labels`.
    pub labels: bool,
    /// The pod template's annotations.
    pub template_annotations: bool,
}

/// What a [`Patch`] is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The first record of a workload.
    Adopt,
    /// What pods started with, the outcome of a rollout, or who governs.
    Record,
    /// A config rollout; with the time when the change was seen.
    Roll(Cause, Option<Timestamp>),
    /// A held change is let through.
    Release(Release),
    /// The next pod of a StatefulSet is let through.
    Step,
    /// The workload is no longer governed.
    Forget {
        /// What must be seen live first, where no policy selects it any more.
        confirm: Option<Confirm>,
    },
}

/// What must be so before a workload is let go that no policy selects any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Our CRD stands; where it is given, with this uid.
    pub definition: Option<String>,
    /// No policy of the namespace selects these labels.
    pub labels: BTreeMap<String, String>,
}

/// Why a held change is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// All gates are open.
    GatesOpen,
    /// The template is the one again that the pods run.
    Reverted,
    /// There is no pod that it would end.
    NothingToEnd,
    /// The template is the one that was there before the hold: another webhook made it look changed.
    Unchanged,
    /// Its policy holds nothing any more, or does not govern it any more.
    Ungoverned,
}

impl Release {
    /// The cause as metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatesOpen => "GatesOpen",
            Self::Reverted => "Reverted",
            Self::NothingToEnd => "NothingToEnd",
            Self::Unchanged => "Unchanged",
            Self::Ungoverned => "Ungoverned",
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::GatesOpen => "all gates are open",
            Self::Reverted => "its template is the one again that its pods run",
            Self::NothingToEnd => "it has no pod that would be ended",
            Self::Unchanged => "its template is the one that was there before",
            Self::Ungoverned => "its policy holds it no more",
        })
    }
}

impl Patch {
    /// The JSON patch. Generation and uid are tested; and where the workload's annotation map must be made first, the exact version, so
    /// that nobody else's annotation is lost. A failed test is answered by the API server with 422 Invalid without causes.
    pub fn json(&self) -> Value {
        let mut operations = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": &*self.uid}),
            json!({"op": "test", "path": "/metadata/generation", "value": self.generation}),
        ];
        if !self.has.annotations || (!self.has.labels && self.governed == Some(true)) {
            operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version.to_string()}));
        }
        match self.governed {
            Some(true) if !self.has.labels => {
                operations.push(json!({"op": "add", "path": "/metadata/labels", "value": {marks::GOVERNED: "true"}}))
            }
            Some(true) => operations.push(json!({"op": "add", "path": pointer("/metadata/labels", marks::GOVERNED), "value": "true"})),
            Some(false) => operations.push(json!({"op": "remove", "path": pointer("/metadata/labels", marks::GOVERNED)})),
            None => {}
        }
        if !self.has.annotations && self.annotations.iter().any(|(_, value)| value.is_some()) {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        for (key, value) in &self.annotations {
            let path = pointer("/metadata/annotations", key);
            operations.push(match value {
                Some(value) => json!({"op": "add", "path": path, "value": value}),
                None => json!({"op": "remove", "path": path}),
            });
        }
        let template = "/spec/template/metadata/annotations";
        if self.config_hash.as_deref() == Some("") {
            operations.push(json!({"op": "remove", "path": pointer(template, marks::CONFIG_HASH)}));
        } else if let Some(hash) = &self.config_hash {
            if !self.has.template_annotations {
                operations.push(json!({"op": "add", "path": template, "value": {}}));
            }
            operations.push(json!({"op": "add", "path": pointer(template, marks::CONFIG_HASH), "value": hash}));
        }
        Value::Array(operations)
    }
}

fn pointer(map: &str, key: &str) -> String {
    format!("{map}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Something that happened, for an event on the workload and on its policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The workload.
    pub workload: WorkloadId,
    /// Its uid.
    pub uid: Uid,
    /// The policy that governs it, with its uid.
    pub policy: Option<(String, Uid)>,
    /// What.
    pub event: Event,
    /// In a sentence. Never a value from a ConfigMap or Secret.
    pub message: String,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Something that the workload reads changed.
    ConfigChanged,
    /// It was rolled for that.
    ConfigRollout,
    /// It would have to be rolled more often than the limit allows.
    RolloutLimited,
    /// Its rollout makes no progress.
    RolloutFailed,
    /// Its rollout is done.
    RolloutDone,
    /// A manager took our marks away twice.
    MarksReverted,
    /// A changed template is held.
    UpgradeHeld,
    /// A gate keeps a change waiting.
    GateClosed,
    /// The gate that was closed is open.
    GateOpen,
    /// A held change was let through.
    UpgradeReleased,
    /// Somebody with the right to let a change through past its gates.
    HoldBypassed,
    /// Pods were asked to take no new work, and were not idle in time.
    PrepareTimedOut,
    /// A changed template rolls although it should have been held.
    HoldMissed,
    /// What a held workload runs cannot start again: something that it reads is missing.
    RunningRevisionBroken,
    /// The policy that holds a change went with the CRD.
    PolicyLost,
}

impl Event {
    /// Whether it is a warning.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::RolloutLimited
                | Self::RolloutFailed
                | Self::MarksReverted
                | Self::HoldBypassed
                | Self::HoldMissed
                | Self::PrepareTimedOut
                | Self::RunningRevisionBroken
                | Self::PolicyLost
        )
    }

    /// Whether it is only true once the patch that goes with it is accepted.
    pub fn comes_with_patch(self) -> bool {
        matches!(
            self,
            Self::RolloutDone | Self::RolloutFailed | Self::UpgradeHeld | Self::UpgradeReleased | Self::HoldBypassed | Self::HoldMissed
        )
    }

    /// The reason as Kubernetes shows it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ConfigChanged => "ConfigChanged",
            Self::ConfigRollout => "ConfigRollout",
            Self::RolloutLimited => "RolloutLimited",
            Self::RolloutFailed => "RolloutFailed",
            Self::RolloutDone => "RolloutDone",
            Self::MarksReverted => "MarksReverted",
            Self::UpgradeHeld => "UpgradeHeld",
            Self::GateClosed => "GateClosed",
            Self::GateOpen => "GateOpen",
            Self::UpgradeReleased => "UpgradeReleased",
            Self::HoldBypassed => "HoldBypassed",
            Self::HoldMissed => "HoldMissed",
            Self::PrepareTimedOut => "PrepareTimedOut",
            Self::RunningRevisionBroken => "RunningRevisionBroken",
            Self::PolicyLost => "PolicyLost",
        }
    }
}
