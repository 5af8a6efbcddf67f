//! What a kubelet reports of a pod, in order, as tests describe it. The same tests are made on real
//! nodes (`tests/local-cluster/tests/node/`) and on the agent's (`tests/cluster/node.rs`).

use serde_json::Value;

/// A container that crashes, by [`state`].
pub const CRASH: [&str; 6] = [
    "running  0",
    "terminated Error 0",
    // The first restart comes at once.
    "running  1",
    "terminated Error 1",
    "waiting CrashLoopBackOff 1",
    "running  2",
];

/// A pod that is deleted, by [`end`]: while its process goes on, and when it has ended.
pub const ENDS: [&str; 2] = ["deleted Running True ", "deleted Succeeded False PodCompleted"];

/// A pod whose sandbox does not stand yet, by [`address`].
pub const NO_ADDRESS: &str = "Pending null";

/// The state of the first container, its reason, and the restarts.
pub fn state(pod: &Value) -> String {
    let status = &pod["status"]["containerStatuses"][0];
    let states = status["state"].as_object();
    let what = states.and_then(|state| state.iter().find(|(_, value)| !value.is_null()));
    let (kind, value) =
        what.map(|(kind, value)| (kind.as_str(), value.clone())).unwrap_or_default();
    format!("{kind} {} {}", value["reason"].as_str().unwrap_or_default(), status["restartCount"])
}

/// Whether it is deleted, its phase, whether it is ready, and why not.
pub fn end(pod: &Value) -> String {
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    let word = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let deleted = if pod["metadata"]["deletionTimestamp"].is_null() { "" } else { "deleted " };
    let phase = word(Some(&pod["status"]["phase"]));
    let (status, reason) =
        (word(ready.map(|one| &one["status"])), word(ready.map(|one| &one["reason"])));
    format!("{deleted}{phase} {status} {reason}")
}

/// Its phase and its address.
pub fn address(pod: &Value) -> String {
    let status = &pod["status"];
    format!("{} {}", status["phase"].as_str().unwrap_or_default(), status["podIP"])
}
