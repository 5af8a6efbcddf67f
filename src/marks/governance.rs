//! Which policy governs a workload: the annotation `lockkeeper.dev/governance`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::mark::Text;
use crate::api::WhenUngoverned;

/// Which policy governs a workload, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GovernanceMark {
    /// Its name.
    pub policy: Box<str>,
    /// Its uid.
    pub uid: Box<str>,
    /// What becomes of a held change when it no longer governs the workload.
    #[serde(default)]
    pub when_ungoverned: WhenUngoverned,
    /// A digest of what it selects.
    #[serde(default)]
    pub selection: Box<str>,
    /// The uid of our CRD.
    #[serde(default)]
    pub definition: Box<str>,
}

impl fmt::Display for GovernanceMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Text for GovernanceMark {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
