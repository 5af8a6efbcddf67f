//! The kubelet.

use serde_json::{Value, json};

use super::{READY, nodes, storage};
use crate::server::Server;

/// The kubelet brings a pod one step further: it starts, or it is gone.
pub fn kubelet(server: &mut Server, name: &str) -> bool {
    let Some(pod) = server.get("Pod", name) else { return false };
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        server.remove("Pod", name);
        return true;
    }
    if pod["status"]["phase"] != "Pending" || !nodes::may_start(server, &pod) {
        return false;
    }
    storage::write_data(server, &pod);
    let ready = pod["metadata"]["annotations"][READY] != "never";
    let now = server.second();
    let [.., third, second, last] = server.version().to_be_bytes();
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let running = |container: &Value| {
        let (name, image, state) = (&container["name"], &container["image"], json!({"running": {"startedAt": now}}));
        json!({"name": name, "image": image, "ready": ready, "started": true, "restartCount": 0, "state": state})
    };
    let status = json!({
        "phase": "Running",
        "podIP": format!("10.{third}.{second}.{last}"),
        "startTime": now,
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }, "lastTransitionTime": now}],
        "containerStatuses": containers.map(running).collect::<Vec<_>>(),
    });
    server.control("Pod", name, |pod| pod["status"] = status);
    true
}
