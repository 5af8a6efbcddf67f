//! Requests to the API server, each with its preconditions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};

use crate::{
    api::marks,
    core::{
        notice::StorageObject,
        observed::{Uid, WorkloadId, snapshots::TakenFor},
    },
    marks::{MarkSet, StorageMarks},
};

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
    /// What is done to the label of what is governed, which names its judge.
    pub governed: Option<FieldEdit>,
    /// What is done to the config-hash of the template, which rolls it.
    pub config_hash: Option<FieldEdit>,
    /// Which of the maps that a patch may write to are there already.
    pub has: Has,
    /// What for.
    pub purpose: Purpose,
}

/// What is to be done to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldEdit {
    /// It gets this text.
    Set(String),
    /// It is removed.
    Remove,
}

impl FieldEdit {
    /// What the field says afterwards.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Set(text) => Some(text),
            Self::Remove => None,
        }
    }
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
    /// A maintenance begins, goes on, or ends.
    Maintain,
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

impl Patch {
    /// The JSON patch. Generation and uid are tested; and where the workload's annotation map must
    /// be made first, the exact version, so that nobody else's annotation is lost. A failed test is
    /// answered by the API server with 422 Invalid without causes.
    pub fn json(&self) -> Value {
        let mut operations = vec![
            json!({"op": "test", "path": "/metadata/uid", "value": &*self.uid}),
            json!({"op": "test", "path": "/metadata/generation", "value": self.generation}),
        ];
        let makes_labels = !self.has.labels && matches!(self.governed, Some(FieldEdit::Set(_)));
        if !self.has.annotations || makes_labels {
            operations.push(json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version.to_string()}));
        }
        let label = pointer("/metadata/labels", marks::GOVERNED);
        match &self.governed {
            Some(FieldEdit::Set(judge)) if makes_labels => operations.push(
                json!({"op": "add", "path": "/metadata/labels", "value": {marks::GOVERNED: judge}}),
            ),
            Some(FieldEdit::Set(judge)) => {
                operations.push(json!({"op": "add", "path": label, "value": judge}));
            }
            Some(FieldEdit::Remove) => operations.push(json!({"op": "remove", "path": label})),
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
        let path = pointer(template, marks::CONFIG_HASH);
        match &self.config_hash {
            Some(FieldEdit::Set(hash)) => {
                if !self.has.template_annotations {
                    operations.push(json!({"op": "add", "path": template, "value": {}}));
                }
                operations.push(json!({"op": "add", "path": path, "value": hash}));
            }
            Some(FieldEdit::Remove) => operations.push(json!({"op": "remove", "path": path})),
            None => {}
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
    /// What is done to the uid of the claim that a volume is for. Without one it is for the next
    /// claim of that name.
    pub claim_uid: Option<FieldEdit>,
    /// Which claim a volume is handed over to.
    pub hand_over: Option<HandOver>,
    /// The owners that a claim keeps.
    pub owners: Option<Vec<OwnerReference>>,
}

/// From which claim to which one a volume goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOver {
    /// The claim that has it. When the request is sent, no pod may use it.
    pub from: String,
    /// The claim that gets it.
    pub to: String,
    /// Its uid.
    pub uid: Uid,
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
            hand_over: None,
            owners: None,
        }
    }

    /// Sets or removes a label, if that is not so already.
    pub fn label(&mut self, stands: bool, label: &'static str, wanted: bool) {
        if stands != wanted {
            self.labels.insert(label, wanted);
        }
    }

    /// Writes what makes these marks those.
    pub fn write(&mut self, now: &StorageMarks, wanted: &StorageMarks) {
        self.annotations.extend(now.diff(wanted));
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
            hand_over,
            owners,
        } = self;
        labels.is_empty()
            && annotations.is_empty()
            && reclaim_policy.is_none()
            && claim_uid.is_none()
            && hand_over.is_none()
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
            body["spec"]["claimRef"] = json!({"uid": uid.text(), "resourceVersion": null});
        }
        if let Some(HandOver { to: name, uid, .. }) = &self.hand_over {
            body["spec"]["claimRef"] =
                json!({"name": name, "uid": &**uid, "resourceVersion": null});
        }
        body
    }
}

/// A request about a snapshot of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// The name of the snapshot.
    pub name: String,
    /// The uid of the claim.
    pub claim_uid: Uid,
    /// The workload whose change waits for it.
    pub workload: WorkloadId,
    /// Its uid.
    pub workload_uid: Uid,
    /// What is to be done.
    pub step: SnapshotStep,
}

/// What is to be done about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotStep {
    /// It is created.
    Take {
        /// The claim.
        claim: String,
        /// The class.
        class: String,
        /// What it is taken for.
        taken_for: TakenFor,
    },
    /// Its content is to outlive it.
    Keep {
        /// The name of the content.
        content: String,
        /// Its uid.
        uid: Uid,
        /// The version that was decided on.
        resource_version: u64,
    },
}

impl SnapshotStep {
    /// As metrics name it.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Take { .. } => "TakeSnapshot",
            Self::Keep { .. } => "KeepSnapshot",
        }
    }
}

impl SnapshotRequest {
    /// One request at a time is made for each of these.
    pub fn slot(&self) -> Uid {
        format!("{}/{}/{}", self.claim_uid, self.name, self.step.action()).into()
    }

    /// What is sent: the object to create, or a merge patch. A resourceVersion in it that is not the
    /// object's is answered with a conflict.
    pub fn json(&self) -> Value {
        match &self.step {
            SnapshotStep::Take { claim, class, taken_for } => json!({
                "apiVersion": "snapshot.storage.k8s.io/v1",
                "kind": "VolumeSnapshot",
                "metadata": {
                    "name": self.name,
                    "labels": {
                        marks::CHANGE: taken_for.change,
                        marks::WORKLOAD_UID: taken_for.workload,
                        marks::CLAIM_UID: taken_for.claim,
                    },
                },
                "spec": {"volumeSnapshotClassName": class, "source": {"persistentVolumeClaimName": claim}},
            }),
            SnapshotStep::Keep { uid, resource_version, .. } => json!({
                "metadata": {"uid": &**uid, "resourceVersion": resource_version.to_string()},
                "spec": {"deletionPolicy": "Retain"},
            }),
        }
    }
}

/// Why a workload is rolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Something that it reads changed.
    Config,
    /// Something changed that another workload of its group reads.
    Together,
    /// A pod started with a content that was there only for a while.
    MixedConfig,
    /// The step before was rolled out, and this one restarts with it.
    Previous,
}
