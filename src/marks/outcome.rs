//! What became of the last rollout that we let through, and which revision was last rolled out: the
//! annotation `lockkeeper.dev/rollout`.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mark::Text;

/// What became of the last rollout, as JSON. Where the annotation is missing or cannot be read, it
/// is as if it said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The revision label's value of the pods of the last rollout that was done, no matter who
    /// began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<Box<str>>,
    /// When that was noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// Since then another revision began, and pods moved: the one that was done is not done any
    /// longer, also when it comes back, before all its pods run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// The change that we let through last: its config-hash, or what the core makes of its template
    /// (`t-` and a digest).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Box<str>>,
    /// Of a change of config, the template that it came with, named in the same way: config-hash
    /// stays in the template afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<str>>,
    /// The generation of the write that let it through: the template of that generation is the
    /// change, whatever others' admission made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// What became of it.
    #[serde(skip_serializing_if = "Ended::is_open")]
    pub ended: Ended,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Who approved that change, if somebody had to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Box<str>>,
    /// Whose bypass let it through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypassed_by: Option<Box<str>>,
    /// Of a workload that restarts with the step before it: by their uids, the rollouts of that
    /// step's workloads that it has followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// The revisions that ran before their data was migrated for a later one, the last one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub migrated: Vec<Box<str>>,
}

/// Rollouts of other workloads, by the beginning of the workload's uid: the revision, and when it
/// was done.
pub type Followed = BTreeMap<String, String>;

/// What became of a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// Nothing yet.
    #[default]
    UnderWay,
    /// All pods are of its template and available.
    Done,
    /// No progress within the deadline. It may still be done.
    Failed,
}

impl Ended {
    fn is_open(&self) -> bool {
        *self == Self::UnderWay
    }
}

/// What is known where nothing is noted.
pub(super) static NOTHING: Outcome = Outcome {
    done: None,
    done_at: None,
    left: false,
    change: None,
    template: None,
    generation: None,
    ended: Ended::UnderWay,
    at: None,
    approved_by: None,
    bypassed_by: None,
    followed: None,
    migrated: Vec::new(),
};

impl Default for Outcome {
    fn default() -> Self {
        NOTHING.clone()
    }
}

impl Outcome {
    /// When the rollout under way began, or last went a step further.
    pub fn begun_at(&self) -> Option<Timestamp> {
        self.at.filter(|_| self.ended == Ended::UnderWay)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Text for Outcome {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
