//! The API server: what it stores, refuses, counts and notes.

use std::time::Duration;

use model::server::{Account, Failure, Server};
use serde_json::{Value, json};

use super::{USER, edit, image, new, workload};

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

#[test]
fn a_write_that_changes_nothing_makes_no_version() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 1);
        let before = server.version();
        server.update(USER, kind, "web", |_| {}).unwrap();
        server.update(USER, kind, "web", |object| object["spec"]["paused"] = Value::Null).unwrap();
        server
            .create(USER, "ConfigMap", json!({"metadata": {"name": "app"}, "data": {"key": "1"}}))
            .unwrap();
        server
            .update(USER, "ConfigMap", "app", |config| config["data"]["key"] = json!("1"))
            .unwrap();
        assert_eq!(server.version(), before + 1, "{kind}");
        assert_eq!(
            server.create(USER, "ConfigMap", json!({"metadata": {"name": "app"}})),
            Err(Failure::AlreadyExists)
        );
        assert_eq!(server.update(USER, kind, "other", |_| {}), Err(Failure::NotFound));
    }
}

#[test]
fn a_replacement_drops_what_it_does_not_say_but_not_the_status_and_must_not_be_of_an_old_version() {
    let mut server = new("Deployment", 2);
    let before = server.get("Deployment", "web").unwrap();
    let mut manifest = json!({"metadata": {"name": "web"}, "spec": before["spec"]});
    manifest["spec"]["paused"] = json!(true);
    manifest["status"] = json!({"replicas": 7});
    let after = server.replace(USER, "Deployment", manifest.clone()).unwrap();
    assert!(after["metadata"]["labels"].is_null() && after["metadata"]["annotations"].is_null());
    assert_eq!(
        (&after["status"], &after["metadata"]["uid"]),
        (&before["status"], &before["metadata"]["uid"])
    );
    assert_eq!(after["metadata"]["generation"], 2);
    manifest["spec"]["paused"] = json!(false);
    manifest["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(server.replace(USER, "Deployment", manifest.clone()), Err(Failure::Conflict));
    manifest["metadata"]["resourceVersion"] = after["metadata"]["resourceVersion"].clone();
    let last = server.replace(USER, "Deployment", manifest).unwrap();
    assert!(last["spec"]["paused"].is_null());
    assert!(
        matches!(server.create(USER, "Deployment", (*last).clone()), Err(Failure::Invalid(_))),
        "with a version of its own"
    );
}

#[test]
fn field_managers_keep_the_time_of_their_newest_write_and_status_has_entries_of_its_own() {
    let mut server = new("Deployment", 1);
    let times = |server: &Server| -> Vec<(String, bool, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let object = server.get("Deployment", "web").unwrap();
        let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| {
                (text(&entry["manager"]), entry["subresource"] == "status", text(&entry["time"]))
            })
            .collect()
    };
    let at = |second: u32| format!("2026-11-20T09:00:{second:02}Z");
    let controllers = "kube-controller-manager".to_owned();
    assert_eq!(
        times(&server),
        [("kubectl".to_owned(), false, at(0)), (controllers.clone(), true, at(0))]
    );
    server.advance(Duration::from_millis(5700));
    let helm = Account { user: "ci", manager: "helm", verbs: &[] };
    server
        .update(helm, "Deployment", "web", |object| {
            object["metadata"]["labels"]["team"] = json!("a")
        })
        .unwrap();
    server.advance(Duration::from_secs(2));
    image(&mut server, "Deployment", "v2");
    assert_eq!(
        times(&server),
        [
            ("helm".to_owned(), false, at(5)),
            ("kubectl".to_owned(), false, at(7)),
            (controllers, true, at(7))
        ]
    );
    let generation = |server: &Server| {
        server.get("Deployment", "web").unwrap()["metadata"]["generation"].clone()
    };
    assert_eq!(
        generation(&server),
        2,
        "neither labels, nor status, nor the controller's annotation make a generation"
    );
    let status = |object: &mut Value| {
        object["status"]["note"] = json!(1);
        object["spec"]["replicas"] = json!(9);
    };
    let written = server.update_status(USER, "Deployment", "web", status).unwrap();
    assert_eq!((&written["status"]["note"], &written["spec"]["replicas"]), (&json!(1), &json!(1)));
    server.update(USER, "Deployment", "web", |object| object["status"] = json!({})).unwrap();
    assert_eq!(server.get("Deployment", "web").unwrap()["status"]["note"], 1);
}

#[test]
fn the_server_gives_defaults_and_refuses_what_the_real_one_refuses() {
    let mut server = new("Deployment", 1);
    let strategy = server.get("Deployment", "web").unwrap()["spec"]["strategy"].clone();
    assert_eq!(
        strategy,
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    workload(&mut server, "StatefulSet", 1);
    let spec = server.get("StatefulSet", "web").unwrap()["spec"].clone();
    assert_eq!(
        spec["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "partition": 0}})
    );
    let mut refused = |kind: &str, patch: Value| {
        let before = server.version();
        let result = server
            .update(USER, kind, "web", |object| json_patch::merge(&mut object["spec"], &patch));
        assert_eq!(
            matches!(result, Err(Failure::Invalid(_))),
            server.version() == before,
            "{kind} {patch}: {result:?}"
        );
        result.is_err()
    };
    assert!(refused("Deployment", json!({"strategy": {"type": "Recreate"}})));
    assert!(refused("Deployment", json!({"selector": {"matchLabels": {"app": "other"}}})));
    assert!(refused("StatefulSet", json!({"serviceName": "other"})));
    assert!(refused("StatefulSet", json!({"podManagementPolicy": "Parallel"})));
    assert!(refused("StatefulSet", json!({"updateStrategy": {"type": "OnDelete"}})));
    assert!(!refused(
        "StatefulSet",
        json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}, "replicas": 2, "ordinals": {"start": 1}})
    ));
    assert!(!refused(
        "Deployment",
        json!({"strategy": {"type": "Recreate", "rollingUpdate": null}})
    ));
}

#[test]
fn what_a_deleted_workload_owns_goes_with_it_and_the_watch_log_tells() {
    for kind in ["Deployment", "StatefulSet"] {
        let mut server = new(kind, 2);
        let before = server.version();
        server.delete(kind, "web");
        for owned in ["Pod", "ReplicaSet", "ControllerRevision"] {
            assert!(server.list(owned).is_empty(), "{kind}: {owned}");
        }
        let events = server.events_since(before);
        assert_eq!(events.len(), 4, "{kind}: itself, a revision, two pods");
        assert!(events.iter().all(|event| event.deleted));
        assert_eq!(events[3].version, server.version());
        assert_eq!(events[0].object["metadata"]["resourceVersion"], events[0].version.to_string());
        assert!(server.events_since(server.version()).is_empty());
    }
}
