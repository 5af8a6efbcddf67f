//! The spec of an `UpgradePolicy`: what selects its workloads, and a file for each of its sections.

mod app;
mod config;
mod gates;
mod maintenance;
mod offline;
mod rollout;
mod snapshot;
mod volumes;

use std::{fmt, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema, core::ApiResource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::UpgradePolicyStatus;

pub use self::{
    app::{
        AppGate, CaRef, DEFAULT_PATH, Header, KeyRef, OpenWhen, Otherwise, Port, Prepare, Scheme,
        Scope, Tls,
    },
    config::{ConfigKind, ConfigPattern, ConfigSpec, Limit, OnChange},
    gates::{Approval, ChangeCause, GatesSpec, WindowSpec, WindowType},
    maintenance::{MaintenanceMode, MaintenanceSpec},
    offline::{MigrateBy, MigrateSpec, OfflineSpec, OfflineWhen},
    rollout::{DEFAULT_DEADLINE, OnFailure, RestartWith, RolloutSpec, StepSpec, Together},
    snapshot::{SnapshotGate, SnapshotStage},
    volumes::{ExclusiveClaims, Protection, Readopt, VolumesSpec, default_orphaned_after},
};

/// How the selected workloads of this namespace are upgraded.
///
/// Put the policy next to Deployments, StatefulSets and DaemonSets. A section that is absent is
/// off. An empty section (`config: {}`) turns it on with its defaults.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "lockkeeper.dev",
    version = "v1alpha1",
    kind = "UpgradePolicy",
    plural = "upgradepolicies",
    singular = "upgradepolicy",
    shortname = "up",
    category = "all",
    category = "lockkeeper",
    namespaced,
    status = "UpgradePolicyStatus",
    doc = "UpgradePolicy says how the workloads that it selects are upgraded: which config changes roll them, and what a changed pod template waits for. Its status reports the phase of each workload, and the reason.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name: at most 63 characters, so that it fits a label"),
    printcolumn(json_path = ".spec.mode", name = "Mode", type_ = "string", description = "Whether the policy enforces, observes or freezes"),
    printcolumn(json_path = ".status.workloads.total", name = "Workloads", type_ = "integer", description = "Workloads that this policy governs"),
    printcolumn(json_path = ".status.workloads.upToDate", name = "Up-to-date", type_ = "integer", description = "Governed workloads that are up to date, with their rollout complete"),
    printcolumn(json_path = ".status.workloads.waitingForGates", name = "Waiting", type_ = "integer", description = "Governed workloads with a change, of template or config, that waits for a gate"),
    printcolumn(json_path = ".status.workloads.rolling", name = "Rolling", type_ = "integer", description = "Governed workloads with a rollout in progress"),
    printcolumn(json_path = ".status.workloads.failed", name = "Failed", type_ = "integer", description = "Governed workloads whose rollout failed"),
    printcolumn(json_path = r#".status.conditions[?(@.type=="Ready")].status"#, name = "Ready", type_ = "string", description = "Whether the spec is accepted and in use"),
    printcolumn(json_path = r#".status.conditions[?(@.type=="HoldsEnforced")].status"#, name = "Enforced", type_ = "string", description = "Whether admission holds every workload that it should hold; empty if the policy holds nothing"),
    printcolumn(json_path = ".metadata.creationTimestamp", name = "Age", type_ = "date"),
    printcolumn(json_path = ".status.workloads.settling", name = "Settling", type_ = "integer", priority = 1, description = "Governed workloads whose config changed a moment ago"),
    printcolumn(json_path = ".status.workloads.limited", name = "Limited", type_ = "integer", priority = 1, description = "Governed workloads that reached their limit of config rollouts"),
    printcolumn(json_path = ".status.workloads.waitsForUser", name = "Waits-for-user", type_ = "integer", priority = 1, description = "Governed workloads whose own spec keeps the rollout from continuing: paused, a partition, OnDelete"),
    printcolumn(json_path = ".status.workloads.would", name = "Would-change", type_ = "integer", priority = 1, description = "Governed workloads that would be rolled or held if the policy enforced"),
    printcolumn(json_path = ".status.volumes.orphaned", name = "Orphaned", type_ = "integer", priority = 1, description = "Protected claims that nothing uses, and volumes whose claim is gone"),
    printcolumn(json_path = ".status.attention[0].reason", name = "Reason", type_ = "string", priority = 1, description = "Why the most urgent workload is not up to date"),
    printcolumn(json_path = ".status.attention[0].message", name = "Message", type_ = "string", priority = 1, description = "The same in a sentence")
)]
#[x_kube(validation = Rule::new("!has(self.gates) || !has(self.gates.app) || self.gates.app.scope != 'Pod' || 'StatefulSet' in self.kinds").message("spec.gates.app.scope: Pod needs StatefulSet among spec.kinds"))]
#[serde(rename_all = "camelCase")]
pub struct UpgradePolicySpec {
    /// Selects workloads in this namespace by their labels. `{}` selects all of them.
    #[x_kube(
        validation = Rule::new("!has(self.matchLabels) || self.matchLabels.size() <= 64").message("spec.selector.matchLabels: at most 64 labels"),
        validation = Rule::new("!has(self.matchLabels) || self.matchLabels.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))").message("spec.selector.matchLabels: keys must be label keys, such as app or example.com/tier"),
        validation = Rule::new("!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist'])").message("spec.selector.matchExpressions: operator must be In, NotIn, Exists or DoesNotExist"),
        validation = Rule::new("!has(self.matchExpressions) || self.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))").message("spec.selector.matchExpressions: In and NotIn need values, Exists and DoesNotExist have none")
    )]
    #[schemars(schema_with = "selector_schema")]
    pub selector: LabelSelector,

    /// The kinds of workloads that the policy governs.
    #[serde(default = "default_kinds")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub kinds: Vec<WorkloadKind>,

    /// Whether the policy also governs workloads that another controller owns.
    #[serde(default)]
    pub include_owned: IncludeOwned,

    /// If several policies select a workload, the one with the highest priority governs it. Among
    /// equals, the first by name does.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,

    /// What the policy does with the changes that it sees.
    #[serde(default)]
    pub mode: Mode,

    /// What happens to a held change when no policy governs its workload any longer.
    #[serde(default)]
    pub when_ungoverned: WhenUngoverned,

    /// Rolls workloads when the ConfigMaps and Secrets that they read change. If absent, config
    /// changes roll nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigSpec>,

    /// What a change waits for before the first pod is replaced. If absent, changes wait for
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesSpec>,

    /// In which order, and how many at a time, workloads are rolled, and when a rollout has failed.
    /// If absent, the defaults apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSpec>,
    /// Protects the data of the workloads, and keeps rollouts from deadlocking on a volume. If
    /// absent, volumes are left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<VolumesSpec>,
    /// Puts all workloads in maintenance, and says how often a maintenance that lasts is reported. If
    /// absent, a workload is in maintenance only if its annotation asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSpec>,
    /// Upgrades for which all workloads of the policy are stopped. If absent, changes roll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline: Option<OfflineSpec>,
}

impl UpgradePolicySpec {
    /// How long a rollout may go without progress: `rollout.deadline`, 10 minutes without one.
    pub fn deadline(&self) -> Duration {
        self.rollout.as_ref().map_or(DEFAULT_DEADLINE, |rollout| rollout.deadline.length())
    }

    /// How often a maintenance is reported that lasts: `maintenance.remindAfter`, 4 hours without
    /// one.
    pub fn remind_after(&self) -> Duration {
        self.maintenance
            .as_ref()
            .map_or(maintenance::DEFAULT_REMIND_AFTER, |all| all.remind_after.length())
    }

    /// Whether template changes of its workloads must be held: some gate applies to them, or the
    /// policy freezes. A policy that observes holds nothing.
    pub fn needs_holds(&self) -> bool {
        match self.mode {
            Mode::Observe => false,
            Mode::Freeze => true,
            Mode::Enforce => self.would_hold(),
        }
    }

    /// Whether it would hold template changes if it enforced: some gate applies to them.
    pub fn would_hold(&self) -> bool {
        self.gates
            .as_ref()
            .is_some_and(|gates| gates.any() && gates.applies_to.contains(&ChangeCause::Template))
            || self.waits_for_others()
    }

    /// Whether its workloads wait for each other: in order, or because all are stopped for a change.
    fn waits_for_others(&self) -> bool {
        let orders = self
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.max_concurrent.is_some() || !rollout.steps.is_empty());
        orders || self.offline.is_some()
    }

    /// Whether such changes wait for something else than the app: also where there is no pod to
    /// ask.
    pub fn waits_without_pods(&self) -> bool {
        let timely = |gates: &GatesSpec| {
            let gates = GatesSpec { app: None, ..gates.clone() };
            gates.any() && gates.applies_to.contains(&ChangeCause::Template)
        };
        match self.mode {
            Mode::Observe => false,
            Mode::Freeze => true,
            Mode::Enforce => self.gates.as_ref().is_some_and(timely) || self.waits_for_others(),
        }
    }

    /// The app gate, if it is asked about such changes.
    pub fn app_gate(&self, causes: &[ChangeCause]) -> Option<&AppGate> {
        let gates = self.gates.as_ref()?;
        gates.app.as_ref().filter(|_| causes.iter().any(|cause| gates.applies_to.contains(cause)))
    }

    /// The quiet time before a release, and how long it may last at most: those of `config`, 2 s
    /// and 30 s without it.
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
#[derive(
    Serialize,
    Deserialize,
    JsonSchema,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    VariantArray,
)]
pub enum WorkloadKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
    /// `apps/v1` DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// All of them.
    pub const ALL: &'static [Self] = Self::VARIANTS;
    /// The API group of all of them.
    pub const GROUP: &'static str = "apps";
    /// The version of all of them.
    pub const VERSION: &'static str = "v1";
    /// The API version of all of them: group and version.
    pub const API_VERSION: &'static str = "apps/v1";

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// Its plural, as it stands in the paths of the API.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }

    /// Its short name for kubectl.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Deployment => "deploy",
            Self::StatefulSet => "sts",
            Self::DaemonSet => "ds",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }

    /// As clients of objects of any kind want it.
    pub fn resource(self) -> ApiResource {
        ApiResource {
            group: Self::GROUP.to_owned(),
            version: Self::VERSION.to_owned(),
            api_version: Self::API_VERSION.to_owned(),
            kind: self.as_str().to_owned(),
            plural: self.plural().to_owned(),
        }
    }
}

impl fmt::Display for WorkloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether workloads that another controller owns are governed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeOwned {
    /// Owned workloads are left to their owner.
    #[default]
    Never,
    /// Owned workloads are governed like all others.
    Always,
}

/// What a policy does with the changes that it sees.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Roll and hold as the policy says.
    #[default]
    Enforce,
    /// Roll nothing and hold nothing new; report. A change that is held stays held.
    Observe,
    /// Hold every change, whatever the gates say. A revert is released immediately.
    Freeze,
}

/// What happens to a held change when no policy governs its workload any longer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WhenUngoverned {
    /// The change is released.
    #[default]
    Release,
    /// The change stays held until a user bypasses it, or another policy governs the workload.
    Keep,
}

fn default_kinds() -> Vec<WorkloadKind> {
    vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet]
}

const LABEL_KEY: &str =
    "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// The upstream schema without the list and map bounds leaves the cost of the CEL rules unbounded,
/// and the API server refuses that; nor does it say what a label may be.
fn selector_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "description": "Selects workloads in this namespace by their labels. {} selects all of them.",
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
                "description": "Requirements on labels. A workload must meet all of them.",
                "maxItems": 32,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "maxLength": 317, "pattern": LABEL_KEY, "description": "The label's key." },
                        "operator": { "type": "string", "maxLength": 16, "description": "How the label relates to the values: In, NotIn, Exists or DoesNotExist." },
                        "values": {
                            "type": "array",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
                            "description": "The values that In and NotIn compare with. Exists and DoesNotExist have none."
                        }
                    }
                }
            }
        }
    })
}
