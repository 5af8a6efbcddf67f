//! What users are promised, where a real kubelet may make a difference.

use serde_json::json;

use crate::support::*;

#[test]
#[ignore = "needs real nodes: make node"]
fn a_busy_pod_keeps_a_change_waiting_and_one_that_restarted_is_asked_again() {
    let _operator = operator();
    let space = Space::open("gate");
    space.app("web", |app| app);
    let gate = json!({"period": "1s", "prepare": {"timeout": "10m"}});
    space.policy(json!({"selector": {}, "gates": {"app": gate}}));
    let pods = space.pods("web");
    let busy = &pods[0];
    let start = || http(address(busy), "POST", "/start?seconds=3600").map(|(status, _)| status);
    assert_eq!(start(), Some(200));
    space.upgrade("web", "v2");
    space.until_status(&["Held", "AppGateClosed"]);
    until("a prepared pod takes no new work", start, |status| *status == Some(503));
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v1"], "the change is held");
    // Its work is lost with it; the new process has none, and was never prepared.
    kill_container("gate", name(busy), false);
    space.done("web");
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v2"]);
}

#[test]
#[ignore = "needs real nodes: make node"]
fn an_image_that_cannot_be_pulled_is_cured_under_the_gate() {
    let _operator = operator();
    let space = Space::open("image");
    space.app("web", |app| app);
    let gate = json!({"period": "1s", "brokenAfter": "5s"});
    space.policy(json!({"selector": {}, "gates": {"app": gate}}));
    space.upgrade("web", "missing");
    let waits = |pods: &Vec<String>| pods.iter().any(|why| why.contains("ImagePull"));
    let reasons = || {
        let pods = space.pods("web");
        let of = |pod: &serde_json::Value| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].to_string()
        };
        pods.iter().map(of).collect::<Vec<_>>()
    };
    until("a pod waits for the image", reasons, waits);
    space.upgrade("web", "v3");
    space.done("web");
    assert_eq!(space.images("web"), ["lockkeeper.dev/sample-app:v3"]);
}

#[test]
#[ignore = "needs real nodes: make node"]
fn changed_config_rolls_and_all_pods_read_it_both_ways() {
    let _operator = operator();
    let space = Space::open("config");
    space.app("web", |app| app);
    space.policy(json!({"selector": {}, "config": {"settle": "1s"}}));
    space.noted("web");
    assert_eq!(space.greetings("web"), vec![("hello".to_owned(), "hello".to_owned()); 2]);
    space.write("two");
    let both = vec![("two".to_owned(), "two".to_owned()); 2];
    until("all pods read the new value", || space.greetings("web"), |all| *all == both);
    space.done("web");
}

#[test]
#[ignore = "needs real nodes: make node"]
fn a_recreated_pod_is_waited_for_until_it_is_there_and_the_next_step_comes_after_it() {
    let _operator = operator();
    let space = Space::open("steps");
    // It takes its time to end, as databases do.
    let recreate = |app: String| {
        app.replace("replicas: 2", "replicas: 1\n  strategy: {type: Recreate}").replace(
            "- {name: POD_IP,",
            "- {name: END_AFTER, value: 10s}\n        - {name: POD_IP,",
        )
    };
    space.app("db", recreate);
    space.app("web", |app| app);
    let step = |app: &str| json!({"name": app, "selector": {"matchLabels": {"app": app}}});
    let steps = json!({"steps": [step("db"), step("web")]});
    space.policy(json!({"selector": {}, "config": {"settle": "1s"}, "rollout": steps}));
    ["db", "web"].iter().for_each(|app| space.noted(app));
    let born = |app: &str| {
        let pods = space.pods(app);
        let mut born: Vec<_> =
            pods.iter().map(|pod| pod["metadata"]["creationTimestamp"].to_string()).collect();
        born.sort();
        born
    };
    let (old_db, old_web) = (born("db"), born("web"));
    space.write("two");
    let released = || get("steps", "deployment", "db")["metadata"]["generation"].as_u64();
    let before = released();
    until(
        "the first step is released",
        || (released(), born("db")),
        |(now, pods)| *now != before || pods.is_empty() || *pods != old_db,
    );
    space.done("db");
    let new_db = born("db");
    assert!(new_db.len() == 1 && new_db != old_db, "wait ended before the new pod was there");
    space.done("web");
    let new_web = until(
        "the second step is done",
        || born("web"),
        |web| web.len() == 2 && web.iter().all(|pod| !old_web.contains(pod)),
    );
    assert!(new_db[0] <= new_web[0], "{new_db:?} comes before {new_web:?}");
    assert!(space.greetings("web").iter().all(|(greeting, _)| greeting == "two"));
}

/// The label and the gate come with the template; here the test writes them. The image has neither
/// a shell nor libraries, its user may write nothing, and the namespace lets nobody be root.
#[test]
#[ignore = "needs real nodes: make node"]
fn p18_lockkeepers_program_runs_in_a_pod_that_sleeps_and_not_the_app() {
    let _operator = operator();
    let space = Space::open("asleep");
    space.app("db", |app| app);
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    kubectl(&["label", "namespace", &space.0, enforce]);
    let mark = "lockkeeper.dev/in-maintenance";
    let security = json!({"runAsUser": 4711, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let template = json!({"metadata": {"labels": {mark: "sleep"}}, "spec": {
        "schedulingGates": [{"name": mark}], "terminationGracePeriodSeconds": 300,
        "containers": [{"name": "app", "securityContext": security}]}});
    let patch = json!({"spec": {"replicas": 1, "template": template}}).to_string();
    space.kubectl(&["patch", "deployment", "db", "-p", &patch]);
    let sleeping = |pods: &Vec<serde_json::Value>| {
        let status = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0].clone();
        pods.len() == 1
            && pods[0]["metadata"]["labels"][mark] == "sleep"
            && (&status(&pods[0])["ready"], &status(&pods[0])["restartCount"])
                == (&json!(true), &json!(0))
    };
    let pods = until("one pod sleeps", || space.pods("db"), sleeping);
    let pod = name(&pods[0]);
    // Without a probe it is ready as soon as it is started.
    until(
        "it says that it sleeps",
        || space.kubectl(&["logs", pod]),
        |log| log.contains("This container sleeps"),
    );
    assert_eq!(http(address(&pods[0]), "GET", "/healthz"), None, "the app does not listen");
    // What people run beside it runs in the app's image, with its mounts.
    let help = ["--", "/.lockkeeper/lockkeeper-pause", "help"];
    let (_, usage) = said("kubectl", &[&["exec", "-n", &space.0, pod][..], &help].concat(), "");
    assert!(usage.contains("wait until the container is terminated"), "{usage}");
    // It ends when it is told to, and not when its time is up.
    space.kubectl(&["delete", "pod", pod, "--timeout=120s"]);
}
