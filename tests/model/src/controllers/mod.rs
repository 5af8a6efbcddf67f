//! The controllers of Deployments, StatefulSets and volumes, the scheduler and the kubelet. Each
//! function makes one small effect, and says whether it did, so that a simulation can interleave
//! them with everything else.

mod deployment;
mod kubelet;
mod nodes;
pub mod scripts;
mod stateful_set;
mod storage;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use self::{
    deployment::deployment,
    kubelet::kubelet,
    nodes::{attach, schedule},
    stateful_set::stateful_set,
    storage::{claim, claims, namespace, volume},
};
use crate::server::Server;

/// A pod that has this annotation with the value `never` is never ready.
const READY: &str = "lockkeeper.dev/test-ready";

/// Evicts a pod: it begins to go. Returns whether it was not going already.
pub fn evict(server: &mut Server, pod: &str) -> bool {
    let before = server.version();
    server.delete("Pod", pod);
    server.version() > before
}

/// A controller makes one effect for the object of this name. Returns whether it did.
pub type Controller = fn(&mut Server, &str) -> bool;

/// All of them, with the kind that they work on.
pub const ALL: [(&str, Controller); 9] = [
    ("Deployment", deployment),
    ("StatefulSet", stateful_set),
    ("PersistentVolumeClaim", claim),
    ("PersistentVolume", volume),
    ("Pod", schedule),
    ("PersistentVolume", attach),
    ("Pod", nodes::warn),
    ("Pod", kubelet),
    ("Namespace", namespace),
];

/// One step of whatever has something to do, in a fixed order.
pub fn step(server: &mut Server) -> bool {
    let mut did = false;
    for controller in ALL {
        did |= work(server, controller);
    }
    did
}

/// One step of one controller, for each object that has something to do.
pub fn work(server: &mut Server, (kind, controller): (&str, Controller)) -> bool {
    let mut did = false;
    for object in server.list(kind) {
        did |= controller(server, &name(&object));
    }
    did
}

/// Lets everything come to rest.
///
/// # Panics
/// When it does not.
pub fn settle(server: &mut Server) {
    for _ in 0..2000 {
        if !step(server) {
            return;
        }
    }
    panic!("the controllers do not come to rest");
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The ordinal of a StatefulSet's pod; of others -1.
fn ordinal(pod: &Value) -> i64 {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    name.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

fn count(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

fn number(all: impl Iterator) -> i64 {
    i64::try_from(all.count()).unwrap_or(i64::MAX)
}

fn owned_by(server: &Server, kind: &str, uid: &Value) -> Vec<Arc<Value>> {
    server
        .of_kind(kind)
        .filter(|object| object["metadata"]["ownerReferences"][0]["uid"] == *uid)
        .cloned()
        .collect()
}

fn owner(kind: &str, object: &Value) -> Value {
    let of = &object["metadata"];
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": of["name"], "uid": of["uid"], "controller": true, "blockOwnerDeletion": true}])
}

/// The time of an object's field, in a form that can be compared.
fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Whether so many seconds have passed since the time of a field.
fn has_passed(now: Timestamp, since: &Value, seconds: i64) -> bool {
    now.duration_since(time(since)) >= SignedDuration::from_secs(seconds)
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Ready for as long as the workload wants.
fn is_available(pod: &Value, seconds: &Value, now: Timestamp) -> bool {
    let since = |ready: &Value| {
        count(seconds) == 0 || has_passed(now, &ready["lastTransitionTime"], count(seconds))
    };
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True" && since(ready))
}

fn is_staying(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null()
}

/// A hash of a template, for names. The order of fields does not matter.
fn hash(template: &Value) -> String {
    fn bytes(sum: u64, bytes: &[u8]) -> u64 {
        bytes.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }
    fn fold(sum: u64, value: &Value) -> u64 {
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| fold(bytes(sum ^ 1, key.as_bytes()), value))
                .fold(sum, u64::wrapping_add),
            Value::Array(all) => all.iter().fold(sum ^ 2, fold),
            Value::String(text) => bytes(sum ^ 3, text.as_bytes()),
            other => bytes(sum ^ 4, other.to_string().as_bytes()),
        }
    }
    format!("{:010x}", fold(0xcbf2_9ce4_8422_2325, template) >> 24)
}

/// A pod of a template.
fn pod(name: &str, template: &Value, owner: Value, labels: &[(&str, &str)]) -> Value {
    let mut metadata = json!({"name": name, "ownerReferences": owner});
    for field in ["labels", "annotations"] {
        if template["metadata"][field].is_object() {
            metadata[field] = template["metadata"][field].clone();
        }
    }
    for (key, value) in labels {
        metadata["labels"][*key] = json!(value);
    }
    json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}})
}
