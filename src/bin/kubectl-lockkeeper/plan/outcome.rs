//! What would come of an apply, as it is told.

use std::fmt;

use serde::Serialize;

/// What would come of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// The API server would not take it.
    Refused,
    /// Its pods would be renewed, at once.
    Roll,
    /// Its change would be held until the gates of its policy are open.
    Hold,
    /// Its pods would be renewed for the config that they read.
    ConfigRoll,
    /// The same, once the gates of its policy are open.
    ConfigHold,
    /// Its policy would only say what it would do.
    Report,
    /// What it reads changes, and its pods keep what they started with.
    NotRolled,
    /// It would wait for something that its manifest holds.
    WaitsForUser,
    /// A held change would be taken back.
    Withdraw,
    /// It would be made.
    Create,
    /// It would have another number of pods.
    Scale,
    /// A policy would govern it, or another one than now.
    Governed,
    /// No policy would govern it any more.
    LetGo,
    /// A policy would be another one.
    Policy,
    /// Nothing that Lockkeeper sees to.
    Unchanged,
}

impl Outcome {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Refused => "would be refused",
            Self::Roll => "would roll out immediately",
            Self::Hold => "would be held",
            Self::ConfigRoll => "would roll for its config",
            Self::ConfigHold => "would roll for its config, later",
            Self::Report => "would only be reported",
            Self::NotRolled => "would keep its old config",
            Self::WaitsForUser => "would wait for you",
            Self::Withdraw => "would be reverted",
            Self::Create => "would be created",
            Self::Scale => "would be scaled",
            Self::Governed => "would be governed",
            Self::LetGo => "would no longer be held",
            Self::Policy => "would change",
            Self::Unchanged => "stays as it is",
        }
    }

    /// Whether anything would happen.
    pub fn happens(self) -> bool {
        self != Self::Unchanged
    }

    /// Whether its pods would be renewed, now or later.
    pub fn rolls(self) -> bool {
        matches!(self, Self::Roll | Self::Hold | Self::ConfigRoll | Self::ConfigHold)
    }
}

/// What would come of one object.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its namespace.
    pub namespace: String,
    /// As one writes it for kubectl.
    pub object: String,
    /// What would come of it.
    pub outcome: Outcome,
    /// The policy that would govern it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What changes, by path or key; no values but images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// What it would wait for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<Wait>,
    /// In sentences.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// A gate that a change would wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Which.
    pub gate: &'static str,
    /// What would open it.
    pub message: String,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.gate, self.message)
    }
}

/// What would be in danger, or is not what it seems.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Risk {
    /// Its namespace.
    pub namespace: String,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// What would come of an apply.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What would come of each object.
    pub objects: Vec<Line>,
    /// What would be in danger.
    pub risks: Vec<Risk>,
    /// What could not be looked at, and what follows from that.
    pub notes: Vec<String>,
    /// The objects in the files of which it is not known what would come of them.
    pub unknown: Vec<String>,
}

impl Plan {
    /// Whether anything would happen, as far as is known, or may.
    pub fn happens(&self) -> bool {
        !self.risks.is_empty()
            || !self.unknown.is_empty()
            || self.objects.iter().any(|line| line.outcome.happens())
    }
}
