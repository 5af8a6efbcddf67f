//! Nodes that are always ready.

use std::time::Duration;

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Node},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::Error;

const RENEW_EVERY: Duration = Duration::from_secs(10);

fn manager() -> PatchParams {
    PatchParams::apply("local-cluster").force()
}

/// Registers a node with room for everything, whose kubelet listens on this port.
pub async fn register(client: &Client, name: &str, port: u16) -> Result<(), Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = from(json!({"metadata": {
        "name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        // The controller manager attaches volumes, not the node.
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
    }}));
    match nodes.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error.into()),
    }
    renew(client, name).await?;
    let room = json!({"cpu": "10000", "memory": "10Ti", "pods": "20000", "ephemeral-storage": "10Ti"});
    let now = Timestamp::now();
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "lastHeartbeatTime": now, "lastTransitionTime": now});
    let status = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {
        "capacity": room, "allocatable": room,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {"machineID": name, "systemUUID": name, "bootID": name, "kernelVersion": "0", "osImage": "local-cluster", "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.36.3", "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64"},
    }});
    nodes.patch_status(name, &manager(), &Patch::Apply(status)).await?;
    Ok(())
}

/// Renews the nodes' leases, for ever: without it the node controller would call them lost.
pub async fn heartbeats(client: Client, names: Vec<String>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        for name in &names {
            if let Err(error) = renew(&client, name).await {
                tracing::debug!(%error, name, "a node's lease could not be renewed");
            }
        }
    }
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
