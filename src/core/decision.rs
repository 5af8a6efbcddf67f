//! What is to be done: requests with their preconditions, and what to tell whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};
use strum::{IntoStaticStr, VariantArray};

use crate::api::{Phase, Reason, UpgradePolicyStatus, marks};
use crate::core::{
    config::change::Cause,
    conversation::Call,
    memory::Memory,
    observed::{Uid, WorkloadId},
    volumes::States,
};

/// What is to be done in a namespace.
#[derive(Debug, Default)]
pub struct Decision {
    /// At most one request a workload.
    pub patches: Vec<Patch>,
    /// At most one request an object of storage, with what its success means.
    pub storage: Vec<(StoragePatch, Option<Notice>)>,
    /// For each config rollout among them, the policy and what changed.
    pub rolled: BTreeMap<Uid, (Option<(String, Uid)>, String)>,
    /// The status of each policy, by its name.
    pub statuses: Vec<(String, UpgradePolicyStatus)>,
    /// What is to be said to pods.
    pub calls: Vec<Call>,
    /// Workloads whose controller says only by events why it cannot create pods, and since when
    /// these are missing.
    pub lookups: Vec<(WorkloadId, Uid, Timestamp)>,
    /// What happened, for events.
    pub notices: Vec<Notice>,
    /// How long the gates have kept changes waiting since the last decision.
    pub waited: Vec<(Reason, Duration)>,
    /// What to remember of each workload.
    pub memories: Vec<(Uid, Memory)>,
    /// Why config rollouts that are needed were not begun, each said once.
    pub suppressed: Vec<Reason>,
    /// What metrics count.
    pub census: Census,
    /// Kept data by its state, and its bytes.
    pub volumes: BTreeMap<String, States>,
    /// What stands and was told, to remember.
    pub told: BTreeSet<(Uid, Event)>,
    /// When to look again, even if nothing happens.
    pub wake: Option<Timestamp>,
}

/// What metrics count in a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Governed workloads by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// Workloads some of whose pods may run on old config.
    pub stale: usize,
    /// Since when gates keep a change waiting, where they have for longest.
    pub oldest_hold: Option<Timestamp>,
    /// Since when config differs that should be rolled and waits for something else than gates,
    /// where it has for longest.
    pub oldest_difference: Option<Timestamp>,
    /// Policies by the type and the status of each condition that they have.
    pub conditions: BTreeMap<(String, String), usize>,
    /// What is counted of each policy, by its name.
    pub policies: BTreeMap<String, PolicyCensus>,
}

/// What metrics count of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyCensus {
    /// Its workloads by phase.
    pub phases: BTreeMap<Phase, usize>,
    /// Since when gates keep a change waiting, where they have for longest.
    pub oldest_hold: Option<Timestamp>,
    /// Since when config differs that should be rolled and waits for something else than gates,
    /// where it has for longest.
    pub oldest_difference: Option<Timestamp>,
    /// The status of each of its conditions, by type.
    pub conditions: BTreeMap<String, String>,
}

/// A patch of one workload: annotations of our own, and the config-hash of its template. Does
/// nothing if the workload is no longer the one that was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Which workload.
    pub workload: WorkloadId,
    /// Its uid.
    pub uid: Uid,
    /// The version that was decided on.
    pub resource_version: u64,
    /// The generation that was decided on: a newer template must be judged again.
    pub generation: i64,
    /// Annotations to set, or to remove.
    pub annotations: Vec<(&'static str, Option<String>)>,
    /// Whether the label of what is governed is to be set, or to be removed.
    pub governed: Option<bool>,
    /// The new config-hash of the template, which rolls it; empty: it is removed.
    pub config_hash: Option<String>,
    /// Which of the maps that a patch may write to are there already.
    pub has: Has,
    /// What for.
    pub purpose: Purpose,
}

/// Which maps an object has: a JSON patch must make those that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Has {
    /// `metadata.annotations`.
    pub annotations: bool,
    /// `metadata.labels`.
    pub labels: bool,
    /// The pod template's annotations.
    pub template_annotations: bool,
}

/// What a [`Patch`] is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// The first record of a workload.
    Adopt,
    /// What pods started with, the outcome of a rollout, or who governs.
    Record,
    /// A config rollout; with the time when the change was seen.
    Roll(Cause, Option<Timestamp>),
    /// A held change is let through.
    Release(Release),
    /// The next pod of a StatefulSet is let through.
    Step,
    /// A rollout that is stuck on a volume ends its old pods first.
    Unblock,
    /// The workload is no longer governed.
    Forget {
        /// What must be seen live first, where no policy selects it any more.
        confirm: Option<Confirm>,
    },
}

/// What must be so before a workload is let go that no policy selects any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Our CRD stands; where it is given, with this uid.
    pub definition: Option<String>,
    /// No policy of the namespace selects these labels.
    pub labels: BTreeMap<String, String>,
}

/// Why a held change is let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// All gates are open.
    GatesOpen,
    /// The template is the one again that the pods run.
    Reverted,
    /// Scaled to zero, a StatefulSet forgot the revision that its pods ran: there is nothing left
    /// to hold.
    ScaledToZero,
    /// The template is the one that was there before the hold: another webhook made it look
    /// changed.
    Unchanged,
    /// Its policy holds nothing any more, or does not govern it any more.
    Ungoverned,
}

impl Release {
    /// The cause as metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GatesOpen => "GatesOpen",
            Self::Reverted => "Reverted",
            Self::ScaledToZero => "ScaledToZero",
            Self::Unchanged => "Unchanged",
            Self::Ungoverned => "Ungoverned",
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::GatesOpen => "all gates are open",
            Self::Reverted => "its template was reverted to the one that its pods run",
            Self::ScaledToZero => "it was scaled to zero, and its controller no longer knows the revision that ran before",
            Self::Unchanged => "its template is the same as before",
            Self::Ungoverned => "its policy no longer holds it",
        })
    }
}

impl Patch {
    /// The JSON patch. Generation and uid are tested; and where the workload's annotation map must
    /// be made first, the exact version, so that nobody else's annotation is lost. A failed test is
    /// answered by the API server with 422 Invalid without causes.
    pub fn json(&self) -> Value {
        let mut operations = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": &*self.uid}),
            json!({"op": "test", "path": "/metadata/generation", "value": self.generation}),
        ];
        if !self.has.annotations || (!self.has.labels && self.governed == Some(true)) {
            operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version.to_string()}));
        }
        match self.governed {
            Some(true) if !self.has.labels => {
                operations.push(json!({"op": "add", "path": "/metadata/labels", "value": {marks::GOVERNED: "true"}}))
            }
            Some(true) => operations.push(json!({"op": "add", "path": pointer("/metadata/labels", marks::GOVERNED), "value": "true"})),
            Some(false) => operations.push(json!({"op": "remove", "path": pointer("/metadata/labels", marks::GOVERNED)})),
            None => {}
        }
        if !self.has.annotations && self.annotations.iter().any(|(_, value)| value.is_some()) {
            operations.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
        }
        for (key, value) in &self.annotations {
            let path = pointer("/metadata/annotations", key);
            operations.push(match value {
                Some(value) => json!({"op": "add", "path": path, "value": value}),
                None => json!({"op": "remove", "path": path}),
            });
        }
        let template = "/spec/template/metadata/annotations";
        if self.config_hash.as_deref() == Some("") {
            operations.push(json!({"op": "remove", "path": pointer(template, marks::CONFIG_HASH)}));
        } else if let Some(hash) = &self.config_hash {
            if !self.has.template_annotations {
                operations.push(json!({"op": "add", "path": template, "value": {}}));
            }
            operations.push(
                json!({"op": "add", "path": pointer(template, marks::CONFIG_HASH), "value": hash}),
            );
        }
        Value::Array(operations)
    }
}

/// The JSON pointer of a key in a map of labels or annotations.
pub fn pointer(map: &str, key: &str) -> String {
    format!("{map}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// A patch of a claim, a volume or a namespace. Does nothing if the object is no longer the version
/// that was decided on.
#[derive(Debug, Clone, PartialEq)]
pub struct StoragePatch {
    /// Which object.
    pub object: StorageObject,
    /// Its uid.
    pub uid: Uid,
    /// The version that was decided on.
    pub resource_version: u64,
    /// Labels to set to `"true"`, or to remove.
    pub labels: BTreeMap<&'static str, bool>,
    /// Annotations to set, or to remove.
    pub annotations: BTreeMap<&'static str, Option<String>>,
    /// A volume's new reclaim policy.
    pub reclaim_policy: Option<String>,
    /// The uid of the claim that a volume is for; none: it is for the next claim of that name.
    pub claim_uid: Option<Option<String>>,
    /// The owners that a claim keeps.
    pub owners: Option<Vec<OwnerReference>>,
}

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

impl StoragePatch {
    /// Changes nothing yet.
    pub fn new(object: StorageObject, uid: &Uid, resource_version: u64) -> Self {
        Self {
            object,
            uid: uid.clone(),
            resource_version,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            reclaim_policy: None,
            claim_uid: None,
            owners: None,
        }
    }

    /// Sets or removes a label, if that is not so already.
    pub fn label(&mut self, stands: bool, label: &'static str, wanted: bool) {
        if stands != wanted {
            self.labels.insert(label, wanted);
        }
    }

    /// Sets or removes an annotation, if that is not so already.
    pub fn annotate(
        &mut self,
        stand: &BTreeMap<String, String>,
        mark: &'static str,
        wanted: Option<String>,
    ) {
        if stand.get(mark) != wanted.as_ref() {
            self.annotations.insert(mark, wanted);
        }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self {
            object: _,
            uid: _,
            resource_version: _,
            labels,
            annotations,
            reclaim_policy,
            claim_uid,
            owners,
        } = self;
        labels.is_empty()
            && annotations.is_empty()
            && reclaim_policy.is_none()
            && claim_uid.is_none()
            && owners.is_none()
    }

    /// The merge patch. A resourceVersion in it that is not the object's is answered with a
    /// conflict.
    pub fn json(&self) -> Value {
        let mut metadata =
            json!({"uid": &*self.uid, "resourceVersion": self.resource_version.to_string()});
        if !self.labels.is_empty() {
            let labels = self
                .labels
                .iter()
                .map(|(label, set)| ((*label).to_owned(), set.then_some("true").into()));
            metadata["labels"] = labels.collect::<Map<_, _>>().into();
        }
        if !self.annotations.is_empty() {
            let annotations = self
                .annotations
                .iter()
                .map(|(mark, value)| ((*mark).to_owned(), value.clone().into()));
            metadata["annotations"] = annotations.collect::<Map<_, _>>().into();
        }
        if let Some(owners) = &self.owners {
            metadata["ownerReferences"] = json!(owners);
        }
        let mut body = json!({"metadata": metadata});
        if let Some(policy) = &self.reclaim_policy {
            body["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
        }
        if let Some(uid) = &self.claim_uid {
            body["spec"]["claimRef"] = json!({"uid": uid, "resourceVersion": null});
        }
        body
    }
}

/// What a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
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
        /// Its namespace; empty for an object of the cluster.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Subject {
    /// The namespace of one that names it.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Object { namespace, .. } => namespace,
            Self::Workload(_) | Self::Storage(_) => "",
        }
    }
}

impl std::fmt::Display for Subject {
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
    pub subject: Subject,
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
    /// A claim whose data is kept is being deleted while pods use it.
    ClaimTerminatingInUse,
    /// Another admission policy or webhook changed something in our write, and that was accepted.
    ChangedByOthers,
    /// Two undo each other's changes of a template.
    ConflictingWriters,
    /// Lockkeeper cannot read an object.
    UnreadableObject,
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
                | Self::ClaimTerminatingInUse
                | Self::ConflictingWriters
                | Self::UnreadableObject
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
        )
    }

    /// The reason as Kubernetes shows it.
    pub fn reason(self) -> &'static str {
        self.into()
    }
}
