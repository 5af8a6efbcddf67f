//! The Deployment controller, with that of its ReplicaSets.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{count, hash, is_ready, is_staying, name, owned_by, owner, pod};
use crate::server::Server;

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

/// One effect of the controller of a Deployment, or of its ReplicaSets.
pub fn deployment(server: &mut Server, deployment: &str) -> bool {
    let Some(object) = server.get("Deployment", deployment) else { return false };
    let sets = owned_by(server, "ReplicaSet", &object["metadata"]["uid"]);
    sets.iter().any(|set| replica_set(server, set)) || replicas(server, &object, &sets) || status(server, &object, &sets)
}

fn revision(object: &Value) -> i64 {
    object["metadata"]["annotations"][REVISION].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The ReplicaSet of the template at hand.
fn newest<'a>(object: &Value, sets: &'a [Arc<Value>]) -> Option<&'a Arc<Value>> {
    sets.iter().find(|set| set["metadata"]["labels"][HASH] == hash(&object["spec"]["template"]))
}

/// Brings the number of pods of a ReplicaSet one nearer to what it should be.
fn replica_set(server: &mut Server, set: &Value) -> bool {
    let pods: Vec<_> = owned_by(server, "Pod", &set["metadata"]["uid"]).into_iter().filter(|pod| is_staying(pod)).collect();
    let (wanted, there) = (count(&set["spec"]["replicas"]), pods.len() as i64);
    if there < wanted {
        let number = server.version();
        let name = format!("{}-{number}", name(set));
        server.control_create("Pod", pod(&name, &set["spec"]["template"], owner("ReplicaSet", set), &[]));
        return true;
    }
    if there > wanted {
        // One that is not ready goes first.
        let gone = pods.iter().find(|pod| !is_ready(pod)).or(pods.first());
        gone.into_iter().for_each(|pod| server.delete("Pod", &name(pod)));
        return true;
    }
    let ready = pods.iter().filter(|pod| is_ready(pod)).count();
    let status = json!({"replicas": there, "readyReplicas": ready, "availableReplicas": ready});
    if set["status"] == status {
        return false;
    }
    server.control("ReplicaSet", &name(set), |set| set["status"] = status);
    true
}

fn scale(server: &mut Server, set: &Value, replicas: i64) -> bool {
    let replicas = replicas.max(0);
    if count(&set["spec"]["replicas"]) == replicas {
        return false;
    }
    server.control("ReplicaSet", &name(set), |set| set["spec"]["replicas"] = json!(replicas));
    true
}

/// `25%` or a number, of so many.
fn share(value: &Value, of: i64, up: bool) -> i64 {
    match value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i64>().ok()) {
        Some(percent) if up => (percent * of + 99) / 100,
        Some(percent) => percent * of / 100,
        None => value.as_i64().unwrap_or(0),
    }
}

fn replicas(server: &mut Server, object: &Value, sets: &[Arc<Value>]) -> bool {
    let wanted = count(&object["spec"]["replicas"]);
    let highest = sets.iter().map(|set| revision(set)).max().unwrap_or(0);
    if object["spec"]["paused"] == true {
        return scale_only(server, sets, wanted);
    }
    let Some(new) = newest(object, sets) else {
        let mut template = object["spec"]["template"].clone();
        let hash = hash(&template);
        template["metadata"]["labels"][HASH] = json!(hash);
        let labels = template["metadata"]["labels"].clone();
        let name = format!("{}-{hash}", name(object));
        let number = (highest + 1).to_string();
        server.control_create(
            "ReplicaSet",
            json!({"metadata": {"name": name, "labels": labels, "annotations": {REVISION: number}, "ownerReferences": owner("Deployment", object)},
                "spec": {"replicas": 0, "template": template}, "status": {"replicas": 0, "readyReplicas": 0, "availableReplicas": 0}}),
        );
        return true;
    };
    if revision(new) < highest {
        server.control("ReplicaSet", &name(new), |set| set["metadata"]["annotations"][REVISION] = json!((highest + 1).to_string()));
        return true;
    }
    let old: Vec<_> = sets.iter().filter(|set| set["metadata"]["name"] != new["metadata"]["name"]).collect();
    if object["spec"]["strategy"]["type"] == "Recreate" {
        if old.iter().any(|set| scale(server, set, 0)) {
            return true;
        }
        let gone = old.iter().all(|set| owned_by(server, "Pod", &set["metadata"]["uid"]).is_empty());
        return gone && scale(server, new, wanted);
    }
    rolling(server, object, new, &old, wanted)
}

fn rolling(server: &mut Server, object: &Value, new: &Value, old: &[&Arc<Value>], wanted: i64) -> bool {
    let limits = &object["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&limits["maxSurge"], wanted, true);
    let mut unavailable = share(&limits["maxUnavailable"], wanted, false);
    if surge == 0 && unavailable == 0 {
        unavailable = 1;
    }
    let of_new = count(&new["spec"]["replicas"]);
    let total = of_new + old.iter().map(|set| count(&set["spec"]["replicas"])).sum::<i64>();
    if of_new > wanted {
        return scale(server, new, wanted);
    }
    let room = (wanted + surge - total).min(wanted - of_new);
    if room > 0 {
        return scale(server, new, of_new + room);
    }
    let least = wanted - unavailable;
    let new_unavailable = of_new - count(&new["status"]["availableReplicas"]);
    if total - least - new_unavailable <= 0 {
        return false;
    }
    for set in old {
        let (there, ready) = (count(&set["spec"]["replicas"]), count(&set["status"]["availableReplicas"]));
        if there > ready {
            return scale(server, set, ready.max(there - (total - least - new_unavailable)));
        }
    }
    let available = count(&new["status"]["availableReplicas"]) + old.iter().map(|set| count(&set["status"]["availableReplicas"])).sum::<i64>();
    let spare = available - least;
    let Some(set) = old.iter().find(|set| count(&set["spec"]["replicas"]) > 0).filter(|_| spare > 0) else { return false };
    scale(server, set, count(&set["spec"]["replicas"]) - spare)
}

/// A paused Deployment only keeps its number of pods.
fn scale_only(server: &mut Server, sets: &[Arc<Value>], wanted: i64) -> bool {
    let mut active: Vec<_> = sets.iter().filter(|set| count(&set["spec"]["replicas"]) > 0).collect();
    active.sort_by_key(|set| revision(set));
    let total: i64 = active.iter().map(|set| count(&set["spec"]["replicas"])).sum();
    let Some(set) = active.last().copied().or_else(|| sets.iter().max_by_key(|set| revision(set))) else { return false };
    match active.len() {
        0 | 1 => scale(server, set, wanted),
        _ if wanted == 0 => active.iter().any(|set| scale(server, set, 0)),
        _ if total > wanted && count(&set["spec"]["replicas"]) < total - wanted => active.first().is_some_and(|set| scale(server, set, 0)),
        // While a rollout is stopped midway, what it surged stays.
        _ if total < wanted => scale(server, set, count(&set["spec"]["replicas"]) + wanted - total),
        _ => false,
    }
}

fn status(server: &mut Server, object: &Value, sets: &[Arc<Value>]) -> bool {
    let new = newest(object, sets);
    let sum = |field: &str| sets.iter().map(|set| count(&set["status"][field])).sum::<i64>();
    let wanted = count(&object["spec"]["replicas"]);
    let updated = new.map_or(0, |set| count(&set["status"]["replicas"]));
    let (replicas, available) = (sum("replicas"), sum("availableReplicas"));
    let complete = new.is_some() && updated == wanted && replicas == wanted && available == wanted;
    let before = &object["status"]["conditions"][0];
    let now = server.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (status, reason) = match () {
        () if object["spec"]["paused"] == true => ("Unknown", "DeploymentPaused"),
        () if complete => ("True", "NewReplicaSetAvailable"),
        () if before["reason"] == "NewReplicaSetAvailable" && object["status"]["observedGeneration"] == object["metadata"]["generation"] => {
            ("True", "NewReplicaSetAvailable")
        }
        () => ("True", "ReplicaSetUpdated"),
    };
    let since = if before["reason"] == reason { before["lastUpdateTime"].clone() } else { json!(now) };
    let mut wanted_status = json!({
        "observedGeneration": object["metadata"]["generation"], "replicas": replicas, "readyReplicas": sum("readyReplicas"), "availableReplicas": available,
        "conditions": [{"type": "Progressing", "status": status, "reason": reason, "lastUpdateTime": since}],
    });
    if new.is_some() {
        wanted_status["updatedReplicas"] = json!(updated);
    }
    let number = new.map(|set| set["metadata"]["annotations"][REVISION].clone()).filter(|_| object["spec"]["paused"] != true);
    let same = number.as_ref().is_none_or(|number| object["metadata"]["annotations"][REVISION] == *number);
    if object["status"] == wanted_status && same {
        return false;
    }
    server.control("Deployment", &name(object), |object| {
        object["status"] = wanted_status;
        if let Some(number) = number {
            object["metadata"]["annotations"][REVISION] = number;
        }
    });
    true
}
