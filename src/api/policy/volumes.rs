//! `volumes`: what keeps the data of workloads safe.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Period;

/// Protects the data of workloads, and keeps rollouts from deadlocking on a volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumesSpec {
    /// What to do about a Deployment whose rollout could run two pods on an exclusive claim
    /// (ReadWriteOnce, ReadWriteOncePod).
    #[serde(default)]
    pub exclusive_claims: ExclusiveClaims,
    /// Whether data is kept when the objects that it belongs to are deleted. If absent, Retain; or
    /// None for what a StatefulSet's own persistentVolumeClaimRetentionPolicy deletes: all claims
    /// if both fields say Delete, those of pods that are scaled away if only whenScaled does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Whether a new claim gets the volume that an earlier claim of the same name left behind.
    #[serde(default)]
    pub readopt: Readopt,
    /// A protected claim that nothing has used for this long counts as orphaned.
    #[serde(default = "default_orphaned_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('8760h')").message("volumes.orphanedAfter: at most 8760h"))]
    pub orphaned_after: Period,
}

/// What to do about a Deployment whose rollout could run two pods on an exclusive claim.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExclusiveClaims {
    /// Its strategy becomes Recreate where the old and the new pod would block each other, or could
    /// both write to the volume.
    #[default]
    WhenUnsafe,
    /// Its strategy becomes Recreate only where the old and the new pod would block each other. For
    /// apps that tolerate two writers during a rollout.
    WhenDeadlock,
    /// Its strategy becomes Recreate wherever its claim is exclusive.
    Recreate,
    /// The strategy is left alone, and the danger is reported.
    Report,
    /// The strategy is left alone.
    Ignore,
}

/// How far data is protected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The volume outlives its claim.
    Retain,
    /// As Retain, and the deletion of the claim and its namespace is refused. Needs the label
    /// `lockkeeper.dev/allow-deny: "true"` on the namespace; without it, Deny is the same as
    /// Retain, and that is reported.
    Deny,
    /// Nothing is protected. Claims that are protected already stay so until `kubectl lockkeeper
    /// volumes unprotect` is run for each.
    None,
}

/// Whether a new claim gets the volume of an earlier one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readopt {
    /// A claim of the same name in the same namespace gets the volume. A namespace that was deleted
    /// and created again is another namespace.
    #[default]
    SameNamespace,
    /// Only `kubectl lockkeeper volumes readopt` gives the volume to a claim.
    Never,
}

/// Default for the time after which a claim that nothing refers to counts as orphaned.
pub fn default_orphaned_after() -> Period {
    Period::known("10m", Duration::from_secs(600))
}
