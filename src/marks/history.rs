//! The last changes of a workload: the annotation `lockkeeper.dev/history`.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::mark::Text;

/// The last changes of a workload, as JSON, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// The name of the key by which it is chained.
    pub key: Box<str>,
    /// The changes.
    pub entries: Vec<Entry>,
    /// The digest of the newest entry that was dropped for want of room; empty if none was.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub after: Box<str>,
    /// The digest of where it begins and where it ends.
    pub seal: Box<str>,
}

/// What kind of change it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeKind {
    /// Of the pod template.
    Template,
    /// Of config alone.
    Config,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// All pods are of it and available.
    Done,
    /// No progress within the deadline. It may still be done.
    Failed,
    /// After it was released, somebody reverted to what ran before.
    Undone,
    /// It was reverted while it was held.
    Withdrawn,
    /// The next change was released before it was done.
    Superseded,
}

/// Why a change was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// All gates were open.
    GatesOpen,
    /// Somebody with the verb `bypass` let it through.
    Bypassed,
    /// It was reverted.
    Reverted,
    /// Its policy held nothing any more.
    Ungoverned,
    /// It started although it was to be held.
    HoldMissed,
    /// Config that it reads changed.
    Config,
    /// Config changed that another workload of its group reads.
    Together,
    /// A pod started with a content that was there only for a while.
    MixedConfig,
    /// It restarts with the step before it.
    Previous,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The number of the entry, from 1.
    pub n: u64,
    /// The id of the change, by which it is approved.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub id: Box<str>,
    /// What kind of change it was.
    pub kind: ChangeKind,
    /// Who wrote it: everybody who changed the template since the one that ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Box<str>>,
    /// There were more authors than are named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_more: bool,
    /// Why it was released.
    pub why: Why,
    /// What changed; no values of config.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summary: Vec<Box<str>>,
    /// Since when it waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Timestamp>,
    /// Who approved it, if somebody had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Box<str>>,
    /// Whose bypass let it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypassed_by: Option<Box<str>>,
    /// When it was released.
    pub released: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
    /// How it ended; none while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<End>,
    /// What its author said about it, in `lockkeeper.dev/note`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
    /// When the operator wrote this entry, the record did not stand as it had left it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub broken: bool,
    /// What a newer version wrote beside that.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
    /// The digest of this entry and the one before.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub mac: Box<str>,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Text for History {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}
