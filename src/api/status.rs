//! The status of an `UpgradePolicy`: counts that add up, conditions, and the workloads that deserve
//! a look.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

use super::{ChangeCause, WorkloadKind};

/// Maximum number of workloads listed in [`UpgradePolicyStatus::attention`].
pub const ATTENTION_LIMIT: usize = 50;

/// Maximum number of pods listed in [`Attention::answers`].
pub const ANSWERS_LIMIT: usize = 10;

/// The types of [`UpgradePolicyStatus::conditions`].
pub const CONDITIONS: [&str; 8] = [
    "Ready",
    "Stalled",
    "UpToDate",
    "Governing",
    "HoldsEnforced",
    "GatesVerified",
    "VolumesSafe",
    "InMaintenance",
];

/// What the operator reports about a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradePolicyStatus {
    /// The generation of the spec that this status describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// The number of governed workloads in each phase. The phases add up to the total.
    #[serde(default)]
    pub workloads: WorkloadCounts,
    /// The number of protected claims and volumes, including those that earlier workloads left
    /// behind.
    #[serde(default)]
    pub volumes: VolumeCounts,
    /// Ready, Stalled (only if something is wrong with the spec), UpToDate, Governing,
    /// HoldsEnforced (only if the policy holds changes), GatesVerified (only with an app gate),
    /// VolumesSafe (only with volumes). InMaintenance is there only while a workload is in
    /// maintenance.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Workloads that are not up to date: failed ones first, then held ones, then the rest, each
    /// oldest first. At most 50.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub attention: Vec<Attention>,
}

/// Governed workloads by [`Phase`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadCounts {
    /// All governed workloads.
    pub total: u32,
    /// Run their newest template and config, with the rollout complete.
    pub up_to_date: u32,
    /// Their config changed a moment ago. They wait for the quiet time.
    pub settling: u32,
    /// Their changed template is held.
    pub held: u32,
    /// Their config changed, and something keeps it from rolling: a gate, a missing object, or
    /// another reason.
    pub waiting: u32,
    /// A rollout is in progress.
    pub rolling: u32,
    /// Their rollout made no progress within the deadline.
    pub failed: u32,
    /// They had as many config rollouts as the limit allows.
    pub limited: u32,
    /// Their own spec keeps the rollout from continuing: `paused`, a partition, `OnDelete`.
    pub waits_for_user: u32,
    /// They would be rolled or held if the policy enforced.
    pub would: u32,
    /// Up to date, but the policy has gates and they cannot be held: `OnDelete`, or a DaemonSet.
    pub unsupported: u32,
    /// They are in maintenance: no pod of them runs the app.
    pub maintenance: u32,
    /// A change of template or config waits for a gate. These are also counted in `held` and
    /// `waiting`.
    pub waiting_for_gates: u32,
}

/// The number of claims and volumes that are kept.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeCounts {
    /// Claims whose volume outlives them, including idle ones.
    pub protected: u32,
    /// Of the protected claims, those of workloads with 0 replicas, or of ordinals that no longer
    /// exist.
    pub idle: u32,
    /// Protected claims that nothing uses, and volumes whose claim is gone.
    pub orphaned: u32,
    /// The capacity of the orphaned claims and volumes.
    pub orphaned_bytes: u64,
    /// Volumes with data whose claim is bound to a newer, empty volume.
    pub shadowed: u32,
    /// Claims whose volume is gone.
    pub lost: u32,
}

/// Where a governed workload stands: the first phase that fits.
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
    Display,
    IntoStaticStr,
    VariantArray,
)]
pub enum Phase {
    /// The template changed, and the change is held before the first pod is replaced.
    Held,
    /// The rollout made no progress within the policy's deadline.
    Failed,
    /// The workload is in maintenance: no pod of it runs the app.
    Maintenance,
    /// The workload's own `paused`, partition or `OnDelete` keeps the rollout from continuing.
    WaitsForUser,
    /// A rollout is in progress.
    Rolling,
    /// The limit of config rollouts is reached. The next one starts when the limit allows it.
    Limited,
    /// Config changed. The rollout starts after the quiet time.
    Settling,
    /// Config changed, and something keeps it from rolling.
    Waiting,
    /// The workload would be rolled if the policy enforced.
    WouldRoll,
    /// The change would be held if the policy enforced.
    WouldHold,
    /// Up to date, but the policy has gates, and the workload cannot be held.
    Unsupported,
    /// The workload runs its newest template and config.
    UpToDate,
}

/// Why a workload is in its phase.
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
    IntoStaticStr,
    VariantArray,
)]
pub enum Reason {
    /// Nothing to do.
    UpToDate,
    /// A rollout that a user started is in progress.
    RolloutUnderWay,
    /// A config rollout that Lockkeeper started is in progress.
    ConfigRollout,
    /// A rollout in progress already starts its pods with the new config.
    CoveredByRollout,
    /// The rollout made no progress within the deadline.
    DeadlineExceeded,
    /// `spec.paused` is set.
    Paused,
    /// The partition keeps some pods on the old revision.
    Partitioned,
    /// The update strategy is OnDelete.
    OnDelete,
    /// The limit of config rollouts is reached.
    LimitReached,
    /// Config changed less than the quiet time ago.
    ConfigChanged,
    /// A required ConfigMap, Secret or key is missing.
    ConfigMissing,
    /// As many config rollouts as the cluster allows are in progress.
    WaitingForSlot,
    /// A user undid the config rollout.
    RolledBack,
    /// Another manager removed Lockkeeper's marks twice.
    MarksReverted,
    /// The API server or an admission webhook refuses the patch.
    PatchRefused,
    /// The patch gets no answer.
    PatchFailing,
    /// `mode: Observe`: nothing is rolled, and no gate is asked about a held change.
    ObserveMode,
    /// `config.onChange: Report`.
    ReportOnly,
    /// The change is held until the quiet time is over.
    QuietTime,
    /// `mode: Freeze`.
    Frozen,
    /// No maintenance window is open.
    WindowClosed,
    /// The change is not approved yet.
    ApprovalRequired,
    /// All gates are open, and the hold is being removed.
    Releasing,
    /// No policy governs the workload any longer, and the last one said `whenUngoverned: Keep`.
    KeptUngoverned,
    /// Earlier steps are not done.
    StepWaits,
    /// As many workloads of the policy are rolling as `rollout.maxConcurrent` allows.
    MaxConcurrent,
    /// Another workload of the policy has failed, and `rollout.onFailure` is Pause.
    OtherFailed,
    /// The pods are being asked whether they may be terminated.
    AskingPods,
    /// A pod answers that it may not be terminated.
    AppGateClosed,
    /// A Ready pod gives no usable answer.
    AppUnreachable,
    /// Every pod answers that the path does not exist.
    AppMissing,
    /// The annotation `lockkeeper.dev/app-gate` cannot be read.
    AppGateInvalid,
    /// The pods were not idle within `prepare.timeout`, and may take work for a while.
    PrepareTimedOut,
    /// Snapshots of its volumes are being taken.
    TakingSnapshots,
    /// No snapshot of one of its volumes can be taken. The message says what is missing.
    SnapshotImpossible,
    /// A snapshot of one of its volumes failed, or takes longer than `snapshot.timeout`.
    SnapshotFailed,
    /// The StatefulSet controller waits for a broken pod of an older revision (kubernetes#67250).
    StuckBehindPod,
    /// An old pod should have terminated, and still exists: its node is lost, or a finalizer keeps
    /// it.
    StuckTerminating,
    /// A new pod waits for a volume that an old pod uses, and the old pod is kept until the new one
    /// is ready.
    StuckOnVolume,
    /// A claim of the workload is being deleted, and disappears when its pods are terminated.
    ClaimTerminating,
    /// A claim of the workload is bound to another volume than the one with its data.
    VolumeShadowed,
    /// The policy has gates, and the workload cannot be held: `OnDelete`, or a DaemonSet.
    GatesUnsupported,
    /// Its maintenance has begun, and its pods are stopping.
    GoingDown,
    /// It is stopped for maintenance.
    InMaintenance,
    /// Its maintenance ends, and its pods start.
    MaintenanceEnding,
    /// Its maintenance cannot begin or end. The message says why.
    MaintenanceImpossible,
    /// An offline upgrade waits for other workloads of the policy.
    WaitsForOthers,
    /// All workloads of the policy are stopped for an offline upgrade, and its data is migrated.
    Migrating,
    /// The held change goes back to what ran before the data was migrated.
    DataMigrated,
    /// The workload, or something that belongs to it or is read by it, cannot be read by
    /// Lockkeeper.
    UnreadableObject,
}

impl Reason {
    /// The reason as status, events and metrics write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether it stays so until a person acts: time, other workloads and pods do not end it.
    pub fn waits_for_person(self) -> bool {
        match self {
            Self::ApprovalRequired
            | Self::Frozen
            | Self::OtherFailed
            | Self::AppMissing
            | Self::AppGateInvalid
            | Self::SnapshotImpossible
            | Self::SnapshotFailed
            | Self::KeptUngoverned
            | Self::ObserveMode
            | Self::Paused
            | Self::Partitioned
            | Self::OnDelete
            | Self::ConfigMissing
            | Self::RolledBack
            | Self::MarksReverted
            | Self::StuckTerminating
            | Self::InMaintenance
            | Self::MaintenanceImpossible
            | Self::Migrating
            | Self::DataMigrated => true,
            Self::UpToDate
            | Self::RolloutUnderWay
            | Self::ConfigRollout
            | Self::CoveredByRollout
            | Self::DeadlineExceeded
            | Self::LimitReached
            | Self::ConfigChanged
            | Self::WaitingForSlot
            | Self::PatchRefused
            | Self::PatchFailing
            | Self::ReportOnly
            | Self::QuietTime
            | Self::WindowClosed
            | Self::Releasing
            | Self::StepWaits
            | Self::MaxConcurrent
            | Self::AskingPods
            | Self::TakingSnapshots
            | Self::AppGateClosed
            | Self::AppUnreachable
            | Self::PrepareTimedOut
            | Self::StuckBehindPod
            | Self::StuckOnVolume
            | Self::ClaimTerminating
            | Self::VolumeShadowed
            | Self::GatesUnsupported
            | Self::GoingDown
            | Self::MaintenanceEnding
            | Self::WaitsForOthers
            | Self::UnreadableObject => false,
        }
    }
}

/// Why a condition of a policy stands as it does. Those of `VolumesSafe` that are a danger are
/// [`Danger`](crate::core::volumes::finding::Danger)s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum ConditionReason {
    /// `Ready`: the spec is acted on.
    Accepted,
    /// `Ready`, `Stalled`: it cannot be.
    InvalidSpec,
    /// `Ready`, `Stalled`: a part of it is not, because this installation runs without a feature.
    FeatureOff,
    /// `UpToDate`: all workloads are.
    AllUpToDate,
    /// `UpToDate`: some are not yet.
    InProgress,
    /// `UpToDate`: the rollout of one has failed.
    RolloutFailed,
    /// `Governing`: nothing that is selected is left out.
    AllGoverned,
    /// `Governing`: something is.
    LeftOut,
    /// `HoldsEnforced`: admission holds what it should.
    Enforced,
    /// `HoldsEnforced`: workloads do not carry the marks yet.
    MarksMissing,
    /// `HoldsEnforced`: the annotations of workloads are nearly full.
    NoRoomForMarks,
    /// `HoldsEnforced`: the API server does not serve MutatingAdmissionPolicy v1.
    AdmissionUnavailable,
    /// `HoldsEnforced`: an admission policy is not installed.
    AdmissionPolicyMissing,
    /// `HoldsEnforced`: an admission policy is not as it should be.
    AdmissionPolicyChanged,
    /// `HoldsEnforced`: an admission policy cannot be read.
    AdmissionPolicyUnreadable,
    /// `HoldsEnforced`: the configuration of the webhook is not as it should be.
    WebhookChanged,
    /// `HoldsEnforced`: the configuration of the webhook is not installed.
    WebhookMissing,
    /// `HoldsEnforced`: the API server gets no answer from the webhook.
    WebhookUnreachable,
    /// `GatesVerified`: pods of all workloads answered in form.
    Answered,
    /// `GatesVerified`: some were not asked yet.
    NotAskedYet,
    /// `GatesVerified`: an upgrade would find no usable answer.
    NoUsableAnswer,
    /// `VolumesSafe`: nothing is in danger.
    NoDanger,
    /// `InMaintenance`: some workloads are.
    SomeInMaintenance,
}

/// A word by which a message names what is peculiar about a workload, besides its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr, VariantArray)]
pub enum Remark {
    /// Another controller owns it.
    OwnedBy,
    /// Another reloader acts on it, or something has taken its place.
    OtherReloader,
    /// It is held while the rollout before is not done.
    HeldMidRollout,
    /// Some pods of a StatefulSet would come back older.
    MixedRevisions,
    /// Annotations of its template change again and again, and nothing else does.
    VolatileTemplate,
}

/// A workload that is not up to date.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// The kind of the workload.
    pub kind: WorkloadKind,
    /// The name of the workload.
    pub name: String,
    /// The phase of the workload.
    pub phase: Phase,
    /// Since when the workload has had this phase and reason.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub since: Timestamp,
    /// Why the workload is in this phase.
    pub reason: Reason,
    /// The reason in a sentence, with what to do about it.
    pub message: String,
    /// The gate that keeps the change waiting, if one does: quiet, freeze, windows, approval,
    /// volumes, steps, app or snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// When the workload continues, or its gate is checked again, if time alone decides that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub until: Option<Timestamp>,
    /// The command to run, if there is one that approves or bypasses the change, or fixes the
    /// workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The change that waits, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// What changed, such as `ConfigMap/web-settings[log.level]`, never a value. At most 16
    /// entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub changed: Vec<String>,
    /// The latest answers of the pods to the question whether they may be terminated. At most 10,
    /// with those that answer no first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub answers: Vec<PodAnswer>,
}

/// A pod's answer to the question whether it may be terminated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodAnswer {
    /// The pod's name.
    pub pod: String,
    /// Yes, No, Missing (the path does not exist), Unusable, Hangs, or NotAsked (Lockkeeper could
    /// not ask).
    pub answer: String,
    /// Since when the pod has given this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub since: Option<Timestamp>,
    /// The text of the answer, or what is wrong with it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// A change that waits for gates.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// The id of the change: the value for the annotations `lockkeeper.dev/approve` and
    /// `lockkeeper.dev/bypass`.
    pub id: String,
    /// Who changed the template last. Empty for a change of config alone, whose author is not
    /// known.
    #[serde(default)]
    pub by: String,
    /// Why it waits, in a sentence, without who made it and without commands.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Everybody who changed the template since the revision that runs, at most 16. With `approval:
    /// RequiredFromOther` none of them may approve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub authors: Vec<String>,
    /// What changed.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub cause: Vec<ChangeCause>,
    /// Who approved the change. Empty if it is not approved.
    #[serde(default)]
    pub approved_by: String,
}

impl HoldStatus {
    /// Maximum number of authors that are named.
    pub const AUTHORS_LIMIT: usize = 16;
}
