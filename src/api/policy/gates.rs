//! `gates`: what a change waits for.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::AppGate;
use crate::api::Period;

/// What a change waits for; all that are set must be open.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatesSpec {
    /// Which changes ask windows, approval and the app; freeze, steps and limits always count.
    #[serde(default = "default_applies_to")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub applies_to: Vec<ChangeCause>,

    /// When changes may go through. Open while one Allow window is; Deny wins; with Deny windows only, otherwise open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<WindowSpec>,

    /// Whether somebody with the right to must approve each change.
    #[serde(default)]
    pub approval: Approval,

    /// The running pods are asked whether they may be ended. Absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppGate>,
}

impl GatesSpec {
    /// Whether anything is to be waited for.
    pub fn any(&self) -> bool {
        let Self { applies_to: _, windows, approval, app } = self;
        !windows.is_empty() || *approval != Approval::NotRequired || app.is_some()
    }
}

/// What a change consists of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeCause {
    /// The pod template.
    Template,
    /// The config it reads.
    Config,
}

/// A window that opens again and again.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// Allow: changes may go through while it is open. Deny: they may not.
    #[serde(default, rename = "type")]
    pub type_: WindowType,
    /// When it opens: five cron fields (minute, hour, day of month, month, day of week), such as `0 2 * * 1-5`.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,
    /// How long it stays open.
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('744h')").message("windows.duration: from 1m to 744h (31 days)"))]
    pub duration: Period,
    /// The time zone of the schedule by its IANA name, such as `Europe/Zurich`. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// What an open window means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowType {
    /// Changes may go through.
    #[default]
    Allow,
    /// They may not.
    Deny,
}

/// Whose approval a change needs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approval {
    /// None.
    #[default]
    NotRequired,
    /// Somebody's who has the verb `approve` on `upgradepolicies`.
    Required,
    /// The same, and not that of who changed the template.
    RequiredFromOther,
}

fn default_applies_to() -> Vec<ChangeCause> {
    vec![ChangeCause::Template, ChangeCause::Config]
}
