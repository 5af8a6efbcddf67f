//! What a kubelet reports, in order. The simulated agent reports the same: `tests/cluster/node.rs`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

use local_cluster::{reports, shared};
use serde_json::{Value, json};

use crate::support::*;

/// Follows the pods of a namespace; ends with it.
struct Followed(Child);

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the namespace's pods were, in order, until this holds; each description once as long as it
/// stays the same.
fn seen(
    space: &Space,
    describe: impl Fn(&Value) -> String,
    begin: impl FnOnce(),
    enough: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let mut command = shared().command("kubectl");
    let path = format!("/api/v1/namespaces/{}/pods?watch=true&timeoutSeconds=240", space.0);
    command.args(["get", "--raw", &path]).stdout(Stdio::piped());
    let mut followed = Followed(command.spawn().unwrap());
    let lines = BufReader::new(followed.0.stdout.take().unwrap()).lines();
    begin();
    let mut seen: Vec<String> = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let description = describe(&event["object"]);
        if seen.last() != Some(&description) {
            seen.push(description);
        }
        if enough(&seen) {
            return seen;
        }
    }
    panic!("nothing more comes after {seen:#?}")
}

fn pod(name: &str, spec: Value) -> String {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
}

const IMAGE: &str = "lockkeeper.dev/sample-app:v1";

#[test]
#[ignore = "needs real nodes: make node"]
fn a_crash_is_reported_as_terminated_first_and_counts_when_the_container_runs_again() {
    let space = Space::open("reports-crash");
    let container = json!({"name": "app", "image": IMAGE, "command": ["/bin/sh", "-c", "busybox sleep 2; exit 3"]});
    let manifest = pod("one", json!({"containers": [container]}));
    let enough = |seen: &[String]| seen.iter().any(|state| state == reports::CRASH[5]);
    let states = seen(&space, reports::state, || space.apply(&manifest), enough);
    let from = states.iter().position(|state| state == reports::CRASH[0]).unwrap_or_default();
    assert_eq!(states[from..], reports::CRASH);
}

#[test]
#[ignore = "needs real nodes: make node"]
fn a_deleted_pod_stays_ready_until_its_process_ends_and_is_then_reported_as_ended() {
    let space = Space::open("reports-ends");
    let env =
        json!([{"name": "END_AFTER", "value": "5s"}, {"name": "ADDRESS", "value": "0.0.0.0"}]);
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1});
    let container = json!({"name": "app", "image": IMAGE, "env": env, "readinessProbe": probe});
    space.apply(&pod("one", json!({"containers": [container]})));
    space.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=240s"]);
    let delete = || drop(space.kubectl(&["delete", "pod", "one", "--wait=false"]));
    let enough = |seen: &[String]| seen.iter().any(|pod| pod == reports::ENDS[1]);
    let going = seen(&space, reports::end, delete, enough);
    assert!(going.iter().any(|pod| pod == reports::ENDS[0]), "{going:#?}");
    space.kubectl(&["wait", "--for=delete", "pod/one", "--timeout=240s"]);
}

#[test]
#[ignore = "needs real nodes: make node"]
fn a_pod_has_no_address_before_its_sandbox_stands_and_another_one_in_a_new_sandbox() {
    let space = Space::open("reports-address");
    let container =
        json!({"name": "app", "image": IMAGE, "env": [{"name": "ADDRESS", "value": "0.0.0.0"}]});
    let manifest = pod("one", json!({"containers": [container]}));
    let runs = |seen: &[String]| seen.last().is_some_and(|pod| pod.starts_with("Running"));
    let before = seen(&space, reports::address, || space.apply(&manifest), runs);
    assert!(before.iter().any(|pod| pod == reports::NO_ADDRESS), "{before:#?}");
    let first = before.last().unwrap().clone();
    let kill = || kill_container("reports-address", "one", true);
    let another = |seen: &[String]| {
        seen.last().is_some_and(|pod| pod.starts_with("Running \"") && *pod != first)
    };
    seen(&space, reports::address, kill, another);
    let pod = get("reports-address", "pod", "one");
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1, "{pod}");
}
