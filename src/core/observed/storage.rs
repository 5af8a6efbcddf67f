//! What was observed of storage, as plain data: claims, volumes, and the namespaces that the claims
//! are in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::{
    core::observed::{ids::Uid, snapshots::Snapshots, unread::Unreadables},
    marks::{ClaimPair, Provenance, StorageMarks},
};

/// Who may use a volume at the same time, by the access modes of it or of its claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Pods on any nodes.
    #[default]
    ManyNodes,
    /// Pods on one node: nothing but ReadWriteOnce.
    OneNode,
    /// One pod: ReadWriteOncePod.
    OnePod,
}

impl Access {
    /// What a list of access modes allows.
    pub fn of<'a>(modes: impl IntoIterator<Item = &'a str>) -> Self {
        let modes: BTreeSet<_> = modes.into_iter().collect();
        match () {
            () if modes.contains("ReadWriteOncePod") => Self::OnePod,
            () if modes.iter().copied().eq(["ReadWriteOnce"]) => Self::OneNode,
            () => Self::ManyNodes,
        }
    }
}

/// A `PersistentVolumeClaim`.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// The version that was seen.
    pub resource_version: u64,
    /// When it was created, in whole seconds.
    pub created: Timestamp,
    /// Whether it is being deleted. That cannot be undone.
    pub deleting: bool,
    /// It bears the label of what is retained.
    pub retained: bool,
    /// It bears the label of what may not be deleted.
    pub protected: bool,
    /// Its annotations of ours.
    pub marks: Arc<StorageMarks>,
    /// What Helm, Argo CD and Flux heed on it, with the manager that declares it; none if nobody
    /// does.
    pub shields: BTreeMap<&'static str, Shield>,
    /// Its owners.
    pub owners: Vec<OwnerReference>,
    /// Its phase is Lost: its volume is gone.
    pub lost: bool,
    /// Its phase is Bound.
    pub bound: bool,
    /// The volume it is bound to, or asks for.
    pub volume: Option<String>,
    /// Who may use it at the same time, as it asks.
    pub access: Access,
    /// The access modes that it asks for.
    pub modes: Arc<[String]>,
    /// The name of its storage class.
    pub class: String,
    /// The bytes that it asks for.
    pub requested: u64,
}

impl Claim {
    /// Whether it bears what keeps its data, or says which claim gets its volume.
    pub fn is_kept(&self) -> bool {
        self.retained || self.protected || self.marks.becomes.is_some()
    }

    /// Whether it is bound to this volume, or asks for it.
    pub fn names(&self, volume: &Volume) -> bool {
        self.volume.as_ref() == Some(&volume.name)
    }
}

/// An annotation that keeps another tool from deleting a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shield {
    /// Its value.
    pub value: String,
    /// The field manager that declares it; none for what admission put there.
    pub manager: Option<String>,
}

/// Where a volume stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum VolumePhase {
    /// A claim has it.
    Bound,
    /// Its claim is gone.
    Released,
    /// No claim has it.
    #[default]
    Available,
    /// Its reclamation failed.
    Failed,
}

/// A `PersistentVolume`.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// The version that was seen.
    pub resource_version: u64,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// It bears the label of what is retained.
    pub retained: bool,
    /// Its annotations of ours.
    pub marks: Arc<StorageMarks>,
    /// Where it stands.
    pub phase: VolumePhase,
    /// Since when.
    pub phase_since: Option<Timestamp>,
    /// What becomes of it when its claim is gone: Retain, Delete or Recycle.
    pub reclaim_policy: String,
    /// The claim that it is for.
    pub claim: Option<ClaimReference>,
    /// Who may use it at the same time.
    pub access: Access,
    /// Its access modes.
    pub modes: Arc<[String]>,
    /// The name of its storage class.
    pub class: String,
    /// Its capacity in bytes.
    pub capacity: u64,
    /// How it gets to nodes.
    pub source: VolumeSource,
    /// The only node that can use it, if there is only one.
    pub node: Option<String>,
}

/// The claim that a volume is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimReference {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; none for any claim of that name, the next one to come.
    pub uid: Option<String>,
}

/// How a volume gets to nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// By a CSI driver of this name.
    Csi(String),
    /// By nothing that attaches: a folder of the node, NFS. Nobody checks who uses it at the same
    /// time.
    Unattached,
    /// Otherwise; it is taken to be attached.
    Other,
}

impl Volume {
    /// Whose data it holds; only of one that we retain.
    pub fn provenance(&self) -> Option<&Arc<Provenance>> {
        self.marks.provenance.get().filter(|_| self.retained)
    }

    /// The two claims that it may be given to, while a conversion is under way; only of one that we
    /// retain.
    pub fn conversion(&self) -> Option<&ClaimPair> {
        self.marks.conversion.get().filter(|_| self.retained)
    }

    /// Whether it is bound to this very claim.
    pub fn is_of(&self, namespace: &str, claim: &Claim) -> bool {
        self.claim.as_ref().is_some_and(|of| {
            of.namespace == namespace
                && of.name == claim.name
                && of.uid.as_deref() == Some(&claim.uid)
        })
    }
}

/// What of a `Namespace` matters to the claims in it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceObject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// The version that was seen.
    pub resource_version: u64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// The platform's consent to protection Deny.
    pub allows_deny: bool,
    /// It bears the label of what may not be deleted.
    pub protected: bool,
    /// It bears the label by which admission heeds its reservations.
    pub reserves: bool,
    /// Its annotations of ours.
    pub marks: Arc<StorageMarks>,
}

impl NamespaceObject {
    /// The volume that a claim of this name would get; none if the name is not reserved.
    pub fn reserved(&self, claim: &str) -> Option<&str> {
        let all = self.marks.reserved_claims.get().filter(|_| self.reserves)?;
        all.0.get(claim).map(|volume| &**volume)
    }
}

/// The storage of the whole cluster.
#[derive(Debug, Default)]
pub struct Storage {
    volumes: BTreeMap<String, Volume>,
    /// The volumes that concern a namespace, by its name.
    of_namespace: BTreeMap<String, BTreeSet<String>>,
    /// By CSI driver, whether it attaches volumes to nodes.
    pub drivers: BTreeMap<String, bool>,
    /// What of snapshots belongs to the whole cluster.
    pub snapshots: Snapshots,
    /// The namespaces by name.
    pub namespaces: BTreeMap<String, NamespaceObject>,
    /// The objects of the cluster that cannot be read.
    pub unread: Unreadables,
}

impl Storage {
    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Volume> {
        self.volumes.get(name)
    }

    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    /// The volumes that are for a claim of a namespace, or hold data that came from there.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Volume> {
        self.of_namespace
            .get(namespace)
            .into_iter()
            .flatten()
            .filter_map(|name| self.volumes.get(name))
    }

    /// Takes in a volume as it is now. Returns the namespaces that it concerns, or did.
    pub fn insert(&mut self, volume: Volume) -> BTreeSet<String> {
        let mut concerned = self.remove(&volume.name);
        for namespace in concerns(&volume) {
            self.of_namespace.entry(namespace.clone()).or_default().insert(volume.name.clone());
            concerned.insert(namespace);
        }
        self.volumes.insert(volume.name.clone(), volume);
        concerned
    }

    /// A volume is gone. Returns the namespaces that it concerned.
    pub fn remove(&mut self, name: &str) -> BTreeSet<String> {
        let concerned =
            self.volumes.remove(name).map(|volume| concerns(&volume)).unwrap_or_default();
        for namespace in &concerned {
            if let Some(names) = self.of_namespace.get_mut(namespace) {
                names.remove(name);
                if names.is_empty() {
                    self.of_namespace.remove(namespace);
                }
            }
        }
        concerned
    }

    /// Whether a volume must be attached to a node before its pods start, so that one node at a
    /// time has it. A driver that is not known is taken to attach.
    pub fn attaches(&self, volume: &Volume) -> bool {
        match &volume.source {
            VolumeSource::Csi(driver) => self.drivers.get(driver).copied().unwrap_or(true),
            VolumeSource::Unattached => false,
            VolumeSource::Other => true,
        }
    }
}

/// The namespaces that a volume concerns: that of its claim, and that from which it comes.
pub fn concerns(volume: &Volume) -> BTreeSet<String> {
    let of = volume.claim.as_ref().map(|claim| claim.namespace.clone());
    of.into_iter()
        .chain(volume.provenance().map(|provenance| provenance.namespace.clone()))
        .collect()
}

/// What a workload's pod template says of volumes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimsOfTemplate {
    /// The claims that it names.
    pub named: Arc<[String]>,
    /// Of a StatefulSet: the names of its volumeClaimTemplates.
    pub templates: Arc<[String]>,
    /// Of a StatefulSet: its own retention policy deletes its claims with it (`whenDeleted:
    /// Delete`).
    pub go_with_set: bool,
    /// Of a StatefulSet: its own retention policy deletes the claim of a pod that is scaled away
    /// (`whenScaled: Delete`).
    pub go_with_pod: bool,
    /// Of a Deployment: its strategy is Recreate, no matter who made it so.
    pub recreates: bool,
    /// Of the claims that it names, and of its volumeClaimTemplates, those that no container may
    /// write to.
    pub read_only: Arc<[String]>,
}

/// A `CronJob`, and the claims that its pods use.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CronJob {
    /// Its name.
    pub name: String,
    /// The claims that it names.
    pub claims: Arc<[String]>,
    /// Of these, those that no container may write to.
    pub read_only: Arc<[String]>,
    /// It starts no pods.
    pub suspended: bool,
}

/// What of a pod matters to the claims that it uses.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClaimsOfPod {
    /// The claims that it uses.
    pub named: Arc<[String]>,
    /// The node that it was given.
    pub node: Option<Box<str>>,
    /// Why no node can be given to it.
    pub unschedulable: Option<Box<str>>,
    /// If it uses claims: its controller as `Kind/name`.
    pub owner: Option<Box<str>>,
}

/// Where kept data stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// A pod uses it, or is to.
    InUse,
    /// What refers to it runs no pod now, or did until a moment ago.
    Idle,
    /// Nothing refers to its claim.
    Orphaned,
    /// Its claim is gone.
    Released,
    /// The claim of that name has a younger volume.
    Shadowed,
    /// The volume of the claim is gone.
    Lost,
    /// Its claim is being deleted while pods use it.
    Terminating,
}

/// How much there is in each state, and its bytes.
pub type States = BTreeMap<State, (u64, u64)>;

impl State {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::InUse,
        Self::Idle,
        Self::Orphaned,
        Self::Released,
        Self::Shadowed,
        Self::Lost,
        Self::Terminating,
    ];

    /// As metrics and the plugin name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "InUse",
            Self::Idle => "Idle",
            Self::Orphaned => "Orphaned",
            Self::Released => "Released",
            Self::Shadowed => "Shadowed",
            Self::Lost => "Lost",
            Self::Terminating => "Terminating",
        }
    }
}
