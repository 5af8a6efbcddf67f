//! `volumes`: what keeps the data of workloads safe.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Period;

/// What keeps the data of workloads safe.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumesSpec {
    /// What becomes of a Deployment whose rollouts could run two pods on a claim that only one may hold (ReadWriteOnce, ReadWriteOncePod).
    #[serde(default)]
    pub exclusive_claims: ExclusiveClaims,
    /// Whether the data is kept whatever is deleted. Absent: Retain, except for a StatefulSet whose own retention policy says Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Whether a claim that is made anew under the same name gets the volume that is left of the one before.
    #[serde(default)]
    pub readopt: Readopt,
    /// A retained claim that nothing refers to for so long counts as orphaned.
    #[serde(default = "default_orphaned_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('8760h')").message("volumes.orphanedAfter: at most 8760h"))]
    pub orphaned_after: Period,
}

/// What becomes of a Deployment whose rollouts could run two pods on an exclusive claim.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExclusiveClaims {
    /// Its strategy becomes Recreate where two pods would block each other, or mount the claim twice.
    #[default]
    WhenUnsafe,
    /// Its strategy becomes Recreate wherever its claim is exclusive.
    Recreate,
    /// It is reported.
    Report,
    /// Nothing.
    Ignore,
}

/// How far data is protected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The volume outlives its claim.
    Retain,
    /// The deletion of the claim and of its namespace is refused too, where the platform allows that: namespaces with the label
    /// `lockkeeper.dev/allow-deny: "true"`. Elsewhere the same as Retain, and reported.
    Deny,
    /// It is not. What was protected before stays so until that is given up for each claim.
    None,
}

/// Whether data is found again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readopt {
    /// By a claim of the same name in the very same namespace.
    #[default]
    SameNamespace,
    /// Only by hand.
    Never,
}

/// When a claim that nothing refers to counts as orphaned, if nobody says otherwise.
pub fn default_orphaned_after() -> Period {
    Period::known("10m", Duration::from_secs(600))
}
