//! Workloads of every kind, with what of them matters.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    api::Reason,
    core::observed::{
        ids::{Uid, WorkloadId},
        reference::Reference,
        storage::ClaimsOfTemplate,
        version::ImageVersion,
    },
    marks::{Mark, Marks, values::Judge},
};

/// A Deployment, StatefulSet or DaemonSet.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Kind and name.
    pub id: WorkloadId,
    /// Its uid.
    pub uid: Uid,
    /// The version that was seen.
    pub resource_version: u64,
    /// The generation that was seen. A Deployment's rises with annotation changes too.
    pub generation: i64,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// Its label of what is governed.
    pub governed: Mark<Judge>,
    /// Its annotations of ours.
    pub marks: Arc<Marks>,
    /// What all its annotations take, in bytes.
    pub annotation_bytes: usize,
    /// Whether it has any annotation at all: a JSON patch must know.
    pub has_annotations: bool,
    /// Whether it has any label at all.
    pub has_labels: bool,
    /// The controller that owns it, as `Kind/name`.
    pub owner: Option<String>,
    /// The annotation by which another reloader acts on it.
    pub reloader: Option<String>,
    /// Who wrote it last but us, and when; status writes do not count.
    pub last_writer: Option<Writer>,
    /// The field manager that wrote its pod template last, but us; none where that cannot be told.
    pub template_writer: Option<Box<str>>,
    /// When we last wrote it, in whole seconds.
    pub noted: Option<Timestamp>,
    /// Its pod template.
    pub template: Template,
    /// What its template says of volumes.
    pub claims: ClaimsOfTemplate,
    /// How far its rollout is.
    pub rollout: RolloutState,
}

/// A field manager and the time of its newest write, in whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The manager's name.
    pub manager: String,
    /// When.
    pub time: Timestamp,
}

/// A container of a pod template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: Box<str>,
    /// The version of its image; none if the tag says none.
    pub version: Option<ImageVersion>,
}

/// What of a pod template matters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    /// What it reads.
    pub references: Arc<[Reference]>,
    /// Its containers, init containers last.
    pub containers: Arc<[Container]>,
    /// Its annotation `lockkeeper.dev/config-hash`.
    pub config_hash: Option<String>,
    /// Whether it has any annotation at all.
    pub has_annotations: bool,
    /// Whether it has the gate of maintenance: no pod of it runs the app.
    pub rests: bool,
    /// All of it but our config-hash, and what maintenance puts there.
    pub digest: TemplateDigest,
    /// All of it but its annotations, and what maintenance puts there.
    pub body: TemplateDigest,
    /// Its annotations but our config-hash, with digests of their values.
    pub annotations: Arc<[(Box<str>, TemplateDigest)]>,
    /// Its containers, init containers last, with digests of their images.
    pub images: Arc<[(Box<str>, TemplateDigest)]>,
}

/// Says whether two pod templates, or parts of them, are equal. Never leaves the process but as the
/// mark of a release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateDigest(pub [u8; 8]);

impl fmt::Display for TemplateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Replica counts and what they mean, the same for every kind.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutState {
    /// Whether the kind's controller has seen the generation at hand.
    pub observed: bool,
    /// Pods wanted.
    pub wanted: u32,
    /// Pods there are.
    pub current: u32,
    /// Of these, with the newest template.
    pub updated: u32,
    /// Pods available.
    pub available: u32,
    /// The controller itself says that the newest template is rolled out, whatever became of the
    /// pods afterwards.
    pub complete: bool,
    /// The ReplicaSet that a Deployment's controller reports this of, and when it did. It may be
    /// that of the rollout before.
    pub completed: Option<(Box<str>, Timestamp)>,
    /// For how long a pod must be ready before it counts as available, in seconds.
    pub min_ready: u32,
    /// Why its controller cannot create pods, in the API server's words.
    pub failure: Option<Box<str>>,
    /// What the user holds, if anything. While we hold, what the manifest asks for beside it.
    pub held: Option<UserHold>,
    /// The value of the revision label that pods of the newest template carry; for Deployments it
    /// is read off the ReplicaSets.
    pub revision: Option<Box<str>>,
    /// The revision that a StatefulSet's controller counts as rolled out, `status.currentRevision`.
    pub settled: Option<Box<str>>,
    /// The Deployment controller's number for the newest revision.
    pub number: Option<u64>,
    /// Of a StatefulSet: how its pods are numbered, and how far our walk through them is.
    pub ordinals: Ordinals,
    /// When the controller or a writer last moved something here.
    pub moved: Timestamp,
}

/// How a StatefulSet's pods are numbered, and how far our walk through them is. A partition counts
/// from the first ordinal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ordinals {
    /// `spec.ordinals.start`.
    pub start: u32,
    /// The partition that the manifest asks for.
    pub declared: u32,
    /// The partition that we have admission set while pods go one by one.
    pub step: Option<u32>,
}

/// What a user can put in the way of a rollout, on the workload itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserHold {
    /// `spec.paused` of a Deployment.
    Paused,
    /// The update strategy OnDelete.
    OnDelete,
    /// A StatefulSet's partition: this many ordinals, the lowest, keep their revision.
    Partition(u32),
}

impl UserHold {
    /// The reason it is reported as.
    pub fn reason(self) -> Reason {
        match self {
            Self::Paused => Reason::Paused,
            Self::OnDelete => Reason::OnDelete,
            Self::Partition(_) => Reason::Partitioned,
        }
    }
}

/// `deployment/web`, as kubectl takes it.
pub fn reference_of(workload: &Workload) -> String {
    workload.id.to_string().to_lowercase()
}
