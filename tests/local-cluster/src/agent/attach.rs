//! Volumes on nodes. The controller manager decides what is attached where; the driver obeys, and
//! each node tells what it uses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::TryStreamExt;
use k8s_openapi::api::{core::v1::Node, storage::v1::VolumeAttachment};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use tokio::sync::Mutex;

use super::{Shared, provision::persist, storage::is_ours};

/// Attaches whatever it is asked to, at once, until it is stopped. Nothing needs to be done to
/// detach.
pub async fn follow(shared: Arc<Shared>) {
    let api: Api<VolumeAttachment> = Api::all(shared.client.clone());
    let mut changes = std::pin::pin!(
        watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects()
    );
    loop {
        let attachment = match changes.try_next().await {
            Ok(Some(attachment)) => attachment,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "the watch of attachments failed");
                continue;
            }
        };
        if !is_ours(&attachment.spec.attacher)
            || is_attached(&attachment)
            || attachment.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let name = attachment.metadata.name.as_deref().unwrap_or_default();
        let patch =
            json!({"metadata": {"uid": attachment.metadata.uid}, "status": {"attached": true}});
        let attached = persist(|| async {
            api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
        })
        .await;
        attached.unwrap_or_else(
            |error| tracing::debug!(%error, name, "a volume could not be attached"),
        );
    }
}

/// Whether the driver has attached a volume.
pub fn is_attached(attachment: &VolumeAttachment) -> bool {
    attachment.status.as_ref().is_some_and(|status| status.attached)
}

/// The pods that want a volume on a node, and those of them that have it.
#[derive(Default)]
struct Users {
    wanted_by: BTreeSet<String>,
    mounted_by: BTreeSet<String>,
}

/// The volumes that nodes use. The controller manager detaches none of them, so a node tells before
/// it mounts and after it unmounts.
#[derive(Default)]
pub struct InUse {
    nodes: Mutex<BTreeMap<String, BTreeMap<String, Users>>>,
}

impl InUse {
    /// A pod on this node wants a volume.
    pub async fn want(
        &self,
        client: &Client,
        node: &str,
        volume: &str,
        pod: &str,
    ) -> kube::Result<()> {
        let mut nodes = self.nodes.lock().await;
        let volumes = nodes.entry(node.to_owned()).or_default();
        let new = !volumes.contains_key(volume);
        volumes.entry(volume.to_owned()).or_default().wanted_by.insert(pod.to_owned());
        if new { tell(client, node, volumes).await } else { Ok(()) }
    }

    /// The pod mounts the volume, unless it wants it alone and another pod on the node has it.
    pub async fn mount(&self, node: &str, volume: &str, pod: &str, alone: bool) -> bool {
        let mut nodes = self.nodes.lock().await;
        let Some(users) = nodes.get_mut(node).and_then(|volumes| volumes.get_mut(volume)) else {
            return false;
        };
        if alone && users.mounted_by.iter().any(|user| user != pod) {
            return false;
        }
        users.mounted_by.insert(pod.to_owned());
        true
    }

    /// The pod is gone from the node.
    pub async fn release(&self, client: &Client, node: &str, pod: &str) -> kube::Result<()> {
        let mut nodes = self.nodes.lock().await;
        let Some(volumes) = nodes.get_mut(node) else { return Ok(()) };
        let before = volumes.len();
        volumes.retain(|_, users| {
            users.mounted_by.remove(pod);
            users.wanted_by.remove(pod);
            !users.wanted_by.is_empty()
        });
        if volumes.len() == before { Ok(()) } else { tell(client, node, volumes).await }
    }
}

async fn tell(client: &Client, node: &str, volumes: &BTreeMap<String, Users>) -> kube::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let patch = json!({"status": {"volumesInUse": volumes.keys().collect::<Vec<_>>()}});
    persist(|| async {
        api.patch_status(node, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    })
    .await
}
