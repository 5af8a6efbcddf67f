//! Nodes that are ready, unless a test says that one is lost.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::TryStreamExt;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

use super::Shared;
use crate::Error;

/// A node on which nothing is scheduled that does not tolerate its taint of this name: for tests
/// that lose their node.
pub const SPARE: &str = "node-spare";
const SPARE_TAINT: &str = "lockkeeper.dev/spare";
/// On a node, any value: its kubelet is lost. Its pods run on, and nobody reports them, obeys what
/// the API says, or renews its lease.
const LOST: &str = "lockkeeper.dev/test-lost";

const RENEW_EVERY: Duration = Duration::from_secs(10);

fn manager() -> PatchParams {
    PatchParams::apply("local-cluster").force()
}

/// What a node tells about its kubelet.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// Where it listens.
    pub port: u16,
    /// Its version, such as `v1.36.3`.
    pub version: String,
}

/// Registers a node with room for everything, and this kubelet.
pub async fn register(client: &Client, name: &str, kubelet: &Kubelet) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = from(json!({"metadata": {
        "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        // The controller manager attaches volumes, not the node.
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
    }, "spec": {"taints": if name == SPARE { json!([{"key": SPARE_TAINT, "effect": "NoSchedule"}]) } else { json!([]) }}}));
    match nodes.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error.into()),
    }
    report(client, name, kubelet).await
}

/// Reports that a node is ready, as its kubelet does when it starts or is back.
async fn report(client: &Client, name: &str, kubelet: &Kubelet) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    renew(client, name).await?;
    let room =
        json!({"cpu": "10000", "memory": "10Ti", "pods": "20000", "ephemeral-storage": "10Ti"});
    let now = Timestamp::now();
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now});
    let status = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
        "capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}},
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {"machineID": name, "systemUUID": name, "bootID": name, "kernelVersion": "0", "osImage": "local-cluster", "containerRuntimeVersion": "process://1",
            "kubeletVersion": kubelet.version, "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
    }});
    nodes.patch_status(name, &manager(), &Patch::Apply(status)).await?;
    Ok(())
}

/// Renews the nodes' leases, until it is stopped: without it the node controller would call them
/// lost. A node that was lost also reports again that it is ready.
pub async fn heartbeats(shared: Arc<Shared>, names: Vec<String>, kubelet: Kubelet) {
    let (mut lost, mut were_lost) = (shared.lost.subscribe(), BTreeSet::new());
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            _ = lost.changed() => {}
        }
        for name in &names {
            if shared.is_lost(name) {
                were_lost.insert(name);
                continue;
            }
            let result = match were_lost.contains(name) {
                true => report(&shared.client, name, &kubelet).await,
                false => renew(&shared.client, name).await,
            };
            match result {
                Ok(()) => drop(were_lost.remove(name)),
                Err(error) => tracing::debug!(%error, name, "a node's heartbeat failed"),
            }
        }
    }
}

/// Learns which nodes are lost, until it is stopped. A node that the node controller calls lost,
/// because this machine stood still for a while, reports again that it is ready.
pub async fn follow(shared: Arc<Shared>, kubelet: Kubelet) {
    let api: Api<Node> = Api::all(shared.client.clone());
    let mut changes = std::pin::pin!(
        watcher(api, watcher::Config::default()).default_backoff().applied_objects()
    );
    loop {
        let node = match changes.try_next().await {
            Ok(Some(node)) => node,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the watch of nodes failed");
                continue;
            }
        };
        let lost = node.annotations().contains_key(LOST);
        shared.lost.send_if_modified(|all: &mut BTreeSet<String>| {
            if lost { all.insert(node.name_any()) } else { all.remove(&node.name_any()) }
        });
        if !lost
            && called_lost(&node)
            && let Err(error) = report(&shared.client, &node.name_any(), &kubelet).await
        {
            tracing::debug!(%error, "a node could not report that it is ready");
        }
    }
}

fn called_lost(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "Unknown")
}

async fn renew(client: &Client, name: &str) -> Result<(), Error> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": format!("{:.6}", Timestamp::now())},
    });
    leases.patch(name, &manager(), &Patch::Apply(lease)).await?;
    Ok(())
}

fn from<T: serde::de::DeserializeOwned + Default>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_default()
}
