//! The storage classes of the cluster, and their drivers.
//!
//! A volume is a folder on this machine. The control plane does its own part as anywhere: it binds,
//! schedules, and attaches.

use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::Error;

/// Its volumes are attached to a node before a pod can use them, as disks are.
const ATTACHED: &str = "folders.lockkeeper.dev";
/// Its volumes need no attachment, as network shares do not: nobody looks who uses them.
const UNATTACHED: &str = "unattached.folders.lockkeeper.dev";
/// The parameter of a class whose volumes can be used on one node only.
pub const PINNED: &str = "pinned";

const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// Whether this agent plays the driver.
pub fn is_ours(driver: &str) -> bool {
    matches!(driver, ATTACHED | UNATTACHED)
}

/// Whether volumes of the driver have to be attached.
pub fn attaches(driver: &str) -> bool {
    driver != UNATTACHED
}

/// Registers the drivers and their classes.
pub async fn register(client: &Client) -> Result<(), Error> {
    let drivers: Api<CSIDriver> = Api::all(client.clone());
    for driver in [ATTACHED, UNATTACHED] {
        let spec = json!({"attachRequired": attaches(driver), "podInfoOnMount": false, "volumeLifecycleModes": ["Persistent"]});
        apply(
            &drivers,
            driver,
            json!({"kind": "CSIDriver", "metadata": {"name": driver}, "spec": spec}),
        )
        .await?;
    }
    let classes: Api<StorageClass> = Api::all(client.clone());
    // As in most clouds, the default class waits for a pod, and deletes with the claim.
    for (name, driver, binding, pinned) in [
        ("folders", ATTACHED, "WaitForFirstConsumer", false),
        ("folders-immediate", ATTACHED, "Immediate", false),
        ("folders-unattached", UNATTACHED, "WaitForFirstConsumer", false),
        ("folders-local", ATTACHED, "WaitForFirstConsumer", true),
    ] {
        let metadata =
            json!({"name": name, "annotations": {DEFAULT_CLASS: (name == "folders").to_string()}});
        let class = json!({"kind": "StorageClass", "metadata": metadata, "provisioner": driver, "parameters": {PINNED: pinned.to_string()},
            "reclaimPolicy": "Delete", "volumeBindingMode": binding});
        apply(&classes, name, class).await?;
    }
    Ok(())
}

async fn apply<K>(api: &Api<K>, name: &str, mut object: Value) -> Result<(), Error>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    object["apiVersion"] = json!("storage.k8s.io/v1");
    api.patch(name, &PatchParams::apply("local-cluster").force(), &Patch::Apply(object)).await?;
    Ok(())
}
