//! Labels of ours, and single marks of objects of which nothing else is read.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    mark::{Mark, Text},
    values::{Judge, True},
};
use crate::api::marks;

type Map = BTreeMap<String, String>;

/// Whether this label or annotation says `true`.
pub fn is_true(all: Option<&Map>, key: &str) -> bool {
    all.and_then(|all| all.get(key)).is_some_and(|text| True::parse(text).is_some())
}

/// The label of what is governed. It names who looks after what bears it; where it says anything
/// else, the API server does. What stands on one without it was not made by admission.
pub fn governed(labels: Option<&Map>) -> Mark<Judge> {
    let text = labels.and_then(|labels| labels.get(marks::GOVERNED));
    text.map_or(Mark::Absent, |text| Mark::parse(text))
}

/// What a snapshot was taken for: the change, and the uids of the workload and of the claim.
pub fn taken_for(labels: Option<&Map>) -> Option<[String; 3]> {
    let label = |key| labels?.get(key).cloned();
    Some([label(marks::CHANGE)?, label(marks::WORKLOAD_UID)?, label(marks::CLAIM_UID)?])
}

/// Whether an object as it is bears the label of what is governed.
pub fn is_governed(object: &Value) -> bool {
    !object["metadata"]["labels"][marks::GOVERNED].is_null()
}

/// Whether a pod as it is sleeps.
pub fn sleeps(pod: &Value) -> bool {
    pod["metadata"]["labels"][marks::IN_MAINTENANCE] == "sleep"
}

/// The config-hash among the annotations of a pod.
pub fn config_hash_of_pod(annotations: Option<&Map>) -> Option<&str> {
    annotations?.get(marks::CONFIG_HASH).map(String::as_str)
}

/// What the judges made of the question who judges, on the operator's own Lease.
pub fn probe(annotations: Option<&Map>) -> &str {
    annotations.and_then(|all| all.get(marks::PROBE)).map_or("", String::as_str)
}

/// The config-hash of a pod template.
pub fn config_hash(template: &Value) -> Option<&str> {
    template["metadata"]["annotations"][marks::CONFIG_HASH].as_str()
}

/// Gives a pod template this config-hash; none: it is removed.
pub fn set_config_hash(template: &mut Value, hash: Option<&str>) {
    let metadata = &mut template["metadata"];
    match (hash, metadata["annotations"].as_object_mut()) {
        (Some(hash), _) => metadata["annotations"][marks::CONFIG_HASH] = hash.into(),
        (None, Some(all)) => drop(all.remove(marks::CONFIG_HASH)),
        (None, None) => {}
    }
}

/// What the administrator wrote on the operator's Deployment of held changes when it is
/// uninstalled.
pub fn uninstall(annotations: Option<&Map>) -> Option<&str> {
    annotations?.get(marks::UNINSTALL).map(String::as_str)
}
