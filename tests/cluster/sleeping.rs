//! Pods of workloads that sleep. The label, the annotation and the scheduling gate come with the
//! template; here the tests write them.

use kube::api::{DynamicObject, PostParams};
use model::admission::{Operation, Twin, Write};
use serde_json::{Value, json};

use crate::{
    maintenance::{all_pods, end, in_service, maintainer, revision},
    support::{
        Shop, eventually, kubectl, operator, operator_alone,
        plugin::{Person, both, says},
    },
};

const MARK: &str = "lockkeeper.dev/in-maintenance";
const IMAGE: &str = "lockkeeper.dev/sample-app:v1";

/// What is the same with and without the API server's defaults.
fn comparable(mut pod: Value) -> Value {
    for list in ["containers", "initContainers"] {
        for container in pod["spec"][list].as_array_mut().into_iter().flatten() {
            let fields = container.as_object_mut().unwrap();
            let defaults =
                ["terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy"];
            fields.retain(|key, value| !defaults.contains(&key.as_str()) && *value != json!({}));
            // The chart names the image of this release.
            if fields["image"].as_str().is_some_and(|name| name.contains("/lockkeeper:")) {
                fields["image"] = json!("lockkeeper-image");
            }
        }
    }
    pod["spec"].clone()
}

/// What becomes of a pod that is created; it is not stored.
async fn created(shop: &Shop, pod: &Value) -> Value {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let pod: DynamicObject = serde_json::from_value(pod.clone()).unwrap();
    serde_json::to_value(shop.api("Pod").create(&params, &pod).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_twin_puts_pods_to_sleep_as_the_real_policy_does() {
    let _operator = operator();
    let shop = Shop::open("sleepers").await;
    let cases: Vec<Value> = serde_json::from_str(&model::admission::cases()).unwrap();
    let of_pods = |case: &&Value| {
        case["kind"] == "Pod" && case["new"]["metadata"]["namespace"] != "kube-system"
    };
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for case in cases.iter().filter(of_pods) {
        let mut pod = case["new"].clone();
        pod["metadata"]["namespace"] = json!(shop.name);
        // Defaults are filled in before admission.
        let mut plain = pod.clone();
        plain["metadata"]["labels"].as_object_mut().unwrap().remove(MARK);
        let mut new = created(&shop, &plain).await;
        new["metadata"] = pod["metadata"].clone();
        let write = Write {
            kind: "Pod",
            operation: Operation::Create,
            old: None,
            new: &new,
            user: "dev",
            verbs: &[],
        };
        let twin = comparable(Twin::default().mutate(&write));
        let real = comparable(created(&shop, &pod).await);
        if real != twin {
            wrong.push(format!("{}:\n  real {real}\n  twin {twin}", case["name"]));
        }
        compared += 1;
    }
    assert!(compared >= 10, "{compared} pods were compared");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// A Deployment whose pods sleep, or are stopped. Its app would crash, and never be ready.
fn asleep(shop: &Shop, name: &str, mode: &str) {
    let mut manifest = shop.app_manifest("Deployment", name, 2, "v1");
    let template = &mut manifest["spec"]["template"];
    template["metadata"]["labels"][MARK] = json!(mode);
    template["metadata"]["annotations"] = json!({"lockkeeper.dev/test-crash": "true"});
    template["spec"]["schedulingGates"] = json!([{"name": MARK}]);
    let probe = json!({"httpGet": {"path": "/never", "port": 1}, "periodSeconds": 1});
    template["spec"]["containers"][0]["readinessProbe"] = probe;
    shop.apply(&manifest);
}

/// The pods of an app, each as how far it is.
async fn pods(shop: &Shop, name: &str, mode: &str) -> Vec<Value> {
    let labels = format!("app={name},{MARK}={mode}");
    let listed = shop.kubectl(&["get", "pods", "-l", &labels, "-o", "json"]);
    serde_json::from_str::<Value>(&listed).unwrap()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn p18_lockkeepers_program_runs_in_a_pod_that_sleeps_and_not_the_app() {
    let _operator = operator();
    let shop = Shop::open("pods-asleep").await;
    asleep(&shop, "web", "sleep");
    let state = |pod: &Value| {
        let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        all.iter()
            .find(|one| one["name"] == "app")
            .map(|one| (one["ready"].clone(), one["restartCount"].clone()))
    };
    let running = eventually(
        "two pods sleep",
        || pods(&shop, "web", "sleep"),
        |pods| {
            pods.len() == 2 && pods.iter().all(|pod| state(pod) == Some((json!(true), json!(0))))
        },
    )
    .await;
    for pod in &running {
        let name = pod["metadata"]["name"].as_str().unwrap();
        let log = shop.kubectl(&["logs", name, "-c", "app"]);
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                "This container sleeps: its app does not run. Lockkeeper starts the app when the maintenance of its workload ends."
            ]
        );
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "lockkeeper-pause");
    }
}

/// With the policy gone, nobody runs: neither the app, nor what stands in for it.
#[tokio::test]
async fn p18_a_pod_that_admission_does_not_reach_never_runs_exclusively() {
    let operator = operator_alone();
    let shop = Shop::open("gated").await;
    asleep(&shop, "stopped", "stop");
    let gated = |pods: &Vec<Value>| {
        let waits = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "SchedulingGated";
        pods.len() == 2 && pods.iter().all(waits)
    };
    eventually("its pods are stopped", || pods(&shop, "stopped", "stop"), gated).await;
    if shop.kubernetes().await < 36 {
        return;
    }
    kubectl(&["delete", "mutatingadmissionpolicybinding", "lockkeeper-pods"]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": {MARK: "sleep"}},
        "spec": {"schedulingGates": [{"name": MARK}], "containers": [{"name": "app", "image": IMAGE}]}});
    eventually(
        "the policy is gone",
        || created(&shop, &pod),
        |pod| pod["spec"]["initContainers"].is_null(),
    )
    .await;
    asleep(&shop, "web", "sleep");
    eventually("its pods do not run", || pods(&shop, "web", "sleep"), gated).await;
    operator.set(&[]);
    eventually(
        "the policy is back",
        || created(&shop, &pod),
        |pod| !pod["spec"]["initContainers"].is_null(),
    )
    .await;
    let labels = format!("app=web,{MARK}=sleep");
    shop.kubectl(&["delete", "pods", "-l", &labels]);
    eventually(
        "its pods sleep",
        || pods(&shop, "web", "sleep"),
        |pods| pods.len() == 2 && pods.iter().all(|pod| pod["status"]["phase"] == "Running"),
    )
    .await;
}

/// What `kubectl lockkeeper shell` would have kubectl do.
fn shell(shop: &Shop, place: &str) -> String {
    let folder = std::env::temp_dir().join(format!("lockkeeper-{}", shop.name));
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink("/bin/echo", folder.join("kubectl")).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-lockkeeper"))
        .env("KUBECONFIG", &local_cluster::shared().kubeconfig)
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .args(["shell", place, "-n", &shop.name, "--", "migrate", "--all"])
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn p17_a_workload_that_slept_has_the_spec_and_the_revision_of_before() {
    let _operator = operator();
    let shop = Shop::gated("slept").await;
    let by = maintainer(&shop);
    for (kind, name, place) in both() {
        shop.guarded(kind, &name).await;
        let before =
            (shop.get(kind, &name).await["spec"].clone(), revision(&shop, kind, &name).await);
        let asked = by.plugin(&shop, &["maintenance", "start", &place, "--keep", "nothing"]);
        says(&asked, false, &["has no container nothing, but app"]);
        let refused = shell(&shop, &place);
        assert!(refused.contains("none of its pods sleeps"), "{refused}");
        says(&by.plugin(&shop, &["maintenance", "start", &place]), true, &["is requested"]);
        let asleep = |pods: &Vec<Value>| {
            let sleeps = |pod: &Value| {
                pod["metadata"]["labels"][MARK] == "sleep"
                    && pod["spec"]["containers"][0]["command"][0] == "/.lockkeeper/lockkeeper-pause"
                    && pod["status"]["containerStatuses"][0]["ready"] == true
            };
            pods.len() == 2 && pods.iter().all(sleeps)
        };
        let pods = eventually("its pods sleep", || all_pods(&shop, &name), asleep).await;
        let all = ["its app does not run, 2 of 2 pods sleep", "kubectl lockkeeper shell"];
        shop.stands_saying(&name, "Maintenance", "InMaintenance", &all).await;
        let pod = pods[0]["metadata"]["name"].as_str().unwrap();
        // The -n before it is one of echo.
        let exec = format!("{} exec -i {pod} -c app -- migrate --all", shop.name);
        assert!(shell(&shop, &place).contains(&exec), "{exec}: {}", shell(&shop, &place));
        shop.kubectl(&["delete", "pod", pod]);
        let uid = &pods[0]["metadata"]["uid"];
        let again =
            |now: &Vec<Value>| asleep(now) && now.iter().all(|one| one["metadata"]["uid"] != *uid);
        eventually("the pod that takes its place sleeps", || all_pods(&shop, &name), again).await;
        end(&shop, &by, &place);
        let after = in_service(&shop, kind, &name).await["spec"].clone();
        assert_eq!(after, before.0, "{kind}");
        assert_eq!(revision(&shop, kind, &name).await, before.1, "{kind}");
    }
}

#[tokio::test]
async fn p24_nobody_is_root_without_the_verb_or_where_the_namespace_forbids_it() {
    let _operator = operator();
    let shop = Shop::gated("as-root").await;
    let (by, root) =
        (maintainer(&shop), Person::new(&shop, "root", &["lockkeeper-maintainer-as-root"]));
    shop.guarded("StatefulSet", "db").await;
    let start = ["maintenance", "start", "statefulset/db", "--as-root", "app"];
    says(&by.plugin(&shop, &start), false, &["needs verb maintain-as-root"]);
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", &shop.name, enforce]);
    says(&root.plugin(&shop, &start), false, &["enforces the Pod Security Standard restricted"]);
    kubectl(&["label", "namespace", &shop.name, "pod-security.kubernetes.io/enforce-"]);
    shop.patiently(
        "the label is seen to be gone",
        || async { root.plugin(&shop, &start) },
        |said| said.success,
    )
    .await;
    let is_root = |pods: &Vec<Value>| {
        let runs = |pod: &Value| {
            pod["spec"]["containers"][0]["securityContext"]["runAsUser"] == 0
                && pod["status"]["phase"] == "Running"
        };
        pods.len() == 2 && pods.iter().all(runs)
    };
    eventually("its pods sleep as root", || all_pods(&shop, "db"), is_root).await;
    end(&shop, &root, "statefulset/db");
    let object = in_service(&shop, "StatefulSet", "db").await;
    assert!(object["spec"]["template"]["spec"]["containers"][0]["securityContext"].is_null());
}
