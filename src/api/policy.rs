//! The spec of an `UpgradePolicy`.

use std::{fmt, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, UpgradePolicyStatus};

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
    printcolumn(json_path = ".status.attention[0].reason", name = "Reason", type_ = "string", priority = 1, description = "Why the most urgent workload is not simply up to date"),
    printcolumn(json_path = ".status.attention[0].message", name = "Message", type_ = "string", priority = 1)
)]
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

/// What a change waits for; all that are set must be open.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatesSpec {
    /// Which changes ask windows and approval; freeze, steps and limits always count.
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

/// Which changes of config roll which workloads, and when.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("duration(self.settle) <= duration(self.settleLimit)").message("spec.config: settle must not be longer than settleLimit"),
    validation = Rule::new("duration(self.settleLimit) <= duration('1h')").message("spec.config.settleLimit: at most 1h")
)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSpec {
    /// Rollout: roll the workloads that read it. Report: only say so.
    #[serde(default)]
    pub on_change: OnChange,

    /// Quiet time after the last change before acting, so that several changes are one rollout.
    #[serde(default = "default_settle")]
    pub settle: Period,

    /// Act at the latest this long after the first change, however many follow.
    #[serde(default = "default_settle_limit")]
    pub settle_limit: Period,

    /// What the app reads by itself, without its pod template naming it. A name or a key may be a glob; what is absent counts as empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub include: Vec<ConfigPattern>,

    /// What the pod template names but whose changes roll nothing; same form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub exclude: Vec<ConfigPattern>,

    /// How many config rollouts one workload may have; beyond it changes are reported and wait.
    #[serde(default)]
    pub limit: Limit,
}

/// What becomes of a config change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// The workloads that read it are rolled.
    #[default]
    Rollout,
    /// It is reported.
    Report,
}

/// The kinds of objects that hold config.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigKind {
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
}

impl fmt::Display for ConfigKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// ConfigMaps or Secrets by name, and optionally only some of their keys; `*` and `?` match as in a shell.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPattern {
    /// ConfigMap or Secret.
    pub kind: ConfigKind,
    /// Name or glob.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = Rule::new("self.matches('^[-a-z0-9.*?]+$')").message("name: lower-case letters, digits, '-' and '.', and the wildcards '*' and '?'"))]
    pub name: String,
    /// Keys or globs; absent: all keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 253), pattern(r"^[-A-Za-z0-9._*?]+$")))]
    pub keys: Vec<String>,
}

/// So many rollouts in so long a time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    /// Config rollouts of one workload within the window.
    #[serde(default = "default_limit_max")]
    #[schemars(range(min = 1, max = 100))]
    pub max: u32,
    /// The window; it moves along.
    #[serde(default = "default_limit_window")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("limit.window: from 1s to 168h"))]
    pub window: Period,
}

impl Default for Limit {
    fn default() -> Self {
        Self { max: default_limit_max(), window: default_limit_window() }
    }
}

/// How rollouts are made and followed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// Config: a config change of one workload of this policy rolls them all.
    #[serde(default)]
    pub together: Together,
    /// No progress for this long: the rollout counts as failed.
    #[serde(default = "default_deadline")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('168h')").message("rollout.deadline: from 1s to 168h"))]
    pub deadline: Period,
}

/// Which workloads of a policy roll together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Together {
    /// Each by itself.
    #[default]
    None,
    /// A config change of one rolls all.
    Config,
}

impl UpgradePolicySpec {
    /// How long a rollout may go without progress: `rollout.deadline`, 10 minutes without one.
    pub fn deadline(&self) -> Duration {
        self.rollout.as_ref().map_or(DEFAULT_DEADLINE, |rollout| rollout.deadline.length())
    }

    /// Whether template changes of its workloads must be held: some gate applies to them, or the policy freezes. A policy that observes
    /// holds nothing.
    pub fn needs_holds(&self) -> bool {
        match self.mode {
            Mode::Observe => false,
            Mode::Freeze => true,
            Mode::Enforce => self.gates.as_ref().is_some_and(|gates| gates.any() && gates.applies_to.contains(&ChangeCause::Template)),
        }
    }

    /// The quiet time before a release, and how long it may last at most: those of `config`, 2 s and 30 s without it.
    pub fn quiet(&self) -> (Duration, Duration) {
        match &self.config {
            Some(config) => (config.settle.length(), config.settle_limit.length()),
            None => (default_settle().length(), default_settle_limit().length()),
        }
    }

    /// Whether a config change of one workload rolls all workloads of the policy.
    pub fn together(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.together == Together::Config)
    }
}

impl GatesSpec {
    /// Whether anything is to be waited for.
    pub fn any(&self) -> bool {
        !self.windows.is_empty() || self.approval != Approval::NotRequired
    }
}

const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

fn default_kinds() -> Vec<WorkloadKind> {
    vec![WorkloadKind::Deployment, WorkloadKind::StatefulSet]
}

fn default_applies_to() -> Vec<ChangeCause> {
    vec![ChangeCause::Template, ChangeCause::Config]
}

fn default_settle() -> Period {
    Period::known("2s", Duration::from_secs(2))
}

fn default_settle_limit() -> Period {
    Period::known("30s", Duration::from_secs(30))
}

fn default_limit_max() -> u32 {
    5
}

fn default_limit_window() -> Period {
    Period::known("1h", Duration::from_secs(3600))
}

fn default_deadline() -> Period {
    Period::known("10m", DEFAULT_DEADLINE)
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
