//! The status of an `UpgradePolicy`: counts that add up, conditions, and the workloads that deserve a look.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr, VariantArray};

use super::{ChangeCause, WorkloadKind};

/// At most so many workloads are listed in [`UpgradePolicyStatus::attention`].
pub const ATTENTION_LIMIT: usize = 50;

/// At most so many pods are listed in [`Attention::answers`].
pub const ANSWERS_LIMIT: usize = 10;

/// The types of [`UpgradePolicyStatus::conditions`].
pub const CONDITIONS: [&str; 7] = ["Ready", "Stalled", "UpToDate", "Governing", "HoldsEnforced", "GatesVerified", "VolumesSafe"];

/// What the operator reports of a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpgradePolicyStatus {
    /// The generation of the spec that this status is about.
    #[serde(default)]
    pub observed_generation: i64,
    /// The governed workloads by phase; the parts add up to the total.
    #[serde(default)]
    pub workloads: WorkloadCounts,
    /// Claims and volumes of data that is kept, those that are left of other times included.
    #[serde(default)]
    pub volumes: VolumeCounts,
    /// Ready, Stalled (absent otherwise), UpToDate, Governing, HoldsEnforced (absent where nothing needs holding),
    /// GatesVerified (absent without an app gate), VolumesSafe (absent without volumes).
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Workloads that are not simply up to date: the failed first, then the held, then the rest, oldest first; at most 50.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub attention: Vec<Attention>,
}

/// Governed workloads by [`Phase`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadCounts {
    /// All.
    pub total: u32,
    /// Run their newest template and config, and are done.
    pub up_to_date: u32,
    /// Config changed; waiting for quiet.
    pub settling: u32,
    /// Their changed template is held.
    pub held: u32,
    /// Config differs and may not roll now.
    pub waiting: u32,
    /// Rolling out.
    pub rolling: u32,
    /// Without progress for longer than the deadline.
    pub failed: u32,
    /// Rolled as often as the limit allows.
    pub limited: u32,
    /// Wait for something that their user holds: `paused`, a partition, `OnDelete`.
    pub waits_for_user: u32,
    /// Would roll, or be held, under another mode.
    pub would: u32,
    /// Up to date, but the policy asks what cannot be given: gates on `OnDelete` or on a DaemonSet.
    pub unsupported: u32,
}

/// What is kept. Only protected ones are in use, or will be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeCounts {
    /// Claims whose volumes outlive them, the idle ones included.
    pub protected: u32,
    /// Of these, those of workloads with 0 replicas, or beyond the last ordinal.
    pub idle: u32,
    /// Claims that nothing refers to, and volumes whose claim is gone.
    pub orphaned: u32,
    /// Their capacity.
    pub orphaned_bytes: u64,
    /// Volumes whose claim of that name is bound to a younger one.
    pub shadowed: u32,
    /// Claims whose volume is gone.
    pub lost: u32,
}

/// Where a governed workload stands; the first that fits.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, IntoStaticStr, VariantArray,
)]
pub enum Phase {
    /// Its changed template is held in admission, before the first pod is touched.
    Held,
    /// The rollout under way made no progress for the policy's deadline.
    Failed,
    /// A user's own `paused`, partition or `OnDelete` keeps the rollout from going on.
    WaitsForUser,
    /// A rollout is under way.
    Rolling,
    /// As many config rollouts as the limit allows; the next when the window has moved on.
    Limited,
    /// Config changed; acting after the quiet time.
    Settling,
    /// Config differs and may not roll.
    Waiting,
    /// Would be rolled if the policy enforced.
    WouldRoll,
    /// Would wait for the gates if the policy enforced.
    WouldHold,
    /// Up to date, but the policy asks what cannot be given.
    Unsupported,
    /// Runs its newest template and config.
    UpToDate,
}

/// Why a workload is in its phase.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
pub enum Reason {
    /// Nothing to do.
    UpToDate,
    /// A rollout of the user's is under way.
    RolloutUnderWay,
    /// A config rollout of ours is under way.
    ConfigRollout,
    /// Somebody else's rollout under way brings the new config along.
    CoveredByRollout,
    /// No progress within the deadline.
    DeadlineExceeded,
    /// `spec.paused` is set.
    Paused,
    /// The partition keeps ordinals on the old revision.
    Partitioned,
    /// The update strategy is OnDelete.
    OnDelete,
    /// The limit of config rollouts is reached.
    LimitReached,
    /// Config changed less than the quiet time ago.
    ConfigChanged,
    /// A required ConfigMap, Secret or key is missing.
    ConfigMissing,
    /// As many config rollouts as the cluster allows are under way.
    WaitingForSlot,
    /// A user undid our rollout.
    RolledBack,
    /// Another manager took our marks away twice.
    MarksReverted,
    /// The API server or an admission webhook refuses our patch.
    PatchRefused,
    /// Our patch gets no answer.
    PatchFailing,
    /// `mode: Observe`.
    ObserveMode,
    /// `config.onChange: Report`.
    ReportOnly,
    /// The change is held until nothing else changes for a while.
    QuietTime,
    /// `mode: Freeze`.
    Frozen,
    /// No maintenance window is open.
    WindowClosed,
    /// Nobody with the right to has approved the change yet.
    ApprovalRequired,
    /// All gates are open; the hold is being taken off.
    Releasing,
    /// The change stays held because its policy says `whenUngoverned: Keep` and governs it no longer.
    KeptUngoverned,
    /// The steps before are not done.
    StepWaits,
    /// As many workloads of the policy are under way as `rollout.maxConcurrent` allows.
    MaxConcurrent,
    /// Another workload of the policy has failed, and `rollout.onFailure` is Pause.
    OtherFailed,
    /// The pods are being asked whether they may be ended.
    AskingPods,
    /// A pod says that it may not be ended.
    AppGateClosed,
    /// A Ready pod gives no usable answer.
    AppUnreachable,
    /// Every pod answers that it does not know the path.
    AppMissing,
    /// The annotation `lockkeeper.dev/app-gate` cannot be read.
    AppGateInvalid,
    /// The pods were not idle in `prepare.timeout`; they may work for a while.
    PrepareTimedOut,
    /// The StatefulSet controller waits for a broken pod of a withdrawn revision (kubernetes#67250).
    StuckBehindPod,
    /// A new pod waits for a volume that an old one has, and the old one for the new one.
    StuckOnVolume,
    /// A claim that it uses is being deleted, and would go with its pods.
    ClaimTerminating,
    /// A claim that it uses has another volume than the one with its data.
    VolumeShadowed,
    /// The policy has gates, and this workload cannot be held: `OnDelete`, or a DaemonSet.
    GatesUnsupported,
}

impl Reason {
    /// The reason as status, events and metrics write it.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a condition of a policy stands as it does. Those of `VolumesSafe` that are a danger are [`Danger`](crate::core::volumes::Danger)s.
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
    /// `HoldsEnforced`: the API server does not serve MutatingAdmissionPolicy v1.
    AdmissionUnavailable,
    /// `HoldsEnforced`: an admission policy is not installed.
    AdmissionPolicyMissing,
    /// `HoldsEnforced`: an admission policy is not as it should be.
    AdmissionPolicyChanged,
    /// `GatesVerified`: pods of all workloads answered in form.
    Answered,
    /// `GatesVerified`: some were not asked yet.
    NotAskedYet,
    /// `GatesVerified`: an upgrade would find no usable answer.
    NoUsableAnswer,
    /// `VolumesSafe`: nothing is in danger.
    NoDanger,
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

/// One workload that is not simply up to date.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attention {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub phase: Phase,
    /// Since when it stands there, for this reason.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub message: String,
    /// The change that waits, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldStatus>,
    /// What changed, such as `ConfigMap/web-settings[log.level]`; at most 16 entries. Never a value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub changed: Vec<String>,
    /// What its pods said when they were last asked whether they may be ended; at most 10, those that say no first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub answers: Vec<PodAnswer>,
}

/// What a pod said when it was asked whether it may be ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodAnswer {
    /// The pod's name.
    pub pod: String,
    /// Yes, No, Missing (it does not know the path), Unusable, Hangs, or NotAsked (we could not).
    pub answer: String,
    /// Since when it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub since: Option<Timestamp>,
    /// The app's own words, or what is wrong with the answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
}

/// A change that waits for gates.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HoldStatus {
    /// What approves or bypasses it: the value of the annotations `lockkeeper.dev/approve` and `lockkeeper.dev/bypass`.
    pub id: String,
    /// Who changed the template; empty for a change of config alone, whose author is not known.
    #[serde(default)]
    pub by: String,
    /// What the change consists of.
    #[serde(default)]
    #[schemars(length(max = 2))]
    pub cause: Vec<ChangeCause>,
    /// Who approved it; empty if nobody did.
    #[serde(default)]
    pub approved_by: String,
}
