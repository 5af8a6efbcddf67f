//! The kubelet.

use serde_json::{Value, json};

use super::{READY, nodes, storage};
use crate::server::Server;

/// The kubelet brings a pod one step further: it starts, its containers end, or it is gone.
pub fn kubelet(server: &mut Server, name: &str) -> bool {
    let Some(pod) = server.get("Pod", name) else { return false };
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if pod["status"]["phase"] != "Running" {
            server.remove("Pod", name);
            return true;
        }
        // It is reported as finished first, and is gone once its volumes are unmounted.
        let now = server.second();
        server.control("Pod", name, |pod| {
            pod["status"]["phase"] = json!("Succeeded");
            pod["status"]["conditions"] =
                json!([{"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now}]);
            for container in pod["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
                container["ready"] = json!(false);
                container["state"] = json!({"terminated": {"reason": "Completed", "exitCode": 0, "finishedAt": now}});
            }
        });
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
        let (name, image, state) =
            (&container["name"], &container["image"], json!({"running": {"startedAt": now}}));
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
