//! What was observed of snapshots of volumes, as plain data.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::core::observed::ids::Uid;

/// A `VolumeSnapshot`.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What it was taken for, as its labels say; none if they do not.
    pub taken_for: Option<TakenFor>,
    /// The claim whose volume it is of; none of one that was imported.
    pub claim: Option<String>,
    /// The `VolumeSnapshotContent` that it is bound to.
    pub content: Option<String>,
    /// Its content stands.
    pub cut: bool,
    /// It can be restored.
    pub ready: bool,
    /// Why it is not, as its controller says.
    pub error: Option<String>,
}

/// What a snapshot was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenFor {
    /// The id of the change.
    pub change: String,
    /// The uid of the workload.
    pub workload: String,
    /// The uid of the claim.
    pub claim: String,
}

/// A `VolumeSnapshotClass`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotClass {
    /// The CSI driver.
    pub driver: String,
    /// It is the default one of the driver.
    pub is_default: bool,
}

/// A `VolumeSnapshotContent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotContent {
    /// Its uid.
    pub uid: Uid,
    /// The version that was seen.
    pub resource_version: u64,
    /// The namespace of its snapshot.
    pub namespace: String,
    /// The uid of its snapshot.
    pub snapshot_uid: String,
    /// It outlives its snapshot.
    pub retained: bool,
    /// Why it is not ready, as its driver says.
    pub error: Option<String>,
}

/// Whether snapshots can be taken at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Served {
    /// They are not listed yet.
    #[default]
    Unknown,
    /// This installation does not look at them.
    SwitchedOff,
    /// The API server does not know them.
    No,
    /// It serves them.
    Yes,
}

/// What of snapshots belongs to the whole cluster.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Whether snapshots can be taken at all.
    pub served: Served,
    /// The classes by name.
    pub classes: BTreeMap<String, SnapshotClass>,
    /// The contents by name.
    pub contents: BTreeMap<String, SnapshotContent>,
}
