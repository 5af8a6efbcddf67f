//! The claims of a pod, on its node: what the kubelet's volume manager does.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::{
    core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume},
    storage::v1::VolumeAttachment,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;

use super::{
    Shared,
    attach::is_attached,
    provision::folder,
    storage::{attaches, is_ours},
};

/// Why a pod cannot have a volume yet.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Wait {
    /// Somebody else has to do his part first, and tells of it.
    #[error("{0}")]
    Others(String),
    /// The kubelet tells of it.
    #[error("{0}")]
    Failed(String),
}

impl From<kube::Error> for Wait {
    fn from(error: kube::Error) -> Self {
        Self::Others(error.to_string())
    }
}

/// The folders of the pod's claims, by the names of its volumes, once it may use all of them.
pub async fn mount(shared: &Shared, pod: &Pod) -> Result<BTreeMap<String, PathBuf>, Wait> {
    let mut folders = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if let Some(claim) = claim_of(pod, volume) {
            folders
                .insert(volume.name.clone(), mount_claim(shared, pod, &volume.name, &claim).await?);
        }
    }
    Ok(folders)
}

fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    if volume.ephemeral.is_some() {
        return Some(format!(
            "{}-{}",
            pod.metadata.name.as_deref().unwrap_or_default(),
            volume.name
        ));
    }
    volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone())
}

async fn mount_claim(shared: &Shared, pod: &Pod, name: &str, claim: &str) -> Result<PathBuf, Wait> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let of_claim = |what: &str| {
        let unmounted = format!(
            "unmounted volumes=[{name}], unattached volumes=[], failed to process volumes=[{name}]"
        );
        Wait::Failed(format!(
            "Unable to attach or mount volumes: {unmounted}: error processing PVC {namespace}/{claim}: {what}"
        ))
    };
    let volume = bound_volume(shared, namespace, claim).await?.map_err(of_claim)?;
    let volume_name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.unwrap_or_default();
    let Some(source) = spec.csi.filter(|source| is_ours(&source.driver)) else {
        return Err(Wait::Failed(format!(
            "MountVolume.SetUp failed for volume {volume_name:?}: this cluster has no such driver"
        )));
    };
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let unique = format!("kubernetes.io/csi/{}^{}", source.driver, source.volume_handle);
    shared.in_use.want(&shared.client, node, &unique, uid).await?;
    if attaches(&source.driver) && !is_on_node(shared, node, volume_name, &unique).await? {
        return Err(Wait::Others(format!("volume {volume_name:?} is not attached to {node} yet")));
    }
    let alone = spec.access_modes.is_some_and(|modes| modes == ["ReadWriteOncePod"]);
    if !shared.in_use.mount(node, &unique, uid, alone).await {
        let what =
            "volume uses the ReadWriteOncePod access mode and is already in use by another pod";
        return Err(Wait::Failed(format!(
            "MountVolume.SetUp failed for volume {volume_name:?} : {what}"
        )));
    }
    Ok(folder(shared, &source.volume_handle))
}

/// The volume that a claim is bound to, or what is wrong with the claim, in the kubelet's words.
async fn bound_volume(
    shared: &Shared,
    namespace: &str,
    claim: &str,
) -> Result<Result<PersistentVolume, &'static str>, Wait> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(shared.client.clone(), namespace);
    let Some(claim) = claims.get_opt(claim).await? else {
        return Ok(Err("persistentvolumeclaim not found"));
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Ok(Err("PVC is being deleted"));
    }
    let bound = claim.status.is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let Some(volume) = claim.spec.and_then(|spec| spec.volume_name).filter(|_| bound) else {
        return Ok(Err("PVC is not bound"));
    };
    let volumes: Api<PersistentVolume> = Api::all(shared.client.clone());
    let Some(volume) = volumes.get_opt(&volume).await? else {
        return Ok(Err("its volume is not found"));
    };
    let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()?.uid.clone());
    Ok(if holder == claim.metadata.uid {
        Ok(volume)
    } else {
        Err("its volume is bound to another claim")
    })
}

/// Whether the volume is attached to the node, and not about to be detached: then the controller
/// manager no longer reports it.
async fn is_on_node(shared: &Shared, node: &str, volume: &str, unique: &str) -> Result<bool, Wait> {
    let nodes: Api<Node> = Api::all(shared.client.clone());
    let status = nodes.get(node).await?.status.unwrap_or_default();
    if !status.volumes_attached.iter().flatten().any(|one| one.name == unique) {
        return Ok(false);
    }
    let attachments: Api<VolumeAttachment> = Api::all(shared.client.clone());
    let here = |one: &VolumeAttachment| {
        one.spec.node_name == node
            && one.spec.source.persistent_volume_name.as_deref() == Some(volume)
    };
    Ok(attachments
        .list(&ListParams::default())
        .await?
        .items
        .iter()
        .any(|one| here(one) && is_attached(one)))
}

/// Tells of a volume that cannot be had, as the kubelet does.
pub async fn tell(shared: &Shared, pod: &Pod, note: &str) {
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let now =
        k8s_openapi::jiff::Timestamp::from_second(k8s_openapi::jiff::Timestamp::now().as_second())
            .unwrap_or_default();
    let event = json!({
        "metadata": {"generateName": format!("{}.", meta.name.as_deref().unwrap_or_default()), "namespace": namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": meta.name, "uid": meta.uid},
        "type": "Warning", "reason": "FailedMount", "message": note, "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": "kubelet", "host": pod.spec.as_ref().and_then(|spec| spec.node_name.clone())},
    });
    let events: Api<Event> = Api::namespaced(shared.client.clone(), namespace);
    let told = match serde_json::from_value(event) {
        Ok(event) => events.create(&PostParams::default(), &event).await.map(drop),
        Err(error) => Err(kube::Error::SerdeError(error)),
    };
    told.unwrap_or_else(|error| tracing::debug!(%error, "an event could not be told"));
}
