//! `maintenance`: the workloads of a policy are stopped, or their pods sleep.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Period;

/// Maintenance of all workloads of the policy, and how often a maintenance is reported that lasts.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceSpec {
    /// Whether all workloads of the policy are in maintenance. The annotation
    /// `lockkeeper.dev/maintenance` of a workload beats it.
    #[serde(default)]
    pub mode: MaintenanceMode,
    /// Containers that continue to run their app in pods that sleep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63), pattern("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")), extend("x-kubernetes-list-type" = "set"))]
    pub keep_running: Vec<String>,
    /// A maintenance of a workload that lasts is reported again and again after this time, by an
    /// event.
    #[serde(default = "default_remind_after")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('8760h')").message("maintenance.remindAfter: from 1m to 8760h"))]
    pub remind_after: Period,
}

/// Whether all workloads of a policy are in maintenance.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaintenanceMode {
    /// Only those are for which the annotation asks.
    #[default]
    None,
    /// No pod of them runs.
    Stop,
    /// Their pods run, but the app in them does not.
    Sleep,
}

pub(super) const DEFAULT_REMIND_AFTER: Duration = Duration::from_hours(4);

fn default_remind_after() -> Period {
    Period::known("4h", DEFAULT_REMIND_AFTER)
}
