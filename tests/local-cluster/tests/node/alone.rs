//! What needs the operator, or a node, for itself: these go one by one, and before the others.

use std::{fs, path::Path};

use local_cluster::shared;
use serde_json::{Value, json};

use crate::support::*;

/// The operator's processes, as the kernel knows them.
fn processes() -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_operator = |process: &Path| {
        fs::read(process.join("cmdline")).is_ok_and(|line| line.starts_with(b"/lockkeeper\0"))
    };
    all.filter(|process| is_operator(process))
        .filter_map(|process| fs::read_to_string(process.join("status")).ok())
        .collect()
}

#[test]
#[ignore = "needs real nodes: make node"]
fn the_chart_installs_the_image_without_any_right_on_the_node_and_is_uninstalled_exclusively() {
    let _alone = operator_alone();
    succeed("helm", &["test", "lockkeeper", "-n", SYSTEM]);
    let processes = processes();
    assert_eq!(processes.len(), 2, "two replicas run");
    for status in &processes {
        let value = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(value("Uid:"), "65532 65532 65532 65532");
        assert_eq!(value("CapEff:"), "0000000000000000");
        assert_eq!((value("NoNewPrivs:"), value("Seccomp:")), ("1".into(), "2".into()));
    }
    let space = Space::open("uninstall");
    space.app("web", |app| app);
    space.policy(json!({"selector": {}, "gates": {"approval": "Required"}}));
    space.upgrade("web", "v2");
    space.until_status(&["Held", "ApprovalRequired"]);
    let uninstall = ["uninstall", "lockkeeper", "-n", SYSTEM, "--wait", "--timeout=120s"];
    let (done, text) = said("helm", &uninstall, "");
    assert!(!done, "helm uninstall is refused while a change is held: {text}");
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v1"]);
    space.kubectl(&["lockkeeper", "approve", "deployment/web"]);
    space.done("web");
    succeed("helm", &uninstall);
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v2"]);
    kubectl(&["delete", "namespace", "uninstall", "--wait=false"]);
    install();
}

#[test]
#[ignore = "needs real nodes: make node"]
fn held_pods_come_back_old_when_the_node_of_the_leader_is_drained_exclusively() {
    let _alone = operator_alone();
    let space = Space::open("drain");
    space.app("web", |app| app);
    space.policy(json!({"selector": {}, "gates": {"approval": "Required"}}));
    space.upgrade("web", "v2");
    space.until_status(&["Held", "ApprovalRequired"]);
    let leader = until("a replica leads", holder, |holder| !holder.is_empty());
    let pod = get(SYSTEM, "pod", leader.split('_').next().unwrap());
    let node = pod["spec"]["nodeName"].as_str().unwrap();
    // Pods of other tests have no controller.
    kubectl(&["drain", node, "--force", "--delete-emptydir-data", "--timeout=240s"]);
    until("another replica leads", holder, |now| !now.is_empty() && *now != leader);
    kubectl(&["uncordon", node]);
    kubectl(&["rollout", "status", "deployment/lockkeeper", "-n", SYSTEM, "--timeout=240s"]);
    let two = || space.pods("web").iter().map(|pod| pod["spec"]["nodeName"].clone()).collect();
    until("its pods are on the other node", two, |nodes: &Vec<Value>| {
        nodes.len() == 2 && nodes.iter().all(|one| one != node)
    });
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v1"]);
    space.kubectl(&["lockkeeper", "approve", "deployment/web"]);
    space.done("web");
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v2"]);
}

#[test]
#[ignore = "needs real nodes: make node"]
fn another_process_leads_after_the_leader_is_killed_and_nothing_rolls_exclusively() {
    let _alone = operator_alone();
    let space = Space::open("leader");
    space.app("web", |app| app);
    space.policy(json!({"selector": {}, "config": {"settle": "1s"}}));
    space.noted("web");
    let pods = || {
        let all = space.pods("web");
        all.iter().map(|pod| pod["metadata"]["uid"].clone()).collect::<Vec<_>>()
    };
    let before = pods();
    let leader = until("a replica leads", holder, |holder| !holder.is_empty());
    kill_container(SYSTEM, leader.split('_').next().unwrap(), false);
    until("another process leads", holder, |now| !now.is_empty() && *now != leader);
    // The one that leads now has looked at everything when it acts on this.
    space.write("two");
    until(
        "the change rolls",
        || space.greetings("web"),
        |all| all.len() == 2 && all.iter().all(|(greeting, _)| greeting == "two"),
    );
    space.done("web");
    let revisions = get("leader", "deployment", "web");
    let revision = &revisions["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
    assert_eq!(revision, "2", "it rolled once, for the config, and not for the new leader");
    assert!(pods().iter().all(|pod| !before.contains(pod)));
}

#[test]
#[ignore = "needs real nodes: make node"]
fn a_rollout_that_waits_for_a_pod_on_a_lost_node_names_both_exclusively() {
    let _alone = operator_alone();
    let space = Space::open("lost");
    let lost = "node-2";
    let leave = "tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}, \
                 {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}]";
    let spread = "topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, \
                  whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}]";
    space.app("web", |app| {
        app.replace(
            "terminationGracePeriodSeconds: 20",
            &format!("terminationGracePeriodSeconds: 2\n      {leave}\n      {spread}"),
        )
    });
    space.policy(json!({"selector": {}, "config": {"settle": "1s"}}));
    space.noted("web");
    let on_lost = space.pods("web").into_iter().find(|pod| pod["spec"]["nodeName"] == lost);
    let on_lost = on_lost.expect("one pod is on each node");
    let kubelet = shared().kubeconfig.with_file_name(lost).join("kubelet.pid");
    let kubelet = fs::read_to_string(kubelet).unwrap();
    succeed_here("kill", &["-KILL", &kubelet]);
    let pod = until(
        "the pod on the lost node is to go",
        || get("lost", "pod", name(&on_lost)),
        |pod| !pod["metadata"]["deletionTimestamp"].is_null(),
    );
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    assert_eq!(ready["status"], "False", "by the node controller");
    assert_eq!(pod["status"]["containerStatuses"][0]["ready"], json!(true), "nobody looked again");
    assert_eq!(pod["status"]["phase"], "Running");
    assert!(http(address(&pod), "GET", "/env").is_some(), "its process goes on");
    space.write("two");
    space.until_status(&["StuckTerminating", name(&on_lost), lost]);
    // The supervisor starts what has ended.
    let supervisor = std::env::var(local_cluster::SUPERVISOR).unwrap();
    succeed_here("kill", &["-USR1", &supervisor]);
    kubectl(&["wait", "--for=condition=Ready", &format!("node/{lost}"), "--timeout=240s"]);
    until("the pod is gone", || get("lost", "pod", name(&on_lost)), Value::is_null);
    // While the pod is there, the rollout waits for a person.
    space.done("web");
}

fn succeed_here(program: &str, arguments: &[&str]) {
    assert!(std::process::Command::new(program).args(arguments).status().unwrap().success());
}
