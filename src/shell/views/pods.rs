//! The fields that are used of pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{Watched, containers, list, time};
use crate::{
    core::{
        observed::storage::ClaimsOfPod,
        observed::{DeclaredPort, Pod, Reach},
    },
    marks::labels::config_hash_of_pod,
    workload::{controller, created, uid},
};

/// `v1` Pod. The index fills in the versions of its creation and of its starts: it knows what was
/// seen before.
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
            gated: body
                .spec
                .scheduling_gates
                .iter()
                .any(|gate| &*gate.name == crate::api::marks::IN_MAINTENANCE),
            ready: ready["status"] == "True",
            ready_moved: time(&ready["lastTransitionTime"]),
            config_hash: config_hash_of_pod(meta.annotations.as_ref()).map(Into::into),
            revision: revision.map(|revision| revision.as_str().into()),
            started: containers()
                .filter_map(|one| time(&one["state"]["running"]["startedAt"]))
                .collect(),
            started_version: None,
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
    scheduling_gates: Vec<GateBody>,
    node_name: Option<Box<str>>,
    volumes: Vec<VolumeBody>,
    containers: Vec<ContainerBody>,
    init_containers: Vec<ContainerBody>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
struct GateBody {
    name: Box<str>,
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
