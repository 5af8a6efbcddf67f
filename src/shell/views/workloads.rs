//! The fields that are used of workloads and of their revisions.

use std::{marker::PhantomData, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{Raw, Watched};
use crate::{
    api::WorkloadKind,
    core::{
        config::references::of_template,
        observed::{ControllerRevision, ReplicaSet, Workload},
    },
    workload::{
        self, DaemonSet, Deployment, Kind, StatefulSet, config_hash, containers, controller,
        created, rests, template_digest,
    },
};

/// A kind of workload.
#[derive(Clone, Debug)]
pub struct Workloads<K>(PhantomData<K>);

/// `apps/v1` Deployment.
pub type Deployments = Workloads<Deployment>;
/// `apps/v1` StatefulSet.
pub type StatefulSets = Workloads<StatefulSet>;
/// `apps/v1` DaemonSet.
pub type DaemonSets = Workloads<DaemonSet>;

impl<K: Kind> Watched for Workloads<K> {
    const GROUP: &'static str = WorkloadKind::GROUP;
    const VERSION: &'static str = WorkloadKind::VERSION;
    const KIND: &'static str = K::KIND.as_str();
    const PLURAL: &'static str = K::KIND.plural();
    const READS_FIELDS_OF_MANAGERS: bool = true;
    type Body = Raw;
    type View = Workload;

    fn view(meta: &ObjectMeta, body: Raw) -> Workload {
        workload::view::<K>(meta, &body.spec, &body.status)
    }
}

/// `apps/v1` ReplicaSet.
#[derive(Clone, Debug)]
pub struct ReplicaSets;

impl Watched for ReplicaSets {
    const GROUP: &'static str = WorkloadKind::GROUP;
    const VERSION: &'static str = WorkloadKind::VERSION;
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
            rests: rests(template),
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
    const GROUP: &'static str = WorkloadKind::GROUP;
    const VERSION: &'static str = WorkloadKind::VERSION;
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
            rests: rests(template),
            name: meta.name.as_deref().unwrap_or_default().into(),
            stateful_set: owner.uid.as_str().into(),
            references: of_template(template).into(),
            containers: containers(template),
        })
    }
}
