//! What is known of a workload.

use jiff::Timestamp;
use lockkeeper::api::{Phase, Reason};
use serde::Serialize;

/// The story.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// As one writes it for kubectl.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// The policy that governs it, or did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// That policy is gone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub policy_gone: bool,
    /// The policy only observes it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// What a change of its template would wait for if that policy enforced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub would_wait_for: Vec<&'static str>,
    /// Why no policy governs it, although one selects it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// Where it stands; none if nobody governs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it continues, or its gate is checked again, if time alone decides that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// A further change of its template would be held.
    pub holds_changes: bool,
    /// Why holds are not enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_enforced: Option<String>,
    /// The change that waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Waiting>,
    /// What differs from what its pods run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Its gates, in the order in which they are asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Asked>,
    /// How far its rollout is.
    pub rollout: Counts,
    /// Its pods.
    pub pods: Vec<PodStory>,
    /// What it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<Read>,
    /// What happened, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Happened>,
    /// What can be done, and what it needs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Advice>,
}

/// A change that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What approves it.
    pub id: String,
    /// Who made it; of config nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Their names, those of all who changed the template since the revision that runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authors: Vec<String>,
    /// Since when it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// What else there is to know of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Its template is held; else it is of config, or goes pod by pod.
    pub held: bool,
}

/// A gate's answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Which gate.
    pub name: &'static str,
    /// None: it is not asked before those above are open.
    pub open: Option<bool>,
    /// Why it is closed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// Numbers of pods.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Wanted.
    pub wanted: u32,
    /// Of the newest template.
    pub updated: u32,
    /// Available.
    pub available: u32,
}

/// A pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStory {
    /// Its name.
    pub name: String,
    /// Whether it is ready.
    pub ready: bool,
    /// It is of the newest template of its workload.
    pub newest: bool,
    /// Its revision, as its label says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// It is terminating.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// How far that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
    /// What keeps it from running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What it said when it was last asked whether it may be ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<Said>,
}

/// How a pod that is terminating ends.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ends {
    /// Its containers have ended; its object is still there.
    Finished,
    /// Its grace period ends then.
    Until(Timestamp),
    /// It should have ended by then.
    #[serde(rename_all = "camelCase")]
    Overdue {
        /// When.
        since: Timestamp,
        /// Its node.
        #[serde(skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
}

/// An answer of a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// Yes, No, and so on.
    pub answer: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// In its own words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// Something that it reads, and how that compares with what its pods started with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Read {
    /// Such as `ConfigMap/web[log.level]`.
    pub reference: String,
    /// How it compares.
    pub compared: Compared,
}

/// How what is there compares with what pods started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Compared {
    /// As its pods started with.
    Same,
    /// Another one than its pods started with.
    Different,
    /// Its pods are being renewed for it.
    BeingRolled,
    /// What its pods started with is not known for certain.
    Unverified,
    /// Nobody looks at it.
    NotLookedAt,
}

impl Compared {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Same => "unchanged since its pods started",
            Self::Different => "changed since its pods started",
            Self::BeingRolled => "changed since some of its pods started; these are being replaced",
            Self::Unverified => {
                "assumed to be unchanged: it is not known whether its pods started with it"
            }
            Self::NotLookedAt => "not checked",
        }
    }
}

/// An event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// What, in one word.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// Something that can be done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What it does.
    pub to: String,
    /// How.
    pub command: String,
}

/// For a test's workloads.
#[cfg(test)]
pub fn named(name: &str) -> Story {
    Story { workload: name.to_owned(), namespace: "shop".to_owned(), ..Story::default() }
}
