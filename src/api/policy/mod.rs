//! The spec of an `UpgradePolicy`: what selects its workloads, and a file for each of its sections.

mod app;
mod config;
mod gates;
mod rollout;
mod volumes;

use std::{fmt, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UpgradePolicyStatus;

pub use self::{
    app::{AppGate, CaRef, DEFAULT_PATH, Header, KeyRef, OpenWhen, Otherwise, Port, Prepare, Scheme, Scope, Tls},
    config::{ConfigKind, ConfigPattern, ConfigSpec, Limit, OnChange},
    gates::{Approval, ChangeCause, GatesSpec, WindowSpec, WindowType},
    rollout::{OnFailure, RestartWith, RolloutSpec, StepSpec, Together},
    volumes::{ExclusiveClaims, Protection, Readopt, VolumesSpec, default_orphaned_after},
};

/// What a namespace's workloads may expect of an upgrade.
///
/// Put it next to Deployments, StatefulSets and DaemonSets. A section that is absent is off; an empty one (`config: {}`)
/// switches it on with its defaults.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "lockkeeper.dev",
    version = "v1alpha1",
    kind = "UpgradePolicy",
    plural = "upgradepolicies",
    singular = "upgradepolicy",
    shortname = "up",
    category = "all",
    namespaced,
    status = "UpgradePolicyStatus",
    doc = "How the workloads it selects are upgraded: which config changes roll them, what a changed template waits for, and what a user reads about it.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters, so that it fits a label"),
    printcolumn(json_path = ".status.workloads.total", name = "Workloads", type_ = "integer", description = "Workloads that this policy governs"),
    printcolumn(json_path = ".status.workloads.upToDate", name = "Up-to-date", type_ = "integer", description = "Of these, up to date and done"),
    printcolumn(json_path = ".status.workloads.held", name = "Held", type_ = "integer", description = "Of these, with a changed template that is held"),
    printcolumn(json_path = ".status.workloads.rolling", name = "Rolling", type_ = "integer", description = "Of these, rolling now"),
    printcolumn(json_path = ".status.workloads.failed", name = "Failed", type_ = "integer", description = "Of these, failed to roll out"),
    printcolumn(json_path = r#".status.conditions[?(@.type=="Ready")].status"#, name = "Ready", type_ = "string", description = "Whether the spec is accepted and acted on"),
    printcolumn(json_path = r#".status.conditions[?(@.type=="HoldsEnforced")].status"#, name = "Enforced", type_ = "string", description = "Whether admission holds every workload it should; empty where nothing needs holding"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".status.volumes.orphaned", name = "Orphaned", type_ = "integer", priority = 1, description = "Claims that nothing refers to, and volumes whose claim is gone"),
    printcolumn(json_path = ".status.attention[0].reason", name = "Reason", type_ = "string", priority = 1, description = "Why the most urgent workload is not simply up to date"),
    printcolumn(json_path = ".status.attention[0].message", name = "Message", type_ = "string", priority = 1)
)]
#[x_kube(validation = Rule::new("!has(self.gates) || !has(self.gates.app) || self.gates.app.scope != 'Pod' || 'StatefulSet' in self.kinds").message("spec.gates.app.scope: Pod needs StatefulSet among spec.kinds"))]
#[serde(rename_all = "camelCase")]
pub struct UpgradePolicySpec {
    /// Labels of workloads in this namespace; `{}` selects all of them.
    #[x_kube(
        validation = Rule::new("!has(self.matchLabels) || self.matchLabels.size() <= 64").message("spec.selector.matchLabels: at most 64 labels"),
        validation = Rule::new("!has(self.matchLabels) || self.matchLabels.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))").message("spec.selector.matchLabels: keys must be label keys, such as app or example.com/tier"),
        validation = Rule::new("!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])").message("spec.selector.matchExpressions: operator must be In, NotIn, Exists or DoesNotExist"),
        validation = Rule::new("!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))").message("spec.selector.matchExpressions: In and NotIn need values, Exists and DoesNotExist have none")
    )]
    #[schemars(schema_with = "selector_schema")]
    pub selector: LabelSelector,

    /// Which kinds of workloads; DaemonSet may be added.
    #[serde(default = "default_kinds")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Vec<WorkloadKind>,

    /// Whether workloads that another controller owns are governed too.
    #[serde(default)]
    pub include_owned: IncludeOwned,

    /// Where two policies select a workload the higher one governs it, then the first by name.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,

    /// Enforce: act. Observe: roll and hold nothing, report what would be done. Freeze: let nothing through.
    #[serde(default)]
    pub mode: Mode,

    /// What becomes of a held change when its workload stops being governed: it is released, or it stays held until somebody bypasses it.
    #[serde(default)]
    pub when_ungoverned: WhenUngoverned,

    /// Changes in ConfigMaps and Secrets roll the workloads that read them. Absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSpec>,

    /// What a change waits for before the first pod is touched. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesSpec>,

    /// How rollouts are made and followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
    /// What keeps the data of its workloads safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesSpec>,
}

impl UpgradePolicySpec {
    /// How long a rollout may go without progress: `rollout.deadline`, 10 minutes without one.
    pub fn deadline(&self) -> Duration {
        self.rollout.as_ref().map_or(rollout::DEFAULT_DEADLINE, |rollout| rollout.deadline.length())
    }

    /// Whether template changes of its workloads must be held: some gate applies to them, or the policy freezes. A policy that observes
    /// holds nothing.
    pub fn needs_holds(&self) -> bool {
        match self.mode {
            Mode::Observe => false,
            Mode::Freeze => true,
            Mode::Enforce => {
                self.gates.as_ref().is_some_and(|gates| gates.any() && gates.applies_to.contains(&ChangeCause::Template))
                    || self.rollout.as_ref().is_some_and(|rollout| rollout.max_concurrent.is_some() || !rollout.steps.is_empty())
            }
        }
    }

    /// The app gate, if it is asked about such changes.
    pub fn app_gate(&self, causes: &[ChangeCause]) -> Option<&AppGate> {
        let gates = self.gates.as_ref()?;
        gates.app.as_ref().filter(|_| causes.iter().any(|cause| gates.applies_to.contains(cause)))
    }

    /// The quiet time before a release, and how long it may last at most: those of `config`, 2 s and 30 s without it.
    pub fn quiet(&self) -> (Duration, Duration) {
        match &self.config {
            Some(config) => (config.settle.length(), config.settle_limit.length()),
            None => (config::default_settle().length(), config::default_settle_limit().length()),
        }
    }

    /// Whether a config change of one workload rolls all workloads of the policy.
    pub fn together(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.together == Together::Config)
    }
}

/// The kinds of workloads that a policy can govern.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        })
    }
}

/// Whether workloads that another controller owns are governed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeOwned {
    /// They are left to their owner.
    #[default]
    Never,
    /// They are governed like all others.
    Always,
}

/// What a policy does with what it sees.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Act.
    #[default]
    Enforce,
    /// Roll and hold nothing; report.
    Observe,
    /// Hold every change, whatever the gates say; a revert passes.
    Freeze,
}

/// What becomes of a held change when its workload stops being governed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenUngoverned {
    /// It is released.
    #[default]
    Release,
    /// It stays held until somebody bypasses it, or a policy takes over.
    Keep,
}

fn default_kinds() -> Vec<WorkloadKind> {
    vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet]
}

const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// The upstream schema without the list and map bounds leaves the cost of the CEL rules unbounded, and the API server refuses that; nor does it
/// say what a label may be.
fn selector_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "Labels of workloads in this namespace; {} selects all of them.",
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "description": "Labels that a workload must have.",
                "maxProperties": 64,
                "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE }
            },
            "matchExpressions": {
                "type": "array",
                "description": "Requirements on labels; all must hold.",
                "maxItems": 32,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "maxLength": 317, "pattern": LABEL_KEY, "description": "The label's key." },
                        "operator": { "type": "string", "maxLength": 16, "description": "In, NotIn, Exists or DoesNotExist." },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                            "description": "For In and NotIn."
                        }
                    }
                }
            }
        }
    })
}
