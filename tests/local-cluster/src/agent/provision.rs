//! Makes a volume for each claim that the controller manager asks one for, and removes it when it
//! is released, as external-provisioner does.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use futures::TryStreamExt;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{StorageClass, VolumeAttachment},
};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    RETRY, Shared,
    storage::{PINNED, is_ours},
};

/// The controller manager asks this provisioner for a volume.
const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The scheduler has chosen this node for the first pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Who made a volume, and is to remove it.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Keeps a volume's object until its data is gone.
const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";

/// Makes volumes for claims, until it is stopped.
pub async fn claims(shared: Arc<Shared>) {
    let api: Api<PersistentVolumeClaim> = Api::all(shared.client.clone());
    let mut changes = std::pin::pin!(
        watcher(api, watcher::Config::default()).default_backoff().applied_objects()
    );
    loop {
        match changes.try_next().await {
            Ok(Some(claim)) => {
                let name = claim.metadata.name.clone();
                let made = persist(|| provision(&shared, &claim)).await;
                made.unwrap_or_else(
                    |error| tracing::warn!(%error, ?name, "no volume could be made for a claim"),
                );
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "the watch of claims failed"),
        }
    }
}

/// Tries again while the API server does not answer.
pub async fn persist<F: Future<Output = kube::Result<()>>>(
    mut attempt: impl FnMut() -> F,
) -> kube::Result<()> {
    loop {
        match attempt().await {
            Err(error) if !matches!(error, kube::Error::Api(_)) => tokio::time::sleep(RETRY).await,
            outcome => return outcome,
        }
    }
}

fn annotation<'a>(object: &'a impl Resource, key: &str) -> Option<&'a String> {
    object.meta().annotations.as_ref()?.get(key)
}

async fn provision(shared: &Shared, claim: &PersistentVolumeClaim) -> kube::Result<()> {
    let Some(driver) = annotation(claim, PROVISIONER).filter(|driver| is_ours(driver)) else {
        return Ok(());
    };
    let (Some(spec), Some(uid)) = (&claim.spec, &claim.metadata.uid) else { return Ok(()) };
    if spec.volume_name.is_some() || claim.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let classes: Api<StorageClass> = Api::all(shared.client.clone());
    let Some(class) =
        classes.get_opt(spec.storage_class_name.as_deref().unwrap_or_default()).await?
    else {
        return Ok(());
    };
    let node = annotation(claim, SELECTED_NODE);
    if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") && node.is_none() {
        return Ok(());
    }
    let name = format!("pvc-{uid}");
    if let Err(error) = std::fs::create_dir_all(folder(shared, &name)) {
        tracing::warn!(%error, name, "no folder could be made for a volume");
        return Ok(());
    }
    let pinned = class
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.get(PINNED))
        .is_some_and(|pinned| pinned == "true");
    let policy = class.reclaim_policy.as_deref().unwrap_or("Delete");
    let volume = json!({
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: driver}, "finalizers": if policy == "Delete" { vec![FINALIZER] } else { vec![] }},
        "spec": {
            "storageClassName": spec.storage_class_name, "persistentVolumeReclaimPolicy": policy, "accessModes": spec.access_modes,
            "volumeMode": spec.volume_mode, "mountOptions": class.mount_options,
            "capacity": {"storage": spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"))},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.metadata.namespace, "name": claim.metadata.name,
                "uid": uid, "resourceVersion": claim.metadata.resource_version},
            "csi": {"driver": driver, "volumeHandle": name, "fsType": "ext4"},
            "nodeAffinity": node.filter(|_| pinned).map_or(Value::Null, |node| only_on(node)),
        },
    });
    let volume: PersistentVolume =
        serde_json::from_value(volume).map_err(kube::Error::SerdeError)?;
    let volumes: Api<PersistentVolume> = Api::all(shared.client.clone());
    match volumes.create(&PostParams::default(), &volume).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        made => made.map(drop),
    }
}

fn only_on(node: &str) -> Value {
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}})
}

/// Where a volume's data is, by its handle.
pub fn folder(shared: &Shared, handle: &str) -> PathBuf {
    shared.options.volumes.join(handle)
}

/// Removes volumes that are released, until it is stopped.
pub async fn volumes(shared: Arc<Shared>) {
    let api: Api<PersistentVolume> = Api::all(shared.client.clone());
    let mut changes = std::pin::pin!(
        watcher(api, watcher::Config::default()).default_backoff().applied_objects()
    );
    let mut removals = JoinSet::new();
    let mut going = BTreeMap::new();
    loop {
        match changes.try_next().await {
            Ok(Some(volume)) => {
                let name = volume.metadata.name.clone().unwrap_or_default();
                if is_to_go(&volume) {
                    going
                        .retain(|_, removal: &mut tokio::task::AbortHandle| !removal.is_finished());
                    going
                        .entry(name.clone())
                        .or_insert_with(|| removals.spawn(remove(shared.clone(), name)));
                } else if let Err(error) = keep_finalizer(&shared, &volume).await {
                    tracing::debug!(%error, name, "a volume's finalizer could not be set");
                }
            }
            Ok(None) => return,
            Err(error) => tracing::debug!(%error, "the watch of volumes failed"),
        }
        while removals.try_join_next().is_some() {}
    }
}

fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn deletes(volume: &PersistentVolume) -> bool {
    volume
        .spec
        .as_ref()
        .is_some_and(|spec| spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete"))
}

fn is_made_here(volume: &PersistentVolume) -> bool {
    annotation(volume, PROVISIONED_BY).is_some_and(|driver| is_ours(driver))
}

fn is_to_go(volume: &PersistentVolume) -> bool {
    let finalized = volume.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
    let gone_already = volume.metadata.deletion_timestamp.is_some() && !finalized;
    is_made_here(volume) && phase(volume) == "Released" && deletes(volume) && !gone_already
}

/// The finalizer follows the reclaim policy of a bound volume: an object whose data is to stay may
/// go alone.
async fn keep_finalizer(shared: &Shared, volume: &PersistentVolume) -> kube::Result<()> {
    if !is_made_here(volume)
        || phase(volume) != "Bound"
        || volume.metadata.deletion_timestamp.is_some()
    {
        return Ok(());
    }
    set_finalizer(shared, volume, deletes(volume)).await
}

async fn set_finalizer(
    shared: &Shared,
    volume: &PersistentVolume,
    wanted: bool,
) -> kube::Result<()> {
    let meta = &volume.metadata;
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    if finalizers.iter().any(|one| one == FINALIZER) == wanted {
        return Ok(());
    }
    finalizers.retain(|one| one != FINALIZER);
    finalizers.extend(wanted.then(|| FINALIZER.to_owned()));
    // With the version, so that no finalizer is lost.
    let patch =
        json!({"metadata": {"finalizers": finalizers, "resourceVersion": meta.resource_version}});
    let api: Api<PersistentVolume> = Api::all(shared.client.clone());
    api.patch(
        meta.name.as_deref().unwrap_or_default(),
        &PatchParams::default(),
        &Patch::Merge(patch),
    )
    .await
    .map(drop)
}

/// Removes a volume and its data, as soon as it is on no node any more, and if it is still to go
/// then.
async fn remove(shared: Arc<Shared>, name: String) {
    loop {
        match try_remove(&shared, &name).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, name, "a volume could not be removed"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether that is done.
async fn try_remove(shared: &Shared, name: &str) -> kube::Result<bool> {
    let api: Api<PersistentVolume> = Api::all(shared.client.clone());
    let Some(volume) = api.get_opt(name).await?.filter(is_to_go) else { return Ok(true) };
    let attachments: Api<VolumeAttachment> = Api::all(shared.client.clone());
    let attachments = attachments.list(&ListParams::default()).await?;
    if attachments
        .items
        .iter()
        .any(|one| one.spec.source.persistent_volume_name.as_deref() == Some(name))
    {
        return Ok(false);
    }
    let handle = volume.spec.as_ref().and_then(|spec| Some(&spec.csi.as_ref()?.volume_handle));
    match handle.map(|handle| std::fs::remove_dir_all(folder(shared, handle))) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, name, "a volume's folder could not be removed");
            return Ok(false);
        }
        _ => {}
    }
    let uid = volume.metadata.uid.clone();
    let this_one = DeleteParams {
        preconditions: Some(Preconditions { uid, ..Preconditions::default() }),
        ..DeleteParams::default()
    };
    let deleted = api.delete(name, &this_one).await;
    if let Err(kube::Error::Api(status)) = &deleted
        && status.code == 404
    {
        return Ok(true);
    }
    deleted?;
    let Some(volume) = api.get_opt(name).await? else { return Ok(true) };
    set_finalizer(shared, &volume, false).await?;
    Ok(true)
}
