//! `config`: which changes of ConfigMaps and Secrets roll which workloads.

use std::{fmt, time::Duration};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Period;

/// Which changes of config roll which workloads, and when.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("duration(self.settle) <= duration(self.settleLimit)").message("spec.config: settle must not be longer than settleLimit"),
    validation = Rule::new("duration(self.settleLimit) <= duration('1h')").message("spec.config.settleLimit: at most 1h")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// What happens when config changes.
    #[serde(default)]
    pub on_change: OnChange,

    /// The quiet time after the last change, so that several changes cause one rollout.
    #[serde(default = "default_settle")]
    pub settle: Period,

    /// The longest wait after the first change, however many changes follow.
    #[serde(default = "default_settle_limit")]
    pub settle_limit: Period,

    /// Config that the app reads although its pod template does not name it, for example through
    /// the API. A missing object counts as empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<ConfigPattern>,

    /// Config that the pod template names, but whose changes roll nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<ConfigPattern>,

    /// How many config rollouts one workload may have in a window of time. Further changes wait,
    /// and are reported.
    #[serde(default)]
    pub limit: Limit,
}

impl Default for ConfigSpec {
    fn default() -> Self {
        Self {
            on_change: OnChange::default(),
            settle: default_settle(),
            settle_limit: default_settle_limit(),
            include: Vec::new(),
            exclude: Vec::new(),
            limit: Limit::default(),
        }
    }
}

/// What happens when config changes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// The workloads that read it are rolled.
    #[default]
    Rollout,
    /// The change is only reported.
    Report,
}

/// The kinds of objects that hold config.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
pub enum ConfigKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

impl ConfigKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }

    /// Its plural, as it stands in the paths of the API.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// ConfigMaps or Secrets by name, and optionally only some of their keys. `*` and `?` match as in a
/// shell.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPattern {
    /// The kind of the object.
    pub kind: ConfigKind,
    /// The name of the object, or a pattern.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-a-z0-9.*?]+$')").message("name: lower-case letters, digits, '-' and '.', and the wildcards '*' and '?'"))]
    pub name: String,
    /// Keys, or patterns of keys. If absent, all keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 253), pattern(r"^[-A-Za-z0-9._*?]+$"))
    )]
    pub keys: Vec<String>,
}

/// How many rollouts are allowed in a window of time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// The maximum number of config rollouts of one workload within the window.
    #[serde(default = "default_limit_max")]
    #[schemars(range(min = 1, max = 100))]
    pub max: u32,
    /// The length of the window, which ends now.
    #[serde(default = "default_limit_window")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("limit.window: from 1s to 168h"))]
    pub window: Period,
}

impl Default for Limit {
    fn default() -> Self {
        Self { max: default_limit_max(), window: default_limit_window() }
    }
}

pub(super) fn default_settle() -> Period {
    Period::known("2s", Duration::from_secs(2))
}

pub(super) fn default_settle_limit() -> Period {
    Period::known("30s", Duration::from_secs(30))
}

fn default_limit_max() -> u32 {
    5
}

fn default_limit_window() -> Period {
    Period::known("1h", Duration::from_secs(3600))
}
