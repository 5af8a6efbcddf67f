//! Whose data a volume holds: written on the volume, which outlives everything else, and on its
//! claim.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mark::Text;
use crate::api::{Period, Readopt};

/// The annotation `lockkeeper.dev/provenance`, as JSON. A field that comes later needs a default:
/// notes of today must be read then. That of the volume is what counts: those who may write claims
/// are many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The claim's namespace.
    pub namespace: String,
    /// That namespace's uid: one that was created later under the same name may have another owner.
    pub namespace_uid: String,
    /// The claim's name.
    pub claim: String,
    /// The claim's uid.
    pub claim_uid: String,
    /// The volume's name.
    pub volume: String,
    /// The workload that used it, as `Kind/name`.
    pub workload: String,
    /// The policy that had it retained.
    pub policy: String,
    /// When a claim that nothing refers to counts as orphaned.
    pub orphaned_after: Period,
    /// Whether the next claim of that name gets the data.
    pub readopt: Readopt,
    /// A user chose other data for the claim of that name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub put_aside: bool,
}

impl fmt::Display for Provenance {
    /// The order of its fields is fixed: the admission policies look for one of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Text for Provenance {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
