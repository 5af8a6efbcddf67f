//! Volumes: the binder, the provisioner, the protection of claims that are in use, and the end of a
//! namespace. It follows pkg/controller/volume/persistentvolume of Kubernetes 1.36. What a volume
//! holds is the object `Disk` of its handle: code that looks for lost data looks there.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{is_staying, name};
use crate::server::{NAMESPACE, Server};

const CLAIM: &str = "PersistentVolumeClaim";
const VOLUME: &str = "PersistentVolume";
const BOUND: &str = "pv.kubernetes.io/bind-completed";
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The scheduler tells on which node a volume is to be.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// The names of the claims that a pod uses.
pub fn claims(pod: &Value) -> impl Iterator<Item = &str> {
    pod["spec"]["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// The volume to which a claim is bound, from both sides.
pub(super) fn volume_of(server: &Server, claim: &Value) -> Option<Arc<Value>> {
    let volume = server.get(VOLUME, claim["spec"]["volumeName"].as_str()?)?;
    (claim["status"]["phase"] == "Bound"
        && volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"])
        .then_some(volume)
}

/// Whether a claim waits for a pod before it is bound.
pub(super) fn waits_for_pod(server: &Server, claim: &Value) -> bool {
    let class = claim["spec"]["storageClassName"]
        .as_str()
        .and_then(|class| server.get("StorageClass", class));
    class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

/// A pod that starts writes to its volumes.
pub(super) fn write_data(server: &mut Server, pod: &Value) {
    let of_claim = |claim: &str| volume_of(server, &*server.get(CLAIM, claim)?);
    let disks: Vec<_> = claims(pod)
        .filter_map(of_claim)
        .filter_map(|volume| handle(&volume).map(str::to_owned))
        .collect();
    for disk in disks {
        server.control("Disk", &disk, |disk| {
            if let Some(written) = disk["written"].as_array_mut() {
                written.push(pod["metadata"]["name"].clone());
            }
        });
    }
}

fn handle(volume: &Value) -> Option<&str> {
    volume["spec"]["csi"]["volumeHandle"].as_str()
}

/// Bytes of a quantity.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap_or_default();
    let at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let power = match &text[at..] {
        "Ki" => 1,
        "Mi" => 2,
        "Gi" => 3,
        "Ti" => 4,
        _ => 0,
    };
    text[..at].parse::<u64>().unwrap_or(0) << (10 * power)
}

fn set_phase(server: &mut Server, kind: &str, object: &Value, phase: &str) -> bool {
    if object["status"]["phase"] == phase {
        return false;
    }
    let now = server.second();
    server.control(kind, &name(object), |object| {
        object["status"]["phase"] = json!(phase);
        if kind == VOLUME {
            object["status"]["lastPhaseTransitionTime"] = json!(now);
        }
    });
    true
}

/// Whether a volume is meant for a claim: by name, and by uid if it tells one.
fn is_for(volume: &Value, claim: &Value) -> bool {
    let reference = &volume["spec"]["claimRef"];
    let uid = reference["uid"].as_str().unwrap_or_default();
    reference["namespace"] == NAMESPACE
        && reference["name"] == claim["metadata"]["name"]
        && (uid.is_empty() || claim["metadata"]["uid"] == uid)
}

/// One effect of the binder, the provisioner or the protection for a claim.
pub fn claim(server: &mut Server, of: &str) -> bool {
    let Some(claim) = server.get(CLAIM, of) else { return false };
    if !is_staying(&claim) {
        // Only of a pod that is on a node it is known that it uses the claim.
        let uses = |pod: &&Arc<Value>| {
            !pod["spec"]["nodeName"].is_null() && claims(pod).any(|one| one == of)
        };
        let in_use = server.of_kind("Pod").any(|pod| uses(&pod));
        if !in_use {
            server.remove(CLAIM, of);
        }
        return !in_use;
    }
    let named = claim["spec"]["volumeName"].as_str();
    let volume = named.and_then(|volume| server.get(VOLUME, volume));
    if !claim["metadata"]["annotations"][BOUND].is_null() {
        return match volume {
            // A volume without a uid is as good as another one's by now.
            Some(volume)
                if volume["spec"]["claimRef"].is_null()
                    || volume["spec"]["claimRef"]["uid"] == claim["metadata"]["uid"] =>
            {
                bind(server, &claim, &volume)
            }
            _ => set_phase(server, CLAIM, &claim, "Lost"),
        };
    }
    let found = match (named, volume) {
        (None, _) => find(server, &claim),
        (Some(_), volume) => {
            volume.filter(|volume| volume["spec"]["claimRef"].is_null() || is_for(volume, &claim))
        }
    };
    match found {
        Some(volume) => bind(server, &claim, &volume),
        None if named.is_none() && provision(server, &claim) => true,
        None => set_phase(server, CLAIM, &claim, "Pending"),
    }
}

/// A volume that a claim gets: one that is meant for it, else the smallest that nobody has.
fn find(server: &Server, claim: &Value) -> Option<Arc<Value>> {
    let modes =
        |object: &Value| object["spec"]["accessModes"].as_array().cloned().unwrap_or_default();
    let wanted = bytes(&claim["spec"]["resources"]["requests"]["storage"]);
    let large_enough =
        |volume: &&Arc<Value>| bytes(&volume["spec"]["capacity"]["storage"]) >= wanted;
    let fits = |volume: &&Arc<Value>| {
        let of_volume = modes(volume);
        is_staying(volume)
            && large_enough(volume)
            && modes(claim).iter().all(|mode| of_volume.contains(mode))
    };
    let mut all: Vec<_> = server.of_kind(VOLUME).filter(fits).collect();
    all.sort_by_key(|volume| bytes(&volume["spec"]["capacity"]["storage"]));
    let is_free = |volume: &&&Arc<Value>| {
        volume["spec"]["claimRef"].is_null()
            && volume["status"]["phase"] == "Available"
            && volume["spec"]["storageClassName"] == claim["spec"]["storageClassName"]
    };
    let meant = all.iter().find(|volume| is_for(volume, claim));
    let free = || all.iter().find(is_free).filter(|_| !waits_for_pod(server, claim));
    meant.or_else(free).map(|volume| Arc::clone(volume))
}

/// The next of the writes that bind a claim and a volume.
fn bind(server: &mut Server, claim: &Value, volume: &Value) -> bool {
    let (of_claim, of_volume) = (name(claim), name(volume));
    let uid = &claim["metadata"]["uid"];
    if volume["spec"]["claimRef"]["uid"] != *uid {
        let reference = json!({"apiVersion": "v1", "kind": CLAIM, "namespace": NAMESPACE, "name": of_claim, "uid": uid});
        server.control(VOLUME, &of_volume, |volume| {
            if volume["spec"]["claimRef"].is_null() {
                volume["metadata"]["annotations"][BY_CONTROLLER] = json!("yes");
            }
            volume["spec"]["claimRef"] = reference;
        });
        return true;
    }
    if set_phase(server, VOLUME, volume, "Bound") {
        return true;
    }
    if claim["spec"]["volumeName"] != *of_volume
        || claim["metadata"]["annotations"][BOUND].is_null()
    {
        server.control(CLAIM, &of_claim, |claim| {
            if claim["spec"]["volumeName"].is_null() {
                claim["metadata"]["annotations"][BY_CONTROLLER] = json!("yes");
            }
            claim["spec"]["volumeName"] = json!(of_volume);
            claim["metadata"]["annotations"][BOUND] = json!("yes");
        });
        return true;
    }
    let status = json!({"phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"]});
    if claim["status"] == status {
        return false;
    }
    server.control(CLAIM, &of_claim, |claim| claim["status"] = status);
    true
}

/// A claim without a volume gets a new one from its class, when its pod has a node if the class
/// waits for that.
fn provision(server: &mut Server, claim: &Value) -> bool {
    let Some(class) = claim["spec"]["storageClassName"]
        .as_str()
        .and_then(|class| server.get("StorageClass", class))
    else {
        return false;
    };
    let Some(driver) =
        class["provisioner"].as_str().filter(|driver| !driver.ends_with("no-provisioner"))
    else {
        return false;
    };
    let node = &claim["metadata"]["annotations"][SELECTED_NODE];
    let waits = class["volumeBindingMode"] == "WaitForFirstConsumer";
    if waits && node.is_null() {
        return false;
    }
    let uid = claim["metadata"]["uid"].as_str().unwrap_or_default();
    let of_volume = format!("pvc-{uid}");
    if server.get(VOLUME, &of_volume).is_some() {
        return false;
    }
    let reference = json!({"apiVersion": "v1", "kind": CLAIM, "namespace": NAMESPACE, "name": claim["metadata"]["name"], "uid": uid});
    let mut spec = json!({
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]}, "accessModes": claim["spec"]["accessModes"],
        "persistentVolumeReclaimPolicy": class["reclaimPolicy"].as_str().unwrap_or("Delete"), "storageClassName": class["metadata"]["name"],
        "claimRef": reference, "csi": {"driver": driver, "volumeHandle": of_volume},
    });
    if waits {
        let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        spec["nodeAffinity"] =
            json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}});
    }
    let metadata = json!({
        "name": of_volume, "annotations": {PROVISIONED_BY: driver}, "finalizers": ["external-provisioner.volume.kubernetes.io/finalizer"],
    });
    server.control_create("Disk", json!({"metadata": {"name": of_volume}, "written": []}));
    server.control_create(
        VOLUME,
        json!({"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}),
    );
    true
}

/// One effect of the binder or the provisioner for a volume.
pub fn volume(server: &mut Server, of: &str) -> bool {
    let Some(volume) = server.get(VOLUME, of) else { return false };
    let reference = &volume["spec"]["claimRef"];
    let uid = reference["uid"].as_str().unwrap_or_default();
    let claim = reference["name"]
        .as_str()
        .and_then(|claim| server.get(CLAIM, claim))
        .filter(|claim| claim["metadata"]["uid"] == uid);
    let phase = match &claim {
        _ if uid.is_empty() => "Available",
        None => "Released",
        // The claim's own turn.
        Some(claim) if claim["spec"]["volumeName"].is_null() => return false,
        Some(claim) if claim["spec"]["volumeName"] == *of => "Bound",
        // It was made for a claim that has another one by now.
        Some(_) if is_provisioned(&volume) && is_deleted(&volume) => "Released",
        Some(_) => {
            server.control(VOLUME, of, |volume| {
                match volume["metadata"]["annotations"][BY_CONTROLLER].is_null() {
                    true => volume["spec"]["claimRef"]["uid"] = Value::Null,
                    false => {
                        volume["spec"]["claimRef"] = Value::Null;
                        volume["metadata"]["annotations"][BY_CONTROLLER] = Value::Null;
                    }
                }
            });
            return true;
        }
    };
    if set_phase(server, VOLUME, &volume, phase) {
        return true;
    }
    let goes = phase != "Bound" && !is_staying(&volume);
    if (phase == "Released" || goes) && is_deleted(&volume) && is_provisioned(&volume) {
        // The data first.
        match handle(&volume).filter(|disk| server.get("Disk", disk).is_some()) {
            Some(disk) => server.remove("Disk", disk),
            None => server.remove(VOLUME, of),
        }
        return true;
    }
    if goes {
        server.remove(VOLUME, of);
    }
    goes
}

fn is_provisioned(volume: &Value) -> bool {
    !volume["metadata"]["annotations"][PROVISIONED_BY].is_null()
}

fn is_deleted(volume: &Value) -> bool {
    volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
}

/// One step of the end of a namespace.
pub fn namespace(server: &mut Server, of: &str) -> bool {
    if of != NAMESPACE || server.get("Namespace", of).is_none_or(|namespace| is_staying(&namespace))
    {
        return false;
    }
    let before = server.version();
    match server.is_empty() {
        true => server.remove("Namespace", of),
        false => server.empty(),
    }
    server.version() > before
}
