//! What users write and read: the `UpgradePolicy`, the marks on other objects, and the CRD made
//! from them.

pub mod crd;
pub mod marks;
pub mod period;
pub mod policy;
pub mod status;

pub use period::Period;
pub use policy::{
    AppGate, Approval, CaRef, ChangeCause, ConfigKind, ConfigPattern, ConfigSpec, DEFAULT_DEADLINE,
    ExclusiveClaims, GatesSpec, Header, IncludeOwned, KeyRef, Limit, MaintenanceMode,
    MaintenanceSpec, MigrateBy, MigrateSpec, Mode, OfflineSpec, OfflineWhen, OnChange, OnFailure,
    OpenWhen, Otherwise, Port, Prepare, Protection, Readopt, RestartWith, RolloutSpec, Scheme,
    Scope, SnapshotGate, SnapshotStage, StepSpec, Tls, Together, UpgradePolicy, UpgradePolicySpec,
    VolumesSpec, WhenUngoverned, WindowSpec, WindowType, WorkloadKind,
};
pub use status::{
    Attention, ConditionReason, HoldStatus, Phase, PodAnswer, Reason, Remark, UpgradePolicyStatus,
    VolumeCounts, WorkloadCounts,
};
