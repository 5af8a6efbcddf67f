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

/// How the running pods are asked whether they may be ended.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.scheme == 'HTTPS'").message("gates.app.tls: only with scheme: HTTPS"),
)]
#[serde(rename_all = "camelCase")]
pub struct AppGate {
    /// The path that is asked with GET.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// The number or name of a port that the pods declare; absent: the only one that the first container declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "port_schema")]
    pub port: Option<Port>,
    /// HTTP, or HTTPS: without `tls` encrypted but not verified, as kubelet's probes.
    #[serde(default)]
    pub scheme: Scheme,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('10s')").message("gates.app.timeout: from 100ms to 10s"))]
    pub timeout: Period,
    /// From the beginning of one round of questions to the next.
    #[serde(default = "default_period")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')").message("gates.app.period: from 1s to 10m"))]
    pub period: Period,
    /// In so many rounds in a row every pod must say yes.
    #[serde(default = "default_successes")]
    #[schemars(range(min = 1, max = 10))]
    pub successes: u32,
    /// Which answer is a yes.
    #[serde(default)]
    pub open_when: OpenWhen,
    /// Workload: when all pods agree, all roll. Pod (only StatefulSets): pod by pod, each asked before its turn.
    #[serde(default)]
    pub scope: Scope,
    /// What a Ready pod counts as that gives no usable answer: refused, timed out, an error, not what was expected.
    #[serde(default)]
    pub when_unreachable: Otherwise,
    /// What it means when every pod answers 404, 405 or 501: this app does not speak the protocol.
    #[serde(default)]
    pub when_missing: Otherwise,
    /// When no pod has been Ready or answered for this long, nobody is left to ask, and the gate opens.
    #[serde(default = "default_broken_after")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("gates.app.brokenAfter: from 1s to 24h"))]
    pub broken_after: Period,
    /// Sent with every request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub headers: Vec<Header>,
    /// How the pods are verified under HTTPS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Pods are asked to take no new work before they are asked whether they may be ended. Absent: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Prepare>,
}

/// A port by number or name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Port {
    /// By number.
    Number(u16),
    /// By name.
    Name(String),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// How a pod is talked to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Encrypted.
    Https,
}

/// Which answer is a yes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OpenWhen {
    /// One of these.
    #[serde(default = "default_status")]
    #[schemars(length(min = 1, max = 8), inner(range(min = 200, max = 599)), extend("x-kubernetes-list-type" = "set"))]
    pub status: Vec<u16>,
    /// A JSON pointer (RFC 6901) into the answer, such as `/isUpgradeable`. Absent: the status decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), pattern("^(/([^/~]|~[01])*)+$"))]
    pub field: Option<String>,
    /// What the field must be equal to; any JSON value.
    #[serde(default = "default_equals")]
    #[schemars(schema_with = "any_schema")]
    pub equals: serde_json::Value,
}

impl Default for OpenWhen {
    fn default() -> Self {
        Self { status: default_status(), field: Some("/isUpgradeable".to_owned()), equals: default_equals() }
    }
}

/// Who must agree before what.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All pods, before the first is ended.
    #[default]
    Workload,
    /// Each pod, before it is ended.
    Pod,
}

/// What counts where there is no answer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// As a no.
    #[default]
    Hold,
    /// As a yes.
    Open,
}

/// A header, its value given or taken from a Secret that bears the label `lockkeeper.dev/gate-credential: "true"`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("has(self.value) != has(self.secretKeyRef)").message("gates.app.headers: each has exactly one of value and secretKeyRef"),
    validation = Rule::new("!(self.name.lowerAscii() in ['host', 'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'content-length', 'expect']) && !self.name.lowerAscii().startsWith('lockkeeper-')").message("gates.app.headers: Host, hop-by-hop headers and Lockkeeper's own are set by Lockkeeper"),
)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Its name.
    #[schemars(length(min = 1, max = 64), pattern("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$"))]
    pub name: String,
    /// Its value; no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), pattern("^[ -~]*$"))]
    pub value: Option<String>,
    /// Where its value is. Sent only to pods that are verified by `tls`, unless the chart allows it otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A key of a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The Secret, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How pods are verified under HTTPS.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Where the certificates of the authorities are that sign the pods' certificates.
    pub ca_ref: CaRef,
    /// The name that their certificates are for; absent: the pod's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// A key with certificates in PEM.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// ConfigMap or Secret, in the policy's namespace.
    pub kind: ConfigKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key.
    #[serde(default = "default_ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How pods are asked to take no new work.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Prepare {
    /// The path of POST, which asks for it, and of DELETE, which withdraws it.
    #[serde(default = "default_prepare_path")]
    #[schemars(length(min = 1, max = 256), pattern(PATH))]
    pub path: String,
    /// When the gate has not opened for this long, the pods may take work again, for as long; then it is tried again.
    #[serde(default = "default_prepare_timeout")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')").message("gates.app.prepare.timeout: from 1s to 24h"))]
    pub timeout: Period,
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
    /// Workloads of this policy that may be under way at once; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent: Option<u32>,
    /// In which order workloads go: those of a step when those of all steps before are done. A workload is in the first step that selects it;
    /// one in no step waits for none. Nobody waits for one that its own user keeps from going on (`paused`, a partition).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub steps: Vec<StepSpec>,
    /// After another workload of the policy has failed, does this one wait, or go on? A cure of the failed one waits for nobody.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Workloads that go together.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StepSpec {
    /// Its name, for messages.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Labels of its workloads.
    #[schemars(schema_with = "selector_schema")]
    pub selector: LabelSelector,
    /// Previous: its workloads are rolled whenever those of the step before have rolled, for whatever cause.
    #[serde(default)]
    pub restart_with: RestartWith,
}

/// What rolls the workloads of a step besides changes of their own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartWith {
    /// Nothing.
    #[default]
    Nothing,
    /// A rollout of the step before.
    Previous,
}

/// What a failed rollout means for the other workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They wait.
    #[default]
    Pause,
    /// They go on.
    Continue,
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

/// What keeps the data of workloads safe.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumesSpec {
    /// What becomes of a Deployment whose rollouts could run two pods on a claim that only one may hold (ReadWriteOnce, ReadWriteOncePod).
    #[serde(default)]
    pub exclusive_claims: ExclusiveClaims,
    /// Whether the data is kept whatever is deleted. Absent: Retain, except for a StatefulSet whose own retention policy says Delete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// Whether a claim that is made anew under the same name gets the volume that is left of the one before.
    #[serde(default)]
    pub readopt: Readopt,
    /// A retained claim that nothing refers to for so long counts as orphaned.
    #[serde(default = "default_orphaned_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('8760h')").message("volumes.orphanedAfter: at most 8760h"))]
    pub orphaned_after: Period,
}

/// What becomes of a Deployment whose rollouts could run two pods on an exclusive claim.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExclusiveClaims {
    /// Its strategy becomes Recreate where two pods would block each other, or mount the claim twice.
    #[default]
    WhenUnsafe,
    /// Its strategy becomes Recreate wherever its claim is exclusive.
    Recreate,
    /// It is reported.
    Report,
    /// Nothing.
    Ignore,
}

/// How far data is protected.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// The volume outlives its claim.
    Retain,
    /// The deletion of the claim and of its namespace is refused too, where the platform allows that: namespaces with the label
    /// `lockkeeper.dev/allow-deny: "true"`. Elsewhere the same as Retain, and reported.
    Deny,
    /// It is not. What was protected before stays so until that is given up for each claim.
    None,
}

/// Whether data is found again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readopt {
    /// By a claim of the same name in the very same namespace.
    #[default]
    SameNamespace,
    /// Only by hand.
    Never,
}

/// When a claim that nothing refers to counts as orphaned, if nobody says otherwise.
pub fn default_orphaned_after() -> Period {
    Period::known("10m", Duration::from_secs(600))
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
            None => (default_settle().length(), default_settle_limit().length()),
        }
    }

    /// Whether a config change of one workload rolls all workloads of the policy.
    pub fn together(&self) -> bool {
        self.rollout.as_ref().is_some_and(|rollout| rollout.together == Together::Config)
    }
}

impl AppGate {
    /// Whether ConfigMaps or Secrets must be read before its pods can be asked.
    pub fn needs_credentials(&self) -> bool {
        self.tls.is_some() || self.headers.iter().any(|header| header.secret_key_ref.is_some())
    }
}

impl GatesSpec {
    /// Whether anything is to be waited for.
    pub fn any(&self) -> bool {
        let Self { applies_to: _, windows, approval, app } = self;
        !windows.is_empty() || *approval != Approval::NotRequired || app.is_some()
    }
}

/// The form of a path: what may stand in one, percent-encoded or not, and a query.
const PATH: &str = "^/[-A-Za-z0-9._~!$&'()*+,;=:@%/?]*$";

/// The path that pods are asked at without another word.
pub const DEFAULT_PATH: &str = "/upgradeable";

fn default_path() -> String {
    DEFAULT_PATH.to_owned()
}

fn default_prepare_path() -> String {
    "/prepare-upgrade".to_owned()
}

fn default_prepare_timeout() -> Period {
    Period::known("30m", Duration::from_secs(1800))
}

fn default_timeout() -> Period {
    Period::known("2s", Duration::from_secs(2))
}

fn default_period() -> Period {
    Period::known("5s", Duration::from_secs(5))
}

fn default_broken_after() -> Period {
    Period::known("5m", Duration::from_secs(300))
}

fn default_successes() -> u32 {
    1
}

fn default_status() -> Vec<u16> {
    vec![200]
}

fn default_equals() -> serde_json::Value {
    serde_json::Value::Bool(true)
}

fn default_ca_key() -> String {
    "ca.crt".to_owned()
}

fn port_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "The number or name of a port that the pods declare; absent: the only one that the first container declares.",
        "x-kubernetes-int-or-string": true,
        "x-kubernetes-validations": [{
            "rule": "type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$')",
            "message": "gates.app.port: a number from 1 to 65535, or the name of a port"
        }]
    })
}

fn any_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "What the field must be equal to: any JSON value, such as true or a text.",
        "x-kubernetes-preserve-unknown-fields": true
    })
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
