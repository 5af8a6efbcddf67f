//! `gates`: what a change waits for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AppGate, SnapshotGate};
use crate::api::Period;

/// What a change waits for. All gates that are set must be open.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatesSpec {
    /// The changes that wait for windows, approval and the app. Mode Freeze, steps and limits apply
    /// to every change.
    #[serde(default = "default_applies_to")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub applies_to: Vec<ChangeCause>,

    /// When changes may be released: while at least one Allow window is open, and no Deny window
    /// is. Without Allow windows, any time outside of the Deny windows. If absent, any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<WindowSpec>,

    /// Whether a user must approve each change.
    #[serde(default)]
    pub approval: Approval,

    /// Asks the running pods whether they may be terminated. If absent, they are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppGate>,

    /// Takes snapshots of the volumes that the pods use, when all other gates are open. If absent,
    /// none are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotGate>,
}

impl GatesSpec {
    /// Whether anything is to be waited for.
    pub fn any(&self) -> bool {
        let Self { applies_to: _, windows, approval, app, snapshot } = self;
        !windows.is_empty()
            || *approval != Approval::NotRequired
            || app.is_some()
            || snapshot.is_some()
    }
}

/// What a change consists of.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum ChangeCause {
    /// The pod template changed.
    Template,
    /// The config that the workload reads changed.
    Config,
}

/// A recurring window of time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// Whether changes may be released while the window is open.
    #[serde(default, rename = "type")]
    pub type_: WindowType,
    /// When the window opens: five cron fields (minute, hour, day of month, month, day of week),
    /// such as `0 2 * * 1-5`.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// How long the window stays open.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('744h')").message("windows.duration: from 1m to 744h (31 days)"))]
    pub duration: Period,
    /// The time zone of the schedule, by its IANA name such as `Europe/Zurich`. If absent, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// What an open window means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowType {
    /// Changes may be released while it is open.
    #[default]
    Allow,
    /// No change is released while it is open.
    Deny,
}

/// Whose approval a change needs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approval {
    /// No approval is needed.
    #[default]
    NotRequired,
    /// A user with the verb `approve` on `upgradepolicies` must approve.
    Required,
    /// As Required, and the approver must not be a user who changed the template.
    RequiredFromOther,
}

fn default_applies_to() -> Vec<ChangeCause> {
    vec![ChangeCause::Template, ChangeCause::Config]
}
