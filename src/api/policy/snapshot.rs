//! `gates.snapshot`: snapshots of the volumes of a workload before a change.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Period;

/// Takes a snapshot of each volume that the pods use, and lets the change go when all of them are
/// ready.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotGate {
    /// The VolumeSnapshotClass. If absent, the default class of the volume's CSI driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,

    /// How far a snapshot must be.
    #[serde(default)]
    pub wait_for: SnapshotStage,

    /// A snapshot that takes longer is reported as failed. The change waits all the same.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10s') && duration(self) <= duration('168h')").message("snapshot.timeout: from 10s to 168h (7 days)"))]
    pub timeout: Period,

    /// Claims of which no snapshot is taken, by name. `*` stands for any characters, as in
    /// `cache-*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253)))]
    pub exclude: Vec<String>,
}

/// How far a snapshot must be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotStage {
    /// It can be restored.
    #[default]
    ReadyToUse,
    /// Its content stands. Drivers that copy it elsewhere afterwards may still fail.
    Cut,
}

fn default_timeout() -> Period {
    Period::known("30m", Duration::from_secs(1800))
}
