//! The controllers of Deployments and StatefulSets and the kubelet. Each function makes one small effect, and says whether it did, so
//! that a simulation can interleave them with everything else.

mod deployment;
mod stateful_set;

use std::sync::Arc;

use serde_json::{Value, json};

pub use self::{deployment::deployment, stateful_set::stateful_set};
use crate::server::Server;

/// A pod that has this annotation with the value `never` is never ready.
const READY: &str = "lockkeeper.dev/test-ready";

/// The kubelet brings a pod one step further: it starts, or it is gone.
pub fn kubelet(server: &mut Server, name: &str) -> bool {
    let Some(pod) = server.get("Pod", name) else { return false };
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        server.remove("Pod", name);
        return true;
    }
    if !pod["status"]["phase"].is_null() {
        return false;
    }
    let ready = if pod["metadata"]["annotations"][READY] == "never" { "False" } else { "True" };
    let now = server.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    server.control("Pod", name, |pod| {
        pod["status"] = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now}],
            "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": now}}}],
        });
    });
    true
}

/// One step of whatever has something to do, in a fixed order.
pub fn step(server: &mut Server) -> bool {
    let names = |server: &Server, kind: &str| -> Vec<String> { server.list(kind).iter().map(|object| name(object)).collect() };
    let mut did = false;
    for one in names(server, "Deployment") {
        did |= deployment(server, &one);
    }
    for one in names(server, "StatefulSet") {
        did |= stateful_set(server, &one);
    }
    for one in names(server, "Pod") {
        did |= kubelet(server, &one);
    }
    did
}

/// Lets everything come to rest.
///
/// # Panics
/// When it does not.
pub fn settle(server: &mut Server) {
    for _ in 0..500 {
        if !step(server) {
            return;
        }
    }
    panic!("the controllers do not come to rest");
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn owned_by(server: &Server, kind: &str, uid: &Value) -> Vec<Arc<Value>> {
    let owns = |object: &Arc<Value>| object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(|owner| owner["uid"] == *uid);
    server.list(kind).into_iter().filter(owns).collect()
}

fn owner(kind: &str, object: &Value) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"], "controller": true}])
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"][0]["status"] == "True" && is_staying(pod)
}

fn is_staying(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

/// A hash of a template, for names.
fn hash(template: &Value) -> String {
    let sum = template.to_string().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{:010x}", sum >> 24)
}

/// A pod of a template.
fn pod(name: &str, template: &Value, owner: Value, labels: &[(&str, &str)]) -> Value {
    let mut metadata = template["metadata"].clone();
    if metadata.is_null() {
        metadata = json!({});
    }
    metadata["name"] = json!(name);
    metadata["ownerReferences"] = owner;
    for (key, value) in labels {
        metadata["labels"][*key] = json!(value);
    }
    json!({"metadata": metadata, "spec": template["spec"], "status": {}})
}
