//! The nodes of the local cluster report what real ones report, in the same order: the tests of
//! Lockkeeper stand on it.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use local_cluster::{
    reports::{CRASH, ENDS, NO_ADDRESS, address, end, state},
    shared,
};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::*;

fn one(annotations: Value, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "annotations": annotations}, "spec": spec})
}

/// A pod of its own, in a namespace of its own.
async fn pod(name: &str, spec: Value) -> Shop {
    let shop = Shop::open(name).await;
    shop.create(one(json!({}), spec)).await;
    shop
}

fn other_image() -> Value {
    json!({"containers": [{"name": "app", "image": "other"}]})
}

/// What the pods of this namespace were, in order, until this holds; each description once as long
/// as it stays the same. All since the namespace's first pod was created, or from now on.
async fn seen(
    shop: &Shop,
    since_ever: bool,
    describe: impl Fn(&Value) -> String,
    enough: impl Fn(&[String]) -> bool,
) -> Vec<String> {
    let pods = shop.api("Pod");
    let (mut seen, version): (Vec<String>, _) = if since_ever {
        (
            Vec::new(),
            shop.get("ServiceAccount", "default").await["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    } else {
        let list = pods.list(&ListParams::default()).await.unwrap();
        let items =
            list.items.iter().map(|pod| describe(&serde_json::to_value(pod).unwrap())).collect();
        (items, list.metadata.resource_version.unwrap())
    };
    let mut changes =
        pods.watch(&WatchParams::default().timeout(290), &version).await.unwrap().boxed();
    while !enough(&seen) {
        let Some(event) = changes.try_next().await.unwrap() else {
            panic!("nothing more comes after {seen:#?}")
        };
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod)) = event
        else {
            continue;
        };
        let description = describe(&serde_json::to_value(&pod).unwrap());
        if seen.last() != Some(&description) {
            seen.push(description);
        }
    }
    seen
}

#[tokio::test]
async fn a_crash_is_reported_as_terminated_first_and_counts_when_the_container_runs_again() {
    let shop = Shop::open("node-crash").await;
    let crashing = one(json!({"lockkeeper.dev/test-crash": "true"}), other_image());
    shop.create(crashing).await;
    let states =
        seen(&shop, true, state, |seen| seen.iter().any(|state| state == "running  2")).await;
    let from = states.iter().position(|state| state == "running  0").unwrap_or_default();
    assert_eq!(states[from..], CRASH);
}

#[tokio::test]
async fn a_deleted_pod_stays_ready_until_its_process_ends_and_is_then_reported_as_ended() {
    let env = json!([{"name": "END_AFTER", "value": "15s"}]);
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1});
    let container = json!({"name": "app", "image": "lockkeeper.dev/sample-app:v1", "env": env, "readinessProbe": probe});
    let shop = pod("node-ends", json!({"containers": [container]})).await;
    seen(&shop, false, end, |seen| seen.iter().any(|pod| pod.starts_with("Running True"))).await;
    let address = shop.get("Pod", "one").await["status"]["podIP"].as_str().unwrap().to_owned();
    shop.kubectl(&["delete", "pod", "one", "--wait=false"]);
    let going = seen(&shop, false, end, |seen| {
        if seen.last().is_some_and(|pod| pod.starts_with("deleted Running True")) {
            assert_eq!(
                http(&address, "GET", "/upgradeable", "").map(|(status, _)| status),
                Some(200),
                "it still answers"
            );
        }
        seen.iter().any(|pod| pod.starts_with("deleted Succeeded"))
    })
    .await;
    assert!(ENDS.iter().all(|wanted| going.iter().any(|pod| pod == wanted)), "{going:#?}");
    shop.kubectl(&["wait", "--for=delete", "pod/one", "--timeout=290s"]);
}

#[tokio::test]
async fn a_reboot_gives_a_pod_another_address_and_nobody_knows_how_its_container_ended() {
    let shop = Shop::open("node-boots").await;
    shop.create(one(json!({}), other_image())).await;
    let before = seen(&shop, true, address, |seen| {
        seen.last().is_some_and(|pod| pod.starts_with("Running"))
    })
    .await;
    assert!(
        before.iter().any(|pod| pod == NO_ADDRESS),
        "it has no address before its sandbox stands: {before:#?}"
    );
    shop.kubectl(&["annotate", "pod", "one", "lockkeeper.dev/test-reboot=1"]);
    let after = seen(&shop, true, address, |seen| seen.len() == before.len() + 2).await;
    let [.., first, between, second] = after.as_slice() else { panic!("{after:#?}") };
    assert_eq!((first, between.as_str()), (before.last().unwrap(), NO_ADDRESS));
    assert!(second.starts_with("Running") && second != first, "{after:#?}");
    let pod = shop.get("Pod", "one").await;
    assert_eq!(pod["status"]["podIPs"].as_array().map(Vec::len), Some(1), "{pod}");
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(
        (&container["restartCount"], &container["lastState"]["terminated"]["reason"]),
        (&json!(1), &json!("Unknown"))
    );
}

/// The node that a test may lose. One test at a time has it.
pub struct SpareNode {
    _turn: MutexGuard<'static, ()>,
}

/// Waits until the spare node is free for a test, and ready.
pub async fn spare_node() -> SpareNode {
    static TURN: Mutex<()> = Mutex::const_new(());
    let turn = TURN.lock().await;
    kubectl(&["wait", "--for=condition=Ready", "node/node-spare", "--timeout=290s"]);
    SpareNode { _turn: turn }
}

impl SpareNode {
    /// Lets pods of this spec run on the spare node, and on no other.
    pub fn takes(spec: &mut Value) {
        spec["tolerations"] = json!([{"key": "lockkeeper.dev/spare", "operator": "Exists"}]);
        spec["nodeSelector"] = json!({"kubernetes.io/hostname": "node-spare"});
    }

    /// Its kubelet is lost from now on.
    pub async fn lose(&self, shop: &Shop) {
        kubectl(&["annotate", "node", "node-spare", "lockkeeper.dev/test-lost=true"]);
        // The agent learns of it by its watch; a pod that is deleted before that ends as usual.
        let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "unseen"},
            "spec": {"nodeName": "node-spare", "containers": [{"name": "app", "image": "other"}]}});
        let mut tries = 0;
        loop {
            tries += 1;
            shop.kubectl(&["delete", "pod", "unseen", "--ignore-not-found", "--force"]);
            shop.create(probe.clone()).await;
            shop.a_second_passes().await;
            if shop.get("Pod", "unseen").await["status"]["startTime"].is_null() || tries > 30 {
                return;
            }
        }
    }

    /// It is back.
    pub fn recover(&self) {
        kubectl(&["annotate", "node", "node-spare", "lockkeeper.dev/test-lost-"]);
    }
}

impl Drop for SpareNode {
    fn drop(&mut self) {
        drop(
            shared()
                .command("kubectl")
                .args(["annotate", "node", "node-spare", "lockkeeper.dev/test-lost-"])
                .output(),
        );
    }
}

#[tokio::test]
async fn a_pod_on_a_lost_node_stays_terminating_until_the_node_is_back() {
    let node = spare_node().await;
    let mut spec = other_image();
    SpareNode::takes(&mut spec);
    let shop = pod("node-lost", spec).await;
    shop.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=290s"]);
    node.lose(&shop).await;
    shop.kubectl(&["delete", "pod", "one", "--wait=false"]);
    shop.a_second_passes().await;
    shop.a_second_passes().await;
    let pod = shop.get("Pod", "one").await;
    assert!(
        !pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running",
        "{pod}"
    );
    node.recover();
    shop.kubectl(&["wait", "--for=delete", "pod/one", "--timeout=290s"]);
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_reported_by_two_reasons_in_turn_and_an_evicted_pod_stays()
{
    let shop = pod(
        "node-image",
        json!({"containers": [{"name": "app", "image": "lockkeeper.dev/missing:v1"}]}),
    )
    .await;
    let (pull, back_off) =
        ("waiting ErrImagePull 0".to_owned(), "waiting ImagePullBackOff 0".to_owned());
    let states =
        seen(&shop, false, state, |seen| seen.iter().filter(|state| **state == pull).count() == 2)
            .await;
    let turns: BTreeMap<_, _> = states.iter().map(|state| (state, ())).collect();
    assert!(turns.contains_key(&back_off), "{states:#?}");

    let shop = pod("node-evicts", other_image()).await;
    shop.kubectl(&["wait", "--for=condition=Ready", "pod/one", "--timeout=290s"]);
    shop.kubectl(&["annotate", "pod", "one", "lockkeeper.dev/test-evict=true"]);
    let phase = |pod: &Value| pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
    seen(&shop, false, phase, |seen| seen.last().is_some_and(|phase| phase == "Succeeded")).await;
    assert!(shop.get("Pod", "one").await["metadata"]["deletionTimestamp"].is_null());
    shop.kubectl(&["delete", "pod", "one", "--timeout=290s"]);
}
