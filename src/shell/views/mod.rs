//! The fields that are used of each kind, read straight from the wire, so that stores hold views
//! and not objects.

pub mod containers;
pub mod lenient;
pub mod storage;

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::digest::{Base64, Digests, Text};
use crate::{
    api::{ConfigKind, UpgradePolicySpec, WorkloadKind, marks},
    core::{
        calendar::Windows,
        config::references::of_template,
        digest::{Digest, Key},
        observed::{
            ConfigId, Content, ControllerRevision, DeclaredPort, Pod, Policy, Reach, ReplicaSet,
            Uid, Version, Workload, WorkloadId, policy::check_spec, storage::ClaimsOfPod,
        },
    },
    workload::{
        self, DaemonSet, Deployment, StatefulSet, config_hash, containers, controller, created,
        resource_version, template_digest, uid, written,
    },
};

/// A kind of object as it is watched.
pub trait Watched: Clone + fmt::Debug + Send + Sync + 'static {
    /// Its API group.
    const GROUP: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its kind.
    const KIND: &'static str;
    /// Its plural.
    const PLURAL: &'static str;
    /// What is read of it besides the metadata.
    type Body: Clone + fmt::Debug + Send + Sync + DeserializeOwned + 'static;
    /// What is kept of it.
    type View: Send + 'static;

    /// Makes what is kept.
    fn view(meta: &ObjectMeta, body: Self::Body) -> Self::View;
}

/// An object on the wire.
#[derive(Deserialize, Clone, Debug)]
#[serde(bound = "")]
pub struct Wire<K: Watched> {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is read of it besides.
    #[serde(flatten)]
    pub body: K::Body,
    #[serde(skip)]
    kind: PhantomData<K>,
}

impl<K: Watched> Wire<K> {
    /// Of its parts.
    pub fn new(metadata: ObjectMeta, body: K::Body) -> Self {
        Self { metadata, body, kind: PhantomData }
    }
}

impl<K: Watched> kube::Resource for Wire<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Spec and status as raw JSON.
#[derive(Deserialize, Clone, Debug)]
pub struct Raw {
    #[serde(default)]
    pub(super) spec: Value,
    #[serde(default)]
    pub(super) status: Value,
}

/// Only the status as raw JSON.
#[derive(Deserialize, Clone, Debug)]
pub struct RawStatus {
    #[serde(default)]
    status: Value,
}

macro_rules! workload_kind {
    ($name:ident, $kind:literal, $plural:literal, $of:ty) => {
        #[doc = concat!("`apps/v1` ", $kind, ".")]
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Watched for $name {
            const GROUP: &'static str = "apps";
            const VERSION: &'static str = "v1";
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            type Body = Raw;
            type View = Workload;

            fn view(meta: &ObjectMeta, body: Raw) -> Workload {
                workload::view::<$of>(meta, &body.spec, &body.status)
            }
        }
    };
}

workload_kind!(Deployments, "Deployment", "deployments", Deployment);
workload_kind!(StatefulSets, "StatefulSet", "statefulsets", StatefulSet);
workload_kind!(DaemonSets, "DaemonSet", "daemonsets", DaemonSet);

/// `lockkeeper.dev/v1alpha1` UpgradePolicy. One that cannot be read is a policy all the same, with
/// the reason in its place.
#[derive(Clone, Debug)]
pub struct Policies;

impl Watched for Policies {
    const GROUP: &'static str = "lockkeeper.dev";
    const VERSION: &'static str = "v1alpha1";
    const KIND: &'static str = "UpgradePolicy";
    const PLURAL: &'static str = "upgradepolicies";
    type Body = Raw;
    type View = Policy;

    fn view(meta: &ObjectMeta, body: Raw) -> Policy {
        let spec = serde_json::from_value::<UpgradePolicySpec>(body.spec)
            .map_err(|error| format!("spec: {error}"));
        let checked = spec.and_then(check_spec);
        let (spec, windows) = match checked {
            Ok((spec, windows)) => (Ok(spec), windows),
            Err(error) => (Err(error), Windows::default()),
        };
        Policy {
            name: meta.name.clone().unwrap_or_default(),
            uid: uid(meta),
            generation: meta.generation.unwrap_or_default(),
            written: written(meta),
            spec,
            switched_off: Vec::new(),
            windows,
            status: serde_json::from_value(body.status).unwrap_or_default(),
        }
    }
}

/// `apps/v1` ReplicaSet.
#[derive(Clone, Debug)]
pub struct ReplicaSets;

impl Watched for ReplicaSets {
    const GROUP: &'static str = "apps";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ReplicaSet";
    const PLURAL: &'static str = "replicasets";
    type Body = Raw;
    type View = Option<ReplicaSet>;

    fn view(meta: &ObjectMeta, body: Raw) -> Option<ReplicaSet> {
        let owner = controller(meta).filter(|owner| owner.kind == "Deployment")?;
        let label = meta.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
        let number = meta
            .annotations
            .as_ref()
            .and_then(|all| all.get("deployment.kubernetes.io/revision")?.parse().ok());
        let pods = |value: &Value| {
            value["replicas"].as_u64().and_then(|pods| u32::try_from(pods).ok()).unwrap_or_default()
        };
        let replicas = pods(&body.spec).max(pods(&body.status));
        let template = &body.spec["template"];
        Some(ReplicaSet {
            template: template_digest(template),
            config_hash: config_hash(template),
            // Old ones without pods are many.
            references: if replicas > 0 { of_template(template).into() } else { Arc::default() },
            containers: if replicas > 0 { containers(template) } else { Arc::default() },
            replicas,
            name: meta.name.as_deref().unwrap_or_default().into(),
            created: created(meta),
            deployment: owner.uid.as_str().into(),
            revision: label.map(String::as_str).unwrap_or_default().into(),
            number: number.unwrap_or_default(),
        })
    }
}

/// `apps/v1` ControllerRevision of a StatefulSet.
#[derive(Clone, Debug)]
pub struct ControllerRevisions;

/// What is read of a ControllerRevision.
#[derive(Deserialize, Clone, Debug)]
pub struct RevisionBody {
    #[serde(default)]
    data: Value,
}

impl Watched for ControllerRevisions {
    const GROUP: &'static str = "apps";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ControllerRevision";
    const PLURAL: &'static str = "controllerrevisions";
    type Body = RevisionBody;
    type View = Option<ControllerRevision>;

    fn view(meta: &ObjectMeta, body: RevisionBody) -> Option<ControllerRevision> {
        let owner = controller(meta).filter(|owner| owner.kind == "StatefulSet")?;
        let template = &body.data["spec"]["template"];
        Some(ControllerRevision {
            template: template_digest(template),
            config_hash: config_hash(template),
            name: meta.name.as_deref().unwrap_or_default().into(),
            stateful_set: owner.uid.as_str().into(),
            references: of_template(template).into(),
            containers: containers(template),
        })
    }
}

/// `v1` Pod. The version of its creation is filled in by the index, which knows whether it was
/// seen.
#[derive(Clone, Debug)]
pub struct Pods;

impl Watched for Pods {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Pod";
    const PLURAL: &'static str = "pods";
    type Body = PodBody;
    type View = Pod;

    fn view(meta: &ObjectMeta, body: PodBody) -> Pod {
        let status = &body.status;
        let label = |name: &str| meta.labels.as_ref().and_then(|labels| labels.get(name));
        let revision = ["pod-template-hash", "pod-template-generation", "controller-revision-hash"]
            .into_iter()
            .find_map(label);
        let ready = list(&status["conditions"])
            .find(|condition| condition["type"] == "Ready")
            .unwrap_or(&Value::Null);
        let containers =
            || list(&status["initContainerStatuses"]).chain(list(&status["containerStatuses"]));
        let restarts = containers().filter_map(|one| one["restartCount"].as_u64()).sum::<u64>();
        // The number rises only when the next process runs.
        let ended =
            list(&status["containerStatuses"]).filter(|one| containers::has_ended(one)).count();
        let finished = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        let finished_at = containers().filter_map(containers::ended).max().filter(|_| finished);
        Pod {
            uid: uid(meta),
            name: meta.name.as_deref().unwrap_or_default().into(),
            controller: controller(meta).map(|owner| owner.uid.as_str().into()),
            created: created(meta),
            created_version: None,
            terminating: meta
                .deletion_timestamp
                .as_ref()
                .map(|time| finished_at.map_or(time.0, |at| at.min(time.0))),
            finished,
            ready: ready["status"] == "True",
            ready_moved: time(&ready["lastTransitionTime"]),
            config_hash: meta
                .annotations
                .as_ref()
                .and_then(|all| Some(all.get(marks::CONFIG_HASH)?.as_str().into())),
            revision: revision.map(|revision| revision.as_str().into()),
            started: containers()
                .filter_map(|one| time(&one["state"]["running"]["startedAt"]))
                .collect(),
            trouble: containers().find_map(containers::trouble).map(Into::into),
            ails: containers().find_map(containers::ails).map(Into::into),
            reach: Reach {
                running: status["phase"] == "Running",
                address: status["podIP"].as_str().and_then(|ip| ip.parse().ok()),
                host_network: body.spec.host_network,
                ports: body.spec.ports().into(),
            },
            restarts: u32::try_from(restarts)
                .unwrap_or(u32::MAX)
                .saturating_add(u32::try_from(ended).unwrap_or(u32::MAX)),
            crashed: containers().filter_map(containers::crashed).max(),
            claims: ClaimsOfPod {
                named: body
                    .spec
                    .volumes
                    .iter()
                    .filter_map(|volume| volume.persistent_volume_claim.as_ref())
                    .map(|claim| claim.claim_name.clone())
                    .collect(),
                node: body.spec.node_name.clone(),
                unschedulable: list(&status["conditions"])
                    .find(|condition| {
                        condition["type"] == "PodScheduled" && condition["status"] == "False"
                    })
                    .and_then(|condition| Some(condition["message"].as_str()?.into())),
                owner: owner_of_claims(meta, &body.spec),
            },
        }
    }
}

/// The controller of a pod that uses claims, as `Kind/name`.
fn owner_of_claims(meta: &ObjectMeta, spec: &PodSpecBody) -> Option<Box<str>> {
    spec.volumes.iter().find(|volume| volume.persistent_volume_claim.is_some())?;
    controller(meta).map(|owner| format!("{}/{}", owner.kind, owner.name).into())
}

/// What is read of a Pod.
#[derive(Deserialize, Clone, Debug)]
pub struct PodBody {
    #[serde(default)]
    spec: PodSpecBody,
    #[serde(default)]
    status: Value,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct PodSpecBody {
    host_network: bool,
    node_name: Option<Box<str>>,
    volumes: Vec<VolumeBody>,
    containers: Vec<ContainerBody>,
    init_containers: Vec<ContainerBody>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
struct VolumeBody {
    persistent_volume_claim: Option<ClaimBody>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct ClaimBody {
    claim_name: String,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
struct ContainerBody {
    name: Box<str>,
    ports: Vec<PortBody>,
}

#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct PortBody {
    container_port: u16,
    name: Option<Box<str>>,
    protocol: Option<Box<str>>,
}

impl PodSpecBody {
    fn ports(&self) -> Vec<DeclaredPort> {
        // A sidecar is an init container that stays.
        let containers = self.containers.iter().chain(&self.init_containers).enumerate();
        let ports = containers.flat_map(|(number, container)| {
            container.ports.iter().map(move |port| (number, &*container.name, port))
        });
        let tcp = ports
            .filter(|(.., port)| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let declared = |(number, container, port): (usize, &str, &PortBody)| DeclaredPort {
            number: port.container_port,
            name: port.name.clone(),
            container: container.into(),
            of_first: number == 0,
        };
        tcp.map(declared).collect()
    }
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// What is read of a ConfigMap.
#[derive(Deserialize, Clone, Debug)]
pub struct ConfigMapBody {
    #[serde(default)]
    data: Digests<Text>,
    #[serde(default, rename = "binaryData")]
    binary_data: Digests<Base64>,
}

/// What is read of a Secret.
#[derive(Deserialize, Clone, Debug)]
pub struct SecretBody {
    #[serde(default)]
    data: Digests<Base64>,
}

/// A ConfigMap or Secret as it is now. Its digests are bound to their place by
/// [`ConfigView::bind`].
pub struct ConfigView {
    /// Kind and name.
    pub id: ConfigId,
    /// Whether its changes roll nothing.
    pub ignored: bool,
    written: Timestamp,
    resource_version: u64,
    digests: Vec<(Box<str>, Digest)>,
}

impl ConfigView {
    fn new(kind: ConfigKind, meta: &ObjectMeta, digests: Vec<(Box<str>, Digest)>) -> Self {
        let writes = meta.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref());
        Self {
            id: ConfigId { kind, name: meta.name.as_deref().unwrap_or_default().into() },
            ignored: meta
                .annotations
                .as_ref()
                .and_then(|all| all.get(marks::IGNORE))
                .is_some_and(|value| value == "true"),
            written: writes.map(|time| time.0).chain([created(meta)]).max().unwrap_or_default(),
            resource_version: resource_version(meta),
            digests,
        }
    }

    /// The version of the object that this is; `seen` is when it was seen on a live watch.
    pub fn bind(self, namespace: &str, key: &Key, seen: Option<Timestamp>) -> Version {
        let ConfigId { kind, name } = self.id;
        let mut digests = self.digests;
        for (field, digest) in &mut digests {
            *digest = key.bound(kind, namespace, &name, field, *digest);
        }
        digests.sort();
        Version {
            resource_version: self.resource_version,
            written: self.written,
            seen,
            content: Some(Content::from(digests)),
        }
    }

    /// The version after its deletion, which the watch tells with the version of the deletion.
    pub fn deleted(&self, now: Timestamp) -> Version {
        Version {
            resource_version: self.resource_version,
            written: now,
            seen: Some(now),
            content: None,
        }
    }
}

/// `v1` ConfigMap.
#[derive(Clone, Debug)]
pub struct ConfigMaps;

impl Watched for ConfigMaps {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "ConfigMap";
    const PLURAL: &'static str = "configmaps";
    type Body = ConfigMapBody;
    type View = ConfigView;

    fn view(meta: &ObjectMeta, body: ConfigMapBody) -> ConfigView {
        let mut digests = body.data.0;
        digests.extend(body.binary_data.0);
        ConfigView::new(ConfigKind::ConfigMap, meta, digests)
    }
}

/// `v1` Secret.
#[derive(Clone, Debug)]
pub struct Secrets;

impl Watched for Secrets {
    const GROUP: &'static str = "";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Secret";
    const PLURAL: &'static str = "secrets";
    type Body = SecretBody;
    type View = ConfigView;

    fn view(meta: &ObjectMeta, body: SecretBody) -> ConfigView {
        ConfigView::new(ConfigKind::Secret, meta, body.data.0)
    }
}

/// Something that acts on a workload in our place: kind and name, and the workload.
pub type Delegate = ((String, String), Option<WorkloadId>);

macro_rules! delegate_kind {
    ($name:ident, $group:literal, $version:literal, $kind:literal, $plural:literal, $target:literal) => {
        #[doc = concat!("`", $group, "/", $version, "` ", $kind, ", which may act on a workload by its `", $target, "`.")]
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Watched for $name {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            type Body = Raw;
            type View = Delegate;

            fn view(meta: &ObjectMeta, body: Raw) -> Delegate {
                let target = &body.spec[$target];
                let kind = match target["kind"].as_str() {
                    Some("Deployment") => Some(WorkloadKind::Deployment),
                    Some("DaemonSet") => Some(WorkloadKind::DaemonSet),
                    _ => None,
                };
                let name = target["name"].as_str().map(str::to_owned);
                let workload = kind.zip(name).map(|(kind, name)| WorkloadId { kind, name });
                (($kind.to_owned(), meta.name.clone().unwrap_or_default()), workload)
            }
        }
    };
}

delegate_kind!(Rollouts, "argoproj.io", "v1alpha1", "Rollout", "rollouts", "workloadRef");
delegate_kind!(Canaries, "flagger.app", "v1beta1", "Canary", "canaries", "targetRef");

/// Our CRD: its uid, while it is established and not being deleted.
pub struct DefinitionView(pub Option<Uid>);

/// `apiextensions.k8s.io/v1` CustomResourceDefinition.
#[derive(Clone, Debug)]
pub struct Definitions;

impl Watched for Definitions {
    const GROUP: &'static str = "apiextensions.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "CustomResourceDefinition";
    const PLURAL: &'static str = "customresourcedefinitions";
    type Body = RawStatus;
    type View = DefinitionView;

    fn view(meta: &ObjectMeta, body: RawStatus) -> DefinitionView {
        let established = list(&body.status["conditions"])
            .any(|one| one["type"] == "Established" && one["status"] == "True");
        DefinitionView((established && meta.deletion_timestamp.is_none()).then(|| uid(meta)))
    }
}

/// An admission policy or binding: its kind and spec.
pub struct AdmissionView {
    /// Its kind.
    pub kind: &'static str,
    /// Its spec.
    pub spec: Value,
}

/// Only the spec as raw JSON.
#[derive(Deserialize, Clone, Debug)]
pub struct RawSpec {
    #[serde(default)]
    pub(super) spec: Value,
}

macro_rules! admission_kind {
    ($name:ident, $kind:literal, $plural:literal) => {
        #[doc = concat!("`admissionregistration.k8s.io/v1` ", $kind, ".")]
        #[derive(Clone, Debug)]
        pub struct $name;

        impl Watched for $name {
            const GROUP: &'static str = "admissionregistration.k8s.io";
            const VERSION: &'static str = "v1";
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            type Body = RawSpec;
            type View = AdmissionView;

            fn view(_: &ObjectMeta, body: RawSpec) -> AdmissionView {
                AdmissionView { kind: $kind, spec: body.spec }
            }
        }
    };
}

admission_kind!(MutatingPolicies, "MutatingAdmissionPolicy", "mutatingadmissionpolicies");
admission_kind!(
    MutatingBindings,
    "MutatingAdmissionPolicyBinding",
    "mutatingadmissionpolicybindings"
);
admission_kind!(ValidatingPolicies, "ValidatingAdmissionPolicy", "validatingadmissionpolicies");
admission_kind!(
    ValidatingBindings,
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings"
);
