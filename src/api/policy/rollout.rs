//! `rollout`: how rollouts are made and followed.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector_schema;
use crate::api::Period;

/// In which order, and how many at a time, workloads are rolled, and when a rollout has failed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Whether a config change of one workload rolls all workloads of the policy.
    #[serde(default)]
    pub together: Together,
    /// A rollout without progress for this long has failed.
    #[serde(default = "default_deadline")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("rollout.deadline: from 1s to 168h"))]
    pub deadline: Period,
    /// How many workloads of the policy may roll at the same time. If absent, any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent: Option<u32>,
    /// The order of workloads. The workloads of a step may roll when those of all earlier steps are
    /// done. A workload belongs to the first step that selects it, and to none if no step does.
    /// Later steps do not wait for a workload that its own spec stops (`paused`, a partition).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepSpec>,
    /// What the other workloads of the policy do after the rollout of one has failed. A fix of the
    /// failed workload does not wait.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Workloads that roll in the same step.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// The name of the step, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Selects the workloads of the step by their labels.
    #[schemars(schema_with = "selector_schema")]
    pub selector: LabelSelector,
    /// What rolls the workloads of the step, besides changes of their own.
    #[serde(default)]
    pub restart_with: RestartWith,
}

/// What rolls the workloads of a step besides changes of their own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartWith {
    /// Nothing else.
    #[default]
    Nothing,
    /// Every rollout of the previous step, whatever its cause.
    Previous,
}

/// What a failed rollout means for the other workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The others wait.
    #[default]
    Pause,
    /// The others continue.
    Continue,
}

/// Which workloads of a policy roll together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Together {
    /// Each workload is rolled for its own config.
    #[default]
    None,
    /// A config change of one workload rolls all of them.
    Config,
}

/// `rollout.deadline` of a policy that does not set it.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

fn default_deadline() -> Period {
    Period::known("10m", DEFAULT_DEADLINE)
}
