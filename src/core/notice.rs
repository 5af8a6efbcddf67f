//! What happened, for events.

use strum::{IntoStaticStr, VariantArray};

use crate::core::observed::{Uid, WorkloadId};

/// An object of storage, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StorageObject {
    /// A PersistentVolumeClaim.
    Claim(String),
    /// A PersistentVolume.
    Volume(String),
    /// A Namespace.
    Namespace(String),
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Regarding {
    /// A workload.
    Workload(WorkloadId),
    /// An object of storage.
    Storage(StorageObject),
    /// An object of any kind.
    Object {
        /// Its API version.
        api_version: String,
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl std::fmt::Display for Regarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload(id) => id.fmt(f),
            Self::Storage(StorageObject::Claim(name)) => write!(f, "PersistentVolumeClaim/{name}"),
            Self::Storage(StorageObject::Volume(name)) => write!(f, "PersistentVolume/{name}"),
            Self::Storage(StorageObject::Namespace(name)) => write!(f, "Namespace/{name}"),
            Self::Object { kind, name, .. } => write!(f, "{kind}/{name}"),
        }
    }
}

/// Something that happened, for an event on what it is about and on the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about.
    pub regarding: Regarding,
    /// Its uid.
    pub uid: Uid,
    /// The policy that governs it, with its uid.
    pub policy: Option<(String, Uid)>,
    /// What.
    pub event: Event,
    /// In a sentence. Never a value from a ConfigMap or Secret.
    pub message: String,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
pub enum Event {
    /// Something that the workload reads changed.
    ConfigChanged,
    /// It was rolled for that.
    ConfigRollout,
    /// It would have to be rolled more often than the limit allows.
    RolloutLimited,
    /// Its rollout makes no progress.
    RolloutFailed,
    /// Its rollout is done.
    RolloutDone,
    /// A manager took our marks away twice.
    MarksReverted,
    /// A changed template is held.
    UpgradeHeld,
    /// A gate keeps a change waiting.
    GateClosed,
    /// The gate that was closed is open.
    GateOpen,
    /// A held change was let through.
    UpgradeReleased,
    /// Somebody with the right to let a change through past its gates.
    HoldBypassed,
    /// Pods were asked to take no new work, and were not idle in time.
    PrepareTimedOut,
    /// A changed template rolls although it should have been held.
    HoldMissed,
    /// A changed template rolls that would have been held if its policy did not only observe.
    WouldHold,
    /// What a held workload runs cannot start again: something that it reads is missing.
    RunningRevisionBroken,
    /// The policy that holds a change went with the CRD.
    PolicyLost,
    /// Admission makes a Deployment's strategy Recreate, or does so no longer.
    StrategyChanged,
    /// The data of a claim is kept from now on, whatever is deleted.
    VolumeProtected,
    /// It is kept no longer.
    VolumeUnprotected,
    /// Nothing refers to a claim whose data is kept, or the claim is gone.
    VolumeOrphaned,
    /// A claim has the volume again that one of its name had before.
    VolumeReadopted,
    /// A claim has another volume than the one with its data.
    VolumeShadowed,
    /// The volume of a claim is to go to a claim of another name, and cannot.
    ConversionRefused,
    /// The names of the two claims of a conversion are reserved for their volume.
    ClaimReserved,
    /// The volume of a claim was handed over to a claim of another name.
    VolumeHandedOver,
    /// A conversion is over.
    ConversionEnded,
    /// A claim whose data is kept is being deleted while pods use it.
    ClaimTerminatingInUse,
    /// Another admission policy or webhook changed something in our write, and that was accepted.
    ChangedByOthers,
    /// Two undo each other's changes of a template.
    ConflictingWriters,
    /// Lockkeeper cannot read an object.
    UnreadableObject,
    /// A workload is stopped for maintenance.
    MaintenanceStarted,
    /// Its maintenance lasts for hours.
    MaintenanceReminder,
    /// It is in service again.
    MaintenanceEnded,
    /// A workload is stopped for an offline upgrade of its policy.
    OfflineUpgradeStarted,
    /// Everything is stopped for it, and the workload's data is to be migrated.
    MigrationStarted,
    /// The data is migrated.
    MigrationDone,
    /// The workload is in service again.
    OfflineUpgradeDone,
}

impl Event {
    /// Whether it is a warning.
    pub fn is_warning(self) -> bool {
        matches!(
            self,
            Self::RolloutLimited
                | Self::RolloutFailed
                | Self::MarksReverted
                | Self::HoldBypassed
                | Self::HoldMissed
                | Self::PrepareTimedOut
                | Self::RunningRevisionBroken
                | Self::PolicyLost
                | Self::VolumeShadowed
                | Self::ConversionRefused
                | Self::ClaimTerminatingInUse
                | Self::ConflictingWriters
                | Self::UnreadableObject
                | Self::MaintenanceReminder
        )
    }

    /// Whether it is only true once the patch that goes with it is accepted.
    pub fn comes_with_patch(self) -> bool {
        matches!(
            self,
            Self::RolloutDone
                | Self::RolloutFailed
                | Self::UpgradeHeld
                | Self::UpgradeReleased
                | Self::HoldBypassed
                | Self::HoldMissed
                | Self::StrategyChanged
                | Self::VolumeProtected
                | Self::VolumeUnprotected
                | Self::VolumeReadopted
                | Self::ClaimReserved
                | Self::VolumeHandedOver
                | Self::ConversionEnded
                | Self::MaintenanceStarted
                | Self::MaintenanceEnded
                | Self::OfflineUpgradeStarted
                | Self::MigrationStarted
                | Self::MigrationDone
                | Self::OfflineUpgradeDone
        )
    }

    /// The reason as Kubernetes shows it.
    pub fn reason(self) -> &'static str {
        self.into()
    }
}
