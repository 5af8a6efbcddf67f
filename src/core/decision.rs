//! What is to be done: requests with their preconditions, and what to tell whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    config::change::Cause,
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
    /// What happened, for events.
    pub notices: Vec<Notice>,
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
    /// The new config-hash of the template; this is what rolls.
    pub config_hash: Option<String>,
    /// Whether the workload and its template have annotations already.
    pub has_annotations: (bool, bool),
    /// What for.
    pub purpose: Purpose,
}

/// What a [`Patch`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The first record of a workload.
    Adopt,
    /// What pods started with, the outcome of a rollout, or who governs.
    Record,
    /// A config rollout; with the time when the change was seen.
    Roll(Cause, Option<Timestamp>),
    /// The workload is no longer governed; if no policy selects it any more, only while our CRD stands.
    Forget {
        /// Whether the CRD must be seen to stand first.
        confirm: bool,
    },
}

impl Patch {
    /// The JSON patch. Generation and uid are tested; and where the workload's annotation map must be made first, the exact version, so
    /// that nobody else's annotation is lost. A failed test is answered by the API server with 422 Invalid without causes.
    pub fn json(&self) -> Value {
        let mut operations = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": &*self.uid}),
            json!({"op": "test", "path": "/metadata/generation", "value": self.generation}),
        ];
        let (on_workload, on_template) = self.has_annotations;
        if !on_workload {
            operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version.to_string()}));
        }
        if !on_workload && self.annotations.iter().any(|(_, value)| value.is_some()) {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        for (key, value) in &self.annotations {
            let path = format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"));
            operations.push(match value {
                Some(value) => json!({"op": "add", "path": path, "value": value}),
                None => json!({"op": "remove", "path": path}),
            });
        }
        if let Some(hash) = &self.config_hash {
            if !on_template {
                operations.push(json!({"op": "add", "path": "/spec/template/metadata/annotations", "value": {}}));
            }
            let path = format!("/spec/template/metadata/annotations/{}", marks::CONFIG_HASH.replace('/', "~1"));
            operations.push(json!({"op": "add", "path": path, "value": hash}));
        }
        Value::Array(operations)
    }
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
}

impl Event {
    /// Whether it is a warning.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::RolloutLimited | Self::RolloutFailed | Self::MarksReverted)
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
        }
    }
}
