//! The StatefulSet controller.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{count, hash, is_ready, is_staying, name, owned_by, owner, pod};
use crate::server::Server;

const REVISION: &str = "controller-revision-hash";

/// One effect of the controller of a StatefulSet.
pub fn stateful_set(server: &mut Server, set: &str) -> bool {
    let Some(object) = server.get("StatefulSet", set) else { return false };
    let revisions = owned_by(server, "ControllerRevision", &object["metadata"]["uid"]);
    let highest = revisions.iter().map(|revision| count(&revision["revision"])).max().unwrap_or(0);
    let template = &object["spec"]["template"];
    let Some(update) = revisions.iter().find(|revision| revision["data"]["spec"]["template"] == *template) else {
        let name = format!("{set}-{}", hash(template));
        let data = json!({"spec": {"template": template}});
        server.control_create(
            "ControllerRevision",
            json!({"metadata": {"name": name, "ownerReferences": owner("StatefulSet", &object)}, "data": data, "revision": highest + 1}),
        );
        return true;
    };
    if count(&update["revision"]) < highest {
        server.control("ControllerRevision", &name(update), |revision| revision["revision"] = json!(highest + 1));
        return true;
    }
    let pods = owned_by(server, "Pod", &object["metadata"]["uid"]);
    let update = name(update);
    let current = object["status"]["currentRevision"].as_str().unwrap_or(&update).to_owned();
    status(server, &object, &pods, &update, &current) || control(server, &object, &pods, &revisions, (&update, &current))
}

fn ordinal(pod: &Value) -> i64 {
    name(pod).rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn is_of(pod: &Value, revision: &str) -> bool {
    pod["metadata"]["labels"][REVISION] == revision
}

fn control(server: &mut Server, object: &Value, pods: &[Arc<Value>], revisions: &[Arc<Value>], (update, current): (&str, &str)) -> bool {
    let spec = &object["spec"];
    let start = count(&spec["ordinals"]["start"]);
    let wanted = count(&spec["replicas"]);
    let rolling = spec["updateStrategy"]["type"] == "RollingUpdate";
    let partition = count(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
    let at = |ordinal: i64| pods.iter().find(|pod| self::ordinal(pod) == ordinal);
    for index in start..start + wanted {
        match at(index) {
            None => {
                // Below the partition pods come back as they were.
                let revision = if rolling && index < start + partition { current } else { update };
                let template = revisions.iter().find(|one| name(one) == revision).map(|one| one["data"]["spec"]["template"].clone());
                let Some(template) = template else { return false };
                let pod_name = format!("{}-{index}", name(object));
                server.control_create("Pod", pod(&pod_name, &template, owner("StatefulSet", object), &[(REVISION, revision)]));
                return true;
            }
            // In order, and each only once the one before is ready (kubernetes#67250: also when its revision is withdrawn).
            Some(pod) if !is_ready(pod) => return false,
            Some(_) => {}
        }
    }
    if let Some(pod) = pods.iter().filter(|pod| ordinal(pod) >= start + wanted).max_by_key(|pod| ordinal(pod)) {
        return is_staying(pod) && {
            server.delete("Pod", &name(pod));
            true
        };
    }
    if !rolling {
        return false;
    }
    for index in (start + partition..start + wanted).rev() {
        let Some(pod) = at(index) else { return false };
        if !is_of(pod, update) && is_staying(pod) {
            server.delete("Pod", &name(pod));
            return true;
        }
        if !is_ready(pod) {
            return false;
        }
    }
    false
}

fn status(server: &mut Server, object: &Value, pods: &[Arc<Value>], update: &str, current: &str) -> bool {
    let wanted = count(&object["spec"]["replicas"]);
    let number = |keep: &dyn Fn(&Arc<Value>) -> bool| pods.iter().filter(|pod| keep(pod)).count() as i64;
    let replicas = number(&|_| true);
    let ready = number(&|pod| is_ready(pod));
    let updated = number(&|pod| is_of(pod, update) && is_staying(pod));
    let rolling = object["spec"]["updateStrategy"]["type"] == "RollingUpdate";
    let complete = rolling && updated == wanted && ready == wanted && replicas == wanted;
    let current = if complete { update } else { current };
    let status = json!({
        "observedGeneration": object["metadata"]["generation"], "replicas": replicas, "readyReplicas": ready, "availableReplicas": ready,
        "updatedReplicas": updated, "currentReplicas": number(&|pod| is_of(pod, current) && is_staying(pod)),
        "updateRevision": update, "currentRevision": current,
    });
    if object["status"] == status {
        return false;
    }
    server.control("StatefulSet", &name(object), |object| object["status"] = status);
    true
}
