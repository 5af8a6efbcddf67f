//! What was observed, as plain data. The shell keeps it up to date; the core only reads it.

pub mod storage;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};

use crate::api::{ConfigKind, Reason, UpgradePolicySpec, UpgradePolicyStatus, WorkloadKind};
use crate::core::{
    config::references::Reference,
    digest::Digest,
    gates::windows::Windows,
    observed::storage::{Claim, ClaimsOfPod, ClaimsOfTemplate, CronJob},
    unread::Unreadables,
};

/// The uid of an object.
pub type Uid = Arc<str>;

/// One namespace.
#[derive(Debug, Default, Clone)]
pub struct Namespace {
    /// Its name.
    pub name: Box<str>,
    /// Its policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Its workloads.
    pub workloads: BTreeMap<WorkloadId, Workload>,
    /// Its ReplicaSets by uid.
    pub replica_sets: HashMap<Uid, ReplicaSet>,
    /// The revisions of its StatefulSets by uid.
    pub controller_revisions: HashMap<Uid, ControllerRevision>,
    /// Its pods by uid.
    pub pods: BTreeMap<Uid, Pod>,
    /// Its ConfigMaps and Secrets, as digests, those deleted lately included.
    pub config: BTreeMap<ConfigId, ConfigEntry>,
    /// Deployments that an Argo Rollout or a Flagger Canary acts on, with its kind and name.
    pub delegates: BTreeMap<(String, String), WorkloadId>,
    /// Its claims by name.
    pub claims: BTreeMap<String, Claim>,
    /// Its CronJobs by uid.
    pub cron_jobs: BTreeMap<Uid, CronJob>,
    /// What each HorizontalPodAutoscaler scales, and up to how many pods, by its uid.
    pub autoscalers: BTreeMap<Uid, (WorkloadId, u32)>,
    /// Its objects that cannot be read. Where one was known before, what was known of it stands
    /// above.
    pub unread: Unreadables,
}

impl Namespace {
    /// The pods of each workload by the workload's uid: those that it controls, or that a
    /// ReplicaSet of its controls. One that has finished is among them only while it is being
    /// deleted: its node still has its volumes mounted.
    pub fn pods_by_workload(&self) -> HashMap<&str, Vec<&Pod>> {
        let mut pods: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in self.pods.values().filter(|pod| !pod.finished || pod.terminating.is_some()) {
            let Some(controller) = pod.controller.as_ref() else { continue };
            let workload =
                self.replica_sets.get(controller).map_or(controller, |set| &set.deployment);
            pods.entry(workload).or_default().push(pod);
        }
        pods
    }

    /// The containers of the template that this pod of the workload was made from: its first one
    /// first, init containers last. What admission added to the pod is not among them. Empty where
    /// the template is not known.
    pub fn containers_of_template<'a>(
        &'a self,
        workload: &'a Workload,
        pod: &Pod,
    ) -> &'a [Box<str>] {
        if let Some(set) = pod.controller.as_ref().and_then(|uid| self.replica_sets.get(uid)) {
            return &set.containers;
        }
        let revisions =
            self.controller_revisions.values().filter(|one| one.stateful_set == workload.uid);
        let mut of_pod = revisions.filter(|one| pod.revision.as_deref() == Some(&*one.name));
        of_pod.next().map_or(&*workload.template.containers, |one| &*one.containers)
    }

    /// The value of the revision label that the newest pods of each Deployment carry, by the
    /// Deployment's uid.
    pub fn newest_replica_sets(&self) -> HashMap<&str, &ReplicaSet> {
        let mut newest: HashMap<&str, &ReplicaSet> = HashMap::new();
        for set in self.replica_sets.values() {
            let known = newest.entry(&set.deployment).or_insert(set);
            if set.number > known.number {
                *known = set;
            }
        }
        newest
    }

    /// The ReplicaSets of each Deployment by the Deployment's uid.
    pub fn sets_by_deployment(&self) -> HashMap<&str, Vec<&ReplicaSet>> {
        let mut sets: HashMap<&str, Vec<&ReplicaSet>> = HashMap::new();
        for set in self.replica_sets.values() {
            sets.entry(&set.deployment).or_default().push(set);
        }
        sets
    }

    /// Whether there is nothing in it that matters.
    pub fn is_empty(&self) -> bool {
        let Self { policies, workloads, pods, config, claims, unread, .. } = self;
        policies.is_empty()
            && workloads.is_empty()
            && pods.is_empty()
            && config.is_empty()
            && claims.is_empty()
            && unread.is_empty()
    }
}

/// An `UpgradePolicy`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// The generation of its spec.
    pub generation: i64,
    /// When somebody last wrote it, in whole seconds.
    pub written: Timestamp,
    /// Its spec, or in words why it is none.
    pub spec: Result<UpgradePolicySpec, String>,
    /// What it asks for and this installation does not do, a sentence each. The spec has none of
    /// it.
    pub switched_off: Vec<String>,
    /// Its windows, as they may be asked.
    pub windows: Windows,
    /// The status that stands on it.
    pub status: UpgradePolicyStatus,
}

/// Kind and name of a workload; a namespace's workloads are decided in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

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
    /// Its annotations under `lockkeeper.dev/`.
    pub marks: BTreeMap<String, String>,
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

/// What of a pod template matters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Template {
    /// What it reads.
    pub references: Arc<[Reference]>,
    /// The names of its containers, init containers last.
    pub containers: Arc<[Box<str>]>,
    /// Its annotation `lockkeeper.dev/config-hash`.
    pub config_hash: Option<String>,
    /// Whether it has any annotation at all.
    pub has_annotations: bool,
    /// All of it but our config-hash.
    pub digest: TemplateDigest,
    /// All of it but its annotations.
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
    /// The ReplicaSet that a Deployment's controller says this of, and when it said so. It may be
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

/// A ReplicaSet of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSet {
    /// Its name.
    pub name: Box<str>,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// The Deployment's uid.
    pub deployment: Uid,
    /// The value of the label `pod-template-hash`.
    pub revision: Box<str>,
    /// The Deployment controller's number for the revision; the highest is the newest, also after
    /// an undo.
    pub number: u64,
    /// Pods that it wants or has.
    pub replicas: u32,
    /// Its template, but for our config-hash and the label that its controller adds: equal to a
    /// Deployment's if it is that one's.
    pub template: TemplateDigest,
    /// The config-hash of its template.
    pub config_hash: Option<Box<str>>,
    /// What its template reads, while it has pods.
    pub references: Arc<[Reference]>,
    /// The names of its template's containers, while it has pods.
    pub containers: Arc<[Box<str>]>,
}

/// A revision of a StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRevision {
    /// Its name, which its pods carry as a label.
    pub name: Box<str>,
    /// The StatefulSet's uid.
    pub stateful_set: Uid,
    /// Its template, but for our config-hash.
    pub template: TemplateDigest,
    /// The config-hash of its template.
    pub config_hash: Option<Box<str>>,
    /// What its template reads.
    pub references: Arc<[Reference]>,
    /// The names of its template's containers.
    pub containers: Arc<[Box<str>]>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Its uid.
    pub uid: Uid,
    /// Its name.
    pub name: Box<str>,
    /// The uid of its controller.
    pub controller: Option<Uid>,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// The resourceVersion of its creation, where that was seen on a live watch.
    pub created_version: Option<u64>,
    /// When its grace period ends, if it is being deleted; when its containers ended, if it has
    /// finished before that.
    pub terminating: Option<Timestamp>,
    /// Succeeded or Failed.
    pub finished: bool,
    /// Ready.
    pub ready: bool,
    /// When it last became Ready or stopped being so.
    pub ready_moved: Option<Timestamp>,
    /// Its annotation `lockkeeper.dev/config-hash`.
    pub config_hash: Option<Box<str>>,
    /// Its revision label: `pod-template-hash`, `controller-revision-hash`, or a DaemonSet's
    /// `pod-template-generation`.
    pub revision: Option<Box<str>>,
    /// When its containers that run now were started, in whole seconds.
    pub started: Box<[Timestamp]>,
    /// What keeps a container from running, such as `CrashLoopBackOff`.
    pub trouble: Option<Box<str>>,
    /// The same in words, and what made a container end that runs again: `Error (exit 3), restarted
    /// 3 times`.
    pub ails: Option<Box<str>>,
    /// Where it can be asked.
    pub reach: Reach,
    /// How often its containers were started again. One that has ended and is to be started again
    /// counts as started: nothing that its process agreed to holds any longer.
    pub restarts: u32,
    /// When a container that was started again twice or more last ended with an error.
    pub crashed: Option<Timestamp>,
    /// The claims that it uses.
    pub claims: ClaimsOfPod,
}

impl Pod {
    /// Its number among the pods of a StatefulSet.
    pub fn ordinal(&self) -> Option<u32> {
        self.name.rsplit_once('-')?.1.parse().ok()
    }
}

/// Where a pod can be asked something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Its phase is Running.
    pub running: bool,
    /// Its address.
    pub address: Option<IpAddr>,
    /// It uses its node's network, where other programs may listen on its ports.
    pub host_network: bool,
    /// The TCP ports that its containers declare, those of the first container first.
    pub ports: Arc<[DeclaredPort]>,
}

/// A port that a container declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredPort {
    /// Its number.
    pub number: u16,
    /// Its name.
    pub name: Option<Box<str>>,
    /// The name of the container that declares it.
    pub container: Box<str>,
    /// Whether that is the first one.
    pub of_first: bool,
}

/// Kind and name of a ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigId {
    /// ConfigMap or Secret.
    pub kind: ConfigKind,
    /// Its name.
    pub name: Box<str>,
}

impl fmt::Display for ConfigId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// The digests of an object's values by key, sorted by key. The values themselves are never kept.
pub type Content = Arc<[(Box<str>, Digest)]>;

/// At most so many contents of one object are remembered.
const VERSIONS: usize = 8;

/// A ConfigMap or Secret: the contents it had while it was watched, the last one being the present
/// one. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigEntry {
    versions: Vec<Version>,
    /// Marked `lockkeeper.dev/ignore`.
    pub ignored: bool,
}

/// A content and the write that brought it.
#[derive(Debug, Clone)]
pub struct Version {
    /// The resourceVersion of the write that brought it, or of a later one.
    pub resource_version: u64,
    /// The time of the write that brought it, or of a later one; by the API server's clock, in
    /// whole seconds.
    pub written: Timestamp,
    /// When it was seen to change, by our clock; none where it was found so at the start.
    pub seen: Option<Timestamp>,
    /// The content; none if the object does not exist.
    pub content: Option<Content>,
}

impl ConfigEntry {
    /// An object as it was first seen.
    pub fn new(version: Version, ignored: bool) -> Self {
        Self { versions: vec![version], ignored }
    }

    /// Records what the object is now. A write that leaves the content as it is (a label, an
    /// annotation) is none. Returns whether the content changed.
    pub fn observe(&mut self, version: Version) -> bool {
        if self.versions.last().is_some_and(|last| last.content == version.content) {
            return false;
        }
        if self.versions.len() == VERSIONS {
            self.versions.remove(0);
        }
        self.versions.push(version);
        true
    }

    /// Our clock was set: what was seen by it before is put to the time that it was.
    pub fn clock_was_set(&mut self, by: SignedDuration) {
        for seen in self.versions.iter_mut().filter_map(|version| version.seen.as_mut()) {
            *seen = seen.saturating_add(by).unwrap_or(*seen);
        }
    }

    /// The contents, oldest first.
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// The present content; none if the object does not exist.
    pub fn content(&self) -> Option<&Content> {
        self.versions.last().and_then(|version| version.content.as_ref())
    }
}
