//! The models of the controllers do what the real ones were measured to do.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use model::{
    controllers::{
        deployment, evict, kubelet,
        scripts::{self, Settled},
        settle,
    },
    server::{Account, Server},
};
use serde_json::{Value, json};

mod deployments;
mod server;
mod stateful_sets;

const USER: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };

fn workload(server: &mut Server, kind: &str, replicas: i64) {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec =
        json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    server
        .create(USER, kind, json!({"metadata": {"name": "web", "labels": labels}, "spec": spec}))
        .unwrap();
    settle(server);
}

fn new(kind: &str, replicas: i64) -> Server {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    workload(&mut server, kind, replicas);
    server
}

fn edit(server: &mut Server, kind: &str, change: impl FnOnce(&mut Value)) {
    server.update(USER, kind, "web", change).unwrap();
    settle(server);
}

fn image(server: &mut Server, kind: &str, tag: &str) {
    edit(server, kind, |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(tag)
    });
}

fn images(server: &Server) -> Vec<String> {
    let mut images: Vec<_> = server
        .list("Pod")
        .iter()
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
        .collect();
    images.sort();
    images
}

#[test]
fn a_rollout_replaces_all_pods_and_a_revert_finds_the_old_replica_set() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 3);
        image(&mut server, kind, "v2");
        assert_eq!(images(&server), ["v2", "v2", "v2"], "{kind}");
        image(&mut server, kind, "v1");
        assert_eq!(images(&server), ["v1", "v1", "v1"], "{kind}");
        let revisions =
            server.list(if kind == "Deployment" { "ReplicaSet" } else { "ControllerRevision" });
        assert_eq!(revisions.len(), 2, "{kind}");
    }
}

fn condition(object: &Value, kind: &str) -> Value {
    object["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["type"] == kind)
        .unwrap()
        .clone()
}

fn broken(server: &mut Server, kind: &str, tag: &str) {
    edit(server, kind, |object| {
        object["spec"]["template"]["metadata"]["annotations"] =
            json!({"lockkeeper.dev/test-ready": "never"});
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(tag);
    });
}

/// The states of a script, by its kind and name.
fn play(kind: &str, name: &str) -> Vec<Settled> {
    let script = scripts::all()
        .into_iter()
        .find(|script| script.kind == kind && script.name == name)
        .unwrap();
    scripts::run(&script, &mut Server::new("2026-11-20T09:00:00Z".parse().unwrap()))
}

fn all_images(kind: &str, name: &str) -> Vec<String> {
    play(kind, name).iter().map(|state| state.images.join(" ")).collect()
}

#[test]
fn a_pod_starts_and_goes_step_by_step() {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    let metadata = json!({"labels": {"app": "web"}, "annotations": {"a": "1"}});
    let template =
        json!({"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec =
        json!({"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    server.create(USER, "Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    while server.list("Pod").is_empty() {
        assert!(deployment(&mut server, "web"));
    }
    let pod = server.list("Pod").remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["metadata"]["annotations"], json!({"a": "1"}));
    let set = server.list("ReplicaSet").remove(0);
    assert_eq!(
        pod["metadata"]["labels"]["pod-template-hash"],
        set["metadata"]["labels"]["pod-template-hash"]
    );
    assert_eq!(
        set["metadata"]["name"],
        format!("web-{}", set["metadata"]["labels"]["pod-template-hash"].as_str().unwrap())
    );
    assert_eq!(
        (
            &pod["metadata"]["ownerReferences"][0]["uid"],
            &pod["metadata"]["ownerReferences"][0]["controller"]
        ),
        (&set["metadata"]["uid"], &json!(true))
    );
    server.advance(Duration::from_secs(3));
    assert!(kubelet(&mut server, name) && !kubelet(&mut server, name));
    let running = server.get("Pod", name).unwrap();
    assert_eq!(
        running["status"]["containerStatuses"][0]["state"]["running"]["startedAt"],
        "2026-11-20T09:00:03Z"
    );
    assert_eq!(condition(&running, "Ready")["lastTransitionTime"], "2026-11-20T09:00:03Z");
    assert!(running["status"]["podIP"].is_string());
    settle(&mut server);
    assert!(evict(&mut server, name) && !evict(&mut server, name));
    assert!(server.get("Pod", name).unwrap()["metadata"]["deletionTimestamp"].is_string());
    assert!(kubelet(&mut server, name));
    assert_eq!(server.get("Pod", name).unwrap()["status"]["phase"], "Succeeded");
    assert!(kubelet(&mut server, name) && server.get("Pod", name).is_none());
    settle(&mut server);
    assert_eq!(server.list("Pod").len(), 1);
}

#[test]
fn revisions_are_numbered_and_a_revert_gets_the_next_number() {
    let mut server = new("Deployment", 1);
    let number = |server: &Server| {
        server.get("Deployment", "web").unwrap()["metadata"]["annotations"]["deployment.kubernetes.io/revision"].clone()
    };
    for (tag, expected) in [("v1", "1"), ("v2", "2"), ("v1", "3"), ("v3", "4")] {
        image(&mut server, "Deployment", tag);
        assert_eq!(number(&server), expected);
    }
    let mut server = new("StatefulSet", 1);
    let newest = |server: &Server| {
        let all = server.list("ControllerRevision");
        let newest = all.iter().max_by_key(|one| one["revision"].as_i64()).unwrap().clone();
        let template = &newest["data"]["spec"]["template"];
        (
            all.len(),
            newest["revision"].as_i64().unwrap(),
            template["spec"]["containers"][0]["image"].clone(),
            newest["metadata"]["name"].clone(),
        )
    };
    for (tag, number, expected) in [("v1", 1, 1), ("v2", 2, 2), ("v1", 2, 3), ("v3", 3, 4)] {
        image(&mut server, "StatefulSet", tag);
        let update = server.get("StatefulSet", "web").unwrap()["status"]["updateRevision"].clone();
        assert_eq!(newest(&server), (number, expected, json!(tag), update));
    }
}

#[test]
fn old_revisions_beyond_the_limit_are_dropped() {
    for (kind, revisions) in [("Deployment", "ReplicaSet"), ("StatefulSet", "ControllerRevision")] {
        let mut server = new(kind, 1);
        edit(&mut server, kind, |object| object["spec"]["revisionHistoryLimit"] = json!(2));
        (2..7).for_each(|number| image(&mut server, kind, &format!("v{number}")));
        assert_eq!(server.list(revisions).len(), 3, "{kind}");
    }
}

#[test]
fn scripts_settle_in_the_same_states_every_time() {
    let scripts = scripts::all();
    assert!(scripts.len() >= 15);
    for script in &scripts {
        assert_eq!(
            scripts
                .iter()
                .filter(|other| (other.kind, other.name) == (script.kind, script.name))
                .count(),
            1
        );
        let states = play(script.kind, script.name);
        assert_eq!(states.len(), script.writes.len());
        assert_eq!(states, play(script.kind, script.name), "{}", script.name);
        let refused = script.name.ends_with("is refused");
        assert!(
            states.iter().all(|state| !state.refused) != refused,
            "{} {}",
            script.kind,
            script.name
        );
        assert!(
            states.iter().all(|state| state.replicas as usize == state.images.len()),
            "{} {}: {states:?}",
            script.kind,
            script.name
        );
    }
}
