//! `rollout`: how rollouts are made and followed.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector_schema;
use crate::api::Period;

/// How rollouts are made and followed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Config: a config change of one workload of this policy rolls them all.
    #[serde(default)]
    pub together: Together,
    /// No progress for this long: the rollout counts as failed.
    #[serde(default = "default_deadline")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("rollout.deadline: from 1s to 168h"))]
    pub deadline: Period,
    /// Workloads of this policy that may be under way at once; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent: Option<u32>,
    /// In which order workloads go: those of a step when those of all steps before are done. A workload is in the first step that selects it;
    /// one in no step waits for none. Nobody waits for one that its own user keeps from going on (`paused`, a partition).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepSpec>,
    /// After another workload of the policy has failed, does this one wait, or go on? A cure of the failed one waits for nobody.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Workloads that go together.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// Its name, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Labels of its workloads.
    #[schemars(schema_with = "selector_schema")]
    pub selector: LabelSelector,
    /// Previous: its workloads are rolled whenever those of the step before have rolled, for whatever cause.
    #[serde(default)]
    pub restart_with: RestartWith,
}

/// What rolls the workloads of a step besides changes of their own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartWith {
    /// Nothing.
    #[default]
    Nothing,
    /// A rollout of the step before.
    Previous,
}

/// What a failed rollout means for the other workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They wait.
    #[default]
    Pause,
    /// They go on.
    Continue,
}

/// Which workloads of a policy roll together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Together {
    /// Each by itself.
    #[default]
    None,
    /// A config change of one rolls all.
    Config,
}

pub(super) const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

fn default_deadline() -> Period {
    Period::known("10m", DEFAULT_DEADLINE)
}
