//! What users write and read: the `UpgradePolicy`, the marks on other objects, and the CRD made from them.

pub mod crd;
pub mod marks;
pub mod period;
pub mod policy;
pub mod status;

pub use period::Period;
pub use policy::{
    Approval, ChangeCause, ConfigKind, ConfigPattern, ConfigSpec, GatesSpec, IncludeOwned, Limit, Mode, OnChange, RolloutSpec, Together,
    UpgradePolicy, UpgradePolicySpec, WhenUngoverned, WindowSpec, WindowType, WorkloadKind,
};
pub use status::{Attention, HoldStatus, Phase, Reason, UpgradePolicyStatus, WorkloadCounts};
