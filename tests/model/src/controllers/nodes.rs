//! Where pods run: the scheduler, and which node has which volume. Without `Node` objects pods
//! start wherever they are.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{is_staying, name, number, storage};
use crate::server::Server;

const CLAIM: &str = "PersistentVolumeClaim";
const VOLUME: &str = "PersistentVolume";

fn has_nodes(server: &Server) -> bool {
    server.of_kind("Node").next().is_some()
}

fn node_of(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str()
}

fn uses(pod: &Value, claim: &str) -> bool {
    storage::claims(pod).any(|one| one == claim)
}

fn modes(object: &Value) -> impl Iterator<Item = &str> {
    object["spec"]["accessModes"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The scheduler finds a node for a pod: of those that may have it the one with the fewest pods.
pub fn schedule(server: &mut Server, of: &str) -> bool {
    let Some(pod) = server
        .get("Pod", of)
        .filter(|pod| node_of(pod).is_none() && is_staying(pod) && has_nodes(server))
    else {
        return false;
    };
    let mut nodes: Vec<_> = server
        .of_kind("Node")
        .filter(|node| node["spec"]["unschedulable"] != true)
        .map(|node| name(node))
        .collect();
    let mut unbound = Vec::new();
    for of_claim in storage::claims(&pod) {
        let Some(claim) = server.get(CLAIM, of_claim) else {
            return refuse(
                server,
                &pod,
                &format!("persistentvolumeclaim \"{of_claim}\" not found"),
            );
        };
        if !is_staying(&claim) {
            return refuse(
                server,
                &pod,
                &format!("persistentvolumeclaim \"{of_claim}\" is being deleted"),
            );
        }
        let volume = storage::volume_of(server, &claim);
        if claim["status"]["phase"] == "Lost" {
            return refuse(
                server,
                &pod,
                &format!(
                    "persistentvolumeclaim \"{of_claim}\" bound to non-existent persistentvolume"
                ),
            );
        }
        match volume {
            None if !storage::waits_for_pod(server, &claim) => {
                return refuse(server, &pod, "pod has unbound immediate PersistentVolumeClaims");
            }
            None => unbound.push(claim.clone()),
            Some(volume) => nodes.retain(|node| may_be_on(&volume, node)),
        }
        let other = |other: &Arc<Value>| {
            other["metadata"]["uid"] != pod["metadata"]["uid"]
                && node_of(other).is_some()
                && uses(other, of_claim)
        };
        if modes(&claim).any(|mode| mode == "ReadWriteOncePod") && server.of_kind("Pod").any(other)
        {
            let why = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
            return refuse(server, &pod, why);
        }
    }
    let pods =
        |node: &String| number(server.of_kind("Pod").filter(|pod| node_of(pod) == Some(node)));
    let Some(node) = nodes.iter().min_by_key(|node| (pods(node), (*node).clone())) else {
        return refuse(server, &pod, "0 nodes are available");
    };
    for claim in &unbound {
        if claim["metadata"]["annotations"][storage::SELECTED_NODE].is_null() {
            server.control(CLAIM, &name(claim), |claim| {
                claim["metadata"]["annotations"][storage::SELECTED_NODE] = json!(node)
            });
            return true;
        }
    }
    if unbound.is_empty() {
        server.control("Pod", of, |pod| {
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({"phase": "Pending"});
        });
    }
    unbound.is_empty()
}

/// Whether the node affinity of a volume allows a node.
fn may_be_on(volume: &Value, node: &str) -> bool {
    let terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"].as_array();
    terms.is_none_or(|terms| {
        terms.iter().any(|term| {
            term["matchExpressions"][0]["values"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(node)))
        })
    })
}

fn refuse(server: &mut Server, pod: &Value, why: &str) -> bool {
    if pod["status"]["conditions"][0]["message"] == why {
        return false;
    }
    let condition = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why, "lastTransitionTime": server.second(),
    });
    server.control("Pod", &name(pod), |pod| pod["status"]["conditions"] = json!([condition]));
    true
}

/// Whether a volume must be attached to a node before a pod there can use it. What is not known is.
fn attaches(server: &Server, volume: &Value) -> bool {
    let driver =
        volume["spec"]["csi"]["driver"].as_str().and_then(|driver| server.get("CSIDriver", driver));
    driver.is_none_or(|driver| driver["spec"]["attachRequired"] != false)
}

/// Whether only one node at a time may have it.
fn is_exclusive(volume: &Value) -> bool {
    modes(volume).next().is_some()
        && !modes(volume).any(|mode| matches!(mode, "ReadWriteMany" | "ReadOnlyMany"))
}

fn attachments(server: &Server, volume: &str) -> Vec<Arc<Value>> {
    server
        .of_kind("VolumeAttachment")
        .filter(|one| one["spec"]["source"]["persistentVolumeName"] == volume)
        .cloned()
        .collect()
}

/// Pods on nodes that use the claim of a volume. One that is going counts until it is gone.
fn users(server: &Server, volume: &Value) -> Vec<Arc<Value>> {
    let claim =
        volume["spec"]["claimRef"]["name"].as_str().and_then(|claim| server.get(CLAIM, claim));
    let Some(claim) =
        claim.filter(|claim| claim["spec"]["volumeName"] == volume["metadata"]["name"])
    else {
        return Vec::new();
    };
    server
        .of_kind("Pod")
        .filter(|pod| node_of(pod).is_some() && uses(pod, &name(&claim)))
        .cloned()
        .collect()
}

/// A volume is taken from a node that no longer needs it, or given to one that does.
pub fn attach(server: &mut Server, of: &str) -> bool {
    let Some(volume) = server.get(VOLUME, of).filter(|volume| attaches(server, volume)) else {
        return false;
    };
    let users = users(server, &volume);
    let wanted: BTreeSet<_> = users.iter().filter_map(|pod| node_of(pod)).collect();
    let there = attachments(server, of);
    let is_on = |node: &str| there.iter().any(|one| one["spec"]["nodeName"] == node);
    if let Some(done) = there
        .iter()
        .find(|one| one["spec"]["nodeName"].as_str().is_none_or(|node| !wanted.contains(node)))
    {
        server.remove("VolumeAttachment", &name(done));
        return true;
    }
    let Some(node) = wanted
        .iter()
        .find(|node| !is_on(node))
        .filter(|_| there.is_empty() || !is_exclusive(&volume))
    else {
        return false;
    };
    let spec = json!({"attacher": volume["spec"]["csi"]["driver"], "nodeName": node, "source": {"persistentVolumeName": of}});
    let attachment = json!({"metadata": {"name": format!("csi-{of}-{node}")}, "spec": spec, "status": {"attached": true}});
    server.control_create("VolumeAttachment", attachment);
    true
}

/// The volumes that a pod has to wait for.
fn missing(server: &Server, pod: &Value) -> Vec<Arc<Value>> {
    let of_claim = |claim: &str| storage::volume_of(server, &*server.get(CLAIM, claim)?);
    let is_here = |volume: &Value| {
        !attaches(server, volume)
            || attachments(server, &name(volume))
                .iter()
                .any(|one| one["spec"]["nodeName"] == pod["spec"]["nodeName"])
    };
    storage::claims(pod).filter_map(of_claim).filter(|volume| !is_here(volume)).collect()
}

/// Whether a pod has all that it needs to start.
pub(super) fn may_start(server: &Server, pod: &Value) -> bool {
    !has_nodes(server) || (node_of(pod).is_some() && missing(server, pod).is_empty())
}

/// Warns of a volume that another node has.
pub(super) fn warn(server: &mut Server, of: &str) -> bool {
    let Some(pod) = server
        .get("Pod", of)
        .filter(|pod| node_of(pod).is_some() && pod["status"]["phase"] == "Pending")
    else {
        return false;
    };
    let exclusive = |volume: &&Arc<Value>| {
        is_exclusive(volume) && !attachments(server, &name(volume)).is_empty()
    };
    let Some(volume) = missing(server, &pod).iter().find(exclusive).cloned() else { return false };
    let others = users(server, &volume)
        .iter()
        .filter(|user| node_of(user) != node_of(&pod))
        .map(|user| name(user))
        .collect::<Vec<_>>();
    let what = if server.kubernetes < 37 { "Multi-Attach error" } else { "Waiting for detach" };
    let message = format!(
        "{what} for volume \"{}\" Volume is already used by pod(s) {}",
        name(&volume),
        others.join(", ")
    );
    let object = json!({"kind": "Pod", "name": of, "uid": pod["metadata"]["uid"]});
    let before = server.version();
    let event = json!({
        "metadata": {"name": format!("{of}.multi-attach")}, "involvedObject": object, "type": "Warning", "reason": "FailedAttachVolume",
        "message": message,
    });
    server.control_create("Event", event);
    server.version() > before
}
