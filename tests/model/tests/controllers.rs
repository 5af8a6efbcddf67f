//! The models of the controllers do what the real ones were measured to do.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use model::{
    admission::HELD,
    controllers::settle,
    server::{Account, Server},
};
use serde_json::{Value, json};

const USER: Account = Account { user: "dev", manager: "kubectl", verbs: &[] };

fn workload(server: &mut Server, kind: &str, replicas: i64) {
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    server.create(USER, kind, json!({"metadata": {"name": "web", "labels": labels}, "spec": spec})).unwrap();
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
    edit(server, kind, |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(tag));
}

fn images(server: &Server) -> Vec<String> {
    let mut images: Vec<_> = server.list("Pod").iter().map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()).collect();
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
        let revisions = server.list(if kind == "Deployment" { "ReplicaSet" } else { "ControllerRevision" });
        assert_eq!(revisions.len(), 2, "{kind}");
    }
}

#[test]
fn a_paused_deployment_keeps_its_revision_through_scaling_and_evictions() {
    let mut server = new("Deployment", 2);
    edit(&mut server, "Deployment", |object| {
        object["spec"]["paused"] = json!(true);
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
    });
    assert!(server.get("Deployment", "web").unwrap()["status"]["updatedReplicas"].is_null());
    edit(&mut server, "Deployment", |object| object["spec"]["replicas"] = json!(4));
    assert_eq!(images(&server), ["v1"; 4]);
    let pod = server.list("Pod")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    server.delete("Pod", &pod);
    settle(&mut server);
    assert_eq!(images(&server), ["v1"; 4]);
    edit(&mut server, "Deployment", |object| drop(object["spec"].as_object_mut().unwrap().remove("paused")));
    assert_eq!(images(&server), ["v2"; 4]);
}

#[test]
fn created_paused_there_are_no_pods() {
    let mut server = Server::new("2026-11-20T09:00:00Z".parse().unwrap());
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "v1"}]}});
    let spec = json!({"paused": true, "replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template});
    server.create(USER, "Deployment", json!({"metadata": {"name": "web"}, "spec": spec})).unwrap();
    settle(&mut server);
    assert!(server.list("ReplicaSet").is_empty() && server.list("Pod").is_empty());
}

#[test]
fn one_replica_with_the_default_strategy_surges_and_recreate_does_not() {
    let mut server = new("Deployment", 1);
    server.update(USER, "Deployment", "web", |object| {
        object["spec"]["template"]["metadata"]["annotations"] = json!({"lockkeeper.dev/test-ready": "never"});
    }).unwrap();
    settle(&mut server);
    assert_eq!(server.list("Pod").len(), 2, "the old pod stays until the new one is ready");
    edit(&mut server, "Deployment", |object| object["spec"]["strategy"] = json!({"type": "Recreate"}));
    assert_eq!(server.list("Pod").len(), 1);
    let refused = server.update(USER, "Deployment", "web", |object| object["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": 1}));
    assert!(refused.is_err());
}

#[test]
fn a_partition_above_every_ordinal_holds_new_ordinals_too_and_steps_down_by_index() {
    let mut server = new("StatefulSet", 2);
    let partition = |server: &mut Server, partition: i64| {
        edit(server, "StatefulSet", |object| object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = json!(partition));
    };
    partition(&mut server, HELD);
    image(&mut server, "StatefulSet", "v2");
    edit(&mut server, "StatefulSet", |object| object["spec"]["replicas"] = json!(3));
    assert_eq!(images(&server), ["v1"; 3]);
    server.delete("Pod", "web-1");
    settle(&mut server);
    assert_eq!(images(&server), ["v1"; 3]);
    partition(&mut server, 2);
    assert_eq!(images(&server), ["v1", "v1", "v2"]);
    partition(&mut server, 0);
    assert_eq!(images(&server), ["v2"; 3]);
    let status = server.get("StatefulSet", "web").unwrap()["status"].clone();
    assert_eq!(status["currentRevision"], status["updateRevision"]);
}

#[test]
fn a_set_is_stuck_behind_a_broken_pod_of_a_withdrawn_revision() {
    let mut server = new("StatefulSet", 2);
    edit(&mut server, "StatefulSet", |object| {
        object["spec"]["template"]["metadata"]["annotations"] = json!({"lockkeeper.dev/test-ready": "never"});
    });
    edit(&mut server, "StatefulSet", |object| drop(object["spec"]["template"]["metadata"].as_object_mut().unwrap().remove("annotations")));
    let broken = server.get("Pod", "web-1").unwrap();
    assert_eq!(broken["status"]["conditions"][0]["status"], "False");
    server.delete("Pod", "web-1");
    settle(&mut server);
    assert_eq!(server.get("Pod", "web-1").unwrap()["status"]["conditions"][0]["status"], "True");
}

#[test]
fn generations_count_spec_and_for_deployments_annotations_too() {
    for (kind, expected) in [("Deployment", 2), ("StatefulSet", 1)] {
        let mut server = new(kind, 1);
        let before = server.get(kind, "web").unwrap()["metadata"]["generation"].as_i64().unwrap();
        edit(&mut server, kind, |object| object["metadata"]["annotations"]["team"] = json!("a"));
        let after = server.get(kind, "web").unwrap()["metadata"]["generation"].as_i64().unwrap();
        assert_eq!(after - before + 1, expected, "{kind}");
        let patch = json!([{"op": "test", "path": "/metadata/generation", "value": after + 1}, {"op": "remove", "path": "/spec/replicas"}]);
        assert!(server.json_patch(USER, kind, "web", &patch).is_err(), "{kind}: a failed test");
    }
}
